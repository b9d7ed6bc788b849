package apply

import (
	"fmt"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// wanted are rows of a transaction on disk that have to be followed because
// they move without all their values: their identities, at whatever point of the
// transaction. Others are not kept in memory.
type wanted map[*Target]map[string]bool

const (
	// mostWanted bounds the memory for what is followed in one transaction.
	mostWanted = 128 << 20
	// mostReadings bounds how often a transaction is read to find the identities
	// that its rows had before: once more for each time that one changed.
	mostReadings = 16
)

// follows tells whether a row is followed; without a table of them all are.
func (w wanted) follows(t *Target, key stream.Tuple) bool { return w == nil || w[t][string(key)] }

func (w wanted) add(t *Target, key stream.Tuple) (added bool) {
	if w[t] == nil {
		w[t] = map[string]bool{}
	}
	if w[t][string(key)] {
		return false
	}
	w[t][string(key)] = true
	return true
}

// want finds the rows to follow.
func (c *carrying) want() error {
	c.wanted = wanted{}
	var held int64
	var last error // of the change that was met last
	for range mostReadings {
		grown := false
		err := c.item.tx.Each(func(ch *stream.Change) error {
			t, to, before, err := c.wantedBefore(ch)
			if err != nil || t == nil || !c.wanted.add(t, before) {
				return err
			}
			if !grown {
				last = c.cannot(keep(ch), t, to, fmt.Sprintf("rows change their keys one after another, more than %d times", mostReadings))
			}
			grown = true
			if held += int64(len(before) + len(ch.New)); held > mostWanted {
				return c.cannot(keep(ch), t, to, "the transaction moves too many such rows for memory")
			}
			return nil
		})
		if err != nil || !grown {
			return err
		}
	}
	return last
}

// wantedBefore gives the identity that a row to follow had before a change, and
// no table if the row is not to be followed.
func (c *carrying) wantedBefore(ch *stream.Change) (t *Target, to move, before stream.Tuple, err error) {
	if ch.Kind != stream.Update || ch.Old == nil {
		return nil, to, nil, nil
	}
	if t, err = c.live(ch.Relation); err != nil || t == nil {
		return nil, to, nil, err
	}
	before, key, err := t.identities(ch)
	if err != nil {
		return nil, to, nil, err
	}
	if to, err = t.shardsOf(ch); err != nil {
		return nil, to, nil, &unroutable{target: t, change: keep(ch), err: pgerror.From(err)}
	}
	image := ch.New
	if ch.OldFull {
		image, _ = overlay(image, ch.Old)
	}
	if len(c.wanted[t]) > 0 && c.wanted.follows(t, key) || to.before != to.after && t.lacks(image) {
		return t, to, before, nil
	}
	return nil, to, nil, nil
}

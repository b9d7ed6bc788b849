package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// A row that moves to another shard is inserted there, with values that the
// stream leaves out if they are TOASTed and unchanged. They are read from the
// shard that has the row before its transaction is applied. As each shard
// commits for itself, the row may be gone there when the other one has to be
// done again: what was read is durable on the shard that needs it before
// anything of the transaction is dispatched.

// carrying is one attempt to complete the rows that move in one transaction.
type carrying struct {
	a        *Applier
	item     *item
	stopped  []stopped
	places   *carriedPlaces
	moving   map[*Target]map[string]*traveller // by the identity at this point of the transaction
	shapes   map[uint32]*Target                // by OID of the relation
	complete map[*stream.Change]stream.Tuple
	fresh    []carried
}

// traveller is a row that a transaction changes.
type traveller struct {
	origin stream.Tuple // its identity when the transaction began, nil if it was not there
	shard  int          // where it was then
	known  stream.Tuple // its values as far as the transaction has told or needed them
	read   bool         // known has some of the destination's
}

// carried is a tuple that a shard is to insert.
type carried struct {
	shard  int
	change int // counted from 0 in the transaction
	tuple  stream.Tuple
}

// carry completes all rows of a transaction in memory that move between shards
// without their TOASTed values. It returns an unroutable for one it cannot
// complete.
func (a *Applier) carry(ctx context.Context, it *item) error {
	b := &barrier{f: func(stream.LSN) error { return nil }, done: make(chan error, 1)}
	if err := a.meet(b, 0); err != nil {
		return err
	}
	if err := <-b.done; err != nil {
		return fmt.Errorf("wait for the shards: %w", err)
	}
	return a.persist(ctx, func(ctx context.Context) error {
		c := &carrying{
			a: a, item: it, stopped: a.stops.snapshot(), places: newCarriedPlaces(a, it.tx.FinalLSN), shapes: map[uint32]*Target{},
			moving: map[*Target]map[string]*traveller{}, complete: map[*stream.Change]stream.Tuple{},
		}
		defer c.places.close(ctx)
		for i := range it.tx.Changes {
			if err := c.change(ctx, i, &it.tx.Changes[i]); err != nil {
				return err
			}
		}
		if err := c.places.keep(ctx, c.fresh); err != nil {
			return err
		}
		it.targets.completed = c.complete
		return nil
	})
}

// live gives the target of a relation if its rows may have to be completed.
func (c *carrying) live(relation *stream.Relation) (*Target, error) {
	f, err := c.item.targets.resolve(relation)
	if err != nil || f.target == nil || len(c.stopped) > 0 && holds(c.stopped, f, c.item.tx.FinalLSN) {
		return nil, err
	}
	if f.target.keyAt < 0 || len(f.target.identity) == 0 {
		return nil, nil
	}
	return f.target, nil
}

// change follows one change.
func (c *carrying) change(ctx context.Context, number int, ch *stream.Change) error {
	switch ch.Kind {
	case stream.Truncate:
		for _, relation := range ch.Truncated.Relations {
			if t, err := c.live(relation); err != nil {
				return err
			} else if t != nil {
				delete(c.moving, t)
			}
		}
		return nil
	case stream.Insert, stream.Update, stream.Delete:
	default:
		return nil
	}
	t, err := c.live(ch.Relation)
	if err != nil || t == nil {
		return err
	}
	rows := c.moving[t]
	if rows == nil {
		rows = map[string]*traveller{}
		c.moving[t] = rows
	}
	switch ch.Kind {
	case stream.Insert:
		key, err := t.keyOf(ch.New, nil)
		if err != nil {
			return err
		}
		rows[string(key)] = &traveller{known: ch.New}
	case stream.Delete:
		key, err := t.keyOf(ch.Old, nil)
		if err != nil {
			return err
		}
		delete(rows, string(key))
	case stream.Update:
		return c.update(ctx, number, ch, t, rows)
	}
	return nil
}

func (c *carrying) update(ctx context.Context, number int, ch *stream.Change, t *Target, rows map[string]*traveller) error {
	key, err := t.keyOf(ch.New, ch.Old)
	if err != nil {
		return err
	}
	before := key
	if ch.Old != nil {
		if before, err = t.keyOf(ch.Old, nil); err != nil {
			return err
		}
	}
	to, err := t.shardsOf(ch)
	if err != nil {
		return &unroutable{target: t, change: ch, err: pgerror.From(err)}
	}
	row := rows[string(before)]
	if row == nil {
		row = &traveller{origin: before, shard: to.before}
	}
	delete(rows, string(before))
	if rows[string(key)] != nil {
		return c.cannot(ch, t, to, "two rows of the transaction have the same key for a moment")
	}
	rows[string(key)] = row
	if c.shapes[t.Source.OID] == nil {
		c.shapes[t.Source.OID] = t
	}
	image := ch.New
	if ch.OldFull {
		image, _ = overlay(image, ch.Old)
	}
	if to.before == to.after || !t.lacks(image) {
		row.learn(image)
		return nil
	}
	if c.shapes[t.Source.OID] != t {
		return c.cannot(ch, t, to, "the table itself was changed in the transaction")
	}
	return c.move(ctx, number, ch, t, to, row, image)
}

// learn takes over the values that a change gives.
func (r *traveller) learn(image stream.Tuple) {
	if r.known != nil {
		image, _ = overlay(image, r.known)
	}
	r.known = image
}

// move completes the row that a change moves.
func (c *carrying) move(ctx context.Context, number int, ch *stream.Change, t *Target, to move, row *traveller, image stream.Tuple) error {
	if c.places.has(to.after) { // it leaves the transaction out
		row.learn(image)
		c.complete[ch] = withNulls(image)
		return nil
	}
	kept, err := c.places.find(ctx, to.after, number)
	if err != nil {
		return err
	}
	if kept != nil && countColumns(kept) == len(t.columns) {
		row.known, row.read = kept, true
		c.complete[ch] = kept
		return nil
	}
	row.learn(image)
	if t.lacks(row.known) {
		if name := t.castUnchanged(row.known); name != "" {
			return c.cannot(ch, t, to, fmt.Sprintf("column %s is cast: the destination has not the value of the source", name))
		}
		if row.origin == nil {
			return c.cannot(ch, t, to, "they are not in the row's INSERT either")
		}
		if err := c.read(ctx, ch, t, to, row); err != nil {
			return err
		}
	}
	c.complete[ch] = row.known
	if row.read {
		c.fresh = append(c.fresh, carried{shard: to.after, change: number, tuple: row.known})
	}
	return nil
}

// read takes what is not known of a row from the shard that has it.
func (c *carrying) read(ctx context.Context, ch *stream.Change, t *Target, to move, row *traveller) error {
	if c.places.has(row.shard) {
		return c.cannot(ch, t, to, fmt.Sprintf("shard %d has applied the transaction already, and shard %d has not kept what it needs", row.shard, to.after))
	}
	found, n, err := c.places.read(ctx, t, row)
	switch {
	case err != nil && transientCode(pgerror.Code(err)), errors.Is(err, context.Canceled):
		return err
	case err != nil:
		return &unroutable{target: t, change: ch, err: pgerror.From(err)}
	case n == 0:
		return c.cannot(ch, t, to, fmt.Sprintf("the row is missing on shard %d", row.shard))
	case n > 1:
		return c.cannot(ch, t, to, fmt.Sprintf("there are %d such rows on shard %d", n, row.shard))
	case len(found) > largestCarried:
		return &unroutable{target: t, change: ch, err: pgerror.New(limitExceeded, "a row of %s that moves from shard %d to shard %d has %d bytes", t, to.before, to.after, len(found)).
			WithHint("On the source: ALTER TABLE %s REPLICA IDENTITY FULL;", t.quotedSource())}
	}
	row.known, row.read = found, true
	return nil
}

// largestCarried is what a bytea parameter can have, with room for the message.
const largestCarried = 1<<30 - 64<<10

// cannot is the error of a row that cannot be completed.
func (c *carrying) cannot(ch *stream.Change, t *Target, to move, why string) error {
	return &unroutable{target: t, change: ch, err: incomplete(t, to).WithDetail("They cannot be taken from the destination: %s.", why)}
}

// castUnchanged names a column that t leaves out and that is cast, "" if there
// is none.
func (t *Target) castUnchanged(tuple stream.Tuple) string {
	for i := 0; len(tuple) > 0 && i < len(t.columns); i++ {
		if tuple[0] == byte(stream.Unchanged) && t.columns[i].cast != "" {
			return t.columns[i].name
		}
		tuple = tuple[width(tuple):]
	}
	return ""
}

func incomplete(t *Target, to move) *pgerror.Error {
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState,
		"a row of %s moves from shard %d to shard %d, but the stream leaves out its unchanged TOASTed values", t, to.before, to.after).
		WithHint("On the source: ALTER TABLE %s REPLICA IDENTITY FULL;", t.quotedSource())
}

// withNulls gives a tuple of which nothing is left out, for a shard that does
// not apply it.
func withNulls(t stream.Tuple) stream.Tuple {
	var out stream.Tuple
	for len(t) > 0 {
		n := width(t)
		if t[0] == byte(stream.Unchanged) {
			out = stream.AppendValue(out, stream.Null, nil)
		} else {
			out = append(out, t[:n]...)
		}
		t = t[n:]
	}
	return out
}

// binaryTuple tells whether a stream whose tuple this is sends binary values.
func binaryTuple(t stream.Tuple) bool {
	for len(t) > 0 {
		if t[0] == byte(stream.Binary) {
			return true
		}
		t = t[width(t):]
	}
	return false
}

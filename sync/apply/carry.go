package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	complete map[int]stream.Tuple              // by the number of the change
	fresh    []carried
	held     int    // bytes that were read
	wanted   wanted // of a transaction on disk: whose rows are followed; nil: all
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

// carry completes all rows of a transaction that move between shards without
// their TOASTed values. It returns an unroutable for one it cannot complete.
func (a *Applier) carry(ctx context.Context, it *item) error {
	c := &carrying{a: a, item: it, stopped: a.stops.snapshot(), shapes: map[uint32]*Target{}}
	if it.tx.Spool != nil {
		if err := c.want(); err != nil || len(c.wanted) == 0 {
			return err
		}
	}
	b := &barrier{f: func(stream.LSN) error { return nil }, done: make(chan error, 1)}
	if err := a.meet(b, 0); err != nil {
		return err
	}
	if err := <-b.done; err != nil {
		return fmt.Errorf("wait for the shards: %w", err)
	}
	return a.persist(ctx, func(ctx context.Context) error {
		c.places, c.moving, c.complete, c.fresh = newCarriedPlaces(a, it.tx.FinalLSN), map[*Target]map[string]*traveller{}, map[int]stream.Tuple{}, nil
		c.held = 0
		defer c.places.close(ctx)
		number := -1
		if err := it.tx.Each(func(ch *stream.Change) error {
			number++
			return c.change(ctx, number, ch)
		}); err != nil {
			return err
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
		if !c.wanted.follows(t, key) {
			return nil
		}
		if c.wanted != nil {
			ch = keep(ch)
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
	before, key, err := t.identities(ch)
	if err != nil || !c.wanted.follows(t, before) && !c.wanted.follows(t, key) {
		return err
	}
	if c.wanted != nil { // the change is valid only now, the row until the end
		ch = keep(ch)
		before, key = slices.Clone(before), slices.Clone(key)
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
	if c.wanted.follows(t, key) {
		rows[string(key)] = row
	}
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

// identities are those of a row before and after an Update.
func (t *Target) identities(ch *stream.Change) (before, after stream.Tuple, err error) {
	if after, err = t.keyOf(ch.New, ch.Old); err != nil || ch.Old == nil {
		return after, after, err
	}
	before, err = t.keyOf(ch.Old, nil)
	return before, after, err
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
		c.complete[number] = withNulls(image)
		return nil
	}
	kept, err := c.places.find(ctx, to.after, number)
	if err != nil {
		return err
	}
	if kept != nil && countColumns(kept) == len(t.columns) {
		row.known, row.read = kept, true
		c.complete[number] = kept
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
	c.complete[number] = row.known
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
	if c.held += len(found); c.held > mostCarried {
		return c.cannot(ch, t, to, fmt.Sprintf("the rows that move in the transaction have more than %d bytes", mostCarried))
	}
	row.known, row.read = found, true
	return nil
}

// mostCarried bounds the memory for what is read in one transaction, but for one
// row.
const mostCarried = 256 << 20

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

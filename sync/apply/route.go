package apply

import (
	"slices"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/shard"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// everyShard is where the rows of tables that are not sharded go.
const everyShard = -1

// unroutable is a row whose shard cannot be told: its table stops.
type unroutable struct {
	target *Target
	change *stream.Change
	err    *pgerror.Error
	// incomplete says that the shard is known, but not all of the row.
	incomplete bool
}

func (u *unroutable) Error() string { return u.err.Error() }
func (u *unroutable) Unwrap() error { return u.err }

// keep copies a change that may be of a spooled transaction.
func keep(c *stream.Change) *stream.Change {
	out := *c
	out.Old, out.New = slices.Clone(c.Old), slices.Clone(c.New)
	return &out
}

// route gives a change, counted from 0 in its transaction, to the shards it belongs to. An UPDATE that moves a row
// becomes a DELETE on one shard and an INSERT on another; these are new changes,
// valid as long as the one they are made of. Changes that are left out are not
// given, nor are those of tables in stopped.
func (n *resolution) route(number int, c *stream.Change, stopped []stopped, emit func(shard int, c *stream.Change) error) error {
	switch c.Kind {
	case stream.Truncate:
		for _, relation := range c.Truncated.Relations {
			f, err := n.resolve(relation)
			if err != nil {
				return err
			}
			if t := f.target; t != nil && t.shared && !holds(stopped, f, n.finalLSN) {
				return &unroutable{target: t, change: keep(c), err: truncatedElsewhere(t)}
			}
		}
		return emit(everyShard, c)
	case stream.Insert, stream.Update, stream.Delete:
	default:
		return nil
	}
	f, err := n.resolve(c.Relation)
	if err != nil || f.target == nil {
		return err
	}
	if len(stopped) > 0 && holds(stopped, f, n.finalLSN) {
		return nil
	}
	t := f.target
	if t.key == nil || n.shards == 1 {
		return emit(everyShard, c)
	}
	to, err := t.shardsOf(c)
	if err != nil {
		return &unroutable{target: t, change: keep(c), err: pgerror.From(err)}
	}
	if to.before == to.after {
		return emit(to.after, c)
	}
	image, complete := c.New, !t.lacks(c.New)
	if !complete && c.OldFull {
		image, _ = overlay(c.New, c.Old)
		complete = !t.lacks(image)
	}
	if !complete {
		if image = n.completed[number]; image == nil {
			return &unroutable{target: t, change: keep(c), err: incomplete(t, to), incomplete: true}
		}
	}
	if err := emit(to.before, &stream.Change{Kind: stream.Delete, Relation: c.Relation, Old: c.Old, OldFull: c.OldFull}); err != nil {
		return err
	}
	return emit(to.after, &stream.Change{Kind: stream.Insert, Relation: c.Relation, New: image})
}

// move is where a row is before and after a change.
type move struct{ before, after int }

func (t *Target) shardsOf(c *stream.Change) (move, error) {
	if to, constant := t.key.Constant(); constant {
		return move{to, to}, nil
	}
	if c.Kind == stream.Delete {
		to, err := t.shardOf(c.Old, nil)
		return move{to, to}, err
	}
	after, err := t.shardOf(c.New, c.Old)
	if err != nil || c.Kind == stream.Insert || c.Old == nil {
		return move{after, after}, err
	}
	before, err := t.shardOf(c.Old, nil)
	return move{before, after}, err
}

// shardOf finds the shard of a tuple; a value that is unchanged is the one in old.
func (t *Target) shardOf(tuple, old stream.Tuple) (int, error) {
	for {
		rest := tuple
		for range t.keyAt {
			if len(rest) == 0 {
				return 0, errTuple(t.Source)
			}
			rest = rest[width(rest):]
		}
		if len(rest) == 0 {
			return 0, errTuple(t.Source)
		}
		format, value, _ := rest.Next()
		if format != stream.Unchanged {
			return t.key.Shard(shard.Format(format), value, format == stream.Null)
		}
		if old == nil {
			return 0, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the sharding key of a changed row of %s is TOASTed and not in the stream", t).
				WithHint("On the source: ALTER TABLE %s REPLICA IDENTITY FULL;", t.quotedSource())
		}
		tuple, old = old, nil
	}
}

package apply

import (
	"context"
	"fmt"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// Steps finds what has to be done between changes: what the destination has to
// become when the source's schema is changed. Its method is called by the
// dispatcher, in the order of the stream.
type Steps interface {
	// Plan tells how a transaction is divided; nil if it is applied as it is. It
	// is asked for transactions and marks that have messages, and for those with
	// relations that were not there since Run began: these are fresh. Whenever a
	// transaction is given again the same Steps are to stand at the same places.
	Plan(ctx context.Context, tx *stream.Transaction, fresh []*stream.Relation) ([]Part, error)
}

// Part is a part of a transaction: a Step, or the changes [From, To) of it,
// counted from 0. The parts together have all of its changes, in their order.
type Part struct {
	Step     Step
	From, To int
}

// Step is something that is done when every shard has what is before it and
// nothing of what is behind it.
type Step interface {
	// Run does it on every shard whose recorded position is before to, and has
	// Advance move that position in the same transaction; moved tells whether it
	// has moved any. After an error that passes by itself it is called again, also
	// by another process, if need be with some of the shards done.
	Run(ctx context.Context, to stream.LSN) (moved bool, err error)
}

// Advance moves the recorded position of a source shard, which is locked until
// the transaction of conn ends. done says that it was there already.
func Advance(ctx context.Context, conn Querier, mirror string, shard int, to stream.LSN) (done bool, err error) {
	tag, err := conn.Exec(ctx, `UPDATE pgdrover.progress SET lsn = $3::text::pg_catalog.pg_lsn, updated_at = pg_catalog.clock_timestamp()
WHERE mirror = $1 AND shard = $2 AND lsn < $3::text::pg_catalog.pg_lsn`, mirror, shard, to.String())
	if err != nil {
		return false, fmt.Errorf("move the recorded position to %s: %w", to, err)
	}
	return tag.RowsAffected() == 0, nil
}

// The parts of a transaction have positions between the begin and the end of its
// commit record. Positions at which records begin and end are multiples of 8;
// those between parts are not, so that one that is recorded is known for what
// it is.

// Between tells whether a position is between two parts of a transaction: the
// stream has to be read from before that transaction.
func Between(lsn stream.LSN) bool { return lsn%8 != 0 }

// between is the n-th position behind final.
func between(final stream.LSN, n int) stream.LSN {
	if n == 0 {
		return final
	}
	return final + stream.LSN(n+(n-1)/7)
}

// MostParts is how many parts a transaction can have.
func MostParts(tx *stream.Transaction) int { return int(tx.EndLSN-tx.FinalLSN) * 7 / 8 }

// divide asks Steps how a transaction is divided.
func (a *Applier) divide(ctx context.Context, tx *stream.Transaction) (parts []Part, err error) {
	steps := a.options.Steps
	if steps == nil {
		return nil, nil
	}
	var fresh []*stream.Relation
	for _, r := range tx.Relations {
		if !a.met[r] {
			a.met[r] = true
			fresh = append(fresh, r)
		}
	}
	if len(fresh) == 0 && tx.Messages == 0 {
		return nil, nil
	}
	err = a.persist(ctx, func(ctx context.Context) (err error) {
		parts, err = steps.Plan(ctx, tx, fresh)
		return err
	})
	if err == nil && len(parts) > 1 && (tx.Mark() || len(parts) > MostParts(tx)) {
		err = pgerror.New(pgerror.InternalError, "a transaction was divided into %d parts", len(parts))
	}
	return parts, err
}

// putParts brings the parts of a transaction to the workers, and does the steps.
func (a *Applier) putParts(ctx context.Context, tx *stream.Transaction, parts []Part) error {
	release := tx.Release
	left := newCountdown(len(parts), release)
	if !tx.Mark() {
		a.confirms.divide(tx.FinalLSN, tx.EndLSN)
	}
	for i, p := range parts {
		final, end := between(tx.FinalLSN, i), tx.EndLSN
		if i < len(parts)-1 {
			end = between(tx.FinalLSN, i+1)
		}
		var err error
		if p.Step != nil {
			err = a.step(ctx, p.Step, end)
			left()
		} else {
			err = a.putWhole(ctx, tx.Part(p.From, p.To, final, end, left))
		}
		if err != nil {
			for range len(parts) - i - 1 {
				left()
			}
			return err
		}
	}
	return nil
}

// step does one step while all shards wait, and has them go on behind it.
func (a *Applier) step(ctx context.Context, s Step, to stream.LSN) error {
	b := &barrier{f: func(stream.LSN) error { return nil }, done: make(chan error, 1)}
	if err := a.meet(b, 0); err != nil {
		return err
	}
	if err := <-b.done; err != nil {
		return fmt.Errorf("wait for the shards: %w", err)
	}
	moved := false
	err := a.persist(ctx, func(ctx context.Context) error {
		now, err := s.Run(ctx, to)
		moved = moved || now
		return err
	})
	if err != nil || !moved {
		return err
	}
	for _, w := range a.workers {
		w.queue.push(&item{renew: true}, 0, 0)
	}
	return nil
}

package apply

import (
	"context"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// large applies a transaction that is too large for one chunk, in several, but
// in one destination transaction. However large it is, no more of it than a few
// chunks is in memory.
func (w *worker) large(ctx context.Context, it *item) error {
	defer it.release()
	for {
		err := w.largeOnce(ctx, it)
		if err != errRestart {
			return err
		}
		if it.tx.EndLSN <= w.committed {
			w.at = max(w.at, it.tx.EndLSN)
			return nil // its COMMIT was not lost
		}
	}
}

func (w *worker) largeOnce(ctx context.Context, it *item) error {
	g := &group{items: []*item{it}, large: true, end: it.tx.EndLSN}
	stamp, stopped := w.stamp, w.a.stops.snapshot()
	ch, number := w.newChunk(), 0
	submit := func(last bool) error {
		for len(w.flights) >= inFlight {
			if err := w.wait(ctx); err != nil {
				return err
			}
		}
		if w.stamp != stamp {
			return errRestart // a table was stopped while an earlier group was recovered
		}
		if number == 0 {
			g.from, w.submitted = w.submitted, g.end
		}
		w.submit(&flight{group: g, chunk: ch, number: number, first: number == 0, last: last})
		number++
		return nil
	}
	next := func() error {
		if err := submit(false); err != nil {
			return err
		}
		ch = w.newChunk()
		return nil
	}
	err := it.each(w.shard, stopped, func(c *stream.Change) error {
		return w.change(it, c, stopped, func(t *Target, truncate []entry) error {
			if w.discard = w.discard || w.queue.discarded(); w.discard {
				return errStopped
			}
			if truncate != nil {
				if !ch.empty() {
					if err := next(); err != nil {
						return err
					}
				}
				if it.tx.Spool != nil {
					c := ch.copies.keep(c)
					for i := range truncate {
						truncate[i].change = c
					}
				}
				ch.truncate = truncate
				ch.counts.add(stream.Truncate)
				return next()
			}
			win := w.window(ch, t)
			size := int64(len(c.Old) + len(c.New))
			if win == nil || ch.rows >= w.a.options.GroupRows || ch.rows > 0 && ch.bytes+size > w.a.options.GroupBytes {
				if err := next(); err != nil {
					return err
				}
				win = w.window(ch, t)
			}
			if it.tx.Spool != nil {
				c = ch.copies.keep(c)
			}
			return ch.add(win, entry{change: c, item: it})
		})
	})
	if u, ok := asUnroutable(err); ok {
		return w.largeUnroutable(ctx, u, it)
	}
	if err != nil {
		return err
	}
	if number == 0 && ch.empty() {
		w.at = max(w.at, g.end)
		return nil
	}
	if err := submit(true); err != nil {
		return err
	}
	w.at = g.end
	for len(w.flights) > 0 {
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// largeUnroutable stops a table in the middle of a transaction that is on disk:
// what of the transaction is there is taken back, and it begins again.
func (w *worker) largeUnroutable(ctx context.Context, u *unroutable, it *item) error {
	for len(w.flights) > 0 {
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	w.exec.stop()
	w.exec = nil
	f := &failure{err: u.err, op: op{entry: entry{change: u.change, item: it}}}
	if err := w.stop(ctx, u.target, f); err != nil {
		return err
	}
	// The transaction may have begun; ROLLBACK without one is only a warning.
	if err := w.rollback(ctx, true); err != nil && err != errRestart {
		return err
	}
	w.restart()
	return errRestart
}

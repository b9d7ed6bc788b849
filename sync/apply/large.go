package apply

import (
	"context"
	"errors"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// large applies a transaction that is too large for one chunk, in several, but
// in one destination transaction. However large it is, no more of it than a few
// chunks is in memory.
func (w *worker) large(ctx context.Context, it *item) error {
	defer it.release()
	for {
		err := w.largeOnce(ctx, it)
		if !errors.Is(err, errRestart) {
			return err
		}
		if it.tx.EndLSN <= w.committed {
			w.at = max(w.at, it.tx.EndLSN)
			return nil // its COMMIT was not lost
		}
	}
}

// largeRun is one attempt to apply a large transaction.
type largeRun struct {
	w       *worker
	ctx     context.Context
	item    *item
	group   *group
	chunk   *chunk // that is being filled
	number  int    // of it
	stamp   int
	stopped []stopped
}

func (w *worker) largeOnce(ctx context.Context, it *item) error {
	l := &largeRun{
		w: w, ctx: ctx, item: it, group: &group{items: []*item{it}, large: true, end: it.tx.EndLSN},
		chunk: w.newChunk(), stamp: w.stamp, stopped: w.a.stops.snapshot(),
	}
	err := it.each(w.shard, l.stopped, func(c *stream.Change) error {
		return w.change(it, c, l.stopped, func(t *Target, truncate []entry) error {
			if w.queue.discarded() {
				w.discard = true
				return errStopped
			}
			if truncate != nil {
				return l.truncate(c, truncate)
			}
			return l.add(t, c)
		})
	})
	if u, ok := asUnroutable(err); ok {
		return w.largeUnroutable(ctx, u, it)
	}
	if err != nil {
		return err
	}
	if l.number == 0 && l.chunk.empty() {
		w.at = max(w.at, l.group.end)
		return nil
	}
	if err := l.submit(true); err != nil {
		return err
	}
	w.at = l.group.end
	for len(w.flights) > 0 {
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// abandonLarge takes back what of a large transaction is there when Run is told
// to end.
func (w *worker) abandonLarge(ctx context.Context) error {
	for len(w.flights) > 0 {
		if err := w.wait(ctx); err != nil && !errors.Is(err, errRestart) {
			return err
		}
	}
	w.exec.stop()
	w.exec = nil
	// It may have begun; ROLLBACK without a transaction is only a warning.
	if err := w.rollback(ctx, true); err != nil && !errors.Is(err, errRestart) {
		return err
	}
	w.restart()
	return nil
}

// add puts a change into the chunk, or into the next one if that is full.
func (l *largeRun) add(t *Target, c *stream.Change) error {
	o, size := &l.w.a.options, int64(len(c.Old)+len(c.New))
	win := l.w.window(l.chunk, t)
	if win == nil || l.chunk.rows >= o.GroupRows || l.chunk.rows > 0 && l.chunk.bytes+size > o.GroupBytes {
		if err := l.next(); err != nil {
			return err
		}
		win = l.w.window(l.chunk, t)
	}
	if l.item.tx.Spool != nil {
		c = l.chunk.copies.keep(c)
	}
	return l.chunk.add(win, entry{change: c, item: l.item})
}

// truncate makes a chunk of its own.
func (l *largeRun) truncate(c *stream.Change, entries []entry) error {
	if !l.chunk.empty() {
		if err := l.next(); err != nil {
			return err
		}
	}
	if l.item.tx.Spool != nil {
		c = l.chunk.copies.keep(c)
		for i := range entries {
			entries[i].change = c
		}
	}
	l.chunk.truncate = entries
	return l.next()
}

func (l *largeRun) next() error {
	if err := l.submit(false); err != nil {
		return err
	}
	l.chunk = l.w.newChunk()
	return nil
}

// submit hands the chunk over. While it waits, a table may be stopped for an
// earlier group's sake: then what is folded here is not right any more.
func (l *largeRun) submit(last bool) error {
	w := l.w
	for len(w.flights) >= inFlight {
		if err := w.wait(l.ctx); err != nil {
			return err
		}
	}
	if w.stamp != l.stamp {
		return errRestart
	}
	if l.number == 0 {
		l.group.from, w.submitted = w.submitted, l.group.end
	}
	w.submit(&flight{group: l.group, chunk: l.chunk, number: l.number, first: l.number == 0, last: last})
	l.number++
	return nil
}

// largeUnroutable stops a table in the middle of a transaction that is on disk:
// what of the transaction is there is taken back, and it begins again.
func (w *worker) largeUnroutable(ctx context.Context, u *unroutable, it *item) error {
	if err := w.abandonLarge(ctx); err != nil {
		return err
	}
	f := &failure{err: u.err, op: op{entry: entry{change: u.change, item: it}}}
	if err := w.stop(ctx, u.target, f); err != nil {
		return err
	}
	return errRestart
}

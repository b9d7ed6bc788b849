package apply

import (
	"context"
	"errors"
	"time"
)

// redo applies a group in memory from its begin, one chunk after the other,
// until it is committed.
func (w *worker) redo(ctx context.Context, g *group) error {
	for !g.committed {
		if g.end <= w.committed { // its COMMIT was not lost
			g.committed, g.counts = true, Counts{}
			for _, c := range g.chunks {
				g.counts.plus(c.counts())
			}
			w.stats.group(w, g)
			w.forgetGroup(g)
			return nil
		}
		if err := w.refold(g); err != nil {
			return err
		}
		if len(g.chunks) == 0 && g.items != nil {
			w.at = max(w.at, g.end)
			g.committed = true
			w.forgetGroup(g)
			return nil
		}
		err := w.runGroup(ctx, g)
		if err != nil && !errors.Is(err, errRestart) {
			return err
		}
	}
	return nil
}

// runGroup applies all chunks and commits. errRestart means that nothing of it
// is there and something has changed that makes another attempt worthwhile.
func (w *worker) runGroup(ctx context.Context, g *group) error {
	g.from, g.began = w.committed, false
	g.counts = Counts{}
	clear(g.tables)
	if len(g.chunks) == 0 {
		return w.runFlight(ctx, &flight{group: g, first: true, last: true})
	}
	for i, c := range g.chunks {
		if err := w.runFlight(ctx, &flight{group: g, chunk: c, number: i, first: i == 0, last: i == len(g.chunks)-1}); err != nil {
			return err
		}
	}
	return nil
}

// runFlight applies one chunk, exactly where it must be, and commits behind the
// last one.
func (w *worker) runFlight(ctx context.Context, f *flight) error {
	begin := time.Now()
	f.script = w.newScript()
	for {
		w.write(f)
		_, failed := w.session.run(f.script)
		if failed == nil {
			failed = f.script.broken
		}
		if failed == nil {
			break
		}
		if err := w.takeBack(ctx, f, failed); err != nil {
			return err
		}
	}
	if !f.last {
		w.landed(outcome{flight: f})
		return nil
	}
	f.script.reset()
	f.script.commit()
	f.script.sync()
	a, failed := w.session.run(f.script)
	if failed == nil {
		w.landed(outcome{flight: f, answer: a, took: time.Since(begin)})
		return nil
	}
	if classify(failed) == transient {
		if err := w.reconnect(ctx, failed); err != nil {
			return err
		}
		return errRestart
	}
	if err := w.rollback(ctx, true); err != nil {
		return err
	}
	if err := w.blame(ctx, f, failed); err != nil {
		return err
	}
	return errRestart
}

// takeBack undoes a chunk that has failed. Nil means that it may be tried again
// at once.
func (w *worker) takeBack(ctx context.Context, f *flight, failed *failure) error {
	if classify(failed) == transient {
		if err := w.reconnect(ctx, failed); err != nil {
			return err
		}
		return errRestart
	}
	w.build.forget()
	if err := w.rollback(ctx, f.first); err != nil {
		return err
	}
	err := w.blame(ctx, f, failed)
	if errors.Is(err, errRestart) && !f.first {
		if err := w.rollback(ctx, true); err != nil {
			return err
		}
	}
	return err
}

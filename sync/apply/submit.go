package apply

import "context"

// seal ends the open group and hands it over.
func (w *worker) seal(ctx context.Context) error {
	g := w.open
	if len(g.items) == 0 {
		return nil
	}
	w.open = &group{}
	g.end = w.at
	if len(g.chunks) == 0 { // everything was left out
		w.abandon(g)
		return nil
	}
	w.sealed = append(w.sealed, g)
	return w.submitGroup(ctx, g)
}

// abandon gives back a group that has nothing to apply.
func (w *worker) abandon(g *group) {
	w.releaseGroup(g)
	w.stats.position(w)
}

// submitGroup hands the chunks of a group in memory to the executor. When it
// has to wait, an outcome may change what is to be done: a stopped table is
// left out, or the group was done already while an earlier one was recovered.
func (w *worker) submitGroup(ctx context.Context, g *group) error {
	for i := 0; i < len(g.chunks) && !g.committed; {
		if len(w.flights) >= inFlight {
			if err := w.wait(ctx); err != nil {
				return err
			}
			continue
		}
		if i == 0 && w.stale(g) {
			if err := w.refold(g); err != nil {
				return err
			}
			continue
		}
		if i == 0 {
			g.from, w.submitted = w.submitted, g.end
		}
		w.submit(&flight{group: g, chunk: g.chunks[i], number: i, first: i == 0, last: i == len(g.chunks)-1})
		i++
	}
	if len(g.chunks) == 0 && !g.committed {
		w.abandon(g)
	}
	return nil
}

// wait handles the next outcome.
func (w *worker) wait(ctx context.Context) error {
	select {
	case o := <-w.exec.out:
		return w.handle(ctx, o)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// submit hands a flight over; there is room for it.
func (w *worker) submit(f *flight) {
	f.script = w.newScript()
	w.write(f)
	w.flights = append(w.flights, f)
	w.exec.in <- f
}

// write builds the script of a flight.
func (w *worker) write(f *flight) {
	s := f.script
	s.reset()
	w.build.tidy(s)
	if f.poll {
		s.plain(stmtLSN, op{kind: opLSN, want: anyCount})
		s.sync()
		return
	}
	w.writeBegin(s, f)
	if f.chunk != nil {
		w.writeChunk(s, f.chunk)
		if broken := s.broken; broken != nil {
			// It cannot be sent. What is taken back then must have begun.
			s.reset()
			w.writeBegin(s, f)
			s.broken = broken
		} else if f.last {
			s.plain(stmtImmediate, op{kind: opConstraints, want: anyCount})
		}
	}
	s.sync()
}

// writeBegin begins the transaction or, in it, what can be taken back alone.
func (w *worker) writeBegin(s *script, f *flight) {
	g := f.group
	if f.first {
		s.control(stmtBegin)
		if g.sync {
			s.control(stmtSynchronous)
		}
		s.position(w.a.options.Mirror, w.shardText(), g.from, g.end)
		if f.chunk != nil {
			s.control(stmtDeferred)
		}
		return
	}
	if f.number > 1 {
		s.control(stmtRelease)
	}
	s.control(stmtSavepoint)
}

func (w *worker) writeChunk(s *script, c *chunk) {
	if c.truncate != nil {
		w.build.truncate(s, c.truncate, w.a.options.Destination)
	}
	for _, win := range c.windows {
		w.build.window(s, win)
	}
}

// drain hands over what is open and waits until everything is committed.
func (w *worker) drain(ctx context.Context) error {
	if err := w.seal(ctx); err != nil {
		return err
	}
	for len(w.flights) > 0 {
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stale tells whether a group must be folded again: a table was stopped, or
// another session turned out to have applied some of its transactions.
func (w *worker) stale(g *group) bool {
	return g.stamp != w.stamp || len(g.items) > 0 && g.items[0].tx.FinalLSN < w.committed
}

// refold makes the chunks of a group in memory again.
func (w *worker) refold(g *group) error {
	for _, c := range g.chunks {
		w.recycle(c)
	}
	for len(g.items) > 0 && g.items[0].tx.FinalLSN < w.committed {
		g.items[0].release()
		g.items = g.items[1:]
	}
	g.chunks, g.stamp = nil, w.stamp
	for _, it := range g.items {
		if err := w.fold(g, it); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) releaseGroup(g *group) {
	for _, it := range g.items {
		it.release()
	}
	g.items = nil
}

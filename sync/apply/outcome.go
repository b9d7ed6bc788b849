package apply

import (
	"context"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// handle takes the outcome of the oldest flight.
func (w *worker) handle(ctx context.Context, o outcome) error {
	if o.failure != nil {
		return w.recover(ctx, o)
	}
	w.flights = slices.Delete(w.flights, 0, 1)
	w.landed(o)
	return nil
}

// landed notes what a flight has done, and gives its memory back.
func (w *worker) landed(o outcome) {
	f := o.flight
	if f.script != nil {
		w.keepScript(f.script)
		f.script = nil
	}
	if f.poll {
		w.flushed(o.answer.flushLSN)
		return
	}
	f.group.began = true
	if f.chunk != nil {
		w.count(f.group, f.chunk)
		w.relax(f.chunk)
		f.group.exact = f.group.exact || f.chunk.exact()
		if f.group.large {
			w.recycle(f.chunk)
		}
	}
	if f.last {
		w.committedGroup(f.group, o)
	}
}

// count adds what a chunk has done to its group. A table that every shard has is
// counted by the first.
func (w *worker) count(g *group, c *chunk) {
	g.counts.plus(c.counts())
	if w.a.options.Observer.GroupApplied == nil {
		return
	}
	add := func(t *Target, counts Counts) {
		if t.key == nil && w.shard > 0 {
			return
		}
		if g.tables == nil {
			g.tables = map[catalog.Name]Counts{}
		}
		sum := g.tables[t.sourceName()]
		sum.plus(counts)
		g.tables[t.sourceName()] = sum
	}
	for _, win := range c.windows {
		add(win.target, win.counts)
	}
	if w.shard > 0 {
		return // a TRUNCATE goes to every shard
	}
	for _, e := range c.truncate {
		add(e.target, Counts{Truncates: 1})
	}
}

// committedGroup notes that a group is there for good, unless the destination
// loses it before it is flushed.
func (w *worker) committedGroup(g *group, o outcome) {
	g.committed = true
	w.failures = 0
	w.committed, w.recorded = g.end, time.Now()
	w.unflushed = append(w.unflushed, commit{end: g.end, insert: o.answer.insertLSN})
	w.stats.group(w, g)
	if f := w.a.options.Observer.GroupApplied; f != nil && len(g.items) > 0 {
		f(g.info(w.shard, o.took))
	}
	w.forgetGroup(g)
	w.flushed(o.answer.flushLSN)
}

// forgetGroup releases a group that is committed.
func (w *worker) forgetGroup(g *group) {
	if !g.large {
		for _, c := range g.chunks {
			w.recycle(c)
		}
		w.releaseGroup(g)
	}
	g.chunks = nil
	if i := slices.Index(w.sealed, g); i >= 0 {
		w.sealed = slices.Delete(w.sealed, i, i+1)
	}
}

// commit is a recorded position and how far the destination must flush for it
// to last.
type commit struct {
	end    stream.LSN
	insert stream.LSN // of the destination
}

// flushed notes how far the destination has flushed, and confirms what that
// makes safe.
func (w *worker) flushed(lsn stream.LSN) {
	n := 0
	for n < len(w.unflushed) && w.unflushed[n].insert <= lsn {
		n++
	}
	if n == 0 {
		return
	}
	safe := w.unflushed[n-1].end
	w.unflushed = slices.Delete(w.unflushed, 0, n)
	w.stats.flush(safe)
	w.a.confirms.report(w.shard, safe)
}

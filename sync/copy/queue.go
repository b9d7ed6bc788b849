package copy

import (
	"context"
	"slices"
)

// job is a range with what is known of its copy. The worker that has taken it
// from the queue owns it.
type job struct {
	r     *Range
	table *tableState
	has   []bool // by shard: the rows that belong there are recorded, or none can
	tried bool   // it may be recorded where has does not say so
	read  size   // by the last attempt that read all of it
	told  size   // as progress
}

type size struct{ rows, bytes int64 }

// tablePhase is where a table is. See tableState.to for what may follow what.
type tablePhase byte

const (
	tableCopying  tablePhase = iota // has ranges that are waiting or under way
	tableCopied                     // all ranges are committed; that is not recorded durably yet
	tableComplete                   // recorded, and told
	tableFailed                     // given up for a reason of its own
	tableLost                       // its snapshot is gone before it was read
)

// tableTransitions is what may follow each phase. A copied table is copied
// further when a destination turns out to have lost what it had committed.
var tableTransitions = map[tablePhase][]tablePhase{
	tableCopying: {tableCopied, tableFailed, tableLost},
	tableCopied:  {tableCopying, tableComplete, tableFailed, tableLost},
}

// tableState is the copy of one table. Its fields from phase on are guarded by
// Copier.mu.
type tableState struct {
	t      *Table
	jobs   []*job
	ctx    context.Context // ends when the table fails
	cancel context.CancelCauseFunc

	phase   tablePhase
	open    int          // ranges that are not committed
	queue   []*job       // that nobody has taken
	left    int64        // bytes of those
	workers int          // at the table
	source  *sourceState // whose snapshot it is read in; nil: not decided
	err     error        // why it failed
}

// settled tells that nothing more happens to the table.
func (t *tableState) settled() bool { return len(tableTransitions[t.phase]) == 0 }

// to changes the phase if it may follow; c.mu is held.
func (c *Copier) to(t *tableState, phase tablePhase) bool {
	if !slices.Contains(tableTransitions[t.phase], phase) {
		return false
	}
	t.phase = phase
	if t.settled() {
		c.unsettled--
		t.cancel(t.err)
	}
	c.wake()
	return true
}

// wake lets everybody look again who waits for a change; c.mu is held.
func (c *Copier) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// take gives the next range for a worker, after waiting for one; nil when there
// will be none. All ranges of a table are read in one snapshot, so from one server.
func (c *Copier) take(ctx context.Context, w *worker) *job {
	for {
		c.mu.Lock()
		j := c.pick(w)
		over, changed := c.unsettled == 0, c.changed
		c.mu.Unlock()
		if j != nil || over {
			return j
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// pick takes the next range of the table that the worker is at, or of another one
// when there is none; c.mu is held. Rows that one worker has copied are in the order
// they had, which is what BRIN indexes live on, and what makes an index on a growing
// key cheap to build.
func (c *Copier) pick(w *worker) *job {
	if w.at == nil || !w.at.readable(w.source) {
		w.leave()
		if w.at = c.choose(w.source); w.at == nil {
			return nil
		}
		w.at.workers++
	}
	t := w.at
	if t.source == nil {
		t.source = w.source // once: it is read without c.mu from now on
	}
	j := t.queue[0]
	t.queue = t.queue[1:]
	t.left -= j.r.Bytes
	return j
}

// leave ends a worker's being at a table; c.mu is held.
func (w *worker) leave() {
	if w.at != nil {
		w.at.workers--
		w.at = nil
	}
}

// readable tells whether a worker of a source may take a range of the table.
func (t *tableState) readable(s *sourceState) bool {
	return !t.settled() && len(t.queue) > 0 && (t.source == nil || t.source == s)
}

// choose finds the table that a worker does most for: the one with most left for
// each who would be at it, as seats are given to parties by d'Hondt. So the tables
// that are at work end at about the same time, large ones have several workers, and
// nobody is left alone with a large one. c.mu is held.
func (c *Copier) choose(s *sourceState) (best *tableState) {
	for len(c.queue) > 0 && c.queue[0].settled() {
		c.queue = c.queue[1:]
	}
	for _, t := range c.queue {
		if !t.readable(s) {
			continue
		}
		if best == nil || t.left/int64(t.workers+1) >= best.left/int64(best.workers+1) {
			best = t
		}
		if t.workers == 0 {
			break // those behind it are smaller, and nobody is at them either
		}
	}
	return best
}

// putBack returns a range to the front of its table's queue.
func (c *Copier) putBack(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j.table.queue = slices.Insert(j.table.queue, 0, j)
	j.table.left += j.r.Bytes
	c.wake()
}

// copied notes that a range is committed wherever its rows belong.
func (c *Copier) copied(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j.table.open--; j.table.open == 0 {
		c.to(j.table, tableCopied)
	}
}

// again puts back the ranges of a copied table that a destination has lost.
func (c *Copier) again(t *tableState, lost []*job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.source.workers == 0 {
		c.lose(t)
	} else if c.to(t, tableCopying) {
		t.open = len(lost)
		t.enqueue(lost)
	}
}

// enqueue makes ranges the table's queue; c.mu is held.
func (t *tableState) enqueue(jobs []*job) {
	t.queue, t.left = slices.Clone(jobs), 0
	for _, j := range jobs {
		t.left += j.r.Bytes
	}
}

// lose ends a table that nobody can read in its snapshot any more; c.mu is held.
func (c *Copier) lose(t *tableState) {
	if c.to(t, tableLost) {
		c.lost++
	}
}

// giveUp ends a table for a reason of its own.
func (c *Copier) giveUp(t *tableState, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.settled() {
		return
	}
	t.err = err
	if c.to(t, tableFailed) {
		c.failures = append(c.failures, t)
	}
}

// retire notes that a worker has stopped because the snapshot of its source is
// gone. Tables that nobody can read then are lost.
func (c *Copier) retire(w *worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.leave()
	s := w.source
	s.workers--
	left := 0
	for _, other := range c.sources {
		left += other.workers
	}
	for _, t := range c.tables {
		if t.phase == tableCopying && (left == 0 || s.workers == 0 && t.source == s) {
			c.lose(t)
		}
	}
	c.wake()
}

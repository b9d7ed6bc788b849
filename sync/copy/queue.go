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

	phase  tablePhase
	open   int          // ranges that are not committed
	source *sourceState // whose snapshot it is read in; nil: not decided
	err    error        // why it failed
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

// take gives the next range for a worker of a source, after waiting for one;
// nil when there will be none. All ranges of a table are read in one snapshot,
// so from one server.
func (c *Copier) take(ctx context.Context, s *sourceState) *job {
	for {
		c.mu.Lock()
		j := c.pick(s)
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

// pick takes the first range that a source may read; c.mu is held.
func (c *Copier) pick(s *sourceState) *job {
	for len(c.queue) > 0 && c.queue[0].table.settled() {
		c.queue = c.queue[1:]
	}
	for i, j := range c.queue {
		if j.table.settled() || j.table.source != nil && j.table.source != s {
			continue
		}
		if j.table.source == nil {
			j.table.source = s // once: it is read without c.mu from now on
		}
		if i == 0 {
			c.queue = c.queue[1:] // nearly always; moving thousands for each would cost
		} else {
			c.queue = slices.Delete(c.queue, i, i+1)
		}
		return j
	}
	return nil
}

// putBack returns a range to the front of the queue.
func (c *Copier) putBack(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = slices.Insert(c.queue, 0, j)
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
		c.queue = append(c.queue, lost...)
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

// retire notes that a worker of a source has stopped because the snapshot is
// gone. Tables that nobody can read then are lost.
func (c *Copier) retire(s *sourceState) {
	c.mu.Lock()
	defer c.mu.Unlock()
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

package apply

import (
	"time"

	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// group is what one destination transaction applies: several whole source
// transactions, or a part after the other of one large one, or nothing but the
// position.
type group struct {
	items     []*item // in order; empty for a position alone
	chunks    []*chunk
	large     bool       // its chunks are made while it is applied
	began     bool       // one of them is applied already
	from, end stream.LSN // the recorded position moves
	rows      int
	bytes     int64
	opened    time.Time
	stamp     int // worker.stamp when its changes were folded
	committed bool
	sync      bool // committed and flushed at once
	exact     bool // some changes went one by one
	counts    Counts
	tables    map[catalog.Name]Counts // nil unless an Observer wants them
}

// chunk is a part of a group that is applied, and if need be taken back, as one.
type chunk struct {
	windows  []*window
	byTarget map[*Target]*window
	byTable  map[catalog.Name]*window
	last     *window
	truncate []entry // it is this TRUNCATE and nothing else
	rows     int
	bytes    int64
	spare    []*window
	copies   arena
}

func newChunk() *chunk {
	return &chunk{byTarget: map[*Target]*window{}, byTable: map[catalog.Name]*window{}}
}

// reset empties the chunk, keeping its memory.
func (c *chunk) reset() {
	for _, w := range c.windows {
		if len(c.spare) < 16 && cap(w.entries) <= 1<<16 {
			w.reset(nil)
			c.spare = append(c.spare, w)
		}
	}
	clear(c.windows)
	clear(c.byTarget)
	clear(c.byTable)
	c.copies.reset()
	*c = chunk{windows: c.windows[:0], byTarget: c.byTarget, byTable: c.byTable, spare: c.spare, copies: c.copies}
}

// window gives the window of a target. It is nil if another shape of the same
// table is there already: the changes behind belong to the next chunk.
func (c *chunk) window(t *Target) *window {
	if c.last != nil && c.last.target == t {
		return c.last
	}
	w := c.byTarget[t]
	if w == nil {
		if c.byTable[t.Table] != nil {
			return nil
		}
		if n := len(c.spare); n > 0 {
			w, c.spare = c.spare[n-1], c.spare[:n-1]
			w.reset(t)
		} else {
			w = newWindow(t)
		}
		c.byTarget[t], c.byTable[t.Table] = w, w
		c.windows = append(c.windows, w)
	}
	c.last = w
	return w
}

func (c *chunk) empty() bool { return c.rows == 0 && len(c.truncate) == 0 }

// add puts a change into its window.
func (c *chunk) add(w *window, e entry) error {
	c.rows++
	c.bytes += int64(len(e.change.Old) + len(e.change.New))
	w.counts.add(e.change.Kind)
	return w.add(e)
}

// counts are the changes in the chunk.
func (c *chunk) counts() (sum Counts) {
	for _, w := range c.windows {
		sum.plus(w.counts)
	}
	if c.truncate != nil {
		sum.Truncates++
	}
	return sum
}

// arena holds copies of changes that are valid for one call only.
type arena struct {
	changes []stream.Change
	block   []byte
}

const (
	changesInBlock = 512
	bytesInBlock   = 256 << 10
)

func (a *arena) reset() { *a = arena{} }

// keep copies a change.
func (a *arena) keep(c *stream.Change) *stream.Change {
	if len(a.changes) == cap(a.changes) {
		a.changes = make([]stream.Change, 0, changesInBlock)
	}
	a.changes = append(a.changes, *c)
	out := &a.changes[len(a.changes)-1]
	out.Old, out.New = a.copy(c.Old), a.copy(c.New)
	if c.Truncated != nil {
		truncated := *c.Truncated
		out.Truncated = &truncated
	}
	return out
}

func (a *arena) copy(t stream.Tuple) stream.Tuple {
	if t == nil {
		return nil
	}
	if len(t) > bytesInBlock/4 {
		return append(stream.Tuple(nil), t...)
	}
	if cap(a.block)-len(a.block) < len(t) {
		a.block = make([]byte, 0, bytesInBlock)
	}
	at := len(a.block)
	a.block = append(a.block, t...)
	return stream.Tuple(a.block[at:len(a.block):len(a.block)])
}

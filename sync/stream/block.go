package stream

import (
	"sync"
	"sync/atomic"
)

const (
	// blockSize is how much is read at once. A message that is larger gets a
	// block of its own size.
	blockSize = 256 << 10
	// slabSize is how many changes share a slab.
	slabSize = 1024
)

// block is a piece of memory that tuples point into. It is counted: by the
// reader as long as it fills it, and by each transaction with tuples in it. The
// last to let go gives it back.
type block struct {
	data []byte
	next *block // the one filled after it, for those who hold both
	refs atomic.Int32
}

var blocks = sync.Pool{New: func() any { return &block{data: make([]byte, blockSize)} }}

// newBlock gives a block of at least size bytes that the caller holds.
func newBlock(size int) *block {
	b := &block{}
	if size <= blockSize {
		b = blocks.Get().(*block)
	} else {
		b.data = make([]byte, size)
	}
	b.refs.Store(1)
	return b
}

func (b *block) retain() { b.refs.Add(1) }

func (b *block) release() {
	if b.refs.Add(-1) != 0 {
		return
	}
	b.next = nil
	if len(b.data) == blockSize {
		blocks.Put(b)
	}
}

// unshared tells whether only the caller holds b.
func (b *block) unshared() bool { return b.refs.Load() == 1 }

// slab is memory for changes, shared by consecutive transactions and counted
// like a block.
type slab struct {
	items []Change
	used  int // by the reader alone
	refs  atomic.Int32
}

var slabs = sync.Pool{New: func() any { return &slab{items: make([]Change, slabSize)} }}

func newSlab(size int) *slab {
	s := &slab{}
	if size <= slabSize {
		s = slabs.Get().(*slab)
	} else {
		s.items = make([]Change, size)
	}
	s.refs.Store(1)
	return s
}

func (s *slab) retain() { s.refs.Add(1) }

func (s *slab) release() {
	if s.refs.Add(-1) != 0 {
		return
	}
	if len(s.items) != slabSize {
		return
	}
	s.used = 0 // each transaction has cleared its own
	slabs.Put(s)
}

// memory is what a transaction holds: consecutive blocks and a slab.
type memory struct {
	first  *block
	blocks int
	slab   *slab
}

// release lets go of everything; m is empty then.
func (m *memory) release() {
	m.releaseBlocks()
	if m.slab != nil {
		m.slab.release()
		m.slab = nil
	}
}

func (m *memory) releaseBlocks() {
	b := m.first
	for n := m.blocks; n > 0; n-- {
		var next *block
		if n > 1 { // the last one's next belongs to the reader
			next = b.next
		}
		b.release()
		b = next
	}
	m.first, m.blocks = nil, 0
}

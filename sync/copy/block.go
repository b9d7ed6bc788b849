package copy

import (
	"context"
	"sync"
	"sync/atomic"
)

const (
	// blockSize is how much is read or written at once.
	blockSize = 512 << 10
	// fullBlock is from which size on a block is passed on: the less there is to
	// a write, the more writes there are.
	fullBlock = 128 << 10
	// blocksInFlight is how many blocks one stream may have: one is read or
	// filled while another is written, and one waits.
	blocksInFlight = 3
)

// block is a piece of the stream, for one or more writers.
type block struct {
	data    []byte // what to write, a part of space
	space   []byte
	writers atomic.Int32
	home    *ring
}

var spaces = sync.Pool{New: func() any { return &block{space: make([]byte, blockSize)} }}

// release is called by each writer that is done with b.
func (b *block) release() {
	if b.writers.Add(-1) == 0 {
		b.home.free <- b
	}
}

// ring is the blocks of one stream. One goroutine takes blocks; any may release.
type ring struct {
	free chan *block
	made int
}

func newRing() *ring { return &ring{free: make(chan *block, blocksInFlight)} }

// get gives a block, after waiting for one if all are in flight.
func (r *ring) get(ctx context.Context) (*block, error) {
	select {
	case b := <-r.free:
		return b, nil
	default:
	}
	if r.made < blocksInFlight {
		r.made++
		b := spaces.Get().(*block)
		b.home = r
		return b, nil
	}
	select {
	case b := <-r.free:
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// giveBack returns what is free when the stream has ended.
func (r *ring) giveBack() {
	for {
		select {
		case b := <-r.free:
			b.home, b.data = nil, nil
			spaces.Put(b)
		default:
			return
		}
	}
}

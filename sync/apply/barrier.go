package apply

import (
	"context"
	"errors"
	"sync"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// barrier is a point at which all shards are to be at the same position.
type barrier struct {
	f       func(stream.LSN) error
	done    chan error // capacity 1
	reached sync.WaitGroup
	failed  error // of a worker that cannot reach it
	mu      sync.Mutex
}

func (b *barrier) fail(err error) { b.done <- err }

// arrive is called by each worker when it has committed and recorded
// everything before the barrier, or cannot.
func (b *barrier) arrive(err error) {
	b.mu.Lock()
	b.failed = errors.Join(b.failed, err)
	b.mu.Unlock()
	b.reached.Done()
}

// At runs f at a point where every shard has committed and recorded everything
// up to pos and nothing after it. No change is applied until f returns; its
// error is At's. It waits for a running Run; the other errors are those of ctx
// and of a Run that ends before the point is reached.
func (a *Applier) At(ctx context.Context, f func(pos stream.LSN) error) error {
	a.mu.Lock()
	closed := a.closed
	a.mu.Unlock()
	b := &barrier{f: f, done: make(chan error, 1)}
	a.asking.Add(1)
	defer a.asking.Add(-1)
	select {
	case a.barriers <- b:
	case <-closed: // nil, and so never ready, before the first Run
		return errors.New("nothing is being applied")
	case <-ctx.Done():
		return ctx.Err()
	}
	// From here on f may run: its end is awaited whatever becomes of ctx.
	return <-b.done
}

// meet is the dispatcher's part: it dispatches nothing until f is done.
func (a *Applier) meet(b *barrier, at stream.LSN) error {
	b.reached.Add(len(a.workers))
	it := &item{barrier: b}
	it.holders.Store(int32(len(a.workers)))
	for _, w := range a.workers {
		w.queue.pushBarrier(it)
	}
	b.reached.Wait()
	if b.failed != nil {
		b.fail(b.failed)
		return nil // the worker's own error ends Run
	}
	for _, w := range a.workers {
		at = max(at, w.position())
	}
	b.done <- b.f(at)
	return nil
}

// pushBarrier adds a barrier; a worker that has gone will not reach it.
func (q *queue) pushBarrier(i *item) {
	q.mu.Lock()
	gone := q.closed || q.discard
	if !gone {
		q.items = append(q.items, i)
	}
	q.mu.Unlock()
	if gone {
		i.release()
		return
	}
	signal(q.changed)
}

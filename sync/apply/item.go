package apply

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// item is one transaction, mark or barrier on its way to the workers.
type item struct {
	tx      *stream.Transaction
	barrier *barrier
	renew   bool // a step was done: the session is made anew
	targets *resolution
	parts   [][]*stream.Change // by shard, of a transaction in memory; nil if every shard has all of it
	holders atomic.Int32       // workers that have not released it
	reading sync.Mutex         // a spool is read by one goroutine at a time
}

// release gives the transaction's memory back when the last worker is done. A
// barrier that is released has not been reached.
func (i *item) release() {
	switch {
	case i.barrier != nil:
		i.barrier.arrive(errEnded)
		return
	case i.renew:
		return
	}
	if i.holders.Add(-1) == 0 {
		i.tx.Release()
	}
}

// rows is how many changes the shard has, as far as it is known.
func (i *item) rows(shard int) int {
	switch {
	case i.parts != nil:
		return len(i.parts[shard])
	case i.tx.Spool != nil:
		return max(1, int(i.tx.Rows))
	}
	return len(i.tx.Changes)
}

// each gives the changes of one shard in order. Those of a spooled transaction
// are valid until yield returns; those of tables in stopped may be left out.
func (i *item) each(shard int, stopped []stopped, yield func(*stream.Change) error) error {
	if i.parts != nil {
		for _, c := range i.parts[shard] {
			if err := yield(c); err != nil {
				return err
			}
		}
		return nil
	}
	if i.tx.Spool == nil {
		return i.tx.Each(yield)
	}
	i.reading.Lock()
	defer i.reading.Unlock()
	number := -1
	return i.tx.Spool.Each(func(c *stream.Change) error {
		number++
		return i.targets.route(number, c, stopped, func(to int, c *stream.Change) error {
			if to == shard || to == everyShard {
				return yield(c)
			}
			return nil
		})
	})
}

// errEnded is what a barrier gets that nobody waits for any more.
var errEnded = errors.New("applying has ended")

// queue is what a worker has to do, in order.
type queue struct {
	mu      sync.Mutex
	items   []*item
	rows    int
	bytes   int64
	ended   bool // nothing more comes
	discard bool // what is there is not to be done either
	closed  bool // the worker has gone

	maxRows  int
	maxBytes int64
	changed  chan struct{} // to the worker: something is new
	space    chan struct{} // to the dispatcher: there is room again
	stopped  chan struct{} // closed with discard
}

func newQueue(maxRows int, maxBytes int64) *queue {
	return &queue{
		maxRows: maxRows, maxBytes: maxBytes,
		changed: make(chan struct{}, 1), space: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// push adds an item. The second result is false while the queue is full: the
// caller waits for space then, before it pushes again.
func (q *queue) push(i *item, rows int, bytes int64) (room bool) {
	q.mu.Lock()
	if q.closed || q.discard {
		q.mu.Unlock()
		i.release()
		return true
	}
	q.items = append(q.items, i)
	q.rows += rows
	q.bytes += bytes
	room = q.rows < q.maxRows && q.bytes < q.maxBytes
	q.mu.Unlock()
	signal(q.changed)
	return room
}

func (q *queue) hasRoom() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed || q.discard || q.rows < q.maxRows && q.bytes < q.maxBytes
}

// take gives all that is there.
func (q *queue) take(into []*item) (items []*item, ended, discard bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items = append(into, q.items...)
	clear(q.items)
	q.items, q.rows, q.bytes = q.items[:0], 0, 0
	signal(q.space)
	return items, q.ended, q.discard
}

// end says that nothing more comes, and with discard that what is there is not
// to be done any more.
func (q *queue) end(discard bool) {
	q.mu.Lock()
	q.ended = true
	if discard && !q.discard {
		q.discard = true
		close(q.stopped)
	}
	q.mu.Unlock()
	signal(q.changed)
	signal(q.space)
}

// close releases what nobody takes any more.
func (q *queue) close() {
	q.mu.Lock()
	items := q.items
	q.items, q.closed = nil, true
	q.mu.Unlock()
	signal(q.space)
	for _, i := range items {
		i.release()
	}
}

// newCountdown gives a function that calls done with its n-th call.
func newCountdown(n int, done func()) func() {
	var left atomic.Int32
	left.Store(int32(n))
	return func() {
		if left.Add(-1) == 0 {
			done()
		}
	}
}

package stream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// queue hands finished transactions from the reader's goroutine to the
// consumer's, many at a time. What is put is bounded by the bytes that have not
// been taken.
type queue struct {
	limit int64
	given LSN          // the mark that was put last; the reader's alone
	bytes atomic.Int64 // of the transactions that have not been taken
	full  atomic.Bool  // the reader waits for space

	mu      sync.Mutex
	items   []*Transaction
	mark    mark // behind the items
	err     error
	waiting bool // the consumer waits to be woken

	wake  chan struct{}
	space chan struct{}

	// The consumer's alone.
	taken    []*Transaction
	at       int // the next one of taken
	position LSN // of what was given last
}

func newQueue(limit int64) *queue {
	return &queue{limit: limit, wake: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

// put appends transactions, and moves the mark, which is behind them.
func (q *queue) put(transactions []*Transaction, m mark) {
	var bytes int64
	for _, t := range transactions {
		bytes += t.queued
	}
	q.bytes.Add(bytes)
	q.mu.Lock()
	q.items = append(q.items, transactions...)
	q.mark = m
	q.unlockAndWake()
}

// end says that nothing comes behind what there is but err.
func (q *queue) end(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	q.unlockAndWake()
}

func (q *queue) ended() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

func (q *queue) unlockAndWake() {
	wake := q.waiting
	q.waiting = false
	q.mu.Unlock()
	if wake {
		signal(q.wake)
	}
}

// signal wakes the one who waits, or will.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// waitForSpace waits until the consumer has taken half of a full queue.
func (q *queue) waitForSpace(ctx context.Context) error {
	if q.bytes.Load() < q.limit {
		return nil
	}
	for {
		q.full.Store(true)
		if q.bytes.Load() <= q.limit/2 {
			q.full.Store(false)
			return nil
		}
		select {
		case <-q.space:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tryNext takes a transaction if there is one.
func (q *queue) tryNext() (*Transaction, bool) {
	if q.at == len(q.taken) {
		q.mu.Lock()
		q.swap()
		q.mu.Unlock()
		if q.at == len(q.taken) {
			return nil, false
		}
	}
	return q.take(), true
}

// swap takes everything there is. The consumer has taken what it had, and holds
// the lock.
func (q *queue) swap() {
	q.taken, q.items, q.at = q.items, q.taken[:0], 0
}

func (q *queue) take() *Transaction {
	t := q.taken[q.at]
	q.taken[q.at] = nil
	q.at++
	q.position = t.EndLSN
	if left := q.bytes.Add(-t.queued); left <= q.limit/2 && q.full.Load() && q.full.CompareAndSwap(true, false) {
		signal(q.space)
	}
	return t
}

// next takes a transaction, or what there is behind the last one: a mark that
// was not given yet, or the error.
func (q *queue) next(ctx context.Context) (*Transaction, error) {
	for {
		if q.at < len(q.taken) {
			return q.take(), nil
		}
		q.mu.Lock()
		if len(q.items) > 0 {
			q.swap()
			q.mu.Unlock()
			continue
		}
		m, err := q.mark, q.err
		if m.lsn > q.position {
			q.mu.Unlock()
			q.position = m.lsn
			return &Transaction{EndLSN: m.lsn, CommitTime: m.time, Received: time.Now()}, nil
		}
		if err == nil {
			q.waiting = true
		}
		q.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// failedBy tells whether err is what the queue ends with.
func (q *queue) failedBy(err error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return errors.Is(q.err, err)
}

// close releases what nobody has taken. Nobody uses q any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.taken[q.at:] {
		t.Release()
	}
	for _, t := range q.items {
		t.Release()
	}
	q.taken, q.items, q.at = nil, nil, 0
}

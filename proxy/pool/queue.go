package pool

import "time"

// waiter is a place in a queue. It belongs to its client, who waits for one
// thing at a time; the pool's lock guards it.
type waiter struct {
	client     *Client
	want       Want
	since      int64 // instant
	number     uint64
	queue      *queue // nil while it is in none
	next, prev *waiter

	// What it got, by the time something is sent on ready.
	server *Server
	err    error
	ready  chan struct{} // capacity 1
	timer  *time.Timer   // nil before its first wait
}

// queue is a list of waiters in the order of their arrival.
type queue struct {
	first, last *waiter
	length      int
}

func (q *queue) push(w *waiter) {
	w.queue, w.prev, w.next = q, q.last, nil
	if q.last != nil {
		q.last.next = w
	} else {
		q.first = w
	}
	q.last = w
	q.length++
}

func (q *queue) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.queue, w.prev, w.next = nil, nil, nil
	q.length--
}

// grant takes a waiter out of its queue and tells it what it got.
func (w *waiter) grant(s *Server, err error) {
	w.queue.remove(w)
	w.server, w.err = s, err
	w.ready <- struct{}{}
}

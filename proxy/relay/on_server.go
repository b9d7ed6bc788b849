package relay

import (
	"container/list"
	"math"
	"math/rand/v2"
)

// onServer are the statements that a server connection has, the one unused longest
// first.
type onServer struct {
	at    map[*prepared]*list.Element
	order list.List // of *placed
}

// placed is a statement on one server connection.
type placed struct {
	*prepared
	until int64 // instant at which it is too old
}

// has tells whether the statement is there and may be used. An older one than
// prepared_statements_ttl has to be closed before it is prepared again.
func (o *onServer) has(p *prepared, now int64) bool {
	place, ok := o.at[p]
	if !ok || now >= place.Value.(*placed).until {
		return false
	}
	o.order.MoveToBack(place)
	return true
}

func (o *onServer) add(p *prepared, until int64) {
	if o.at == nil {
		o.at = make(map[*prepared]*list.Element)
	}
	if _, ok := o.at[p]; !ok {
		o.at[p] = o.order.PushBack(&placed{p, until})
	}
}

func (o *onServer) remove(p *prepared) {
	if place, ok := o.at[p]; ok {
		o.order.Remove(place)
		delete(o.at, p)
	}
}

// evict takes out what has to go before p comes: p itself if it is too old, and then the
// one unused longest, if that is dropped or too old or there are as many as limit. It is
// to be called until it gives nil.
func (o *onServer) evict(p *prepared, limit int, now int64) *prepared {
	if o.at[p] != nil {
		o.remove(p)
		return p
	}
	front := o.order.Front()
	if front == nil {
		return nil
	}
	oldest := front.Value.(*placed)
	if o.order.Len() < limit && !oldest.dropped.Load() && now < oldest.until {
		return nil
	}
	o.remove(oldest.prepared)
	return oldest.prepared
}

func (o *onServer) clear() {
	clear(o.at)
	o.order.Init()
}

// lapse gives the instant at which a statement that is prepared now is too old.
func (l *limits) lapse(now int64) int64 {
	if l.preparedTTL <= 0 {
		return math.MaxInt64
	}
	if l.preparedJitter > 0 { // so that they are not all prepared again at once
		now += rand.Int64N(int64(l.preparedJitter))
	}
	return now + int64(l.preparedTTL)
}

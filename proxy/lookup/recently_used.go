package lookup

import "container/list"

// recentlyUsed is a map that drops what was used longest ago when it is full.
type recentlyUsed[K comparable, V any] struct {
	max     int
	entries map[K]*list.Element
	order   *list.List // of pair[K, V], the one used last in front
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newRecentlyUsed[K comparable, V any](limit int) *recentlyUsed[K, V] {
	return &recentlyUsed[K, V]{max: limit, entries: make(map[K]*list.Element), order: list.New()}
}

func (r *recentlyUsed[K, V]) get(key K) (value V, ok bool) {
	element, ok := r.entries[key]
	if !ok {
		return value, false
	}
	r.order.MoveToFront(element)
	return element.Value.(pair[K, V]).value, true
}

func (r *recentlyUsed[K, V]) put(key K, value V) {
	if element, ok := r.entries[key]; ok {
		element.Value = pair[K, V]{key, value}
		r.order.MoveToFront(element)
		return
	}
	if len(r.entries) >= r.max {
		oldest := r.order.Back()
		delete(r.entries, oldest.Value.(pair[K, V]).key)
		r.order.Remove(oldest)
	}
	r.entries[key] = r.order.PushFront(pair[K, V]{key, value})
}

func (r *recentlyUsed[K, V]) remove(key K) {
	if element, ok := r.entries[key]; ok {
		delete(r.entries, key)
		r.order.Remove(element)
	}
}

func (r *recentlyUsed[K, V]) len() int { return len(r.entries) }

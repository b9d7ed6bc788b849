package auth

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// LimiterOptions bound failed logins. Zero fields get the defaults.
type LimiterOptions struct {
	Failures  int              // failures allowed within Window; default 10
	Window    time.Duration    // default 60 s
	Addresses int              // addresses remembered, bounding memory; default 10000
	Now       func() time.Time // default time.Now
}

// Limiter refuses addresses from which too many logins failed lately: at most
// Failures within any span of Window. IPv6 addresses count by their /64, the
// smallest network a customer gets. It is safe for concurrent use.
//
// A success does not clear failures, or one valid account would make guessing
// others free. Logins that run at the same time are not counted before they
// fail, so a burst may have as many tries as logins are allowed at once.
type Limiter struct {
	options LimiterOptions

	mu      sync.Mutex
	entries map[netip.Addr]*list.Element
	recent  *list.List // of *failures, the address that failed last in front
}

type failures struct {
	address netip.Addr
	at      []time.Time // ascending, at most options.Failures
}

// NewLimiter makes a Limiter.
func NewLimiter(o LimiterOptions) *Limiter {
	if o.Failures <= 0 {
		o.Failures = 10
	}
	if o.Window <= 0 {
		o.Window = time.Minute
	}
	if o.Addresses <= 0 {
		o.Addresses = 10_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Limiter{options: o, entries: make(map[netip.Addr]*list.Element), recent: list.New()}
}

// Wait is how long the address has to wait before it may log in; 0 if it may.
func (l *Limiter) Wait(address netip.Addr) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	element, ok := l.entries[limiterKey(address)]
	if !ok {
		return 0
	}
	f := element.Value.(*failures)
	if len(f.at) < l.options.Failures {
		return 0
	}
	// The oldest of the last Failures failures must leave the window.
	oldest := f.at[len(f.at)-l.options.Failures]
	return max(0, oldest.Add(l.options.Window).Sub(l.options.Now()))
}

// Fail records a failed login.
func (l *Limiter) Fail(address netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := limiterKey(address)
	element, ok := l.entries[key]
	if !ok {
		if len(l.entries) >= l.options.Addresses {
			oldest := l.recent.Back()
			l.recent.Remove(oldest)
			delete(l.entries, oldest.Value.(*failures).address)
		}
		element = l.recent.PushFront(&failures{address: key})
		l.entries[key] = element
	}
	l.recent.MoveToFront(element)
	f := element.Value.(*failures)
	if len(f.at) == l.options.Failures {
		copy(f.at, f.at[1:])
		f.at = f.at[:len(f.at)-1]
	}
	f.at = append(f.at, l.options.Now())
}

// Len is the number of addresses remembered.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

func limiterKey(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if address.Is6() {
		if network, err := address.Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return address
}

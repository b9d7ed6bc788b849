package proxy

import (
	"net/netip"
	"sync"
)

// admission bounds the connections that are not logged in yet, in all and for
// each address, so that one address alone cannot keep everybody out.
type admission struct {
	max, maxPerAddress int

	mu        sync.Mutex
	total     int
	byAddress map[netip.Addr]int
}

func newAdmission(limit int) *admission {
	return &admission{max: limit, maxPerAddress: max(1, limit/2), byAddress: make(map[netip.Addr]int)}
}

// enter takes a place, which leave gives back; false if there is none.
func (a *admission) enter(address netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.total >= a.max || a.byAddress[address] >= a.maxPerAddress {
		return false
	}
	a.total++
	a.byAddress[address]++
	return true
}

func (a *admission) leave(address netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
	if a.byAddress[address]--; a.byAddress[address] == 0 {
		delete(a.byAddress, address)
	}
}

package pool

import "github.com/pgdrover/pgdrover/pgerror"

// maintain looks through all pools.
func (p *Pools) maintain() {
	p.mu.Lock()
	all := p.poolsLocked(nil)
	p.mu.Unlock()
	for _, pool := range all {
		pool.maintain()
	}
}

// maintain closes what is too old, dead or too much, and opens what is missing.
func (p *pool) maintain() {
	p.mu.Lock()
	now := p.pools.now()
	var closing []*Server
	for _, t := range p.targets {
		closing = append(closing, p.prune(t, now)...)
	}
	p.reroute(now)
	for _, t := range p.targets {
		t.warm(now)
	}
	p.mu.Unlock()
	for _, s := range closing {
		s.close(true)
	}
}

// prune takes idle connections off the books that are too old, lost, or idle for
// too long above the smallest size. The one that was released first is the first
// of idle.
func (p *pool) prune(t *target, now int64) (closing []*Server) {
	kept := t.idle[:0]
	n := t.total()
	for _, s := range t.idle {
		over := n > t.settings.most || n > t.settings.least && t.settings.idle > 0 && now-s.since >= int64(t.settings.idle)
		if over || now >= s.expires || p.level == shut || s.generation != t.generation || now-s.since >= peekAfter && !s.alive() {
			n--
			s.move(serverClosed, now)
			t.forget(s)
			closing = append(closing, s)
			continue
		}
		kept = append(kept, s)
	}
	clear(t.idle[len(kept):])
	t.idle = kept
	return closing
}

// warm opens connections up to the smallest size, one at a time.
func (t *target) warm(now int64) {
	p := t.pool
	if p.level == open && p.ended == nil && t.total()+t.dialing < t.settings.least && t.dialing == 0 && now >= t.retryAt && t.room() {
		t.open()
	}
}

// suspect looks at the idle connections of a target of which one was lost: after
// a restart of the server all are. p.mu is held.
func (p *pool) suspect(*target) {}

// close ends the pool: clients that wait and that come get why, connections are
// closed, also those in use.
func (p *pool) close(why *pgerror.Error) {
	p.mu.Lock()
	now := p.pools.now()
	p.ended = why
	p.refuse(&p.writes, why, now)
	p.refuse(&p.reads, why, now)
	var closing []*Server
	for _, t := range append(p.targets, p.leaving...) {
		for s := range t.servers {
			switch s.state {
			case serverIdle:
				s.move(serverClosed, now)
				t.forget(s)
				closing = append(closing, s)
			case serverUsed:
				s.condemned = true
				closing = append(closing, s)
			}
		}
		t.idle = nil
	}
	p.notify()
	p.mu.Unlock()
	for _, s := range closing {
		s.close(!s.condemned)
	}
}

package pool

import (
	"context"
	"slices"

	"github.com/pgdrover/pgdrover/pgerror"
)

// maintain looks through all pools.
func (p *Pools) maintain() {
	p.mu.Lock()
	now := p.now()
	p.forget()
	for _, d := range p.databases {
		if d.watchDue(now) {
			d.watching = p.start(func(ctx context.Context) { p.watch(ctx, d) })
			d.watchNow.Store(false)
		}
	}
	all := p.poolsLocked(nil)
	p.mu.Unlock()
	for _, pool := range all {
		pool.maintain()
	}
}

// forget drops the pools of users that only clients know, once nobody and nothing
// is in them: else names would grow without bound. p.mu is held.
func (p *Pools) forget() {
	for _, d := range p.databases {
		for name, pool := range d.pools {
			if pool.foreign && pool.empty() {
				delete(d.pools, name)
			}
		}
	}
}

// empty tells whether a pool has neither clients nor connections nor holders.
func (p *pool) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.clients) > 0 || len(p.own.holders) > 0 {
		return false
	}
	return !slices.ContainsFunc(slices.Concat(p.targets, p.leaving), func(t *target) bool { return len(t.servers)+t.dialing > 0 })
}

// maintain closes what is too old, dead or too much, and opens what is missing.
func (p *pool) maintain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil {
		return
	}
	now := p.pools.now()
	p.leaving = slices.DeleteFunc(p.leaving, func(t *target) bool { return len(t.servers) == 0 })
	for _, t := range p.targets {
		p.closeSoon(p.prune(t, now), true)
		t.stats.average(now, p.settings.statsPeriod)
	}
	p.reroute(now)
	for _, t := range p.targets {
		t.warm(now)
		p.checkIdle(t, now)
	}
}

// prune takes idle connections off the books that are too old, lost, or idle for
// too long above the smallest size, and gives them to be closed.
func (p *pool) prune(t *target, now int64) []*Server {
	n, least := t.total(), t.settings.least
	if p.foreign && len(p.clients) == 0 {
		least = 0 // nobody may come again
	}
	return t.weed(now, func(s *Server) bool {
		rest := now - s.since
		over := n > t.settings.most || n > least && t.settings.idle > 0 && rest >= int64(t.settings.idle)
		if !over && now < s.expires && (rest < peekAfter || s.alive()) {
			return false
		}
		n--
		return true
	})
}

// weed takes idle connections off the books. The one that was released first is
// asked for first.
func (t *target) weed(now int64, bad func(*Server) bool) (out []*Server) {
	kept := t.idle[:0]
	for _, s := range t.idle {
		if bad(s) {
			s.move(serverClosed, now)
			t.forget(s)
			out = append(out, s)
		} else {
			kept = append(kept, s)
		}
	}
	clear(t.idle[len(kept):])
	t.idle = kept
	return out
}

// warm opens connections up to the smallest size, one at a time.
func (t *target) warm(now int64) {
	p := t.pool
	if p.foreign && len(p.clients) == 0 {
		return
	}
	if p.level == open && p.ended == nil && t.ban == nil && t.total()+t.dialing < t.settings.least && t.dialing == 0 && now >= t.retryAt && t.room() {
		t.open()
	}
}

// suspect looks at the idle connections of a target of which one was lost: after
// a restart of the server all are. p.mu is held.
func (p *pool) suspect(t *target, now int64) {
	p.database.watchNow.Store(true)
	p.closeSoon(t.weed(now, func(s *Server) bool { return !s.alive() }), false)
}

// close ends the pool: clients that wait and that come get why, connections are
// closed, also those in use.
func (p *pool) close(why *pgerror.Error) {
	p.mu.Lock()
	now := p.pools.now()
	p.ended = why
	p.refuse(&p.writes, why, now)
	p.refuse(&p.reads, why, now)
	var inUse []*Server
	for _, t := range slices.Concat(p.targets, p.leaving) {
		p.closeIdle(t, now)
		for s := range t.servers {
			if s.state == serverUsed && !s.condemned {
				s.condemned = true
				t.stats.forced++
				inUse = append(inUse, s)
			}
		}
	}
	p.notify()
	p.mu.Unlock()
	for _, s := range inUse {
		s.close(false)
	}
}

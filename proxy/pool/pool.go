package pool

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// pool is the connections of one user to one database.
type pool struct {
	pools    *Pools
	database *database
	key      Key

	mu       sync.Mutex
	foreign  bool // the configuration does not know the user
	settings settings
	passed   auth.Credentials // what its clients have shown
	targets  []*target        // in the order of the configuration
	leaving  []*target        // retired ones that have connections yet
	primary  *target          // nil while nobody knows
	readers  []*target        // that take reads now
	turn     int              // of round_robin

	gates    []*gate // above it: of all databases, of its own
	own      *gate   // PAUSE user database
	level    level   // the strictest of them
	openedAt int64   // instant since which level is open

	writes, reads queue
	arrivals      uint64
	clients       map[*Client]struct{}
	welcome       map[string]string // what a server reported last; nil while none has
	ended         *pgerror.Error    // nobody is served any more
	changed       chan struct{}     // closed at the next change that somebody may wait for; nil while nobody does
}

func newPool(d *database, user config.User) *pool {
	return &pool{
		pools: d.pools_, database: d, key: Key{User: user.Name, Database: d.name},
		own: newGate(), clients: map[*Client]struct{}{}, openedAt: d.pools_.now(),
	}
}

// pass notes what a client has shown, for servers to be logged in at with.
func (p *pool) pass(c auth.Credentials) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.IsZero() && !c.Equal(p.passed) {
		p.passed = c
		for _, t := range p.targets {
			t.failures, t.retryAt = 0, 0 // what was refused before may be right now
		}
	}
}

// checkout lends an idle connection, or queues the client: then it gives nil. p.mu
// is not held.
func (p *pool) checkout(c *Client, want Want, now int64) (*Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil {
		return nil, p.ended
	}
	if p.level == open {
		if s := p.idleFor(want); s != nil {
			p.lend(s, c, now)
			return s, nil
		}
	}
	if p.waiting() >= p.pools.options.MaxWaiting {
		return nil, p.errQueueFull()
	}
	p.enqueue(c, want, now)
	return nil, nil
}

func (p *pool) waiting() int { return p.writes.length + p.reads.length }

// enqueue has a client wait, and connections opened for it.
func (p *pool) enqueue(c *Client, want Want, now int64) {
	w := &c.waiter
	p.arrivals++
	w.client, w.want, w.since, w.number = c, want, now, p.arrivals
	w.server, w.err = nil, nil
	if want.ReadOnly {
		p.reads.push(w)
	} else {
		p.writes.push(w)
	}
	c.state, c.stateSince = clientWaiting, now
	p.grow()
}

// lend makes a connection a client's.
func (p *pool) lend(s *Server, c *Client, now int64) {
	s.rested = 0
	if s.state == serverIdle {
		s.rested = now - s.since
	}
	s.move(serverUsed, now)
	if !s.alone {
		s.target.used++
	}
	s.target.stats.assignments++
	s.client, c.server = c, s
	c.state, c.stateSince, c.lastRequest = clientActive, now, now
	c.settled()
}

// takeBack has a released connection follow its outcome; true: the caller closes
// it when p.mu is free.
func (p *pool) takeBack(s *Server, o Outcome, now int64) (closing bool) {
	t := s.target
	if s.alone {
		t.dedicated--
		p.drop(s, now)
		p.notify()
		return true
	}
	t.used--
	switch {
	case o == Broken || s.condemned:
		if !s.condemned {
			t.stats.broken++
			p.suspect(t, now)
		}
		p.drop(s, now)
		closing = true
	case o == Dirty:
		closing = !p.clean(s, now)
	case s.cancels > 0:
		// A cancel request that is still under way would hit the next client.
		s.parked = true
		t.busy++
		s.move(serverCleaning, now)
	default:
		s.checkedAt = now // it has just answered
		closing = !p.settle(s, now)
	}
	p.notify()
	return closing
}

// settle gives a healthy connection that belongs to nobody to whoever has waited
// longest, or keeps it; false: it is off the books and the caller closes it.
func (p *pool) settle(s *Server, now int64) bool {
	t := s.target
	if t.retired || s.generation != t.generation || now >= s.expires || p.level == shut || p.ended != nil || t.total() >= t.settings.most {
		p.drop(s, now)
		return false
	}
	if p.level == open {
		if w := p.nextFor(t); w != nil {
			p.serve(w, s, now)
			return true
		}
	}
	s.move(serverIdle, now)
	t.idle = append(t.idle, s)
	return true
}

// serve grants a connection to a waiter.
func (p *pool) serve(w *waiter, s *Server, now int64) {
	t := s.target
	t.stats.waited(now - w.since)
	w.client.waited += now - w.since
	p.lend(s, w.client, now)
	w.grant(s, nil)
}

// drop takes a connection off the books; the caller closes it when p.mu is free.
// Its place may be somebody else's now.
func (p *pool) drop(s *Server, now int64) {
	s.move(serverClosed, now)
	s.target.forget(s)
	p.grow()
}

// nextFor gives the waiter who has waited longest of those that a connection to t
// serves; nil if there is none.
func (p *pool) nextFor(t *target) *waiter {
	var write, read *waiter
	if t == p.primary {
		write = p.writes.first
	}
	if p.reads.first != nil && p.reads_(t) {
		read = p.reads.first
	}
	if write == nil || read != nil && read.number < write.number {
		return read
	}
	return write
}

// feed serves waiters from idle connections, after what has opened a gate or
// changed a route.
func (p *pool) feed(now int64) {
	if p.level != open || p.ended != nil {
		return
	}
	for _, t := range p.targets {
		for len(t.idle) > 0 {
			w := p.nextFor(t)
			if w == nil {
				break
			}
			p.serve(w, t.pop(), now)
		}
	}
	p.grow()
}

// refuse tells all waiters of a queue an error.
func (p *pool) refuse(q *queue, err error, now int64) {
	for q.first != nil {
		w := q.first
		w.client.state, w.client.stateSince = clientIdle, now
		w.grant(nil, err)
	}
}

// withdraw takes a client's waiter back. If it has been served meanwhile, what it
// got is given instead.
func (p *pool) withdraw(w *waiter, now int64) (s *Server, err error, served bool) { //nolint:revive // the error is a value here
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.queue == nil {
		<-w.ready
		return w.server, w.err, true
	}
	w.queue.remove(w)
	w.client.state, w.client.stateSince = clientIdle, now
	return nil, nil, false
}

// overdue decides about a waiter whose time is over: rest > 0 lets it wait that
// long again, for time in which a gate was closed does not count.
func (p *pool) overdue(w *waiter, now int64) (rest time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.settings.checkoutTimeout
	if w.queue == nil || p.level != open {
		return limit, nil
	}
	if rest = limit - time.Duration(now-max(w.since, p.openedAt)); rest > 0 {
		return rest, nil
	}
	err = p.errTimeout(w.want, time.Duration(now-w.since))
	w.queue.remove(w)
	w.client.state, w.client.stateSince = clientIdle, now
	return 0, err
}

// notify wakes those who wait for the pool to change. p.mu is held.
func (p *pool) notify() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// watch gives a channel that is closed at the next change. p.mu is held.
func (p *pool) watch() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// timeout is how long a client waits.
func (p *pool) timeout() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settings.checkoutTimeout
}

// lastWelcome gives what a server reported last, a copy; nil while none has.
func (p *pool) lastWelcome() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.welcome)
}

// addGates puts the pool under gates. p is new.
func (p *pool) addGates(above ...*gate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gates = append(above, p.own)
	p.regate()
}

// regate follows the gates. Pools.mu and p.mu are held.
func (p *pool) regate() {
	was := p.level
	p.level = open
	for _, g := range p.gates {
		p.level = max(p.level, g.level())
	}
	now := p.pools.now()
	switch {
	case p.level == open && was != open:
		p.openedAt = now
		p.feed(now)
	case p.level == shut:
		for _, t := range p.targets {
			p.closeIdle(t, now)
		}
	}
	p.notify()
}

// configure has the pool follow a configuration. Targets of servers that are still
// there stay, with their connections and statistics. Pools.mu is held.
func (p *pool) configure(cfg *config.Config, user config.User, foreign bool, entries []config.Database, roles map[address]config.Role) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.pools.now()
	p.foreign = foreign
	p.settings = newSettings(cfg, user, entries)
	before := p.targets
	p.targets = nil
	for _, entry := range entries {
		wanted := newTargetSettings(cfg, user, entry)
		i := slices.IndexFunc(before, func(t *target) bool { return t.settings.sameServer(wanted) })
		var t *target
		if i < 0 {
			p.pools.lastID++ // Pools.mu is held
			t = newTarget(p, p.pools.lastID, wanted)
		} else {
			t, before = before[i], slices.Delete(slices.Clone(before), i, i+1)
			if !t.settings.sameSession(wanted) {
				t.renew(now)
			}
			t.settings = wanted
		}
		t.role = entry.Role
		if found, known := roles[addressOf(entry)]; known && entry.Role == config.RoleAuto {
			t.role = found
		}
		p.targets = append(p.targets, t)
	}
	for _, t := range before {
		t.retired = true
		t.renew(now)
		if len(t.servers) > 0 {
			p.leaving = append(p.leaving, t)
		}
	}
	p.reroute(now)
}

// renew has the target's connections replaced: idle ones now, those in use when
// they are released; clients that keep theirs are told.
func (t *target) renew(now int64) {
	t.generation++
	t.failures, t.retryAt = 0, 0
	t.pool.closeIdle(t, now)
	for s := range t.servers {
		if s.client != nil {
			s.client.setMoved()
		}
	}
}

// closeIdle closes the idle connections of a target.
func (p *pool) closeIdle(t *target, now int64) {
	for _, s := range t.idle {
		s.move(serverClosed, now)
		t.forget(s)
	}
	p.closeSoon(t.idle, true)
	t.idle = nil
}

// closeSoon closes connections that are off the books while p.mu is held, which
// must not wait for them.
func (p *pool) closeSoon(servers []*Server, politely bool) {
	if len(servers) == 0 {
		return
	}
	end := func() {
		for _, s := range servers {
			s.close(politely)
		}
	}
	if !p.pools.start(func(context.Context) { end() }) {
		end()
	}
}

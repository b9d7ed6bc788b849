package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

const (
	// mostDialers is how many connections to a server that answers one pool opens
	// at the same time; to one that does not it is 1.
	mostDialers = 4
	// mostLogins is how many connections to one address all pools open at the same
	// time: a login costs a server more than many queries.
	mostLogins = 16
	// firstBackoff is the pause after the first failure; it doubles up to
	// longestBackoff.
	firstBackoff   = 50 * time.Millisecond
	longestBackoff = 2 * time.Second
)

// grow has connections opened for those who wait. p.mu is held.
func (p *pool) grow() {
	if p.level != open || p.ended != nil {
		return
	}
	if n := p.writes.length; n > 0 && p.primary != nil {
		p.primary.openFor(n)
	}
	n := p.reads.length
	for _, failing := range []bool{false, true} { // those that answer first
		for i := 0; n > 0 && i < len(p.readers); i++ {
			t := p.readers[(p.turn+i)%len(p.readers)]
			if t.failures > 0 != failing {
				continue
			}
			n -= t.dialing
			before := t.dialing
			t.openFor(before + max(n, 0))
			n -= t.dialing - before
		}
	}
}

// openFor has connections opened until n are under way, or as many as is wise.
func (t *target) openFor(n int) {
	most := mostDialers
	if t.failures > 0 {
		most = 1
	}
	for t.dialing < min(n, most) && t.room() {
		if !t.open() {
			return
		}
	}
}

// open has a connection opened; false after the end of Run. The pool's lock is
// held.
func (t *target) open() bool {
	t.dialing++
	if t.pool.pools.start(t.dial) {
		return true
	}
	t.dialing--
	return false
}

// dial opens a connection and gives it to whoever waits.
func (t *target) dial(ctx context.Context) {
	p := t.pool
	conn, generation, err := t.connect(ctx)
	p.mu.Lock()
	now := p.pools.now()
	t.dialing--
	if err != nil {
		t.failed(err, now)
		p.notify()
		p.mu.Unlock()
		return
	}
	s := t.connected(conn, generation)
	kept := p.settle(s, now)
	p.notify()
	p.mu.Unlock()
	if !kept {
		s.close(true)
	}
}

// connected takes a new connection into the books.
func (t *target) connected(conn *dial.Connection, generation uint64) *Server {
	if t.failures > 0 {
		t.pool.pools.log.Info("a server can be connected to again", "database", t.pool.key.Database, "user", t.pool.key.User, "server", t.name)
	}
	t.failures, t.lastErr, t.retryAt, t.healthy = 0, nil, 0, true
	s := t.pool.pools.newServer(t, conn, generation)
	t.servers[s] = struct{}{}
	t.pool.welcome = s.welcome()
	return s
}

// failed notes a failure and tells those who wait for nothing else.
func (t *target) failed(err error, now int64) {
	p := t.pool
	if errors.Is(err, errNotWanted) || p.pools.ctx.Err() != nil {
		p.grow() // somebody may want one by now
		return
	}
	t.failures++
	t.lastErr = err
	t.healthy = false
	p.database.watchNow.Store(true)
	t.stats.connectErrors++
	backoff := min(firstBackoff<<min(t.failures-1, 10), longestBackoff)
	t.retryAt = now + int64(backoff) - rand.Int64N(int64(backoff)/4+1)
	if t.failures == 1 {
		p.pools.log.Warn("a server cannot be connected to", "database", p.key.Database, "user", p.key.User, "server", t.name, "error", err)
	}
	if t.role == config.RoleReplica && len(t.servers) == 0 {
		p.banFor(t, err.Error(), now)
	}
	if pgerror.Code(err) == pgerror.TooManyConnections {
		p.grow() // it is there, and full at the moment: who waits goes on waiting
		return
	}
	if p.writes.length > 0 && t == p.primary && t.unreachable() {
		p.refuse(&p.writes, p.errUnreachable(t), now)
	}
	if p.reads.length > 0 && p.hopeless() {
		p.refuse(&p.reads, p.errUnreachable(t), now)
	}
	p.grow()
}

// unreachable tells whether attempts to connect have failed and there is no
// connection, nor one under way.
func (t *target) unreachable() bool { return t.failures > 0 && len(t.servers) == 0 && t.dialing == 0 }

// hopeless tells whether no target that takes reads can be reached.
func (p *pool) hopeless() bool {
	return !slices.ContainsFunc(p.readers, func(t *target) bool { return !t.unreachable() })
}

// errNotWanted is the failure of a connection that nobody waits for any more.
var errNotWanted = errors.New("not wanted any more")

// connect waits until the target may be tried again, and tries it as often as
// general.connect_attempts says.
func (t *target) connect(ctx context.Context) (*dial.Connection, uint64, error) {
	p := t.pool
	p.mu.Lock()
	pause := time.Duration(t.retryAt - p.pools.now())
	attempts, delay := p.settings.connectAttempts, p.settings.connectAttemptDelay
	p.mu.Unlock()
	for attempt := 1; ; attempt++ {
		if err := wait(ctx, pause); err != nil {
			return nil, 0, err
		}
		p.mu.Lock()
		options, generation, timeout := p.dialOptions(t), t.generation, p.settings.connectTimeout
		unwanted := t.retired || p.ended != nil || p.level == shut
		p.mu.Unlock()
		if unwanted {
			return nil, 0, errNotWanted
		}
		conn, err := p.pools.dial(ctx, t, options, timeout)
		if err != nil && t.outdated(options.Credentials) {
			pause = 0
			continue
		}
		if err == nil || attempt >= attempts || isRefusal(err) {
			return conn, generation, err
		}
		pause = delay
	}
}

// outdated tells whether a client has shown other credentials meanwhile: those
// that were tried may be of a password that was changed.
func (t *target) outdated(tried auth.Credentials) bool {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	return !tried.Equal(t.credentials())
}

// isRefusal tells whether a server has answered, and will not answer otherwise
// soon: a wrong password, no such database, no privilege.
func isRefusal(err error) bool {
	class := pgerror.Code(err)
	return strings.HasPrefix(class, "28") || strings.HasPrefix(class, "3D") || strings.HasPrefix(class, "42")
}

// wait waits for a pause or the end of ctx.
func wait(ctx context.Context, pause time.Duration) error {
	if pause <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dialOptions is how a target's connections are made now. The pool's lock is held.
func (p *pool) dialOptions(t *target) dial.Options {
	s := t.settings
	return dial.Options{
		Server: s.server, Database: s.server.Database, User: s.server.User, Credentials: t.credentials(), Parameters: s.parameters,
	}
}

// dial opens one connection, in turn with others to the same address.
func (p *Pools) dial(ctx context.Context, t *target, o dial.Options, timeout time.Duration) (*dial.Connection, error) {
	slots := p.slots(o.Server.Address())
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-slots }()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errConnectTimeout)
	defer cancel()
	var err error
	if o.TLS, err = p.loadTLS(o.Server); err != nil {
		return nil, err
	}
	began := p.now()
	conn, err := dial.Dial(ctx, o)
	t.pool.mu.Lock()
	t.stats.connects++
	t.stats.connectTime += p.now() - began
	t.pool.mu.Unlock()
	return conn, err
}

var errConnectTimeout = pgerror.New(pgerror.CannotConnectNow, "the server could not be connected to within general.connect_timeout")

// slots bounds the logins at an address.
func (p *Pools) slots(address string) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	slots, known := p.dialers[address]
	if !known {
		slots = make(chan struct{}, mostLogins)
		p.dialers[address] = slots
	}
	return slots
}

package pool

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// clientState is what a client is doing.
type clientState uint8

const (
	clientIdle    clientState = iota // has no server connection and wants none
	clientWaiting                    // wants one
	clientActive                     // has one
)

func (s clientState) String() string { return [...]string{"idle", "waiting", "active"}[s] }

// Client is an application session. One goroutine uses it, but for Cancel, Moved
// and MovedC, which any may call.
type Client struct {
	pool  *pool
	login Login
	mode  config.PoolerMode

	moved atomic.Bool

	// What follows is guarded by the pool's lock.
	waiter      waiter
	server      *Server
	state       clientState
	stateSince  int64
	connectedAt int64
	lastRequest int64 // instant of the last checkout; 0 if there was none
	waited      int64 // nanoseconds, in all
	application string
	prepared    int64
	locked      bool
	movedC      chan struct{} // nil before somebody asked for it
	ended       *pgerror.Error
	cancelling  bool
	cancelAgain bool // asked for while a request was under way
	totals      clientTotals
	detached    bool
}

// clientTotals count over the life of a client.
type clientTotals struct {
	transactions, queries, errors, received, sent, queryTime, transactionTime int64
}

// attach makes a client of the pool.
func (p *pool) attach(l Login) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil {
		return nil, p.ended
	}
	now := p.pools.now()
	c := &Client{pool: p, login: l, mode: p.settings.mode, connectedAt: now, stateSince: now, application: l.ApplicationName}
	if l.Replication != "" {
		c.mode = config.ModeSession
	}
	c.waiter.ready = make(chan struct{}, 1)
	p.clients[c] = struct{}{}
	return c, nil
}

// Mode is when the client gives its server connections back. It does not change.
func (c *Client) Mode() config.PoolerMode { return c.mode }

// Checkout lends a server connection to the client, which has none. It waits in
// the order of arrival, at most general.checkout_timeout, and until ctx ends; time
// in which the database is paused or held does not count. Errors are
// *pgerror.Error, ready to be sent to the application; those of ctx are its cause.
func (c *Client) Checkout(ctx context.Context, want Want) (*Server, error) {
	p := c.pool
	if c.login.Replication != "" {
		return c.dedicate(ctx)
	}
	for {
		now := p.pools.now()
		s, err := p.checkout(c, want, now)
		if s == nil && err == nil {
			s, err = c.wait(ctx)
		}
		if err != nil {
			return nil, err
		}
		if s.fit(ctx, p.pools.now()) {
			return s, nil
		}
		s.Release(Broken)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// wait waits for what the client's waiter is given.
func (c *Client) wait(ctx context.Context) (*Server, error) {
	w, p := &c.waiter, c.pool
	limit := p.timeout()
	if w.timer == nil {
		w.timer = time.NewTimer(limit)
	} else {
		w.timer.Reset(limit)
	}
	defer w.timer.Stop()
	for {
		select {
		case <-w.ready:
			return w.server, w.err
		case <-w.timer.C:
			rest, err := p.overdue(w, p.pools.now())
			if err != nil {
				return nil, err
			}
			w.timer.Reset(rest)
		case <-ctx.Done():
			s, err, served := p.withdraw(w, p.pools.now())
			if served && err == nil {
				s.Release(Clean) // nothing was done with it
			}
			return nil, context.Cause(ctx)
		}
	}
}

// Welcome gives what servers of the database have reported last, for the
// ParameterStatus messages of a session's start. The first client of a pool waits
// for a connection. The map is the caller's.
func (c *Client) Welcome(ctx context.Context) (map[string]string, error) {
	if known := c.pool.lastWelcome(); known != nil {
		return known, nil
	}
	s, err := c.Checkout(ctx, Want{})
	if err != nil {
		return nil, err
	}
	defer s.Release(Clean)
	return s.welcome(), nil
}

// Moved tells a client that keeps its server connection over transactions to give
// it back as soon as it can and to check out another one: the database was
// re-pointed, or RECONNECT was asked for, or the server is not the primary any
// more. It holds until the next Checkout.
func (c *Client) Moved() bool { return c.moved.Load() }

// MovedC gives a channel that is closed when Moved begins to hold; after a Checkout
// there is another one.
func (c *Client) MovedC() <-chan struct{} {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if c.movedC == nil {
		c.movedC = make(chan struct{})
		if c.moved.Load() {
			close(c.movedC)
		}
	}
	return c.movedC
}

// setMoved is called with the pool's lock held.
func (c *Client) setMoved() {
	if !c.moved.Swap(true) && c.movedC != nil {
		close(c.movedC)
	}
}

// settled is called with the pool's lock held: the client has a server that it
// may keep.
func (c *Client) settled() {
	if c.moved.Load() {
		c.moved.Store(false)
		c.movedC = nil
	}
}

// Describe notes what SHOW CLIENTS tells of the client beside its statistics.
func (c *Client) Describe(applicationName string, preparedStatements int, locked bool) {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	c.application, c.prepared, c.locked = applicationName, int64(preparedStatements), locked
}

// Cancel asks the server that the client has checked out, if any, to cancel what
// it is doing. It returns at once. The connection is lent to nobody else before
// the server has taken note, so that the request can hit nothing else.
func (c *Client) Cancel() {
	p := c.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	s := c.server
	if s == nil || s.condemned {
		return
	}
	if c.cancelling { // perhaps too early for what runs by now
		c.cancelAgain = true
		return
	}
	t := s.target
	options := p.dialOptions(t)
	c.cancelling = true
	s.cancels++
	if !p.pools.start(func(ctx context.Context) { c.cancel(ctx, s, options) }) {
		c.cancelling = false
		s.cancels--
	}
}

// Detach ends the client. A server that it has not released is closed.
func (c *Client) Detach() {
	p := c.pool
	p.mu.Lock()
	if c.detached {
		p.mu.Unlock()
		return
	}
	c.detached = true
	delete(p.clients, c)
	left := c.server
	p.mu.Unlock()
	if left != nil {
		left.Release(Broken)
	}
}

// end has the client's session ended; the pool's lock is held. It gives what the
// caller is to call when it is not, nil for nothing.
func (c *Client) end(why *pgerror.Error) func() {
	if c.ended != nil {
		return nil
	}
	c.ended = why
	if c.login.End == nil {
		return nil
	}
	return func() { c.login.End(why) }
}

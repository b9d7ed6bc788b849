package pool

import (
	"context"
	"time"

	"github.com/pgdrover/pgdrover/proxy/dial"
)

// The values of general.connection_recovery.
const (
	recoverSession = "recover"
	rollbackOnly   = "rollback_only"
)

// clean has a dirty connection made fit for the next client; false: it is closed
// instead, and off the books. p.mu is held.
func (p *pool) clean(s *Server, now int64) bool {
	var statements []string
	switch p.settings.recovery {
	case recoverSession:
		statements = []string{"ROLLBACK", "DISCARD ALL"}
	case rollbackOnly:
		statements = []string{"ROLLBACK"}
	}
	if len(statements) > 0 {
		s.move(serverCleaning, now)
		s.target.busy++
		timeout := p.settings.rollbackTimeout
		if p.pools.start(func(ctx context.Context) {
			var err error
			for _, sql := range statements {
				if err == nil {
					_, err = s.exchange(ctx, timeout, sql)
				}
			}
			if len(statements) > 1 {
				s.Session = nil
			}
			p.cleaned(s, err)
		}) {
			return true
		}
		s.target.busy--
	}
	p.drop(s, now)
	return false
}

// cleaned puts a connection back that was cleaned.
func (p *pool) cleaned(s *Server, err error) {
	p.mu.Lock()
	now := p.pools.now()
	s.target.busy--
	s.target.stats.cleaned++
	kept := false
	switch {
	case err != nil:
		p.drop(s, now)
	case s.cancels > 0:
		s.target.busy++
		s.parked, kept = true, true
	default:
		s.checkedAt = now
		kept = p.settle(s, now)
	}
	p.notify()
	p.mu.Unlock()
	if err != nil {
		p.pools.log.Warn("a server connection could not be cleaned", "database", p.key.Database, "user", p.key.User, "server", s.Address(), "error", err)
	}
	if !kept {
		s.close(err == nil)
	}
}

// cancel delivers a cancel request of the client's.
func (c *Client) cancel(ctx context.Context, s *Server, o dial.Options) {
	p := c.pool
	p.pools.cancel(ctx, s, o, cancelTimeout)
	p.mu.Lock()
	again := c.cancelAgain && c.server == s
	c.cancelling, c.cancelAgain = false, false
	s.cancels--
	closing := false
	if s.parked && s.cancels == 0 {
		s.parked = false
		s.target.busy--
		closing = !p.settle(s, p.pools.now())
		p.notify()
	}
	p.mu.Unlock()
	if closing {
		s.close(true)
	}
	if again {
		c.Cancel()
	}
}

// cancelTimeout bounds what a cancel request may take: its connection is lent to
// nobody meanwhile.
const cancelTimeout = 5 * time.Second

// cancel has the server of a connection cancel what it is doing. When it returns
// the server has taken note, or cannot be told.
func (p *Pools) cancel(ctx context.Context, s *Server, o dial.Options, timeout time.Duration) {
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	var err error
	if o.TLS, err = p.loadTLS(o.Server); err == nil {
		o.Address = s.conn.RemoteAddr()
		err = dial.Cancel(ctx, o, s.processID, s.secretKey)
	}
	if err != nil {
		p.log.Warn("a cancel request did not reach its server", "server", s.Address(), "error", err)
	}
}

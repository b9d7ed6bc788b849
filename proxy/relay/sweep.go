package relay

import (
	"context"
	"errors"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

const (
	// sweepInterval is how often sessions are looked through for what has taken too
	// long. So no query needs a timer of its own.
	sweepInterval = 250 * time.Millisecond
	// sweepFinest is how often where a timeout is short.
	sweepFinest = 10 * time.Millisecond
	// watchAfter is how long a session is in one state before its sockets are
	// looked at.
	watchAfter = time.Second
)

// Run looks after the sessions until ctx ends: timeouts, clients that are gone while
// they wait, servers that speak while nobody listens.
func (r *Relay) Run(ctx context.Context) {
	timer := time.NewTimer(sweepInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			r.sweep()
			timer.Reset(r.interval())
		}
	}
}

// interval is fine enough for the shortest timeout.
func (r *Relay) interval() time.Duration {
	l := r.limitsNow()
	out := sweepInterval
	for _, timeout := range []time.Duration{l.query, l.clientIdle, l.idleTransaction} {
		if timeout > 0 {
			out = min(out, max(timeout/4, sweepFinest))
		}
	}
	return out
}

func (r *Relay) sweep() {
	now := r.now()
	r.clock.Store(now)
	l := r.limitsNow()
	r.mu.Lock()
	all := make([]*session, 0, len(r.sessions))
	for s := range r.sessions {
		all = append(all, s)
	}
	r.mu.Unlock()
	for _, s := range all {
		s.show()
		s.sweep(now, l)
	}
}

// The errors of what has taken too long, with PostgreSQL's SQLSTATEs.
func errIdle(limit time.Duration) *pgerror.Error {
	return pgerror.New(pgerror.IdleSessionTimeout, "terminating connection due to idle-session timeout").
		WithDetail("general.client_idle_timeout is %s.", limit)
}

func errIdleInTransaction(limit time.Duration) *pgerror.Error {
	return pgerror.New(pgerror.IdleInTransactionTimeout, "terminating connection due to idle-in-transaction timeout").
		WithDetail("general.client_idle_in_transaction_timeout is %s.", limit)
}

var errGone = errors.New("the client has closed the connection")

// sweep looks at one session.
func (s *session) sweep(now int64, l *limits) {
	s.mu.Lock()
	state, took := s.state, time.Duration(now-s.since)
	server, waiting, pumping := s.server, s.waiting, s.pumping
	timedOut := s.timedOut
	moved := s.client.Moved() && server != nil && s.status == wire.Idle && s.atRest() && (!s.shared || s.lasting != 0)
	if moved && !s.settle {
		s.settle = true
	}
	s.mu.Unlock()
	switch state {
	case stateIdle:
		switch {
		case l.clientIdle > 0 && took > l.clientIdle:
			s.endWith(errIdle(l.clientIdle))
		case moved:
			s.wakeups.wake(s.conn, wakeMoved)
		case server != nil && took > watchAfter && !pumping && readable(server.Conn()):
			s.wakeups.wake(s.conn, wakeServer)
		}
	case stateInTransaction:
		switch {
		case l.idleTransaction > 0 && took > l.idleTransaction:
			s.endWith(errIdleInTransaction(l.idleTransaction))
		case server != nil && took > watchAfter && !pumping && readable(server.Conn()):
			s.wakeups.wake(s.conn, wakeServer)
		}
	case stateWaiting:
		if waiting != nil && took > watchAfter && hungUp(s.conn) {
			waiting(clientError{errGone})
		}
	case stateActive:
		s.sweepActive(took, l, timedOut)
	}
}

// sweepActive looks at a session whose server works.
func (s *session) sweepActive(took time.Duration, l *limits, timedOut bool) {
	switch {
	case l.query > 0 && took > l.query && !timedOut:
		s.mu.Lock()
		s.timedOut = s.state == stateActive
		s.mu.Unlock()
		s.client.Cancel()
	case timedOut && took > 2*l.query+farewellTimeout:
		s.endWith(l.errTimeout()) // the server does not listen, or the client does not read
	case took > watchAfter && hungUp(s.conn):
		s.endWith(pgerror.New(pgerror.ConnectionFailure, "%w", errGone))
	}
}

package relay

import (
	"github.com/pgdrover/pgdrover/pgerror"
)

// endWith asks for the end of the session, with the error that the client gets as
// its last. It may be called from any goroutine and does not wait.
func (s *session) endWith(e *pgerror.Error) {
	s.mu.Lock()
	if s.finishing {
		s.mu.Unlock()
		return
	}
	if s.end == nil {
		s.end = e
	}
	waiting := s.waiting
	interrupt := s.server != nil && !s.pumping && s.state == stateActive
	if interrupt {
		// The reader of the server looks up. It is still this session's server:
		// giveBack needs mu too.
		_ = s.server.Conn().SetReadDeadline(longAgo) // closed: as well
	}
	s.changed.Broadcast()
	s.mu.Unlock()
	if waiting != nil {
		waiting(e)
	}
	s.wakeups.wake(s.conn, wakeEnd)
	if interrupt {
		s.client.Cancel()
	}
}

// errCancelled ends a wait for a server.
var errCancelled = pgerror.New(pgerror.QueryCanceled, "canceling statement due to user request")

// cancel is what a cancel request does: to the server that works for this session
// now, or to the wait for one, or nothing.
func (s *session) cancel() {
	s.mu.Lock()
	waiting := s.waiting
	running := s.server != nil && !s.pending.empty()
	s.mu.Unlock()
	switch {
	case waiting != nil:
		waiting(errCancelled)
	case running:
		s.client.Cancel()
	}
}

// onIdle has end called when the session is idle next, which may be now, and each
// time again.
func (s *session) onIdle(end func()) {
	s.mu.Lock()
	s.whenIdle = end
	idle := s.idle()
	s.mu.Unlock()
	if idle {
		end()
	}
}

// idle tells whether the client is in no transaction and waits for nothing. mu is
// held.
func (s *session) idle() bool {
	return s.waiting == nil && s.pending.empty() && !s.emitting && !s.unsynced && (s.server == nil || s.status == 'I')
}

// why gives the reason for an end that was asked for, instead of what it led to.
func (s *session) why(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil && (err == nil || isTimeout(err)) {
		return s.end
	}
	return err
}

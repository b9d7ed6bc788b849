package proxy

import (
	"context"
	"fmt"
	"time"
)

// Shutdown stops accepting and ends what is being served, in four steps:
// clients that are logging in and idle sessions end at once; commands that run
// may finish until general.shutdown_timeout is over or ctx ends; then the
// contexts of all sessions end; last, the connections are closed. It returns when all goroutines have ended,
// or with an error if a session ignores all that. Further calls wait for the
// first.
func (s *Server) Shutdown(ctx context.Context) error {
	grace := s.settings().shutdownTimeout
	if !s.drain() {
		<-s.stopped
		return s.stopErr
	}
	s.waitIdle(ctx, grace)
	s.endSessions(errSessionEnded)
	s.each(func(c *guardedConn) { c.bound(farewellTimeout) })
	s.waitIdle(context.WithoutCancel(ctx), stopTimeout)
	s.each(func(c *guardedConn) { c.Close() })
	s.waitIdle(context.WithoutCancel(ctx), stopTimeout)
	s.directory.Close()
	s.deriving.Wait()

	s.mu.Lock()
	defer s.mu.Unlock()
	if left := len(s.connections); left > 0 {
		s.stopErr = fmt.Errorf("shut down: %d sessions did not end", left)
	}
	s.move(stopped)
	close(s.stopped)
	return s.stopErr
}

// drain closes the listener, interrupts logins and has sessions end when they
// are idle; false if that was done before.
func (s *Server) drain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.move(draining) {
		return false
	}
	if s.listener != nil {
		s.listener.Close()
	}
	s.endLogins(errShuttingDown)
	sessions := s.sessions.close()
	for conn := range s.connections {
		if !sessions[conn] {
			conn.interruptReads()
		}
	}
	if len(s.connections) == 0 {
		close(s.idle)
	}
	return true
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state >= draining
}

// waitIdle waits for the last connection, up to a limit.
func (s *Server) waitIdle(ctx context.Context, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.idle:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *Server) each(do func(*guardedConn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.connections {
		do(conn)
	}
}

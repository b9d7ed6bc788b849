package proxy

import (
	"context"
	"fmt"
	"time"
)

// Leave stops accepting and waits until applications have left by themselves, or ctx
// ends. Until then they are served as before, and so are sessions of the admin
// database, which are not waited for. Shutdown has to follow. Where another process
// listens at the port too, no client is refused meanwhile.
func (s *Server) Leave(ctx context.Context) {
	s.mu.Lock()
	ok := s.move(leaving)
	s.mu.Unlock()
	if !ok {
		return
	}
	s.closePort(ctx)
	select {
	case <-s.left:
	case <-ctx.Done():
	}
}

// checkLeft notes that the last application has left; mu is held.
func (s *Server) checkLeft() {
	if s.state != leaving || !s.portClosed || len(s.connections) > len(s.admins) {
		return
	}
	select {
	case <-s.left:
	default:
		close(s.left)
	}
}

// isAdmin notes that a connection is a session of the admin database.
func (s *Server) isAdmin(conn *guardedConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admins[conn] = struct{}{}
	s.checkLeft()
}

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
		s.closing.Do(func() { s.listener.Close() })
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

// isStopping tells whether the port is closed on purpose, or about to be.
func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state >= leaving
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

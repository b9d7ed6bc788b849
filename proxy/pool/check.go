package pool

import (
	"context"
	"time"
)

// peekAfter is how long a connection has been idle when its socket is looked at
// before it is lent: below that, looking costs more than it finds.
const peekAfter = int64(50 * time.Millisecond)

// fit tells whether a connection that was just lent can be used: that the server
// has not ended it, and, if the last answer is older than
// general.healthcheck_interval, that it answers.
func (s *Server) fit(ctx context.Context, now int64) bool {
	if s.rested < peekAfter {
		return true
	}
	if !s.alive() {
		return false
	}
	p := s.target.pool
	p.mu.Lock()
	interval, timeout := p.settings.healthcheckInterval, p.settings.healthcheckTimeout
	due := interval > 0 && now-s.checkedAt >= int64(interval)
	p.mu.Unlock()
	if !due {
		return true
	}
	return s.check(ctx, timeout) == nil
}

// check asks the server for an answer. The connection is checked out or being
// checked.
func (s *Server) check(ctx context.Context, timeout time.Duration) error {
	_, err := s.exchange(ctx, timeout, "")
	p := s.target.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	s.target.stats.healthchecks++
	s.usedWholly.healthchecks++
	if err != nil {
		s.target.stats.checkFailures++
		return err
	}
	s.checkedAt = p.pools.now()
	return nil
}

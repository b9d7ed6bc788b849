package pool

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// checkIdle starts the check of a target whose turn it is. p.mu is held.
func (p *pool) checkIdle(t *target, now int64) {
	interval := int64(p.settings.idleCheckInterval)
	if interval <= 0 || p.level == shut || p.ended != nil || now-t.checkedAt < interval || now-t.stats.began < int64(p.settings.idleCheckDelay) {
		return
	}
	t.checkedAt = now
	if len(t.idle) == 0 && (t.used > 0 || t.ban == nil) {
		return // those in use show its health, and nobody opens connections for a check alone
	}
	p.pools.start(func(ctx context.Context) { _ = t.probe(ctx) }) // its result is in the books
}

// probe checks a target: the connection that is idle longest, or a new one. A
// replica that fails is banned, one that is fine again is no more.
func (t *target) probe(ctx context.Context) error {
	p := t.pool
	_, err := t.ask(ctx, "")
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.pools.now()
	t.healthy = err == nil
	switch {
	case p.pools.ctx.Err() != nil || errors.Is(err, errNotWanted):
	case err != nil && t.role == config.RoleReplica:
		p.banFor(t, err.Error(), now)
	case err == nil && t.ban != nil && !t.ban.manual():
		t.ban = nil
		p.reroute(now)
	}
	p.notify()
	return err
}

// ask sends a query on an idle connection of the target, else on a new one, and
// gives the first row.
func (t *target) ask(ctx context.Context, sql string) ([]string, error) {
	p := t.pool
	p.mu.Lock()
	timeout := p.settings.healthcheckTimeout
	now := p.pools.now()
	var s *Server
	switch {
	case p.ended != nil || p.level == shut || t.retired:
		p.mu.Unlock()
		return nil, errNotWanted
	case len(t.idle) > 0:
		s = t.idle[0]
		t.idle = slices.Delete(t.idle, 0, 1)
		s.move(serverChecking, now)
		t.busy++
	}
	p.mu.Unlock()
	if s == nil {
		return t.askAnew(ctx, timeout, sql)
	}
	row, err := s.exchange(ctx, timeout, sql)
	t.asked(s, err)
	return row, err
}

// asked puts a connection back that was asked.
func (t *target) asked(s *Server, err error) {
	p := t.pool
	p.mu.Lock()
	now := p.pools.now()
	t.busy--
	t.stats.healthchecks++
	s.usedWholly.healthchecks++
	kept := false
	if err != nil {
		t.stats.checkFailures++
		p.suspect(t, now)
		p.drop(s, now)
	} else {
		s.checkedAt = now
		kept = p.settle(s, now)
	}
	p.notify()
	p.mu.Unlock()
	if !kept {
		s.close(err == nil)
	}
}

// askAnew opens a connection for a query alone, beside those of the pool.
func (t *target) askAnew(ctx context.Context, timeout time.Duration, sql string) ([]string, error) {
	p := t.pool
	p.mu.Lock()
	o, connect := p.dialOptions(t), p.settings.connectTimeout
	p.mu.Unlock()
	conn, err := p.pools.dial(ctx, t, o, connect)
	if err != nil {
		return nil, err
	}
	s := p.pools.newServer(t, conn, 0)
	defer s.close(true)
	row, err := s.exchange(ctx, timeout, sql)
	p.mu.Lock()
	defer p.mu.Unlock()
	t.stats.healthchecks++
	if err != nil {
		t.stats.checkFailures++
	}
	return row, err
}

// target finds a target by its number in SHOW POOLS.
func (p *Pools) target(id int64) (*target, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pool := range p.poolsLocked(nil) {
		pool.mu.Lock()
		i := slices.IndexFunc(pool.targets, func(t *target) bool { return t.id == id })
		pool.mu.Unlock()
		if i >= 0 {
			return pool.targets[i], nil // configure, which changes them, holds p.mu too
		}
	}
	return nil, pgerror.New(pgerror.UndefinedObject, "there is no pool %d", id).WithHint("SHOW POOLS; has them in column id.")
}

// targets gives the target with a number, or all for 0.
func (p *Pools) targets(id int64) ([]*target, error) {
	if id != 0 {
		one, err := p.target(id)
		return []*target{one}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*target
	for _, pool := range p.poolsLocked(nil) {
		out = append(out, pool.targets...)
	}
	return out, nil
}

// HealthCheck checks a target, or all for 0, and waits for the results. Those that
// failed are told by the error; SHOW POOLS has them too.
func (p *Pools) HealthCheck(ctx context.Context, id int64) error {
	all, err := p.targets(id)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range all {
		if err := t.probe(ctx); err != nil && !errors.Is(err, errNotWanted) {
			errs = append(errs, pgerror.New(pgerror.Code(err), "pool %d, %s of database %q for user %q: %w", t.id, t.name, t.pool.key.Database, t.pool.key.User, err))
		}
	}
	return errors.Join(errs...)
}

// Ban keeps a replica from taking reads until Unban; 0 bans all replicas.
func (p *Pools) Ban(id int64) error {
	all, err := p.targets(id)
	if err != nil {
		return err
	}
	for _, t := range all {
		t.pool.mu.Lock()
		if t.role == config.RoleReplica {
			t.ban = &ban{reason: "BAN", since: p.now()}
			t.pool.reroute(p.now())
		} else if id != 0 {
			err = pgerror.New(pgerror.ObjectNotInPrerequisiteState, "pool %d is of a primary, which cannot be banned", id).
				WithHint("PAUSE, MAINTENANCE ON and KILL stop the use of a database.")
		}
		t.pool.mu.Unlock()
	}
	return err
}

// Unban ends a ban, whoever has made it; 0 ends all.
func (p *Pools) Unban(id int64) error {
	all, err := p.targets(id)
	if err != nil {
		return err
	}
	for _, t := range all {
		t.pool.mu.Lock()
		t.ban, t.failures, t.retryAt = nil, 0, 0
		t.pool.reroute(p.now())
		t.pool.mu.Unlock()
	}
	return nil
}

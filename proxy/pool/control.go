package pool

import (
	"context"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Selector says what a command is about: all databases for the zero value, one
// database, or one user of one database.
type Selector struct{ User, Database string }

// String is the arguments of a command in the admin database.
func (s Selector) String() string {
	switch {
	case s.Database == "":
		return ""
	case s.User == "":
		return quoted(s.Database)
	}
	return quoted(s.User) + " " + quoted(s.Database)
}

// command gives a command about s, for hints.
func (s Selector) command(verb string) string {
	if s.Database == "" {
		return verb + ";"
	}
	return verb + " " + s.String() + ";"
}

// what names s in messages.
func (s Selector) what() string {
	switch {
	case s.Database == "":
		return "all databases"
	case s.User == "":
		return "database " + quoted(s.Database)
	}
	return "user " + quoted(s.User) + " of database " + quoted(s.Database)
}

// gateOf finds the gate and the pools that a selector is about. p.mu is held.
func (p *Pools) gateOf(s Selector) (*gate, []*pool, error) {
	if p.closed {
		return nil, nil, errStopped
	}
	if s.Database == "" {
		return p.gate, p.poolsLocked(nil), nil
	}
	d, err := p.database(s.Database)
	if err != nil {
		return nil, nil, err
	}
	if s.User == "" {
		return d.gate, p.poolsLocked(func(other *database) bool { return other == d }), nil
	}
	one := d.pools[s.User]
	if one == nil {
		if _, known := p.options.Config().User(s.User, s.Database); !known {
			return nil, nil, pgerror.New(pgerror.UndefinedObject, "there is no user %q of database %q", s.User, s.Database)
		}
		if one, err = d.poolOf(Login{User: s.User, Database: s.Database}); err != nil {
			return nil, nil, err
		}
	}
	return one.own, []*pool{one}, nil
}

// Pause stops new transactions, waits until the open ones have ended, and closes
// all connections; sessions that keep theirs are asked to give them back (see
// Client.Moved), and waited for. Clients wait meanwhile, without limit. It returns
// when there is no connection any more. If ctx ends before, the pause is undone.
// Pausing again waits for the same.
func (p *Pools) Pause(ctx context.Context, owner string, s Selector) error {
	return p.shut(ctx, holdKey{owner, Pause}, s)
}

// Resume undoes the owner's Pause and Kill of exactly s.
func (p *Pools) Resume(owner string, s Selector) error {
	paused, err := p.release(holdKey{owner, Pause}, s)
	if err != nil {
		return err
	}
	killed, err := p.release(holdKey{owner, Killed}, s)
	if err != nil || paused || killed {
		return err
	}
	return p.errNotHeld(owner, s)
}

// Maintenance stops new transactions, or lets them begin again; it does not wait.
// Both may be said again.
func (p *Pools) Maintenance(owner string, s Selector, on bool) error {
	key := holdKey{owner, Maintenance}
	if !on {
		_, err := p.release(key, s)
		return err
	}
	_, _, err := p.hold(key, s)
	return err
}

// Kill ends all clients and closes all connections at once, and lets no
// transaction begin before Resume. It returns when they are gone. If ctx ends
// before, the kill stays.
func (p *Pools) Kill(ctx context.Context, owner string, s Selector) error {
	h, _, err := p.hold(holdKey{owner, Killed}, s)
	if err != nil {
		return err
	}
	why := pgerror.New(pgerror.AdminShutdown, "terminating connection due to administrator command").
		WithDetail("All connections of %s were ended by KILL.", s.what())
	p.mu.Lock()
	_, pools, err := p.gateOf(s)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	for _, pool := range pools {
		pool.endClients(why, func(*Client) bool { return true })
	}
	return p.await(ctx, h, s)
}

// hold closes a gate.
func (p *Pools) hold(key holdKey, s Selector) (*holder, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, pools, err := p.gateOf(s)
	if err != nil {
		return nil, false, err
	}
	h, fresh := g.hold(key, time.Now())
	if fresh {
		p.log.Info("transactions are stopped", "of", s.what(), "kind", key.kind, "owner", key.owner)
	}
	regate(pools)
	return h, fresh, nil
}

// release opens a gate; false if the owner did not keep it closed.
func (p *Pools) release(key holdKey, s Selector) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, pools, err := p.gateOf(s)
	if err != nil || !g.release(key) {
		return false, err
	}
	p.log.Info("transactions may begin again", "of", s.what(), "kind", key.kind, "owner", key.owner)
	regate(pools)
	return true, nil
}

func regate(pools []*pool) {
	for _, pool := range pools {
		pool.mu.Lock()
		pool.regate()
		pool.mu.Unlock()
	}
}

// shut holds a gate and waits; the hold is undone with ctx, unless it was there before.
func (p *Pools) shut(ctx context.Context, key holdKey, s Selector) error {
	h, fresh, err := p.hold(key, s)
	if err != nil {
		return err
	}
	p.moveSessions(s)
	err = p.await(ctx, h, s)
	if err != nil && fresh {
		if _, undo := p.release(key, s); undo != nil {
			p.log.Error("a hold could not be undone", "of", s.what(), "error", undo)
		}
	}
	return err
}

// await waits until nothing is open behind a gate, and notes that.
func (p *Pools) await(ctx context.Context, h *holder, s Selector) error {
	for {
		p.mu.Lock()
		g, pools, err := p.gateOf(s)
		if err != nil {
			p.mu.Unlock()
			return err
		}
		changed := undrained(pools, h.level)
		if changed == nil {
			g.move(gateDrained)
			p.mu.Unlock()
			return nil
		}
		p.mu.Unlock()
		select {
		case <-changed:
		case <-h.gone:
			return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s was resumed before all transactions had ended", s.what())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ctx.Done():
			return errStopped
		}
	}
}

// undrained gives a channel that is closed when the first pool changes that is not
// drained; nil if all are.
func undrained(pools []*pool, l level) <-chan struct{} {
	for _, pool := range pools {
		pool.mu.Lock()
		var changed <-chan struct{}
		if !pool.drained(l) {
			changed = pool.watch()
		}
		pool.mu.Unlock()
		if changed != nil {
			return changed
		}
	}
	return nil
}

// drained tells whether what a level stops has ended. p.mu is held.
func (p *pool) drained(l level) bool {
	for _, t := range slices.Concat(p.targets, p.leaving) {
		if l == shut && (len(t.servers) > 0 || t.dialing > 0) || t.used+t.dedicated+t.busy > 0 {
			return false
		}
	}
	return true
}

// errNotHeld tells what is paused instead of s.
func (p *Pools) errNotHeld(owner string, s Selector) error {
	e := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s: not paused by %s", s.what(), owner)
	var others []string
	for _, g := range p.Gates() {
		for _, h := range g.Holders {
			if h.Owner == owner && (h.Kind == Pause || h.Kind == Killed) {
				others = append(others, g.Selector.command("RESUME"))
			}
		}
	}
	if len(others) > 0 {
		return e.WithHint("What is paused is resumed by: %s", joined(others))
	}
	return e.WithHint("SHOW STATE; tells what is stopped, and by whom.")
}

// endClients ends clients and closes their connections.
func (p *pool) endClients(why *pgerror.Error, of func(*Client) bool) (n int) {
	p.mu.Lock()
	now := p.pools.now()
	var tell []func()
	var closing []*Server
	for c := range p.clients {
		if !of(c) {
			continue
		}
		n++
		if f := c.end(why); f != nil {
			tell = append(tell, f)
		}
		if w := &c.waiter; w.queue != nil {
			c.state, c.stateSince = clientIdle, now
			w.grant(nil, why)
		}
		if s := c.server; s != nil && !s.condemned {
			s.condemned = true
			s.target.stats.forced++
			closing = append(closing, s)
		}
	}
	p.mu.Unlock()
	for _, f := range tell {
		f()
	}
	for _, s := range closing {
		p.abandon(s)
	}
	return n
}

// abandon ends a connection under its client: what it is doing is cancelled, for a
// server notices that a connection is closed only when it next reads or writes.
func (p *pool) abandon(s *Server) {
	if !p.pools.start(func(ctx context.Context) {
		p.mu.Lock()
		o := p.dialOptions(s.target)
		p.mu.Unlock()
		p.pools.cancel(ctx, s, o, closeTimeout)
		s.close(false)
	}) {
		s.close(false)
	}
}

// Reconnect has all connections replaced: idle ones now, those in use when they are
// released. It does not wait; WaitClose does.
func (p *Pools) Reconnect(s Selector) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, pools, err := p.gateOf(s)
	if err != nil {
		return err
	}
	for _, pool := range pools {
		pool.mu.Lock()
		now := pool.pools.now()
		for _, t := range pool.targets {
			t.renew(now)
		}
		pool.feed(now)
		pool.mu.Unlock()
	}
	return nil
}

// WaitClose waits until the connections are closed that Reconnect, a Reload or
// Repoint has made obsolete.
func (p *Pools) WaitClose(ctx context.Context, s Selector) error {
	p.mu.Lock()
	_, pools, err := p.gateOf(s)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	for _, pool := range pools {
		for {
			pool.mu.Lock()
			changed := pool.obsolete()
			pool.mu.Unlock()
			if changed == nil {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-p.ctx.Done():
				return errStopped
			}
		}
	}
	return nil
}

// obsolete gives a channel that is closed at the pool's next change while it has
// obsolete connections; nil if it has none. p.mu is held.
func (p *pool) obsolete() <-chan struct{} {
	for _, t := range slices.Concat(p.targets, p.leaving) {
		for s := range t.servers {
			if s.generation != t.generation || t.retired {
				return p.watch()
			}
		}
	}
	return nil
}

// Disable lets no new clients of a database in, until Enable by the same owner.
func (p *Pools) Disable(owner, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, err := p.database(name)
	if err == nil {
		d.disabled[owner] = true
	}
	return err
}

// Enable undoes Disable.
func (p *Pools) Enable(owner, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, err := p.database(name)
	if err != nil {
		return err
	}
	if !d.disabled[owner] {
		e := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "database %q was not disabled by %s", name, owner)
		return e.WithHint("SHOW STATE; tells what is disabled, and by whom.")
	}
	delete(d.disabled, owner)
	return nil
}

// KillClient ends the client with a process id; 42704 if there is none.
func (p *Pools) KillClient(processID uint32) error {
	p.mu.Lock()
	pools := p.poolsLocked(nil)
	p.mu.Unlock()
	why := pgerror.New(pgerror.AdminShutdown, "terminating connection due to administrator command")
	for _, pool := range pools {
		if pool.endClients(why, func(c *Client) bool { return c.login.ProcessID == processID }) > 0 {
			return nil
		}
	}
	return pgerror.New(pgerror.UndefinedObject, "there is no client %d", processID).WithHint("SHOW CLIENTS; has them in column id.")
}

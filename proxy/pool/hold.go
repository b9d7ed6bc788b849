package pool

import (
	"context"
	"fmt"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// HoldRequest says how a Hold is to be.
type HoldRequest struct {
	Token    string // of the owner; Repoint and Release want it again
	Database string

	// Deadline is how long open transactions and sessions have to end; then their
	// clients are ended. 0 leaves them all the time that ctx leaves.
	Deadline time.Duration
	// Code is the SQLSTATE that those get; "" is 57P01.
	Code string
	// Sessions is what becomes of clients in session mode.
	Sessions SessionPolicy
}

// SessionPolicy is what becomes of clients that keep their server connection.
type SessionPolicy string

// The policies.
const (
	// MoveSessions tells them to give their connection back at a safe point (see
	// Client.Moved); those that have not done so at the deadline are ended.
	MoveSessions SessionPolicy = "move"
	// EndSessions ends them at the deadline, and does not ask before.
	EndSessions SessionPolicy = "end"
)

// Held tells how a Hold has come about.
type Held struct {
	Took  time.Duration
	Ended int // clients
}

// Hold stops the new transactions of a database, which wait in order, and returns
// when the open ones have ended or were ended at the deadline. Idle connections
// stay. If ctx ends before, the hold is undone.
//
// A client that is ended at the deadline may have sent its COMMIT: it is not told
// whether that was done. Its server is asked to cancel what it is doing, and its
// connection is closed; that the server process has ended by then is not certain.
// Who must know fences the database itself.
func (p *Pools) Hold(ctx context.Context, r HoldRequest) (Held, error) {
	began, s, key := time.Now(), Selector{Database: r.Database}, holdKey{r.Token, Switch}
	h, fresh, err := p.hold(key, s)
	if err != nil {
		return Held{}, err
	}
	if !fresh {
		return Held{}, pgerror.New(pgerror.ObjectInUse, "database %q is held by %q already", r.Database, r.Token)
	}
	if r.Sessions != EndSessions {
		p.moveSessions(s)
	}
	ended := 0
	wait, cancel := ctx, context.CancelFunc(func() {})
	if r.Deadline > 0 {
		wait, cancel = context.WithTimeout(ctx, r.Deadline)
	}
	err = p.await(wait, h, s)
	cancel()
	if err != nil && wait.Err() != nil && ctx.Err() == nil {
		ended = p.endOpen(s, r.Code)
		err = p.await(ctx, h, s)
	}
	if err != nil {
		if _, undo := p.release(key, s); undo != nil {
			p.log.Error("a hold could not be undone", "of", s.what(), "error", undo)
		}
		return Held{}, fmt.Errorf("hold database %q: %w", r.Database, err)
	}
	return Held{Took: time.Since(began), Ended: ended}, nil
}

// moveSessions tells the clients that have a connection: those in session mode, and
// those that keep one beyond a transaction for another reason.
func (p *Pools) moveSessions(s Selector) {
	p.each(s, func(pool *pool) {
		for c := range pool.clients {
			if c.server != nil {
				c.setMoved()
			}
		}
	})
}

// endOpen ends the clients that have a connection.
func (p *Pools) endOpen(s Selector, code string) (n int) {
	if code == "" {
		code = pgerror.AdminShutdown
	}
	p.mu.Lock()
	_, pools, err := p.gateOf(s)
	p.mu.Unlock()
	if err != nil {
		return 0
	}
	why := pgerror.New(code, "terminating connection because the database is being switched to other servers").
		WithDetail("The transaction that was open did not end in time.").WithHint("Connect again.")
	for _, pool := range pools {
		n += pool.endClients(why, func(c *Client) bool { return c.server != nil })
	}
	return n
}

// each runs f for every pool of a selector, its lock held.
func (p *Pools) each(s Selector, f func(*pool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, pools, err := p.gateOf(s)
	if err != nil {
		return
	}
	for _, pool := range pools {
		pool.mu.Lock()
		f(pool)
		pool.mu.Unlock()
	}
}

// Repoint replaces the servers of a database that is held by the token and has no
// open transaction. Connections to the old servers are closed, and new ones are
// opened for those who wait. The servers stay until a Reload finds other entries of
// this database in the configuration than there are now.
func (p *Pools) Repoint(token, name string, servers []config.Database) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, known := p.databases[name]
	if !known {
		return pgerror.New(pgerror.InvalidCatalogName, "database %q has no pools", name)
	}
	if undrained(p.poolsLocked(func(other *database) bool { return other == d }), held) == nil {
		d.gate.move(gateDrained)
	}
	if d.gate.holders[holdKey{token, Switch}] == nil || !d.gate.move(gateMoved) {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "database %q is not held by %q, or transactions are open yet", name, token)
	}
	for i := range servers {
		servers[i].Name = name
	}
	d.entries, d.moved = servers, true
	clear(d.roles)
	d.timeline = ""
	d.watchNow.Store(true)
	d.reconfigure(p.options.Config())
	for _, pool := range d.pools {
		pool.mu.Lock()
		if t := pool.primary; t != nil && pool.level == held {
			t.openFor(max(pool.waiting(), t.settings.least))
		}
		pool.mu.Unlock()
	}
	p.log.Info("a database has other servers", "database", name, "owner", token, "servers", len(servers))
	return nil
}

// Release ends a Hold: those who wait are served in the order of their arrival.
func (p *Pools) Release(token, name string) error {
	s := Selector{Database: name}
	released, err := p.release(holdKey{token, Switch}, s)
	if err == nil && !released {
		err = pgerror.New(pgerror.ObjectNotInPrerequisiteState, "database %q is not held by %q", name, token)
	}
	return err
}

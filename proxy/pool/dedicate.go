package pool

import (
	"context"

	"github.com/pgdrover/pgdrover/pgerror"
)

// dedicate opens a connection for a client of the replication protocol. There are
// at most as many of them as ordinary ones, and nobody waits for one.
func (c *Client) dedicate(ctx context.Context) (*Server, error) {
	p := c.pool
	p.mu.Lock()
	t := p.primary
	var refused error
	switch {
	case p.ended != nil:
		refused = p.ended
	case p.level != open:
		refused = pgerror.New(pgerror.CannotConnectNow, "database %q is paused", p.key.Database)
	case t == nil:
		refused = p.errTimeout(Want{}, 0)
	case t.dedicated >= t.settings.most:
		refused = pgerror.New(pgerror.TooManyConnections, "too many replication connections").
			WithDetail("User \"%s\" has %d of them to database \"%s\" already.", p.key.User, t.dedicated, p.key.Database).
			WithHint("Raise pool_size.")
	}
	if refused != nil {
		p.mu.Unlock()
		return nil, refused
	}
	t.dedicated++
	o, generation, timeout := p.dialOptions(t), t.generation, p.settings.connectTimeout
	p.mu.Unlock()
	o.Replication, o.Parameters = c.login.Replication, c.login.Parameters
	conn, err := p.pools.dial(ctx, t, o, timeout)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		t.dedicated--
		return nil, err
	}
	s := p.pools.newServer(t, conn, generation)
	s.alone = true
	t.servers[s] = struct{}{}
	p.lend(s, c, p.pools.now())
	return s, nil
}

package pool

import (
	"math"
	"math/rand/v2"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// target is one server as a pool uses it. The pool's lock guards it.
type target struct {
	pool     *pool
	id       int64  // pool_id of SHOW POOLS
	name     string // host:port of the server, which does not change
	settings targetSettings
	role     config.Role // found out or configured; auto while it is not known
	retired  bool        // connections end when they are released

	// generation is that of new connections; older ones end when they are released.
	generation uint64

	servers map[*Server]struct{} // all that are open
	idle    []*Server            // the last one was released last
	used    int                  // checked out
	busy    int                  // being checked or cleaned
	dialing int

	failures int   // attempts to connect since the last that succeeded
	lastErr  error // of them
	retryAt  int64 // instant before which nobody tries again

	ban       *ban // nil if it takes part
	healthy   bool
	checkedAt int64 // instant of the last check of idle pools
	current   int   // of weighted_round_robin

	dedicated int // replication connections
	stats     stats
}

func newTarget(p *pool, id int64, s targetSettings) *target {
	t := &target{pool: p, id: id, name: s.server.Address(), settings: s, role: s.role, servers: map[*Server]struct{}{}, healthy: true}
	t.stats.began = p.pools.now()
	t.checkedAt = t.stats.began
	return t
}

// total is how many connections there are.
func (t *target) total() int { return len(t.idle) + t.used + t.busy }

// room tells whether another connection may be opened.
func (t *target) room() bool { return !t.retired && t.total()+t.dialing < t.settings.most }

// credentials are what the target's connections are logged in with.
func (t *target) credentials() auth.Credentials {
	if t.settings.secret.IsZero() {
		return t.pool.passed
	}
	return t.settings.secret
}

// lifetime gives the instant at which a connection made now is too old.
func (t *target) lifetime(now int64) int64 {
	life := int64(t.settings.lifetime)
	if life <= 0 {
		return math.MaxInt64
	}
	if j := min(int64(t.settings.jitter), life); j > 0 {
		life += rand.Int64N(2*j+1) - j // spread both ways
	}
	return now + life
}

// pop takes the connection that was released last; nil if none is idle.
func (t *target) pop() *Server {
	n := len(t.idle) - 1
	if n < 0 {
		return nil
	}
	s := t.idle[n]
	t.idle[n] = nil
	t.idle = t.idle[:n]
	return s
}

// forget takes a connection that is to be closed off the books. Its state is
// already that of a closed one.
func (t *target) forget(s *Server) {
	delete(t.servers, s)
	t.stats.closed++
}

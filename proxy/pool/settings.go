package pool

import (
	"cmp"
	"maps"
	"strconv"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

// settings are what a pool takes from the configuration.
type settings struct {
	mode                config.PoolerMode
	checkoutTimeout     time.Duration
	connectTimeout      time.Duration
	connectAttempts     int
	connectAttemptDelay time.Duration
	healthcheckInterval time.Duration
	healthcheckTimeout  time.Duration
	idleCheckInterval   time.Duration
	idleCheckDelay      time.Duration
	rollbackTimeout     time.Duration
	recovery            string
	banTimeout          time.Duration
	split               string
	balancing           string
	statsPeriod         time.Duration
	schemaAdmin         bool
}

func newSettings(c *config.Config, user config.User, entries []config.Database) settings {
	g := c.General
	s := settings{
		mode:            cmp.Or(user.PoolerMode, g.PoolerMode, config.ModeTransaction),
		checkoutTimeout: g.CheckoutTimeout, connectTimeout: g.ConnectTimeout,
		connectAttempts: max(1, g.ConnectAttempts), connectAttemptDelay: g.ConnectAttemptDelay,
		healthcheckInterval: g.HealthcheckInterval, healthcheckTimeout: g.HealthcheckTimeout,
		idleCheckInterval: g.IdleHealthcheckInterval, idleCheckDelay: g.IdleHealthcheckDelay,
		rollbackTimeout: g.RollbackTimeout, recovery: g.ConnectionRecovery,
		banTimeout: g.BanTimeout, split: g.ReadWriteSplit, balancing: g.LoadBalancingStrategy, statsPeriod: g.StatsPeriod, schemaAdmin: user.SchemaAdmin,
	}
	if user.PoolerMode == "" {
		for _, e := range entries {
			if e.PoolerMode != "" {
				s.mode = e.PoolerMode
				break
			}
		}
	}
	return s
}

// targetSettings are what a target takes from the configuration.
type targetSettings struct {
	role     config.Role // as configured
	most     int         // connections
	least    int         // kept open
	idle     time.Duration
	lifetime time.Duration
	jitter   time.Duration
	weight   int
	server   config.Server // without a password
	secret   auth.Credentials
	// parameters are the startup parameters of its connections.
	parameters map[string]string
}

// newTargetSettings gives what holds for a user's connections to a server: what
// the user's entry says goes before the database's, and both before [general].
// Keys of the primary or of replicas alone go before those of both; of a server
// whose role is found out, the primary's count.
func newTargetSettings(c *config.Config, user config.User, d config.Database) targetSettings {
	g := c.General
	replica := d.Role == config.RoleReplica
	t := targetSettings{
		role:     d.Role,
		most:     pick(g.DefaultPoolSize, ofRole(replica, user.PoolSizePrimary, user.PoolSizeReplica), user.PoolSize, ofRole(replica, d.PoolSizePrimary, d.PoolSizeReplica), d.PoolSize),
		least:    pick(g.MinPoolSize, ofRole(replica, user.MinPoolSizePrimary, user.MinPoolSizeReplica), user.MinPoolSize, ofRole(replica, d.MinPoolSizePrimary, d.MinPoolSizeReplica), d.MinPoolSize),
		idle:     pick(g.IdleTimeout, ofRole(replica, user.IdleTimeoutPrimary, user.IdleTimeoutReplica), user.IdleTimeout, ofRole(replica, d.IdleTimeoutPrimary, d.IdleTimeoutReplica), d.IdleTimeout),
		lifetime: pick(g.ServerLifetime, user.ServerLifetime, d.ServerLifetime),
		jitter:   pick(g.ServerLifetimeJitter, user.ServerLifetimeJitter, d.ServerLifetimeJitter),
		weight:   d.LBWeight,
		server:   c.Server(d, user),
		secret:   configured(d, user),
	}
	t.server.Password = ""
	t.most = max(1, t.most)
	t.least = min(t.least, t.most)
	t.parameters = startupParameters(user, d)
	return t
}

// pick gives the first value that is set, or the general one.
func pick[T any](general T, values ...*T) T {
	for _, v := range values {
		if v != nil {
			return *v
		}
	}
	return general
}

func ofRole[T any](replica bool, primarys, replicas *T) *T {
	if replica {
		return replicas
	}
	return primarys
}

// configured gives the passwords that the configuration has for a server, as
// config.Server chooses them, but all of those that a user has.
func configured(d config.Database, user config.User) auth.Credentials {
	if only := cmp.Or(d.Password, user.ServerPassword); only != "" {
		return auth.NewCredentials(only.Reveal())
	}
	var all []string
	for _, p := range user.AcceptedPasswords() {
		all = append(all, p.Reveal())
	}
	return auth.NewCredentials(all...)
}

// startupParameters are the settings of PostgreSQL that the configuration has
// for a server's sessions.
func startupParameters(user config.User, d config.Database) map[string]string {
	out := map[string]string{}
	if v := pick(0, user.StatementTimeout, d.StatementTimeout); v > 0 {
		out["statement_timeout"] = milliseconds(v)
	}
	if v := pick(0, user.LockTimeout, d.LockTimeout); v > 0 {
		out["lock_timeout"] = milliseconds(v)
	}
	if pick(false, user.ReadOnly, d.ReadOnly) {
		out["default_transaction_read_only"] = "on"
	}
	return out
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// sameServer tells whether two settings are of the same server, so that its
// connections and statistics stay.
func (t targetSettings) sameServer(o targetSettings) bool {
	a, b := t.server, o.server
	return a.Host == b.Host && a.Port == b.Port && a.Database == b.Database && a.User == b.User && a.Shard == b.Shard
}

// sameSession tells whether connections made with one are as those made with the
// other.
func (t targetSettings) sameSession(o targetSettings) bool {
	return t.sameServer(o) && keyOf(t.server) == keyOf(o.server) && t.secret.Equal(o.secret) && maps.Equal(t.parameters, o.parameters)
}

// tlsKey is what TLS towards a server depends on.
type tlsKey struct {
	verify               config.TLSVerify
	ca, cert, key, named string
}

func keyOf(s config.Server) tlsKey {
	return tlsKey{s.TLSVerify, s.CAFile, s.CertFile, s.KeyFile, s.Host}
}

// loadTLS reads the files of a server once for each Reload.
func (p *Pools) loadTLS(s config.Server) (*dial.TLS, error) {
	p.mu.Lock()
	loaded, known := p.tls[keyOf(s)]
	p.mu.Unlock()
	if known {
		return loaded, nil
	}
	loaded, err := dial.LoadTLS(s)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tls[keyOf(s)] = loaded
	return loaded, nil
}

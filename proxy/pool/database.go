package pool

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// database is one logical database and its pools. Pools.mu guards it.
type database struct {
	pools_   *Pools
	name     string
	entries  []config.Database // servers in use: those of the configuration, or of a Repoint
	origin   []config.Database // what the configuration had when entries were chosen
	moved    bool              // entries are those of a Repoint
	disabled map[string]bool   // owners who let nobody in
	gate     *gate
	roles    map[address]config.Role // found out, of entries with the role auto
	timeline string                  // of the newest primary seen, 8 hexadecimal digits
	pools    map[string]*pool        // by user

	watchNow  atomic.Bool // a server was lost: look at the roles at once
	watching  bool
	watchedAt int64 // instant
}

// address is one PostgreSQL database on one server.
type address struct {
	host     string
	port     int
	database string
}

func addressOf(d config.Database) address {
	return address{d.Host, d.Port, cmp.Or(d.DatabaseName, d.Name)}
}

func newDatabase(p *Pools, cluster config.Cluster) (*database, error) {
	if len(cluster.Shards) != 1 {
		return nil, pgerror.New(pgerror.FeatureNotSupported, "database %q has %d shards, and applications are served only where there is one", cluster.Name, len(cluster.Shards)).
			WithHint("Let the application connect to the shards' servers directly.")
	}
	entries := entriesOf(cluster)
	return &database{
		pools_: p, name: cluster.Name, entries: entries, origin: entries, disabled: map[string]bool{},
		gate: newGate(), roles: map[address]config.Role{}, pools: map[string]*pool{},
	}, nil
}

// entriesOf gives the servers that applications may use.
func entriesOf(cluster config.Cluster) []config.Database {
	var out []config.Database
	for _, shard := range cluster.Shards {
		for _, d := range append([]config.Database{shard.Primary}, shard.Replicas...) {
			if d.Host != "" && !d.ReshardingOnly {
				out = append(out, d)
			}
		}
	}
	return out
}

// admits refuses clients of a database that lets nobody in.
func (d *database) admits() error {
	if len(d.disabled) == 0 {
		return nil
	}
	return pgerror.New(pgerror.CannotConnectNow, "database %q does not accept connections", d.name).
		WithDetail("It was disabled by %s.", joined(slices.Sorted(maps.Keys(d.disabled))))
}

// poolOf finds the pool of a login, or makes it.
func (d *database) poolOf(l Login) (*pool, error) {
	cfg := d.pools_.options.Config()
	user, known := cfg.User(l.User, d.name)
	if found := d.pools[l.User]; found != nil {
		found.pass(l.Credentials)
		return found, nil
	}
	if !known {
		if l.Credentials.IsZero() && d.needsCredentials() {
			return nil, pgerror.New(pgerror.InvalidAuthorization, "user %q of database %q is not configured", l.User, d.name)
		}
		user = config.User{Name: l.User, Database: d.name}
	}
	made := newPool(d, user)
	made.pass(l.Credentials)
	made.configure(cfg, user, !known, d.entries, d.roles)
	made.addGates(d.pools_.gate, d.gate)
	d.pools[l.User] = made
	return made, nil
}

// needsCredentials tells whether a user that nobody knows has nothing to log in
// at servers with: no entry of the database has a user of its own.
func (d *database) needsCredentials() bool {
	return !slices.ContainsFunc(d.entries, func(e config.Database) bool { return e.User != "" })
}

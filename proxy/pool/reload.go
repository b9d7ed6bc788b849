package pool

import (
	"reflect"
	"slices"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

// Reload has the pools follow the configuration that is in force now. What has not
// changed stays as it is: connections, statistics, bans, pauses. On an error nothing
// has changed.
func (p *Pools) Reload() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	cfg := p.options.Config()
	fresh, err := p.readTLS(cfg)
	if err != nil {
		p.mu.Unlock()
		return err
	}
	p.tls = fresh
	var gone []*pool
	for name, d := range p.databases {
		cluster, known := cfg.Cluster(name)
		if !known || len(cluster.Shards) != 1 {
			delete(p.databases, name)
			for _, pool := range d.pools {
				gone = append(gone, pool)
			}
			continue
		}
		if entries := entriesOf(cluster); !sameEntries(entries, d.origin) {
			d.entries, d.origin, d.moved = entries, entries, false
		}
		gone = append(gone, d.reconfigure(cfg)...)
	}
	p.mu.Unlock()
	for _, pool := range gone {
		why := pgerror.New(pgerror.AdminShutdown, "terminating connection because the configuration has changed").
			WithDetail("User \"%s\" and database \"%s\" are not there any more.", pool.key.User, pool.key.Database)
		pool.endClients(why, func(*Client) bool { return true })
		pool.close(why)
	}
	return nil
}

// readTLS reads the files of TLS anew that pools use. p.mu is held.
func (p *Pools) readTLS(cfg *config.Config) (map[tlsKey]*dial.TLS, error) {
	fresh := map[tlsKey]*dial.TLS{}
	for _, entry := range cfg.Databases {
		s := cfg.Server(entry, config.User{})
		if _, inUse := p.databases[entry.Name]; !inUse || fresh[keyOf(s)] != nil {
			continue
		}
		loaded, err := dial.LoadTLS(s)
		if err != nil {
			return nil, err
		}
		fresh[keyOf(s)] = loaded
	}
	return fresh, nil
}

// sameEntries compares entries but for where they are in the file.
func sameEntries(a, b []config.Database) bool {
	return slices.EqualFunc(a, b, func(x, y config.Database) bool {
		x.File, x.Line = y.File, y.Line
		return reflect.DeepEqual(x, y)
	})
}

// reconfigure has the pools of a database follow the configuration and its
// entries. It gives those whose user is not there any more. Pools.mu is held.
func (d *database) reconfigure(cfg *config.Config) (gone []*pool) {
	for name, pool := range d.pools {
		user, known := cfg.User(name, d.name)
		if !known && !pool.foreign {
			delete(d.pools, name)
			gone = append(gone, pool)
			continue
		}
		if !known {
			user = config.User{Name: name, Database: d.name}
		}
		pool.configure(cfg, user, !known, d.entries, d.roles)
	}
	return gone
}

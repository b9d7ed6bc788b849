package config

import (
	"maps"
	"slices"
	"time"
)

// Role is what a server is in its shard.
type Role string

// The values of role.
const (
	RolePrimary Role = "primary"
	RoleReplica Role = "replica"
	RoleAuto    Role = "auto" // found out while running; taken as the primary where there is no other
)

// Database is one entry of [[databases]]: one PostgreSQL database on one
// server, as a part of the cluster called Name.
type Database struct {
	Name         string `toml:"name"`          // of the cluster
	Host         string `toml:"host"`          // name, address, or the directory of a Unix socket
	Port         int    `toml:"port"`          //
	Shard        int    `toml:"shard"`         // from 0
	Role         Role   `toml:"role"`          //
	DatabaseName string `toml:"database_name"` // on the server; "": Name
	User         string `toml:"user"`          // to connect as, whoever the client is; "": the user's own
	Password     Secret `toml:"password"`      //

	IdleTimeout          *time.Duration `toml:"idle_timeout"`
	IdleTimeoutPrimary   *time.Duration `toml:"idle_timeout_primary"`
	IdleTimeoutReplica   *time.Duration `toml:"idle_timeout_replica"`
	LBWeight             int            `toml:"lb_weight"`
	LockTimeout          *time.Duration `toml:"lock_timeout"`
	MinPoolSize          *int           `toml:"min_pool_size"`
	MinPoolSizePrimary   *int           `toml:"min_pool_size_primary"`
	MinPoolSizeReplica   *int           `toml:"min_pool_size_replica"`
	PoolSize             *int           `toml:"pool_size"`
	PoolSizePrimary      *int           `toml:"pool_size_primary"`
	PoolSizeReplica      *int           `toml:"pool_size_replica"`
	PoolerMode           PoolerMode     `toml:"pooler_mode"` // "": as in [general]
	ReadOnly             *bool          `toml:"read_only"`
	ReshardingOnly       bool           `toml:"resharding_only"`
	ServerLifetime       *time.Duration `toml:"server_lifetime"`
	ServerLifetimeJitter *time.Duration `toml:"server_lifetime_jitter"`
	StatementTimeout     *time.Duration `toml:"statement_timeout"`

	File string // where the entry is
	Line int
}

// Cluster is one logical database: the entries of [[databases]] of one name.
type Cluster struct {
	Name   string
	Shards []Shard // Shards[i].Number == i
}

// Shard is one part of a cluster. Primary is the entry with the role primary,
// or the first with the role auto.
type Shard struct {
	Number   int
	Primary  Database
	Replicas []Database
}

// Cluster finds a cluster by its name.
func (c *Config) Cluster(name string) (Cluster, bool) {
	var own []Database
	for _, d := range c.Databases {
		if d.Name == name {
			own = append(own, d)
		}
	}
	return newCluster(name, own), len(own) > 0
}

// Clusters gives all clusters, sorted by name.
func (c *Config) Clusters() []Cluster {
	entries := map[string][]Database{}
	for _, d := range c.Databases {
		entries[d.Name] = append(entries[d.Name], d)
	}
	out := make([]Cluster, 0, len(entries))
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		out = append(out, newCluster(name, entries[name]))
	}
	return out
}

func newCluster(name string, entries []Database) Cluster {
	shards := map[int]*Shard{}
	for _, d := range entries {
		if shards[d.Shard] == nil {
			shards[d.Shard] = &Shard{Number: d.Shard}
		}
		shards[d.Shard].add(d)
	}
	out := Cluster{Name: name}
	for _, number := range slices.Sorted(maps.Keys(shards)) {
		out.Shards = append(out.Shards, *shards[number])
	}
	return out
}

// add puts an entry at its place in the shard; a primary displaces an auto.
func (s *Shard) add(d Database) {
	switch {
	case d.Role == RolePrimary && s.Primary.Role == RoleAuto:
		s.Replicas = append(s.Replicas, s.Primary)
		s.Primary = d
	case d.Role == RolePrimary, d.Role == RoleAuto && s.Primary.Role == "":
		s.Primary = d
	default:
		s.Replicas = append(s.Replicas, d)
	}
}

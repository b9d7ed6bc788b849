package config

import (
	"slices"
	"time"
)

// User is one entry of [[users]]. A user of the database that has the admin
// database's name is a read-only admin user.
type User struct {
	Name           string   `toml:"name"`
	Database       string   `toml:"database"`
	Databases      []string `toml:"databases"`
	AllDatabases   bool     `toml:"all_databases"`
	Password       Secret   `toml:"password"`
	Passwords      []Secret `toml:"passwords"`       // any of them is accepted
	PasswordHash   string   `toml:"password_hash"`   // SCRAM-SHA-256 verifier; masked when the User is printed
	ServerUser     string   `toml:"server_user"`     // "": Name
	ServerPassword Secret   `toml:"server_password"` // "": Password
	SchemaAdmin    bool     `toml:"schema_admin"`    // schema sync, copy and replication connect as this user

	CrossShardDisabled           *bool          `toml:"cross_shard_disabled"`
	Identity                     string         `toml:"identity"`
	IdleTimeout                  *time.Duration `toml:"idle_timeout"`
	IdleTimeoutPrimary           *time.Duration `toml:"idle_timeout_primary"`
	IdleTimeoutReplica           *time.Duration `toml:"idle_timeout_replica"`
	LockTimeout                  *time.Duration `toml:"lock_timeout"`
	MinPoolSize                  *int           `toml:"min_pool_size"`
	MinPoolSizePrimary           *int           `toml:"min_pool_size_primary"`
	MinPoolSizeReplica           *int           `toml:"min_pool_size_replica"`
	PoolSize                     *int           `toml:"pool_size"`
	PoolSizePrimary              *int           `toml:"pool_size_primary"`
	PoolSizeReplica              *int           `toml:"pool_size_replica"`
	PoolerMode                   PoolerMode     `toml:"pooler_mode"` // "": as in [general]
	ReadOnly                     *bool          `toml:"read_only"`
	ReplicationMode              bool           `toml:"replication_mode"`
	ReplicationSharding          string         `toml:"replication_sharding"`
	ServerAuth                   string         `toml:"server_auth"`
	ServerIAMRegion              string         `toml:"server_iam_region"`
	ServerLifetime               *time.Duration `toml:"server_lifetime"`
	ServerLifetimeJitter         *time.Duration `toml:"server_lifetime_jitter"`
	ServerVaultPath              string         `toml:"server_vault_path"`
	StatementTimeout             *time.Duration `toml:"statement_timeout"`
	TLSClientCertificateRequired *bool          `toml:"tls_client_certificate_required"`
	TwoPhaseCommit               *bool          `toml:"two_phase_commit"`
	TwoPhaseCommitAuto           *bool          `toml:"two_phase_commit_auto"`
	VaultPath                    string         `toml:"vault_path"`
	VaultRefreshPercent          *int           `toml:"vault_refresh_percent"`

	File string // where the entry is
	Line int
}

// Names tells whether the user's database or databases name this one.
func (u User) Names(database string) bool {
	return database != "" && (u.Database == database || slices.Contains(u.Databases, database))
}

// MayUse tells whether the user may connect to a cluster.
func (u User) MayUse(cluster string) bool { return u.AllDatabases || u.Names(cluster) }

// AcceptedPasswords gives the passwords of which a client has to have one, in
// the order of password, passwords. A user with only password_hash has none.
func (u User) AcceptedPasswords() []Secret {
	var out []Secret
	for _, password := range append([]Secret{u.Password}, u.Passwords...) {
		if password != "" && !slices.Contains(out, password) {
			out = append(out, password)
		}
	}
	return out
}

// User finds the user of a cluster by name.
func (c *Config) User(name, cluster string) (User, bool) {
	for _, u := range c.Users {
		if u.Name == name && u.MayUse(cluster) {
			return u, true
		}
	}
	return User{}, false
}

// SchemaAdmin finds the user that schema sync, copy and replication connect to
// a cluster as. There is at most one.
func (c *Config) SchemaAdmin(cluster string) (User, bool) {
	for _, u := range c.Users {
		if u.SchemaAdmin && u.MayUse(cluster) {
			return u, true
		}
	}
	return User{}, false
}

// AdminReaders gives the users of the admin database: they may SHOW and
// nothing else. all_databases does not make one.
func (c *Config) AdminReaders() []User {
	var out []User
	for _, u := range c.Users {
		if u.Names(c.Admin.Name) {
			out = append(out, u)
		}
	}
	return out
}

package config

import (
	"crypto/rand"
	"maps"
	"reflect"
	"time"
)

// Config is the whole configuration, defaults filled in. Read it, never
// change it: it is shared.
type Config struct {
	General     General     `toml:"general"`
	Admin       Admin       `toml:"admin"`
	Replication Replication `toml:"replication"`
	SchemaSync  SchemaSync  `toml:"schema_sync"`
	DataSync    DataSync    `toml:"data_sync"`

	Databases []Database `toml:"databases"` // in the order of the file
	Users     []User     `toml:"users"`     // in the order of the file

	ShardedTables     []ShardedTable     `toml:"sharded_tables"`
	ShardedMappings   []ShardedMapping   `toml:"sharded_mappings"`
	OmnishardedTables []OmnishardedTable `toml:"omnisharded_tables"`
	ShardedSchemas    []ShardedSchema    `toml:"sharded_schemas"`
	Rewrite           Rewrite            `toml:"rewrite"`
	Mirroring         []Mirroring        `toml:"mirroring"`
	ReplicaLag        *ReplicaLag        `toml:"replica_lag"` // nil if the table is not there
	TCP               TCP                `toml:"tcp"`
	Memory            Memory             `toml:"memory"`
	OTel              OTel               `toml:"otel"`
	QueryParsers      []QueryParser      `toml:"query_parsers"`
	MultiTenant       *MultiTenant       `toml:"multi_tenant"` // nil if the table is not there
	Plugins           []Plugin           `toml:"plugins"`
	Vault             *Vault             `toml:"vault"` // nil if the table is not there

	Mirrors []Mirror `toml:"mirrors"` // in the order of the file
	Drift   Drift    `toml:"drift"`

	sources map[string]string // where the value of "general.port" came from, if not from its default
}

// Where the value of a setting came from.
const (
	sourceDefault     = "default"
	sourceFile        = "file"
	sourceEnvironment = "environment"
	sourceSet         = "set"
)

// Admin is how the admin database is reached.
type Admin struct {
	Name              string `toml:"name"`
	User              string `toml:"user"`
	Password          Secret `toml:"password"`
	PasswordGenerated bool   // nobody chose the password, so nobody knows it
}

// Replication holds what copying and schema sync take from [replication].
type Replication struct {
	PgDumpPath    string `toml:"pg_dump_path"`
	PgDumpPathSet bool   // false: look for the newest pg_dump
}

// SchemaSync is how schema sync works on a destination.
type SchemaSync struct {
	Scope              string        `toml:"scope"`                // "database" or "publication"
	IndexJobs          int           `toml:"index_jobs"`           // per shard
	IndexConcurrently  string        `toml:"index_concurrently"`   // "auto", "always" or "never"
	LockTimeout        time.Duration `toml:"lock_timeout"`         // 0 waits without end
	RetryMaxAttempts   int           `toml:"retry_max_attempts"`   // of a statement that meets a lock or deadlock error
	RetryMinDelay      time.Duration `toml:"retry_min_delay"`      // doubles up to 32 times itself
	SequenceMargin     int64         `toml:"sequence_margin"`      // values left out ahead of the source's last_value
	WidenIntegerKeys   bool          `toml:"widen_integer_keys"`   //
	Owners             bool          `toml:"owners"`               //
	Privileges         bool          `toml:"privileges"`           //
	MaintenanceWorkMem string        `toml:"maintenance_work_mem"` // "": the server's own
	ExcludeSchemas     []string      `toml:"exclude_schemas"`      //
}

// DataSync is how rows and changes are moved.
type DataSync struct {
	SpillDirectory    string        `toml:"spill_directory"`    // "": the system's directory for temporary files
	SpillMemory       int64         `toml:"spill_memory"`       // bytes of one transaction
	QueueMemory       int64         `toml:"queue_memory"`       // bytes of one stream, at least SpillMemory
	GroupRows         int           `toml:"group_rows"`         // of one destination transaction
	GroupBytes        int64         `toml:"group_bytes"`        // of one destination transaction
	HeartbeatInterval time.Duration `toml:"heartbeat_interval"` // 0: none
	StatusInterval    time.Duration `toml:"status_interval"`    //
	Streaming         bool          `toml:"streaming"`          // of transactions in progress
	ResyncDiskLimit   int64         `toml:"resync_disk_limit"`  // bytes of a shard's database; 0: none
	ResyncMaxLag      time.Duration `toml:"resync_max_lag"`     // 0: resyncs never wait
	ResyncLockWait    time.Duration `toml:"resync_lock_wait"`   // for the locks of a swap
}

// Default gives the configuration of two empty files, with a generated admin
// password.
func Default() *Config {
	c := &Config{sources: map[string]string{}}
	for i := range tables {
		if t := &tables[i]; t.index != nil && !t.Array {
			if field := reflect.ValueOf(c).Elem().FieldByIndex(t.index); field.Kind() == reflect.Struct {
				field.Set(t.defaults)
			}
		}
	}
	c.settle()
	return c
}

// settle derives what is not in the files themselves.
func (c *Config) settle() {
	c.Replication.PgDumpPathSet = c.Replication.PgDumpPath != "" && c.Replication.PgDumpPath != "pg_dump"
	if c.Admin.Password == "" {
		c.Admin.Password = generatePassword()
		c.Admin.PasswordGenerated = true
	}
	for i := range c.Mirrors {
		if m := &c.Mirrors[i]; m.Name == "" {
			m.Name = m.defaultName()
		}
	}
}

// clone gives a copy whose settings can be changed.
func (c *Config) clone() *Config {
	out := *c
	out.sources = maps.Clone(c.sources)
	if out.sources == nil {
		out.sources = map[string]string{}
	}
	return &out
}

// generatePassword gives 32 random characters of crypto/rand, 160 bits.
func generatePassword() Secret { return Secret((rand.Text() + rand.Text())[:32]) }

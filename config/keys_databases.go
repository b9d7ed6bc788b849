package config

var databasesTable = Table{
	Name: "databases", Array: true, Files: []string{configFile},
	Description: "One PostgreSQL database on one server. Entries with the same name are one cluster: its shards, each a primary and perhaps replicas.",
	Keys: []Key{
		{Name: "name", Example: `"staging"`, flags: required, Description: "Name that clients connect to and commands use."},
		{Name: "host", Example: `"127.0.0.1"`, flags: required, Description: "Server's name or address, or the directory of its Unix socket."},
		{Name: "port", Default: `5432`, Min: 1, Max: 65535, Description: "Server's port."},
		{Name: "shard", Default: `0`, Max: 1<<31 - 1, Description: "Shards are numbered from 0 without gaps."},
		{Name: "role", Default: `"primary"`, Values: []string{"primary", "replica", "auto"}, Description: "Each shard has one primary; auto: found out while running, and again after a failover."},
		{Name: "database_name", Default: `""`, Description: "Name of the database on the server, if it is not name."},
		{Name: "user", Default: `""`, Description: "Connect to the server as this user, whoever the client is."},
		{Name: "password", Default: `""`, flags: secret, Description: "That user's password on the server."},
		{Name: "resharding_only", Default: `false`, Description: "A replica that tables are copied from and nothing else."},
		{Name: "pool_size", Default: `"default"`, Min: 1, Description: "Instead of general.default_pool_size."},
		{Name: "pool_size_primary", Default: `"default"`, Min: 1, Description: "The same, of the primary alone."},
		{Name: "pool_size_replica", Default: `"default"`, Min: 1, Description: "The same, of replicas alone."},
		{Name: "min_pool_size", Default: `"default"`, Description: "Instead of general.min_pool_size."},
		{Name: "min_pool_size_primary", Default: `"default"`, Description: "The same, of the primary alone."},
		{Name: "min_pool_size_replica", Default: `"default"`, Description: "The same, of replicas alone."},
		{Name: "pooler_mode", Default: `"default"`, Values: poolerModes, Description: "Instead of general.pooler_mode."},
		{Name: "idle_timeout", Default: `"default"`, Unit: "ms", Description: "Instead of general.idle_timeout."},
		{Name: "idle_timeout_primary", Default: `"default"`, Unit: "ms", Description: "The same, of the primary alone."},
		{Name: "idle_timeout_replica", Default: `"default"`, Unit: "ms", Description: "The same, of replicas alone."},
		{Name: "server_lifetime", Default: `"default"`, Unit: "ms", Description: "Instead of general.server_lifetime."},
		{Name: "server_lifetime_jitter", Default: `"default"`, Unit: "ms", Description: "Instead of general.server_lifetime_jitter."},
		{Name: "statement_timeout", Default: `"default"`, Unit: "ms", Description: "PostgreSQL's statement_timeout on connections to this server."},
		{Name: "lock_timeout", Default: `"default"`, Unit: "ms", Description: "PostgreSQL's lock_timeout on connections to this server."},
		{Name: "read_only", Default: `"default"`, Description: "PostgreSQL's default_transaction_read_only on connections to this server."},
		{Name: "lb_weight", Default: `255`, Max: 255, Description: "Share of reads under weighted_round_robin."},
	},
}

var tcpTable = Table{
	Name: "tcp", Files: []string{configFile},
	Description: "TCP of client connections; what is not set is left to Go and the operating system.",
	Keys: []Key{
		{Name: "keepalive", Default: `true`, flags: restart, Description: "Find out that a silent peer is gone."},
		{Name: "time", Default: `"default"`, Unit: "ms", Min: 1, flags: restart, Description: "Silence before the first probe."},
		{Name: "interval", Default: `"default"`, Unit: "ms", Min: 1, flags: restart, Description: "Pause between probes."},
		{Name: "retries", Default: `"default"`, Min: 1, Max: 127, flags: restart, Description: "Unanswered probes after which the peer is gone."},
		{Name: "user_timeout", Default: `"default"`, Unit: "ms", flags: later, Description: "How long sent data may stay unacknowledged."},
		{Name: "congestion_control", Default: `""`, flags: later, Description: "Congestion control algorithm, on Linux."},
	},
}

var memoryTable = Table{
	Name: "memory", Files: []string{configFile}, flags: later,
	Description: "Buffers of connections.",
	Keys: []Key{
		{Name: "net_buffer", Default: `4096`, Unit: "bytes", flags: restart, Description: "Read buffer of a connection."},
		{Name: "message_buffer", Default: `4096`, Unit: "bytes", flags: restart, Description: "Message buffer of a connection."},
		{Name: "stack_size", Default: `8388608`, Unit: "bytes", flags: restart, Description: "Stack of a thread."},
	},
}

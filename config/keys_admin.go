package config

var adminTable = Table{
	Name: "admin", Files: []string{configFile, usersFile},
	Description: "The admin database. The table may stand in either file; where both set a key, users.toml counts.",
	Keys: []Key{
		{Name: "name", Default: `"admin"`, Description: "Database name under which the admin database is reached; users of this database in users.toml may SHOW and nothing else."},
		{Name: "user", Default: `"admin"`, Description: "The user that may do everything there."},
		{Name: "password", Default: `""`, Env: []string{"PGDOG_ADMIN_PASSWORD"}, flags: secret, Description: "That user's password; without one a random one is made that nobody knows."},
	},
}

var replicationTable = Table{
	Name: "replication", Files: []string{configFile},
	Description: "Copying a database.",
	Keys: []Key{
		{Name: "pg_dump_path", Default: `"pg_dump"`, Description: "The pg_dump to use; the default looks for the newest that is installed."},
	},
}

var schemaSyncTable = Table{
	Name: "schema_sync", Files: []string{configFile},
	Description: "How schema sync works on a destination.",
	Keys: []Key{
		{Name: "scope", Default: `"database"`, Values: []string{"database", "publication"}, flags: settable, Description: "Everything in the database, or the publication's tables and what they depend on."},
		{Name: "index_jobs", Default: `2`, Min: 1, Max: 1000, flags: settable, Description: "Indexes built at the same time, per shard."},
		{Name: "index_concurrently", Default: `"auto"`, Values: []string{"auto", "always", "never"}, flags: settable, Description: "CREATE INDEX CONCURRENTLY; auto: where the table is being written to."},
		{Name: "lock_timeout", Default: `3000`, Unit: "ms", flags: settable, Description: "How long a statement waits for a lock before it is tried again later; 0 waits without end."},
		{Name: "retry_max_attempts", Default: `5`, Min: 1, flags: settable, Description: "Attempts at a statement that meets a lock or a deadlock."},
		{Name: "retry_min_delay", Default: `500`, Unit: "ms", flags: settable, Description: "Pause before the second attempt; it doubles with each, up to 32 times."},
		{Name: "sequence_margin", Default: `32`, flags: settable, Description: "Values left out ahead of the source's last_value when sequences are carried over."},
		{Name: "widen_integer_keys", Default: `false`, flags: settable, Description: "Make integer keys bigint on the destination."},
		{Name: "owners", Default: `true`, flags: settable, Description: "Carry owners over; their roles must exist."},
		{Name: "privileges", Default: `true`, flags: settable, Description: "Carry GRANT and REVOKE over; their roles must exist."},
		{Name: "maintenance_work_mem", Default: `""`, flags: settable, Description: "Memory per index build, as \"1GB\"; the server's own setting without it."},
		{Name: "exclude_schemas", Default: `[]`, flags: settable, Description: "Schemas that are left out."},
	},
}

var dataSyncTable = Table{
	Name: "data_sync", Files: []string{configFile},
	Description: "How rows and changes are moved. A change counts for tasks that are started after it.",
	Keys: []Key{
		{Name: "spill_directory", Default: `""`, flags: settable, Description: "Where transactions that do not fit into memory are kept until they are applied; the system's directory for temporary files without it."},
		{Name: "spill_memory", Default: `67108864`, Unit: "bytes", Min: 1 << 16, Max: 1 << 40, flags: settable, Description: "Part of a transaction that is kept in memory; the rest is written to spill_directory."},
		{Name: "queue_memory", Default: `268435456`, Unit: "bytes", Min: 1 << 16, Max: 1 << 40, flags: settable, Description: "Changes kept in memory, per stream, while the destination is slower than the source; reading waits beyond it."},
		{Name: "group_rows", Default: `20000`, Min: 1, Max: 10_000_000, flags: settable, Description: "Rows of source transactions that are applied in one destination transaction; a greater source transaction stays whole."},
		{Name: "group_bytes", Default: `8388608`, Unit: "bytes", Min: 1 << 10, Max: 1 << 30, flags: settable, Description: "The same, in bytes."},
		{Name: "heartbeat_interval", Default: `10000`, Unit: "ms", flags: settable, Description: "Write a message into the source's WAL after so long without a change, so that the slot of an idle database does not hold WAL back; 0 writes none."},
		{Name: "status_interval", Default: `1000`, Unit: "ms", Min: 10, Max: 30_000, flags: settable, Description: "How often the source is told what has been applied; it has to be well below its wal_sender_timeout."},
		{Name: "streaming", Default: `true`, flags: settable, Description: "Ask servers from version 14 on to send large transactions while they are in progress."},
		{Name: "resync_disk_limit", Default: `0`, Unit: "bytes", flags: settable, Description: "What the database of a shard of the destination may take up: RESYNC is refused if it would need more; 0 for no limit. Nothing in SQL tells how much of a disk is free."},
		{Name: "resync_max_lag", Default: `0`, Unit: "ms", flags: settable, Description: "RESYNC waits while the mirror's stream, or a standby of the destination, is further behind; 0 never waits."},
		{Name: "resync_lock_wait", Default: `300000`, Unit: "ms", flags: settable, Description: "How long RESYNC tries to get the locks that a swap needs for some hundredths of a second; it waits for them half a second at a time, and gives up after this."},
	},
}

package admin

// poolCommands are the commands about pools.
func poolCommands() []*command {
	return append([]*command{
		{
			syntax: "PAUSE [{<user> <database>|<database>}]",
			help:   "stop new transactions, wait for the open ones, close the connections to servers",
			description: "Answers when no connection is left. Applications wait until RESUME, and their waiting does not count towards checkout_timeout. " +
				"Sessions that keep their connection over transactions give it back at rest, if they hold nothing that cannot be made again; PAUSE waits for the others. A cancel request, and the end of this session, undo it while it waits. Without a database, all.",
			role: Admin, example: "PAUSE prod", run: runPause, effects: true, waits: true,
		},
		{
			syntax: "RESUME [{<user> <database>|<database>}]",
			help:   "let transactions begin again that PAUSE or KILL has stopped",
			description: "Undoes exactly what PAUSE or KILL with the same words has done. What others have stopped, a cutover for example, stays stopped: " +
				"SHOW STATE tells.",
			role: Admin, example: "RESUME prod", run: runResume, effects: true,
		},
		{
			syntax:      "MAINTENANCE {ON|OFF} [<database>]",
			help:        "hold new transactions, or let them begin again",
			description: "Answers at once; open transactions go on, and connections stay. Without a database, all.",
			role:        Admin, example: "MAINTENANCE ON prod", run: runMaintenance, effects: true,
		},
		{
			syntax:      "RECONNECT [{<user> <database>|<database>}]",
			help:        "replace all connections to servers",
			description: "Answers at once: idle ones are closed now, those in use when they are given back, and sessions in session mode are told to. WAIT_CLOSE waits for that.",
			role:        Admin, example: "RECONNECT", run: runReconnect, effects: true,
		},
		{
			syntax:      "WAIT_CLOSE [{<user> <database>|<database>}]",
			help:        "wait until the connections are closed that RECONNECT or RELOAD has made obsolete",
			description: "SHOW SERVERS has them in column close_needed.",
			role:        Admin, example: "WAIT_CLOSE", run: runWaitClose, waits: true,
		},
		{
			syntax: "KILL [{<user> <database>|<database>}]",
			help:   "end all clients and close all connections at once",
			description: "Statements are cancelled. Answers when all are gone; new clients wait until RESUME. The state is kept when this session ends. " +
				"Without a database, all.",
			role: Admin, example: "KILL prod", run: runKill, effects: true, waits: true,
		},
		{
			syntax:      "KILL_CLIENT <client>",
			help:        "end one client",
			description: "Its statement is cancelled.",
			role:        Admin, example: "KILL_CLIENT 42", run: runKillClient, effects: true,
		},
		{
			syntax:      "DISABLE <database>",
			help:        "refuse new clients of a database",
			description: "Those that are connected stay.",
			role:        Admin, example: "DISABLE prod", run: runDisable, effects: true,
		},
		{
			syntax:      "ENABLE <database>",
			help:        "take new clients of a database again",
			description: "Undoes DISABLE.",
			role:        Admin, example: "ENABLE prod", run: runEnable, effects: true,
		},
		{
			syntax:      "BAN [<pool>]",
			help:        "keep a replica from taking reads until UNBAN",
			description: "Without a number, all replicas. A primary cannot be banned.",
			role:        Admin, example: "BAN 3", run: runBan, effects: true,
		},
		{
			syntax:      "UNBAN [<pool>]",
			help:        "let a banned replica take reads again",
			description: "Whoever has banned it. Without a number, all.",
			role:        Admin, example: "UNBAN 3", run: runUnban, effects: true,
		},
		{
			syntax:      "HEALTHCHECK [<pool>]",
			help:        "check now whether servers answer",
			description: "Answers when all have, and fails if one does not. A replica that fails is banned, one that answers again is no more.",
			role:        Admin, example: "HEALTHCHECK 3", run: runHealthCheck, effects: true, waits: true,
		},
		{
			syntax:      "RESET PREPARED",
			help:        "forget the prepared statements that no client has",
			description: "Those with 0 in used_by of SHOW PREPARED. Server connections close theirs when they are used for prepared statements next.",
			role:        Admin, example: "RESET PREPARED", run: runResetPrepared, effects: true,
		},
	}, poolTables()...)
}

// poolTables are the SHOWs about pools.
func poolTables() []*command {
	return []*command{
		{
			syntax: "SHOW POOLS",
			help:   "pools of server connections",
			description: "One row for each user, database and server that a client has come for. The columns up to schema_admin are PgDog's. Clients that wait for a read " +
				"are counted at the first server that takes reads.",
			role: Reader, columns: poolColumns, tag: "SHOW", example: "SHOW POOLS", run: runShowPools,
		},
		{
			syntax:      "SHOW CLIENTS",
			help:        "applications that are connected",
			description: "The columns up to prepared_statements are PgDog's. What a transaction counts is there when it has ended.",
			role:        Reader, columns: clientColumns, tag: "SHOW", example: "SHOW CLIENTS", run: runShowClients,
		},
		{
			syntax:      "SHOW SERVERS",
			help:        "connections to servers",
			description: "The columns up to application_name are PgDog's.",
			role:        Reader, columns: serverColumns, tag: "SHOW", example: "SHOW SERVERS", run: runShowServers,
		},
		{
			syntax:      "SHOW STATS",
			help:        "statistics of pools",
			description: "The columns are PgDog's: sums since the pool began, and averages over the last stats_period that is over. RELOAD keeps them.",
			role:        Reader, columns: statsColumns, tag: "SHOW", example: "SHOW STATS", run: runShowStats,
		},
		{
			syntax:      "SHOW TOTALS",
			help:        "the statistics of all pools together",
			description: "The sums of SHOW STATS by name, as PgBouncer has them.",
			role:        Reader, columns: totalsColumns, tag: "SHOW", example: "SHOW TOTALS", run: runShowTotals,
		},
		{
			syntax:      "SHOW LISTS",
			help:        "how many databases, users, pools, clients and servers there are",
			description: "One row, as in PgDog; the columns' names are PgBouncer's list names.",
			role:        Reader, columns: listsColumns, tag: "SHOW", example: "SHOW LISTS", run: runShowLists,
		},
		{
			syntax: "SHOW STATE",
			help:   "what is stopped, and by whom",
			description: "The first three rows are PgBouncer's, about all databases; then there is one for each owner who has stopped something. A database is stopped while there " +
				"is one row for it, for all databases, or for the user.",
			role: Reader, columns: stateColumns, tag: "SHOW", example: "SHOW STATE", run: runShowState,
		},
		{
			syntax:      "SHOW BANS",
			help:        "replicas that take no reads",
			description: "The columns are PgDog's.",
			role:        Reader, columns: banColumns, tag: "SHOW", example: "SHOW BANS", run: runShowBans,
		},
		{
			syntax:      "SHOW PREPARED",
			help:        "prepared statements that survive a change of the server connection",
			description: "The columns are PgDog's.",
			role:        Reader, columns: preparedColumns, tag: "SHOW PREPARED STATEMENTS", example: "SHOW PREPARED", run: runShowPrepared,
		},
		{
			syntax:      "SHOW LISTENERS",
			help:        "channels that are listened to for clients",
			description: "No rows: LISTEN is the server's own, on the client's server connection. The columns are PgDog's.",
			role:        Reader, columns: listenerColumns, tag: "SHOW", example: "SHOW LISTENERS", run: runShowListeners,
		},
		{
			syntax:      "SHOW MEM",
			help:        "memory of the process",
			description: "The columns are PgBouncer's; sizes are bytes.",
			role:        Reader, columns: memoryColumns, tag: "SHOW", example: "SHOW MEM", run: runShowMem,
		},
	}
}

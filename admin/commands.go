package admin

// commandTable is the language: every command, in the order of SHOW HELP. A
// statement belongs to the first command whose syntax takes it, which is why
// those that take any name come last.
func commandTable() []*command {
	return append([]*command{
		{
			syntax: "SCHEMA_SYNC {PRE|POST|CUTOVER|POST_CUTOVER} <source> <destination> <publication> " +
				"[DRY RUN] [IGNORE ERRORS] [NO OWNER] [NO PRIVILEGES]",
			help: "bring one phase of the schema from source to destination",
			description: "Starts a task and answers with its number at once. Statements that are done already are not " +
				"repeated, so that the same command goes on from where it stopped. DRY RUN shows what would be run, and runs " +
				"nothing. IGNORE ERRORS records a failed statement and goes on. NO OWNER leaves everything to the schema " +
				"admin, NO PRIVILEGES leaves GRANT and REVOKE out.",
			role: Admin, columns: schemaSyncColumns, optionColumns: map[string][]Column{"DRY RUN": schemaPlanColumns},
			example: "SCHEMA_SYNC PRE prod prod_sharded all_tables", run: runSchemaSync, effects: true,
		},
		{
			syntax: "WAIT <task>",
			help:   "wait for a task to end",
			description: "Tells progress as NOTICEs. The error of a failed task is the error of WAIT. A cancel request, " +
				"statement_timeout and a lost connection end the waiting, not the task.",
			role: Admin, columns: waitColumns, example: "WAIT 7", run: runWait, waits: true,
		},
		{
			syntax:      "STOP_TASK <task>",
			help:        "ask a task to stop",
			description: "Statements in flight are cancelled. The same command that began the task goes on from there.",
			role:        Admin, columns: stopTaskColumns, example: "STOP_TASK 7", run: runStopTask, effects: true,
		},
		{
			syntax:      "RELOAD",
			help:        "read the configuration files again and apply what changed",
			description: "Tells each change as a NOTICE, and as a WARNING what needs a restart. If the files have an error nothing is applied.",
			role:        Admin, example: "RELOAD", run: runReload, effects: true,
		},
		{
			syntax:      "SHUTDOWN",
			help:        "stop the process gracefully",
			description: "Answers at once. Running tasks are recorded as interrupted; the same commands go on from there after the next start.",
			role:        Admin, example: "SHUTDOWN", run: runShutdown, effects: true,
		},
		{
			syntax:      "PROBE <target>",
			help:        "connect to a database and tell how long that took",
			description: "A database of [[databases]] is connected to as its schema admin.",
			role:        Admin, columns: probeColumns, example: "PROBE 'postgres://app:secret@10.0.0.5:5432/app'", run: runProbe, waits: true,
		},
		{
			syntax:      "SHOW SCHEMA_SYNC",
			help:        "the statements of schema syncs, shard by shard",
			description: "One row for each statement on each shard, of the newest run of each phase of every mirror; they stay until the phase runs again.",
			role:        Reader, columns: statementColumns, tag: "SHOW", example: "SHOW SCHEMA_SYNC", run: runShowSchemaSync,
		},
		{
			syntax:      "SHOW TASKS",
			help:        "tasks and their parts, newest first",
			description: "One row for each task, with its number in id, and below it one for each of its subtasks.",
			role:        Reader, columns: taskColumns, tag: "SHOW", example: "SHOW TASKS", run: runShowTasks,
		},
		{
			syntax:      "SHOW SCHEMA_DIFF <source> <destination>",
			help:        "in what the schemas of two databases differ",
			description: "Both are dumped and compared object by object. No rows: the schemas are the same.",
			role:        Reader, columns: schemaDiffColumns, tag: "SHOW", example: "SHOW SCHEMA_DIFF prod prod_sharded",
			run: runShowSchemaDiff, waits: true,
		},
		{
			syntax:      "SHOW CONFIG [<name>]",
			help:        "settings, their defaults, and where their values come from",
			description: "Secrets are masked.",
			role:        Reader, columns: configColumns, tag: "SHOW", example: "SHOW CONFIG", run: runShowConfig,
		},
		{
			syntax:      "SHOW DATABASES",
			help:        "entries of [[databases]]",
			description: "The columns up to disabled are PgBouncer's; NULL where they have no meaning here.",
			role:        Reader, columns: databaseColumns, tag: "SHOW", example: "SHOW DATABASES", run: runShowDatabases,
		},
		{
			syntax:      "SHOW USERS",
			help:        "entries of [[users]], and the user of [admin]",
			description: "The columns up to current_client_connections are PgBouncer's; NULL where they have no meaning here. Never secrets.",
			role:        Reader, columns: userColumns, tag: "SHOW", example: "SHOW USERS", run: runShowUsers,
		},
		{
			syntax:      "SHOW VERSION",
			help:        "version of the product",
			description: "Its name and version number.",
			role:        Reader, columns: versionColumns, tag: "SHOW", example: "SHOW VERSION", run: runShowVersion,
		},
		{
			syntax:      "SHOW SERVER_VERSION",
			help:        "version of PostgreSQL that clients are told",
			description: "The oldest that the product works with, whatever the servers are.",
			role:        Reader, columns: serverVersionColumns, tag: "SHOW", example: "SHOW SERVER_VERSION", run: runShowServerVersion,
		},
		{
			syntax:      "SHOW HELP [<command>]",
			help:        "this list, or all about one command",
			description: "With a command: its description, its arguments and the columns of its result.",
			role:        Reader, columns: helpColumns, tag: "SHOW", example: "SHOW HELP SCHEMA_SYNC", run: runShowHelp,
		},
	}, append(driverTable(), &command{
		syntax:      "SET <name> {TO|=} <value>",
		help:        "change a setting until the files are read again",
		description: "DEFAULT stands for the setting's default. The files are not changed. SHOW CONFIG tells which settings can be set.",
		role:        Admin, example: "SET schema_sync.index_jobs TO 4", run: runSet, effects: true,
	}, &command{
		syntax:      "SHOW <setting>",
		help:        "the value of one setting",
		description: "The column has the setting's name.",
		role:        Reader, tag: "SHOW", example: "SHOW port", name: "SHOW <setting>", describe: describeShowSetting, run: runShowSetting,
	})...)
}

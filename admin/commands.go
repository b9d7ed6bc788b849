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
			syntax: "COPY_DATA <source> <destination> <publication> [<slot>] [SKIP SCHEMA] [SYNC ONLY]",
			help:   "copy schema and rows, then apply every change since, until it is stopped",
			description: "Starts a task and answers with its number at once: SCHEMA_SYNC PRE, rows, keys and indexes of each table as " +
				"soon as its rows are there, the rest of SCHEMA_SYNC POST, then the stream of changes. After STOP_TASK, or when its process " +
				"was lost, the same command goes on with what is missing. SKIP SCHEMA takes the destination's tables as they are. SYNC ONLY " +
				"ends when the rows are there; the slots stay for REPLICATE. Without a slot's name the mirror's own is used.",
			role: Admin, columns: copyDataColumns, example: "COPY_DATA prod prod_sharded all_tables", run: runCopyData, effects: true,
		},
		{
			syntax: "REPLICATE <source> <destination> <publication> [<slot>]",
			help:   "apply the changes of a source, without copying rows",
			description: "Starts a task and answers with its number at once. It goes on from the position that is recorded on the " +
				"destination, or begins where the slot does. The rows that were there before have to be on the destination already.",
			role: Admin, columns: replicateColumns, example: "REPLICATE prod prod_sharded all_tables", run: runReplicate, effects: true,
		},
		{
			syntax: "CREATE MIRROR <mirror> FROM <source> TO <destination> PUBLICATION <publication> [WITH (<settings>)] [NO START]",
			help:   "make a mirror, and start it",
			description: "Does what COPY_DATA does, under a name of its own and with settings of its own; those that are left out are as in [[mirrors]]. " +
				"NO START, or autostart = false, records the mirror alone: RESUME MIRROR begins it. What cannot be started stays recorded.",
			role: Admin, columns: createMirrorColumns, describe: describeSettings, run: runCreateMirror, effects: true,
			example: "CREATE MIRROR reporting FROM prod TO warehouse PUBLICATION all_tables WITH (workers = 4, drift.validation = permissive, " +
				"SCHEMA public AS app, TABLE public.orders AS sales.orders (EXCLUDE (note), RENAME (total TO amount))) NO START",
		},
		{
			syntax: "ALTER MIRROR <mirror> {SET (<settings>)|WITH (<settings>)|RESET (<setting_names>)|DROP TABLE <table>}",
			help:   "change the settings of a mirror",
			description: "A task that works on the mirror is stopped and started anew with them; slots and positions are kept. RESET makes a setting what it is " +
				"without being set. TABLE takes the place of all that was said of the table; RESET TABLE makes it the same at the destination. " +
				"WITH is SET. skip_columns, preserve_columns, null_columns and allow_type_casts name columns, 'schema.table.column', and add to what the tables have. " +
				"DROP TABLE forgets a table that the publication no longer has; the destination keeps it.",
			role: Admin, columns: alterMirrorColumns, describe: describeSettings, run: runAlterMirror, effects: true,
			example: "ALTER MIRROR reporting SET (workers = 8, drift.source_added_columns = skip)",
		},
		{
			syntax: "PAUSE MIRROR <mirror>",
			help:   "let a mirror rest",
			description: "Answers when its task has ended, after the transaction that is being applied. Slots and positions are kept, and the source keeps its WAL. " +
				"Nobody takes the mirror up before RESUME MIRROR, whatever is restarted. A cancel request ends the waiting alone.",
			role: Admin, columns: pauseMirrorColumns, example: "PAUSE MIRROR reporting", run: runPauseMirror, effects: true, waits: true,
		},
		{
			syntax:      "RESUME MIRROR <mirror>",
			help:        "let a mirror go on that rests, or one that was created begin",
			description: "Starts a task and answers with its number at once. It goes on with what is missing.",
			role:        Admin, columns: resumeMirrorColumns, example: "RESUME MIRROR reporting", run: runResumeMirror, effects: true,
		},
		{
			syntax: "RETRY MIRROR <mirror>",
			help:   "let a mirror go on that has failed",
			description: "For when the reason is gone, which SHOW MIRROR_LOG tells. Starts a task and answers with its number at once. Of a mirror that runs the tables are compared " +
				"anew, and those that are stopped because of their structure go on from where they were, if they can.",
			role: Admin, columns: resumeMirrorColumns, example: "RETRY MIRROR reporting", run: runRetryMirror, effects: true,
		},
		{
			syntax: "RESYNC <mirror> [STOPPED] [<tables>] [STRATEGY {TRUNCATE|SWAP|RECONCILE}]",
			help:   "copy tables of a mirror again while the others go on",
			description: "The tables named, or those that are STOPPED, or all of the mirror, which are then copied one after another. TRUNCATE empties a table and fills it again. SWAP " +
				"fills a second one and puts it into its place: readers see the old rows, then the new. RECONCILE copies the rows beside the table and changes in it what differs. " +
				"Without STRATEGY it is the mirror's resync_strategy. The task that works on the mirror does it; if none does, one is started. SHOW TABLE_COPIES tells how far it is.",
			role: Admin, columns: resyncColumns, example: `RESYNC prod_to_prod_sharded public.orders, sales."Order Items" STRATEGY swap`, run: runResync, effects: true,
		},
		{
			syntax: "VALIDATE_SCHEMA <mirror> [<table>]",
			help:   "compare the tables of a mirror with the destination's, and judge what differs",
			description: "One row for each table on each shard of the destination. Changes nothing: what the mirror's task finds by itself is in SHOW MIRROR. " +
				"SHOW SCHEMA_DIFF tells each difference.",
			role: Admin, columns: validateSchemaColumns, example: "VALIDATE_SCHEMA reporting", run: runValidateSchema, waits: true,
		},
		{
			syntax: "SYNC_SCHEMA <mirror> [<table>] [DRY RUN] [FORCE]",
			help:   "alter the destination's tables until they are as the source's",
			description: "Plans the statements with the weakest locks, and answers when they are run on every shard, with lock_timeout and retries. The task that works on the " +
				"mirror runs them, at a place in the stream behind what the source has changed; slots are neither dropped nor moved. Tables that have to be written otherwise " +
				"then are held meanwhile, the others go on. DRY RUN shows the statements. FORCE is needed where values of the destination are lost. " +
				"What was done is not repeated, so that the same command goes on after a kill.",
			role: Admin, columns: syncSchemaColumns, example: "SYNC_SCHEMA reporting public.orders DRY RUN", run: runSyncSchema, effects: true,
		},
		{
			syntax:      "APPROVE <mirror> <change>",
			help:        "let a change run that drift.auto_migrate allows and drift.require_approval holds back",
			description: "Runs what SHOW SCHEMA_DIFF tells of the table to wait for approval, as SYNC_SCHEMA does, and nothing else.",
			role:        Admin, columns: syncSchemaColumns, example: "APPROVE reporting public.orders", run: runApprove, effects: true,
		},
		{
			syntax: "SETUP SCHEMA <database> [REMOVE]",
			help:   "let a source tell its mirrors of schema changes",
			description: "Puts event triggers into every shard of the database, by its schema admin, who has to be a superuser or whom the provider lets create them. " +
				"With them schema changes are followed at their exact place in the stream; without them the catalogs are polled, which is later. Run it before the mirror is " +
				"made if you can. It may be run again. REMOVE takes them away.",
			role: Admin, columns: setupSchemaColumns, example: "SETUP SCHEMA prod", run: runSetupSchema, effects: true,
		},
		{
			syntax: "DROP MIRROR <mirror>",
			help:   "end a mirror: stop its task, drop its slots, forget its state",
			description: "The tables on the destination and their rows stay. A slot that was not made here stays too. If a slot cannot " +
				"be dropped the mirror stays, for nobody else would know of the slot.",
			role: Admin, columns: dropMirrorColumns, example: "DROP MIRROR prod_to_prod_sharded", run: runDropMirror, effects: true,
		},
		{
			syntax: "WAIT <task>",
			help:   "wait for a task to end",
			description: "Tells progress as NOTICEs. The error of a failed task is the error of WAIT, and so is that it was stopped: a task that " +
				"replicates has no other end. A cancel request, statement_timeout and a lost connection end the waiting, not the task.",
			role: Admin, columns: waitColumns, example: "WAIT 7", run: runWait, waits: true,
		},
		{
			syntax: "STOP_TASK <task>",
			help:   "ask a task to stop",
			description: "Statements in flight are cancelled; a stream ends after the transaction that is being applied. Slots and positions are " +
				"kept: the same command that began the task goes on from there.",
			role: Admin, columns: stopTaskColumns, example: "STOP_TASK 7", run: runStopTask, effects: true,
		},
		{
			syntax:      "RELOAD",
			help:        "read the configuration files again and apply what changed",
			description: "Tells each change as a NOTICE, and as a WARNING what needs a restart. If the files have an error nothing is applied.",
			role:        Admin, example: "RELOAD", run: runReload, effects: true,
		},
		{
			syntax: "SHUTDOWN [{WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS|IMMEDIATE}]",
			help:   "stop the process gracefully",
			description: "Answers at once; the port is closed. WAIT_FOR_SERVERS, which is meant without a word, lets transactions end until general.shutdown_timeout and disconnects " +
				"clients that are in none. WAIT_FOR_CLIENTS lets clients go on until they leave by themselves, up to general.shutdown_timeout, and then does the same. IMMEDIATE waits for nothing; " +
				"it, or a second signal, also cuts the other two short. Running tasks are recorded as interrupted; the same commands go on from there after the next start.",
			role: Admin, example: "SHUTDOWN", run: runShutdown, effects: true,
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
			description: "One row for each task, with its number in id, and below it one for each of its subtasks: shards of the destination, and streams from shards of the source.",
			role:        Reader, columns: taskColumns, tag: "SHOW", example: "SHOW TASKS", run: runShowTasks,
		},
		{
			syntax:      "SHOW MIRRORS",
			help:        "mirrors: which databases are kept in sync, and how far behind",
			description: "One row for each mirror that CREATE MIRROR or [[mirrors]] has made, and for each pair of databases that SCHEMA_SYNC, COPY_DATA or REPLICATE has worked on, until DROP MIRROR.",
			role:        Reader, columns: mirrorColumns, tag: "SHOW", example: "SHOW MIRRORS", run: runShowMirrors,
		},
		{
			syntax:      "SHOW MIRROR <mirror>",
			help:        "the tables of a mirror, their states, and the way out of what stopped them",
			description: "One row for each table on each shard of the source.",
			role:        Reader, columns: mirrorTableColumns, tag: "SHOW", example: "SHOW MIRROR prod_to_prod_sharded", run: runShowMirror,
		},
		{
			syntax: "SHOW MIRROR_LOG <mirror> [LEVEL <level>] [LIKE <text>] [LIMIT <n>]",
			help:   "what has happened to a mirror, newest first",
			description: "LEVEL leaves out what is below it: info, then warning, then error. LIKE looks in message, table and error. Without LIMIT the newest 1000 are told. " +
				"About 10000 are kept of each mirror, until DROP MIRROR.",
			role: Reader, columns: mirrorLogColumns, tag: "SHOW", example: "SHOW MIRROR_LOG reporting LEVEL warning LIMIT 20", run: runShowMirrorLog,
		},
		{
			syntax:      "SHOW TABLE_COPIES",
			help:        "copies of tables: those that run, wait and have ended",
			description: "One row for each table on each shard of the source. The columns up to sql are PgDog's; rows stay when the copy has ended.",
			role:        Reader, columns: tableCopyColumns, tag: "SHOW", example: "SHOW TABLE_COPIES", run: runShowTableCopies,
		},
		{
			syntax:      "SHOW STREAMS",
			help:        "streams of changes, with their positions",
			description: "One row for each shard of each mirror's source, as it was last recorded.",
			role:        Reader, columns: streamColumns, tag: "SHOW", example: "SHOW STREAMS", run: runShowStreams,
		},
		{
			syntax: "SHOW REPLICATION_SLOTS",
			help:   "replication slots of mirrors, and those that were left behind",
			description: "Asks every primary of [[databases]]. The columns up to last_transaction_ms are PgDog's. A slot that bears " +
				"our name and belongs to no mirror is an orphan.",
			role: Reader, columns: slotColumns, tag: "SHOW", example: "SHOW REPLICATION_SLOTS", run: runShowReplicationSlots,
		},
		{
			syntax: "SHOW SCHEMA_DIFF <source> <destination>",
			help:   "in what the schemas of two databases differ",
			description: "Both are dumped and compared object by object. No rows: the schemas are the same. If the first name is that of no database it is a mirror's, " +
				"and the second a table's.",
			role: Reader, columns: schemaDiffColumns, tag: "SHOW", example: "SHOW SCHEMA_DIFF prod prod_sharded", describe: describeSchemaDiff, run: runShowSchemaDiff, waits: true,
		},
		{
			syntax:      "SHOW SCHEMA_DIFF <mirror> [<table>]",
			name:        "SHOW SCHEMA_DIFF <mirror>",
			help:        "in what the tables of a mirror differ from the destination's, what that means, and the ways out",
			description: "One row for each difference on each shard of the destination, as they are now. No rows: every table is the same.",
			role:        Reader, columns: tableDiffColumns, tag: "SHOW", example: "SHOW SCHEMA_DIFF reporting", run: runShowTableDiff, waits: true,
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
	}, append(append(poolCommands(), driverTable()...), &command{
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

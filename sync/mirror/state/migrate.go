package state

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// migrations bring the schema from version i to i+1. One that was released is
// never changed; a new one is added behind it.
//
// Every table has a primary key: where the database has a publication FOR ALL
// TABLES, rows of a table without one could not be updated.
var migrations = []string{`
CREATE TABLE pgdrover.mirrors (
    mirror_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    source      text NOT NULL,
    destination text NOT NULL,
    publication text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE pgdrover.tasks (
    task_id      bigint PRIMARY KEY,
    mirror_id    integer NOT NULL REFERENCES pgdrover.mirrors ON DELETE CASCADE,
    type         text NOT NULL,
    state        text NOT NULL,
    inner_status text NOT NULL DEFAULT '',
    runner       text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    error        jsonb
);
CREATE INDEX tasks_mirror ON pgdrover.tasks (mirror_id, task_id);
CREATE TABLE pgdrover.subtasks (
    task_id      bigint NOT NULL REFERENCES pgdrover.tasks ON DELETE CASCADE,
    shard        integer NOT NULL,
    type         text NOT NULL,
    state        text NOT NULL,
    inner_status text NOT NULL DEFAULT '',
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    total        bigint NOT NULL DEFAULT 0,
    done         bigint NOT NULL DEFAULT 0,
    failed       bigint NOT NULL DEFAULT 0,
    error        jsonb,
    PRIMARY KEY (task_id, shard)
);
CREATE TABLE pgdrover.statements (
    mirror_id   integer NOT NULL REFERENCES pgdrover.mirrors ON DELETE CASCADE,
    phase       text NOT NULL,
    shard       integer NOT NULL,
    ordinal     integer NOT NULL,
    task_id     bigint NOT NULL,
    database    text NOT NULL,
    user_name   text NOT NULL,
    kind        text NOT NULL,
    object_kind text NOT NULL,
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    object      text NOT NULL,
    sql         text NOT NULL,
    state       text NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,
    backend     bigint,
    started_at  timestamptz,
    finished_at timestamptz,
    error       jsonb,
    PRIMARY KEY (mirror_id, phase, shard, ordinal)
);
CREATE TABLE pgdrover.progress (
    mirror     text NOT NULL,
    shard      integer NOT NULL,
    lsn        pg_lsn NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (mirror, shard)
);
`, `
CREATE TABLE pgdrover.streams (
    mirror_id      integer NOT NULL REFERENCES pgdrover.mirrors ON DELETE CASCADE,
    shard          integer NOT NULL,
    slot           text NOT NULL,
    made           boolean NOT NULL,
    system_id      text NOT NULL DEFAULT '',
    consistent_lsn pg_lsn,
    received_lsn   pg_lsn,
    applied_lsn    pg_lsn,
    confirmed_lsn  pg_lsn,
    server_lsn     pg_lsn,
    lag_seconds    float8,
    transactions   bigint NOT NULL DEFAULT 0,
    rows           bigint NOT NULL DEFAULT 0,
    transactions_per_second float8 NOT NULL DEFAULT 0,
    rows_per_second         float8 NOT NULL DEFAULT 0,
    binary_values  boolean,
    last_commit    timestamptz,
    error          jsonb,
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (mirror_id, shard)
);
CREATE TABLE pgdrover.tables (
    mirror_id   integer NOT NULL REFERENCES pgdrover.mirrors ON DELETE CASCADE,
    shard       integer NOT NULL,
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    task_id     bigint NOT NULL,
    state       text NOT NULL,
    sync_lsn    pg_lsn,
    stopped_lsn pg_lsn,
    format      text NOT NULL DEFAULT '',
    format_why  text NOT NULL DEFAULT '',
    total_rows  bigint NOT NULL DEFAULT 0,
    total_bytes bigint NOT NULL DEFAULT 0,
    rows        bigint NOT NULL DEFAULT 0,
    bytes       bigint NOT NULL DEFAULT 0,
    ranges      bigint NOT NULL DEFAULT 0,
    ranges_done bigint NOT NULL DEFAULT 0,
    workers     text NOT NULL DEFAULT '',
    attempt     integer NOT NULL DEFAULT 0,
    sql         text NOT NULL DEFAULT '',
    inserted    bigint NOT NULL DEFAULT 0,
    updated     bigint NOT NULL DEFAULT 0,
    deleted     bigint NOT NULL DEFAULT 0,
    started_at  timestamptz,
    finished_at timestamptz,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    error       jsonb,
    resync_asked boolean NOT NULL DEFAULT false,
    part        text NOT NULL DEFAULT '',
    PRIMARY KEY (mirror_id, shard, schema_name, table_name)
);
CREATE TABLE pgdrover.copied (
    mirror      text NOT NULL,
    shard       integer NOT NULL,
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    snapshot    pg_lsn NOT NULL,
    range       integer NOT NULL,
    rows        bigint NOT NULL,
    bytes       bigint NOT NULL,
    PRIMARY KEY (mirror, shard, schema_name, table_name, snapshot, range)
);
CREATE TABLE pgdrover.carried (
    mirror text NOT NULL,
    shard  integer NOT NULL,
    lsn    pg_lsn NOT NULL,
    change integer NOT NULL,
    tuple  bytea NOT NULL,
    PRIMARY KEY (mirror, shard, lsn, change)
);
`, `
ALTER TABLE pgdrover.tables ADD COLUMN relation oid NOT NULL DEFAULT 0, ADD COLUMN members text[] NOT NULL DEFAULT '{}';
`, `
ALTER TABLE pgdrover.tables ADD COLUMN strategy text NOT NULL DEFAULT '';
ALTER TABLE pgdrover.mirrors ADD COLUMN wanted text NOT NULL DEFAULT 'created', ADD COLUMN definition text NOT NULL DEFAULT '',
    ADD COLUMN request text NOT NULL DEFAULT '';
CREATE TABLE pgdrover.events (
    mirror_id   integer NOT NULL REFERENCES pgdrover.mirrors ON DELETE CASCADE,
    event_id    bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    level       text NOT NULL,
    kind        text NOT NULL,
    task_id     bigint NOT NULL DEFAULT 0,
    shard       integer NOT NULL DEFAULT -1,
    schema_name text NOT NULL DEFAULT '',
    table_name  text NOT NULL DEFAULT '',
    lsn         pg_lsn,
    message     text NOT NULL,
    error       jsonb,
    PRIMARY KEY (mirror_id, event_id)
);
`, `
CREATE TABLE pgdrover.source_schema (
    mirror_id integer NOT NULL REFERENCES pgdrover.mirrors ON DELETE CASCADE,
    shard     integer NOT NULL,
    kind      text NOT NULL,
    oid       oid NOT NULL,
    lsn       pg_lsn NOT NULL,
    content   text,
    PRIMARY KEY (mirror_id, shard, kind, oid, lsn)
);
`, `
ALTER TABLE pgdrover.streams ADD COLUMN timeline integer NOT NULL DEFAULT 0;
`, `
ALTER TABLE pgdrover.tables ADD COLUMN resync text NOT NULL DEFAULT '', ADD COLUMN live_lsn pg_lsn, ADD COLUMN step text NOT NULL DEFAULT '',
    ADD COLUMN step_done float8, ADD COLUMN step_at timestamptz;
` + resync.ForeignKeysTable, `
CREATE TABLE pgdrover.drift (
    mirror_id   integer NOT NULL REFERENCES pgdrover.mirrors ON DELETE CASCADE,
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    verdict     text NOT NULL,
    reason      text NOT NULL DEFAULT '',
    judgements  jsonb,
    before      jsonb,
    stopped     boolean NOT NULL DEFAULT false,
    lsn         pg_lsn,
    after       jsonb,
    since       timestamptz NOT NULL,
    checked_at  timestamptz NOT NULL,
    PRIMARY KEY (mirror_id, schema_name, table_name)
);
CREATE TABLE pgdrover.allowances (
    mirror_id   integer NOT NULL REFERENCES pgdrover.mirrors ON DELETE CASCADE,
    schema_name text NOT NULL,
    table_name  text NOT NULL,
    option      text NOT NULL,
    columns     text NOT NULL DEFAULT '',
    since       timestamptz NOT NULL,
    until       timestamptz,
    rows        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (mirror_id, schema_name, table_name, option)
);
CREATE TABLE pgdrover.drift_commands (
    command_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mirror_id  integer NOT NULL REFERENCES pgdrover.mirrors ON DELETE CASCADE,
    verb       text NOT NULL,
    schemas    text[] NOT NULL,
    names      text[] NOT NULL,
    force      boolean NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    task_id    bigint NOT NULL DEFAULT 0,
    ended      boolean NOT NULL DEFAULT false,
    result     jsonb,
    error      jsonb
);
`}

// Install creates the schema pgdrover in the database behind conn, or brings an
// older one up to date. It may be called at any time, by several processes.
func Install(ctx context.Context, conn *pgx.Conn) error {
	version, err := installed(ctx, conn)
	if err != nil {
		return err
	}
	if version == len(migrations) {
		return nil
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, 0)`, lockClass); err != nil {
			return fmt.Errorf("lock the schema pgdrover: %w", err)
		}
		if version, err = installed(ctx, tx); err != nil {
			return err
		}
		if version > len(migrations) {
			return pgerror.New(pgerror.FeatureNotSupported, "the schema pgdrover of database %q has version %d; this pgdrover knows up to %d",
				conn.Config().Database, version, len(migrations)).
				WithHint("use the newer pgdrover that made it")
		}
		if version < 0 {
			if _, err := tx.Exec(ctx, `
CREATE SCHEMA IF NOT EXISTS pgdrover;
COMMENT ON SCHEMA pgdrover IS 'What pgdrover remembers of its mirrors and tasks. DROP MIRROR removes it.';
CREATE TABLE pgdrover.version (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), version integer NOT NULL);
INSERT INTO pgdrover.version (version) VALUES (0)`, pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("create the schema pgdrover: %w", err)
			}
			version = 0
		}
		for i := version; i < len(migrations); i++ {
			if _, err := tx.Exec(ctx, migrations[i], pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("bring the schema pgdrover to version %d: %w", i+1, err)
			}
		}
		_, err := tx.Exec(ctx, `UPDATE pgdrover.version SET version = $1`, len(migrations))
		return err
	})
}

// querier is what a connection and a transaction have in common.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// installed gives the version of the schema pgdrover, -1 if there is none.
func installed(ctx context.Context, q querier) (int, error) {
	var there bool
	// Not to_regclass: it would look into a cache that does not know yet what
	// another process has just made.
	if err := q.QueryRow(ctx, `
SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'pgdrover' AND c.relname = 'version')`).Scan(&there); err != nil {
		return 0, fmt.Errorf("look for the schema pgdrover: %w", err)
	}
	if !there {
		return -1, nil
	}
	var version int
	if err := q.QueryRow(ctx, `SELECT version FROM pgdrover.version`).Scan(&version); err != nil {
		return 0, fmt.Errorf("read the version of the schema pgdrover: %w", err)
	}
	return version, nil
}

// Installed tells whether the database behind conn has the schema pgdrover, of
// whatever version.
func Installed(ctx context.Context, conn *pgx.Conn) (bool, error) {
	version, err := installed(ctx, conn)
	return version >= 0, err
}

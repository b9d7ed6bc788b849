package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Table is a row of pgdrover.tables: one table of one source shard of a mirror.
type Table struct {
	MirrorID                   int32
	Mirror                     string
	Shard                      int // of the source
	Schema, Name               string
	TaskID                     int64
	State                      string
	SyncLSN, StoppedLSN        pglogrepl.LSN // 0 if there is none
	Format, FormatWhy          string
	TotalRows, TotalBytes      int64
	Rows, Bytes                int64
	Ranges, RangesDone         int64
	Workers                    string
	Attempt                    int
	SQL                        string
	Inserted, Updated, Deleted int64              // applied since the mirror began
	Asked                      bool               // RESYNC has asked for it, and no task has taken that up. PutTables leaves it
	Strategy                   string             // by which; "" for the mirror's own. PutTables leaves it
	Resync                     string             // the strategy of the resync that is under way; "" if none is
	LiveLSN                    pglogrepl.LSN      // not 0 while what stands there is streamed into, from here on, although the table is copied again
	Step                       string             // of the resync: "copy rows"
	StepDone                   *float64           // share of it that is done, 0 to 1; nil if that is not known
	StepAt                     *time.Time         // when it began
	Part                       string             // of a table that is copied while the others stream: what it is part of until it joins them
	Membership                 catalog.Membership // which relation was copied or followed, and what published it then; zero if it never was
	StartedAt, FinishedAt      *time.Time
	UpdatedAt                  time.Time
	Error                      *pgerror.Error
}

// PutTables records the tables as they are now, and what has happened to them,
// all in one transaction. A row that exists is overwritten.
func PutTables(ctx context.Context, conn *pgx.Conn, mirrorID int32, tables []Table, events []Event) error {
	if len(tables) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	for _, t := range tables {
		batch.Queue(`
INSERT INTO pgdrover.tables (mirror_id, shard, schema_name, table_name, task_id, state, sync_lsn, stopped_lsn, format, format_why, total_rows, total_bytes,
    rows, bytes, ranges, ranges_done, workers, attempt, sql, inserted, updated, deleted, started_at, finished_at, updated_at, error, part,
    relation, members, resync, live_lsn, step, step_done, step_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, clock_timestamp(), $25::jsonb, $26,
    $27, coalesce($28::text[], '{}'), $29, $30, $31, $32, $33)
ON CONFLICT (mirror_id, shard, schema_name, table_name) DO UPDATE SET
    task_id = excluded.task_id, state = excluded.state, sync_lsn = excluded.sync_lsn, stopped_lsn = excluded.stopped_lsn,
    format = excluded.format, format_why = excluded.format_why, total_rows = excluded.total_rows, total_bytes = excluded.total_bytes,
    rows = excluded.rows, bytes = excluded.bytes, ranges = excluded.ranges, ranges_done = excluded.ranges_done, workers = excluded.workers,
    attempt = excluded.attempt, sql = excluded.sql, inserted = excluded.inserted, updated = excluded.updated, deleted = excluded.deleted,
    started_at = excluded.started_at, finished_at = excluded.finished_at, updated_at = excluded.updated_at, error = excluded.error, part = excluded.part,
    relation = excluded.relation, members = excluded.members, resync = excluded.resync, live_lsn = excluded.live_lsn,
    step = excluded.step, step_done = excluded.step_done, step_at = excluded.step_at`,
			mirrorID, t.Shard, t.Schema, t.Name, t.TaskID, t.State, lsnOrNull(t.SyncLSN), lsnOrNull(t.StoppedLSN), t.Format, t.FormatWhy,
			t.TotalRows, t.TotalBytes, t.Rows, t.Bytes, t.Ranges, t.RangesDone, t.Workers, t.Attempt, t.SQL, t.Inserted, t.Updated, t.Deleted,
			t.StartedAt, t.FinishedAt, encodeError(t.Error), t.Part,
			t.Membership.OID, t.Membership.Members, t.Resync, lsnOrNull(t.LiveLSN), t.Step, t.StepDone, t.StepAt)
	}
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		return AddEvents(ctx, conn, mirrorID, events...)
	})
	if err != nil {
		return fmt.Errorf("record the tables: %w", err)
	}
	return nil
}

// RequestResync marks tables as to be copied again, for the task that works on
// the mirror now or next, by a strategy. It gives how many there are.
func RequestResync(ctx context.Context, conn *pgx.Conn, mirrorID int32, schemas, names []string, strategy string) (int64, error) {
	tag, err := conn.Exec(ctx, `
UPDATE pgdrover.tables t SET resync_asked = true, strategy = $4
FROM unnest($2::text[], $3::text[]) AS asked (schema_name, table_name)
WHERE t.mirror_id = $1 AND t.schema_name = asked.schema_name AND t.table_name = asked.table_name`, mirrorID, schemas, names, strategy)
	if err != nil {
		return 0, fmt.Errorf("mark tables to be copied again: %w", err)
	}
	return tag.RowsAffected(), nil
}

// AskedResync is a table that RESYNC has asked for.
type AskedResync struct {
	Table    catalog.Name
	Strategy string // "" for the mirror's own
}

// AskedResyncs gives the tables that RequestResync has marked and that are to be
// taken up now: all of those that do not stream, and one that does, so that a
// whole mirror is copied again table by table. When they are recorded as being
// copied again, ClearResyncs takes the marks away.
func AskedResyncs(ctx context.Context, conn *pgx.Conn, mirrorID int32) ([]AskedResync, error) {
	rows, err := conn.Query(ctx, `
WITH asked AS (
    SELECT schema_name, table_name, bool_or(state = 'streaming') AS streams, max(strategy) AS strategy
    FROM pgdrover.tables WHERE mirror_id = $1 AND resync_asked GROUP BY 1, 2)
SELECT schema_name, table_name, strategy FROM asked WHERE NOT streams
UNION ALL (SELECT schema_name, table_name, strategy FROM asked WHERE streams ORDER BY 1, 2 LIMIT 1)`, mirrorID)
	if err != nil {
		return nil, fmt.Errorf("look for tables to be copied again: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a AskedResync, err error) {
		err = row.Scan(&a.Table.Schema, &a.Table.Name, &a.Strategy)
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("look for tables to be copied again: %w", err)
	}
	return out, nil
}

// ClearResyncs takes marks away, but for one that was set anew by another strategy.
func ClearResyncs(ctx context.Context, conn *pgx.Conn, mirrorID int32, asked []AskedResync) error {
	var schemas, names, strategies []string
	for _, a := range asked {
		schemas, names, strategies = append(schemas, a.Table.Schema), append(names, a.Table.Name), append(strategies, a.Strategy)
	}
	_, err := conn.Exec(ctx, `
UPDATE pgdrover.tables t SET resync_asked = false FROM unnest($2::text[], $3::text[], $4::text[]) AS asked (schema_name, table_name, strategy)
WHERE t.mirror_id = $1 AND t.schema_name = asked.schema_name AND t.table_name = asked.table_name AND t.strategy = asked.strategy`, mirrorID, schemas, names, strategies)
	if err != nil {
		return fmt.Errorf("take away the marks of tables to be copied again: %w", err)
	}
	return nil
}

// Tables gives the tables of one mirror, or of all if mirrorID is 0.
func Tables(ctx context.Context, conn *pgx.Conn, mirrorID int32) ([]Table, error) {
	rows, err := conn.Query(ctx, `
SELECT t.mirror_id, m.name, t.shard, t.schema_name, t.table_name, t.task_id, t.state, coalesce(t.sync_lsn, '0/0'), coalesce(t.stopped_lsn, '0/0'),
       t.format, t.format_why, t.total_rows, t.total_bytes, t.rows, t.bytes, t.ranges, t.ranges_done, t.workers, t.attempt, t.sql,
       t.inserted, t.updated, t.deleted, t.started_at, t.finished_at, t.updated_at, t.error::text, t.part, t.relation, t.members, t.strategy,
       t.resync_asked, t.resync, coalesce(t.live_lsn, '0/0'), t.step, t.step_done, t.step_at
FROM pgdrover.tables t JOIN pgdrover.mirrors m USING (mirror_id)
WHERE $1::int = 0 OR t.mirror_id = $1
ORDER BY m.name, t.shard, t.schema_name, t.table_name`, mirrorID)
	if err != nil {
		return nil, fmt.Errorf("read tables of mirrors: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Table, err error) {
		var failure *string
		err = row.Scan(&t.MirrorID, &t.Mirror, &t.Shard, &t.Schema, &t.Name, &t.TaskID, &t.State, &t.SyncLSN, &t.StoppedLSN,
			&t.Format, &t.FormatWhy, &t.TotalRows, &t.TotalBytes, &t.Rows, &t.Bytes, &t.Ranges, &t.RangesDone, &t.Workers, &t.Attempt, &t.SQL,
			&t.Inserted, &t.Updated, &t.Deleted, &t.StartedAt, &t.FinishedAt, &t.UpdatedAt, &failure, &t.Part,
			&t.Membership.OID, &t.Membership.Members, &t.Strategy, &t.Asked, &t.Resync, &t.LiveLSN, &t.Step, &t.StepDone, &t.StepAt)
		t.Error = decodeError(failure)
		return t, err
	})
	if olderSchema(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read tables of mirrors: %w", err)
	}
	return out, nil
}

func lsnOrNull(lsn pglogrepl.LSN) *pglogrepl.LSN {
	if lsn == 0 {
		return nil
	}
	return &lsn
}

// RenameTable records that a table of the source has another name. A table that
// was recorded under that name is forgotten.
func RenameTable(ctx context.Context, conn *pgx.Conn, mirrorID int32, shard int, from, to catalog.Name) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `
DELETE FROM pgdrover.tables WHERE mirror_id = $1 AND shard = $2 AND schema_name = $5 AND table_name = $6
  AND EXISTS (SELECT FROM pgdrover.tables o WHERE o.mirror_id = $1 AND o.shard = $2 AND o.schema_name = $3 AND o.table_name = $4)`,
			mirrorID, shard, from.Schema, from.Name, to.Schema, to.Name); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE pgdrover.tables SET schema_name = $5, table_name = $6 WHERE mirror_id = $1 AND shard = $2 AND schema_name = $3 AND table_name = $4`,
			mirrorID, shard, from.Schema, from.Name, to.Schema, to.Name)
		return err
	})
	if err != nil {
		return fmt.Errorf("record the new name of table %s: %w", from, err)
	}
	return nil
}

package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Statement is a row of pgdrover.statements.
type Statement struct {
	MirrorID   int32
	Mirror     string
	TaskID     int64
	Phase      string
	Shard      int
	Ordinal    int
	Database   string
	User       string
	Kind       string
	ObjectKind string
	Schema     string
	Table      string
	Object     string
	SQL        string // secrets masked
	State      string
	Attempts   int
	Backend    int64
	StartedAt  *time.Time
	FinishedAt *time.Time
	Error      *pgerror.Error
}

// PutStatements replaces the recorded statements of a mirror's phase on one
// shard, and sets the subtask's counters.
func PutStatements(ctx context.Context, conn *pgx.Conn, mirrorID int32, task int64, phase string, shard int, rows []Statement) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM pgdrover.statements WHERE mirror_id = $1 AND phase = $2 AND shard = $3`, mirrorID, phase, shard); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"pgdrover", "statements"},
			[]string{"mirror_id", "phase", "shard", "ordinal", "task_id", "database", "user_name", "kind", "object_kind", "schema_name", "table_name", "object", "sql", "state", "attempts", "started_at", "finished_at", "error"},
			pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
				r := &rows[i]
				return []any{mirrorID, phase, shard, r.Ordinal, task, r.Database, r.User, r.Kind, r.ObjectKind, r.Schema, r.Table, r.Object, r.SQL, r.State,
					r.Attempts, r.StartedAt, r.FinishedAt, encodeError(r.Error)}, nil
			}))
		if err != nil {
			return err
		}
		return count(ctx, tx, mirrorID, task, phase, shard)
	})
	if err == nil && len(rows) >= manyRows {
		// ApplyChanges finds its rows by the primary key only when the planner
		// knows how many there are; autovacuum would tell it too late.
		_, err = conn.Exec(ctx, `ANALYZE pgdrover.statements (mirror_id, phase, shard, ordinal)`)
	}
	if err != nil {
		return fmt.Errorf("record the statements of shard %d: %w", shard, err)
	}
	return notify(ctx, conn, "task", task)
}

// AddStatement records one statement behind those of its shard.
func AddStatement(ctx context.Context, conn *pgx.Conn, mirrorID int32, task int64, phase string, r Statement) error {
	_, err := conn.Exec(ctx, `
INSERT INTO pgdrover.statements (mirror_id, phase, shard, ordinal, task_id, database, user_name, kind, object_kind, schema_name, table_name, object, sql, state, attempts, started_at, finished_at)
SELECT $1, $2, $3, coalesce(max(ordinal), 0) + 1, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
FROM pgdrover.statements WHERE mirror_id = $1 AND phase = $2 AND shard = $3`,
		mirrorID, phase, r.Shard, task, r.Database, r.User, r.Kind, r.ObjectKind, r.Schema, r.Table, r.Object, r.SQL, r.State, r.Attempts, r.StartedAt, r.FinishedAt)
	if err != nil {
		return fmt.Errorf("record a statement of shard %d: %w", r.Shard, err)
	}
	return notify(ctx, conn, "task", task)
}

// manyRows is from how many rows on a wrong plan would be felt.
const manyRows = 1000

func count(ctx context.Context, tx pgx.Tx, mirrorID int32, task int64, phase string, shard int) error {
	_, err := tx.Exec(ctx, `
UPDATE pgdrover.subtasks u SET total = c.total, done = c.done, failed = c.failed, updated_at = clock_timestamp()
FROM (SELECT count(*) AS total, count(*) FILTER (WHERE state IN ('done', 'existed', 'failed')) AS done,
             count(*) FILTER (WHERE state = 'failed') AS failed
      FROM pgdrover.statements WHERE mirror_id = $1 AND phase = $3 AND shard = $4) c
WHERE u.task_id = $2 AND u.shard = $4`, mirrorID, task, phase, shard)
	return err
}

// Change is a statement's newest state.
type Change struct {
	Shard      int
	Ordinal    int
	State      string
	Attempts   int
	Backend    int64
	StartedAt  *time.Time
	FinishedAt *time.Time
	Error      *pgerror.Error
}

// ApplyChanges records the newest states of statements, with the counters of
// the shards they belong to, in one transaction.
func ApplyChanges(ctx context.Context, conn *pgx.Conn, mirrorID int32, task int64, phase string, changes []Change, counters map[int]Counter) error {
	var shards, ordinals, attempts []int32
	var backends []int64
	var states []string
	var started, finished []*time.Time
	var failures []*string
	for _, c := range changes {
		shards, ordinals = append(shards, int32(c.Shard)), append(ordinals, int32(c.Ordinal))
		states, attempts, backends = append(states, c.State), append(attempts, int32(c.Attempts)), append(backends, c.Backend)
		started, finished = append(started, c.StartedAt), append(finished, c.FinishedAt)
		failures = append(failures, encodeError(c.Error))
	}
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
UPDATE pgdrover.statements s
SET state = u.state, attempts = greatest(s.attempts, u.attempts), backend = u.backend, started_at = coalesce(u.started, s.started_at), finished_at = u.finished, error = u.error::jsonb
FROM unnest($3::int[], $4::int[], $5::text[], $6::int[], $7::int8[], $8::timestamptz[], $9::timestamptz[], $10::text[])
     AS u (shard, ordinal, state, attempts, backend, started, finished, error)
WHERE s.mirror_id = $1 AND s.phase = $2 AND s.shard = u.shard AND s.ordinal = u.ordinal`,
			mirrorID, phase, shards, ordinals, states, attempts, backends, started, finished, failures)
		if err != nil {
			return err
		}
		for shard, c := range counters {
			if _, err := tx.Exec(ctx, `
UPDATE pgdrover.subtasks SET done = $3, failed = $4, updated_at = clock_timestamp() WHERE task_id = $1 AND shard = $2`,
				task, shard, c.Done, c.Failed); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, `UPDATE pgdrover.tasks SET updated_at = clock_timestamp() WHERE task_id = $1`, task)
		return err
	})
	if err != nil {
		return fmt.Errorf("record the states of statements: %w", err)
	}
	return notify(ctx, conn, "task", task)
}

// Counter counts a shard's statements.
type Counter struct {
	Done   int64 // ended: done, existed or failed
	Failed int64
}

// Statements reads every recorded statement: running ones first, then pending
// ones, then those that have ended, the newest run first.
func Statements(ctx context.Context, conn *pgx.Conn) ([]Statement, error) {
	rows, err := conn.Query(ctx, `
SELECT s.mirror_id, m.name, s.task_id, s.phase, s.shard, s.ordinal, s.database, s.user_name, s.kind, s.object_kind, s.schema_name, s.table_name, s.object,
       s.sql, s.state, s.attempts, coalesce(s.backend, 0), s.started_at, s.finished_at, s.error::text
FROM pgdrover.statements s JOIN pgdrover.mirrors m USING (mirror_id)
ORDER BY CASE s.state WHEN 'running' THEN 0 WHEN 'failed' THEN 1 WHEN 'pending' THEN 2 ELSE 3 END, s.task_id DESC, s.shard, s.ordinal`)
	if err != nil {
		return nil, fmt.Errorf("read statements: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Statement, err error) {
		var failure *string
		err = row.Scan(&s.MirrorID, &s.Mirror, &s.TaskID, &s.Phase, &s.Shard, &s.Ordinal, &s.Database, &s.User, &s.Kind, &s.ObjectKind, &s.Schema, &s.Table, &s.Object,
			&s.SQL, &s.State, &s.Attempts, &s.Backend, &s.StartedAt, &s.FinishedAt, &failure)
		s.Error = decodeError(failure)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read statements: %w", err)
	}
	return out, nil
}

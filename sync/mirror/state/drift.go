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

// Drift is a row of pgdrover.drift: what the comparisons of one table's
// structure have found.
type Drift struct {
	Schema, Name string // on the source
	Verdict      string
	Reason       string
	// Judgements is what was found on each shard of the destination, as JSON; ""
	// if the table was not compared yet.
	Judgements string
	// Before is the source's table as it was when the destination was right, as
	// JSON; "" if that is not known.
	Before string
	// Stopped says that the table is stopped because of its structure: it goes on
	// by itself when that is right again.
	Stopped bool
	LSN     pglogrepl.LSN // where it was stopped, or found; 0 for nowhere
	// After are statements, as JSON, that wait until the table is copied again.
	After     string
	Since     time.Time // when the verdict was first found
	CheckedAt time.Time
}

// PutDrift records what was found of a table.
func PutDrift(ctx context.Context, conn *pgx.Conn, mirrorID int32, rows ...Drift) error {
	if len(rows) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	for _, d := range rows {
		batch.Queue(`
INSERT INTO pgdrover.drift (mirror_id, schema_name, table_name, verdict, reason, judgements, before, stopped, lsn, after, since, checked_at)
VALUES ($1, $2, $3, $4, $5, nullif($6, '')::jsonb, nullif($7, '')::jsonb, $8, $9, nullif($10, '')::jsonb, $11, $12)
ON CONFLICT (mirror_id, schema_name, table_name) DO UPDATE SET verdict = excluded.verdict, reason = excluded.reason, judgements = excluded.judgements,
    before = excluded.before, stopped = excluded.stopped, lsn = excluded.lsn, after = excluded.after, since = excluded.since, checked_at = excluded.checked_at`,
			mirrorID, d.Schema, d.Name, d.Verdict, clean(d.Reason), clean(d.Judgements), clean(d.Before), d.Stopped, lsnOrNull(d.LSN), clean(d.After), d.Since, d.CheckedAt)
	}
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("record what was found of tables: %w", err)
	}
	return nil
}

// Drifts gives what was found of the tables of a mirror.
func Drifts(ctx context.Context, conn *pgx.Conn, mirrorID int32) ([]Drift, error) {
	rows, err := conn.Query(ctx, `
SELECT schema_name, table_name, verdict, reason, coalesce(judgements::text, ''), coalesce(before::text, ''), stopped, coalesce(lsn, '0/0'), coalesce(after::text, ''), since, checked_at
FROM pgdrover.drift WHERE mirror_id = $1 ORDER BY 1, 2`, mirrorID)
	if err != nil {
		return nil, fmt.Errorf("read what was found of tables: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Drift])
	if olderSchema(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was found of tables: %w", err)
	}
	return out, nil
}

// Allowance is a row of pgdrover.allowances: an escape hatch by which a table
// goes on, or has gone on, and what it has cost.
type Allowance struct {
	Schema, Name string
	Option       string // skip_columns, allow_type_casts …
	Columns      string // which it is about; "" for the table
	Since        time.Time
	Until        *time.Time // when it ended; nil while it lasts
	Rows         int64      // that were written otherwise than they are on the source
}

// PutAllowances records escape hatches as they are now.
func PutAllowances(ctx context.Context, conn *pgx.Conn, mirrorID int32, rows ...Allowance) error {
	if len(rows) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	for _, a := range rows {
		batch.Queue(`
INSERT INTO pgdrover.allowances (mirror_id, schema_name, table_name, option, columns, since, until, rows) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (mirror_id, schema_name, table_name, option) DO UPDATE SET columns = excluded.columns, since = excluded.since, until = excluded.until, rows = excluded.rows`,
			mirrorID, a.Schema, a.Name, a.Option, a.Columns, a.Since, a.Until, a.Rows)
	}
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("record by what tables go on: %w", err)
	}
	return nil
}

// Allowances gives the escape hatches of a mirror, those that have ended too.
func Allowances(ctx context.Context, conn *pgx.Conn, mirrorID int32) ([]Allowance, error) {
	rows, err := conn.Query(ctx, `
SELECT schema_name, table_name, option, columns, since, until, rows FROM pgdrover.allowances WHERE mirror_id = $1 ORDER BY 1, 2, 3`, mirrorID)
	if err != nil {
		return nil, fmt.Errorf("read by what tables go on: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Allowance])
	if olderSchema(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read by what tables go on: %w", err)
	}
	return out, nil
}

// DriftCommand is a row of pgdrover.drift_commands: what a command asks of the
// task that works on the mirror.
type DriftCommand struct {
	ID     int64
	Verb   string         // "sync", "approve", "check"
	Tables []catalog.Name // none: all
	Force  bool
	Task   int64  // that works on it; 0: none yet
	Result string // as JSON; "" until it has ended
	Error  *pgerror.Error
	Ended  bool
}

// AskDrift records a command and gives its number.
func AskDrift(ctx context.Context, conn *pgx.Conn, mirrorID int32, c DriftCommand) (id int64, err error) {
	schemas, names := make([]string, len(c.Tables)), make([]string, len(c.Tables))
	for i, t := range c.Tables {
		schemas[i], names[i] = t.Schema, t.Name
	}
	err = conn.QueryRow(ctx, `
INSERT INTO pgdrover.drift_commands (mirror_id, verb, schemas, names, force) VALUES ($1, $2, $3, $4, $5) RETURNING command_id`,
		mirrorID, c.Verb, schemas, names, c.Force).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("ask the mirror's task: %w", err)
	}
	return id, nil
}

// TakeDrift gives the commands that nobody works on yet, to a task. Those that
// another task has taken, and that ended without an answer, are told as
// interrupted: whoever asked asks again.
func TakeDrift(ctx context.Context, conn *pgx.Conn, mirrorID int32, task int64) ([]DriftCommand, error) {
	rows, err := conn.Query(ctx, `
WITH interrupted AS (
    UPDATE pgdrover.drift_commands SET ended = true, error = '{"code": "57P01", "message": "the task that worked on the command has ended", "hint": "run it again: what is done is not repeated"}'
    WHERE mirror_id = $1 AND NOT ended AND task_id NOT IN (0, $2)
), old AS (
    DELETE FROM pgdrover.drift_commands WHERE mirror_id = $1 AND ended AND asked_at < now() - interval '1 day'
)
UPDATE pgdrover.drift_commands SET task_id = $2 WHERE mirror_id = $1 AND NOT ended AND task_id = 0
RETURNING command_id, verb, schemas, names, force`, mirrorID, task)
	if err != nil {
		return nil, fmt.Errorf("look for commands: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c DriftCommand, err error) {
		var schemas, names []string
		err = row.Scan(&c.ID, &c.Verb, &schemas, &names, &c.Force)
		for i := range names {
			c.Tables = append(c.Tables, catalog.Name{Schema: schemas[i], Name: names[i]})
		}
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("look for commands: %w", err)
	}
	return out, nil
}

// EndDrift records a command's answer.
func EndDrift(ctx context.Context, conn *pgx.Conn, id int64, result string, failure *pgerror.Error) error {
	_, err := conn.Exec(ctx, `UPDATE pgdrover.drift_commands SET ended = true, result = nullif($2, '')::jsonb, error = $3::jsonb WHERE command_id = $1`, id, clean(result), encodeError(failure))
	if err != nil {
		return fmt.Errorf("answer a command: %w", err)
	}
	return nil
}

// DriftAnswer gives what has become of a command.
func DriftAnswer(ctx context.Context, conn *pgx.Conn, id int64) (c DriftCommand, err error) {
	var failure *string
	err = conn.QueryRow(ctx, `SELECT command_id, task_id, ended, coalesce(result::text, ''), error::text FROM pgdrover.drift_commands WHERE command_id = $1`, id).
		Scan(&c.ID, &c.Task, &c.Ended, &c.Result, &failure)
	if err != nil {
		return c, fmt.Errorf("wait for the answer to a command: %w", err)
	}
	c.Error = decodeError(failure)
	return c, nil
}

// ForgetTable removes what is recorded of a table of a mirror.
func ForgetTable(ctx context.Context, conn *pgx.Conn, mirrorID int32, table catalog.Name) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, from := range []string{"tables", "drift", "allowances"} {
			if _, err := tx.Exec(ctx, `DELETE FROM pgdrover.`+from+` WHERE mirror_id = $1 AND schema_name = $2 AND table_name = $3`, mirrorID, table.Schema, table.Name); err != nil {
				return fmt.Errorf("forget the table: %w", err)
			}
		}
		return nil
	})
}

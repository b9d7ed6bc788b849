package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Stream is a row of pgdrover.streams: how the changes of one source shard of a
// mirror arrive.
type Stream struct {
	MirrorID              int32
	Mirror                string
	Source                string // the mirror's databases
	Destination           string
	Shard                 int // of the source
	Slot                  string
	Made                  bool          // the slot is ours: DROP MIRROR drops it
	SystemID              string        // of the source cluster on which the slot is
	Timeline              int32         // of the source, when the stream was last begun; 0: not known
	ConsistentLSN         pglogrepl.LSN // the slot gives every transaction that commits from here on; 0 while it is being made
	ReceivedLSN           pglogrepl.LSN
	AppliedLSN            pglogrepl.LSN
	ConfirmedLSN          pglogrepl.LSN
	ServerLSN             pglogrepl.LSN
	LagSeconds            *float64
	Transactions, Rows    int64
	TransactionsPerSecond float64
	RowsPerSecond         float64
	Binary                *bool
	LastCommit            *time.Time
	Error                 *pgerror.Error
	UpdatedAt             time.Time
}

// PlanStream records that a slot is about to be made, before it is: a slot that
// a killed process has left is known by its row.
func PlanStream(ctx context.Context, conn *pgx.Conn, s Stream) error {
	_, err := conn.Exec(ctx, `
INSERT INTO pgdrover.streams (mirror_id, shard, slot, made, system_id) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (mirror_id, shard) DO UPDATE SET slot = excluded.slot, made = excluded.made, system_id = excluded.system_id, timeline = 0, consistent_lsn = NULL`,
		s.MirrorID, s.Shard, s.Slot, s.Made, s.SystemID)
	if err != nil {
		return fmt.Errorf("record the slot %q: %w", s.Slot, err)
	}
	return nil
}

// SetConsistent records that a stream's slot is there, and from where on it
// gives changes.
func SetConsistent(ctx context.Context, conn *pgx.Conn, mirrorID int32, shard int, at pglogrepl.LSN) error {
	_, err := conn.Exec(ctx, `UPDATE pgdrover.streams SET consistent_lsn = $3, updated_at = clock_timestamp() WHERE mirror_id = $1 AND shard = $2`,
		mirrorID, shard, at)
	if err != nil {
		return fmt.Errorf("record the slot's consistent point: %w", err)
	}
	return nil
}

// SetTimeline records on which timeline of the source a stream is.
func SetTimeline(ctx context.Context, conn *pgx.Conn, mirrorID int32, shard int, timeline int32) error {
	_, err := conn.Exec(ctx, `UPDATE pgdrover.streams SET timeline = $3 WHERE mirror_id = $1 AND shard = $2`, mirrorID, shard, timeline)
	if err != nil {
		return fmt.Errorf("record the source's timeline: %w", err)
	}
	return nil
}

// PutStream records how far a stream is.
func PutStream(ctx context.Context, conn *pgx.Conn, s Stream) error {
	_, err := conn.Exec(ctx, `
UPDATE pgdrover.streams
SET received_lsn = $3, applied_lsn = $4, confirmed_lsn = $5, server_lsn = $6, lag_seconds = $7, transactions = $8, rows = $9,
    transactions_per_second = $10, rows_per_second = $11, binary_values = coalesce($12, binary_values), last_commit = coalesce($13, last_commit),
    error = $14::jsonb, updated_at = clock_timestamp()
WHERE mirror_id = $1 AND shard = $2`,
		s.MirrorID, s.Shard, s.ReceivedLSN, s.AppliedLSN, s.ConfirmedLSN, s.ServerLSN, s.LagSeconds, s.Transactions, s.Rows,
		s.TransactionsPerSecond, s.RowsPerSecond, s.Binary, s.LastCommit, encodeError(s.Error))
	if err != nil {
		return fmt.Errorf("record the stream: %w", err)
	}
	return nil
}

// Streams gives the streams of one mirror, or of all if mirrorID is 0.
func Streams(ctx context.Context, conn *pgx.Conn, mirrorID int32) ([]Stream, error) {
	rows, err := conn.Query(ctx, `
SELECT s.mirror_id, m.name, m.source, m.destination, s.shard, s.slot, s.made, s.system_id, s.timeline, coalesce(s.consistent_lsn, '0/0'),
       coalesce(s.received_lsn, '0/0'), coalesce(s.applied_lsn, '0/0'), coalesce(s.confirmed_lsn, '0/0'), coalesce(s.server_lsn, '0/0'),
       s.lag_seconds, s.transactions, s.rows, s.transactions_per_second, s.rows_per_second, s.binary_values, s.last_commit, s.error::text, s.updated_at
FROM pgdrover.streams s JOIN pgdrover.mirrors m USING (mirror_id)
WHERE $1::int = 0 OR s.mirror_id = $1
ORDER BY m.name, s.shard`, mirrorID)
	if err != nil {
		return nil, fmt.Errorf("read streams: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Stream, err error) {
		var failure *string
		err = row.Scan(&s.MirrorID, &s.Mirror, &s.Source, &s.Destination, &s.Shard, &s.Slot, &s.Made, &s.SystemID, &s.Timeline, &s.ConsistentLSN,
			&s.ReceivedLSN, &s.AppliedLSN, &s.ConfirmedLSN, &s.ServerLSN,
			&s.LagSeconds, &s.Transactions, &s.Rows, &s.TransactionsPerSecond, &s.RowsPerSecond, &s.Binary, &s.LastCommit, &failure, &s.UpdatedAt)
		s.Error = decodeError(failure)
		return s, err
	})
	if olderSchema(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read streams: %w", err)
	}
	return out, nil
}

// olderSchema tells whether a table or column is missing because the schema pgdrover was
// made by an older version, which knew nothing of it.
func olderSchema(err error) bool {
	code := pgerror.Code(err)
	return code == pgerror.UndefinedTable || code == pgerror.UndefinedColumn
}

// Forget removes what one shard of the destination knows of a mirror. On the
// last shard of the last mirror the whole schema goes.
func Forget(ctx context.Context, conn *pgx.Conn, name string) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Tables that are copied for themselves keep their progress as "<name>/...".
		for _, sql := range []string{
			`DELETE FROM pgdrover.progress WHERE mirror = $1 OR starts_with(mirror, $1 || '/')`,
			`DELETE FROM pgdrover.copied WHERE mirror = $1 OR starts_with(mirror, $1 || '/')`,
			`DELETE FROM pgdrover.carried WHERE mirror = $1 OR starts_with(mirror, $1 || '/')`,
			`DELETE FROM pgdrover.foreign_keys WHERE mirror = $1`,
			`DELETE FROM pgdrover.mirrors WHERE name = $1`,
		} {
			if _, err := tx.Exec(ctx, sql, name); err != nil {
				return fmt.Errorf("forget mirror %q: %w", name, err)
			}
		}
		var left bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pgdrover.progress) OR EXISTS (SELECT FROM pgdrover.copied) OR EXISTS (SELECT FROM pgdrover.foreign_keys) OR EXISTS (SELECT FROM pgdrover.mirrors)`).
			Scan(&left); err != nil {
			return fmt.Errorf("forget mirror %q: %w", name, err)
		}
		if left {
			return nil
		}
		// What SETUP SCHEMA or somebody else has put into the schema keeps it.
		if _, err := tx.Exec(ctx, `DROP TABLE pgdrover.drift, pgdrover.allowances, pgdrover.drift_commands, pgdrover.foreign_keys, pgdrover.source_schema, pgdrover.events, pgdrover.carried, pgdrover.copied, pgdrover.progress, pgdrover.tables, pgdrover.streams, pgdrover.statements, pgdrover.subtasks, pgdrover.tasks, pgdrover.mirrors, pgdrover.version;
DO $$BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND refobjid = 'pgdrover'::pg_catalog.regnamespace) THEN
        DROP SCHEMA pgdrover;
    END IF;
END$$`, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("drop the schema pgdrover: %w", err)
		}
		return nil
	})
}

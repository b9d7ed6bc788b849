package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Event is a row of pgdrover.events: something that has happened to a mirror.
type Event struct {
	ID           int64
	At           time.Time // the zero time: now
	Level        string    // "info", "warning" or "error"
	Kind         string    // "mirror", "task", "table", "stream", ...
	TaskID       int64     // 0 for none
	Shard        int       // of the source; -1 for none
	Schema, Name string    // the table; "" for none
	LSN          pglogrepl.LSN
	Message      string
	Error        *pgerror.Error
}

// keptEvents is how many events of a mirror are kept.
const keptEvents = 10_000

// AddEvents records events. Every so often the oldest go.
func AddEvents(ctx context.Context, conn *pgx.Conn, mirrorID int32, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	for _, e := range events {
		var at *time.Time
		if !e.At.IsZero() {
			at = &e.At
		}
		batch.Queue(`
INSERT INTO pgdrover.events (mirror_id, at, level, kind, task_id, shard, schema_name, table_name, lsn, message, error)
VALUES ($1, coalesce($2, clock_timestamp()), $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb)`,
			mirrorID, at, e.Level, e.Kind, e.TaskID, e.Shard, e.Schema, e.Name, lsnOrNull(e.LSN), clean(e.Message), encodeError(e.Error))
	}
	// The number is the mirror's own only roughly: what matters is that it is bounded.
	batch.Queue(`
DELETE FROM pgdrover.events WHERE mirror_id = $1 AND (SELECT max(event_id) % 500 < $3 FROM pgdrover.events WHERE mirror_id = $1)
  AND event_id <= (SELECT event_id FROM pgdrover.events WHERE mirror_id = $1 ORDER BY event_id DESC OFFSET $2 LIMIT 1)`, mirrorID, keptEvents, len(events))
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("record what has happened: %w", err)
	}
	return nil
}

// EventFilter chooses events.
type EventFilter struct {
	Levels []string // none: every level
	Search string   // in message, table and error, in any case; "" for all
	Limit  int      // the newest so many
}

// Events gives events of a mirror, the newest first.
func Events(ctx context.Context, conn *pgx.Conn, mirrorID int32, filter EventFilter) ([]Event, error) {
	rows, err := conn.Query(ctx, `
SELECT event_id, at, level, kind, task_id, shard, schema_name, table_name, coalesce(lsn, '0/0'), message, error::text
FROM pgdrover.events
WHERE mirror_id = $1 AND (cardinality($2::text[]) = 0 OR level = ANY ($2))
  AND ($3 = '' OR strpos(lower(concat_ws(' ', message, schema_name || '.' || table_name, error ->> 'message', error ->> 'detail', error ->> 'code')), lower($3)) > 0)
ORDER BY event_id DESC LIMIT $4`, mirrorID, append([]string{}, filter.Levels...), filter.Search, filter.Limit)
	if err != nil {
		return nil, fmt.Errorf("read what has happened: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Event, err error) {
		var failure *string
		err = row.Scan(&e.ID, &e.At, &e.Level, &e.Kind, &e.TaskID, &e.Shard, &e.Schema, &e.Name, &e.LSN, &e.Message, &failure)
		e.Error = decodeError(failure)
		return e, err
	})
	if olderSchema(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what has happened: %w", err)
	}
	return out, nil
}

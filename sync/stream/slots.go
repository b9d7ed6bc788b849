package stream

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// SlotState is a logical replication slot as its server shows it.
type SlotState struct {
	Name              string
	Plugin            string
	Database          string
	Temporary         bool
	Active            bool
	ActivePID         int32  // 0 if not active
	ActiveApplication string // application_name of that process
	RestartLSN        LSN    // 0 if it has none
	ConfirmedFlushLSN LSN
	WALStatus         string // "" before PostgreSQL 13
	SafeWALSize       *int64 // bytes that may be written before it is in danger; nil: no limit, or lost
	RetainedBytes     int64  // write-ahead log kept for it
	LagBytes          int64  // written since ConfirmedFlushLSN
	Lost              string // why it can give no more changes, "" if it can
}

// to_jsonb makes one statement do for all versions: columns that a server does
// not have are NULL.
const slotQuery = `
SELECT s.slot_name::text, coalesce(s.plugin::text, ''), coalesce(s.database::text, ''), s.temporary,
       s.active, coalesce(s.active_pid, 0), coalesce(a.application_name, ''),
       coalesce(s.restart_lsn, '0/0')::text, coalesce(s.confirmed_flush_lsn, '0/0')::text,
       coalesce(j ->> 'wal_status', ''), (j ->> 'safe_wal_size')::bigint,
       coalesce(w.lsn - s.restart_lsn, 0)::bigint, coalesce(w.lsn - s.confirmed_flush_lsn, 0)::bigint,
       CASE coalesce(j ->> 'invalidation_reason', CASE WHEN (j ->> 'conflicting')::boolean THEN 'conflict' WHEN j ->> 'wal_status' = 'lost' THEN 'wal_removed' END)
         WHEN 'wal_removed' THEN 'write-ahead log it needs was removed (max_slot_wal_keep_size)'
         WHEN 'rows_removed' THEN 'catalog rows it needs were removed'
         WHEN 'wal_level_insufficient' THEN 'the primary''s wal_level was not logical'
         WHEN 'idle_timeout' THEN 'it was idle for too long (idle_replication_slot_timeout)'
         WHEN 'conflict' THEN 'it was in conflict with recovery'
         ELSE coalesce(j ->> 'invalidation_reason', '')
       END
FROM pg_catalog.pg_replication_slots s
CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(s) AS j) AS j
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
CROSS JOIN (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) AS w
WHERE s.slot_type = 'logical'`

// ReadSlots gives the logical slots of the whole server, by name.
func ReadSlots(ctx context.Context, conn *pgx.Conn) ([]SlotState, error) {
	rows, err := conn.Query(ctx, slotQuery+" ORDER BY s.slot_name")
	return collectSlots(rows, err)
}

// ReadSlot gives the logical slot of that name, if there is one.
func ReadSlot(ctx context.Context, conn *pgx.Conn, name string) (SlotState, bool, error) {
	rows, err := conn.Query(ctx, slotQuery+" AND s.slot_name::text = $1", name)
	slots, err := collectSlots(rows, err)
	if err != nil || len(slots) == 0 {
		return SlotState{}, false, err
	}
	return slots[0], true, nil
}

func collectSlots(rows pgx.Rows, err error) ([]SlotState, error) {
	var slots []SlotState
	if err == nil {
		slots, err = pgx.CollectRows(rows, scanSlot)
	}
	if err != nil {
		return nil, fmt.Errorf("read the replication slots: %w", err)
	}
	return slots, nil
}

func scanSlot(row pgx.CollectableRow) (SlotState, error) {
	var s SlotState
	err := row.Scan(&s.Name, &s.Plugin, &s.Database, &s.Temporary, &s.Active, &s.ActivePID, &s.ActiveApplication,
		&s.RestartLSN, &s.ConfirmedFlushLSN, &s.WALStatus, &s.SafeWALSize, &s.RetainedBytes, &s.LagBytes, &s.Lost)
	return s, err
}

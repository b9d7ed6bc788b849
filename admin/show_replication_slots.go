package admin

import (
	"context"
	"time"

	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

var slotColumns = []Column{
	{"host", Text, "address of the server"},
	{"port", Int8, "port of the server"},
	{"database_name", Text, "database of the slot, as the server calls it"},
	{"name", Text, "name of the slot"},
	{"lsn", Text, "everything before it was confirmed"},
	{"lag", Text, "WAL after that"},
	{"lag_bytes", Int8, "the same in bytes"},
	{"copy_data", Bool, "whether it exists only until a table is copied"},
	{"last_transaction", Text, "UTC; commit of the newest transaction that came through it and was applied; NULL if not known"},
	{"last_transaction_ms", Int8, "milliseconds since then"},
	{"mirror", Text, "mirror that it belongs to; NULL for an orphan"},
	{"database", Text, "name in [[databases]]"},
	{"shard", Int8, "shard of that database"},
	{"orphan", Bool, "whether it bears our name and belongs to no mirror: it holds WAL back for nobody"},
	{"active", Bool, "whether a connection reads from it"},
	{"active_pid", Int8, "server process of that connection"},
	{"restart_lsn", Text, "WAL from here on is kept"},
	{"retained_bytes", Int8, "WAL that is kept because of it"},
	{"retained", Text, "the same"},
	{"wal_status", Text, "reserved, extended, unreserved or lost, as in pg_replication_slots"},
	{"safe_wal_size", Int8, "bytes that can be written before it is in danger; NULL without a limit"},
	{"invalidated", Text, "why it cannot be used any more; NULL if it can"},
	{"inactive_since", Text, "UTC; NULL if it is active, or before PostgreSQL 17"},
	{"temporary", Bool, "whether it goes with the session that made it"},
	{"plugin", Text, "output plugin"},
}

// runShowReplicationSlots is SHOW REPLICATION_SLOTS.
func runShowReplicationSlots(ctx context.Context, c *console, _ call) (result, error) {
	slots, warnings, err := c.server.options.Engine.Slots(ctx)
	c.warn(warnings)
	if err != nil {
		return result{}, err
	}
	now := time.Now()
	var rows [][]any
	for _, s := range slots {
		rows = append(rows, slotRow(s, now))
	}
	return result{rows: rows}, nil
}

func slotRow(s mirror.SlotRow, now time.Time) []any {
	var since, safe any
	if s.LastTransaction != nil {
		since = max(0, now.Sub(*s.LastTransaction).Milliseconds())
	}
	if s.SafeWALSize != nil {
		safe = *s.SafeWALSize
	}
	return []any{
		s.Host, int64(s.Port), s.DatabaseOnServer, s.Name, lsnText(s.LSN), progress.Bytes(s.LagBytes), s.LagBytes, s.CopyData,
		timeOrNull(s.LastTransaction), since,
		orNull(s.Mirror), s.Database, int64(s.Shard), s.Orphan, s.Active, numberOrNull(s.ActivePID), lsnText(s.RestartLSN),
		s.RetainedBytes, progress.Bytes(s.RetainedBytes), orNull(s.WALStatus), safe, orNull(s.Invalidated), timeOrNull(s.InactiveSince),
		s.Temporary, orNull(s.Plugin),
	}
}

package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

var mirrorTableColumns = []Column{
	{"schema", Text, "schema of the table"},
	{"table", Text, "name of the table"},
	{"shard", Int8, "shard of the source"},
	{"state", Text, "pending, copying, catching_up, streaming, resyncing, stopped or unpublished"},
	{"rows", Int8, "rows copied"},
	{"rows_human", Text, "the same"},
	{"total_rows", Int8, "rows to copy, an estimate"},
	{"bytes", Int8, "bytes copied"},
	{"bytes_human", Text, "the same"},
	{"total_bytes", Int8, "bytes to copy, an estimate"},
	{"percent", Float8, "how much is copied; NULL before its start"},
	{"format", Text, "form in which it is copied: binary or text"},
	{"format_reason", Text, "why text"},
	{"inserted", Int8, "rows that the stream has inserted"},
	{"updated", Int8, "rows that the stream has updated"},
	{"deleted", Int8, "rows that the stream has deleted"},
	{"sync_lsn", Text, "changes from here on are applied"},
	{"stopped_lsn", Text, "changes from here on are left out; NULL unless it is stopped"},
	{"without", Text, "what it is meant not to have at the destination: indexes, foreign keys; NULL for nothing"},
	{"updated_at", Text, "UTC; when the row last changed"},
	{"structure", Text, "verdict of the newest comparison with its source's structure: ok, warn, apply, resync_table or stop_table; NULL before the first"},
	{"allowed", Text, "escape hatches by which it goes on though a rule would stop it, with the rows that each has let through"},
	{"sqlstate", Text, "of what stopped it"},
	{"error", Text, "its message"},
	{"detail", Text, "its DETAIL: the change, its key and what was found"},
	{"hint", Text, "the way out: the commands or the SQL that resolve it"},
}

// runShowMirror is SHOW MIRROR.
func runShowMirror(ctx context.Context, c *console, call call) (result, error) {
	name, err := call.text("mirror")
	if err != nil {
		return result{}, err
	}
	tables, warnings, err := c.server.options.Engine.MirrorTables(ctx, name)
	c.warn(warnings)
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, t := range tables {
		rows = append(rows, mirrorTableRow(t))
	}
	return result{rows: rows}, nil
}

func mirrorTableRow(t mirror.MirrorTableRow) []any {
	row := []any{
		t.Schema, t.Table, int64(t.Shard), string(t.State), t.Rows, progress.Count(t.Rows), t.TotalRows, t.Bytes, progress.Bytes(t.Bytes), t.Total,
		cutOff(t.Percent), orNull(t.Format), orNull(t.FormatBy), t.Inserted, t.Updated, t.Deleted, lsnText(t.SyncLSN), lsnText(t.StoppedLSN), orNull(t.Without),
		timeText(t.UpdatedAt), orNull(t.Structure), orNull(t.Allowed),
	}
	return append(row, errorFields(t.Error)...)
}

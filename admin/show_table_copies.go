package admin

import (
	"context"
	"time"

	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

var tableCopyColumns = []Column{
	{"schema", Text, "schema of the table"},
	{"table", Text, "name of the table"},
	{"status", Text, "waiting, running, done or failed"},
	{"rows", Int8, "rows copied"},
	{"rows_human", Text, "the same"},
	{"bytes", Int8, "bytes copied"},
	{"bytes_human", Text, "the same"},
	{"bytes_per_sec", Int8, "since its first range was begun"},
	{"bytes_per_sec_human", Text, "the same"},
	{"elapsed", Text, "HH:MM:SS:mmm since its first range was begun; NULL before that"},
	{"elapsed_ms", Int8, "the same in milliseconds"},
	{"sql", Text, "the COPY that reads it"},
	{"mirror", Text, "name of the mirror"},
	{"task_id", Int8, "task that copies it, or did"},
	{"shard", Int8, "shard of the source"},
	{"total_rows", Int8, "rows to copy, an estimate"},
	{"total_bytes", Int8, "bytes to copy, an estimate"},
	{"percent", Float8, "how much is copied; NULL before its start"},
	{"eta", Text, "time that is left at this rate, HH:MM:SS:mmm; NULL if not known"},
	{"workers", Text, "numbers of the workers that copy it now"},
	{"attempt", Int8, "which attempt at the table this is"},
	{"ranges", Int8, "parts that it is copied in"},
	{"ranges_done", Int8, "parts that are recorded on the destination"},
	{"format", Text, "binary or text"},
	{"sqlstate", Text, "of the error it ended with"},
	{"error", Text, "its message"},
	{"detail", Text, "its DETAIL"},
	{"hint", Text, "its HINT"},
	{"strategy", Text, "of a RESYNC: truncate, swap or reconcile; NULL when it has ended"},
	{"step", Text, "what it is doing; percent and eta are those of the step"},
}

// runShowTableCopies is SHOW TABLE_COPIES.
func runShowTableCopies(ctx context.Context, c *console, _ call) (result, error) {
	copies, warnings, err := c.server.options.Engine.TableCopies(ctx)
	c.warn(warnings)
	if err != nil {
		return result{}, err
	}
	now := time.Now()
	var rows [][]any
	for _, t := range copies {
		rows = append(rows, tableCopyRow(t, now))
	}
	return result{rows: rows}, nil
}

func tableCopyRow(t mirror.TableCopyRow, now time.Time) []any {
	var elapsed, elapsedMS, eta any
	if t.StartedAt != nil {
		end := now
		if t.FinishedAt != nil {
			end = *t.FinishedAt
		}
		took := end.Sub(*t.StartedAt)
		elapsed, elapsedMS = elapsedText(took), took.Milliseconds()
	}
	if t.ETA != nil {
		eta = elapsedText(*t.ETA)
	}
	rate := t.BytesPerSecond(now)
	row := []any{
		t.Schema, t.Table, t.Status, t.Rows, progress.Count(t.Rows), t.Bytes, progress.Bytes(t.Bytes), rate, progress.Bytes(rate),
		elapsed, elapsedMS, orNull(t.SQL), t.Mirror, numberOrNull(int64(t.Task)), int64(t.Shard), t.TotalRows, t.TotalBytes, cutOff(t.Percent), eta,
		orNull(t.Workers), int64(t.Attempt), t.Ranges, t.RangesDone, orNull(t.Format),
	}
	row = append(row, errorFields(t.Error)...)
	return append(row, orNull(t.Strategy), orNull(t.Step))
}

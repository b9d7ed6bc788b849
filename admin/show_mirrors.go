package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

var mirrorColumns = []Column{
	{"mirror", Text, "its name: <source>_to_<destination>, unless CREATE MIRROR or [[mirrors]] gave it another"},
	{"source", Text, "name in [[databases]]"},
	{"destination", Text, "name in [[databases]]"},
	{"publication", Text, "publication on the source"},
	{"state", Text, "what its newest task does, or how it ended"},
	{"wanted", Text, "what it is to do: created, running, paused or failed; a pgdrover that is started again takes up what is running"},
	{"task_id", Int8, "its newest task; NULL if there was none"},
	{"tables", Int8, "tables of the publication"},
	{"streaming", Int8, "tables whose changes are applied"},
	{"stopped", Int8, "tables that are left out, for a reason that SHOW MIRROR tells"},
	{"rows", Int8, "rows copied"},
	{"rows_human", Text, "the same"},
	{"bytes", Int8, "bytes copied"},
	{"bytes_human", Text, "the same"},
	{"percent", Float8, "bytes copied of those to copy, which are an estimate; NULL while that is not known"},
	{"lag", Text, "age of the oldest transaction that is not applied, HH:MM:SS:mmm; NULL if not known"},
	{"lag_ms", Int8, "the same in milliseconds"},
	{"lag_bytes", Int8, "WAL of the source that is not applied; of several shards, the most"},
	{"transactions_per_sec", Float8, "applied, over the last seconds"},
	{"rows_per_sec", Float8, "applied, over the last seconds"},
	{"created_at", Text, "UTC"},
	{"settings", Text, "what is other than the default, as SET of ALTER MIRROR has it"},
	{"entry", Text, "how it stands to its entry of [[mirrors]]: same; differs, and in what; gone, which changes nothing; NULL if it never had one"},
	{"sqlstate", Text, "of what keeps it from going on"},
	{"error", Text, "its message"},
	{"detail", Text, "its DETAIL"},
	{"hint", Text, "its HINT"},
}

// runShowMirrors is SHOW MIRRORS.
func runShowMirrors(ctx context.Context, c *console, _ call) (result, error) {
	mirrors, warnings, err := c.server.options.Engine.Mirrors(ctx)
	c.warn(warnings)
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, m := range mirrors {
		rows = append(rows, mirrorRow(m))
	}
	return result{rows: rows}, nil
}

func mirrorRow(m mirror.MirrorRow) []any {
	transactions, applied := rates(m.Streams)
	row := []any{
		m.Name, m.Source, m.Destination, m.Publication, m.State, orNull(string(m.Wanted)), numberOrNull(int64(m.Task)), m.Tables, m.Streaming, m.Stopped,
		m.Rows, progress.Count(m.Rows), m.Bytes, progress.Bytes(m.Bytes), cutOff(m.Percent),
	}
	row = append(row, lagFields(m.LagBytes, &m.Lag)...)
	row = append(row, transactions, applied, timeText(m.CreatedAt), orNull(m.Settings), orNull(m.Entry))
	return append(row, errorFields(m.Error)...)
}

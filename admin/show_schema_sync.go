package admin

import (
	"context"
	"time"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

var statementColumns = []Column{
	{"database", Text, "destination"},
	{"user", Text, "schema admin that runs it"},
	{"shard", Int8, "shard of the destination"},
	{"kind", Text, "table, index or statement"},
	{"sync_state", Text, "phase: pre_data, post_data, cutover or post_cutover"},
	{"started_at", Text, "UTC; NULL before its start"},
	{"elapsed", Text, "HH:MM:SS:mmm; NULL before its start"},
	{"elapsed_ms", Int8, "the same in milliseconds"},
	{"table_schema", Text, "schema of the object"},
	{"table_name", Text, "table that the object belongs to"},
	{"sql", Text, "the statement, secrets masked"},
	{"task_id", Int8, "task that runs it"},
	{"ordinal", Int8, "place in the order of its phase"},
	{"state", Text, "pending, running, done, existed or failed"},
	{"percent", Float8, "of an index build; NULL if not known"},
	{"attempts", Int8, "how often it was begun"},
	{"object_kind", Text, "kind of object: TABLE, FK CONSTRAINT, ..."},
	{"object", Text, "name of the object"},
	{"sqlstate", Text, "of the error it ended with"},
	{"error", Text, "its message"},
	{"detail", Text, "its DETAIL"},
	{"hint", Text, "its HINT"},
}

// runShowSchemaSync is SHOW SCHEMA_SYNC.
func runShowSchemaSync(ctx context.Context, c *console, _ call) (result, error) {
	statements, warnings, err := c.server.options.Engine.Statements(ctx)
	c.warn(warnings)
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, s := range statements {
		rows = append(rows, statementRow(s))
	}
	return result{rows: rows}, nil
}

func statementRow(s mirror.StatementRow) []any {
	var startedAt, elapsed, elapsedMS, done any
	if s.StartedAt != nil {
		end := time.Now()
		if s.FinishedAt != nil {
			end = *s.FinishedAt
		}
		took := end.Sub(*s.StartedAt)
		startedAt, elapsed, elapsedMS = timeText(*s.StartedAt), elapsedText(took), took.Milliseconds()
	}
	if s.Percent != nil {
		done = *s.Percent
	}
	row := []any{
		s.Database, s.User, int64(s.Shard), s.Kind, s.Phase.String(), startedAt, elapsed, elapsedMS,
		orNull(s.Schema), orNull(s.Table), s.SQL, int64(s.Task), int64(s.Ordinal), s.State, done, int64(s.Attempts),
		orNull(s.ObjectKind), orNull(s.Object),
	}
	return append(row, errorFields(s.Error)...)
}

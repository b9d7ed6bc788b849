package admin

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

var mirrorLogColumns = []Column{
	{"id", Int8, "number of the event; later ones are greater"},
	{"at", Text, "UTC"},
	{"level", Text, "info, warning or error"},
	{"kind", Text, "what it is about: mirror, task, table, ..."},
	{"task_id", Int8, "task that it happened in; NULL if in none"},
	{"shard", Int8, "shard of the source; NULL if it is about no single one"},
	{"schema", Text, "schema of the table; NULL if it is about none"},
	{"table", Text, "name of the table"},
	{"lsn", Text, "position in the source's WAL; NULL if it has none"},
	{"message", Text, "what has happened"},
	{"sqlstate", Text, "of the error, if it was one"},
	{"error", Text, "its message"},
	{"detail", Text, "its DETAIL"},
	{"hint", Text, "its HINT"},
}

// EventLevels are the levels of what happens to a mirror, the least first.
var EventLevels = []string{"info", "warning", "error"}

// LevelsFrom gives a level and those above it; 22023 if it is none. "" is the
// least.
func LevelsFrom(level string) ([]string, error) {
	if level == "" {
		return nil, nil
	}
	if i := slices.Index(EventLevels, strings.ToLower(level)); i >= 0 {
		return EventLevels[i:], nil
	}
	e := pgerror.New(pgerror.InvalidParameterValue, "there is no level \"%s\"", level)
	all := "Levels are " + strings.Join(EventLevels, ", ") + "."
	if near := nearest(level, EventLevels); near != "" {
		return nil, e.WithHint("Perhaps you meant %s. %s", near, all)
	}
	return nil, e.WithHint("%s", all)
}

// runShowMirrorLog is SHOW MIRROR_LOG.
func runShowMirrorLog(ctx context.Context, c *console, call call) (result, error) {
	name, filter, err := logFilter(call)
	if err != nil {
		return result{}, err
	}
	events, err := c.server.options.Engine.MirrorLog(ctx, name, filter)
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, e := range events {
		rows = append(rows, mirrorEventRow(e))
	}
	return result{rows: rows}, nil
}

func logFilter(call call) (name string, filter mirror.LogFilter, err error) {
	texts, err := call.texts("mirror", "level", "text")
	if err != nil {
		return "", filter, err
	}
	name, filter.Search = texts[0], texts[2]
	if filter.Levels, err = LevelsFrom(texts[1]); err != nil {
		return "", filter, pgerror.From(err).At(call.at(call.arguments["level"].start))
	}
	limit, limited := call.arguments["n"]
	if !limited {
		return name, filter, nil
	}
	n, err := call.integer("n")
	if err == nil && (n < 1 || n > math.MaxInt32) {
		err = pgerror.New(pgerror.InvalidParameterValue, "LIMIT must be between 1 and %d, found %d", math.MaxInt32, n).At(call.at(limit.start))
	}
	filter.Limit = int(n)
	return name, filter, err
}

func mirrorEventRow(e mirror.MirrorEvent) []any {
	var shard any
	if e.Shard >= 0 {
		shard = int64(e.Shard)
	}
	row := []any{
		e.ID, timeText(e.At), e.Level, e.Kind, numberOrNull(int64(e.Task)), shard, orNull(e.Schema), orNull(e.Table), orNull(e.LSN), e.Message,
	}
	return append(row, errorFields(e.Error)...)
}

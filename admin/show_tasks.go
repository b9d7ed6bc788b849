package admin

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

var taskColumns = []Column{
	{"id", Int8, "number of the task; NULL for a subtask, which belongs to the task above it"},
	{"scope", Text, "root or subtask"},
	{"type", Text, "what it does"},
	{"status", Text, "pending, running, cancelling, restarting, finished, cancelled, interrupted, or failed with the error"},
	{"inner_status", Text, "what it is doing now"},
	{"started_at", Text, "UTC"},
	{"updated_at", Text, "UTC; when the row last changed"},
	{"elapsed", Text, "HH:MM:SS:mmm"},
	{"elapsed_ms", Int8, "the same in milliseconds"},
	{"mirror", Text, "<source>_to_<destination>"},
	{"runner", Text, "process that runs it"},
	{"done", Int8, "statements that have ended"},
	{"total", Int8, "statements planned"},
	{"failed", Int8, "statements that ended with an error"},
	{"percent", Float8, "done of total; NULL while total is not known"},
	{"sqlstate", Text, "of the error that ended it"},
	{"error", Text, "its message"},
	{"detail", Text, "its DETAIL"},
	{"hint", Text, "its HINT"},
	{"rows", Int8, "rows copied; NULL if the task copies none"},
	{"total_rows", Int8, "rows to copy, an estimate"},
	{"bytes", Int8, "bytes copied"},
	{"total_bytes", Int8, "bytes to copy, an estimate"},
	{"copy_percent", Float8, "bytes of total_bytes"},
	{"lag", Text, "age of the oldest transaction that is not applied, HH:MM:SS:mmm; NULL while nothing streams"},
	{"lag_ms", Int8, "the same in milliseconds"},
	{"lag_bytes", Int8, "WAL of the source that is not applied; of several shards, the most"},
	{"transactions_per_sec", Float8, "applied, over the last seconds"},
	{"rows_per_sec", Float8, "applied, over the last seconds"},
}

// runShowTasks is SHOW TASKS.
func runShowTasks(ctx context.Context, c *console, _ call) (result, error) {
	tasks, warnings, err := c.server.options.Engine.Tasks(ctx)
	c.warn(warnings)
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, t := range tasks {
		rows = append(rows, taskRow(t))
		for _, s := range t.Subtasks {
			rows = append(rows, subtaskRow(t, s))
		}
	}
	return result{rows: rows}, nil
}

func taskRow(t mirror.Task) []any {
	elapsed := taskElapsed(t)
	row := []any{
		int64(t.ID), "root", t.Type, taskStatus(t.State, t.Error), orNull(t.Inner), timeText(t.StartedAt), timeText(t.UpdatedAt),
		elapsedText(elapsed), elapsed.Milliseconds(), t.Mirror, orNull(t.Runner), t.Done, t.Total, t.Failed, percent(t.Done, t.Total),
	}
	transactions, applied := rates(t.Streams)
	row = append(append(row, errorFields(t.Error)...), copyFields(t)...)
	return append(append(row, lagFields(t.LagBytes, &t.Lag)...), transactions, applied)
}

// copyFields gives what a task has copied, NULL if it copies nothing.
func copyFields(t mirror.Task) []any {
	if t.TotalBytes == 0 && t.Rows == 0 {
		return []any{nil, nil, nil, nil, nil}
	}
	var copied any
	if t.TotalBytes > 0 {
		percent := min(float64(t.Bytes)*100/float64(t.TotalBytes), 100)
		copied = cutOff(&percent)
	}
	return []any{t.Rows, t.TotalRows, t.Bytes, t.TotalBytes, copied}
}

func subtaskRow(t mirror.Task, s mirror.Subtask) []any {
	elapsed := elapsedOf(s.StartedAt, s.UpdatedAt, s.FinishedAt, s.State)
	row := []any{
		nil, "subtask", s.Type, taskStatus(s.State, s.Error), orNull(s.Inner), timeText(s.StartedAt), timeText(s.UpdatedAt),
		elapsedText(elapsed), elapsed.Milliseconds(), t.Mirror, orNull(t.Runner), s.Done, s.Total, s.Failed, percent(s.Done, s.Total),
	}
	stream := streamOf(t, s)
	if stream == nil {
		row = append(row, errorFields(s.Error)...)
		return append(row, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil)
	}
	// What it waits for is told as long as it has not ended with an error.
	row = append(append(row, errorFields(cmp.Or(s.Error, stream.Error))...), nil, nil, nil, nil, nil)
	return append(append(row, lagFields(stream.LagBytes, stream.Lag)...), perSecond(stream.TransactionsPerSec), perSecond(stream.RowsPerSec))
}

// streamOf gives the stream that a subtask is about, nil if it is about none or
// nothing streams.
func streamOf(t mirror.Task, s mirror.Subtask) *mirror.StreamRow {
	i := slices.IndexFunc(t.Streams, func(stream mirror.StreamRow) bool { return s.Stream && stream.Shard == s.Shard })
	if i < 0 {
		return nil
	}
	return &t.Streams[i]
}

func taskElapsed(t mirror.Task) time.Duration {
	return elapsedOf(t.StartedAt, t.UpdatedAt, t.FinishedAt, t.State)
}

// taskStatus is the state, and for a failed task why.
func taskStatus(state mirror.TaskState, err *pgerror.Error) string {
	if state == mirror.Failed && err != nil {
		return "failed: " + err.Message
	}
	return string(state)
}

// errorFields gives sqlstate, error, detail and hint.
func errorFields(e *pgerror.Error) []any {
	if e == nil {
		return []any{nil, nil, nil, nil}
	}
	return []any{orNull(e.Code), orNull(e.Message), orNull(e.Detail), orNull(e.Hint)}
}

// percent gives done of total with one decimal, NULL of nothing.
func percent(done, total int64) any {
	if total <= 0 {
		return nil
	}
	return math.Round(float64(done)*1000/float64(total)) / 10
}

// elapsedOf gives how long something has run, or ran. What ended without
// anybody noting when, as a process that was killed, ended when it was last
// heard of.
func elapsedOf(started, updated time.Time, finished *time.Time, state mirror.TaskState) time.Duration {
	switch {
	case started.IsZero():
		return 0
	case finished != nil:
		return finished.Sub(started)
	case state.Ended():
		return updated.Sub(started)
	}
	return time.Since(started)
}

// timeText gives a time as PgDog's columns have it, in UTC; NULL for none.
func timeText(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02 15:04:05.000 MST")
}

// elapsedText gives HH:MM:SS:mmm, after a day with the days before it.
func elapsedText(d time.Duration) string {
	d = max(d, 0)
	var days string
	if n := d / (24 * time.Hour); n > 0 {
		days = fmt.Sprintf("%dd ", n)
	}
	d %= 24 * time.Hour
	return fmt.Sprintf("%s%02d:%02d:%02d:%03d", days,
		d/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second, d%time.Second/time.Millisecond)
}

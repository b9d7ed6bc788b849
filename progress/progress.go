// Package progress shows how a task gets on to somebody at the command line:
// bars on a terminal, plain lines elsewhere, JSON for programs.
package progress

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// Style is how progress is shown.
type Style int

// The styles.
const (
	Lines Style = iota // a line when something has changed
	Bars               // a bar for each shard, drawn over and over
	JSON               // an object a line
)

// Watcher follows tasks; mirror.Manager is one.
type Watcher interface {
	Watch(ctx context.Context, id mirror.TaskID, tell func(mirror.Task)) (mirror.Task, error)
}

// Follow shows how a task gets on until it has ended, and gives its last state.
func Follow(ctx context.Context, w Watcher, id mirror.TaskID, style Style, out io.Writer) (mirror.Task, error) {
	show := shows[style](out)
	task, err := w.Watch(ctx, id, show.task)
	show.end(task)
	return task, err
}

// view shows the states of a task one after another.
type view interface {
	task(mirror.Task)
	end(mirror.Task)
}

var shows = map[Style]func(io.Writer) view{
	Lines: func(out io.Writer) view { return &lines{out: out} },
	Bars:  func(out io.Writer) view { return &bars{pool: mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))} },
	JSON:  func(out io.Writer) view { return &objects{encoder: newEncoder(out)} },
}

// lines prints a line whenever the task does something else, or a shard has got
// on by a tenth.
type lines struct {
	out  io.Writer
	last string
}

func (l *lines) task(t mirror.Task) {
	line := t.Progress()
	if line != l.last && !t.State.Ended() {
		l.last = line
		fmt.Fprintln(l.out, line)
	}
}

func (l *lines) end(t mirror.Task) {
	fmt.Fprintf(l.out, "task %d: %s %s, %d of %d statements, %d failed, in %s\n", t.ID, t.Type, t.State, t.Done, t.Total, t.Failed, elapsed(t))
}

// bars draws a bar for each shard.
type bars struct {
	pool   *mpb.Progress
	shards map[int]*mpb.Bar
}

func (b *bars) task(t mirror.Task) {
	for _, s := range t.Subtasks {
		if s.Total == 0 {
			continue
		}
		bar := b.shards[s.Shard]
		if bar == nil {
			if b.shards == nil {
				b.shards = map[int]*mpb.Bar{}
			}
			bar = b.pool.AddBar(s.Total,
				mpb.PrependDecorators(decor.Name(fmt.Sprintf("shard %d ", s.Shard)), decor.CountersNoUnit("%d / %d")),
				mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.Elapsed(decor.ET_STYLE_GO)))
			b.shards[s.Shard] = bar
		}
		// Not complete before the task is: a bar that is cannot be set back.
		bar.SetTotal(s.Total+1, false)
		bar.SetCurrent(s.Done)
	}
}

func (b *bars) end(t mirror.Task) {
	for _, s := range t.Subtasks {
		if bar := b.shards[s.Shard]; bar != nil {
			bar.SetCurrent(s.Done)
			if t.State == mirror.Finished {
				bar.SetTotal(s.Done, true)
			} else {
				bar.Abort(false)
			}
		}
	}
	b.pool.Wait()
}

// objects writes the task as JSON whenever it has changed.
type objects struct {
	encoder *json.Encoder
	last    string
}

// newEncoder writes SQL as it is: "->" need not be escaped outside of HTML.
func newEncoder(out io.Writer) *json.Encoder {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder
}

// object is a task's state as --json tells it.
type object struct {
	Task    mirror.TaskID    `json:"task"`
	Type    string           `json:"type"`
	Status  mirror.TaskState `json:"status"`
	Inner   string           `json:"inner_status"`
	Done    int64            `json:"done"`
	Total   int64            `json:"total"`
	Failed  int64            `json:"failed"`
	Elapsed int64            `json:"elapsed_ms"`

	// Of a task that moves rows.
	Rows       *int64         `json:"rows,omitempty"`
	TotalRows  *int64         `json:"total_rows,omitempty"`
	Bytes      *int64         `json:"bytes,omitempty"`
	TotalBytes *int64         `json:"total_bytes,omitempty"`
	Percent    *int64         `json:"percent,omitempty"`
	LagBytes   *int64         `json:"lag_bytes,omitempty"`
	LagMS      *int64         `json:"lag_ms,omitempty"`
	Streams    []streamObject `json:"streams,omitempty"`
	errorObject
}

// errorObject is the part of an object that tells an error.
type errorObject struct {
	SQLState string `json:"sqlstate,omitempty"`
	Message  string `json:"message,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Hint     string `json:"hint,omitempty"`
}

func errorOf(e *pgerror.Error) errorObject {
	if e == nil {
		return errorObject{}
	}
	return errorObject{e.Code, e.Message, e.Detail, e.Hint}
}

func (o *objects) task(t mirror.Task) {
	if state := fmt.Sprint(t.State, t.Inner, t.Done, t.Failed); state != o.last && !t.State.Ended() {
		o.last = state
		o.write(t)
	}
}

func (o *objects) end(t mirror.Task) { o.write(t) }

func (o *objects) write(t mirror.Task) {
	_ = o.encoder.Encode(objectOf(t)) // a reader that is gone is not the task's concern
}

func objectOf(t mirror.Task) object {
	return object{
		Task: t.ID, Type: t.Type, Status: t.State, Inner: t.Inner, Done: t.Done, Total: t.Total, Failed: t.Failed, Elapsed: elapsed(t).Milliseconds(),
		errorObject: errorOf(t.Error),
	}
}

func elapsed(t mirror.Task) time.Duration {
	until := time.Now()
	if t.FinishedAt != nil {
		until = *t.FinishedAt
	}
	return until.Sub(t.StartedAt).Round(time.Millisecond)
}

// PrintJSON writes the error with which a command was refused, as an object
// without a task.
func PrintJSON(out io.Writer, err error) {
	e := pgerror.From(err)
	_ = newEncoder(out).Encode(map[string]string{ // as objects.write
		"status": "refused", "sqlstate": e.Code, "message": e.Message, "detail": e.Detail, "hint": e.Hint,
	})
}

// Print writes an error as psql shows one: message, DETAIL, HINT.
func Print(out io.Writer, severity string, err error) {
	e := pgerror.From(err)
	fmt.Fprintf(out, "%s:  %s (SQLSTATE %s)\n", severity, e.Message, e.Code)
	if e.Detail != "" {
		fmt.Fprintf(out, "DETAIL:  %s\n", e.Detail)
	}
	if e.Hint != "" {
		fmt.Fprintf(out, "HINT:  %s\n", e.Hint)
	}
}

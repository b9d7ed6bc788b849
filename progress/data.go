package progress

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/vbauerster/mpb/v8"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// DataWatcher follows tasks that move rows; mirror.Manager is one.
type DataWatcher interface {
	Watcher
	TableCopies(ctx context.Context) ([]mirror.TableCopyRow, []*pgerror.Error, error)
}

// How often the copies of tables are looked at: while rows are copied, and
// while changes are, where a table may be copied again.
const (
	lookInterval   = time.Second
	rarelyInterval = 10 * time.Second
)

// dataView shows the states of a task that moves rows, one after another.
type dataView interface {
	view
	// tables shows the copies of the task's tables.
	tables([]mirror.TableCopyRow)
}

var dataShows = map[Style]func(io.Writer) dataView{
	Lines: func(out io.Writer) dataView { return &dataLines{out: out} },
	Bars: func(out io.Writer) dataView {
		return &dataBars{pool: mpb.New(mpb.WithOutput(out), mpb.WithWidth(40)), out: out}
	},
	JSON: func(out io.Writer) dataView { return &dataObjects{encoder: newEncoder(out)} },
}

// FollowData shows how a task that moves rows gets on until it has ended, and
// gives its last state.
func FollowData(ctx context.Context, w DataWatcher, id mirror.TaskID, style Style, out io.Writer) (mirror.Task, error) {
	f := &dataFollower{show: dataShows[style](out), watcher: w, id: id, changed: make(chan struct{}, 1)}
	looking, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { f.look(looking) }) // ends with stop
	task, err := w.Watch(ctx, id, f.task)
	stop()
	done.Wait()
	if err == nil {
		f.lookOnce(ctx) // what has ended since
	}
	f.show.end(task)
	return task, err
}

// dataFollower brings what is told of a task and of its tables to one view.
type dataFollower struct {
	watcher DataWatcher
	id      mirror.TaskID
	changed chan struct{} // poked when the task begins to copy or to stream

	mu      sync.Mutex
	show    dataView
	copies  bool
	streams bool
}

func (f *dataFollower) task(t mirror.Task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.show.task(t)
	copies, streams := t.TotalBytes > 0, Streams(t)
	if copies != f.copies || streams != f.streams {
		f.copies, f.streams = copies, streams
		select {
		case f.changed <- struct{}{}:
		default:
		}
	}
}

// interval is how long to wait until the next look, 0 if there is nothing to
// see.
func (f *dataFollower) interval() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.streams:
		return rarelyInterval
	case f.copies:
		return lookInterval
	}
	return 0
}

func (f *dataFollower) look(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.changed:
		case <-timer.C:
		}
		if wait := f.interval(); wait > 0 {
			f.lookOnce(ctx)
			timer.Reset(wait)
		}
	}
}

// lookOnce shows the copies as they are now. What cannot be told now is told
// later: the task's own state says whether something is wrong.
func (f *dataFollower) lookOnce(ctx context.Context) {
	all, _, err := f.watcher.TableCopies(ctx)
	if err != nil {
		return
	}
	var own []mirror.TableCopyRow
	for _, c := range all {
		if c.Task == f.id {
			own = append(own, c)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.show.tables(own)
}

// copyKey tells the copies of one task apart.
type copyKey struct {
	shard         int
	schema, table string
}

func keyOf(c mirror.TableCopyRow) copyKey { return copyKey{c.Shard, c.Schema, c.Table} }

// news tells which copies have ended since it was last asked, as often as they
// do: a table may be copied again.
type news map[copyKey]string

func (n news) ended(c mirror.TableCopyRow) bool {
	now := fmt.Sprint(c.Status, c.Attempt)
	if n[keyOf(c)] == now {
		return false
	}
	n[keyOf(c)] = now
	return c.Status == "done" || c.Status == "failed"
}

// worthALine is how long a copy takes that is told when it is done; ten thousand
// small tables would hide the large ones.
const worthALine = 5 * time.Second

// copyLine tells how a copy has ended, "" if that is not worth a line.
func copyLine(c mirror.TableCopyRow) string {
	took := copyTook(c)
	name := fmt.Sprintf("shard %d: %s", c.Shard, tableName(c))
	switch {
	case c.Status == "failed" && c.Error != nil:
		line := fmt.Sprintf("%s failed: %s (SQLSTATE %s)", name, c.Error.Message, c.Error.Code)
		if c.Error.Hint != "" {
			line += "\n  HINT:  " + c.Error.Hint
		}
		return line
	case c.Status == "failed":
		return name + " failed"
	case took < worthALine:
		return ""
	}
	return fmt.Sprintf("%s: %s rows, %s in %s, %s/s", name, Count(c.Rows), Bytes(c.Bytes), took.Round(time.Second), Bytes(c.BytesPerSecond(time.Now())))
}

// tableName names a table on a terminal: what would move the cursor does not
// get there.
func tableName(c mirror.TableCopyRow) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, c.Schema+"."+c.Table)
}

func copyTook(c mirror.TableCopyRow) time.Duration {
	if c.StartedAt == nil || c.FinishedAt == nil {
		return 0
	}
	return c.FinishedAt.Sub(*c.StartedAt)
}

// summary is the last line of a task that moves rows.
func summary(t mirror.Task) string {
	line := fmt.Sprintf("task %d: %s %s", t.ID, t.Type, t.State)
	if t.Rows > 0 || t.TotalBytes > 0 {
		line += fmt.Sprintf(", %s rows copied, %s", Count(t.Rows), Bytes(t.Bytes))
	}
	if t.Failed > 0 {
		line += fmt.Sprintf(", %d statements failed", t.Failed)
	}
	return line + fmt.Sprintf(", after %s", elapsed(t))
}

// dataLines prints a line whenever the task does something else or has got on
// by a tenth, else every now and then; and one for each table that has ended.
type dataLines struct {
	out  io.Writer
	pace Pace
	news news
}

func (l *dataLines) task(t mirror.Task) {
	if line, due := l.pace.Line(t, time.Now()); due {
		fmt.Fprintln(l.out, line)
	}
}

func (l *dataLines) tables(copies []mirror.TableCopyRow) {
	if l.news == nil {
		l.news = news{}
	}
	for _, c := range copies {
		if l.news.ended(c) {
			if line := copyLine(c); line != "" {
				fmt.Fprintln(l.out, line)
			}
		}
	}
}

func (l *dataLines) end(t mirror.Task) { fmt.Fprintln(l.out, summary(t)) }

// dataObjects writes the task as JSON when it has changed, not more often than
// each second, and a copy whenever its status has.
type dataObjects struct {
	encoder *json.Encoder
	last    string
	at      time.Time
	news    map[copyKey]string
}

func (o *dataObjects) task(t mirror.Task) {
	step := fmt.Sprint(t.State, t.Inner, t.Done, t.Failed)
	if t.State.Ended() || step == o.last && (time.Since(o.at) < lookInterval || t.TotalBytes == 0 && t.LagBytes == nil) {
		return
	}
	o.last, o.at = step, time.Now()
	o.write(t)
}

func (o *dataObjects) write(t mirror.Task) {
	out := objectOf(t)
	if t.TotalBytes > 0 || t.Rows > 0 {
		percent := percentOf(t)
		out.Rows, out.TotalRows, out.Bytes, out.TotalBytes, out.Percent = &t.Rows, &t.TotalRows, &t.Bytes, &t.TotalBytes, &percent
	}
	if t.LagBytes != nil {
		lag := t.Lag.Milliseconds()
		out.LagBytes, out.LagMS = t.LagBytes, &lag
	}
	for _, s := range t.Streams {
		out.Streams = append(out.Streams, streamObject{
			Shard: s.Shard, Slot: s.Slot, AppliedLSN: s.AppliedLSN.String(), LagBytes: s.LagBytes,
			TransactionsPerSecond: s.TransactionsPerSec, RowsPerSecond: s.RowsPerSec,
		})
	}
	_ = o.encoder.Encode(out) // as objects.write
}

// streamObject is a stream as --json tells it.
type streamObject struct {
	Shard                 int     `json:"shard"`
	Slot                  string  `json:"slot"`
	AppliedLSN            string  `json:"applied_lsn"`
	LagBytes              *int64  `json:"lag_bytes"`
	TransactionsPerSecond float64 `json:"transactions_per_sec"`
	RowsPerSecond         float64 `json:"rows_per_sec"`
}

// copyObject is a copy as --json tells it.
type copyObject struct {
	Task       mirror.TaskID `json:"task"`
	Shard      int           `json:"shard"`
	Schema     string        `json:"schema"`
	Table      string        `json:"table"`
	Status     string        `json:"status"`
	Rows       int64         `json:"rows"`
	TotalRows  int64         `json:"total_rows"`
	Bytes      int64         `json:"bytes"`
	TotalBytes int64         `json:"total_bytes"`
	Attempt    int           `json:"attempt"`
	Elapsed    int64         `json:"elapsed_ms,omitempty"`
	errorObject
}

func (o *dataObjects) tables(copies []mirror.TableCopyRow) {
	if o.news == nil {
		o.news = map[copyKey]string{}
	}
	for _, c := range copies {
		if now := fmt.Sprint(c.Status, c.Attempt); o.news[keyOf(c)] != now {
			o.news[keyOf(c)] = now
			_ = o.encoder.Encode(copyObject{
				Task: c.Task, Shard: c.Shard, Schema: c.Schema, Table: c.Table, Status: c.Status, Rows: c.Rows, TotalRows: c.TotalRows,
				Bytes: c.Bytes, TotalBytes: c.TotalBytes, Attempt: c.Attempt, Elapsed: copyTook(c).Milliseconds(), errorObject: errorOf(c.Error),
			})
		}
	}
}

func (o *dataObjects) end(t mirror.Task) { o.write(t) }

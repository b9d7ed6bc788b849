package mirror

import (
	"fmt"
	"time"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
)

// TaskID numbers a task. It is greater than that of every task known when the
// task was made.
type TaskID int64

// Task is one run of a command on a mirror, as SHOW TASKS tells it.
type Task struct {
	ID          TaskID
	Mirror      string     // "<source>_to_<destination>"
	Type        string     // "schema_sync(pre) prod -> prod_sharded"
	State       TaskState  //
	Inner       string     // what it is doing now: "loading schema", "creating indexes"
	Runner      string     // who runs it: "pgdrover 0.1.0 on db-proxy-1, process 4711"
	StartedAt   time.Time  //
	UpdatedAt   time.Time  //
	FinishedAt  *time.Time // nil while it runs
	Done, Total int64      // statements ended, statements planned
	Failed      int64      // statements that ended with an error
	Error       *pgerror.Error
	Subtasks    []Subtask

	// Of tasks that move rows: what is copied, and how far behind the stream is.
	Rows, TotalRows   int64
	Bytes, TotalBytes int64
	LagBytes          *int64        // the greatest of its streams; nil if nothing streams
	Lag               time.Duration // valid with LagBytes
	Streams           []StreamRow
}

// Progress is a line that tells what the task is doing and how far it is, to
// the tenth.
func (t Task) Progress() string {
	doing := t.Inner
	if doing == "" {
		doing = string(t.State)
	}
	line := fmt.Sprintf("task %d: %s", t.ID, doing)
	planned := t.Total > 0
	for _, s := range t.Subtasks {
		planned = planned && s.Total > 0
	}
	if planned {
		line += fmt.Sprintf(", %d%% of %d statements", t.Done*10/t.Total*10, t.Total)
	}
	switch {
	case t.LagBytes != nil:
		line = fmt.Sprintf("task %d: %s, %s", t.ID, doing, lagText(*t.LagBytes, t.Lag))
	case t.TotalBytes > 0:
		line = fmt.Sprintf("task %d: %s, %d%% of %d MB", t.ID, doing, min(t.Bytes*10/t.TotalBytes*10, 100), t.TotalBytes>>20)
	}
	if t.Failed > 0 {
		line += fmt.Sprintf(", %d failed", t.Failed)
	}
	return line
}

// lagText says how far behind a stream is, roughly: a line is told again only
// when it says something else.
func lagText(bytes int64, lag time.Duration) string {
	switch {
	case bytes < 1<<20 && lag < 2*time.Second:
		return "up to date"
	case bytes < 1<<30:
		return fmt.Sprintf("%d MB behind", bytes>>20)
	}
	return fmt.Sprintf("%.1f GB behind", float64(bytes)/(1<<30))
}

// Subtask is the part of a task that one shard does.
type Subtask struct {
	Type        string // "shard 0"
	Shard       int    // of the destination; of the source for a stream
	Stream      bool
	State       TaskState
	Inner       string
	StartedAt   time.Time
	UpdatedAt   time.Time
	FinishedAt  *time.Time
	Done, Total int64
	Failed      int64
	Error       *pgerror.Error
}

// Started is what a command that starts work answers with.
type Started struct {
	Task     TaskID
	Slots    []string         // the replication slots it uses, of COPY_DATA and REPLICATE
	Warnings []*pgerror.Error // findings of the preflight that do not forbid the work
}

// SchemaSyncRequest is a SCHEMA_SYNC command, or its CLI twin.
type SchemaSyncRequest struct {
	Phase        dump.Phase
	Source       string // names in [[databases]]
	Destination  string
	Publication  string
	IgnoreErrors bool // record a failed statement and go on
	NoOwner      bool // leave ownership to the schema admin
	NoPrivileges bool // do not run GRANT and REVOKE
}

// StatementRow is one statement on one shard, as SHOW SCHEMA_SYNC tells it.
type StatementRow struct {
	Task       TaskID
	Mirror     string
	Database   string // destination, a name in [[databases]]
	User       string // schema admin
	Shard      int
	Ordinal    int
	Phase      dump.Phase
	Kind       string // "table", "index" or "statement", as PgDog says it
	ObjectKind string // the archive's own word: "TABLE", "FK CONSTRAINT"
	Schema     string
	Table      string
	Object     string
	State      string // pending, running, done, existed, failed
	Percent    *float64
	Attempts   int
	StartedAt  *time.Time
	FinishedAt *time.Time
	Error      *pgerror.Error
	SQL        string // secrets masked
}

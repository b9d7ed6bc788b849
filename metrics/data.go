package metrics

import "time"

// Data is what the engine tells while it moves rows and changes. Its methods
// are safe for concurrent use, never block and cost about as much as a map's
// lookup: call them once a range, once a group, or once a second, not once a row.
//
// shard is the source's shard, destination the destination's. Counts are what
// has been added since the last call.
type Data interface {
	// CopyRows and CopyBytes count what a finished range has brought.
	CopyRows(mirror string, shard int, n int64)
	CopyBytes(mirror string, shard int, n int64)
	CopyRange(mirror string, shard int)
	CopyRetry(mirror string, shard int)
	CopyFailure(mirror string, shard int)
	// Tables tells how many tables of a mirror's shard are in each state.
	Tables(mirror string, shard int, states map[string]int)

	StreamBytes(mirror string, shard int, n int64)
	StreamTransactions(mirror string, shard int, n int64)
	StreamSpilled(mirror string, shard int, n int64)
	StreamQueue(mirror string, shard int, bytes int64)
	StreamReconnect(mirror string, shard int)
	// StreamEnd forgets what only a running stream has: queue and lag.
	StreamEnd(mirror string, shard int)

	// ApplyGroup counts a group that was committed on a destination shard.
	ApplyGroup(mirror string, shard, destination int, g Group)
	ApplyRetry(mirror string, shard, destination int)
	TableStop(mirror string, shard int)

	// Lag tells how far a stream is behind; nil is not known.
	Lag(mirror string, shard int, bytes *int64, behind *time.Duration)

	// Schema tells what the newest comparison of a mirror's tables has found; it
	// replaces what was told before.
	Schema(mirror string, tables []SchemaStatus)
	// SchemaMismatch counts a difference that was not there before, SchemaDetect
	// how old one that stops a table may have been when it was found.
	SchemaMismatch(mirror, kind string)
	SchemaDetect(mirror string, took time.Duration)
	// SchemaRows counts rows that an escape hatch has let through.
	SchemaRows(mirror, option string, n int64)
	// SchemaValidation counts a comparison: "ok", "warn", "drift" or "failed".
	SchemaValidation(mirror, result string)

	// TaskStart and TaskEnd count tasks by the first word of what they are:
	// "copy_data prod -> prod_new" is a copy_data.
	TaskStart(what string)
	TaskEnd(what, state string)
	// Error counts an error by its SQLSTATE; mirror may be "".
	Error(mirror, sqlstate string)
	// DropMirror forgets everything that was told of a mirror.
	DropMirror(mirror string)
}

// Group is one destination transaction that has applied source transactions.
type Group struct {
	Transactions                          int64 // of the source
	Inserted, Updated, Deleted, Truncated int64 // rows; tables
	Exact                                 bool  // a part of it was applied again, row by row
	Took                                  time.Duration
	Lag                                   time.Duration // from the source's commit of its newest transaction; negative: not known
}

// Mirror is a mirror as a look at where it is kept has found it.
type Mirror struct {
	Name     string
	State    string // what it is to do
	Attended bool   // a task works on it
}

// SchemaLevel is how a table's structure compares with its source's.
type SchemaLevel int

// The levels, from the best.
const (
	SchemaEqual   SchemaLevel = iota // every row arrives
	SchemaDiffers                    // likewise, something beside it will matter
	SchemaAllowed                    // it goes on by an escape hatch
	SchemaBlocked                    // it is stopped
)

// SchemaStatus is what a comparison has found of one table.
type SchemaStatus struct {
	Schema, Table string // on the source
	Level         SchemaLevel
	Reason        string // kind of the worst difference, of a table that is blocked
}

// Slot is a replication slot as a look at its server has found it.
type Slot struct {
	Database      string // a name in [[databases]]
	Name          string
	Mirror        string // "" for an orphan
	Shard         int    // of the source
	RetainedBytes int64
	SafeBytes     *int64 // nil: the server sets no limit
	Active        bool
	Lost          bool
}

// Discard takes everything and does nothing.
var Discard Data = (*Metrics)(nil)

package mirror

import (
	"fmt"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// CopyDataRequest is a COPY_DATA or REPLICATE command, or data-sync.
type CopyDataRequest struct {
	Mirror      string // "": <source>_to_<destination>
	Source      string // names in [[databases]]
	Destination string
	Publication string
	Slot        string // "": <the mirror's own>; else, with _<shard> behind it unless a slot has exactly this name
	SkipSchema  bool   // the schema is there; tables are copied with whatever indexes they have
	SyncOnly    bool   // end once the rows and the rest of the schema are there; the slots stay
	StreamOnly  bool   // REPLICATE: rows are not copied
}

// TableState is where a table of a mirror is. The words are those of SHOW MIRROR.
type TableState string

// The states of a table.
const (
	TablePending     TableState = "pending"     // not copied yet
	TableCopying     TableState = "copying"     // rows are being copied
	TableCatchingUp  TableState = "catching_up" // copied; its changes are not yet applied up to the others' position
	TableStreaming   TableState = "streaming"   // changes are applied with the others'
	TableResyncing   TableState = "resyncing"   // asked to be copied again
	TableStopped     TableState = "stopped"     // left out since an LSN, for a reason
	TableUnpublished TableState = "unpublished" // no longer in the publication; what was there stays
)

// tableTransitions is the table of what may follow what. A table that was
// dropped from the mirror has no row. From resyncing and copying a table goes
// back to streaming when a copy is given up beside which it went on.
var tableTransitions = map[TableState][]TableState{
	TablePending:     {TableCopying, TableStreaming, TableStopped, TableUnpublished},
	TableCopying:     {TablePending, TableCatchingUp, TableStreaming, TableStopped, TableUnpublished, TableResyncing},
	TableCatchingUp:  {TableStreaming, TablePending, TableStopped, TableUnpublished, TableResyncing},
	TableStreaming:   {TableStopped, TableUnpublished, TableResyncing},
	TableResyncing:   {TableCopying, TablePending, TableStreaming, TableStopped, TableUnpublished},
	TableStopped:     {TableResyncing, TableCopying, TablePending, TableUnpublished, TableCatchingUp},
	TableUnpublished: {TablePending, TableResyncing},
}

// TableStates lists every state, in the order a table can pass them.
func TableStates() []TableState {
	return []TableState{TablePending, TableCopying, TableCatchingUp, TableStreaming, TableResyncing, TableStopped, TableUnpublished}
}

// To is the one transition function: it gives next, or an error when the table
// does not allow it. A state may follow itself: what is recorded twice is no
// change.
func (s TableState) To(next TableState) (TableState, error) {
	if s == next {
		return next, nil
	}
	for _, allowed := range tableTransitions[s] {
		if allowed == next {
			return next, nil
		}
	}
	return s, fmt.Errorf("table state cannot go from %q to %q", s, next)
}

// MirrorRow is a mirror as SHOW MIRRORS tells it.
type MirrorRow struct {
	Name        string
	Source      string
	Destination string
	Publication string
	State       string // of its newest task: "replicating", "copying rows", "stopped", ...
	Wanted      MirrorState
	Attended    bool   // a task works on it
	Task        TaskID // its newest task, 0 if none
	Tables      int64
	Streaming   int64         // tables in the state streaming
	Stopped     int64         // tables in the state stopped
	Rows, Bytes int64         // copied
	Percent     *float64      // of the bytes to copy
	LagBytes    *int64        // the greatest of its streams; nil if not known
	Lag         time.Duration // valid with LagBytes
	Streams     []StreamRow
	CreatedAt   time.Time
	Entry       string         // how it stands to [[mirrors]]: "same", "differs: workers", "gone"; "" if it never was there
	Settings    string         // what is other than the default, as SET of ALTER MIRROR has it
	Error       *pgerror.Error // what keeps it from going on now
}

// StreamRow is the stream of one source shard of a mirror.
type StreamRow struct {
	Mirror             string
	Shard              int // of the source
	Slot               string
	ReceivedLSN        stream.LSN
	AppliedLSN         stream.LSN // recorded on every destination shard
	ConfirmedLSN       stream.LSN // told to the slot
	ServerLSN          stream.LSN // the source's own
	LagBytes           *int64     // ServerLSN - AppliedLSN
	Lag                *time.Duration
	Transactions, Rows int64   // applied by the newest task
	TransactionsPerSec float64 // over the last seconds
	RowsPerSec         float64
	Binary             bool
	LastCommit         *time.Time // commit time of the newest transaction applied
	UpdatedAt          time.Time
	Error              *pgerror.Error // what it waits for
}

// MirrorTableRow is a table of a mirror as SHOW MIRROR tells it.
type MirrorTableRow struct {
	Mirror           string
	Shard            int // of the source
	Schema, Table    string
	State            TableState
	Rows, TotalRows  int64 // copied; estimated
	Bytes, Total     int64
	Percent          *float64
	Format, FormatBy string     // "binary" or "text", and why text
	SyncLSN          stream.LSN // changes from here on are applied
	StoppedLSN       stream.LSN // 0 unless stopped
	Without          string     // "indexes, foreign keys": what it is meant not to have at the destination
	Inserted         int64      // rows applied by the stream
	Updated          int64
	Deleted          int64
	UpdatedAt        time.Time
	Error            *pgerror.Error // why it is stopped; its Hint is the way out
	Structure        string         // verdict of the newest comparison with its source's structure; "" if there was none
	Allowed          string         // escape hatches by which it goes on, with what each has cost
}

// TableCopyRow is the copy of one table as SHOW TABLE_COPIES tells it. It stays
// when the copy has ended.
type TableCopyRow struct {
	Mirror        string
	Task          TaskID
	Shard         int // of the source
	Schema, Table string
	Status        string // waiting, running, done, failed
	Rows, Bytes   int64
	StartedAt     *time.Time // of its first range
	FinishedAt    *time.Time
	SQL           string
	TotalRows     int64 // estimates
	TotalBytes    int64
	Ranges        int64
	RangesDone    int64
	Percent       *float64
	ETA           *time.Duration
	Strategy      string // of a resync; "" for none
	Step          string // of it; Percent and ETA are those of the step
	Workers       string // "1,3": which workers copy it now
	Attempt       int
	Format        string
	Error         *pgerror.Error
}

// BytesPerSecond is the copy's rate since its first range began.
func (r TableCopyRow) BytesPerSecond(now time.Time) int64 {
	if r.StartedAt == nil {
		return 0
	}
	if r.FinishedAt != nil {
		now = *r.FinishedAt
	}
	if took := now.Sub(*r.StartedAt).Seconds(); took > 0 {
		return int64(float64(r.Bytes) / took)
	}
	return r.Bytes
}

// SlotRow is a replication slot as SHOW REPLICATION_SLOTS tells it: those of
// mirrors, and those that bear our name and belong to no mirror.
type SlotRow struct {
	Host             string
	Port             int
	Database         string // a name in [[databases]]
	Name             string
	LSN              stream.LSN // confirmed_flush_lsn
	LagBytes         int64
	CopyData         bool // it exists for the copy of a table
	LastTransaction  *time.Time
	Mirror           string // "" for an orphan
	Shard            int
	Orphan           bool
	Active           bool
	ActivePID        int64
	RestartLSN       stream.LSN
	RetainedBytes    int64
	WALStatus        string
	SafeWALSize      *int64
	Temporary        bool
	Plugin           string
	Invalidated      string // the reason, "" if usable
	InactiveSince    *time.Time
	DatabaseOnServer string
}

// DropMirrorReport tells what DROP MIRROR has removed.
type DropMirrorReport struct {
	Slots    []string
	Warnings []*pgerror.Error // what could not be removed, with the SQL that does
}

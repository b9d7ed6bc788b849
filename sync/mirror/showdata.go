package mirror

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// Mirrors tells every mirror, by name. Warnings name the databases whose
// mirrors cannot be told.
func (m *Manager) Mirrors(ctx context.Context) ([]MirrorRow, []*pgerror.Error, error) {
	var mu sync.Mutex
	var out []MirrorRow
	warnings := m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, _ config.Server) error {
		rows, err := m.mirrorRows(ctx, conn)
		mu.Lock()
		defer mu.Unlock()
		out = append(out, rows...)
		return err
	})
	slices.SortFunc(out, func(a, b MirrorRow) int { return cmp.Compare(a.Name, b.Name) })
	return out, warnings, context.Cause(ctx)
}

func (m *Manager) mirrorRows(ctx context.Context, conn *pgx.Conn) ([]MirrorRow, error) {
	mirrors, err := state.Mirrors(ctx, conn)
	if err != nil {
		return nil, err
	}
	tasks, err := state.Tasks(ctx, conn, 0)
	if err != nil {
		return nil, err
	}
	streams, err := state.Streams(ctx, conn, 0)
	if err != nil {
		return nil, err
	}
	tables, err := state.Tables(ctx, conn, 0)
	if err != nil {
		return nil, err
	}
	out := make([]MirrorRow, len(mirrors))
	for i, mirror := range mirrors {
		row := MirrorRow{Name: mirror.Name, Source: mirror.Source, Destination: mirror.Destination, Publication: mirror.Publication, CreatedAt: mirror.CreatedAt, State: "idle", Wanted: MirrorState(mirror.Wanted), Entry: entryText(m.config(), mirror), Settings: settingsText(mirror)}
		runs := false
		for k := range tasks { // the newest first
			if tasks[k].Mirror == mirror.Name {
				t := m.fromRow(&tasks[k])
				row.Task, row.State, row.Error = t.ID, string(t.State), t.Error
				runs = !t.State.Ended()
				row.Attended = runs
				if t.State == Running && t.Inner != "" {
					row.State = t.Inner
				}
				break
			}
		}
		row.addTables(tables)
		for _, s := range streams {
			if s.Mirror == mirror.Name {
				told := tellStream(s)
				if !runs {
					// What was true when it stopped says nothing of now.
					told.LagBytes, told.Lag, told.TransactionsPerSec, told.RowsPerSec = nil, nil, 0, 0
				}
				row.addStream(told)
			}
		}
		out[i] = row
	}
	return out, nil
}

func (r *MirrorRow) addTables(tables []state.Table) {
	var total int64
	for _, t := range tables {
		if t.Mirror != r.Name {
			continue
		}
		if t.Shard == 0 || !slices.ContainsFunc(tables, func(o state.Table) bool {
			return o.Mirror == t.Mirror && o.Shard < t.Shard && o.Schema == t.Schema && o.Name == t.Name
		}) {
			r.Tables++
			switch TableState(t.State) {
			case TableStreaming:
				r.Streaming++
			case TableStopped:
				r.Stopped++
			default: // a table that waits to join, and for what
				if t.Error != nil && r.Error == nil {
					r.Error = t.Error
				}
			}
		}
		r.Rows, r.Bytes, total = r.Rows+t.Rows, r.Bytes+t.Bytes, total+max(t.TotalBytes, t.Bytes)
	}
	if total > 0 {
		percent := 100 * float64(r.Bytes) / float64(total)
		r.Percent = &percent
	}
}

func (r *MirrorRow) addStream(s StreamRow) {
	r.Streams = append(r.Streams, s)
	if s.LagBytes != nil && (r.LagBytes == nil || *s.LagBytes > *r.LagBytes) {
		r.LagBytes = s.LagBytes
	}
	if s.Lag != nil && *s.Lag > r.Lag {
		r.Lag = *s.Lag
	}
	if s.Error != nil && r.Error == nil {
		r.Error = s.Error
	}
}

func tellStream(s state.Stream) StreamRow {
	out := StreamRow{
		Mirror: s.Mirror, Shard: s.Shard, Slot: s.Slot, ReceivedLSN: s.ReceivedLSN, AppliedLSN: s.AppliedLSN, ConfirmedLSN: s.ConfirmedLSN, ServerLSN: s.ServerLSN,
		Transactions: s.Transactions, Rows: s.Rows, TransactionsPerSec: s.TransactionsPerSecond, RowsPerSec: s.RowsPerSecond,
		LastCommit: s.LastCommit, UpdatedAt: s.UpdatedAt, Error: s.Error,
	}
	if s.Binary != nil {
		out.Binary = *s.Binary
	}
	if s.ServerLSN != 0 && s.AppliedLSN != 0 {
		behind := max(0, int64(s.ServerLSN)-int64(s.AppliedLSN))
		out.LagBytes = &behind
	}
	if s.LagSeconds != nil {
		lag := time.Duration(*s.LagSeconds * float64(time.Second))
		out.Lag = &lag
	}
	return out
}

// MirrorTables tells the tables of one mirror.
func (m *Manager) MirrorTables(ctx context.Context, name string) ([]MirrorTableRow, []*pgerror.Error, error) {
	var mu sync.Mutex
	var out []MirrorTableRow
	var known []string
	found := false
	warnings := m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, _ config.Server) error {
		mirrors, err := state.Mirrors(ctx, conn)
		if err != nil {
			return err
		}
		for _, mirror := range mirrors {
			mu.Lock()
			known = append(known, mirror.Name)
			mu.Unlock()
			if mirror.Name != name {
				continue
			}
			definition, err := keptMirror{row: mirror}.definition()
			if err != nil {
				return err
			}
			tables, err := state.Tables(ctx, conn, mirror.ID)
			rows := make([]MirrorTableRow, len(tables))
			for i, t := range tables {
				rows[i] = tellTable(t)
				rows[i].Without = withoutText(definition)
			}
			if err == nil {
				err = addDrift(ctx, conn, mirror.ID, rows)
			}
			mu.Lock()
			found, out = true, append(out, rows...)
			mu.Unlock()
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err := context.Cause(ctx); err != nil {
		return nil, warnings, err
	}
	if !found {
		return nil, warnings, notFound(name, known, warnings)
	}
	return out, warnings, nil
}

func noMirror(name string, known []string) error {
	e := pgerror.New(pgerror.UndefinedObject, "there is no mirror %q", name).WithHint("SHOW MIRRORS; lists them. COPY_DATA <source> <destination> <publication>; makes one")
	if len(known) > 0 {
		slices.Sort(known)
		return e.WithDetail("Mirrors there are: %s.", strings.Join(known, ", "))
	}
	return e
}

func tellTable(t state.Table) MirrorTableRow {
	return MirrorTableRow{
		Mirror: t.Mirror, Shard: t.Shard, Schema: t.Schema, Table: t.Name, State: TableState(t.State), Rows: t.Rows, TotalRows: t.TotalRows,
		Bytes: t.Bytes, Total: t.TotalBytes, Percent: tablePercent(t), Format: t.Format, FormatBy: t.FormatWhy, SyncLSN: t.SyncLSN, StoppedLSN: t.StoppedLSN,
		Inserted: t.Inserted, Updated: t.Updated, Deleted: t.Deleted, UpdatedAt: t.UpdatedAt, Error: t.Error,
	}
}

// tablePercent is how much of a table is copied. The total is an estimate of
// what lies on the source's disk: only a finished copy is 100.
func tablePercent(t state.Table) *float64 {
	var percent float64
	switch {
	case t.FinishedAt != nil && t.Ranges == t.RangesDone:
		percent = 100
	case t.Attempt == 0:
		return nil
	case t.TotalBytes > 0:
		percent = min(99, 100*float64(t.Bytes)/float64(t.TotalBytes))
	}
	return &percent
}

// TableCopies tells the copies of all tables, those that run first, then those
// that wait, then those that have ended.
func (m *Manager) TableCopies(ctx context.Context) ([]TableCopyRow, []*pgerror.Error, error) {
	var mu sync.Mutex
	var out []TableCopyRow
	warnings := m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, _ config.Server) error {
		tables, err := state.Tables(ctx, conn, 0)
		mu.Lock()
		defer mu.Unlock()
		for _, t := range tables {
			if t.Attempt > 0 || TableState(t.State) == TablePending {
				out = append(out, tellCopy(t))
			}
		}
		return err
	})
	order := map[string]int{"running": 0, "waiting": 1, "failed": 2, "done": 3}
	slices.SortStableFunc(out, func(a, b TableCopyRow) int {
		return cmp.Or(cmp.Compare(order[a.Status], order[b.Status]), cmp.Compare(a.Mirror, b.Mirror), cmp.Compare(b.TotalBytes, a.TotalBytes))
	})
	return out, warnings, context.Cause(ctx)
}

func tellCopy(t state.Table) TableCopyRow {
	row := TableCopyRow{
		Mirror: t.Mirror, Task: TaskID(t.TaskID), Shard: t.Shard, Schema: t.Schema, Table: t.Name, Rows: t.Rows, Bytes: t.Bytes,
		StartedAt: t.StartedAt, FinishedAt: t.FinishedAt, SQL: t.SQL, TotalRows: t.TotalRows, TotalBytes: t.TotalBytes,
		Ranges: t.Ranges, RangesDone: t.RangesDone, Percent: tablePercent(t), Workers: t.Workers, Attempt: t.Attempt, Format: t.Format, Error: t.Error,
		Strategy: t.Resync, Step: t.Step,
	}
	switch {
	case t.Step != "":
		row.Status = "running"
	case t.Resync != "":
		row.Status = "waiting"
	case t.FinishedAt != nil && t.Error == nil:
		row.Status = "done"
	case t.FinishedAt != nil, TableState(t.State) == TableStopped:
		row.Status = "failed"
	case t.StartedAt != nil:
		row.Status = "running"
	default:
		row.Status = "waiting"
	}
	if t.Step != "" && t.Step != stepCopy {
		row.stepProgress(t)
		return row
	}
	if row.Status == "running" && t.StartedAt != nil && t.Bytes > 0 && t.TotalBytes > t.Bytes {
		took := time.Since(*t.StartedAt)
		eta := time.Duration(float64(took) * float64(t.TotalBytes-t.Bytes) / float64(t.Bytes))
		row.ETA = &eta
	}
	return row
}

// stepProgress tells how far a step of a resync is that copies no rows.
func (r *TableCopyRow) stepProgress(t state.Table) {
	r.Percent = nil
	if t.StepDone == nil {
		return
	}
	percent := 100 * *t.StepDone
	r.Percent = &percent
	if t.StepAt != nil && *t.StepDone > 0 {
		eta := time.Duration(float64(time.Since(*t.StepAt)) * (1 - *t.StepDone) / *t.StepDone)
		r.ETA = &eta
	}
}

// Slots tells the replication slots of every source of a mirror, and those
// anywhere that bear our name and belong to no mirror.
func (m *Manager) Slots(ctx context.Context) ([]SlotRow, []*pgerror.Error, error) {
	var mu sync.Mutex
	var streams []state.Stream
	warnings := m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, _ config.Server) error {
		rows, err := state.Streams(ctx, conn, 0)
		mu.Lock()
		defer mu.Unlock()
		streams = append(streams, rows...)
		return err
	})
	var out []SlotRow
	var wait sync.WaitGroup
	cfg := m.config()
	for _, cluster := range cfg.Clusters() {
		all, _, err := servers(cfg, cluster.Name)
		if err != nil {
			continue // without a schema admin it is nobody's source
		}
		for _, server := range all {
			wait.Go(func() {
				rows, err := slotsOf(ctx, server, streams)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					e := *pgerror.From(err)
					e.Message = fmt.Sprintf("cannot tell the slots of %s: %s", connect.Place(server), e.Message)
					warnings = append(warnings, &e)
				}
				out = append(out, rows...)
			})
		}
	}
	wait.Wait()
	slices.SortFunc(out, func(a, b SlotRow) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Name, b.Name))
	})
	return out, warnings, context.Cause(ctx)
}

func slotsOf(ctx context.Context, server config.Server, streams []state.Stream) ([]SlotRow, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := connect.Open(ctx, server, "show")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	slots, err := stream.ReadSlots(ctx, conn)
	if err != nil {
		return nil, err
	}
	var out []SlotRow
	for _, slot := range slots {
		// A slot is the cluster's; it is told with the database it belongs to.
		if slot.Database != server.Database {
			continue
		}
		row := SlotRow{
			Host: server.Host, Port: server.Port, Database: server.Cluster, Shard: server.Shard, Name: slot.Name, LSN: slot.ConfirmedFlushLSN,
			Active: slot.Active, ActivePID: int64(slot.ActivePID), RestartLSN: slot.RestartLSN, RetainedBytes: slot.RetainedBytes, WALStatus: slot.WALStatus,
			SafeWALSize: slot.SafeWALSize, Temporary: slot.Temporary, Plugin: slot.Plugin, Invalidated: slot.Lost, DatabaseOnServer: slot.Database,
			LagBytes: slot.LagBytes,
		}
		i := slices.IndexFunc(streams, func(s state.Stream) bool {
			return s.Source == server.Cluster && s.Shard == server.Shard && (s.Slot == slot.Name || partOf(s, slot.Name))
		})
		switch {
		case i >= 0:
			row.Mirror, row.LastTransaction = streams[i].Mirror, streams[i].LastCommit
			row.CopyData = streams[i].Slot != slot.Name
		case strings.HasPrefix(slot.Name, slotPrefix):
			row.Orphan = true
		default:
			continue
		}
		out = append(out, row)
	}
	return out, nil
}

// partOf tells whether a slot was made for tables of a stream that are copied
// for themselves.
func partOf(s state.Stream, slot string) bool {
	i := strings.LastIndex(slot, "_")
	return i > 0 && s.Made && slot[:i] == s.Slot
}

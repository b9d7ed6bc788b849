package mirror

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// ResyncRequest is a RESYNC command.
type ResyncRequest struct {
	Tables   []string        // "schema.table" of the source, or a table's name alone where one schema has it; none: all
	Stopped  bool            // those that are stopped; Tables is empty then
	Strategy resync.Strategy // "": the mirror's resync_strategy
	NoStart  bool            // leave it to the task that works on the mirror, now or next
}

// Resynced is what RESYNC has asked for.
type Resynced struct {
	Started
	Tables []catalog.Name // of the source
}

// Resync asks for tables of a mirror to be copied again. Those that do not stream
// are taken up at once, the others one after another. The task that works on the
// mirror does it while the others go on; if none does, one is started.
//
// A table that streams goes on streaming until its copy begins, with the strategy
// swap until it is replaced. What the destination has no room for is refused before
// anything is changed.
func (m *Manager) Resync(ctx context.Context, name string, r ResyncRequest) (Resynced, error) {
	if r.Strategy != "" && !slices.Contains(resync.Strategies, r.Strategy) {
		return Resynced{}, pgerror.New(pgerror.InvalidParameterValue, "there is no strategy %q", r.Strategy).WithHint("choose truncate, swap or reconcile")
	}
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return Resynced{}, err
	}
	conn, err := connect.Open(ctx, kept.server, "resync")
	if err != nil {
		return Resynced{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := state.Install(ctx, conn); err != nil { // an older pgdrover may have made it
		return Resynced{}, err
	}
	asked, err := chooseTables(ctx, conn, kept, r)
	if err != nil {
		return Resynced{}, err
	}
	if err := m.roomFor(ctx, kept, asked, r.Strategy); err != nil {
		return Resynced{}, err
	}
	schemas, names := make([]string, len(asked)), make([]string, len(asked))
	for i, t := range asked {
		schemas[i], names[i] = t.Schema, t.Name
	}
	if _, err := state.RequestResync(ctx, conn, kept.row.ID, schemas, names, string(r.Strategy)); err != nil {
		return Resynced{}, err
	}
	out := Resynced{Tables: asked}
	if kept.runs || r.NoStart {
		if kept.runs {
			out.Task = TaskID(kept.task.ID)
		}
		return out, nil
	}
	req := kept.request()
	req.SyncOnly = false
	out.Started, err = m.CopyData(ctx, req)
	return out, err
}

// chooseTables finds the tables that a RESYNC means.
func chooseTables(ctx context.Context, conn *pgx.Conn, kept keptMirror, r ResyncRequest) ([]catalog.Name, error) {
	rows, err := state.Tables(ctx, conn, kept.row.ID)
	if err != nil {
		return nil, err
	}
	var all, published, stopped []catalog.Name
	add := func(list *[]catalog.Name, name catalog.Name) {
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	for _, row := range rows {
		name := catalog.Name{Schema: row.Schema, Name: row.Name}
		add(&all, name)
		if TableState(row.State) != TableUnpublished {
			add(&published, name)
		}
		if TableState(row.State) == TableStopped {
			add(&stopped, name)
		}
	}
	mirror := dump.QuoteIdent(kept.row.Name)
	switch {
	case r.Stopped && len(stopped) == 0:
		return nil, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "no table of mirror %q is stopped", kept.row.Name).
			WithHint("name the tables to be copied again: RESYNC %s %s; or all of them: RESYNC %s;", mirror, "<schema.table>", mirror)
	case r.Stopped:
		return stopped, nil
	case len(r.Tables) == 0 && len(published) == 0:
		return nil, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q has no tables yet", kept.row.Name).WithHint("RESUME MIRROR %s; copies them", mirror)
	case len(r.Tables) == 0:
		return published, nil
	}
	return namedAmong(kept.row.Name, all, r.Tables)
}

// ResyncRow tells how far the resync of a table is.
type ResyncRow struct {
	Shard         int // of the source
	Schema, Table string
	State         TableState
	Asked         bool            // nobody has taken it up yet
	Strategy      resync.Strategy // "" when it has ended
	Step          string
	Percent       *float64 // of the step
	ETA           *time.Duration
	Rows, Total   int64          // copied, and estimated
	Error         *pgerror.Error // why it was given up, or what it waits for
}

// Over tells whether it has ended.
func (r ResyncRow) Over() bool {
	return !r.Asked && r.Strategy == "" && (r.State == TableStreaming || r.State == TableStopped || r.State == TableUnpublished)
}

// Resyncs tells how far the resyncs of tables of a mirror are, a row for each
// shard of the source.
func (m *Manager) Resyncs(ctx context.Context, name string, tables []catalog.Name) ([]ResyncRow, error) {
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return nil, err
	}
	conn, err := connect.Open(ctx, kept.server, "show")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := state.Tables(ctx, conn, kept.row.ID)
	if err != nil {
		return nil, err
	}
	var out []ResyncRow
	for _, t := range rows {
		if !slices.Contains(tables, catalog.Name{Schema: t.Schema, Name: t.Name}) {
			continue
		}
		told := tellCopy(t)
		out = append(out, ResyncRow{
			Shard: t.Shard, Schema: t.Schema, Table: t.Name, State: TableState(t.State), Asked: t.Asked, Strategy: resync.Strategy(t.Resync),
			Step: t.Step, Percent: told.Percent, ETA: told.ETA, Rows: t.Rows, Total: t.TotalRows, Error: t.Error,
		})
	}
	return out, nil
}

// copiedBeside tells whether a strategy copies rows into another place than where
// they are read.
func copiedBeside(strategy string) bool {
	return strategy == string(resync.Swap) || strategy == string(resync.Reconcile)
}

// beginResync notes that a table is to be copied again. One that streams goes on
// until its copy takes it out of the stream.
func beginResync(t *state.Table, strategy string) {
	if s := TableState(t.State); t.Part == "" && (s == TableStreaming || s == TableCatchingUp) {
		t.LiveLSN = max(t.SyncLSN, 1)
	}
	t.Resync = strategy
	t.Step, t.StepDone, t.StepAt = "", nil, nil
}

// The steps of a resync, as SHOW TABLE_COPIES names them.
const (
	stepPlan      = "plan"
	stepCopy      = "copy rows"
	stepFinish    = "keys and indexes"
	stepCompare   = "compare the tables"
	stepReconcile = "reconcile"
	stepCatchUp   = "catch up"
	stepSwap      = "swap"
)

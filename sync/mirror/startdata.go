package mirror

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// CopyData starts COPY_DATA or REPLICATE. It checks both sides first: findings
// that forbid the work are its error, and nothing was changed; the others are
// warnings. The task then runs on its own, whatever becomes of ctx.
func (m *Manager) CopyData(ctx context.Context, req CopyDataRequest) (Started, error) {
	work, warnings, err := m.checkedCopy(ctx, req, nil)
	if err != nil {
		return Started{Warnings: warnings}, err
	}
	id, err := m.begin(ctx, work.pair, work)
	if err != nil {
		return Started{}, err
	}
	return Started{Task: id, Warnings: warnings, Slots: work.slotNames()}, nil
}

// checkedCopy prepares the work of a COPY_DATA or REPLICATE, and checks both
// sides. The settings are those that are recorded, or given.
func (m *Manager) checkedCopy(ctx context.Context, req CopyDataRequest, given *config.Mirror) (*copyData, []*pgerror.Error, error) {
	cfg := m.config()
	pair, err := resolve(cfg, req.Source, req.Destination)
	if err != nil {
		return nil, nil, err
	}
	if req.Mirror != "" {
		pair.mirror = req.Mirror
	}
	router, err := shard.NewRouter(cfg, req.Destination, len(pair.destination))
	if err != nil {
		return nil, nil, err
	}
	work := &copyData{manager: m, pair: pair, req: req, router: router, config: cfg}
	if err := work.settle(ctx, given); err != nil {
		return nil, nil, err
	}
	found := pair.preflight(SchemaSyncRequest{Phase: dump.PreData, Source: req.Source, Destination: req.Destination, Publication: req.Publication}).Run(ctx)
	if len(found.Errors) == 0 {
		pair.dataPreflight(ctx, work, &found)
	}
	if len(found.Errors) > 0 {
		found.Warnings = nil // the errors say it, and more strictly
	}
	if err := context.Cause(ctx); err != nil {
		return nil, nil, err
	}
	if err := refuse(found.Errors); err != nil {
		return nil, found.Warnings, err
	}
	work.binary, work.quoteAll = found.Binary, found.MajorsDiffer
	return work, found.Warnings, nil
}

// slotNames are the names of the slots that the task uses, or will make.
func (j *copyData) slotNames() []string {
	var out []string
	for _, server := range j.pair.source {
		if j.req.Slot != "" {
			return []string{j.req.Slot}
		}
		out = append(out, slotName(j.pair.mirror, j.pair.destination0, server.Shard))
	}
	return out
}

// Resync asks for tables of a mirror to be copied again; without names, for
// those that are stopped. The task that works on the mirror does it while the
// others go on; if none does, one is started.
func (m *Manager) Resync(ctx context.Context, name string, tables []string) (Started, error) {
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return Started{}, err
	}
	conn, err := connect.Open(ctx, kept.server, "resync")
	if err != nil {
		return Started{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	asked, err := chooseTables(ctx, conn, kept, tables)
	if err != nil {
		return Started{}, err
	}
	schemas, names := make([]string, len(asked)), make([]string, len(asked))
	for i, t := range asked {
		schemas[i], names[i] = t.Schema, t.Name
	}
	if _, err := state.RequestResync(ctx, conn, kept.row.ID, schemas, names, ""); err != nil {
		return Started{}, err
	}
	if kept.runs {
		return Started{Task: TaskID(kept.task.ID)}, nil
	}
	req := kept.request()
	req.SyncOnly = false
	return m.CopyData(ctx, req)
}

// chooseTables finds the tables that a RESYNC names: "schema.table", or a
// table's name alone where only one schema has it.
func chooseTables(ctx context.Context, conn *pgx.Conn, kept keptMirror, named []string) ([]catalog.Name, error) {
	rows, err := state.Tables(ctx, conn, kept.row.ID)
	if err != nil {
		return nil, err
	}
	var all, stopped []catalog.Name
	for _, row := range rows {
		name := catalog.Name{Schema: row.Schema, Name: row.Name}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
		if TableState(row.State) == TableStopped && !slices.Contains(stopped, name) {
			stopped = append(stopped, name)
		}
	}
	if len(named) == 0 {
		if len(stopped) == 0 {
			return nil, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "no table of mirror %q is stopped", kept.row.Name).
				WithHint("name the tables to be copied again: RESYNC %s %s;", dump.QuoteIdent(kept.row.Name), "<schema.table>")
		}
		return stopped, nil
	}
	return namedAmong(kept.row.Name, all, named)
}

func noTable(mirror, text string) error {
	return pgerror.New(pgerror.UndefinedTable, "mirror %q has no table %q", mirror, text).
		WithHint("SHOW MIRROR %s; lists its tables", dump.QuoteIdent(mirror))
}

func ambiguousTable(mirror, text string, matches []catalog.Name) error {
	return pgerror.New(pgerror.InvalidParameterValue, "table %q of mirror %q is ambiguous", text, mirror).
		WithDetail("It may be %s.", joinNames(matches)).WithHint("write the schema before it")
}

func joinNames(names []catalog.Name) string {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = n.String()
	}
	return strings.Join(texts, " or ")
}

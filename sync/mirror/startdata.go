package mirror

import (
	"context"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
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
	look := pair.preflight(SchemaSyncRequest{Phase: dump.PreData, Source: req.Source, Destination: req.Destination, Publication: req.Publication})
	look.NoSchema = work.req.SkipSchema
	found := look.Run(ctx)
	if found.Reached { // what is missing is told at once
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

package mirror

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// TableReport is what VALIDATE_SCHEMA finds of one table on one shard of the
// destination.
type TableReport struct {
	Mirror string
	Shard  int // of the destination
	drift.Judgement
	SourceFingerprint, DestinationFingerprint string // hexadecimal; "" where the table is not there
	// What the mirror's task has recorded of it: when the verdict was found first,
	// and where the table is stopped because of it. Zero where it has nothing.
	Since      time.Time
	StoppedLSN stream.LSN

	policy drift.Policy
}

// ValidateSchema compares the published tables of a mirror with each shard of
// the destination and judges the differences under the mirror's policy. named
// are the tables to look at, as "schema.table" or by name alone; none: all. It
// changes nothing.
func (m *Manager) ValidateSchema(ctx context.Context, name string, named []string) ([]TableReport, error) {
	return m.ValidateSchemaWith(ctx, name, named, nil)
}

// ValidateSchemaWith is ValidateSchema under settings that change makes other
// than the mirror has them: what would become of it. change may be nil.
func (m *Manager) ValidateSchemaWith(ctx context.Context, name string, named []string, change func(*config.Mirror) error) ([]TableReport, error) {
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return nil, err
	}
	s, err := m.structureOf(kept)
	if err == nil && change != nil {
		err = change(&s.definition)
	}
	if err != nil {
		return nil, err
	}
	names, err := s.published(ctx, named)
	if err != nil {
		return nil, err
	}
	known, err := recordedDrift(ctx, kept)
	if err != nil {
		return nil, err
	}
	tables, err := s.read(ctx, names)
	if err != nil {
		return nil, err
	}
	var out []TableReport
	for _, t := range tables {
		reports := s.judge(t, known[t.table].before, nil)
		for i := range reports {
			reports[i].Since = known[t.table].row.Since
			if known[t.table].row.Stopped {
				reports[i].StoppedLSN = known[t.table].row.LSN
			}
		}
		out = append(out, reports...)
	}
	slices.SortStableFunc(out, func(a, b TableReport) int { return cmp.Compare(a.Shard, b.Shard) })
	return out, nil
}

// structureOf is what compares the tables of a mirror.
func (m *Manager) structureOf(kept keptMirror) (*structure, error) {
	definition, err := kept.definition()
	if err != nil {
		return nil, err
	}
	cfg := m.config()
	pair, err := resolve(cfg, kept.row.Source, kept.row.Destination)
	if err != nil {
		return nil, err
	}
	mapped, problem := mapping.New(cfg, definition)
	if problem != nil {
		return nil, problem
	}
	return &structure{config: cfg, definition: definition, pair: pair, mapping: mapped}, nil
}

// published gives the tables of the mirror's publication that are named; all of
// them without names.
func (s *structure) published(ctx context.Context, named []string) ([]catalog.Name, error) {
	server := s.pair.source[0]
	conn, err := connect.Open(ctx, server, "validate")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	publication, ok, err := catalog.ReadPublication(ctx, conn, s.definition.Publication)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, pgerror.New(pgerror.UndefinedObject, "publication %q does not exist on %s", s.definition.Publication, connect.Place(server)).
			WithHint("CREATE PUBLICATION there, or ALTER MIRROR to another")
	}
	all := make([]catalog.Name, len(publication.Tables))
	for i, t := range publication.Tables {
		all[i] = t.Table
	}
	return namedAmong(s.definition.Name, all, named)
}

func describe(ctx context.Context, server config.Server, names []catalog.Name) (map[catalog.Name]*catalog.TableDescription, error) {
	conn, err := connect.Open(ctx, server, "validate")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	described, err := catalog.DescribeTables(ctx, conn, names)
	if err != nil {
		return nil, fmt.Errorf("describe the tables of %s: %w", connect.Place(server), err)
	}
	return described, nil
}

func fingerprint(d *catalog.TableDescription) string {
	if d == nil {
		return ""
	}
	return fmt.Sprintf("%x", drift.Fingerprint(d))
}

// namedAmong finds the tables that a command names among those of a mirror:
// "schema.table", or a table's name alone where only one schema has it. Without
// names it is all of them.
func namedAmong(mirror string, all []catalog.Name, named []string) ([]catalog.Name, error) {
	if len(named) == 0 {
		return all, nil
	}
	var out []catalog.Name
	for _, text := range named {
		matches := slices.DeleteFunc(slices.Clone(all), func(n catalog.Name) bool { return n.String() != text && n.Name != text })
		if exact := slices.IndexFunc(matches, func(n catalog.Name) bool { return n.String() == text }); exact >= 0 {
			matches = matches[exact : exact+1]
		}
		switch {
		case len(matches) == 0:
			return nil, noTable(mirror, text)
		case len(matches) > 1:
			return nil, ambiguousTable(mirror, text, matches)
		case !slices.Contains(out, matches[0]):
			out = append(out, matches[0])
		}
	}
	return out, nil
}

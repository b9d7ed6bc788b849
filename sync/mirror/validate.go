package mirror

import (
	"context"
	"fmt"
	"slices"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mapping"
)

// TableReport is what VALIDATE_SCHEMA finds of one table on one shard of the
// destination.
type TableReport struct {
	Mirror string
	Shard  int // of the destination
	drift.Judgement
	SourceFingerprint, DestinationFingerprint string // hexadecimal; "" where the table is not there
}

// ValidateSchema compares the published tables of a mirror with each shard of
// the destination and judges the differences under the mirror's policy. named
// are the tables to look at, as "schema.table" or by name alone; none: all. It
// changes nothing.
func (m *Manager) ValidateSchema(ctx context.Context, name string, named []string) ([]TableReport, error) {
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return nil, err
	}
	definition, err := kept.definition()
	if err != nil {
		return nil, err
	}
	cfg := m.config()
	pair, err := resolve(cfg, kept.row.Source, kept.row.Destination)
	if err != nil {
		return nil, err
	}
	v := &validation{config: cfg, definition: definition, pair: pair}
	if mapped, problem := mapping.New(cfg, definition); problem != nil {
		return nil, problem
	} else {
		v.mapping = mapped
	}
	return v.run(ctx, named)
}

// validation is one comparison of all tables of a mirror.
type validation struct {
	config     *config.Config
	definition config.Mirror
	pair       *pair
	mapping    *mapping.Mapping
}

func (v *validation) run(ctx context.Context, named []string) ([]TableReport, error) {
	names, described, err := v.source(ctx, named)
	if err != nil {
		return nil, err
	}
	destinations := make([]catalog.Name, len(names))
	mappings := make([]drift.Mapping, len(names))
	for i, table := range names {
		if mappings[i], err = drift.MappingOf(v.mapping, table); err != nil {
			return nil, err
		}
		destinations[i] = table
		if mappings[i] != nil {
			destinations[i] = mappings[i].Table(table)
		}
	}
	var out []TableReport
	for _, server := range v.pair.destination {
		there, err := describe(ctx, server, destinations)
		if err != nil {
			return nil, err
		}
		for i, table := range names {
			comparison := drift.Comparison{Source: described[table], Destination: there[destinations[i]], Mapping: mappings[i], Publication: v.definition.Publication}
			differences := slices.DeleteFunc(comparison.Differences(), func(d drift.TableDifference) bool { return meant(v.definition, d) })
			judged := drift.Judge(differences, drift.PolicyOf(v.config, v.definition, table))
			judged.Table, judged.Destination = table, destinations[i]
			out = append(out, TableReport{
				Mirror: v.definition.Name, Shard: server.Shard, Judgement: judged,
				SourceFingerprint: fingerprint(described[table]), DestinationFingerprint: fingerprint(there[destinations[i]]),
			})
		}
	}
	return out, nil
}

// source describes the tables to look at on the source's first shard: its
// schema counts.
func (v *validation) source(ctx context.Context, named []string) ([]catalog.Name, map[catalog.Name]*catalog.TableDescription, error) {
	server := v.pair.source[0]
	conn, err := connect.Open(ctx, server, "validate")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	publication, ok, err := catalog.ReadPublication(ctx, conn, v.definition.Publication)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, pgerror.New(pgerror.UndefinedObject, "publication %q does not exist on %s", v.definition.Publication, connect.Place(server)).
			WithHint("CREATE PUBLICATION there, or ALTER MIRROR to another")
	}
	all := make([]catalog.Name, len(publication.Tables))
	for i, t := range publication.Tables {
		all[i] = t.Table
	}
	names, err := namedAmong(v.definition.Name, all, named)
	if err != nil {
		return nil, nil, err
	}
	described, err := catalog.DescribeTables(ctx, conn, names)
	if err != nil {
		return nil, nil, fmt.Errorf("describe the tables of %s: %w", connect.Place(server), err)
	}
	return names, described, nil
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

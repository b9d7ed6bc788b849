package mirror

import (
	"cmp"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// shape is a table on both sides.
type shape struct {
	published        catalog.PublishedTable
	source           *catalog.Relation
	sourceTypes      catalog.Types
	destination      *catalog.Relation
	destinationTypes catalog.Types
}

// textOnly says why the values of a table cannot be sent in binary form.
func (s *shape) textOnly(j *copyData) string {
	table, problem := j.streamMapping(s.source.Table)
	if problem != nil {
		return "" // it is stopped when its changes come
	}
	for _, name := range s.published.Columns {
		column, kept := table.Column(name)
		if !kept {
			continue
		}
		from, to := s.source.Position(name), s.destination.Position(column.Destination)
		if from < 0 || to < 0 {
			continue // likewise
		}
		if !apply.Fits(s.sourceTypes, s.source.Columns[from], s.destinationTypes, s.destination.Columns[to]) {
			column.Cast = cmp.Or(column.Cast, j.drift.handling(s.source.Table).all()[name])
		}
		if why := apply.TextOnly(column, s.sourceTypes, s.source.Columns[from], s.destinationTypes, s.destination.Columns[to]); why != "" {
			return fmt.Sprintf("column %s: %s", name, why)
		}
	}
	return ""
}

// carried are the tables whose rows are taken from this shard.
func (s *sourceShard) carried() []catalog.Name {
	s.mu.Lock()
	names := make([]catalog.Name, 0, len(s.published))
	for name := range s.published {
		names = append(names, name)
	}
	s.mu.Unlock()
	out := names[:0]
	for _, name := range names {
		if s.carries(name) {
			out = append(out, name)
		}
	}
	return out
}

// shapes reads tables on both sides. What is missing on a side is nil there.
func (s *sourceShard) shapes(ctx context.Context, names []catalog.Name) (map[catalog.Name]*shape, error) {
	conn, err := connect.Open(ctx, s.server, "tables")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return s.shapesOn(ctx, conn, names, nil)
}

// shapesOn is shapes on a connection. into has the tables of the destination that
// are not those of the mapping.
func (s *sourceShard) shapesOn(ctx context.Context, conn *pgx.Conn, names []catalog.Name, into map[catalog.Name]catalog.Name) (map[catalog.Name]*shape, error) {
	there, err := connect.Open(ctx, s.job.pair.destination0, "tables")
	if err != nil {
		return nil, err
	}
	defer func() { _ = there.Close(context.WithoutCancel(ctx)) }()
	sources, sourceTypes, err := readSide(ctx, conn, names)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", connect.Place(s.server), err)
	}
	mapped := s.job.destinationNames(names)
	for i, name := range names {
		if other, ok := into[name]; ok {
			mapped[i] = other
		}
	}
	destinations, destinationTypes, err := readSide(ctx, there, mapped)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", connect.Place(s.job.pair.destination0), err)
	}
	out := make(map[catalog.Name]*shape, len(names))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, name := range names {
		out[name] = &shape{
			published: s.published[name], source: sources[name], sourceTypes: sourceTypes,
			destination: destinations[mapped[i]], destinationTypes: destinationTypes,
		}
	}
	return out, nil
}

// destinationShape reads one table of the destination.
func (s *sourceShard) destinationShape(ctx context.Context, name catalog.Name) (*shape, error) {
	conn, err := connect.Open(ctx, s.job.pair.destination0, "tables")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	relations, types, err := readSide(ctx, conn, []catalog.Name{name})
	if err != nil {
		return nil, fmt.Errorf("read table %s of %s: %w", name, connect.Place(s.job.pair.destination0), err)
	}
	return &shape{destination: relations[name], destinationTypes: types}, nil
}

func readSide(ctx context.Context, conn *pgx.Conn, names []catalog.Name) (map[catalog.Name]*catalog.Relation, catalog.Types, error) {
	relations, err := catalog.ReadRelations(ctx, conn, names)
	if err != nil {
		return nil, nil, err
	}
	seen := map[uint32]bool{}
	var oids []uint32
	for _, r := range relations {
		for _, c := range r.Columns {
			if !seen[c.Type] {
				seen[c.Type] = true
				oids = append(oids, c.Type)
			}
		}
	}
	types, err := catalog.ReadTypes(ctx, conn, oids)
	return relations, types, err
}

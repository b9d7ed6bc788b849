package mirror

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// carries tells whether a table's rows are taken from this shard: of one that
// every shard of the source has whole, only the first is asked.
func (s *sourceShard) carries(table catalog.Name) bool {
	s.mu.Lock()
	t, ok := s.published[table]
	s.mu.Unlock()
	if !ok {
		return false
	}
	return s.number == 0 || s.job.origin == nil || s.spread(t)
}

// shares tells whether a table of the destination takes rows of other shards of
// the source as well.
func (s *sourceShard) shares(table catalog.Name) bool {
	s.mu.Lock()
	t, ok := s.published[table]
	s.mu.Unlock()
	return ok && s.job.origin != nil && s.spread(t)
}

// spread tells whether a table's rows are spread over the shards of the source.
func (s *sourceShard) spread(t catalog.PublishedTable) bool {
	columns := make([]shard.Column, len(t.Columns))
	for i, c := range t.Columns {
		columns[i] = shard.Column{Name: c}
	}
	key, err := s.job.origin.Table(t.Table.Schema, t.Table.Name, columns)
	if root, ok := s.root(t.OID); ok && err == nil && key == nil {
		// [[sharded_tables]] names what is partitioned, the publication its partitions.
		key, err = s.job.origin.Table(root.Schema, root.Name, columns)
	}
	return err != nil || key != nil
}

// readPublication reads which tables are published now, and brings the registry
// in line: new ones are pending, those that are gone are unpublished. It gives
// the new ones.
func (s *sourceShard) readPublication(ctx context.Context) error {
	conn, err := connect.Open(ctx, s.server, "publication")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return s.takePublication(ctx, conn)
}

func (s *sourceShard) takePublication(ctx context.Context, conn *pgx.Conn) error {
	publication, ok, err := catalog.ReadPublication(ctx, conn, s.job.req.Publication)
	if err != nil {
		return err
	}
	if !ok {
		return pgerror.New(pgerror.UndefinedObject, "publication %q does not exist on %s", s.job.req.Publication, connect.Place(s.server)).
			WithHint("CREATE PUBLICATION %s FOR ALL TABLES; there", dump.QuoteIdent(s.job.req.Publication))
	}
	published := make(map[catalog.Name]catalog.PublishedTable, len(publication.Tables))
	names := make([]catalog.Name, 0, len(publication.Tables))
	for _, t := range publication.Tables {
		published[t.Table] = t
		names = append(names, t.Table)
	}
	roots, err := s.readRoots(ctx, conn)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.published, s.viaRoot, s.roots = published, publication.ViaRoot, roots
	s.mu.Unlock()
	if err := s.tellLeftOut(ctx, publication); err != nil {
		return err
	}
	if s.recorded.Load() {
		return errors.Join(s.lookAtPublication(ctx, published), s.checkFilters(ctx, conn, publication))
	}
	// What another shard is asked for would be pending here for ever.
	names = slices.DeleteFunc(names, func(n catalog.Name) bool { return !s.carries(n) })
	if err := s.job.tables.add(ctx, s.number, names); err != nil {
		return err
	}
	var gone, back []tableKey
	for _, key := range s.job.tables.all(s.number) {
		row, _ := s.job.tables.get(key)
		_, there := published[key.table]
		switch {
		case !there && TableState(row.State) != TableUnpublished:
			gone = append(gone, key)
		case there && TableState(row.State) == TableUnpublished:
			back = append(back, key)
		}
	}
	if err := s.job.tables.set(ctx, TableUnpublished, endResync, gone...); err != nil {
		return err
	}
	if err := s.job.tables.set(ctx, TablePending, nil, back...); err != nil {
		return err
	}
	if err := s.checkFilters(ctx, conn, publication); err != nil {
		return err
	}
	return s.resyncBroken(ctx)
}

// resyncBroken lets tables be copied again that were not published all the
// time: another table bears the name, or the table was taken out of the
// publication and put in again, or its rows are chosen in another way. What was
// written meanwhile is in no stream.
func (s *sourceShard) resyncBroken(ctx context.Context) error {
	broken := s.brokenBy(func(key tableKey, _ state.Table) (catalog.Membership, bool) { return s.membership(key.table), true })
	if len(broken) == 0 {
		return nil
	}
	return s.job.tables.set(ctx, TableResyncing, func(t *state.Table) { t.Resync = s.job.strategy }, broken...)
}

// brokenBy gives the tables that were not published all the time, by what publishes them
// now, if that is known. Of the others what is new is noted.
func (s *sourceShard) brokenBy(membership func(tableKey, state.Table) (catalog.Membership, bool)) (broken []tableKey) {
	for _, key := range s.job.tables.in(s.number, TableCatchingUp, TableStreaming) {
		row, _ := s.job.tables.get(key)
		now, known := membership(key, row)
		switch {
		case !known, row.Membership.Equal(now):
		case row.Membership.OID == 0 || row.Membership.Unbroken(now):
			s.job.tables.note(key, func(t *state.Table) { t.Membership = now })
		default:
			s.job.manager.log.Warn("a table was not published all the time: it is copied again", "task", s.job.journal.task, "shard", s.number, "table", key.table.String(),
				"was", row.Membership, "is", now)
			broken = append(broken, key)
		}
	}
	return broken
}

// membership is what publishes a table, as far as was read.
func (s *sourceShard) membership(table catalog.Name) catalog.Membership {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published[table].Membership()
}

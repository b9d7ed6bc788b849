package mirror

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// Once a shard's schema is followed, which tables are published is known by the
// position of the stream. What the catalogs say is ahead of it: it tells when to
// look, and what to copy.

// findRecorded finds out whether the shard's schema is followed already.
func (s *sourceShard) findRecorded(ctx context.Context) error {
	var recorded bool
	err := s.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pgdrover.source_schema WHERE mirror_id = $1 AND shard = $2 AND kind = $3)`,
			s.job.journal.mirrorID, s.number, schemaMemory).Scan(&recorded)
	})
	s.recorded.Store(recorded)
	return err
}

// lookAtPublication compares what is published now with what is followed, and
// has the catalogs read where the stream does not tell of a difference.
func (s *sourceShard) lookAtPublication(ctx context.Context, published map[catalog.Name]catalog.PublishedTable) error {
	if err := s.resyncUnpublished(ctx, published); err != nil {
		return err
	}
	live := s.running()
	if live == nil || live.follower == nil {
		return nil
	}
	differs := false
	for name := range published {
		row, ok := s.job.tables.get(tableKey{s.number, name})
		if s.carries(name) && (!ok || TableState(row.State) == TableUnpublished) {
			differs = true
		}
	}
	for _, key := range s.job.tables.all(s.number) {
		row, _ := s.job.tables.get(key)
		now, there := published[key.table]
		if TableState(row.State) != TableUnpublished && (!there || row.Membership.OID != 0 && row.Membership.OID != now.OID) {
			differs = true
		}
	}
	return live.follower.polls.look(ctx, differs)
}

// resyncUnpublished lets tables be copied again that were not published all the
// time. They are known by their OIDs: the stream may not have come to where they
// have the names that they have now.
func (s *sourceShard) resyncUnpublished(ctx context.Context, published map[catalog.Name]catalog.PublishedTable) error {
	byOID := make(map[uint32]catalog.Membership, len(published))
	for _, t := range published {
		byOID[t.OID] = t.Membership()
	}
	broken := s.brokenBy(func(key tableKey, row state.Table) (catalog.Membership, bool) {
		if row.Membership.OID == 0 {
			return s.membership(key.table), true
		}
		now, there := byOID[row.Membership.OID]
		return now, there
	})
	if len(broken) == 0 {
		return nil
	}
	return s.job.tables.set(ctx, TableResyncing, nil, broken...)
}

// addFollowed makes the tables known that were published where the registry
// begins.
func (f *schemaFollower) addFollowed(ctx context.Context) error {
	var names []catalog.Name
	for _, d := range f.registry.Tables() {
		if f.viaRoot(d) || catalog.OwnSchema(d.Table.Schema) || !f.source.carries(d.Table) {
			continue
		}
		if _, ok := f.source.job.tables.get(tableKey{f.source.number, d.Table}); !ok {
			names = append(names, d.Table)
		}
	}
	return f.source.job.tables.add(ctx, f.source.number, names)
}

// look makes a poll if there is a reason, or none was made for as long as
// [drift] interval says.
func (p *schemaPolls) look(ctx context.Context, reason bool) error {
	if p == nil {
		return nil
	}
	interval := p.f.policy(catalog.Name{}).Interval
	p.mu.Lock()
	due := len(p.waiting) == 0 && (reason || interval > 0 && time.Since(p.last) >= interval)
	p.mu.Unlock()
	if !due {
		return nil
	}
	return p.ahead(ctx)
}

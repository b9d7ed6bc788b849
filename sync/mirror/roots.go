package mirror

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// readRoots reads what the partitions of a shard belong to, by their OIDs. It is
// not needed of a source with one shard.
func (s *sourceShard) readRoots(ctx context.Context, conn *pgx.Conn) (map[uint32]catalog.Name, error) {
	if s.job.origin == nil {
		return nil, nil
	}
	rows, err := conn.Query(ctx, `
SELECT c.oid, n.nspname::text, r.relname::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.pg_partition_root(c.oid)
JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
WHERE c.relispartition AND c.relkind IN ('r', 'p')`)
	if err != nil {
		return nil, fmt.Errorf("read what partitions belong to: %w", err)
	}
	roots := map[uint32]catalog.Name{}
	var oid uint32
	var root catalog.Name
	_, err = pgx.ForEachRow(rows, []any{&oid, &root.Schema, &root.Name}, func() error {
		roots[oid] = root
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what partitions belong to: %w", err)
	}
	return roots, nil
}

// root is what a partition belongs to.
func (s *sourceShard) root(oid uint32) (catalog.Name, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := s.roots[oid]
	return name, ok
}

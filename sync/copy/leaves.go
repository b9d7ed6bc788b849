package copy

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// ReadLeaves gives, for those of the tables that are partitioned, the partitions
// that have rows, in the order of their names: an empty list if there are none.
func ReadLeaves(ctx context.Context, conn *pgx.Conn, tables []catalog.Name) (map[catalog.Name][]*catalog.Relation, error) {
	schemas, relations := make([]string, len(tables)), make([]string, len(tables))
	for i, t := range tables {
		schemas[i], relations[i] = t.Schema, t.Name
	}
	rows, err := conn.Query(ctx, `
SELECT rn.nspname::text, r.relname::text, coalesce(ln.nspname::text, ''), coalesce(l.relname::text, '')
FROM unnest($1::text[], $2::text[]) AS t (schema_name, table_name)
JOIN pg_namespace rn ON rn.nspname = t.schema_name
JOIN pg_class r ON r.relnamespace = rn.oid AND r.relname = t.table_name AND r.relkind = 'p'
LEFT JOIN LATERAL (SELECT relid FROM pg_partition_tree(r.oid) WHERE isleaf AND relid <> r.oid) AS p ON true
LEFT JOIN pg_class l ON l.oid = p.relid
LEFT JOIN pg_namespace ln ON ln.oid = l.relnamespace
ORDER BY 1, 2, 3, 4`, schemas, relations)
	if err != nil {
		return nil, fmt.Errorf("read partitions: %w", err)
	}
	leaves := map[catalog.Name][]catalog.Name{}
	var all []catalog.Name
	var root, leaf catalog.Name
	_, err = pgx.ForEachRow(rows, []any{&root.Schema, &root.Name, &leaf.Schema, &leaf.Name}, func() error {
		leaves[root] = append(leaves[root], leaf)
		if leaf.Name != "" {
			all = append(all, leaf)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read partitions: %w", err)
	}
	out := make(map[catalog.Name][]*catalog.Relation, len(leaves))
	if len(leaves) == 0 {
		return out, nil
	}
	described, err := catalog.ReadRelations(ctx, conn, all)
	if err != nil {
		return nil, err
	}
	for root, names := range leaves {
		out[root] = []*catalog.Relation{}
		for _, name := range names {
			if r := described[name]; r != nil && r.Relkind != 'p' {
				out[root] = append(out[root], r)
			}
		}
	}
	return out, nil
}

package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// UnloggedTables gives the unlogged tables that a publication would cover if
// they were logged: all, or those of its schemas. They cannot be listed in one.
func UnloggedTables(ctx context.Context, conn *pgx.Conn, publication string) ([]Name, error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return nil, fmt.Errorf("look for unlogged tables: %w", err)
	}
	bySchema := ``
	if version >= 150000 {
		bySchema = `OR EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid AND s.pnnspid = n.oid)`
	}
	rows, err := conn.Query(ctx, `
SELECT n.nspname::text, c.relname::text
FROM pg_publication p, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = $1 AND c.relkind = 'r' AND c.relpersistence = 'u' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgdrover') AND n.nspname !~ '`+resyncSchemas+`'
  AND (p.puballtables `+bySchema+`)
ORDER BY 1, 2`, publication)
	if err != nil {
		return nil, fmt.Errorf("look for unlogged tables: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Name])
	if err != nil {
		return nil, fmt.Errorf("look for unlogged tables: %w", err)
	}
	return out, nil
}

// HasLargeObjects tells whether the database has any large object.
func HasLargeObjects(ctx context.Context, conn *pgx.Conn) (there bool, err error) {
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_largeobject_metadata)`).Scan(&there); err != nil {
		return false, fmt.Errorf("look for large objects: %w", err)
	}
	return there, nil
}

package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Size is how much a table or materialized view holds.
type Size struct {
	Bytes     int64   // heap and TOAST
	Tuples    float64 // the planner's estimate, -1 if it has none
	Writes    int64   // rows inserted, updated and deleted since statistics began
	Locked    bool    // some session holds a lock to write
	Populated bool    // false for a materialized view WITH NO DATA
}

// ReadSizes gives the tables and materialized views that hold at least one
// page, and every materialized view.
func ReadSizes(ctx context.Context, conn *pgx.Conn) (map[Name]Size, error) {
	rows, err := conn.Query(ctx, `
SELECT n.nspname::text, c.relname::text, pg_table_size(c.oid), c.reltuples::float8,
       pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid),
       c.oid IN (SELECT l.relation FROM pg_locks l
                 WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted
                   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())),
       c.relispopulated
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE `+userSchemas+` AND (c.relkind = 'm' OR (c.relkind = 'r' AND pg_relation_size(c.oid) > 0))`)
	if err != nil {
		return nil, fmt.Errorf("read sizes of tables: %w", err)
	}
	out := map[Name]Size{}
	var name Name
	var size Size
	_, err = pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &size.Bytes, &size.Tuples, &size.Writes, &size.Locked, &size.Populated}, func() error {
		out[name] = size
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read sizes of tables: %w", err)
	}
	return out, nil
}

// IntegerKey is a column of an integer type that is part of a primary key, or
// refers to one through a foreign key.
type IntegerKey struct {
	Table  Name
	Column string
	Type   string // smallint or integer
	// Sequence is the sequence OWNED BY the column, zero if there is none.
	Sequence Name
}

// ReadIntegerKeys finds the columns that widening would turn into bigint:
// those of primary keys, and, transitively, those that refer to them.
func ReadIntegerKeys(ctx context.Context, conn *pgx.Conn) ([]IntegerKey, error) {
	rows, err := conn.Query(ctx, `
WITH RECURSIVE keys (relid, attnum) AS (
    SELECT k.conrelid, a.attnum
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN unnest(k.conkey) AS a (attnum)
    WHERE k.contype = 'p' AND `+userSchemas+`
  UNION
    SELECT f.conrelid, f.conkey[i]
    FROM keys
    JOIN pg_constraint f ON f.contype = 'f' AND f.confrelid = keys.relid
    CROSS JOIN generate_subscripts(f.confkey, 1) AS i
    WHERE f.confkey[i] = keys.attnum
)
SELECT DISTINCT n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, NULL),
       coalesce(sn.nspname::text, ''), coalesce(s.relname::text, '')
FROM keys
JOIN pg_attribute a ON a.attrelid = keys.relid AND a.attnum = keys.attnum
JOIN pg_class c ON c.oid = keys.relid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
     AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.deptype = 'a'
     AND EXISTS (SELECT FROM pg_sequence q WHERE q.seqrelid = d.objid)
LEFT JOIN pg_class s ON s.oid = d.objid
LEFT JOIN pg_namespace sn ON sn.oid = s.relnamespace
WHERE a.atttypid IN ('int2'::regtype, 'int4'::regtype) AND (a.attislocal OR c.relispartition)
ORDER BY 1, 2, 3`)
	if err != nil {
		return nil, fmt.Errorf("read integer keys: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k IntegerKey, err error) {
		err = row.Scan(&k.Table.Schema, &k.Table.Name, &k.Column, &k.Type, &k.Sequence.Schema, &k.Sequence.Name)
		return k, err
	})
	if err != nil {
		return nil, fmt.Errorf("read integer keys: %w", err)
	}
	return out, nil
}

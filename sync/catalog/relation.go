package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Relation is a table as copying and applying need it: what can be written to
// it, and how its rows are told apart.
type Relation struct {
	OID          uint32
	Table        Name
	Relkind      byte // 'r' table, 'p' partitioned table, others as in pg_class
	Persistence  byte // 'p' permanent, 'u' unlogged, 't' temporary
	AccessMethod string
	Identity     byte     // relreplident: 'd', 'n', 'f', 'i'
	RowSecurity  bool     // row level security applies to the current role
	Partition    bool     // it is a partition of another table
	Parents      []Name   // what it inherits from, partitions left out
	Columns      []Column // live columns, in attnum order
	Keys         []Key    // unique keys whose columns are all NOT NULL; the primary key first
	Pages        int64    // of the heap, really there; 0 for a partitioned table
	Bytes        int64    // heap with TOAST, without indexes
	Tuples       float64  // the planner's estimate, -1 if it has none
}

// Column is one live column of a Relation.
type Column struct {
	Name       string
	Number     int    // attnum
	Type       uint32 // OID of its type
	Modifier   int32  // atttypmod
	TypeText   string // format_type: "character varying(20)"
	NotNull    bool
	HasDefault bool
	Generated  byte // attgenerated: 's', 'v' or 0
	Identity   byte // attidentity: 'a', 'd' or 0
	Storage    byte // attstorage: 'p' is never TOASTed
}

// Key is a unique, valid, immediate or deferrable index without predicate and
// expressions, over columns that are NOT NULL.
type Key struct {
	Index      Name
	Columns    []int // positions in Relation.Columns
	Primary    bool
	Identity   bool // REPLICA IDENTITY USING INDEX
	Deferrable bool // checked at the end of a statement or transaction: rows may have equal keys for a while
}

// Position gives the place of a column in r.Columns, -1 if there is none.
func (r *Relation) Position(column string) int {
	for i := range r.Columns {
		if r.Columns[i].Name == column {
			return i
		}
	}
	return -1
}

// ReadRelations describes the tables of the given names. Those that do not
// exist are left out of the result.
func ReadRelations(ctx context.Context, conn *pgx.Conn, tables []Name) (map[Name]*Relation, error) {
	schemas, relations := make([]string, len(tables)), make([]string, len(tables))
	for i, t := range tables {
		schemas[i], relations[i] = t.Schema, t.Name
	}
	byOID, err := readRelations(ctx, conn, schemas, relations)
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	if err := readColumns(ctx, conn, byOID); err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	if err := readKeys(ctx, conn, byOID); err != nil {
		return nil, fmt.Errorf("read unique keys: %w", err)
	}
	out := make(map[Name]*Relation, len(byOID))
	for _, r := range byOID {
		out[r.Table] = r
	}
	return out, nil
}

func readRelations(ctx context.Context, conn *pgx.Conn, schemas, relations []string) (map[uint32]*Relation, error) {
	// A table that is dropped meanwhile has no size.
	rows, err := conn.Query(ctx, `
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, coalesce(am.amname::text, ''),
       c.relreplident::text, row_security_active(c.oid), c.relispartition,
       CASE WHEN c.relispartition THEN '{}' ELSE ARRAY(
           SELECT ARRAY[pn.nspname::text, p.relname::text] FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
           JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = c.oid ORDER BY i.inhseqno) END,
       CASE WHEN c.relkind IN ('r', 'm', 't') THEN coalesce(pg_relation_size(c.oid) / current_setting('block_size')::int8, 0) ELSE 0 END,
       CASE WHEN c.relkind IN ('r', 'm', 't') THEN coalesce(pg_table_size(c.oid), 0) ELSE 0 END, c.reltuples::float8
FROM unnest($1::text[], $2::text[]) AS t (schema_name, table_name)
JOIN pg_namespace n ON n.nspname = t.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name
LEFT JOIN pg_am am ON am.oid = c.relam`, schemas, relations)
	if err != nil {
		return nil, err
	}
	out := map[uint32]*Relation{}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		r := &Relation{}
		var relkind, persistence, identity string
		var parents [][]string
		err := row.Scan(&r.OID, &r.Table.Schema, &r.Table.Name, &relkind, &persistence, &r.AccessMethod, &identity,
			&r.RowSecurity, &r.Partition, &parents, &r.Pages, &r.Bytes, &r.Tuples)
		if err != nil {
			return struct{}{}, err
		}
		r.Relkind, r.Persistence, r.Identity = relkind[0], persistence[0], identity[0]
		for _, p := range parents {
			r.Parents = append(r.Parents, Name{Schema: p[0], Name: p[1]})
		}
		out[r.OID] = r
		return struct{}{}, nil
	})
	return out, err
}

func readColumns(ctx context.Context, conn *pgx.Conn, relations map[uint32]*Relation) error {
	oids := make([]uint32, 0, len(relations))
	for oid := range relations {
		oids = append(oids, oid)
	}
	rows, err := conn.Query(ctx, `
SELECT a.attrelid, a.attname::text, a.attnum::int, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod),
       a.attnotnull, a.atthasdef, a.attgenerated::text, a.attidentity::text, a.attstorage::text
FROM pg_attribute a
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum`, oids)
	if err != nil {
		return err
	}
	var relid uint32
	var c Column
	var generated, identity, storage string
	_, err = pgx.ForEachRow(rows, []any{&relid, &c.Name, &c.Number, &c.Type, &c.Modifier, &c.TypeText, &c.NotNull, &c.HasDefault, &generated, &identity, &storage}, func() error {
		c.Generated, c.Identity, c.Storage = first(generated), first(identity), first(storage)
		relations[relid].Columns = append(relations[relid].Columns, c)
		return nil
	})
	return err
}

// first is the first byte of a "char" column's text, 0 for the empty one.
func first(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}

func readKeys(ctx context.Context, conn *pgx.Conn, relations map[uint32]*Relation) error {
	oids := make([]uint32, 0, len(relations))
	for oid := range relations {
		oids = append(oids, oid)
	}
	// Columns that INCLUDE adds are not part of the key.
	rows, err := conn.Query(ctx, `
SELECT i.indrelid, n.nspname::text, x.relname::text, i.indisprimary, i.indisreplident, NOT i.indimmediate,
       ARRAY(SELECT i.indkey[k]::int FROM generate_series(0, i.indnkeyatts - 1) AS k)
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = x.relnamespace
WHERE i.indrelid = ANY ($1::oid[]) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indrelid, i.indisprimary DESC, i.indisreplident DESC, NOT i.indimmediate, i.indnkeyatts, x.relname`, oids)
	if err != nil {
		return err
	}
	var relid uint32
	var k Key
	var numbers []int32
	_, err = pgx.ForEachRow(rows, []any{&relid, &k.Index.Schema, &k.Index.Name, &k.Primary, &k.Identity, &k.Deferrable, &numbers}, func() error {
		r := relations[relid]
		key := k
		key.Columns = nil
		for _, number := range numbers {
			for i, c := range r.Columns {
				if c.Number == int(number) && c.NotNull {
					key.Columns = append(key.Columns, i)
				}
			}
		}
		if len(key.Columns) == len(numbers) {
			r.Keys = append(r.Keys, key)
		}
		return nil
	})
	return err
}

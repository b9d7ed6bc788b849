package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// describedAtOnce is how many tables one query describes: it bounds the memory
// of the server and how long one snapshot is held.
const describedAtOnce = 500

// DescribeTables describes the tables of the given names. Those that do not
// exist, or are dropped meanwhile, are left out of the result.
func DescribeTables(ctx context.Context, conn *pgx.Conn, names []Name) (map[Name]*TableDescription, error) {
	out := make(map[Name]*TableDescription, len(names))
	if len(names) == 0 {
		return out, nil
	}
	version, err := versionNum(ctx, conn)
	if err != nil {
		return nil, err
	}
	for len(names) > 0 {
		n := min(len(names), describedAtOnce)
		if err := describe(ctx, conn, version, names[:n], out); err != nil {
			return nil, fmt.Errorf("describe tables: %w", err)
		}
		names = names[n:]
	}
	if err := readActualVersions(ctx, conn, out); err != nil {
		return nil, fmt.Errorf("read versions of collations: %w", err)
	}
	return out, nil
}

// DescribeTable describes the relation of an OID, nil if there is none.
func DescribeTable(ctx context.Context, conn *pgx.Conn, oid uint32) (*TableDescription, error) {
	version, err := versionNum(ctx, conn)
	if err != nil {
		return nil, err
	}
	var text []byte
	err = conn.QueryRow(ctx, DescriptionSQL(version, "$1::pg_catalog.oid"), oid).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("describe the relation %d: %w", oid, err)
	}
	return ParseDescription(text)
}

// ParseDescription reads the JSON that DescriptionSQL made.
func ParseDescription(text []byte) (*TableDescription, error) {
	d := &TableDescription{}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("read the description of a table: %w", err)
	}
	return d, nil
}

func versionNum(ctx context.Context, conn *pgx.Conn) (int, error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('server_version_num')::int4`).Scan(&version); err != nil {
		return 0, fmt.Errorf("read the server's version: %w", err)
	}
	return version, nil
}

func describe(ctx context.Context, conn *pgx.Conn, version int, names []Name, out map[Name]*TableDescription) error {
	schemas, relations := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], relations[i] = n.Schema, n.Name
	}
	// OFFSET 0 keeps the subquery from being pulled up: each table is described
	// by index scans of its own.
	rows, err := conn.Query(ctx, `
SELECT (`+DescriptionSQL(version, "wanted.oid")+`)
FROM (SELECT w.oid FROM unnest($1::text[], $2::text[]) AS t (schema_name, table_name)
      JOIN pg_namespace s ON s.nspname = t.schema_name JOIN pg_class w ON w.relnamespace = s.oid AND w.relname = t.table_name
      OFFSET 0) AS wanted`, schemas, relations)
	if err != nil {
		return err
	}
	var text []byte
	_, err = pgx.ForEachRow(rows, []any{&text}, func() error {
		if text == nil {
			return nil // dropped meanwhile
		}
		d, err := ParseDescription(text)
		if err == nil {
			out[d.Table] = d
		}
		return err
	})
	return err
}

// readActualVersions fills in what the operating system says of collations.
func readActualVersions(ctx context.Context, conn *pgx.Conn, tables map[Name]*TableDescription) error {
	var schemas, names []string
	seen := map[Name]string{}
	for _, d := range tables {
		for _, c := range d.Collations {
			if _, ok := seen[c.Collation]; !ok {
				seen[c.Collation] = ""
				schemas, names = append(schemas, c.Collation.Schema), append(names, c.Collation.Name)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	rows, err := conn.Query(ctx, `
SELECT n.nspname::text, c.collname::text, coalesce(pg_collation_actual_version(c.oid), '')
FROM unnest($1::text[], $2::text[]) AS t (schema_name, collation_name)
JOIN pg_namespace n ON n.nspname = t.schema_name JOIN pg_collation c ON c.collnamespace = n.oid AND c.collname = t.collation_name
WHERE c.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))`, schemas, names)
	if err != nil {
		return err
	}
	var name Name
	var version string
	_, err = pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &version}, func() error {
		seen[name] = version
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range tables {
		for i := range d.Collations {
			d.Collations[i].ActualVersion = seen[d.Collations[i].Collation]
		}
	}
	return nil
}

package resync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
)

// violationsShown is how many rows a report names.
const violationsShown = 10

// Violation tells which rows of a table have no row that they reference.
type Violation struct {
	Columns []string   // primary key of the table, then the key's own columns that are not in it
	Rows    [][]string // their values as text, at most as many as asked for; NULL is "NULL"
	More    bool       // there are others
	SQL     string     // gives them all
}

// FindViolation reads at most some of the rows that violate a foreign key, which
// need not be there.
func FindViolation(ctx context.Context, conn *pgx.Conn, k ForeignKey, most int) (*Violation, error) {
	v, err := findViolation(ctx, conn, k, most)
	if err != nil {
		return nil, fmt.Errorf("read the rows that violate the foreign key %s: %w", k, err)
	}
	return v, nil
}

// keyColumn is one column of a key: here and there, compared by the operator of
// the key.
type keyColumn struct{ here, there, operator string }

func findViolation(ctx context.Context, conn *pgx.Conn, k ForeignKey, most int) (*Violation, error) {
	columns, err := keyColumns(ctx, conn, k)
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, `
SELECT a.attname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY u (attnum, place) JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum
WHERE i.indisprimary AND n.nspname = $1 AND c.relname = $2 AND u.place <= i.indnkeyatts ORDER BY u.place`, k.Table.Schema, k.Table.Name)
	if err != nil {
		return nil, err
	}
	shown, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	var matches, present []string
	for _, c := range columns {
		if !slices.Contains(shown, c.here) {
			shown = append(shown, c.here)
		}
		matches = append(matches, "p."+dump.QuoteIdent(c.there)+" "+c.operator+" c."+dump.QuoteIdent(c.here))
		present = append(present, "c."+dump.QuoteIdent(c.here)+" IS NOT NULL")
	}
	all := " AND "
	if strings.Contains(k.Definition, " MATCH FULL") {
		all = " OR " // some are NULL and some are not: that is a violation too
	}
	v := &Violation{Columns: shown}
	wanted := list(shown, func(name string) string { return "c." + dump.QuoteIdent(name) })
	rest := fmt.Sprintf(" FROM ONLY %s c WHERE (%s) AND NOT EXISTS (SELECT FROM %s p WHERE %s)", quote(k.Table), strings.Join(present, all), quote(k.References), strings.Join(matches, " AND "))
	if len(k.Parts) > 0 {
		rest = strings.Replace(rest, "ONLY ", "", 1)
	}
	v.SQL = "SELECT " + wanted + rest + ";"
	asText := list(shown, func(name string) string { return "coalesce(c." + dump.QuoteIdent(name) + "::text, 'NULL')" })
	rows, err = conn.Query(ctx, fmt.Sprintf("SELECT ARRAY[%s]%s LIMIT %d", asText, rest, most+1))
	if err != nil {
		return nil, err
	}
	if v.Rows, err = pgx.CollectRows(rows, pgx.RowTo[[]string]); err != nil {
		return nil, err
	}
	if v.More = len(v.Rows) > most; v.More {
		v.Rows = v.Rows[:most]
	}
	return v, nil
}

var errNoKey = errors.New("the key is not there any more")

// keyColumns reads the columns of a key, or of one of its parts, which is there
// when they are asked for: a key is violated only once it was added.
func keyColumns(ctx context.Context, conn *pgx.Conn, k ForeignKey) ([]keyColumn, error) {
	candidates := append([]KeyPart{{Schema: k.Table.Schema, Table: k.Table.Name, Name: k.Name}}, k.Parts...)
	for _, part := range candidates {
		rows, err := conn.Query(ctx, `
SELECT a.attname::text, b.attname::text, 'OPERATOR(' || quote_ident(o.nspname) || '.' || p.oprname || ')'
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY u (here, there, operator, place)
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.here JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.there
JOIN pg_operator p ON p.oid = u.operator JOIN pg_namespace o ON o.oid = p.oprnamespace
WHERE k.contype = 'f' AND n.nspname = $1 AND c.relname = $2 AND k.conname = $3 ORDER BY u.place`, part.Schema, part.Table, part.Name)
		if err != nil {
			return nil, err
		}
		out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c keyColumn, err error) {
			err = row.Scan(&c.here, &c.there, &c.operator)
			return c, err
		})
		if err != nil || len(out) > 0 {
			return out, err
		}
	}
	return nil, errNoKey
}

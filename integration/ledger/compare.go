package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Table is a table to compare.
type Table struct {
	Schema, Name string
	// Columns to compare; nil for all, which must be the same on all sides.
	Columns []string
	// Where is SQL for the rows of the source that the destinations have, "" for all.
	Where string
	// Placement says on which destination a row is; nil for on every one.
	Placement *Placement
}

func (t Table) String() string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }

// Placement is where rows belong. Either Expression or Shard is set.
type Placement struct {
	Column string // the sharding key
	// Expression is SQL for the index of the destination.
	Expression string
	// Shard gives the index of the destination for a key in PostgreSQL's text
	// format; NULL is nil.
	Shard func(key *string) (int, error)
}

// CompareOptions are those of Same.
type CompareOptions struct {
	// Most is the number of differing rows listed for each table, 10 if 0.
	Most int
}

// Report is what Same has compared.
type Report struct {
	Tables int
	Rows   int64 // of the source, in all tables
}

// RowDifference is a row, or several that are equal, that are not as often on
// a side as they are to be.
type RowDifference struct {
	Row          string // as PostgreSQL prints it, abbreviated
	Source       int    // how often it is there
	Destinations []int  // how often it is on each
	Shard        *int   // where it belongs, if the table has a Placement
}

func (d RowDifference) String() string {
	where := ""
	if d.Shard != nil {
		where = fmt.Sprintf(", belongs on %d", *d.Shard)
	}
	return fmt.Sprintf("source %d, destinations %v%s: %s", d.Source, d.Destinations, where, d.Row)
}

// TableDifference is a table that is not the same.
type TableDifference struct {
	Table   string
	Columns string // how the columns differ, "" if the rows do
	Count   int64  // rows that differ
	Rows    []RowDifference
}

// Different is the error of Same if it has compared and found differences.
type Different struct{ Tables []TableDifference }

func (e *Different) Error() string {
	var b strings.Builder
	for _, t := range e.Tables {
		if t.Columns != "" {
			fmt.Fprintf(&b, "%s: %s\n", t.Table, t.Columns)
			continue
		}
		fmt.Fprintf(&b, "%s: %d rows differ\n", t.Table, t.Count)
		for _, r := range t.Rows {
			fmt.Fprintf(&b, "  %s\n", r)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Same gives an error, *Different, unless the destinations have the rows of
// the source, each as often. A table without Placement must be the same on every destination; one with
// it must have each row on its destination alone.
//
// Rows are compared by what PostgreSQL prints for all their columns, under
// settings that are the same on all sides: so 1.0 and 1.00 differ. They are read in an order of
// hashes, so memory does not grow with tables. Each connection
// sees one snapshot of all tables; no transaction is open in it. Nobody truncates meanwhile.
func Same(ctx context.Context, source *pgx.Conn, destinations []*pgx.Conn, tables []Table, options CompareOptions) (Report, error) {
	if len(destinations) == 0 || len(tables) == 0 {
		return Report{}, errors.New("there is nothing to compare")
	}
	if options.Most == 0 {
		options.Most = 10
	}
	c := &comparison{options: options}
	for _, conn := range slices.Concat([]*pgx.Conn{source}, destinations) {
		tx, err := beginPinned(ctx, conn)
		if err != nil {
			return Report{}, fmt.Errorf("compare: %w", err)
		}
		defer func() { _ = tx.Rollback(ctx) }() // read only
		c.sides = append(c.sides, tx)
	}
	var report Report
	var different Different
	for _, t := range tables {
		d, rows, err := c.table(ctx, t)
		if err != nil {
			return report, fmt.Errorf("compare %s: %w", t, err)
		}
		report.Tables++
		report.Rows += rows
		if d != nil {
			different.Tables = append(different.Tables, *d)
		}
	}
	if len(different.Tables) > 0 {
		return report, &different
	}
	return report, nil
}

// pinned are all settings that change what a type prints, and what a name means.
const pinned = `SET LOCAL search_path = pg_catalog; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres';
	SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex'; SET LOCAL xmlbinary = 'base64'; SET LOCAL xmloption = 'content'; SET LOCAL lc_monetary = 'C';
	SET LOCAL client_encoding = 'UTF8'; SET LOCAL quote_all_identifiers = off; SET LOCAL row_security = off; SET LOCAL work_mem = '32MB'; SET LOCAL jit = off;
	SET LOCAL statement_timeout = 0`

func beginPinned(ctx context.Context, conn *pgx.Conn) (pgx.Tx, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, pinned); err != nil {
		return nil, errors.Join(err, tx.Rollback(ctx))
	}
	return tx, nil
}

// comparison is one call of Same. The source is the first side.
type comparison struct {
	options CompareOptions
	sides   []pgx.Tx
}

// table compares one table and gives the number of rows of the source.
func (c *comparison) table(ctx context.Context, t Table) (*TableDifference, int64, error) {
	columns, difference, err := c.columns(ctx, t)
	if err != nil {
		return nil, 0, err
	}
	if difference != "" {
		return &TableDifference{Table: t.String(), Columns: difference}, 0, nil
	}
	readers := make([]*rowReader, len(c.sides))
	for i, side := range c.sides {
		query, err := newRowQuery(ctx, side, t, columns, i == 0)
		if err == nil {
			readers[i], err = query.read(ctx, side)
		}
		if err != nil {
			return nil, 0, err
		}
		defer readers[i].close()
	}
	found, rows, err := c.merge(t, readers)
	if err != nil || found == nil {
		return nil, rows, err
	}
	for _, r := range readers {
		r.close()
	}
	return found.describe(ctx, c, readers), rows, nil
}

// columns are those to compare, and how those of the destinations differ from
// the source's.
func (c *comparison) columns(ctx context.Context, t Table) (columns []string, difference string, err error) {
	for i, side := range c.sides {
		rows, err := side.Query(ctx, `SELECT attname::text FROM pg_attribute
			WHERE attrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1 AND relname = $2)
			AND attnum > 0 AND NOT attisdropped ORDER BY attnum`, t.Schema, t.Name)
		if err != nil {
			return nil, "", err
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, "", err
		}
		if t.Columns != nil {
			continue // a missing one fails the query
		}
		if i == 0 {
			columns = names
			continue
		}
		ours, theirs := slices.Sorted(slices.Values(columns)), slices.Sorted(slices.Values(names))
		if !slices.Equal(ours, theirs) {
			return nil, fmt.Sprintf("columns of the source: %q, of destination %d: %q", ours, i-1, theirs), nil
		}
	}
	if t.Columns != nil {
		columns = t.Columns
	}
	return columns, "", nil
}

package demo

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// table is a result that prints as psql prints it. NULL is the empty text.
type table struct {
	columns []column
	rows    [][]string
}

type column struct {
	name   string
	number bool // aligned to the right
}

// readTable reads a result to its end; its error is also that of the whole query.
func readTable(r *pgconn.ResultReader) table {
	var t table
	for _, f := range r.FieldDescriptions() {
		number := slices.Contains([]uint32{pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float8OID, pgtype.NumericOID}, f.DataTypeOID)
		t.columns = append(t.columns, column{name: f.Name, number: number})
	}
	for r.NextRow() {
		row := make([]string, 0, len(t.columns))
		for _, value := range r.Values() {
			row = append(row, string(value))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// only gives the named columns, in that order; all of them without names. A
// name that is not there is left out.
func (t table) only(names ...string) table {
	if len(names) == 0 {
		return t
	}
	out := table{rows: make([][]string, len(t.rows))}
	for _, name := range names {
		at := slices.IndexFunc(t.columns, func(c column) bool { return c.name == name })
		if at < 0 {
			continue
		}
		out.columns = append(out.columns, t.columns[at])
		for i, row := range t.rows {
			out.rows[i] = append(out.rows[i], row[at])
		}
	}
	return out
}

// where gives the rows that have a value in a column.
func (t table) where(name, value string) table {
	out := table{columns: t.columns}
	at := slices.IndexFunc(t.columns, func(c column) bool { return c.name == name })
	for _, row := range t.rows {
		if at >= 0 && row[at] == value {
			out.rows = append(out.rows, row)
		}
	}
	return out
}

// value gives a column of the first row, "" if there is none.
func (t table) value(name string) string {
	if one := t.only(name); len(one.rows) > 0 && len(one.columns) > 0 {
		return one.rows[0][0]
	}
	return ""
}

// String is psql's aligned format.
func (t table) String() string {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = utf8.RuneCountInString(c.name)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	var b strings.Builder
	line := func(cell func(i int) string, separator string) {
		cells := make([]string, len(t.columns))
		for i := range t.columns {
			cells[i] = cell(i)
		}
		b.WriteString(strings.TrimRight(strings.Join(cells, separator), " ") + "\n")
	}
	line(func(i int) string { return " " + centred(t.columns[i].name, widths[i]) + " " }, "|")
	line(func(i int) string { return strings.Repeat("-", widths[i]+2) }, "+")
	for _, row := range t.rows {
		line(func(i int) string {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(row[i]))
			if t.columns[i].number {
				return " " + padding + row[i] + " "
			}
			return " " + row[i] + padding + " "
		}, "|")
	}
	if len(t.rows) == 1 {
		b.WriteString("(1 row)\n")
	} else {
		fmt.Fprintf(&b, "(%d rows)\n", len(t.rows))
	}
	return b.String()
}

func centred(text string, width int) string {
	space := width - utf8.RuneCountInString(text)
	return strings.Repeat(" ", space/2) + text + strings.Repeat(" ", space-space/2)
}

package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// rowQuery reads the rows of one table on one side.
type rowQuery struct {
	from string // FROM … WHERE …
	row  string // SQL for a row's text
	key  string // SQL for the sharding key or the shard
}

func newRowQuery(ctx context.Context, side pgx.Tx, t Table, columns []string, isSource bool) (rowQuery, error) {
	var partitioned bool
	if err := side.QueryRow(ctx, "SELECT relkind = 'p' FROM pg_class WHERE oid = $1::text::regclass", t.String()).Scan(&partitioned); err != nil {
		return rowQuery{}, err
	}
	q := rowQuery{from: " FROM ONLY " + t.String() + " t", key: "NULL"}
	if partitioned {
		q.from = " FROM " + t.String() + " t"
	}
	if isSource && t.Where != "" {
		q.from += " WHERE " + t.Where
	}
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = "t." + pgx.Identifier{c}.Sanitize()
	}
	// The output functions of the types: unlike casts to text they lose nothing.
	q.row = "ROW(" + strings.Join(quoted, ", ") + ")::text"
	if t.Placement != nil {
		q.key = "t." + pgx.Identifier{t.Placement.Column}.Sanitize()
		if t.Placement.Expression != "" {
			q.key = t.Placement.Expression
		}
	}
	return q, nil
}

// read begins to read the rows in the order of their hashes.
func (q rowQuery) read(ctx context.Context, side pgx.Tx) (*rowReader, error) {
	sql := "SELECT md5(" + q.row + ")::uuid, " + q.key + q.from + " ORDER BY 1"
	rows, err := side.Query(ctx, sql, pgx.QueryResultFormats{pgx.BinaryFormatCode, pgx.TextFormatCode})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	return &rowReader{query: q, rows: rows}, nil
}

// hash is an MD5, which finds differences; nobody makes collisions here.
type hash [16]byte

// rowReader is the rows of one side: groups of equal ones.
type rowReader struct {
	query rowQuery
	rows  pgx.Rows
	next  hash
	key   *string
	ended bool
	begun bool
}

// advance goes to the next row.
func (r *rowReader) advance() error {
	r.begun = true
	if !r.rows.Next() {
		r.ended = true
		return r.rows.Err()
	}
	values := r.rows.RawValues()
	if copy(r.next[:], values[0]) != len(r.next) {
		return fmt.Errorf("a hash of %d bytes", len(values[0]))
	}
	r.key = nil
	if values[1] != nil {
		key := string(values[1])
		r.key = &key
	}
	return nil
}

// take counts the rows of a hash, which are next or none.
func (r *rowReader) take(h hash) (n int, key *string, err error) {
	for !r.ended && r.next == h {
		n, key = n+1, r.key
		if err := r.advance(); err != nil {
			return n, key, err
		}
	}
	return n, key, nil
}

func (r *rowReader) close() { r.rows.Close() }

// differences are the rows of a table that differ.
type differences struct {
	table  Table
	count  int64
	hashes []hash
	rows   map[hash]RowDifference
}

// merge walks through the rows of all sides together. nil is no difference.
func (c *comparison) merge(t Table, readers []*rowReader) (*differences, int64, error) {
	d := &differences{table: t, rows: map[hash]RowDifference{}}
	for _, r := range readers {
		if err := r.advance(); err != nil {
			return nil, 0, err
		}
	}
	var total int64
	for {
		h, more := least(readers)
		if !more {
			break
		}
		row := RowDifference{Destinations: make([]int, len(readers)-1)}
		var key *string
		for i, r := range readers {
			n, k, err := r.take(h)
			if err != nil {
				return nil, 0, err
			}
			if n > 0 {
				key = k
			}
			if i == 0 {
				row.Source = n
			} else {
				row.Destinations[i-1] = n
			}
		}
		total += int64(row.Source)
		ok, err := t.belongs(&row, key)
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			d.count++
			if len(d.hashes) < c.options.Most {
				d.hashes = append(d.hashes, h)
				d.rows[h] = row
			}
		}
	}
	if d.count == 0 {
		return nil, total, nil
	}
	return d, total, nil
}

func least(readers []*rowReader) (h hash, found bool) {
	for _, r := range readers {
		if !r.ended && (!found || bytes.Compare(r.next[:], h[:]) < 0) {
			h, found = r.next, true
		}
	}
	return h, found
}

// belongs tells whether a row is where it belongs, and nowhere else. For a row
// of a table with a Placement it sets Shard.
func (t Table) belongs(row *RowDifference, key *string) (bool, error) {
	if t.Placement == nil {
		return !slices.ContainsFunc(row.Destinations, func(n int) bool { return n != row.Source }), nil
	}
	shard, err := t.Placement.of(key)
	if err != nil {
		return false, err
	}
	if shard < 0 || shard >= len(row.Destinations) {
		return false, fmt.Errorf("a row belongs to shard %d of %d", shard, len(row.Destinations))
	}
	row.Shard = &shard
	for i, n := range row.Destinations {
		want := 0
		if i == shard {
			want = row.Source
		}
		if n != want {
			return false, nil
		}
	}
	return true, nil
}

func (p *Placement) of(key *string) (int, error) {
	if p.Shard != nil {
		return p.Shard(key)
	}
	if key == nil {
		return 0, fmt.Errorf("the sharding key %s is NULL", p.Column)
	}
	var shard int
	_, err := fmt.Sscan(*key, &shard)
	return shard, err
}

// describe reads the rows again by their hashes. Rows that look alike come together.
func (d *differences) describe(ctx context.Context, c *comparison, readers []*rowReader) *TableDifference {
	const shown = 600
	result := &TableDifference{Table: d.table.String(), Count: d.count}
	wanted := make([][16]byte, len(d.hashes))
	for i, h := range d.hashes {
		wanted[i] = h
	}
	for i, r := range readers {
		sql := fmt.Sprintf("SELECT DISTINCT md5(%[1]s)::uuid, left(%[1]s, %[2]d)%[3]s", r.query.row, shown, r.query.from)
		rows, err := c.sides[i].Query(ctx, "SELECT * FROM ("+sql+") AS rows(hash, row) WHERE hash = ANY($1::uuid[])", wanted)
		var h [16]byte
		var text string
		if err == nil {
			_, err = pgx.ForEachRow(rows, []any{&h, &text}, func() error {
				row := d.rows[h]
				row.Row = text
				d.rows[h] = row
				return nil
			})
		}
		if err != nil {
			for _, h := range d.hashes {
				row := d.rows[h]
				row.Row = cmp.Or(row.Row, fmt.Sprintf("(cannot be read again: %v)", err))
				d.rows[h] = row
			}
			break
		}
	}
	for _, h := range d.hashes {
		result.Rows = append(result.Rows, d.rows[h])
	}
	slices.SortFunc(result.Rows, func(a, b RowDifference) int { return cmp.Compare(a.Row, b.Row) })
	return result
}

package copy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Range is a part of a table's rows that is read by one COPY: pages of one
// relation, or all of it. It does not change.
type Range struct {
	Table    *Table
	Relation *catalog.Relation // the table itself, or the leaf that is read
	Number   int               // among those of the table, from 0
	First    int64             // the first page
	Behind   int64             // the page behind the last; 0: there is no end
	Rows     int64             // estimates
	Bytes    int64
	empty    bool // the relation had no page when its size was read
}

// Whole tells whether the range is all of its relation.
func (r *Range) Whole() bool { return r.First == 0 && r.Behind == 0 }

// String names the range in messages.
func (r *Range) String() string {
	name := r.Relation.Table.String()
	switch {
	case r.Whole():
		return name
	case r.Behind == 0:
		return fmt.Sprintf("%s from page %d on", name, r.First)
	}
	return fmt.Sprintf("%s pages %d to %d", name, r.First, r.Behind-1)
}

// PlanOptions say how tables are cut.
type PlanOptions struct {
	Workers    int   // sessions that read at the same time, over all source servers
	VersionNum int   // of the source, 150004
	MinBytes   int64 // of a part; 0: 16 MiB
	MaxBytes   int64 // of a part; 0: 1 GiB
}

const (
	leastPart = 16 << 20
	mostPart  = 1 << 30
	// tidRangeScan is the version from which on a condition on ctid reads only
	// the pages that it names.
	tidRangeScan = 140000
)

// Plan cuts tables into ranges, the largest first. A part has at most a quarter
// of a worker's share of all bytes, so that no worker is left alone with a
// large one at the end; TOAST counts, spread evenly over a relation's pages.
// The last range of a relation has no end: pages may be added until it is read.
//
// The relations must have been read from the catalog of the source. It does not
// matter whether that was before or after the snapshot of the copy.
func Plan(tables []*Table, o PlanOptions) []*Range {
	var total int64
	for _, t := range tables {
		_, bytes := t.Estimate()
		total += bytes
	}
	least, most := cmp.Or(o.MinBytes, leastPart), cmp.Or(o.MaxBytes, mostPart)
	part := min(max(total/int64(4*max(1, o.Workers)), least), most)
	var out []*Range
	for _, t := range tables {
		number := 0
		for _, r := range t.relations() {
			parts := int64(1)
			if o.VersionNum >= tidRangeScan && r.AccessMethod == "heap" {
				parts = max(1, min((r.Bytes+part-1)/part, r.Pages))
			}
			for i := range parts {
				out = append(out, cut(t, r, number, i, parts))
				number++
			}
		}
	}
	size := func(t *Table) int64 { _, bytes := t.Estimate(); return bytes }
	slices.SortStableFunc(out, func(a, b *Range) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(size(b.Table), size(a.Table)))
	})
	return out
}

// cut gives part i of so many parts of a relation.
func cut(t *Table, r *catalog.Relation, number int, i, parts int64) *Range {
	out := &Range{
		Table: t, Relation: r, Number: number, First: pageAt(r.Pages, i, parts), Behind: pageAt(r.Pages, i+1, parts),
		Rows: int64(max(0, r.Tuples)) / parts, Bytes: r.Bytes / parts,
		empty: r.Pages == 0 && r.AccessMethod == "heap",
	}
	if i == parts-1 {
		out.Behind = 0
	}
	return out
}

// pageAt is i/parts of pages, without overflow for 2^32 pages.
func pageAt(pages, i, parts int64) int64 { return pages/parts*i + pages%parts*i/parts }

// SQL is the statement that reads the range on the source.
func (r *Range) SQL() string {
	t := r.Table
	options := ") TO STDOUT (FORMAT " + t.Format.String() + ")"
	if r.Whole() && t.Filter == "" && len(t.Columns) > 0 && !t.readsGenerated() && !t.casts() {
		return "COPY " + quote(r.Relation.Table) + " (" + t.sourceList() + options
	}
	return "COPY (" + r.selectRows(t.sourceList()) + options
}

// selectRows is a query for the rows of the range. A list of no columns is
// right: tables without columns have rows.
func (r *Range) selectRows(list string) string {
	sql, and := "SELECT "+list+" FROM ONLY "+quote(r.Relation.Table), " WHERE "
	if r.First > 0 || r.Behind > 0 {
		sql += and + "ctid >= '(" + strconv.FormatInt(r.First, 10) + ",0)'::pg_catalog.tid"
		and = " AND "
	}
	if r.Behind > 0 {
		sql += and + "ctid < '(" + strconv.FormatInt(r.Behind, 10) + ",0)'::pg_catalog.tid"
		and = " AND "
	}
	if r.Table.Filter != "" {
		sql += and + "(" + r.Table.Filter + ")"
	}
	return sql
}

// readsGenerated tells whether a generated column of the source is copied, which
// COPY of a table does not allow.
func (t *Table) readsGenerated() bool {
	return slices.ContainsFunc(t.Columns, func(name string) bool { return t.Source.Columns[t.Source.Position(name)].Generated != 0 })
}

// copyIn is the statement that writes rows of the table on a destination.
func (t *Table) copyIn() string {
	list := ""
	if len(t.Columns) > 0 {
		list = " (" + t.destinationList() + ")"
	}
	return "COPY " + quote(t.Destination.Table) + list + " FROM STDIN (FORMAT " + t.Format.String() + ")"
}

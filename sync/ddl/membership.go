package ddl

import (
	"cmp"
	"maps"
	"slices"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// publications compares by what and how the table's changes are published.
func (c *comparison) publications() {
	before, after := byPublication(c.before), byPublication(c.after)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[name]; !ok {
			c.add(Change{Kind: Unpublished, Object: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		b, ok := before[name]
		if !ok {
			c.add(Change{Kind: Published, Object: name})
			continue
		}
		c.publication(name, b, after[name])
	}
}

// byPublication groups the members of publications that publish a table.
func byPublication(d *catalog.TableDescription) map[string][]catalog.PublicationDescription {
	out := map[string][]catalog.PublicationDescription{}
	for _, p := range d.Publications {
		out[p.Name] = append(out[p.Name], p)
	}
	return out
}

func (c *comparison) publication(name string, before, after []catalog.PublicationDescription) {
	b, a := before[0], after[0]
	if operations(b) != operations(a) {
		c.add(Change{Kind: PublishedOperations, Object: name})
	}
	if b.ViaRoot != a.ViaRoot {
		c.add(Change{Kind: PublishedViaRoot, Object: name})
	}
	if wholeRows(before) != wholeRows(after) || !wholeRows(after) && !slices.Equal(filters(before), filters(after)) {
		c.add(Change{Kind: PublishedFilter, Object: name})
	}
	if !slices.Equal(c.mapped(publishedColumns(c.before, before)), publishedColumns(c.after, after)) && c.listed(before, after) || b.Generated != a.Generated {
		c.add(Change{Kind: PublishedColumns, Object: name})
	}
}

// listed tells whether a column list is part of it at all: else the columns
// are those of the table, whose changes are told by themselves.
func (c *comparison) listed(lists ...[]catalog.PublicationDescription) bool {
	for _, list := range lists {
		for _, p := range list {
			if len(p.Columns) > 0 {
				return true
			}
		}
	}
	return false
}

// operations has a bit for each kind of change that is published.
func operations(p catalog.PublicationDescription) (bits int) {
	for i, set := range []bool{p.Insert, p.Update, p.Delete, p.Truncate} {
		if set {
			bits |= 1 << i
		}
	}
	return bits
}

// wholeRows tells whether one of the members has no row filter: rows are
// published if any member wants them.
func wholeRows(list []catalog.PublicationDescription) bool {
	return slices.ContainsFunc(list, func(p catalog.PublicationDescription) bool { return p.Filter == "" })
}

func filters(list []catalog.PublicationDescription) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.Filter)
	}
	slices.SortFunc(out, cmp.Compare)
	return out
}

// publishedColumns are the columns that a publication sends, in attnum order.
func publishedColumns(d *catalog.TableDescription, list []catalog.PublicationDescription) []string {
	var out []string
	for _, column := range d.Columns {
		if slices.ContainsFunc(list, func(p catalog.PublicationDescription) bool {
			return len(p.Columns) == 0 || slices.Contains(p.Columns, column.Name)
		}) {
			out = append(out, column.Name)
		}
	}
	return out
}

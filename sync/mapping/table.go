package mapping

import (
	"cmp"
	"maps"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Table says how one table of the source is at the destination. Use
// Mapping.Table.
type Table struct {
	Source      catalog.Name
	Destination catalog.Name
	// Filter is the row filter that the publication has to have, "" for whatever
	// it has: see FilterProblem.
	Filter string

	excluded map[string]bool
	renamed  map[string]string // at the destination by source
	origins  map[string]string // the other way
	casts    map[string]string // types by source, as the configuration spells them
}

// Column is a column of the source that the destination has too.
type Column struct {
	Source      string
	Destination string
	Cast        string // its type at the destination as the configuration spells it, "" if it is not cast: see CastOf
}

// Same tells whether the column is called the same and not cast.
func (c Column) Same() bool { return c.Source == c.Destination && c.Cast == "" }

func (m *Mapping) newTable(entry config.MirrorTable) *Table {
	t := &Table{
		Source: catalog.Name{Schema: entry.Schema, Name: entry.Name}, Filter: entry.RowFilter,
		Destination: catalog.Name{
			Schema: cmp.Or(entry.DestinationSchema, m.schemas[entry.Schema], entry.Schema),
			Name:   cmp.Or(entry.DestinationName, entry.Name),
		},
		renamed: maps.Clone(entry.RenameColumns), origins: inverse(entry.RenameColumns), casts: maps.Clone(entry.CastColumns),
	}
	if len(entry.ExcludeColumns) > 0 {
		t.excluded = map[string]bool{}
	}
	for _, name := range entry.ExcludeColumns {
		t.excluded[name] = true
	}
	return t
}

// SameColumns tells whether every column is at the destination as it is on the
// source. Names of the tables may differ.
func (t *Table) SameColumns() bool {
	return t == nil || len(t.excluded)+len(t.renamed)+len(t.casts) == 0
}

// SameAs tells whether a table has the same columns at the destination by both
// mappings.
func (t *Table) SameAs(other *Table) bool {
	return maps.Equal(t.excluded, other.excluded) && maps.Equal(t.renamed, other.renamed) && maps.Equal(t.casts, other.casts)
}

// Excludes tells whether the destination is without a column of the source.
func (t *Table) Excludes(source string) bool { return t != nil && t.excluded[source] }

// Column gives how a column of the source is at the destination. ok is false
// for one that is excluded, and for one whose name another column gets, which
// Columns refuses.
func (t *Table) Column(source string) (c Column, ok bool) {
	c = Column{Source: source, Destination: source}
	if t == nil {
		return c, true
	}
	c.Cast = t.casts[source]
	if to, renamed := t.renamed[source]; renamed {
		c.Destination = to
		return c, true
	}
	_, met := t.origins[source]
	return c, !met && !t.excluded[source]
}

// Columns gives how columns of the source are at the destination, in the same
// order, without those that are excluded. The error, 42710, is that two of them
// would have one name.
func (t *Table) Columns(source []string) ([]Column, *pgerror.Error) {
	out := make([]Column, 0, len(source))
	for _, name := range source {
		c, ok := t.Column(name)
		switch {
		case ok:
			out = append(out, c)
		case !t.Excludes(name):
			return nil, pgerror.New(pgerror.DuplicateObject, "columns %s and %s of table %s would both be called %s at the destination",
				dump.QuoteIdent(t.origins[name]), dump.QuoteIdent(name), t.Source, dump.QuoteIdent(name)).
				WithHint("rename one of them in another way, or exclude it: rename_columns and exclude_columns of [[mirrors.tables]] schema = %q, name = %q", t.Source.Schema, t.Source.Name)
		}
	}
	return out, nil
}

// Origin gives the column of the source that is called so at the destination.
// ok is false if the mapping gives that name to none.
func (t *Table) Origin(destination string) (source string, ok bool) {
	if t == nil {
		return destination, true
	}
	if from, renamed := t.origins[destination]; renamed {
		return from, true
	}
	_, gone := t.renamed[destination]
	return destination, !gone && !t.excluded[destination]
}

// With gives the table with more columns that the destination does without, and
// casts of columns that have none: types at the destination by columns of the
// source.
func (t *Table) With(excluded []string, casts map[string]string) *Table {
	if len(excluded)+len(casts) == 0 {
		return t
	}
	out := *t
	out.excluded, out.casts = maps.Clone(t.excluded), maps.Clone(t.casts)
	if out.excluded == nil {
		out.excluded = map[string]bool{}
	}
	if out.casts == nil {
		out.casts = map[string]string{}
	}
	for _, column := range excluded {
		out.excluded[column] = true
	}
	for column, to := range casts {
		if out.casts[column] == "" {
			out.casts[column] = to
		}
	}
	return &out
}

package mapping

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Check compares a mapping with what the publication has and with the tables of
// the source: names that are not there, tables and columns that would get one
// name, excluded columns that tell rows apart, row filters that the publication
// lacks. Whether a filter that it has is the mapping's is for FilterProblem.
// The problems come in the order of the configuration; none is nil.
func (m *Mapping) Check(publication catalog.Publication, relations map[catalog.Name]*catalog.Relation) []*pgerror.Error {
	if m == nil {
		return nil
	}
	var out []*pgerror.Error
	published := map[catalog.Name]catalog.PublishedTable{}
	schemas := map[string]bool{}
	for _, t := range publication.Tables {
		published[t.Table], schemas[t.Table.Schema] = t, true
	}
	for _, schema := range slices.Sorted(maps.Keys(m.schemas)) {
		if !schemas[schema] {
			out = append(out, pgerror.New(undefinedSchema, "mirror %s renames schema %s, but publication %s has no table of it",
				dump.QuoteIdent(m.mirror), dump.QuoteIdent(schema), dump.QuoteIdent(publication.Name)).
				WithHint("the schemas of its tables are %s", list(slices.Sorted(maps.Keys(schemas)))))
		}
	}
	for _, name := range m.order {
		p, there := published[name]
		if !there {
			out = append(out, m.notPublished(publication, name))
			continue
		}
		out = append(out, m.tables[name].check(p, relations[name])...)
		if m.tables[name].Filter != "" && p.Filter == "" {
			out = append(out, FilterProblem(m.tables[name], publication, p, relations[name]))
		}
	}
	for _, t := range publication.Tables {
		if _, err := m.Destination(t.Table); err != nil {
			out = append(out, err)
		}
	}
	return out
}

// SQLSTATE codes that are used here alone; the names are those of errcodes.txt.
const (
	undefinedSchema  = "3F000"
	datatypeMismatch = "42804"
)

func (m *Mapping) notPublished(publication catalog.Publication, name catalog.Name) *pgerror.Error {
	err := pgerror.New(pgerror.UndefinedTable, "mirror %s maps table %s, which publication %s does not have", dump.QuoteIdent(m.mirror), name, dump.QuoteIdent(publication.Name))
	for _, t := range publication.Tables {
		if strings.EqualFold(t.Table.Name, name.Name) {
			return err.WithHint("did you mean %s?", t.Table)
		}
	}
	if publication.AllTables {
		return err.WithHint("it has all tables of the source: there is none of this name")
	}
	return err.WithHint("on the source: ALTER PUBLICATION %s ADD TABLE %s;", dump.QuoteIdent(publication.Name), quote(name))
}

// check compares an entry with its table.
func (t *Table) check(published catalog.PublishedTable, relation *catalog.Relation) []*pgerror.Error {
	var out []*pgerror.Error
	known, sent := map[string]bool{}, map[string]bool{}
	if relation != nil {
		for _, c := range relation.Columns {
			known[c.Name] = true
		}
	}
	for _, name := range published.Columns {
		known[name], sent[name] = true, true
	}
	names := slices.Sorted(maps.Keys(known))
	for _, used := range t.names() {
		switch {
		case !known[used.column]:
			out = append(out, pgerror.New(pgerror.UndefinedColumn, "table %s has no column %s, which %s names", t.Source, dump.QuoteIdent(used.column), used.key).
				WithHint("its columns are %s", list(names)))
		case !sent[used.column] && !t.excluded[used.column]:
			out = append(out, pgerror.New(pgerror.UndefinedColumn, "column %s of table %s, which %s names, is not published", dump.QuoteIdent(used.column), t.Source, used.key).
				WithHint("add it to the publication's column list, or remove it from %s", used.key))
		}
	}
	if _, err := t.Columns(published.Columns); err != nil {
		out = append(out, err)
	}
	return append(out, t.checkIdentity(relation)...)
}

// usedName is a column that an entry names.
type usedName struct{ column, key string }

func (t *Table) names() []usedName {
	var out []usedName
	for _, part := range []struct {
		key     string
		columns []string
	}{
		{"exclude_columns", slices.Collect(maps.Keys(t.excluded))}, {"rename_columns", slices.Collect(maps.Keys(t.renamed))},
		{"cast_columns", slices.Collect(maps.Keys(t.casts))},
	} {
		slices.Sort(part.columns)
		for _, column := range part.columns {
			out = append(out, usedName{column, part.key})
		}
	}
	return out
}

// checkIdentity finds excluded columns without which rows cannot be told apart:
// those of the replica identity, and of the primary key where that is all of
// the row.
func (t *Table) checkIdentity(relation *catalog.Relation) []*pgerror.Error {
	if relation == nil {
		return nil
	}
	var out []*pgerror.Error
	for _, key := range relation.Keys {
		identity := key.Identity && relation.Identity == 'i' || key.Primary && relation.Identity != 'i'
		if !identity {
			continue
		}
		for _, at := range key.Columns {
			name := relation.Columns[at].Name
			if !t.excluded[name] {
				continue
			}
			out = append(out, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "column %s of table %s is excluded, but it is part of the key that tells rows apart", dump.QuoteIdent(name), t.Source).
				WithDetail("The key is that of index %s.", quote(key.Index)).
				WithHint("remove it from exclude_columns of [[mirrors.tables]] schema = %q, name = %q", t.Source.Schema, t.Source.Name))
		}
	}
	return out
}

// list shows names in a message, not more than fit on a line.
func list(names []string) string {
	const most = 20
	shown := make([]string, min(len(names), most))
	for i := range shown {
		shown[i] = dump.QuoteIdent(names[i])
	}
	if len(names) > most {
		shown = append(shown, "...")
	}
	return cmp.Or(strings.Join(shown, ", "), "none")
}

package mapping

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// FilterPlanSettings are for the transaction in which FilterPlan is run: with
// them a condition is one filter of a scan, whatever indexes there are.
const FilterPlanSettings = `SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_tidscan = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off`

// FilterPlan is a query for how the planner of the source understands a row
// filter of a table: one text. Two filters that give the same text are the same
// condition, however they are written: the publication's own is printed with
// casts and parentheses that nobody types. It reads no rows.
func FilterPlan(table catalog.Name, relkind byte, filter string) string {
	only := "ONLY "
	if relkind == 'p' { // the root alone has no rows, so any condition would do
		only = ""
	}
	// A comment at the end of the filter must not hide the parenthesis.
	return "EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT FROM " + only + quote(table) + " WHERE (" + filter + "\n)"
}

// FilterProblem is the error of a mirror whose row filter is not the one that
// the publication has for the table: rows that only the copy, or only the
// stream, leaves out would be a difference that nobody is told of. relation may
// be nil.
func FilterProblem(t *Table, publication catalog.Publication, published catalog.PublishedTable, relation *catalog.Relation) *pgerror.Error {
	err := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "publication %s publishes other rows of table %s than the mirror's row_filter says", dump.QuoteIdent(publication.Name), t.Source)
	has := "The publication has no row filter for it"
	if published.Filter != "" {
		has = "The publication has WHERE (" + published.Filter + ")"
	}
	err = err.WithDetail("%s, the mirror WHERE (%s). Changes are filtered by PostgreSQL, where it writes the stream.", has, t.Filter)
	whole := publication.AllTables || slices.ContainsFunc(published.Members, func(member string) bool { return strings.HasPrefix(member, "schema ") })
	if whole {
		return err.WithHint("row filters are for tables that are listed one by one (version 15): on the source: CREATE PUBLICATION ... FOR TABLE %s, ...; and name it in the mirror", filtered(t, published, relation))
	}
	name := dump.QuoteIdent(publication.Name)
	return err.WithHint("on the source (version 15): BEGIN; ALTER PUBLICATION %s DROP TABLE %s; ALTER PUBLICATION %s ADD TABLE %s; COMMIT;", name, quote(t.Source), name, filtered(t, published, relation))
}

// filtered is the table as a list of tables in CREATE or ALTER PUBLICATION has
// it, with its list of columns if it has one.
func filtered(t *Table, published catalog.PublishedTable, relation *catalog.Relation) string {
	sql := quote(t.Source)
	if relation != nil && slices.ContainsFunc(relation.Columns, func(c catalog.Column) bool {
		return c.Generated == 0 && !slices.Contains(published.Columns, c.Name)
	}) {
		columns := make([]string, len(published.Columns))
		for i, name := range published.Columns {
			columns[i] = dump.QuoteIdent(name)
		}
		sql += " (" + strings.Join(columns, ", ") + ")"
	}
	if strings.Contains(t.Filter, "--") { // which may hide the parenthesis
		return sql + " WHERE (" + t.Filter + "\n)"
	}
	return sql + " WHERE (" + t.Filter + ")"
}

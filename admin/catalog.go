package admin

import (
	"slices"
	"strconv"
	"strings"
)

// emptyCatalogs are the system catalogs that drivers read about types and
// objects of their own accord. There is nothing to tell: the types of the
// admin database are PostgreSQL's built-in ones, which drivers know.
var emptyCatalogs = []string{
	"pg_type", "pg_range", "pg_enum", "pg_attribute", "pg_class", "pg_namespace", "pg_database", "pg_settings",
	"pg_proc", "pg_description", "pg_extension", "pg_constraint", "pg_index", "pg_collation", "pg_am", "pg_operator",
	"pg_language", "pg_attrdef", "pg_inherits", "pg_tables", "pg_views", "pg_indexes", "pg_matviews", "pg_sequence",
	"pg_prepared_statements", "pg_cursors", "pg_timezone_names", "pg_available_extensions", "pg_event_trigger",
}

// describeCatalog answers a driver's query of system catalogs with no rows. A
// person's \d is refused instead: no rows would be taken for an answer.
func describeCatalog(_ *console, s *statement, items [][]token, from []token) bool {
	if typedByPsql(s.tokens) || !slices.ContainsFunc(emptyCatalogs, func(name string) bool { return containsWord(from, name) }) &&
		!slices.ContainsFunc(from, func(t token) bool { return strings.HasPrefix(strings.ToLower(t.text), "information_schema.") }) {
		return false
	}
	if items[0][0].is("DISTINCT") || items[0][0].is("ALL") {
		items[0] = items[0][1:]
	}
	var columns []Column
	for _, item := range items {
		if len(item) == 0 || item[len(item)-1].is("*") {
			return false // the columns are not known here
		}
		columns = append(columns, catalogColumn(item))
	}
	s.columns, s.probe = columns, &probe{}
	return true
}

// typedByPsql recognises the queries of psql's \d, \l, \dt ...: by their column
// headings, or by how they match names.
func typedByPsql(tokens []token) bool {
	for i, t := range tokens {
		heading := t.kind == quotedToken && i > 0 && tokens[i-1].is("AS") && strings.ToLower(t.text) != t.text
		if heading || t.is("OPERATOR") {
			return true
		}
	}
	return false
}

// catalogColumn gives the name of an item, by PostgreSQL's rules, and its type
// as far as the name of what it is made from tells.
func catalogColumn(item []token) Column {
	name, expression := itemName(item)
	column := Column{Name: name, Type: Text}
	if len(expression) == 1 {
		if t, known := catalogTypes[baseName(expression[0])]; known {
			column.Type = t
		}
	}
	return column
}

// itemName gives an item's name and what stands before AS.
func itemName(item []token) (string, []token) {
	last := item[len(item)-1]
	isName := last.kind == wordToken || last.kind == quotedToken
	if n := len(item); isName && n > 2 && item[n-2].is("AS") {
		return last.text, item[:n-2]
	}
	if n := len(item); isName && n > 1 && (item[n-2].isValue() || item[n-2].is(")")) && !item[0].is("CASE") {
		return last.text, item[:n-1]
	}
	end := item
	if i := slices.IndexFunc(item, func(t token) bool { return t.is("::") }); i > 0 {
		end = item[:i] // a cast keeps the name
	}
	switch {
	case len(end) == 1 && end[0].kind == wordToken:
		return baseName(end[0]), item
	case len(end) > 1 && end[0].kind == wordToken && end[1].is("("):
		return baseName(end[0]), item // a function's name
	case end[0].is("CASE"):
		return "case", item
	}
	return anonymous, item
}

// catalogTypes are the types of catalog columns that drivers read in binary.
var catalogTypes = map[string]ColumnType{
	"oid": oidType, "typarray": oidType, "typelem": oidType, "typrelid": oidType, "typbasetype": oidType,
	"typnamespace": oidType, "typcollation": oidType, "relnamespace": oidType, "attrelid": oidType, "atttypid": oidType,
	"rngtypid": oidType, "rngsubtype": oidType, "rngmultitypid": oidType, "enumtypid": oidType, "datdba": oidType,
	"reltype": oidType, "pronamespace": oidType,
	"typname": nameType, "nspname": nameType, "datname": nameType, "attname": nameType, "relname": nameType,
	"enumlabel": nameType, "proname": nameType, "extname": nameType, "collname": nameType,
	"typtype": charType, "typcategory": charType, "typdelim": charType, "typalign": charType, "typstorage": charType,
	"relkind": charType, "prokind": charType, "attidentity": charType, "attgenerated": charType,
	"typlen": int2Type, "attnum": int2Type, "attlen": int2Type, "typtypmod": int4Type, "atttypmod": int4Type,
	"typnotnull": Bool, "attnotnull": Bool, "atthasdef": Bool, "attisdropped": Bool, "datistemplate": Bool,
	"datallowconn": Bool, "typisdefined": Bool, "typispreferred": Bool, "typbyval": Bool,
}

// describeTypeNames answers what psql's \gdesc asks after it has had a
// statement described: the names of its columns' types.
func describeTypeNames(_ *console, s *statement, items [][]token, from []token) bool {
	if len(items) != 2 || !containsWord(items[1], "format_type") || len(from) < 2 || !from[0].is("(") || !from[1].is("VALUES") {
		return false
	}
	s.columns = []Column{{Name: "Column", Type: Text}, {Name: "Type", Type: Text}}
	s.probe = &probe{}
	for _, row := range parenthesised(from[2:]) {
		var literals []string
		for _, t := range row {
			if t.kind == stringToken {
				literals = append(literals, t.text)
			}
		}
		if len(literals) < 2 {
			return false
		}
		s.probe.rows = append(s.probe.rows, []any{literals[0], typeTitle(literals[1])})
	}
	return true
}

// parenthesised gives the tokens of each (...) at the outer level, up to the
// first parenthesis that closes none of them.
func parenthesised(tokens []token) [][]token {
	var all [][]token
	depth, start := 0, 0
	for i, t := range tokens {
		switch {
		case t.is("("):
			if depth == 0 {
				start = i + 1
			}
			depth++
		case t.is(")"):
			if depth--; depth < 0 {
				return all
			}
			if depth == 0 {
				all = append(all, tokens[start:i])
			}
		}
	}
	return all
}

// typeTitles are the names of format_type() that are not those of pg_type.
var typeTitles = map[ColumnType]string{
	Int8: "bigint", Bool: "boolean", Timestamptz: "timestamp with time zone", Float8: "double precision",
	int2Type: "smallint", int4Type: "integer", charType: `"char"`,
}

// typeTitle gives format_type() of an OID in text form.
func typeTitle(oid string) string {
	for name, t := range columnTypes {
		if oid == strconv.FormatUint(uint64(t.oid), 10) {
			if title, other := typeTitles[name]; other {
				return title
			}
			return string(name)
		}
	}
	return "???"
}

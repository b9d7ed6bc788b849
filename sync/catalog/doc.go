// Package catalog asks a server what a database looks like: what a dump's
// table of contents does not say, or what must be known before one is made.
//
// Every function takes a connection whose search_path is empty (package
// connect opens such ones) and runs one query on it. Names are never parsed
// out of SQL text: objects are found by OID or by schema and name.
package catalog

// userSchemas is true for schemas that hold what a user made. The schema
// pgdrover holds our own state and belongs to nobody's dump.
const userSchemas = `n.nspname <> 'information_schema' AND n.nspname <> 'pgdrover' AND n.nspname !~ '^pg_'`

// Name is a schema-qualified name.
type Name struct {
	Schema string
	Name   string
}

// String gives "schema.name" without quotes, for messages.
func (n Name) String() string {
	if n.Schema == "" {
		return n.Name
	}
	return n.Schema + "." + n.Name
}

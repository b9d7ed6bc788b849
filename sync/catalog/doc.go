// Package catalog asks a server what a database looks like: what a dump's
// table of contents does not say, or what must be known before one is made.
//
// Every function takes a connection whose search_path is empty (package
// connect opens such ones) and runs one query on it. Names are never parsed
// out of SQL text: objects are found by OID or by schema and name.
package catalog

import "regexp"

// userSchemas is true for schemas that hold what a user made. The schema
// pgdrover holds our own state and belongs to nobody's dump, and so do those in
// which tables are copied again.
const userSchemas = UserSchemas

// UserSchemas is the condition that a row n of pg_namespace is a user's schema.
const UserSchemas = `n.nspname <> 'information_schema' AND n.nspname <> 'pgdrover' AND n.nspname !~ '^pg_' AND n.nspname !~ '` + resyncSchemas + `'`

// resyncSchemas are the names of package resync's schemas, as a regular expression.
const resyncSchemas = `^pgdrover_(shadow|stage|old)_[0-9]+$`

var ofResync = regexp.MustCompile(resyncSchemas)

// OwnSchema tells whether a schema is one that pgdrover has made for itself: its
// state, or tables that are being copied again. They are nobody's to mirror.
func OwnSchema(name string) bool { return name == "pgdrover" || ofResync.MatchString(name) }

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

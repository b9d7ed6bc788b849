// Package drift compares two databases. It is pure: it looks at two dumps made
// by the same pg_dump and never opens a connection.
//
// Two entries are the same object when their keys are equal (kind, schema,
// tag), and they are equal when pg_dump wrote the same text for both. That
// covers every kind of object pg_dump knows, because pg_dump's text is what
// would re-create it.
package drift

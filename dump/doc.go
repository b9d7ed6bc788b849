// Package dump runs pg_dump and reads what it writes.
//
// [Find] and [Choose] pick the pg_dump that is new enough for every server of a
// job. [Binary.Run] dumps one database's schema in the custom format, and
// [Read] decodes the archive's table of contents as it arrives. Each [Entry] is
// one object with everything a parser of SQL text would have to guess: its
// kind, schema, name, owner, definition, drop statement and dependencies.
// [PhaseOf] says in which phase of a schema sync a kind of object is created.
//
// Two archives made by the same pg_dump can be compared entry by entry:
// [Archive.Keys] gives each entry an identity that is the same in both.
//
// The package keeps no state, starts no goroutine that outlives a call, and all
// of its functions may be called concurrently.
package dump

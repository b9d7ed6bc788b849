// Package schema moves a schema to the shards of a destination, one phase at a
// time: it reads the source (Source), looks at a shard (Destination), plans the
// statements that are missing there (Build) and runs them (Runner).
//
// What is done is never remembered, it is looked at: a plan is the difference
// between two dumps made by the same pg_dump. So every phase can be killed at
// any statement and run again; what exists and is equal is left alone, and what
// exists and differs is drift, never taken for done.
package schema

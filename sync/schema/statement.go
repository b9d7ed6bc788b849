package schema

import (
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Kinds of steps that are not entries of an archive.
const (
	KindValidate    = "VALIDATE"
	KindSequenceSet = "SEQUENCE SET"
	KindRefresh     = "REFRESH"
	KindAnalyze     = "ANALYZE"
	KindDropIndex   = "DROP INVALID INDEX"
	KindReverse     = "REVERSE STREAM"
)

// Statement is one thing to run on one shard: usually one entry of the
// archive's table of contents, sometimes a step made from one (a CONCURRENTLY
// build, a VALIDATE, a setval).
type Statement struct {
	Ordinal int        // 1-based place in its phase
	Shard   int        // destination shard
	Phase   dump.Phase //
	Kind    string     // the archive's word for the object: "TABLE", "FK CONSTRAINT"; or a step's
	Schema  string     // "" for objects outside schemas
	Table   string     // the table it belongs to, "" if none
	Object  string     // name as the archive tags it
	Lock    LockMode   // strongest lock it takes on the first of Locks
	SQL     string     // what is run: one message of the simple protocol
	Display string     // what may be shown: SQL with secrets masked

	Outcome Outcome        // set by the plan when there is nothing to run
	Err     *pgerror.Error // why, when Outcome is Differs

	// What the runner has to know.
	NoTransaction bool           // CONCURRENTLY: not inside a transaction block
	Alone         bool           // blocks writers of a table with rows: not together with others
	Tablespace    string         // default_tablespace while a NoTransaction statement runs
	Serial        bool           // only after every serial statement before it
	AfterSerial   bool           // likewise, but the serial ones behind it need not wait for it
	Barrier       bool           // only after every statement before it
	Requires      []int          // ordinals that must be done before
	Locks         []RelationLock // what it locks
	Weight        int64          // how long it takes: bytes it reads or rewrites, times effort; 0 is cheap
}

// RelationLock is a lock on a relation that exists already.
type RelationLock struct {
	Relation catalog.Name
	Mode     LockMode
}

// Outcome is what a plan found about a statement.
type Outcome string

// The outcomes of planning.
const (
	ToRun   Outcome = ""        // missing on the shard
	Existed Outcome = "existed" // there, and equal
	Differs Outcome = "differs" // there, and not equal: drift
)

// heavy tells whether a statement is run by itself. Cheap ones are run in
// batches, each in one transaction, which holds every lock until its end.
func (s *Statement) heavy() bool { return s.Weight > 0 || s.NoTransaction || s.Alone }

// Name names the object for a reader. The tags of comments and grants begin with
// a kind ("DOMAIN email"), so that the schema cannot stand before them.
func (s *Statement) Name() string {
	switch dump.Kind(s.Kind) {
	case dump.KindComment, dump.KindACL, dump.KindSecurityLabel, dump.KindDefaultACL:
		if s.Schema != "" {
			return s.Object + " in schema " + s.Schema
		}
		return s.Object
	}
	return catalog.Name{Schema: s.Schema, Name: s.Object}.String()
}

// PgDogKind is the word of PgDog's SHOW SCHEMA_SYNC: table, index or statement.
func (s *Statement) PgDogKind() string {
	switch s.Kind {
	case string(dump.KindTable), string(dump.KindForeignTable):
		return "table"
	case string(dump.KindIndex):
		return "index"
	}
	return "statement"
}

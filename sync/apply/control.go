package apply

import "github.com/pgdrover/pgdrover/sync/stream"

// The statements of every session that are no table's. A Bind has their names,
// which is how a test that cuts a connection finds them.
const (
	stmtBegin       = "pgdrover_begin"
	stmtDeferred    = "pgdrover_deferred"
	stmtImmediate   = "pgdrover_immediate"
	stmtPosition    = "pgdrover_position"
	stmtSavepoint   = "pgdrover_savepoint"
	stmtRelease     = "pgdrover_release"
	stmtRollbackTo  = "pgdrover_rollback_to"
	stmtRollback    = "pgdrover_rollback"
	stmtCommit      = "pgdrover_commit"
	stmtSynchronous = "pgdrover_synchronous"
	stmtLSN         = "pgdrover_lsn"
)

var controlSQL = []struct{ name, sql string }{
	{stmtBegin, "BEGIN"},
	{stmtDeferred, "SET CONSTRAINTS ALL DEFERRED"},
	{stmtImmediate, "SET CONSTRAINTS ALL IMMEDIATE"},
	{stmtPosition, positionSQL},
	{stmtSavepoint, "SAVEPOINT pgdrover_chunk"},
	{stmtRelease, "RELEASE SAVEPOINT pgdrover_chunk"},
	{stmtRollbackTo, "ROLLBACK TO SAVEPOINT pgdrover_chunk"},
	{stmtRollback, "ROLLBACK"},
	{stmtCommit, "COMMIT"},
	{stmtSynchronous, "SET LOCAL synchronous_commit = on"},
	{stmtLSN, "SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_current_wal_flush_lsn()"},
}

// control runs one of them.
func (s *script) control(name string) { s.plain(name, op{kind: opControl, want: anyCount}) }

// position moves the recorded position. It is the first statement of a
// transaction: a session that is lost, but whose transaction goes on, holds the
// row, so that the next one waits for it and then sees what became of it.
func (s *script) position(mirror, shard string, from, to stream.LSN) {
	s.strings(stmtPosition, op{kind: opPosition, want: 1}, to.String(), mirror, shard, from.String())
}

// commit ends the transaction and asks how far it is flushed.
func (s *script) commit() {
	s.plain(stmtCommit, op{kind: opCommit, want: anyCount})
	s.plain(stmtLSN, op{kind: opLSN, want: anyCount})
}

package apply

import (
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// entry is one change on its way through a group.
type entry struct {
	change *stream.Change
	item   *item
	target *Target // of one table of a TRUNCATE
}

// anyCount is the want of a statement whose count says nothing.
const anyCount = -1

// op is one statement of a script and what its answer must be.
type op struct {
	window *window // whose changes it applies; nil for those of the transaction itself
	entry  entry   // the change, of a single one
	want   int64   // rows it must affect
	kind   opKind
}

type opKind byte

const (
	opControl  opKind = iota // BEGIN, SAVEPOINT, COMMIT …
	opPosition               // moves the position, from where this process left it
	opLSN                    // asks for WAL positions of the destination
	opSet                    // many changes, folded
	opSingle                 // one change
	opTruncate
	opConstraints // checks deferred constraints
	opCommit
)

// failure is why a script did not do what it should.
type failure struct {
	op    op
	got   int64          // rows affected, if err is nil
	err   *pgerror.Error // from the server, or from building the statement
	fatal error          // the session is lost
}

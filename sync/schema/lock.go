package schema

import "slices"

// LockMode is a table-level lock mode of PostgreSQL.
type LockMode int

// The lock modes, weakest first. NoLock is for statements that lock no table
// that anybody else could hold.
const (
	NoLock LockMode = iota
	AccessShare
	RowShare
	RowExclusive
	ShareUpdateExclusive
	Share
	ShareRowExclusive
	Exclusive
	AccessExclusive
)

var lockNames = [...]string{
	"", "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE",
	"SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE",
}

// String gives the mode as LOCK TABLE spells it, "" for NoLock.
func (m LockMode) String() string { return lockNames[m] }

// lockConflicts is the table "Conflicting Lock Modes" of the manual, chapter
// Explicit Locking.
var lockConflicts = [...][]LockMode{
	NoLock:               {},
	AccessShare:          {AccessExclusive},
	RowShare:             {Exclusive, AccessExclusive},
	RowExclusive:         {Share, ShareRowExclusive, Exclusive, AccessExclusive},
	ShareUpdateExclusive: {ShareUpdateExclusive, Share, ShareRowExclusive, Exclusive, AccessExclusive},
	Share:                {RowExclusive, ShareUpdateExclusive, ShareRowExclusive, Exclusive, AccessExclusive},
	ShareRowExclusive:    {RowExclusive, ShareUpdateExclusive, Share, ShareRowExclusive, Exclusive, AccessExclusive},
	Exclusive:            {RowShare, RowExclusive, ShareUpdateExclusive, Share, ShareRowExclusive, Exclusive, AccessExclusive},
	AccessExclusive:      {AccessShare, RowShare, RowExclusive, ShareUpdateExclusive, Share, ShareRowExclusive, Exclusive, AccessExclusive},
}

// Conflicts tells whether two sessions cannot hold m and other on one table at
// the same time.
func (m LockMode) Conflicts(other LockMode) bool {
	return slices.Contains(lockConflicts[m], other)
}

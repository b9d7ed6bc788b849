package drift

// Verdict says what a difference of structure means for a table that is being
// mirrored.
type Verdict string

// The verdicts, from the least to the most severe.
const (
	OK          Verdict = "ok"           // every row arrives as it is
	Warn        Verdict = "warn"         // every row arrives, something beside it will matter
	Apply       Verdict = "apply"        // right after SQL that the policy lets run by itself
	ResyncTable Verdict = "resync_table" // values that are not in the stream: the table has to be copied again
	StopTable   Verdict = "stop_table"   // going on would lose, change or refuse values
	StopMirror  Verdict = "stop_mirror"  // nothing of the mirror can be trusted
)

var severities = map[Verdict]int{OK: 0, Warn: 1, Apply: 2, ResyncTable: 3, StopTable: 4, StopMirror: 5}

// Worse gives the more severe of two verdicts.
func (v Verdict) Worse(other Verdict) Verdict {
	if severities[other] > severities[v] {
		return other
	}
	return v
}

// Stops tells whether the stream must not go on with the table as it is.
func (v Verdict) Stops() bool { return severities[v] >= severities[ResyncTable] }

// Lock is a lock mode of a table, as the manual spells it; "" for none.
type Lock string

// The lock modes that schema changes take, from the weakest.
const (
	NoLock               Lock = ""
	AccessShare          Lock = "ACCESS SHARE"
	ShareUpdateExclusive Lock = "SHARE UPDATE EXCLUSIVE" // rows can be read and written
	ShareLock            Lock = "SHARE"                  // rows can be read
	ShareRowExclusive    Lock = "SHARE ROW EXCLUSIVE"    // rows can be read
	AccessExclusive      Lock = "ACCESS EXCLUSIVE"       // nothing can be done
)

var strengths = map[Lock]int{NoLock: 0, AccessShare: 1, ShareUpdateExclusive: 2, ShareLock: 3, ShareRowExclusive: 4, AccessExclusive: 5}

// Stronger gives the lock that excludes more.
func (l Lock) Stronger(other Lock) Lock {
	if strengths[other] > strengths[l] {
		return other
	}
	return l
}

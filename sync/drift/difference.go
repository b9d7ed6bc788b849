package drift

import "github.com/pgdrover/pgdrover/dump"

// Difference is one entry in which two dumps differ.
type Difference struct {
	Shard       int        // destination shard
	Kind        dump.Kind  //
	Schema      string     //
	Object      string     // the archive's tag
	What        What       //
	Phase       dump.Phase // the phase that would create it
	Source      string     // its definition there, secrets masked; "" if absent
	Destination string     //
	SourceID    int        // dump id in the source's archive, 0 if it is not there
	Hint        string     // the command or SQL that resolves it
}

// What says in which way an entry differs.
type What string

// The ways in which an entry can differ.
const (
	Missing      What = "missing"       // only the source has it
	Extra        What = "extra"         // only the destination has it
	Definition   What = "definition"    // both have it, not with the same text
	Owner        What = "owner"         //
	Tablespace   What = "tablespace"    //
	AccessMethod What = "access_method" //
)

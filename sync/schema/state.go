package schema

import (
	"fmt"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// State is where a statement is on one shard.
type State string

// The states of a statement.
const (
	StatePending State = "pending" // planned
	StateRunning State = "running" //
	StateDone    State = "done"    // run, and committed
	StateExisted State = "existed" // found there and equal; not run
	StateFailed  State = "failed"  // with an SQLSTATE
)

// stateTransitions is the table of what may follow what. A running statement
// becomes pending again when its transaction was rolled back for another's
// sake, or its connection was lost; a failed one when the shard is planned anew.
var stateTransitions = map[State][]State{
	StatePending: {StateRunning, StateExisted, StateFailed},
	StateRunning: {StateDone, StateFailed, StatePending},
	StateFailed:  {StatePending},
}

// States lists every state.
func States() []State {
	return []State{StatePending, StateRunning, StateDone, StateExisted, StateFailed}
}

// To is the one transition function: it gives next, or an error when the table
// does not allow it.
func (s State) To(next State) (State, error) {
	if slices.Contains(stateTransitions[s], next) {
		return next, nil
	}
	return s, fmt.Errorf("statement state cannot go from %q to %q", s, next)
}

// Event is a statement's change of state.
type Event struct {
	Statement *Statement
	State     State
	Attempt   int    // 1-based
	Backend   uint32 // process id of the server session that runs it
	At        time.Time
	Err       *pgerror.Error // of StateFailed
}

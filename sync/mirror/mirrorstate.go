package mirror

import (
	"slices"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
)

// MirrorState is what a mirror is to do. It is durable: a pgdrover that is
// started again takes up what is running.
type MirrorState string

// The states of a mirror.
const (
	MirrorCreated MirrorState = "created" // its rows were never copied; schema syncs alone leave it so
	MirrorRunning MirrorState = "running" // copy what is missing, and apply changes
	MirrorPaused  MirrorState = "paused"  // rest, and keep all that is needed to go on
	MirrorFailed  MirrorState = "failed"  // it has met what trying again does not help
)

// MirrorStates lists every state.
func MirrorStates() []MirrorState {
	return []MirrorState{MirrorCreated, MirrorRunning, MirrorPaused, MirrorFailed}
}

// MirrorCommand is a command, or an event, that changes a mirror's state.
type MirrorCommand string

// The commands, and how a task that copies and streams can end.
const (
	PauseMirror  MirrorCommand = "PAUSE MIRROR"
	ResumeMirror MirrorCommand = "RESUME MIRROR"
	RetryMirror  MirrorCommand = "RETRY MIRROR"
	StartMirror  MirrorCommand = "COPY_DATA" // and REPLICATE
	mirrorStops  MirrorCommand = "STOP_TASK" // its task was stopped, or has ended as it should
	mirrorFails  MirrorCommand = "failure"   // its task has failed
)

// mirrorTransitions is the table of what each command leads to. What is not in
// it is refused.
var mirrorTransitions = map[MirrorCommand]map[MirrorState]MirrorState{
	PauseMirror:  {MirrorCreated: MirrorPaused, MirrorRunning: MirrorPaused, MirrorFailed: MirrorPaused},
	ResumeMirror: {MirrorCreated: MirrorRunning, MirrorPaused: MirrorRunning},
	RetryMirror:  {MirrorFailed: MirrorRunning, MirrorRunning: MirrorRunning}, // of one that runs: its stopped tables
	StartMirror:  {MirrorCreated: MirrorRunning, MirrorRunning: MirrorRunning, MirrorPaused: MirrorRunning, MirrorFailed: MirrorRunning},
	mirrorStops:  {MirrorRunning: MirrorPaused},
	mirrorFails:  {MirrorRunning: MirrorFailed},
}

// From lists the states in which a command is valid, in their order.
func (c MirrorCommand) From() []MirrorState {
	return slices.DeleteFunc(MirrorStates(), func(s MirrorState) bool {
		_, ok := mirrorTransitions[c][s]
		return !ok
	})
}

// After is the one transition function: what a command makes of a state, or the
// refusal, with what is valid instead.
func (c MirrorCommand) After(s MirrorState, name string) (MirrorState, error) {
	if next, ok := mirrorTransitions[c][s]; ok {
		return next, nil
	}
	e := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q is %s: %s has no meaning now", name, s, c)
	quoted := dump.QuoteIdent(name)
	switch s {
	case MirrorPaused, MirrorCreated:
		return s, e.WithHint("RESUME MIRROR %s; lets it go on", quoted)
	case MirrorFailed:
		return s, e.WithHint("SHOW MIRROR_LOG %s; tells why. When the reason is gone: RETRY MIRROR %s;", quoted, quoted)
	}
	return s, e.WithHint("SHOW MIRROR %s; tells what it does, PAUSE MIRROR %s; stops it", quoted, quoted)
}

func stateTexts(states []MirrorState) []string {
	out := make([]string, len(states))
	for i, s := range states {
		out[i] = string(s)
	}
	return out
}

package relay

import (
	"slices"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// errorResponse deals with an error: what it means for what was sent behind the
// message that has failed, and which of them the client gets.
func (s *session) errorResponse(body []byte, at int) (keep bool, err error) {
	fields := wire.ParseError(body)
	s.server.Usage.Error(fields.Code)
	s.failed = true
	s.copying = false
	s.flushed = false
	if fields.Fatal() {
		s.fatal = true
		if lost := s.server.Lost(); lost != nil {
			return false, lost
		}
		return !s.shared || !s.pending.empty() || s.status != wire.Idle || s.lasting != 0, nil
	}
	front := s.pending.front()
	if front == nil {
		return true, nil
	}
	instead := front.instead
	if front.insteadOf != "" && front.insteadOf != fields.Code {
		instead = nil
	}
	if fields.Code == pgerror.QueryCanceled && s.timedOut {
		s.timedOut = false
		instead = s.limits.errTimeout()
	}
	if fields.Routine == "RevalidateCachedQuery" {
		s.retire()
	}
	if front.kind.extended() {
		s.skip()
	}
	if instead == nil {
		return true, nil
	}
	s.down.replace(at, at, wire.AppendError(nil, wire.Error, instead)...)
	return false, nil
}

// skip drops what the server does not look at any more, up to the next Sync. What was
// assumed last is taken back first.
func (s *session) skip() {
	var dropped []expectation
	for {
		front := s.pending.front()
		if front == nil {
			s.skipping = true
			break
		}
		if front.kind == expectSync {
			break
		}
		dropped = append(dropped, s.pending.pop())
	}
	for i, e := range slices.Backward(dropped) {
		s.undo(e, i == 0)
	}
}

// undo takes back what was assumed of a message that has failed, or, if it did not even
// run, was skipped by the server.
func (s *session) undo(e expectation, ran bool) {
	switch {
	case !ran && e.was != nil:
		s.restore(e.was)
	case e.unnamed && (e.own || s.slot.unnamedGeneration == e.generation): // or there is a later one
		s.slot.unnamedOwner = unknownOwner
	}
	switch e.kind {
	case expectParse:
		if e.statement != nil {
			s.slot.prepared.remove(e.statement)
		}
		if e.unnamed && !e.own && ran && s.unnamed.generation == e.generation {
			s.unnamed.generation = 0
		}
		if e.name != "" {
			s.forgetName(e.name)
		}
	case answerParse:
		s.forgetName(e.name)
	case answerClose, expectClose:
		if e.entry != nil && s.names[e.name] == nil {
			s.names[e.name] = e.entry
			break
		}
		s.closed(e)
		if e.own && e.statement != nil {
			s.slot.prepared.add(e.statement, s.limits.lapse(s.relay.clock.Load()))
		}
	}
}

// retire has statements prepared anew: the result of one of them has changed, and
// the server insists on the old. Which one it was is not said.
func (s *session) retire() {
	for _, e := range s.names {
		s.relay.statements.retire(e)
	}
}

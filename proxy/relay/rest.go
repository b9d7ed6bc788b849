package relay

import (
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/statement"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// readyForQuery ends a query: mu is held.
func (s *session) readyForQuery(status byte) error {
	usage := &s.server.Usage
	now := s.relay.now()
	usage.Query(now - s.queryFrom)
	s.logSlow(now - s.queryFrom)
	s.queryFrom = now
	s.status = status
	s.flushed = false
	s.timedOut = false
	switch {
	case status == wire.Idle:
		if s.failed || s.tag == tagRollback {
			s.settings, s.slot.settings = s.base, s.slotBase
			usage.Rollbacks++
		}
		s.base, s.slotBase = s.settings, s.slot.settings
		usage.Transaction(now - s.began)
		s.began = now
		if len(s.portals) > 0 {
			clear(s.portals)
		}
	case s.mode == modeStatement:
		s.end = pgerror.New(pgerror.FeatureNotSupported, "transaction blocks are not allowed").
			WithDetail("pooler_mode is \"statement\".").
			WithHint("Set pooler_mode = \"transaction\" for the user or the database.")
		return s.end
	case s.tag == tagRollback && !s.settings.equal(s.base):
		s.hints |= statement.Sets // which of them are left is for the server to say
	case s.tag == tagCommit:
		s.base, s.slotBase = s.settings, s.slot.settings
	}
	s.failed, s.tag = false, tagNone
	if status != wire.Idle {
		s.silent = now
	}
	return nil
}

// restIfDone sees to the server when nothing is under way any more: it is given
// back, if it may be and needs no looking at before. mu is held.
func (s *session) restIfDone() {
	if s.server == nil || !s.atRest() {
		return
	}
	s.sentRaw = 0
	if s.status != wire.Idle {
		s.setState(stateInTransaction)
		return
	}
	s.setState(stateIdle)
	switch {
	case !s.shared:
		s.settle = s.client.Moved()
	case s.hints != 0 || s.lasting != 0 && s.client.Moved():
		s.settle = true
	case s.lasting != 0:
	case s.fatal:
		s.giveBack(pool.Broken)
	default:
		s.giveBack(pool.Clean)
	}
	if s.whenIdle != nil {
		s.whenIdle()
	}
}

// giveBack releases the server. mu is held.
func (s *session) giveBack(o pool.Outcome) {
	server := s.server
	s.showServer()
	server.Shown.IdleInTransaction = false
	s.server, s.slot, s.settle, s.hints, s.lasting, s.listens = nil, nil, false, 0, 0, false
	s.fatal, s.skipping = false, false
	s.status = wire.Idle
	s.portal = nil
	s.silent = 0
	server.Release(o)
	s.setState(stateIdle)
}

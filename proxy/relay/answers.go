package relay

import (
	"bytes"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/statement"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// maxAnswerHeld is how long a message of the server may be that is looked at as a
// whole, in bytes; of longer ones the beginning is.
const maxAnswerHeld = 64 << 10

// readAnswers reads from the server once and passes on what has come. It is false
// when the client has its turn.
func (s *session) readAnswers() (more bool, err error) {
	s.mu.Lock()
	server, room := s.server, s.downRoom
	s.downRoom = 0
	s.back.inside = s.downRest > 0
	s.mu.Unlock()
	if server == nil {
		return false, nil
	}
	if s.back.conn != server.Conn() {
		s.back.use(server.Conn())
	}
	s.back.grow(room)
	if err := s.back.more(); err != nil {
		if isTimeout(err) {
			return false, err
		}
		return false, s.serverLost(err)
	}
	s.mu.Lock()
	server.Usage.Received += int64(len(s.back.unread()))
	server.Usage.Reads++
	at, err := s.answers()
	out := s.down.finish(at)
	s.emitting = len(out) > 0
	s.torn = at < len(s.back.unread())
	if err == nil {
		s.restIfDone()
	}
	more = err == nil && s.server != nil && !s.copying && (s.pending.ready > 0 || s.torn)
	s.mu.Unlock()
	writeErr := s.toClient(out)
	s.down.end()
	s.back.consume(at)
	s.back.release()
	s.mu.Lock()
	s.emitting = false
	s.mu.Unlock()
	if err == nil {
		err = writeErr
	}
	return more, err
}

// answers goes through what was read of the server, up to the last message that can
// be dealt with. mu is held.
func (s *session) answers() (at int, err error) {
	src := s.back.unread()
	s.down.start(src)
	for at < len(src) {
		if s.downRest > 0 {
			n := min(s.downRest, len(src)-at)
			if s.downDrop {
				s.down.replace(at, at+n)
			}
			s.downRest -= n
			at += n
			continue
		}
		if len(src)-at < wire.HeaderLength {
			break
		}
		size, ok := wire.MessageLength(src[at:])
		if !ok {
			return at, s.desynchronised(src[at])
		}
		kind := src[at]
		have := min(size, len(src)-at)
		if have < size && s.needsWhole(kind) && have < maxAnswerHeld {
			s.downRoom = min(size, maxAnswerHeld+bufferSize)
			break
		}
		keep, err := s.serverMessage(kind, src[at+wire.HeaderLength:at+have], at)
		if err != nil {
			return at, err
		}
		if !keep {
			s.down.replace(at, at+have)
		}
		s.downRest, s.downDrop = size-have, !keep
		at += have
		s.answerFront(at)
	}
	return at, nil
}

// needsWhole tells whether a message is looked into, or must not be torn: between
// answers, the client may get something from elsewhere.
func (s *session) needsWhole(kind byte) bool {
	switch kind {
	case wire.MsgDataRow, wire.MsgCopyData, wire.MsgRowDescription, wire.MsgParameterDescription, wire.MsgFunctionCallResponse:
		return false
	}
	return true
}

// answerFront gives the client what the proxy itself answers, if that is next. at
// is where in what the server has sent.
func (s *session) answerFront(at int) {
	for s.downRest == 0 {
		front := s.pending.front()
		switch {
		case front == nil:
			return
		case front.kind == copyEnded:
		case front.kind == answerParse, front.kind == answerClose:
			s.down.replace(at, at, appendAnswer(nil, front.kind)...)
		default:
			return
		}
		s.closed(s.pending.pop())
	}
}

// serverMessage deals with one message of the server, of which body may be the
// beginning. keep tells whether the client gets it.
func (s *session) serverMessage(kind byte, body []byte, at int) (keep bool, err error) {
	front := s.pending.front()
	switch kind {
	case wire.MsgDataRow, wire.MsgCopyData, wire.MsgCopyDone, wire.MsgRowDescription, wire.MsgParameterDescription, wire.MsgCopyOutResponse,
		wire.MsgFunctionCallResponse:
		if front == nil {
			return false, s.desynchronised(kind)
		}
		if kind == wire.MsgRowDescription && front.kind == expectDescribe {
			s.pending.pop()
		}
		return true, nil
	case wire.MsgReadyForQuery:
		if front == nil || !front.kind.needsReady() || len(body) != 1 {
			return false, s.desynchronised(kind)
		}
		s.pending.pop()
		return true, s.readyForQuery(body[0])
	case wire.MsgCommandComplete:
		if front == nil || front.kind != expectExecute && front.kind != expectQuery {
			return false, s.desynchronised(kind)
		}
		s.complete(front.effect, body)
		if front.kind == expectExecute {
			s.pending.pop()
		}
		return true, nil
	case wire.MsgEmptyQuery, wire.MsgPortalSuspended:
		if front != nil && front.kind == expectExecute {
			s.pending.pop()
		}
		return true, nil
	case wire.MsgParseComplete:
		return s.simple(kind, expectParse)
	case wire.MsgBindComplete:
		return s.simple(kind, expectBind)
	case wire.MsgCloseComplete:
		return s.simple(kind, expectClose)
	case wire.MsgNoData:
		return s.simple(kind, expectDescribe)
	case wire.MsgErrorResponse:
		return s.errorResponse(body, at)
	case wire.MsgCopyInResponse:
		s.copying = !s.pending.ignoreSyncs()
		return true, nil
	case wire.MsgParameterStatus:
		s.parameterStatus(body)
		return true, nil
	case wire.MsgNotification:
		return !s.shared || s.lasting&statement.Listens != 0 || s.listens, nil
	case wire.MsgNoticeResponse:
		return true, nil
	}
	return false, s.desynchronised(kind)
}

// simple is a message that answers one of a kind.
func (s *session) simple(message byte, kind expectationKind) (keep bool, err error) {
	front := s.pending.front()
	if front == nil || front.kind != kind {
		return false, s.desynchronised(message)
	}
	e := s.pending.pop()
	s.closed(e)
	return !e.own, nil
}

// desynchronised is the end of a session whose server says what was not asked.
func (s *session) desynchronised(kind byte) error {
	s.end = pgerror.New(pgerror.ProtocolViolation, "unexpected message from the server").
		WithDetail("A message of type %q came out of turn.", string(rune(kind)))
	return s.end
}

// parameterStatus notes what the server reports.
func (s *session) parameterStatus(body []byte) {
	name, value, ok := wire.ParameterStatus(body)
	if !ok {
		return
	}
	s.server.SetParameter(name, value)
	s.slot.reports = s.slot.reports.with(name, value)
	s.told = s.told.with(name, value)
}

// complete notes what a statement has done to the session. Most tags are known by
// their first byte to do nothing.
func (s *session) complete(e *effect, body []byte) {
	if len(body) == 0 {
		return
	}
	switch body[0] {
	case 'S': // SET, SELECT, SAVEPOINT
		if is(body, "SET") {
			s.apply(e)
		}
	case 'R': // RESET, ROLLBACK, REVOKE, RELEASE
		switch {
		case is(body, "RESET"):
			s.apply(e)
		case is(body, "ROLLBACK"):
			s.tag = tagRollback
		}
	case 'C':
		switch {
		case is(body, "COMMIT"):
			s.tag = tagCommit
		case s.lasting != 0 && bytes.HasPrefix(body, []byte("CLOSE CURSOR")):
			s.hints |= statement.Undoes
		}
	case 'L':
		if is(body, "LISTEN") {
			s.hints |= statement.Listens
			s.listens = true
		}
	case 'U':
		if is(body, "UNLISTEN") {
			s.hints |= statement.Unlistens
		}
	case 'P':
		if is(body, "PREPARE") {
			s.hints |= statement.Prepares
		}
	case 'D':
		s.completeD(body)
	}
}

// completeD does so for DEALLOCATE, DISCARD, DROP, DO, DELETE, DECLARE.
func (s *session) completeD(body []byte) {
	switch {
	case is(body, "DISCARD ALL"):
		s.forgetNames()
		s.slot.prepared.clear()
		s.slot.unnamedOwner = 0
		s.settings, s.slot.settings = s.startup, nil
		s.hints, s.lasting, s.listens = 0, 0, false
	case is(body, "DEALLOCATE ALL"):
		s.forgetNames()
		s.slot.prepared.clear()
		s.hints |= statement.Undoes
	case is(body, "DEALLOCATE"), is(body, "DISCARD TEMP"), s.lasting != 0 && bytes.HasPrefix(body, []byte("DROP ")):
		s.hints |= statement.Undoes
	}
}

// is compares a tag.
func is(body []byte, tag string) bool {
	return len(body) == len(tag)+1 && string(body[:len(tag)]) == tag
}

// apply does to the known settings what SET or RESET has done to the session.
func (s *session) apply(e *effect) {
	if e == nil {
		s.hints |= statement.Sets
		return
	}
	c := e.change
	switch {
	case c.Scope == statement.ChangesOne && c.SQL != "":
		s.settings = s.settings.with(c.Name, c.SQL)
		s.slot.settings = s.slot.settings.with(c.Name, c.SQL)
	case c.Scope == statement.ChangesOne:
		s.slot.settings = s.slot.settings.without(c.Name)
		if sql, ok := s.startup.get(c.Name); ok {
			s.settings = s.settings.with(c.Name, sql)
		} else {
			s.settings = s.settings.without(c.Name)
		}
	case c.Scope == statement.ChangesAll:
		role := s.settings.only("role", "session_authorization")
		s.slot.settings = role
		s.settings = s.startup
		for name, sql := range role.all() {
			s.settings = s.settings.with(name, sql)
		}
	}
}

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

// skip drops what the server does not look at any more, up to the next Sync.
func (s *session) skip() {
	for {
		front := s.pending.front()
		if front == nil {
			s.skipping = true
			return
		}
		if front.kind == expectSync {
			return
		}
		s.undo(s.pending.pop())
	}
}

// undo takes back what was assumed of a message that the server did not run.
func (s *session) undo(e expectation) {
	switch e.kind {
	case expectParse:
		if e.statement != nil {
			s.slot.prepared.remove(e.statement)
		} else {
			s.slot.unnamedOwner = unknownOwner
			if !e.own && e.name == "" {
				s.unnamed.generation = 0
			}
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
			s.slot.prepared.add(e.statement)
		}
		if e.own && e.statement == nil {
			s.slot.unnamedOwner = unknownOwner
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

// readyForQuery ends a query: mu is held.
func (s *session) readyForQuery(status byte) error {
	usage := &s.server.Usage
	now := s.relay.now()
	usage.Query(now - s.queryFrom)
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
	s.server, s.slot, s.settle, s.hints, s.lasting, s.listens = nil, nil, false, 0, 0, false
	s.fatal, s.skipping = false, false
	s.status = wire.Idle
	s.portal = nil
	server.Release(o)
	s.setState(stateIdle)
}

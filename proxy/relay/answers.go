package relay

import (
	"github.com/pgdrover/pgdrover/pgerror"
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
	before := len(s.back.unread())
	if err := s.back.more(); err != nil {
		if isTimeout(err) {
			return false, err
		}
		return false, s.serverLost(err)
	}
	s.mu.Lock()
	server.Usage.Received += int64(len(s.back.unread()) - before)
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
		s.lastReceived = kind
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

package relay

import (
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/statement"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// next is what has to happen before more of the client's messages are looked at.
type next uint8

const (
	goOn       next = iota
	needInput       // all messages that are whole were looked at
	needServer      // the message goes to a server, and there is none
	needQuiet       // what was sent has to be answered before
	needSettle      // the server connection has to be seen to
	clientDone      // Terminate
	violated        // the client does not keep to the protocol
)

const (
	// maxHeld is how long a Query may be that is looked at as a whole, in bytes.
	// Of longer ones the beginning is.
	maxHeld = 256 << 10
	// maxHead is how long the names at the beginning of a message may be.
	maxHead = 8 << 10
)

// scan looks at the client's messages that were read, and makes what goes to the
// server of them; flush writes that.
func (s *session) scan() next {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.in.unread()
	s.up.start(src)
	s.target = nil
	at, stop := 0, needInput
	if s.end != nil {
		stop = violated
	}
	for at < len(src) && s.end == nil {
		if s.upRest > 0 {
			at += s.through(at, len(src))
			continue
		}
		if len(src)-at < wire.HeaderLength {
			break
		}
		size, ok := wire.MessageLength(src[at:])
		if !ok {
			stop = s.violate("invalid message length")
			break
		}
		n, todo := s.message(message{kind: src[at], at: at, size: size, bytes: src[at:min(at+size, len(src))]})
		at += n
		if todo != goOn {
			stop = todo
			break
		}
	}
	s.in.consume(at)
	s.up.src = src[:at]
	if out := s.up.finish(at); len(out) > 0 && s.server != nil {
		s.target = s.server
		s.target.Usage.Sent += int64(len(out))
		s.target.Usage.Writes++
		s.sending = s.pumping
		s.sentRaw += at
	}
	return stop
}

// through passes on the rest of a message that was begun, or drops it.
func (s *session) through(at, n int) int {
	n = min(s.upRest, n-at)
	if s.upDrop {
		s.up.replace(at, at+n)
	}
	if s.upRest -= n; s.upRest == 0 {
		s.upDrop = false
	}
	return n
}

// message is one message of the client, or its beginning.
type message struct {
	kind  byte
	at    int    // where it begins in what is scanned
	size  int    // of the whole message
	bytes []byte // what of it was read
}

func (m message) whole() bool  { return len(m.bytes) == m.size }
func (m message) body() []byte { return m.bytes[wire.HeaderLength:] }

// pass lets the message go to the server as it is.
func (s *session) pass(m message) (int, next) {
	s.lastSent = m.kind
	s.upRest, s.upDrop = m.size-len(m.bytes), false
	return len(m.bytes), goOn
}

// discard keeps the message from the server, in whose place it gets b.
func (s *session) discard(m message, b ...byte) (int, next) {
	if len(b) > 0 {
		s.lastSent = m.kind
	}
	s.up.replace(m.at, m.at+len(m.bytes), b...)
	s.upRest, s.upDrop = m.size-len(m.bytes), true
	if s.upRest == 0 {
		s.upDrop = false
	}
	return len(m.bytes), goOn
}

// wait has the message looked at again once so many bytes of it were read.
func (s *session) wait(m message, need int) (int, next) {
	s.room = min(need, m.size)
	return 0, needInput
}

func (s *session) violate(format string, args ...any) next {
	if s.end == nil {
		s.end = pgerror.New(pgerror.ProtocolViolation, format, args...)
	}
	return violated
}

// message deals with one message. It gives how many bytes of it that took; none if
// something else has to happen before.
func (s *session) message(m message) (int, next) {
	switch m.kind {
	case wire.MsgCopyData, wire.MsgCopyDone, wire.MsgCopyFail:
		return s.copyMessage(m)
	case wire.MsgTerminate:
		return 0, clientDone
	case wire.MsgQuery, wire.MsgParse, wire.MsgBind, wire.MsgDescribe, wire.MsgExecute, wire.MsgClose, wire.MsgFunctionCall:
	case wire.MsgSync:
		return s.sync(m)
	case wire.MsgFlush:
		if s.server == nil || s.skipping {
			return s.discard(m)
		}
		s.flushed = true
		return s.pass(m)
	default:
		return 0, s.violate("invalid frontend message type %d", m.kind)
	}
	switch {
	case s.copying:
		return 0, s.violate("unexpected message type 0x%02X during COPY from stdin", m.kind)
	case s.skipping:
		return s.discard(m)
	case s.pending.full():
		return 0, needQuiet
	case s.settle && s.atRest(), s.pumping && s.server == nil:
		return 0, needSettle
	case s.doubtful && !s.unsynced: // behind a Sync: what was before may fail yet
		if !s.quiet() {
			return 0, needQuiet
		}
		s.doubtful = false
	}
	switch m.kind {
	case wire.MsgQuery:
		return s.query(m)
	case wire.MsgParse:
		return s.parse(m)
	case wire.MsgBind:
		return s.bind(m)
	case wire.MsgDescribe, wire.MsgClose:
		return s.named(m)
	case wire.MsgExecute:
		return s.execute(m)
	default:
		if todo := s.ready(statement.Summary{Statements: 1, Flags: statement.Writes}); todo != goOn {
			return 0, todo
		}
		s.expect(expectation{kind: expectFunction})
		return s.pass(m)
	}
}

// ready tells what is missing before a message can go to the server.
func (s *session) ready(summary statement.Summary) next {
	switch {
	case s.server == nil:
		if s.emitting {
			return needQuiet
		}
		s.want.ReadOnly = s.limits.splitReads && summary.Reads()
		return needServer
	case !s.slot.settings.equal(s.settings) && s.status != wire.Failed:
		// A RESET has gone further back than to what the client began with.
		switch {
		case s.unsynced: // at the next Sync
		case !s.quiet():
			return needQuiet
		default:
			return needSettle
		}
	}
	return goOn
}

// expect notes what a message that goes to the server is answered by.
func (s *session) expect(e expectation) {
	if s.pending.empty() {
		s.queryFrom = s.relay.now()
		s.setState(stateActive)
		if s.silent > 0 {
			s.server.Usage.IdleInTransaction += s.queryFrom - s.silent
			s.silent = 0
		}
	}
	s.pending.push(e)
	s.doubtful = s.doubtful || e.doubtful()
	if e.kind.extended() {
		s.unsynced = true
	}
}

// answer is given to the client by the proxy itself, behind what is under way.
func (s *session) answer(e expectation) next {
	if !s.pending.empty() {
		s.pending.push(e)
		s.doubtful = s.doubtful || e.doubtful()
		return goOn
	}
	if s.emitting {
		return needQuiet
	}
	s.locals = appendAnswer(s.locals, e.kind)
	s.closed(e)
	return goOn
}

// closed releases what a Close was about.
func (s *session) closed(e expectation) {
	if e.entry != nil {
		s.relay.statements.release(e.entry)
	}
}

func appendAnswer(b []byte, kind expectationKind) []byte {
	switch kind {
	case answerParse:
		return wire.AppendEmpty(b, wire.MsgParseComplete)
	case answerClose:
		return wire.AppendEmpty(b, wire.MsgCloseComplete)
	}
	return b
}

// sync ends an exchange of the extended protocol.
func (s *session) sync(m message) (int, next) {
	if !m.whole() {
		if m.size > maxHead {
			return 0, s.violate("invalid message length")
		}
		return s.wait(m, m.size)
	}
	switch {
	case s.copying:
		return s.discard(m) // as the server would
	case s.pending.full():
		return 0, needQuiet
	case s.settle && s.atRest():
		return 0, needSettle
	}
	if s.server == nil {
		if !s.quiet() {
			return 0, needQuiet
		}
		s.skipping, s.unsynced = false, false
		s.locals = wire.AppendReadyForQuery(s.locals, wire.Idle)
		return s.discard(m)
	}
	s.skipping, s.unsynced = false, false
	s.expect(expectation{kind: expectSync})
	s.unsynced = false
	return s.pass(m)
}

// copyMessage is of COPY FROM STDIN. What comes after the server has given up on
// the copy is thrown away, as the server would.
func (s *session) copyMessage(m message) (int, next) {
	if s.server == nil || s.skipping || !s.copying && s.pending.empty() {
		return s.discard(m)
	}
	if m.kind != wire.MsgCopyData {
		if s.copying {
			s.copying = false
		} else {
			s.pending.push(expectation{kind: copyEnded})
		}
	}
	return s.pass(m)
}

// execute runs a portal.
func (s *session) execute(m message) (int, next) {
	if s.server == nil {
		if todo := s.ready(statement.Summary{}); todo != goOn {
			return 0, todo
		}
	}
	if len(m.body()) < min(m.size-wire.HeaderLength, maxHead-wire.HeaderLength) {
		return s.wait(m, maxHead)
	}
	portal, _, ok := wire.CutString(m.body())
	if !ok {
		return 0, s.violate("invalid message format")
	}
	e := s.portal
	if len(portal) > 0 {
		e = s.portals[string(portal)]
	}
	s.expect(expectation{kind: expectExecute, effect: e})
	return s.pass(m)
}

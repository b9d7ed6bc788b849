package relay

import (
	"bytes"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/statement"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// parse deals with a Parse. With servers that are shared, statements get names of
// the proxy's own there.
func (s *session) parse(m message) (int, next) {
	if !m.whole() && len(m.bytes) < maxHeld {
		return s.wait(m, maxHeld)
	}
	name, rest, ok := wire.CutString(m.body())
	if !ok {
		return 0, s.violate("invalid message format")
	}
	if len(name) > 0 && !m.whole() && m.size <= maxPreparedLength {
		return s.wait(m, maxPreparedLength)
	}
	if m.whole() && bytes.IndexByte(rest, 0) < 0 {
		return 0, s.violate("invalid message format")
	}
	if len(name) == 0 && !s.limits.nameUnnamed {
		return s.parseUnnamed(m, rest)
	}
	return s.parseNamed(m, string(name), rest)
}

func (s *session) parseUnnamed(m message, rest []byte) (int, next) {
	summary, effect := understand(textOf(rest))
	if todo := s.ready(summary); todo != goOn {
		return 0, todo
	}
	if refusal := s.refusal(m, summary); refusal != nil {
		return s.refuseParse(m, refusal)
	}
	was := s.formerly()
	u := &s.unnamed
	u.last++
	u.generation = u.last
	u.kept = m.whole() && len(rest) <= maxUnnamedLength
	u.body = u.body[:0]
	if u.kept {
		u.body = append(u.body, rest...)
	}
	u.flags, u.effect = summary.Flags, effect
	if !m.whole() {
		u.flags |= statement.Blocks
	}
	s.slot.unnamedOwner, s.slot.unnamedGeneration = s.id, u.generation
	s.server.Usage.Parses++
	s.expect(expectation{kind: expectParse, unnamed: true, generation: u.generation, was: was})
	return s.pass(m)
}

func (s *session) parseNamed(m message, name string, rest []byte) (int, next) {
	summary := statement.Scan(textOf(rest))
	if todo := s.ready(summary); todo != goOn {
		return 0, todo
	}
	refusal := s.refusal(m, summary)
	switch {
	case refusal != nil:
	case s.names[name] != nil && name != "" && s.shared:
		return s.parseAgainst(m, name, rest)
	case !m.whole() && s.shared:
		refusal = pgerror.New(pgerror.ProgramLimitExceeded, "the statement is too long to be prepared by name").
			WithDetail("It has %d bytes; in this pooler mode %d are kept.", m.size, maxPreparedLength).
			WithHint("Prepare it without a name, or set pooler_mode = \"session\".")
	case len(s.names) >= maxNames:
		refusal = pgerror.New(pgerror.ConfigurationLimitExceeded, "too many prepared statements").
			WithDetail("A client may have %d.", maxNames).WithHint("DEALLOCATE those that are not needed.")
	case s.limits.noNames && s.shared:
		refusal = pgerror.New(pgerror.FeatureNotSupported, "prepared statements with names are not allowed").
			WithDetail("general.prepared_statements is \"disabled\", and pooler_mode is not \"session\".").
			WithHint("Set prepared_statements = \"extended\", or have the driver use no names.")
	}
	if refusal != nil {
		return s.refuseParse(m, refusal)
	}
	s.server.Usage.Parses++
	if !s.shared {
		// Kept only to have it again if the session moves.
		if m.whole() && s.names[name] == nil {
			s.names[name] = s.relay.statements.take(rest)
			s.expect(expectation{kind: expectParse, name: name})
		} else {
			s.expect(expectation{kind: expectParse})
		}
		return s.pass(m)
	}
	if old := s.names[name]; old != nil {
		s.forgetName(name)
	}
	e := s.relay.statements.take(rest)
	if s.slot.prepared.has(e.prepared, s.relay.clock.Load()) {
		if s.status == wire.Failed && s.pending.empty() { // the server is to say so
			s.relay.statements.release(e)
			s.expect(expectation{kind: expectParse})
			return s.discard(m, wire.AppendParse(nil, e.prepared.name, rest)...)
		}
		if todo := s.answer(expectation{kind: answerParse, name: name}); todo != goOn {
			s.relay.statements.release(e)
			return 0, todo
		}
		s.names[name] = e
		return s.discard(m)
	}
	s.names[name] = e
	b := s.makeRoom(e.prepared)
	s.expect(expectation{kind: expectParse, statement: e.prepared, name: name})
	return s.discard(m, wire.AppendParse(b, e.prepared.name, rest)...)
}

// parseAgainst deals with a Parse under a name that the client has given already: the server
// finds out, under its own name of that statement, for it may find something else first.
func (s *session) parseAgainst(m message, name string, rest []byte) (int, next) {
	e := pgerror.New(pgerror.DuplicatePreparedStatement, "prepared statement \"%s\" already exists", name)
	if !m.whole() {
		return s.refuseParse(m, e)
	}
	onServer, _, before, _ := s.provide([]byte(name))
	s.expect(expectation{kind: expectParse, own: true, instead: e, insteadOf: e.Code})
	return s.discard(m, wire.AppendParse(before, onServer, rest)...)
}

// makeRoom notes that p will be on the server, and has it close before what is too old,
// and the statement unused longest if there are too many.
func (s *session) makeRoom(p *prepared) (b []byte) {
	now := s.relay.clock.Load()
	for {
		old := s.slot.prepared.evict(p, s.limits.preparedLimit, now)
		if old == nil {
			s.slot.prepared.add(p, s.limits.lapse(now))
			return b
		}
		s.server.Usage.Closes++
		s.expect(expectation{kind: expectClose, own: true, statement: old})
		b = wire.AppendNamed(b, wire.MsgClose, 'S', old.name)
	}
}

// refuseParse has the server fail at the place of the Parse, and the client get e
// for that.
func (s *session) refuseParse(m message, e *pgerror.Error) (int, next) {
	was := s.formerly()
	s.slot.unnamedOwner = 0
	s.expect(expectation{kind: expectParse, own: true, unnamed: true, was: was, instead: e})
	return s.discard(m, wire.AppendParse(nil, failing, append([]byte(failing), 0, 0, 0))...)
}

// provide sees to it that the server has the statement that a Bind or Describe
// names, and gives its name there and what has to be sent before.
func (s *session) provide(name []byte) (onServer string, renamed bool, before []byte, refusal *pgerror.Error) {
	if len(name) == 0 && !s.limits.nameUnnamed {
		before, refusal = s.provideUnnamed()
		return "", false, before, refusal
	}
	e := s.names[string(name)]
	if e == nil || !s.shared {
		return "", false, nil, nil // the server knows it, or tells that it does not
	}
	p := e.prepared
	if s.slot.prepared.has(p, s.relay.clock.Load()) {
		return p.name, true, nil, nil
	}
	before = s.makeRoom(p)
	s.server.Usage.Parses++
	s.expect(expectation{kind: expectParse, own: true, statement: p})
	return p.name, true, wire.AppendParse(before, p.name, p.body), nil
}

// provideUnnamed does so for the statement without a name, which may be another
// client's on this server.
func (s *session) provideUnnamed() ([]byte, *pgerror.Error) {
	u, slot := &s.unnamed, s.slot
	switch {
	case u.generation == 0:
		if slot.unnamedOwner == 0 {
			return nil, nil
		}
		// There is none for this client: the server is to say so.
		was := s.formerly()
		slot.unnamedOwner = 0
		s.expect(expectation{kind: expectClose, own: true, unnamed: true, was: was})
		return wire.AppendNamed(nil, wire.MsgClose, 'S', ""), nil
	case slot.unnamedOwner == s.id && slot.unnamedGeneration == u.generation:
		return nil, nil
	case !u.kept:
		return nil, pgerror.New(pgerror.InvalidSQLStatementName, "unnamed prepared statement does not exist").
			WithDetail("It was longer than %d bytes and was given up with its server connection at the transaction's end.", maxUnnamedLength).
			WithHint("Bind it in the transaction that has parsed it, or give it a name.")
	}
	was := s.formerly()
	slot.unnamedOwner, slot.unnamedGeneration = s.id, u.generation
	s.expect(expectation{kind: expectParse, own: true, unnamed: true, was: was})
	return wire.AppendParse(nil, "", u.body), nil
}

// summaryOf is what a prepared statement of the client does, as far as is known.
func (s *session) summaryOf(name []byte) (statement.Flags, *effect, statement.Summary) {
	if e := s.names[string(name)]; e != nil && (len(name) > 0 || s.limits.nameUnnamed) {
		return e.prepared.summary.Flags, e.prepared.effect, e.prepared.summary
	}
	if len(name) == 0 {
		return s.unnamed.flags, s.unnamed.effect, statement.Summary{Statements: 1, Flags: statement.Writes}
	}
	return 0, nil, statement.Summary{Statements: 1, Flags: statement.Writes}
}

// bind makes a portal of a statement.
func (s *session) bind(m message) (int, next) {
	if len(m.bytes) < min(m.size, maxHead) {
		return s.wait(m, maxHead)
	}
	portal, rest, ok := wire.CutString(m.body())
	name, _, ok2 := wire.CutString(rest)
	if !ok || !ok2 {
		return 0, s.violate("invalid message format")
	}
	flags, effect, summary := s.summaryOf(name)
	if todo := s.ready(summary); todo != goOn {
		return 0, todo
	}
	s.watch(flags)
	if len(portal) == 0 {
		s.portal = effect
	} else if effect != nil {
		if s.portals == nil {
			s.portals = make(portals)
		}
		s.portals[string(portal)] = effect
	}
	onServer, renamed, before, refusal := s.provide(name)
	if refusal != nil {
		return s.refuseParse(m, refusal)
	}
	s.server.Usage.Binds++
	if s.limits.slow.on {
		s.runs(s.textBehind(name))
	}
	s.expect(expectation{kind: expectBind})
	if len(before) > 0 {
		s.up.replace(m.at, m.at, before...)
	}
	if renamed {
		head := wire.HeaderLength + len(portal) + 1 + len(name) + 1
		b := wire.AppendHeader(s.scratch[:0], wire.MsgBind, m.size-wire.HeaderLength-len(name)+len(onServer))
		b = append(append(b, portal...), 0)
		b = append(append(b, onServer...), 0)
		s.up.replace(m.at, m.at+head, b...)
		s.scratch = b[:0]
	}
	return s.pass(m)
}

// named deals with Describe and Close.
func (s *session) named(m message) (int, next) {
	if !m.whole() {
		if m.size > maxHead {
			return 0, s.violate("invalid message length")
		}
		return s.wait(m, m.size)
	}
	body := m.body()
	if len(body) < 2 || body[0] != 'S' && body[0] != 'P' || body[len(body)-1] != 0 {
		return 0, s.violate("invalid message format")
	}
	what, name := body[0], textOf(body[1:])
	if m.kind == wire.MsgClose {
		return s.close(m, what, string(name))
	}
	_, _, summary := s.summaryOf(name)
	if todo := s.ready(summary); todo != goOn {
		return 0, todo
	}
	if what == 'P' {
		s.expect(expectation{kind: expectDescribe})
		return s.pass(m)
	}
	onServer, renamed, before, refusal := s.provide(name)
	if refusal != nil {
		return s.refuseParse(m, refusal)
	}
	s.expect(expectation{kind: expectDescribe})
	if !renamed {
		s.up.replace(m.at, m.at, before...)
		return s.pass(m)
	}
	return s.discard(m, wire.AppendNamed(before, wire.MsgDescribe, 'S', onServer)...)
}

// close closes a statement or a portal. Shared servers keep their statements: other
// clients may have them too.
func (s *session) close(m message, what byte, name string) (int, next) {
	if s.server == nil || what == 'S' && s.shared {
		e := expectation{kind: answerClose}
		if what == 'S' {
			e.name, e.entry = name, s.names[name]
			if name == "" {
				e.unnamed, e.was = true, s.formerly()
			}
		}
		if todo := s.answer(e); todo != goOn {
			return 0, todo
		}
		if what == 'S' {
			s.loseName(name)
		}
		return s.discard(m)
	}
	if todo := s.ready(statement.Summary{}); todo != goOn {
		return 0, todo
	}
	s.server.Usage.Closes++
	e := expectation{kind: expectClose}
	if what == 'S' {
		e.name, e.entry = name, s.names[name]
		if name == "" {
			e.unnamed, e.was = true, s.formerly()
			s.slot.unnamedOwner = 0
		}
		s.loseName(name)
	} else {
		delete(s.portals, name)
	}
	s.expect(e)
	return s.pass(m)
}

// loseName takes a prepared statement from the client, but does not release it.
func (s *session) loseName(name string) {
	if name == "" {
		s.unnamed.generation = 0
	}
	delete(s.names, name)
}

// forgetName closes a prepared statement of the client.
func (s *session) forgetName(name string) {
	if name == "" {
		s.unnamed.generation = 0
	}
	if e := s.names[name]; e != nil {
		delete(s.names, name)
		s.relay.statements.release(e)
	}
}

func (s *session) forgetNames() {
	s.unnamed.generation = 0
	for name := range s.names {
		s.forgetName(name)
	}
}

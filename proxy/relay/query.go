package relay

import (
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/statement"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// watched are the flags after which the server is asked what is left of a
// transaction.
const watched = statement.Lasting | statement.Configures | statement.Blocks

// watch notes what the server is to be asked for when the transaction has ended. mu
// is held.
func (s *session) watch(flags statement.Flags) {
	s.hints |= flags & watched
	if s.lasting != 0 {
		s.hints |= flags & statement.Unlocks
	}
}

// query deals with a Query.
func (s *session) query(m message) (int, next) {
	if !m.whole() && len(m.bytes) < maxHeld {
		return s.wait(m, maxHeld)
	}
	sql := textOf(m.body())
	summary, effect := understand(sql)
	if refusal := s.refusal(m, summary); refusal != nil {
		return s.refuseQuery(m, refusal)
	}
	if summary.Flags&(statement.Deallocates|statement.Discards) != 0 && summary.Statements == 1 {
		if tag, todo := s.ownCommand(sql); todo != goOn {
			return 0, todo
		} else if tag != "" {
			s.locals = wire.AppendCommandComplete(s.locals, tag)
			s.locals = wire.AppendReadyForQuery(s.locals, s.statusNow())
			return s.discard(m)
		}
	}
	if todo := s.ready(summary); todo != goOn {
		return 0, todo
	}
	s.watch(summary.Flags)
	if !m.whole() {
		s.hints |= statement.Blocks // nobody knows
	}
	was := s.formerly()
	s.forgetName("") // the server does so
	s.slot.unnamedOwner = 0
	s.portal = nil
	s.runs(sql)
	s.expect(expectation{kind: expectQuery, effect: effect, was: was})
	return s.pass(m)
}

// statusNow is the transaction state that the client knows of. mu is held.
func (s *session) statusNow() byte {
	if s.server == nil {
		return wire.Idle
	}
	return s.status
}

// ownCommand runs DISCARD ALL and DEALLOCATE where they are about what the proxy
// keeps for the client and no server needs to hear of it. The tag is "" if one
// does.
func (s *session) ownCommand(sql []byte) (tag string, todo next) {
	if !s.shared || s.lasting != 0 {
		return "", goOn
	}
	discard := statement.IsDiscardAll(sql)
	name, all, ok := statement.ParseDeallocate(sql)
	if !discard && !ok {
		return "", goOn
	}
	if s.unsynced {
		return "", goOn
	}
	if !s.quiet() {
		return "", needQuiet
	}
	switch status := s.statusNow(); {
	case status == wire.Failed, discard && status != wire.Idle:
		return "", goOn // an error, for the server to give
	case discard:
		s.forgetNames()
		s.settings = s.startup
		return "DISCARD ALL", goOn
	case all:
		s.forgetNames()
		return "DEALLOCATE ALL", goOn
	case s.names[name] == nil:
		return "", goOn
	}
	s.forgetName(name)
	return "DEALLOCATE", goOn
}

// refuseQuery answers a Query by an error, which also fails the transaction that
// is open.
func (s *session) refuseQuery(m message, e *pgerror.Error) (int, next) {
	if !s.quiet() {
		return 0, needQuiet
	}
	status := s.statusNow()
	if status != wire.InTransaction && !s.unsynced {
		s.locals = wire.AppendError(s.locals, wire.Error, e)
		s.locals = wire.AppendReadyForQuery(s.locals, status)
		return s.discard(m)
	}
	s.expect(expectation{kind: expectQuery, instead: e})
	return s.discard(m, wire.AppendQuery(nil, failing)...)
}

// failing is SQL that fails and does nothing, for an error that takes the place of
// the server's own. Servers log it.
const failing = "refused_by_pgdrover"

// refusal tells why a statement is not for this session, nil if it is.
func (s *session) refusal(m message, summary statement.Summary) *pgerror.Error {
	flags := summary.Flags
	if limit := s.limits.querySize; limit > 0 && int64(m.size) > limit {
		if s.limits.querySizeBlocks {
			return pgerror.New(pgerror.ProgramLimitExceeded, "the statement is too long").
				WithDetail("It has %d bytes; general.query_size_limit is %d.", m.size, limit)
		}
		s.log.Warn("a statement is longer than general.query_size_limit", "bytes", m.size, "limit", limit)
	}
	if s.mode == modeStatement && flags&statement.Opens != 0 && flags&statement.Transactions == 0 {
		return pgerror.New(pgerror.FeatureNotSupported, "transaction blocks are not allowed").
			WithDetail("pooler_mode is \"statement\": the server connection is given back after each statement.").
			WithHint("Set pooler_mode = \"transaction\" for the user or the database.")
	}
	if s.shared && flags&statement.Lasting != 0 && (s.mode == modeStatement || s.limits.refuseState) {
		return s.refuseLasting(flags & statement.Lasting)
	}
	return nil
}

// lastingNames are the flags of statement.Lasting in words.
var lastingNames = []struct {
	flag statement.Flags
	name string
}{
	{statement.Prepares, "PREPARE"},
	{statement.Listens, "LISTEN"},
	{statement.Holds, "DECLARE WITH HOLD"},
	{statement.Temporary, "a temporary table"},
	{statement.Locks, "a session-level advisory lock"},
}

func (s *session) refuseLasting(flags statement.Flags) *pgerror.Error {
	what := "this"
	for _, l := range lastingNames {
		if flags&l.flag != 0 {
			what = l.name
			break
		}
	}
	e := pgerror.New(pgerror.FeatureNotSupported, "%s is not allowed, because it outlasts its transaction", what)
	if s.mode == modeStatement {
		return e.WithDetail("pooler_mode is \"statement\": the server connection is given back after each statement.").
			WithHint("Set pooler_mode = \"transaction\" or \"session\" for the user or the database.")
	}
	return e.WithDetail("general.session_state is \"refuse\", and pooler_mode is \"transaction\".").
		WithHint("Set pooler_mode = \"session\" for the user or the database, or session_state = \"pin\".")
}

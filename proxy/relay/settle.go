package relay

import (
	"errors"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/statement"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// inspection asks a session what it holds. What a statement's text promises need
// not be so, and what functions do is in no text.
const inspection = `SELECT 's', name, setting FROM pg_catalog.pg_settings WHERE source = 'session' AND name NOT LIKE 'transaction\_%'
UNION ALL SELECT 'r', '', pg_catalog.current_setting('role')
UNION ALL SELECT 'u', '', session_user::text
UNION ALL SELECT 'p', name, statement FROM pg_catalog.pg_prepared_statements WHERE from_sql
UNION ALL SELECT 'l', channel, '' FROM pg_catalog.pg_listening_channels() AS channel
UNION ALL SELECT 'c', name, '' FROM pg_catalog.pg_cursors WHERE is_holdable
UNION ALL (SELECT 't', '', '' FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema() LIMIT 1)
UNION ALL (SELECT 'k', '', '' FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid() LIMIT 1)`

// inventory is what an inspection has found.
type inventory struct {
	settings *values
	lasting  statement.Flags
	prepared []string // the PREPARE statements
	channels []string
}

// inspect asks the server what the session holds.
func (s *session) inspect() (inventory, error) {
	rows, err := s.ask(inspection)
	if err != nil {
		return inventory{}, err
	}
	var out inventory
	settings := make(map[string]string)
	for _, row := range rows {
		if len(row) != 3 {
			continue
		}
		switch row[0] {
		case "s":
			settings[lowerName(row[1])] = statement.SetSQL(row[1], row[2])
		case "r":
			if row[2] != "none" {
				settings["role"] = "SET ROLE " + statement.QuoteIdentifier(row[2])
			}
		case "u":
			if row[2] != s.slot.user && s.slot.user != "" {
				settings["session_authorization"] = "SET SESSION AUTHORIZATION " + statement.QuoteIdentifier(row[2])
			}
		case "p":
			out.lasting |= statement.Prepares
			out.prepared = append(out.prepared, row[2])
		case "l":
			out.lasting |= statement.Listens
			out.channels = append(out.channels, row[1])
		case "c":
			out.lasting |= statement.Holds
		case "t":
			out.lasting |= statement.Temporary
		case "k":
			out.lasting |= statement.Locks
		}
	}
	out.settings = newValues(settings)
	return out, nil
}

// settleDown sees to a server connection at rest before anything else happens: finds
// out what the session holds, and gives the connection back, keeps it, or changes it
// for another one.
func (s *session) settleDown() error {
	if err := s.joinPump(); err != nil {
		return err
	}
	s.mu.Lock()
	server, settle := s.server, s.settle
	if server == nil || !s.atRest() {
		s.mu.Unlock()
		return nil
	}
	if s.status == wire.InTransaction || s.status == wire.Idle && !settle {
		s.mu.Unlock() // a RESET went further back than to what the client began with
		return s.setBack()
	}
	s.settle = false
	inspect := s.shared && s.hints != 0
	s.mu.Unlock()
	if inspect {
		if err := s.weigh(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return nil
	}
	if s.client.Moved() && (!s.shared || s.lasting != 0) {
		s.mu.Unlock()
		err := s.move()
		s.mu.Lock()
		return err
	}
	if s.shared && s.lasting == 0 {
		s.giveBack(pool.Clean)
	}
	if s.whenIdle != nil {
		s.whenIdle()
	}
	return nil
}

// setBack gives the server the client's settings in the middle of its session.
func (s *session) setBack() error {
	if err := s.applySettings(); err != nil {
		var refused *pgerror.Error
		if errors.As(err, &refused) && !errors.As(err, new(lostError)) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.settings = s.slot.settings // as it is, then
			return nil
		}
		return err
	}
	s.tellReports()
	return nil
}

// weigh decides by what the session holds whether it has to keep the server.
func (s *session) weigh() error {
	found, err := s.inspect()
	var lost lostError
	if err != nil && errors.As(err, &lost) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil { // e.g. a statement_timeout of the client's own
		s.lasting |= s.hints & statement.Lasting
		if s.lasting == 0 {
			s.lasting = statement.Blocks
		}
		s.hints = 0
		return nil
	}
	s.settings, s.slot.settings = found.settings, found.settings
	s.base, s.slotBase = s.settings, s.settings
	s.hints, s.lasting = 0, found.lasting
	s.listens = found.lasting&statement.Listens != 0
	if found.lasting != 0 && s.mode == modeStatement {
		s.lasting = 0
		s.giveBack(pool.Dirty)
	}
	return nil
}

// movable is what can be made again on another server.
const movable = statement.Prepares | statement.Listens

// move changes the server connection for another one and makes the session there
// what it was: settings, prepared statements, channels. A session that holds what
// cannot be made again keeps its connection until it does not.
func (s *session) move() error {
	found, err := s.inspect()
	if err != nil {
		var lost lostError
		if !errors.As(err, &lost) {
			return nil // the next safe point may do
		}
		return err
	}
	if found.lasting&^movable != 0 {
		return nil
	}
	s.mu.Lock()
	s.settings = found.settings
	s.giveBack(pool.Dirty)
	s.want = pool.Want{}
	s.mu.Unlock()
	if err := s.checkOut(); err != nil {
		var refused *pgerror.Error
		if errors.As(err, &refused) && !errors.As(err, new(lostError)) {
			return refused
		}
		return err
	}
	return s.rebuild(found)
}

// rebuild prepares and listens again.
func (s *session) rebuild(found inventory) error {
	s.mu.Lock()
	lasting := found.lasting
	var parses []byte
	if !s.shared {
		for name, e := range s.names {
			parses = wire.AppendParse(parses, name, e.prepared.body)
		}
	}
	s.mu.Unlock()
	if err := s.parseAgain(parses); err != nil {
		return err
	}
	for _, sql := range found.prepared {
		if _, err := s.ask(sql); err != nil {
			return s.notRebuilt(err)
		}
	}
	for _, channel := range found.channels {
		if _, err := s.ask("LISTEN " + statement.QuoteIdentifier(channel)); err != nil {
			return s.notRebuilt(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lasting, s.listens = lasting, lasting&statement.Listens != 0
	if !s.shared {
		s.lasting = 0
	}
	return nil
}

// parseAgain has the server prepare statements.
func (s *session) parseAgain(parses []byte) error {
	if len(parses) == 0 {
		return nil
	}
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	if _, err := server.Conn().Write(wire.AppendEmpty(parses, wire.MsgSync)); err != nil {
		return s.serverLost(err)
	}
	if s.back.conn != server.Conn() {
		s.back.use(server.Conn())
	}
	var failed error
	for {
		kind, body, err := s.receive()
		switch {
		case err != nil:
			return s.serverLost(err)
		case kind == wire.MsgErrorResponse && failed == nil:
			failed = wire.ParseError(body).Err()
		case kind == wire.MsgReadyForQuery:
			s.back.release()
			if failed != nil {
				return s.notRebuilt(failed)
			}
			return nil
		}
	}
}

// notRebuilt ends a session that could not be made again on another server.
func (s *session) notRebuilt(err error) error {
	e := pgerror.From(err)
	return pgerror.New(pgerror.AdminShutdown, "the session could not be moved to another server: %s", e.Message).
		WithDetail("%s", e.Detail).WithHint("Connect again.")
}

func lowerName(name string) string {
	b := []byte(name)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

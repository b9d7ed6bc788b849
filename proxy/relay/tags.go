package relay

import (
	"bytes"

	"github.com/pgdrover/pgdrover/proxy/statement"
)

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
	case 'U': // UPDATE, UNLISTEN
		if is(body, "UNLISTEN") {
			s.hints |= statement.Unlistens
		}
		s.server.Usage.Updated += rowsOf(body, "UPDATE ")
	case 'P':
		if is(body, "PREPARE") {
			s.hints |= statement.Prepares
		}
	case 'D':
		s.completeD(body)
	case 'I':
		s.server.Usage.Inserted += rowsOf(body, "INSERT ")
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
	s.server.Usage.Deleted += rowsOf(body, "DELETE ")
}

// rowsOf gives how many rows a tag that begins so tells of; 0 for another one.
func rowsOf(body []byte, command string) (rows int64) {
	if len(body) <= len(command) || string(body[:len(command)]) != command {
		return 0
	}
	unit := int64(1)
	for i := len(body) - 2; i > 0 && body[i] >= '0' && body[i] <= '9'; i-- {
		rows += unit * int64(body[i]-'0')
		unit *= 10
	}
	return rows
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

package relay

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/statement"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// attach checks a server out for the message that is next, and gives it the
// client's settings. If that cannot be, the client gets the error as the message's
// answer.
func (s *session) attach() error {
	if err := s.joinPump(); err != nil {
		return err
	}
	err := s.checkOut()
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		return s.end
	}
	var refused *pgerror.Error
	if !errors.As(err, &refused) || errors.As(err, new(lostError)) {
		return err
	}
	return s.refuseNext(refused)
}

// refuseNext answers the message that is next by an error and leaves it out, and in
// the extended protocol all up to Sync. mu is held.
func (s *session) refuseNext(e *pgerror.Error) error {
	s.locals = wire.AppendError(s.locals, wire.Error, e)
	if next := s.in.unread(); len(next) >= wire.HeaderLength && (next[0] == wire.MsgQuery || next[0] == wire.MsgFunctionCall) {
		s.locals = wire.AppendReadyForQuery(s.locals, wire.Idle)
		size, _ := wire.MessageLength(next)
		have := min(size, len(next))
		s.in.consume(have)
		s.upRest, s.upDrop = size-have, size > have
	} else {
		s.skipping = true
	}
	return nil
}

// checkOut waits for a server and makes it the client's.
func (s *session) checkOut() error {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	s.mu.Lock()
	s.waiting = cancel
	s.setState(stateWaiting)
	s.limits = s.relay.limitsNow()
	want := s.want
	s.mu.Unlock()
	server, err := s.client.Checkout(ctx, want)
	s.mu.Lock()
	s.waiting = nil
	s.setState(stateIdle)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	s.take(server)
	same := s.slot.settings.equal(s.settings)
	s.mu.Unlock()
	if !same {
		if err := s.applySettings(); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.server != nil {
				s.giveBack(pool.Clean)
			}
			return err
		}
	}
	s.tellReports()
	s.mu.Lock()
	s.base, s.slotBase = s.settings, s.slot.settings
	s.mu.Unlock()
	return nil
}

// take makes a server that was checked out the session's. mu is held.
func (s *session) take(server *pool.Server) {
	known, ok := server.Session.(*slot)
	if !ok {
		known = &slot{reports: newValues(maps.Clone(server.Parameters()))}
		known.user, _ = server.Parameter("session_authorization")
		server.Session = known
	}
	known.unnamedOwner = unknownOwner // a health check ends it, and nobody says so
	s.server, s.slot = server, known
	s.status = wire.Idle
	s.base, s.slotBase = s.settings, s.slot.settings
	s.failed, s.tag, s.fatal = false, tagNone, false
	s.began = s.relay.now()
}

// tellReports tells the client what this server reports otherwise than the one
// before.
func (s *session) tellReports() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told.equal(s.slot.reports) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.slot.reports.all())) {
		value, _ := s.slot.reports.get(name)
		if old, ok := s.told.get(name); !ok || old != value {
			s.locals = wire.AppendParameterStatus(s.locals, name, value)
		}
	}
	s.told = s.slot.reports
}

// applySettings makes the server's settings those of the client.
func (s *session) applySettings() error {
	s.mu.Lock()
	sql := difference(s.slot.settings, s.settings)
	want := s.settings
	s.mu.Unlock()
	if sql == "" {
		return nil
	}
	if _, err := s.ask(sql); err != nil {
		var refused *pgerror.Error
		if errors.As(err, &refused) && !errors.As(err, new(lostError)) {
			refused = pgerror.From(refused)
			return pgerror.New(refused.Code, "the session's settings cannot be established: %s", refused.Message).
				WithDetail("%s", refused.Detail).WithHint("DISCARD ALL or RESET ALL gives them up.")
		}
		return err
	}
	s.mu.Lock()
	s.slot.settings = want
	s.mu.Unlock()
	return nil
}

// difference is the SQL that makes settings what they are to be.
func difference(have, want *values) string {
	var out []string
	for _, name := range slices.SortedFunc(maps.Keys(have.all()), settingOrder) {
		if _, ok := want.get(name); !ok {
			out = append(out, statement.ResetSQL(name))
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(want.all()), settingOrder) {
		sql, _ := want.get(name)
		if old, ok := have.get(name); !ok || old != sql {
			out = append(out, sql)
		}
	}
	return strings.Join(out, "\n;")
}

// settingOrder puts first who the session is, and last the role: the others are set
// with the rights of the session's user.
func settingOrder(a, b string) int {
	rank := func(name string) int {
		switch name {
		case "session_authorization":
			return 0
		case "role":
			return 2
		}
		return 1
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

// lostError is a server connection that was lost.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// askTimeout bounds what the proxy itself asks of a server.
const askTimeout = 30 * time.Second

// ask runs SQL of the proxy's own on the server, which is at rest, and gives its rows.
// Errors of the SQL are *pgerror.Error and leave the connection in order.
func (s *session) ask(sql string) (rows [][]string, err error) {
	s.mu.Lock()
	server := s.server
	s.slot.unnamedOwner = 0
	s.mu.Unlock()
	conn := server.Conn()
	if s.back.conn != conn {
		s.back.use(conn)
	}
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, s.serverLost(err)
	}
	if _, err := conn.Write(wire.AppendQuery(nil, sql)); err != nil {
		return nil, s.serverLost(err)
	}
	var failed error
	for {
		kind, body, err := s.receive()
		if err != nil {
			return nil, s.serverLost(err)
		}
		switch kind {
		case wire.MsgDataRow:
			rows = append(rows, dataRow(body))
		case wire.MsgErrorResponse:
			fields := wire.ParseError(body)
			if failed == nil {
				failed = fields.Err()
			}
			if fields.Fatal() {
				return nil, s.serverLost(failed)
			}
		case wire.MsgParameterStatus:
			if name, value, ok := wire.ParameterStatus(body); ok {
				s.mu.Lock()
				server.SetParameter(name, value)
				s.slot.reports = s.slot.reports.with(name, value)
				s.mu.Unlock()
			}
		case wire.MsgNotification:
			s.locals = append(wire.AppendHeader(s.locals, kind, len(body)), body...)
		case wire.MsgReadyForQuery:
			s.back.release()
			if err := conn.SetDeadline(time.Time{}); err != nil {
				return nil, s.serverLost(err)
			}
			return rows, failed
		}
	}
}

// receive reads one whole message of the server; body is good until the next.
func (s *session) receive() (kind byte, body []byte, err error) {
	s.back.inside = false
	for {
		b := s.back.unread()
		if len(b) >= wire.HeaderLength {
			size, ok := wire.MessageLength(b)
			if !ok || size > maxPreparedLength {
				return 0, nil, errors.New("a message of the server is too long")
			}
			if len(b) >= size {
				s.back.consume(size)
				return b[0], b[wire.HeaderLength:size], nil
			}
			s.back.grow(size)
		}
		if err := s.back.more(); err != nil {
			return 0, nil, err
		}
	}
}

// dataRow reads a row of text; NULL is "".
func dataRow(body []byte) []string {
	if len(body) < 2 {
		return nil
	}
	var row []string
	for body = body[2:]; len(body) >= 4; {
		n := int32(uint32(body[0])<<24 | uint32(body[1])<<16 | uint32(body[2])<<8 | uint32(body[3]))
		body = body[4:]
		value := body[:max(0, min(int(n), len(body)))]
		row = append(row, string(value))
		body = body[len(value):]
	}
	return row
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

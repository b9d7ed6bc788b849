package relay

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/statement"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// serverLost is what follows from a failure of the server's connection: the
// session's end, but where the configuration has clients kept and nothing of
// theirs is lost but the answer.
func (s *session) serverLost(cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	server := s.server
	if server == nil {
		return nil // it was given back meanwhile
	}
	if why := server.Lost(); why != nil {
		return why
	}
	if s.end != nil {
		return s.end
	}
	e := pgerror.New(pgerror.ConnectionFailure, "the connection to the server was lost").
		WithDetail("Server %s: %s", server.Address(), reason(cause)).
		WithHint("Connect again. Whether what was running has been done is not known.")
	if s.limits.keepClients && s.mayRecover() {
		s.recoverClient(e)
		return nil
	}
	return lostError{e}
}

func reason(err error) string {
	var network *net.OpError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it has closed the connection."
	case errors.As(err, &network):
		return network.Err.Error()
	}
	return err.Error()
}

// mayRecover tells whether a client can go on without the server it had: it was in
// no transaction that it knows of, and has no part of an answer. mu is held.
func (s *session) mayRecover() bool {
	return s.shared && s.status == wire.Idle && s.lasting == 0 && s.downRest == 0 && !s.copying && !s.pumping && s.upRest == 0
}

// recoverClient answers what was under way by errors. mu is held.
func (s *session) recoverClient(e *pgerror.Error) {
	owed := s.pending.ready
	unsynced := s.unsynced
	for !s.pending.empty() {
		s.closed(s.pending.pop())
	}
	s.unsynced, s.torn = false, false
	s.settings = s.base
	s.giveBack(pool.Broken)
	s.back.drop()
	for range owed {
		s.locals = wire.AppendError(s.locals, wire.Error, e)
		s.locals = wire.AppendReadyForQuery(s.locals, wire.Idle)
	}
	if unsynced {
		s.locals = wire.AppendError(s.locals, wire.Error, e)
		s.skipping = true
	}
}

// overhear passes on what a server says while nothing is asked of it.
func (s *session) overhear() error {
	s.mu.Lock()
	server, pumping := s.server, s.pumping
	s.mu.Unlock()
	if server == nil || pumping {
		return nil
	}
	// Below TLS there may be nothing for us in what has come.
	if err := server.Conn().SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		return s.serverLost(err)
	}
	_, err := s.readAnswers()
	if err != nil && !isTimeout(err) {
		return err
	}
	if err := server.Conn().SetReadDeadline(time.Time{}); err != nil {
		return s.serverLost(err)
	}
	return nil
}

// finish ends the session: the client is told why, and the server connection is
// given back in the state it is in. err is why serve has returned.
func (s *session) finish(err error) {
	s.mu.Lock()
	s.finishing = true
	s.mu.Unlock()
	s.stopPumping()
	s.farewell(err)
	s.mu.Lock()
	if s.server != nil && s.upRest > 0 && !s.upDrop {
		s.giveBack(pool.Broken) // it waits for the rest of a message
	}
	server, how := s.server, s.limits.recovery
	s.mu.Unlock()
	if server != nil {
		s.leave(how)
	}
	s.mu.Lock()
	for !s.pending.empty() {
		s.closed(s.pending.pop())
	}
	s.forgetNames()
	s.mu.Unlock()
	s.in.drop()
	s.back.drop()
}

// stopPumping ends the pump, whatever it is doing.
func (s *session) stopPumping() {
	s.mu.Lock()
	pumped, server, pumping := s.pumped, s.server, s.pumping
	s.pumped, s.stopPump = nil, true
	s.mu.Unlock()
	if pumped == nil {
		return
	}
	if pumping && server != nil {
		_ = server.Conn().SetReadDeadline(longAgo) // closed: as well
	}
	if pumping { // the client may not read any more
		_ = s.conn.SetWriteDeadline(time.Now().Add(farewellTimeout))
	}
	<-pumped
	if server != nil {
		_ = server.Conn().SetReadDeadline(time.Time{}) // the next use finds out
	}
}

// farewellTimeout bounds the last words to a client.
const farewellTimeout = 2 * time.Second

// farewell tells the client why the session ends, if it is there to hear it and not
// in the middle of a message.
func (s *session) farewell(err error) {
	s.mu.Lock()
	torn := s.downRest > 0 && !s.downDrop
	fatal := s.fatal
	locals := s.locals
	s.mu.Unlock()
	var client clientError
	if err == nil || torn || errors.As(err, &client) {
		return
	}
	if fatal && errors.As(err, new(lostError)) {
		return // the server has said it itself
	}
	if s.conn.SetWriteDeadline(time.Now().Add(farewellTimeout)) == nil {
		_ = s.toClient(wire.AppendError(locals, wire.Fatal, pgerror.From(err))) // there is no other way to tell
	}
}

// leave gives the server back. What the client has left open is ended as
// general.connection_recovery says.
func (s *session) leave(how recovery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cleared := s.server.Conn().SetDeadline(time.Time{}) // endWith may have set one
	if cleared != nil || s.fatal || s.end != nil && s.server.Lost() != nil {
		s.giveBack(pool.Broken)
		return
	}
	if !s.atRest() {
		s.mu.Unlock()
		ok := how == recoverAll && s.drain()
		s.mu.Lock()
		if !ok {
			s.giveBack(pool.Broken)
			return
		}
	}
	holds := s.mode == config.ModeSession || s.lasting != 0 || s.hints&watched != 0 || s.hints&statement.Sets != 0
	switch {
	case s.status == wire.Idle && !holds:
		s.giveBack(pool.Clean)
	case s.status == wire.Idle && how != recoverAll:
		s.mu.Unlock()
		ok := s.wipe()
		s.mu.Lock()
		if ok {
			s.giveBack(pool.Clean)
		} else {
			s.giveBack(pool.Broken)
		}
	case holds && how != recoverAll:
		s.giveBack(pool.Broken)
	default:
		s.slot.settings = s.slotBase // ROLLBACK
		s.giveBack(pool.Dirty)
	}
}

// wipe makes a session new that is left in good order.
func (s *session) wipe() bool {
	if _, err := s.ask("DISCARD ALL"); err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slot.settings = nil
	s.slot.prepared.clear()
	s.slot.unnamedOwner = 0
	return true
}

// drain cancels what runs for a client that is gone, and reads the rest of the
// answers; false if that takes too long.
func (s *session) drain() bool {
	s.mu.Lock()
	server, copying, unsynced, timeout := s.server, s.copying, s.unsynced, s.limits.rollbackTimeout
	var end []byte
	if copying {
		end = append(wire.AppendHeader(end, wire.MsgCopyFail, 1), 0)
		s.copying = false
	}
	if unsynced || copying && s.pending.ready == 0 {
		// Sync alone would commit what the client has not.
		end = wire.AppendParse(end, failing, append([]byte(failing), 0, 0, 0))
		end = wire.AppendEmpty(end, wire.MsgSync)
		if !s.skipping {
			s.expect(expectation{kind: expectParse})
		}
		s.expect(expectation{kind: expectSync})
		s.skipping, s.unsynced = false, false
	}
	s.mu.Unlock()
	if timeout <= 0 {
		timeout = farewellTimeout
	}
	if server.Conn().SetDeadline(time.Now().Add(timeout)) != nil {
		return false
	}
	if len(end) > 0 {
		if _, err := server.Conn().Write(end); err != nil {
			return false
		}
	}
	s.client.Cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.atRest() {
		s.mu.Unlock()
		ok := s.drainOnce(server)
		s.mu.Lock()
		if !ok || s.fatal {
			return false
		}
	}
	return server.Conn().SetDeadline(time.Time{}) == nil
}

func (s *session) drainOnce(server *pool.Server) bool {
	if s.back.conn != server.Conn() {
		s.back.use(server.Conn())
	}
	s.mu.Lock()
	room := s.downRoom
	s.downRoom = 0
	s.back.inside = s.downRest > 0
	s.mu.Unlock()
	s.back.grow(room)
	if s.back.more() != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, err := s.answers()
	s.down.end()
	s.torn = at < len(s.back.unread())
	s.back.consume(at)
	s.back.release()
	return err == nil
}

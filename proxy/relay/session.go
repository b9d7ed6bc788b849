package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/statement"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// session is one application's session, from its login to its end.
//
// One goroutine, that of Serve, reads the client. As long as both sides speak in
// turns it reads the server too. When they do not (COPY FROM STDIN, Flush, long
// pipelines, LISTEN) a second one, the pump, reads the server until the session is
// quiet again. What both need is guarded by mu, which is never held while something
// is read or written.
type session struct {
	relay  *Relay
	login  Login
	id     uint64 // of this process; never 0
	client *pool.Client
	conn   net.Conn
	log    *slog.Logger
	// shared: servers are given back after transactions.
	shared bool
	mode   config.PoolerMode
	ctx    context.Context // ends with the session

	in      source // the client's messages; this and what follows is of Serve's goroutine
	up      splice
	target  *pool.Server // of what a scan has made
	locals  []byte       // what the proxy itself answers
	scratch []byte       // for the beginning of one message
	writing sync.Mutex   // of conn
	wakeups wakeups

	mu      sync.Mutex
	changed sync.Cond // something that wait waits for
	limits  *limits
	state   state
	since   int64 // coarse instant of the last change of state

	server *pool.Server // nil between transactions
	slot   *slot        // of server
	back   source       // the server's messages; whoever reads the server
	down   splice

	pending  expectations
	status   byte // of the last ReadyForQuery
	unsynced bool // messages of the extended protocol were sent behind the last Sync
	doubtful bool // what is assumed of statements depends on answers that have not come
	skipping bool // everything up to the next Sync is ignored
	copying  bool // the server reads CopyData
	flushed  bool // answers will come before ReadyForQuery
	sentRaw  int  // bytes sent since the session was quiet
	upRest   int  // bytes of the client's current message that were not read yet
	upDrop   bool // and which the server is not to get
	room     int  // the client's next message needs so large a buffer
	downRest int  // as upRest, of the server's
	downDrop bool
	torn     bool // a part of a message of the server was read and waits for the rest
	downRoom int
	sending  bool // what a scan has made is being written, and the pump runs

	pumping  bool          // the pump runs
	stopPump bool          // and is asked to end
	pumped   chan struct{} // closed when it has ended
	pumpErr  error
	emitting bool // what was read of the server is being written

	names    map[string]*entry // the client's prepared statements
	unnamed  unnamed
	portal   *effect // of the portal without a name
	portals  portals
	startup  *values // of the StartupMessage: name → SQL
	settings *values // as startup, with what SET has changed
	base     *values // settings when the transaction began
	slotBase *values
	told     *values // ParameterStatus
	tag      tag     // of the last statement that ends transactions
	failed   bool    // an error since the last ReadyForQuery
	hints    statement.Flags
	lasting  statement.Flags // what keeps the server
	listens  bool
	settle   bool // at rest, but something has to be looked at before the server is given back
	want     pool.Want

	waiting   context.CancelCauseFunc // of a checkout
	timedOut  bool                    // the query was cancelled by query_timeout
	fatal     bool                    // the server has sent its last error
	end       *pgerror.Error          // why the session is to end
	whenIdle  func()
	finishing bool  // nothing interrupts any more
	began     int64 // instant of the transaction's first message
	queryFrom int64
	running   []byte // text of what runs, where slow queries are logged
	silent    int64  // instant of the last answer in an open transaction; 0 while the server works, or without one

	lastSent, lastReceived byte // messages' types
	shown                  shown
}

// state is what a session waits for.
type state uint8

const (
	stateIdle          state = iota // the client, outside of a transaction
	stateWaiting                    // a server connection
	stateActive                     // the server
	stateInTransaction              // the client, inside of a transaction
)

// portals are the named portals whose statement has an effect.
type portals map[string]*effect

// tag is a statement that ended a transaction or a part of it.
type tag uint8

const (
	tagNone tag = iota
	tagCommit
	tagRollback
)

// slot is what the relay knows of a server connection, whoever uses it.
type slot struct {
	settings *values // name → SQL, beyond those of its login
	reports  *values
	prepared onServer
	// The statement without a name: whose it is and which. 0 if there is none.
	unnamedOwner, unnamedGeneration uint64
	user                            string  // session_user after the login
	named                           *values // reports, when the server's application_name was taken from them
}

// unknownOwner is of a statement without a name that nobody can rely on.
const unknownOwner = ^uint64(0)

// setState is called with mu held.
func (s *session) setState(to state) {
	s.state, s.since = to, s.relay.clock.Load()
}

// serve relays until one side ends. Its error is nil if the client ended.
func (s *session) serve() error {
	for {
		next := s.scan()
		if err := s.flush(); err != nil {
			return err
		}
		var err error
		switch next {
		case needInput:
			err = s.input()
		case needServer:
			err = s.attach()
		case needQuiet:
			err = s.quieten()
		case needSettle:
			err = s.settleDown()
		case clientDone:
			return nil
		case violated:
			return s.violation()
		}
		if err != nil {
			return err
		}
	}
}

// input waits for what comes next: the server's answers if they are due, then the
// client's messages.
func (s *session) input() error {
	s.mu.Lock()
	pumping := s.pumping
	// The answer may have come while this goroutine was still sending: then it was
	// left to see to the server, and the pump waits for what nobody will say. A pump
	// that is writing to the client sees it by itself, and wakes.
	if s.settle && !s.emitting && s.atRest() {
		s.mu.Unlock()
		return s.settleDown()
	}
	due := s.pending.ready > 0 && (s.upRest == 0 || s.upDrop) && !s.copying
	both := s.listens || !s.pending.empty() && (s.flushed && !due || s.copying || !due && s.sentRaw > bufferSize)
	if both && !pumping && s.server != nil {
		s.startPump()
		pumping = true
	}
	room := s.room
	s.room = 0
	s.mu.Unlock()
	if due && !pumping {
		return s.exchange()
	}
	s.in.inside = s.upRest > 0 // of this goroutine
	s.in.grow(room)
	if room == 0 && len(s.in.unread()) == 0 {
		s.in.release()
	}
	err := s.in.more()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return s.woken()
	}
	return clientError{err}
}

// exchange relays the server's answers until the client has its turn.
func (s *session) exchange() error {
	for {
		more, err := s.readAnswers()
		if err != nil || !more {
			return err
		}
	}
}

// flush writes what a scan has made: to the client, and to the server. What the proxy
// itself answers stands before whatever the server is about to get, so that the client
// gets it before the server's answers, which another goroutine may pass on.
func (s *session) flush() error {
	var failed error
	if len(s.locals) > 0 {
		failed = s.toClient(s.locals)
		s.locals = s.locals[:0]
		if cap(s.locals) > 1024 {
			s.locals = nil
		}
	}
	if out := s.up.finish(len(s.up.src)); len(out) > 0 && s.target != nil {
		if _, err := s.target.Conn().Write(out); err != nil {
			s.up.end()
			return s.serverLost(err)
		}
	}
	s.up.end()
	if s.sending { // by this goroutine alone
		s.mu.Lock()
		s.sending = false
		s.restIfDone()
		s.mu.Unlock()
	}
	return failed
}

// toClient writes to the client.
func (s *session) toClient(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.conn.Write(b); err != nil {
		return clientError{err}
	}
	return nil
}

// clientError is a failure of the client's connection: there is nobody to tell.
type clientError struct{ error }

func (e clientError) Unwrap() error { return e.error }

// violation ends the session of a client that does not keep to the protocol.
func (s *session) violation() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil {
		s.end = pgerror.New(pgerror.ProtocolViolation, "invalid message from the client")
	}
	return s.end
}

// quiet tells whether nothing is under way between client and server. mu is held.
func (s *session) quiet() bool { return s.pending.empty() && !s.emitting }

// atRest tells whether the server is not owed anything either, so that it can be
// given back or asked something. mu is held.
func (s *session) atRest() bool {
	return s.pending.empty() && !s.unsynced && !s.copying && !s.sending && !s.torn && s.downRest == 0 && (s.upRest == 0 || s.upDrop)
}

// quieten waits until what was sent is answered.
func (s *session) quieten() error {
	s.mu.Lock()
	pumping := s.pumping
	flush := s.server != nil && !s.pending.empty() && s.unsynced
	server := s.server
	s.mu.Unlock()
	if flush { // or the server keeps its answers to itself
		if _, err := server.Conn().Write(wire.AppendEmpty(nil, wire.MsgFlush)); err != nil {
			return s.serverLost(err)
		}
	}
	if pumping {
		s.mu.Lock()
		defer s.mu.Unlock()
		for !s.quiet() && s.pumping && s.end == nil {
			s.changed.Wait()
		}
		if s.pumpErr != nil {
			return s.pumpErr
		}
		if s.end != nil {
			return s.end
		}
		return nil
	}
	for {
		s.mu.Lock()
		done := s.quiet()
		s.mu.Unlock()
		if done {
			return nil
		}
		if _, err := s.readAnswers(); err != nil {
			return err
		}
	}
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

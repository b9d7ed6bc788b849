package proxy

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// SessionInfo describes a session without its secrets.
type SessionInfo struct {
	ProcessID       uint32
	User            string
	Database        string
	ApplicationName string
	RemoteAddr      string
	TLSVersion      string // "" without TLS
	ReadOnly        bool
	ConnectedAt     time.Time
}

// sessions are the sessions that are being served, by process id. It is where
// cancel requests find them.
type sessions struct {
	mu   sync.Mutex
	byID map[uint32]*liveSession
	last uint32 // process id given out last
	apps int    // sessions of applications

	closed bool // no more sessions
}

// liveSession is one entry of sessions; sessions.mu guards cancel and idle.
type liveSession struct {
	info   SessionInfo
	key    []byte
	cancel func()
	guard  *guardedConn
	conn   *sessionConn
	stop   context.CancelCauseFunc
	app    bool // of an application
	// idle is how to have the session ended when it is idle; nil is conn.onIdle.
	idle func(end func())
}

// end ends the session: its context first, so that the handler can say why,
// and soon the connection.
func (l *liveSession) end() {
	l.stop(errSessionEnded)
	l.guard.bound(farewellTimeout)
}

// errSessionEnded is the cause of the end of a session that the server ends.
var errSessionEnded = pgerror.New(pgerror.AdminShutdown, "terminating connection due to administrator command")

// errTooMany refuses an application.
func errTooMany(most int) *pgerror.Error {
	return pgerror.New(pgerror.TooManyConnections, "sorry, too many clients already").
		WithDetail("%d applications are connected, as many as general.max_client_connections allows.", most).
		WithHint("SHOW CLIENTS; in the admin database tells which they are.")
}

// add gives the session a process id and a key for its protocol version. The
// ids are never 0 and do not repeat before all 2^32 were used, so that a late
// cancel request hits nobody else. It is refused when the server shuts down, and
// when most applications are there; 0 is no limit.
func (s *sessions) add(live *liveSession, protocolMinor, most int) error {
	live.key = make([]byte, wire.CancelKeyLength(protocolMinor))
	rand.Read(live.key) // never fails
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errShuttingDown
	case live.app && most > 0 && s.apps >= most:
		return errTooMany(most)
	case live.app:
		s.apps++
	}
	for {
		s.last++
		if _, taken := s.byID[s.last]; !taken && s.last != 0 {
			break
		}
	}
	live.info.ProcessID = s.last
	s.byID[s.last] = live
	return nil
}

func (s *sessions) remove(live *liveSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live.cancel = nil
	if live.app {
		s.apps--
	}
	delete(s.byID, live.info.ProcessID)
}

// onCancel is Session.OnCancel of live.
func (s *sessions) onCancel(live *liveSession, cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[live.info.ProcessID] == live {
		live.cancel = cancel
	}
}

// onIdle says how to have the session ended when it is idle.
func (s *sessions) onIdle(live *liveSession, onIdle func(end func())) {
	s.mu.Lock()
	live.idle = onIdle
	closed := s.closed
	s.mu.Unlock()
	if closed {
		onIdle(live.end)
	}
}

var (
	errNoSuchSession  = errors.New("no session has this process id")
	errWrongCancelKey = errors.New("the secret key of the cancel request is wrong")
)

// cancel runs the session's cancel function if the key is right.
func (s *sessions) cancel(r wire.CancelRequest) error {
	s.mu.Lock()
	live, ok := s.byID[r.ProcessID]
	if !ok {
		s.mu.Unlock()
		return errNoSuchSession
	}
	cancel, key := live.cancel, live.key
	s.mu.Unlock()
	if subtle.ConstantTimeCompare(key, r.SecretKey) != 1 {
		return errWrongCancelKey
	}
	if cancel != nil {
		cancel()
	}
	return nil
}

// kill ends a session; false if there is none with this process id.
func (s *sessions) kill(processID uint32) bool {
	s.mu.Lock()
	live, ok := s.byID[processID]
	s.mu.Unlock()
	if ok {
		live.end()
	}
	return ok
}

// close lets no more sessions in and ends each one when it is idle. It gives
// the connections of those that are there.
func (s *sessions) close() map[*guardedConn]bool {
	s.mu.Lock()
	s.closed = true
	there := make(map[*guardedConn]bool, len(s.byID))
	ends := make(map[*liveSession]func(func()), len(s.byID))
	for _, live := range s.byID {
		there[live.guard] = true
		if ends[live] = live.idle; live.idle == nil {
			ends[live] = live.conn.onIdle
		}
	}
	s.mu.Unlock()
	for live, onIdle := range ends {
		onIdle(live.end)
	}
	return there
}

// list gives the sessions in the order of their process ids.
func (s *sessions) list() []SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]SessionInfo, 0, len(s.byID))
	for _, live := range s.byID {
		out = append(out, live.info)
	}
	slices.SortFunc(out, func(a, b SessionInfo) int { return cmp.Compare(a.ProcessID, b.ProcessID) })
	return out
}

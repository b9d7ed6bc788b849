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
}

// liveSession is one entry of sessions; sessions.mu guards cancel.
type liveSession struct {
	info   SessionInfo
	key    []byte
	cancel func()
	conn   *guardedConn
	end    context.CancelCauseFunc
}

// errSessionEnded is the cause of the end of a session that the server ends.
var errSessionEnded = pgerror.New(pgerror.AdminShutdown, "terminating connection due to administrator command")

// add gives the session a process id and a key for its protocol version. The
// ids are never 0 and do not repeat before all 2^32 were used, so that a late
// cancel request hits nobody else.
func (s *sessions) add(live *liveSession, protocolMinor int) {
	live.key = make([]byte, wire.CancelKeyLength(protocolMinor))
	rand.Read(live.key) // never fails
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.last++
		if _, taken := s.byID[s.last]; !taken && s.last != 0 {
			break
		}
	}
	live.info.ProcessID = s.last
	s.byID[s.last] = live
}

func (s *sessions) remove(live *liveSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live.cancel = nil
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
		live.conn.interruptReads()
		live.end(errSessionEnded)
		live.conn.boundWrites(farewellTimeout)
	}
	return ok
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

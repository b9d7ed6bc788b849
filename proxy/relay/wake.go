package relay

import (
	"net"
	"sync/atomic"
	"time"
)

// wakeups are why the goroutine that waits for the client is to look up.
type wakeups struct{ reasons atomic.Uint32 }

const (
	wakeEnd    = 1 << iota // the session is to end
	wakePump               // the pump has ended and left something to do
	wakeMoved              // the server connection is to be changed
	wakeServer             // the server has something to say
)

// wake interrupts the reading of the client, now or when it is next begun.
func (w *wakeups) wake(conn net.Conn, reason uint32) {
	w.reasons.Or(reason)
	_ = conn.SetReadDeadline(longAgo) // a closed connection cannot be read either
}

// take ends the interruption and gives its reasons. What is said after take
// interrupts again.
func (w *wakeups) take(conn net.Conn) (uint32, error) {
	err := conn.SetReadDeadline(time.Time{})
	return w.reasons.Swap(0), err
}

// woken does what the reading of the client was interrupted for.
func (s *session) woken() error {
	reasons, err := s.wakeups.take(s.conn)
	if err != nil {
		return clientError{err}
	}
	s.mu.Lock()
	end, settle, pumpErr := s.end, s.settle, s.pumpErr
	if !s.pumping {
		s.pumpErr = nil
	}
	s.mu.Unlock()
	switch {
	case end != nil:
		return end
	case pumpErr != nil:
		return pumpErr
	case settle:
		return s.settleDown()
	}
	if reasons&wakeServer != 0 {
		return s.overhear()
	}
	return nil
}

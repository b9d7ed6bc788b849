package relay

import (
	"errors"
	"os"
	"time"
)

// startPump starts the goroutine that reads the server while the client is read
// too. It ends when the session is at rest, and joinPump waits for it. mu is held.
func (s *session) startPump() {
	s.pumping, s.stopPump = true, false
	s.pumped = make(chan struct{})
	go s.pump(s.pumped)
}

func (s *session) pump(done chan struct{}) {
	defer close(done)
	var err error
	for err == nil {
		_, err = s.readAnswers()
		s.mu.Lock()
		over := err != nil || s.stopPump || s.pumpIsDone()
		if over {
			if errors.Is(err, os.ErrDeadlineExceeded) && s.stopPump {
				err = nil
			}
			s.pumping, s.pumpErr = false, err
			// The reader of the client has to see to it.
			wake := err != nil || s.settle
			s.changed.Broadcast()
			s.mu.Unlock()
			if wake {
				s.wakeups.wake(s.conn, wakePump)
			}
			return
		}
		s.changed.Broadcast()
		s.mu.Unlock()
	}
}

// pumpIsDone tells whether one goroutine is enough again. mu is held.
func (s *session) pumpIsDone() bool {
	return s.pending.empty() && !s.copying && (!s.listens || s.server == nil || s.settle)
}

// joinPump ends the pump of a session that is at rest, and waits for it.
func (s *session) joinPump() error {
	s.mu.Lock()
	if s.pumped == nil {
		s.mu.Unlock()
		return nil
	}
	done, server := s.pumped, s.server
	s.pumped = nil
	s.stopPump = true
	running := s.pumping
	s.mu.Unlock()
	interrupt := running && server != nil
	if interrupt {
		_ = server.Conn().SetReadDeadline(longAgo) // a closed connection ends the pump as well
	}
	<-done
	if interrupt {
		if err := server.Conn().SetReadDeadline(time.Time{}); err != nil {
			return s.serverLost(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pumpErr
}

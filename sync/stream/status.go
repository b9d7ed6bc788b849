package stream

import (
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"
)

const (
	// confirmGap is the least time between two status messages that only tell a
	// new position: the server may have to write the slot to disk for each.
	confirmGap = 100 * time.Millisecond
	// writeTimeout is how long the server may take to accept a status message.
	writeTimeout = 30 * time.Second
)

// status tells the server how far changes need not be sent again. Its goroutine
// is the only one that writes to the connection.
type status struct {
	conn      net.Conn
	interval  time.Duration
	silence   time.Duration // after which the server is asked for an answer
	confirmed atomic.Uint64
	heard     *atomic.Int64 // UnixNano of the last message
	asked     chan struct{} // the server wants an answer
	moved     chan struct{} // confirmed has
}

func newStatus(conn net.Conn, interval, silence time.Duration, heard *atomic.Int64) *status {
	return &status{
		conn: conn, interval: interval, silence: silence, heard: heard,
		asked: make(chan struct{}, 1), moved: make(chan struct{}, 1),
	}
}

// confirm notes a position. It never goes back.
func (s *status) confirm(lsn LSN) {
	for {
		old := s.confirmed.Load()
		if uint64(lsn) <= old {
			return
		}
		if s.confirmed.CompareAndSwap(old, uint64(lsn)) {
			signal(s.moved)
			return
		}
	}
}

// run sends until ctx ends or the connection fails.
func (s *status) run(ctx context.Context) error {
	timer := time.NewTimer(s.interval)
	defer timer.Stop()
	var sent time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-s.asked:
		case <-s.moved:
			if wait := confirmGap - time.Since(sent); wait > 0 {
				timer.Reset(min(wait, s.interval))
				continue
			}
		}
		if err := s.send(time.Now()); err != nil {
			return err
		}
		sent = time.Now()
		timer.Reset(s.interval)
	}
}

// send writes one Standby status update. Written, flushed and applied are one
// position: only what is durable elsewhere counts.
func (s *status) send(now time.Time) error {
	const length = 4 + 1 + 8 + 8 + 8 + 8 + 1
	message := make([]byte, 0, 1+length)
	message = append(message, 'd', 0, 0, 0, length, 'r')
	for range 3 {
		message = binary.BigEndian.AppendUint64(message, s.confirmed.Load())
	}
	message = binary.BigEndian.AppendUint64(message, uint64(now.UnixMicro()-postgresEpoch))
	var reply byte
	if now.UnixNano()-s.heard.Load() > int64(s.silence) {
		reply = 1
	}
	message = append(message, reply)
	_ = s.conn.SetWriteDeadline(now.Add(writeTimeout))
	_, err := s.conn.Write(message)
	return err
}

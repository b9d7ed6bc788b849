package proxy

import (
	"io"
	"net"
	"sync"
	"time"
)

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// guardedConn is a client's connection that the server can interrupt. Whoever
// uses the connection sets deadlines at will; an interruption cannot be undone
// by that. It lies below TLS.
type guardedConn struct {
	net.Conn
	closeOnce sync.Once
	closeErr  error

	mu            sync.Mutex
	interrupted   bool // reads fail
	writesBounded bool // the write deadline is final
}

// interruptReads makes reads fail with a timeout, now and from now on.
func (c *guardedConn) interruptReads() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupted = true
	_ = c.Conn.SetReadDeadline(longAgo) // fails if it is closed: as well
}

// boundWrites makes writes fail from d on. The first call counts.
func (c *guardedConn) boundWrites(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.writesBounded {
		c.writesBounded = true
		_ = c.Conn.SetWriteDeadline(time.Now().Add(d)) // as above
	}
}

// SetDeadline sets both deadlines as far as they are free.
func (c *guardedConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline does nothing once reads are interrupted.
func (c *guardedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupted {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline does nothing once writes are bounded.
func (c *guardedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writesBounded {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// Close closes once; the server may close what the session's end closes too.
func (c *guardedConn) Close() error {
	c.closeOnce.Do(func() { c.closeErr = c.Conn.Close() })
	return c.closeErr
}

// CloseWrite ends the stream to the client, which may still send.
func (c *guardedConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

const (
	lingerTime  = 250 * time.Millisecond
	lingerBytes = 64 << 10
)

// linger lets the client read what was written to it before the connection is
// closed: closing with unread bytes makes TCP reset the connection, and a reset
// may throw away our last words on the client's side.
func linger(c net.Conn) {
	if closeWrite(c) != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c, lingerBytes) // any end will do
}

// headConn gives back bytes that were read too early.
type headConn struct {
	net.Conn
	head []byte
}

// Read gives the head first.
func (c *headConn) Read(p []byte) (int, error) {
	if len(c.head) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.head)
	c.head = c.head[n:]
	return n, nil
}

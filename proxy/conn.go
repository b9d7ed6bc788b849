package proxy

import (
	"io"
	"net"
	"sync"
	"time"
)

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// guardedConn is a client's connection that the server can bring to an end.
// Whoever uses the connection sets deadlines at will, but none later than the
// bounds that the server has set. It lies below TLS.
type guardedConn struct {
	net.Conn
	closeOnce sync.Once
	closeErr  error

	mu                    sync.Mutex
	readAsked, writeAsked time.Time // deadlines asked for; zero: none
	readBound, writeBound time.Time // zero: none
}

// interruptReads makes reads fail with a timeout, now and from now on.
func (c *guardedConn) interruptReads() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBound = longAgo
	_ = c.Conn.SetReadDeadline(longAgo) // fails if it is closed: as well
}

// bound makes reads and writes fail from d on. Bounds that were set before
// stay.
func (c *guardedConn) bound(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := time.Now().Add(d)
	if c.readBound.IsZero() {
		c.readBound = t
		_ = c.Conn.SetReadDeadline(earlier(c.readAsked, t)) // as above
	}
	if c.writeBound.IsZero() {
		c.writeBound = t
		_ = c.Conn.SetWriteDeadline(earlier(c.writeAsked, t)) // as above
	}
}

// earlier is the deadline t, but not later than the bound.
func earlier(t, bound time.Time) time.Time {
	if bound.IsZero() || !t.IsZero() && t.Before(bound) {
		return t
	}
	return bound
}

// SetDeadline sets both deadlines, within their bounds.
func (c *guardedConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of reads, within its bound.
func (c *guardedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readAsked = t
	return c.Conn.SetReadDeadline(earlier(t, c.readBound))
}

// SetWriteDeadline sets the deadline of writes, within its bound.
func (c *guardedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeAsked = t
	return c.Conn.SetWriteDeadline(earlier(t, c.writeBound))
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

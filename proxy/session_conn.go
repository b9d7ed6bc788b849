package proxy

import (
	"bytes"
	"net"
	"sync"
)

// sessionConn knows whether the client is being waited for: whether the last
// thing written was ReadyForQuery and nothing was read since. So a shutdown can
// end sessions between commands, without the handler's help. It lies above TLS.
type sessionConn struct {
	net.Conn

	mu       sync.Mutex
	idle     bool
	whenIdle func() // nil unless the session is to end
}

// readyForQuery is the message without its last byte, the transaction status.
var readyForQuery = []byte{'Z', 0, 0, 0, 5}

// Read reads from the client.
func (c *sessionConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.mu.Lock()
		c.idle = false
		c.mu.Unlock()
	}
	return n, err
}

// Write writes to the client. Whole messages are written at once, so that
// ReadyForQuery is never torn.
func (c *sessionConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	at := len(p) - len(readyForQuery) - 1
	c.mu.Lock()
	c.idle = at >= 0 && bytes.Equal(p[at:at+len(readyForQuery)], readyForQuery)
	end := c.whenIdle
	idle := c.idle
	c.mu.Unlock()
	if idle && end != nil {
		end()
	}
	return n, err
}

// CloseWrite ends the stream to the client.
func (c *sessionConn) CloseWrite() error { return closeWrite(c.Conn) }

// onIdle calls end when the client is waited for, which may be now, and each
// time again.
func (c *sessionConn) onIdle(end func()) {
	c.mu.Lock()
	c.whenIdle = end
	idle := c.idle
	c.mu.Unlock()
	if idle {
		end()
	}
}

package proxy

import (
	"context"
	"encoding/binary"
	"io"
	"syscall"

	"github.com/pgdrover/pgdrover/proxy/relay"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// serveApplication runs an application's session. AuthenticationOk and
// BackendKeyData were sent.
func (c *connection) serveApplication(ctx context.Context, l login, live *liveSession) error {
	s := c.server
	return s.options.Relay.Serve(ctx, relay.Login{
		Conn:            c.session.Conn, // the relay itself knows when it is idle
		User:            c.startup.User,
		Database:        c.startup.Database,
		Credentials:     l.credentials,
		Parameters:      c.startup.Parameters,
		ApplicationName: live.info.ApplicationName,
		TLSVersion:      live.info.TLSVersion,
		RemoteAddr:      c.guard.RemoteAddr(),
		ProcessID:       live.info.ProcessID,
		Started: func(cancel func(), onIdle func(end func())) {
			s.sessions.onCancel(live, cancel)
			s.sessions.onIdle(live, onIdle)
		},
	})
}

// messageReader reads a login's messages and not a byte more: what a client sends
// behind them belongs to whoever serves its session.
type messageReader struct {
	r    io.Reader
	head [wire.HeaderLength]byte
	have int  // bytes of head that were read
	rest int  // bytes of the message that were not
	free bool // read as it comes
}

// Read gives no more than what is left of the current message.
func (m *messageReader) Read(p []byte) (int, error) {
	if m.free || len(p) == 0 {
		return m.r.Read(p)
	}
	if m.rest > 0 {
		n, err := m.r.Read(p[:min(len(p), m.rest)])
		m.rest -= n
		return n, err
	}
	n, err := m.r.Read(p[:min(len(p), len(m.head)-m.have)])
	copy(m.head[m.have:], p[:n])
	if m.have += n; m.have == len(m.head) {
		// A wrong length is for whoever reads the message to see.
		m.have, m.rest = 0, max(0, int(int32(binary.BigEndian.Uint32(m.head[1:])))-4)
	}
	return n, err
}

// SyscallConn is that of the connection below, if there is none between.
func (c *guardedConn) SyscallConn() (syscall.RawConn, error) {
	if raw, ok := c.Conn.(syscall.Conn); ok {
		return raw.SyscallConn()
	}
	return nil, syscall.EINVAL
}

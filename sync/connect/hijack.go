package connect

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// gatedConn is a connection whose reading can be taken away from whoever reads
// it now.
type gatedConn struct {
	net.Conn

	mu     sync.Mutex // held while somebody reads
	closed bool       // nobody reads through it any more
}

func (c *gatedConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

// gated makes a dialer's connections gated.
func gated(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &gatedConn{Conn: conn}, nil
	}
}

// Hijack takes a connection over whose protocol the caller speaks from now on.
// No query may be under way.
//
// When a write takes long pgconn starts a reader in the background, and may leave
// it waiting for the next bytes: those of the caller. It is made to let go.
func Hijack(conn *pgconn.PgConn) (*pgconn.HijackedConn, error) {
	taken, err := conn.Hijack()
	if err != nil {
		return nil, err
	}
	if gate, ok := taken.Conn.(*gatedConn); ok {
		_ = gate.SetReadDeadline(time.Unix(1, 0))
		gate.mu.Lock()
		gate.closed = true
		gate.mu.Unlock()
		_ = gate.SetReadDeadline(time.Time{})
		taken.Conn = gate.Conn
		return taken, nil
	}
	// Through TLS both read the same way: only a read that waits now is ended.
	if secure, ok := taken.Conn.(*tls.Conn); ok {
		if gate, ok := secure.NetConn().(*gatedConn); ok {
			_ = secure.SetReadDeadline(time.Unix(1, 0))
			gate.mu.Lock()
			_ = secure.SetReadDeadline(time.Time{})
			gate.mu.Unlock()
		}
	}
	return taken, nil
}

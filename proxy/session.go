package proxy

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/proxy/auth"
)

// SessionHandler serves the admin database to clients that are logged in.
type SessionHandler interface {
	// ServeSession serves one session until the client ends it or ctx ends. It
	// runs in the connection's own goroutine and must not leave others behind.
	//
	// AuthenticationOk and BackendKeyData have been sent. All that follows is
	// the handler's: ParameterStatus, ReadyForQuery, and also the FATAL error
	// that ends a session before the client does. When ctx ends, that is the
	// *pgerror.Error given by context.Cause, and there are seconds to send it:
	// then reads and writes fail. A handler that waits in Receive alone does
	// not notice ctx before that. Sessions that are idle, which is that
	// ReadyForQuery was the last message, are ended first in a shutdown.
	//
	// The handler does not close the connection. Its error is logged.
	ServeSession(ctx context.Context, s Session) error
}

// Session is a client that is logged in.
type Session struct {
	// Conn is the connection, TLS and all. Deadlines may be set freely, but
	// not beyond the end that the server has set for a session it ends.
	Conn net.Conn
	// Backend reads from and writes to Conn and may have read ahead: read
	// messages through it alone. Its SetMaxBodyLen is low and for the handler
	// to raise.
	Backend *pgproto3.Backend

	User            string
	Database        string
	ApplicationName string            // printable ASCII, up to 63 bytes
	Parameters      map[string]string // startup parameters but user and database, as sent
	ReadOnly        bool              // may SHOW and nothing else
	// Credentials are what this login has shown, for servers of which the
	// configuration has no password of the user's.
	Credentials auth.Credentials
	RemoteAddr  net.Addr
	TLSVersion  string // "TLS 1.3"; "" without TLS
	ConnectedAt time.Time

	ProcessID     uint32
	SecretKey     []byte // what cancels this session; a secret
	ProtocolMinor int    // of protocol 3: 0 or 2

	// OnCancel sets what a cancel request does, nil for nothing. The function
	// is called from another goroutine and must not block.
	OnCancel func(cancel func())
}

// maxApplicationName is PostgreSQL's NAMEDATALEN without the final zero.
const maxApplicationName = 63

// cleanName makes a client's application_name fit for logs and result sets, as
// PostgreSQL does: printable ASCII, 63 bytes.
func cleanName(name string) string {
	clean := []byte(name[:min(len(name), maxApplicationName)])
	for i, c := range clean {
		if c < 0x20 || c > 0x7e {
			clean[i] = '?'
		}
	}
	return string(clean)
}

package proxy

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// SessionHandler serves the admin database to clients that are logged in.
type SessionHandler interface {
	// ServeSession serves one session until the client ends it or ctx ends. It
	// runs in the connection's own goroutine and must not leave others behind.
	//
	// AuthenticationOk and BackendKeyData have been sent; ParameterStatus and
	// ReadyForQuery are the handler's. It neither closes the connection nor
	// says why it ends: if ctx ends (context.Cause tells why), or Receive fails
	// with a timeout that the handler did not set, the session is being ended
	// from here, and the server sends the FATAL error after ServeSession has
	// returned.
	//
	// Of the errors returned, a *pgerror.Error is sent to the client as FATAL;
	// others are taken for a lost connection and only logged.
	ServeSession(ctx context.Context, s Session) error
}

// Session is a client that is logged in.
type Session struct {
	// Conn is the connection, TLS and all. Deadlines may be set freely; while
	// the server ends the session they have no effect.
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
	RemoteAddr      net.Addr
	TLSVersion      string // "TLS 1.3"; "" without TLS
	ConnectedAt     time.Time

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

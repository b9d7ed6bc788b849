// Package dial opens connections to PostgreSQL servers and logs them in. It
// knows no pools and starts no goroutine that outlives a call.
//
// A server may be slow, silent or hostile: what it can make a login keep is
// bounded in bytes, and every wait in time.
package dial

import (
	"context"
	"net"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// Options say which server to connect to, and as whom.
type Options struct {
	// Server is where: host, port, tls_verify and connect_timeout count. Its
	// Database, User and Password count where Database, User and Credentials
	// here are zero.
	Server      config.Server
	Database    string
	User        string
	Credentials auth.Credentials

	// TLS is what LoadTLS has read; nil has Dial read the files that Server
	// names. Whoever dials often loads it once, and again on RELOAD, so that
	// files that are being replaced disturb nobody.
	TLS *TLS

	// Parameters are the startup parameters. user, database, replication and
	// those that begin with _pq_. are not taken from here.
	Parameters map[string]string
	// Replication is "" for an ordinary connection, "database" or "true".
	Replication string
	// ProtocolMinor is the newest minor version of protocol 3 to ask for: 0 or 2.
	// Servers that do not know it agree on an older one.
	ProtocolMinor int
}

// Connection is a connection that is logged in and idle: the last message read
// is ReadyForQuery.
type Connection struct {
	// Conn is plain TCP, a Unix socket, or TLS. Nothing was read ahead and no
	// deadline is set. The caller closes it.
	Conn net.Conn

	ProcessID uint32
	SecretKey []byte // of a cancel request, 4 to 256 bytes; nil if the server sent none

	// Parameters are those that the server reported.
	Parameters    map[string]string
	ProtocolMinor int              // as agreed on
	TLSVersion    string           // "TLS 1.3"; "" without TLS
	Notices       []*pgerror.Error // what the server said during the login, the first 16
}

// Dial connects and logs in. It ends with ctx, and after Server.ConnectTimeout,
// whichever is first. Of several passwords each is tried, on a connection of
// its own, while the server says that they are wrong.
//
// Errors are *pgerror.Error: SQLSTATE, message, DETAIL and HINT of the server if
// it answered (the *pgconn.PgError with all its fields is the cause), and where
// that was.
func Dial(ctx context.Context, o Options) (*Connection, error) {
	return nil, pgerror.New(pgerror.FeatureNotSupported, "dial is not there yet")
}

// Cancel asks the server to cancel what the connection with this process id and
// key is running, and waits until the server has taken note. The request uses
// TLS as Dial would.
func Cancel(ctx context.Context, o Options, processID uint32, key []byte) error {
	return pgerror.New(pgerror.FeatureNotSupported, "dial is not there yet")
}

// Package dial opens connections to PostgreSQL servers and logs them in. It
// knows no pools and starts no goroutine that outlives a call.
//
// A server may be slow, silent or hostile: what it can make a login keep is
// bounded in bytes, and every wait in time.
package dial

import (
	"cmp"
	"context"
	"net"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// maxTime bounds a login where neither the context nor the configuration does.
const maxTime = time.Minute

// Options say which server to connect to, and as whom.
type Options struct {
	// Server is where: host, port, tls_verify and connect_timeout count. Its
	// Database, User and Password count where Database, User and Credentials
	// here are zero.
	Server config.Server
	// Address, if not nil, is where Server.Host is, so that the name is not resolved
	// again: Cancel has to reach the host that has the connection. It is the
	// connection's RemoteAddr; those of Unix sockets are not looked at.
	Address     net.Addr
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
	ProtocolMinor int    // as agreed on
	TLSVersion    string // "TLS 1.3"; "" without TLS
	// PasswordChecked tells that the server asked for the password and found it
	// right; otherwise it trusts this host, or the client's certificate alone.
	PasswordChecked bool
	Notices         []*pgerror.Error // what the server said during the login, the first 16
}

// Credentials gives what db and user say to log in at a server with, several
// passwords if users.toml has several. It is zero if they say nothing: then only
// what the client has shown is left.
func Credentials(db config.Database, user config.User) auth.Credentials {
	switch {
	case db.Password != "":
		return auth.NewCredentials(db.Password.Reveal())
	case user.ServerPassword != "":
		return auth.NewCredentials(user.ServerPassword.Reveal())
	}
	var passwords []string
	for _, secret := range user.AcceptedPasswords() {
		passwords = append(passwords, secret.Reveal())
	}
	return auth.NewCredentials(passwords...)
}

// Dial connects and logs in. It ends with ctx, and after Server.ConnectTimeout,
// whichever is first. Of several passwords each is tried, on a connection of
// its own, while the server says that they are wrong.
//
// Errors are *pgerror.Error: SQLSTATE, message, DETAIL and HINT of the server if
// it answered (the *pgconn.PgError with all its fields is the cause), and where
// that was.
func Dial(ctx context.Context, o Options) (*Connection, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	ctx, cancel := o.bound(ctx)
	defer cancel()
	for credentials := range o.Credentials.Each() {
		var conn *Connection
		conn, err = o.logIn(ctx, credentials)
		if err == nil {
			credentials.Accepted()
			return conn, nil
		}
		if pgerror.Code(err) != pgerror.InvalidPassword {
			break
		}
	}
	return nil, o.explain(ctx, err)
}

// complete fills in what the options leave to the server's entry.
func (o Options) complete() (Options, error) {
	o.Database = cmp.Or(o.Database, o.Server.Database)
	o.User = cmp.Or(o.User, o.Server.User)
	if o.Credentials.IsZero() {
		o.Credentials = auth.NewCredentials(o.Server.Password.Reveal())
	}
	if o.TLS == nil {
		loaded, err := LoadTLS(o.Server)
		if err != nil {
			return o, err
		}
		o.TLS = loaded
	}
	return o, nil
}

// bound gives ctx the time that the server has.
func (o Options) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, cmp.Or(o.Server.ConnectTimeout, maxTime))
}

// logIn logs in once, or twice with tls_verify = "prefer": a server may refuse
// to speak TLS, and pg_hba.conf may refuse connections that do.
func (o Options) logIn(ctx context.Context, credentials auth.Credentials) (*Connection, error) {
	conn, err := o.try(ctx, credentials, o.TLS.mode != config.TLSDisabled)
	if err != nil && o.TLS.mode == config.TLSPrefer && ctx.Err() == nil && plainMayDo(err) {
		plain, plainErr := o.try(ctx, credentials, false)
		if plainErr == nil || pgerror.Code(plainErr) != pgerror.InvalidAuthorization {
			return plain, plainErr
		}
	}
	return conn, err
}

// try opens one connection and logs in on it.
func (o Options) try(ctx context.Context, credentials auth.Credentials, encrypt bool) (*Connection, error) {
	c, err := o.open(ctx, encrypt)
	if err != nil {
		return nil, err
	}
	l := newLogin(c, o, credentials)
	if err := c.within(ctx, l.run); err != nil {
		c.Close()
		return nil, err
	}
	return l.result, nil
}

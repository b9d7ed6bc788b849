package dial

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// place names a server as messages do: by its name in the configuration.
func place(s config.Server) string {
	if s.Cluster == "" {
		return s.Address()
	}
	return fmt.Sprintf("database %q shard %d (%s)", s.Cluster, s.Shard, s.Address())
}

// explain makes err the error of a login at this server.
func (o Options) explain(ctx context.Context, err error) error {
	var known *pgerror.Error
	var e *pgerror.Error
	switch {
	case errors.As(err, &known):
		copied := *known // what the server said, with the words before it
		e = &copied
		e.Message = fmt.Sprintf("cannot connect to %s: %s", place(o.Server), known.Message)
		e.Cause = err
	default:
		code, reason := o.networkReason(ctx, err)
		e = pgerror.New(code, "cannot connect to %s: %s", place(o.Server), reason)
		e.Cause = err
	}
	e.Detail = join(e.Detail, fmt.Sprintf("As user %q, to database %q.", o.User, o.Database))
	e.Hint = cmp.Or(e.Hint, o.hint(e.Code, err))
	return e
}

func join(first, second string) string {
	if first == "" {
		return second
	}
	return first + "\n" + second
}

// networkReason is what is behind an error that is not the server's.
func (o Options) networkReason(ctx context.Context, err error) (code, reason string) {
	var operation *net.OpError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return pgerror.QueryCanceled, "it was canceled"
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return pgerror.UnableToConnect, "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return pgerror.UnableToConnect, "the server closed the connection"
	case errors.As(err, &operation) && operation.Err != nil && !errors.Is(err, errHandshake):
		return pgerror.UnableToConnect, operation.Op + ": " + operation.Err.Error()
	}
	return pgerror.UnableToConnect, err.Error()
}

// hint is what to look at.
func (o Options) hint(code string, err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("The server's certificate must name %q, or host in [[databases]] a name that it has; general.tls_verify = \"verify_ca\" does not check the name.", o.Server.Host)
	case errors.As(err, &authority), errors.As(err, &verification):
		return "Set general.tls_server_ca_certificate to the authority that signed the server's certificate."
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("Is the server running, and are host and port in [[databases]] right? general.connect_timeout is %s.", cmp.Or(o.Server.ConnectTimeout, maxTime))
	case errors.Is(err, errNoTLS):
		return fmt.Sprintf("Set ssl = on in the server's postgresql.conf; general.tls_verify = %q insists on TLS.", o.TLS.mode)
	case errors.Is(err, errHandshake):
		return "Look at the server's log; general.tls_server_certificate may be missing or not be one that the server accepts."
	}
	switch code {
	case pgerror.InvalidPassword:
		return "Check password and server_password of the user in users.toml, password in [[databases]], and the role's password on the server."
	case pgerror.InvalidAuthorization:
		return "Check server_user in users.toml, user in [[databases]], and the server's pg_hba.conf."
	case pgerror.InvalidCatalogName:
		return fmt.Sprintf("Check database_name of [[databases]] %q.", o.Server.Cluster)
	case pgerror.TooManyConnections:
		return "The server has no free connection: lower pool sizes, or raise its max_connections."
	case pgerror.CannotConnectNow:
		return "The server is starting up, shutting down or recovering."
	case pgerror.UnableToConnect:
		return "Is the server running, and are host and port in [[databases]] right?"
	}
	return ""
}

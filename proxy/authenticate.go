package proxy

import (
	"errors"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/lookup"
)

// authenticate finds who the client says it is and has it prove that. What it
// says before must not tell a stranger which users and databases exist.
func (c *connection) authenticate() (login, error) {
	s := c.server
	if c.settings.tls.required && c.tlsState == nil {
		return login{}, pgerror.New(pgerror.InvalidAuthorization, "connections without TLS are refused").
			WithDetail("general.tls_client_required is set.").
			WithHint("Connect with sslmode=require.")
	}
	if wait := s.failedLogins.Wait(c.address); wait > 0 {
		return login{}, pgerror.New(pgerror.InvalidAuthorization, "too many failed logins from this address").
			WithDetail("Logins from %s are refused for now, right or wrong.", c.address).
			WithHint("Try again in %s with the right user, database and password.", (wait + time.Second).Truncate(time.Second))
	}
	found, err := c.settings.users.find(c.startup.User, c.startup.Database)
	if err != nil {
		// The client is treated as unknown: the error is for the operator.
		s.log.Error("a user cannot log in", "user", c.startup.User, "database", c.startup.Database, "error", err)
		found = login{}
	}
	if found.credentials, err = c.prove(found); err != nil {
		if isFailedLogin(err) {
			s.failedLogins.Fail(c.address)
		}
		return login{}, err
	}
	return found, nil
}

// isFailedLogin tells whether the client is to blame: whoever guesses passwords
// makes such errors.
func isFailedLogin(err error) bool {
	for _, reason := range []error{auth.ErrWrongPassword, auth.ErrUnknownUser, auth.ErrNoPassword, lookup.ErrChanged} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// prove runs the exchange, unless the client's certificate names the user. An
// identity that the certificate does not have leaves the password, if the user
// has one. It gives what the client has shown.
func (c *connection) prove(l login) (auth.Credentials, error) {
	if l.place != placeNowhere && certifies(clientCertificate(c.tlsState), l.identity) {
		return auth.Credentials{}, nil
	}
	request := auth.Request{
		Method:       c.settings.method,
		User:         c.startup.User,
		Account:      l.account,
		Confidential: c.tlsState != nil || c.address.IsLoopback(),
		EndPoint:     c.endPoint,
	}
	if !l.foreign {
		return c.server.authenticator.Login(c.backend, request)
	}
	return c.proveForeign(request)
}

// admitSession refuses what a user who is logged in cannot have.
func (c *connection) admitSession(l login) error {
	adminName := c.settings.config.Admin.Name
	if c.needsCertificate(l) && clientCertificate(c.tlsState) == nil {
		return pgerror.New(pgerror.InvalidAuthorization, "connection requires a valid client certificate").
			WithHint("Connect with sslmode=require, sslcert and sslkey, " +
				"or set tls_client_certificate_required = false for the user in users.toml.")
	}
	if l.place == placeApplication && c.server.options.Relay == nil {
		return pgerror.New(pgerror.FeatureNotSupported, "application traffic is not served yet").
			WithDetail("Database \"%s\" is configured, but this release serves the admin database only.", c.startup.Database).
			WithHint("Connect to database \"%s\" to run commands; let applications connect to their servers directly.", adminName)
	}
	if mode := c.startup.Parameters["replication"]; isReplication(mode) && l.place != placeApplication {
		return pgerror.New(pgerror.FeatureNotSupported, "the admin database has no replication connections").
			WithHint("Connect without the parameter replication.")
	}
	return nil
}

// needsCertificate: users of users.toml need one where there are authorities
// to verify it, unless their entry says otherwise; the admin user does not.
func (c *connection) needsCertificate(l login) bool {
	return l.certificateRequired && c.settings.tls.clientCA != ""
}

// isReplication tells whether a replication parameter asks for a replication
// connection: "database", or a true boolean.
func isReplication(mode string) bool {
	switch mode {
	case "", "false", "off", "no", "0":
		return false
	}
	return true
}

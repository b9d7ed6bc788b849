package proxy

import (
	"context"
	"errors"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/lookup"
)

// proveForeign has a client prove that it is a user whom users.toml has no
// password of: by the hash that auth_query finds; else, if that is allowed, by a
// password that the server judges; else by nothing, in an exchange that cannot
// be told from others.
func (c *connection) proveForeign(request auth.Request) (auth.Credentials, error) {
	ctx, cancel := context.WithDeadline(c.server.loginContext, c.since.Add(c.settings.loginTimeout))
	defer cancel()
	var found *auth.Account
	if lookup.Answers(c.settings.config, c.startup.Database) {
		var err error
		if found, err = c.server.directory.Find(ctx, c.settings.config, c.startup.User, c.startup.Database); err != nil {
			return auth.Credentials{}, cannotAsk(err)
		}
	}
	if found == nil && c.passesThrough(request.Confidential) {
		return c.passThrough(ctx, request.User)
	}
	if found != nil {
		request.Account = found
	}
	shown, err := c.server.authenticator.Login(c.backend, request)
	if found != nil && errors.Is(err, auth.ErrWrongPassword) {
		c.server.directory.Doubt(c.settings.config, c.startup.User, c.startup.Database)
	}
	return shown, err
}

// passesThrough tells whether the client may be asked for its password as it is.
func (c *connection) passesThrough(confidential bool) bool {
	config := c.settings.config
	return config.General.PassthroughAuth.On(confidential) && lookup.PassesThrough(config, c.startup.Database)
}

// passThrough has the server judge the client's password.
func (c *connection) passThrough(ctx context.Context, user string) (auth.Credentials, error) {
	password, err := auth.AskPassword(c.backend)
	if err != nil {
		return auth.Credentials{}, err
	}
	shown, err := c.server.directory.Check(ctx, c.settings.config, user, c.startup.Database, password)
	switch {
	case err == nil:
		return shown, nil
	case isFailedLogin(err), errors.Is(err, lookup.ErrTrusted):
		return auth.Credentials{}, auth.Refusal(user, err)
	}
	return auth.Credentials{}, cannotAsk(err)
}

// cannotAsk is what a client is told when the server that knows it could not be
// asked: that is true of users who do not exist as well. Why is for the log.
func cannotAsk(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errShuttingDown) {
		return err // which whyRefused explains
	}
	e := pgerror.New(pgerror.CannotConnectNow, "the user cannot be authenticated now").
		WithDetail("The database's server could not be asked.").
		WithHint("Try again; the log of pgdrover has the reason.")
	e.Cause = err
	return e
}

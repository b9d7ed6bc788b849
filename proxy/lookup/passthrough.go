package lookup

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

// ErrTrusted is why a password was not accepted that the server has not even
// asked for.
var ErrTrusted = errors.New("the server does not ask this host for a password, so it cannot judge one: its pg_hba.conf must ask for scram-sha-256")

// ErrChanged is why another password than the one that was accepted before is
// refused.
var ErrChanged = errors.New("it is not the password that the server has accepted before; passthrough_auth does not allow a change: RELOAD forgets it")

// PassesThrough tells whether servers can judge the users of a database: not if
// the configuration says whom everybody is there.
func PassesThrough(c *config.Config, database string) bool {
	db, ok := primary(c, database)
	return ok && db.User == "" && db.Password == ""
}

// Check has the server judge a password. Nil errors come with the credentials;
// auth.ErrWrongPassword, ErrChanged and ErrTrusted are the server's and the
// configuration's no; other errors mean that it could not be asked.
func (d *Directory) Check(ctx context.Context, c *config.Config, user, database, secret string) (auth.Credentials, error) {
	if secret == "" {
		return auth.Credentials{}, auth.ErrWrongPassword
	}
	key, digest := who{user, database, c}, sha256.Sum256([]byte(secret))
	d.mu.Lock()
	known, ok := d.accepted.get(key)
	d.mu.Unlock()
	if ok {
		same := subtle.ConstantTimeCompare(known.digest[:], digest[:]) == 1
		switch {
		case same && d.options.Now().Sub(known.at) < c.General.AuthCacheTTL:
			return known.credentials, nil
		case !same && !c.General.PassthroughAuth.AllowsChange():
			return auth.Credentials{}, ErrChanged
		}
	}
	shared, err := d.ask(ctx, c, question{who: key, passed: true, digest: digest}, func(ctx context.Context, f *flight) error {
		return d.check(ctx, c, key, secret, f)
	})
	if err != nil {
		return auth.Credentials{}, err
	}
	return shared.password.credentials, nil
}

// check logs in with the password and remembers it if it was right.
func (d *Directory) check(ctx context.Context, c *config.Config, key who, secret string, f *flight) error {
	d.mu.Lock()
	epoch := d.epoch
	d.mu.Unlock()
	f.password = password{credentials: auth.NewCredentials(secret), digest: sha256.Sum256([]byte(secret))}
	err := d.logIn(ctx, c, key, f.password.credentials)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch known, ok := d.accepted.get(key); {
	case err == nil && d.epoch == epoch:
		f.password.at = d.options.Now()
		d.accepted.put(key, f.password)
	case errors.Is(err, auth.ErrWrongPassword) && ok && known.digest == f.password.digest:
		d.accepted.remove(key) // it was right once
	}
	return err
}

// logIn logs in at the server as the client would.
func (d *Directory) logIn(ctx context.Context, c *config.Config, key who, credentials auth.Credentials) error {
	db, ok := primary(c, key.database)
	if !ok || !PassesThrough(c, key.database) {
		return fmt.Errorf("passwords cannot be passed through to database %q", key.database)
	}
	s := c.Server(db, config.User{Name: key.user})
	tls, err := d.loadTLS(s)
	if err != nil {
		return err
	}
	conn, err := dial.Dial(ctx, dial.Options{
		Server: s, Credentials: credentials, TLS: tls,
		Parameters: map[string]string{"application_name": "pgdrover passthrough_auth"},
	})
	switch pgerror.Code(err) {
	case "":
	case pgerror.InvalidPassword, pgerror.InvalidAuthorization:
		return fmt.Errorf("%w: %w", auth.ErrWrongPassword, err)
	default:
		return err
	}
	defer conn.Conn.Close()
	if !conn.PasswordChecked {
		return ErrTrusted
	}
	return nil
}

package lookup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

// Answers tells whether auth_query can find users of a database.
func Answers(c *config.Config, database string) bool {
	if c.General.AuthQuery == "" {
		return false
	}
	_, ok := c.User(c.General.AuthQueryUser, database)
	return ok
}

// Find gives the account of a user by auth_query; nil if the server knows no
// such user. An error means that the server could not be asked, or gave an
// answer that makes no sense: the user may exist.
func (d *Directory) Find(ctx context.Context, c *config.Config, user, database string) (*auth.Account, error) {
	key := who{user, database, c}
	d.mu.Lock()
	known, ok := d.found.get(key)
	d.mu.Unlock()
	if ok && d.options.Now().Sub(known.at) < known.ttl(c) {
		return known.account, nil
	}
	shared, err := d.ask(ctx, c, question{who: key}, func(ctx context.Context, f *flight) error {
		return d.find(ctx, c, key, f)
	})
	if err != nil {
		return nil, err
	}
	return shared.answer.account, nil
}

func (a answer) ttl(c *config.Config) time.Duration {
	if a.account == nil {
		return min(unknownTTL, c.General.AuthCacheTTL)
	}
	return c.General.AuthCacheTTL
}

// Doubt tells that a client's password did not fit what Find gave: it may have
// been changed. An answer that is not quite new is forgotten.
func (d *Directory) Doubt(c *config.Config, user, database string) {
	key := who{user, database, c}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.found.get(key); ok && d.options.Now().Sub(known.at) >= doubtAfter {
		d.found.remove(key)
	}
}

// find asks the server and remembers its answer.
func (d *Directory) find(ctx context.Context, c *config.Config, key who, f *flight) error {
	d.mu.Lock()
	epoch := d.epoch
	d.mu.Unlock()
	hash, err := d.query(ctx, c, key)
	if err != nil {
		return err
	}
	f.answer.at = d.options.Now()
	if hash != "" {
		if f.answer.account, err = d.options.Authenticator.NewAccount(key.user, nil, hash); err != nil {
			return pgerror.New(pgerror.InternalError, "auth_query gave no password hash for user \"%s\": %w", key.user, err).
				WithHint("It must give rolpassword of pg_authid, or NULL.")
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.epoch == epoch {
		d.found.put(key, f.answer)
	}
	return nil
}

// query runs auth_query on a connection that nobody else uses and that has none
// of the client's parameters; "" if it finds nobody.
func (d *Directory) query(ctx context.Context, c *config.Config, key who) (hash string, err error) {
	db, ok := primary(c, key.database)
	runner, known := c.User(c.General.AuthQueryUser, key.database)
	if !ok || !known {
		return "", fmt.Errorf("auth_query cannot run in database %q", key.database)
	}
	s := c.Server(db, runner)
	tls, err := d.loadTLS(s)
	if err != nil {
		return "", err
	}
	conn, err := dial.Dial(ctx, dial.Options{
		Server: s, Credentials: dial.Credentials(db, runner), TLS: tls,
		Parameters: map[string]string{"application_name": "pgdrover auth_query", "client_encoding": "UTF8"},
	})
	if err != nil {
		return "", err
	}
	defer conn.Conn.Close()
	rows, err := runStatement(ctx, conn, c.General.AuthQuery, key.user)
	if err != nil {
		return "", fmt.Errorf("auth_query: %w", err)
	}
	return hashOf(rows, key.user)
}

// Why an answer makes no sense.
var (
	errManyRows = errors.New("auth_query gave more than one row; has its WHERE clause $1?")
	errColumns  = errors.New("auth_query must give one column, the hash, or two, the name and the hash")
)

// hashOf finds the hash in the answer. A row of another user, which a query that
// folds names may give, is none.
func hashOf(rows [][][]byte, user string) (string, error) {
	switch {
	case len(rows) == 0:
		return "", nil
	case len(rows) > 1:
		return "", errManyRows
	}
	row := rows[0]
	if len(row) != 1 && len(row) != 2 {
		return "", errColumns
	}
	// A function that finds nobody may give a row of NULLs.
	if slices.ContainsFunc(row, func(v []byte) bool { return v == nil }) || len(row) == 2 && string(row[0]) != user {
		return "", nil
	}
	return string(row[len(row)-1]), nil
}

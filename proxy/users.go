package proxy

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// users finds logins in one configuration. There is one account for each entry
// of users.toml, and one for the admin user; only they are kept, so that
// strangers cannot make this grow.
type users struct {
	config   *config.Config
	accounts map[secrets]madeAccount

	mu    sync.Mutex
	known map[userKey]login
}

type userKey struct{ user, database string }

// secrets are what an account is made of.
type secrets struct{ user, passwords, hash string }

// madeAccount is an account or, for a hash that is none, why there is none.
type madeAccount struct {
	account *auth.Account
	err     error
}

// newUsers makes the accounts of a configuration. Those that are as they were
// are taken over, with the keys that were derived for them.
func newUsers(c *config.Config, authenticator *auth.Authenticator, previous *settings) *users {
	u := &users{config: c, accounts: make(map[secrets]madeAccount), known: make(map[userKey]login)}
	for _, entry := range c.Users {
		authenticator.Expect(entry.PasswordHash)
	}
	for _, entry := range append(c.Users[:len(c.Users):len(c.Users)], adminUser(c)) {
		key, passwords := secretsOf(entry)
		if _, ok := u.accounts[key]; ok {
			continue
		}
		if previous != nil {
			if made, ok := previous.users.accounts[key]; ok {
				u.accounts[key] = made
				continue
			}
		}
		account, err := authenticator.NewAccount(entry.Name, passwords, entry.PasswordHash)
		u.accounts[key] = madeAccount{account, err}
	}
	return u
}

// adminUser is the admin user as an entry of users.toml would have it.
func adminUser(c *config.Config) config.User {
	return config.User{Name: c.Admin.User, Password: c.Admin.Password}
}

func secretsOf(entry config.User) (secrets, []string) {
	var passwords []string
	var all strings.Builder
	for _, secret := range entry.AcceptedPasswords() {
		passwords = append(passwords, secret.Reveal())
		fmt.Fprintf(&all, "%d:%s", len(secret.Reveal()), secret.Reveal())
	}
	return secrets{entry.Name, all.String(), entry.PasswordHash}, passwords
}

// derive derives the keys of all accounts, until ctx ends: a login that had to
// do it would take longer and so tell that there is such a user.
func (u *users) derive(ctx context.Context) {
	for _, made := range u.accounts {
		if ctx.Err() != nil {
			return
		}
		if made.err == nil {
			made.account.Derive()
		}
	}
}

// find gives the login of a user; its place is placeNowhere if there is none. The
// error is one of the configuration.
func (u *users) find(user, database string) (login, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := userKey{user, database}
	if l, ok := u.known[key]; ok {
		return l, nil
	}
	l, err := u.make(user, database)
	if err == nil && l.account != nil {
		u.known[key] = l
	}
	return l, err
}

func (u *users) make(user, database string) (login, error) {
	c := u.config
	if database == c.Admin.Name {
		return u.admin(user)
	}
	if _, ok := c.Cluster(database); !ok {
		return login{}, nil
	}
	found, ok := c.User(user, database)
	if !ok {
		return login{place: placeApplication, foreign: true, certificateRequired: true}, nil
	}
	l, err := u.configured(found)
	l.place = placeApplication
	// With Trust, to be in users.toml is enough; an identity alone asks for its
	// certificate.
	l.foreign = c.General.AuthType != config.AuthTrust && found.Identity == "" &&
		len(found.AcceptedPasswords()) == 0 && found.PasswordHash == ""
	return l, err
}

// admin is the login of a user of the admin database.
func (u *users) admin(user string) (login, error) {
	if user == u.config.Admin.User {
		l, err := u.configured(adminUser(u.config))
		return login{place: placeAdmin, account: l.account}, err
	}
	for _, reader := range u.config.AdminReaders() {
		if reader.Name == user {
			l, err := u.configured(reader)
			l.place, l.readOnly = placeAdmin, true
			return l, err
		}
	}
	return login{}, nil
}

// configured is the login of an entry of [[users]].
func (u *users) configured(entry config.User) (login, error) {
	key, _ := secretsOf(entry)
	made := u.accounts[key]
	required := entry.TLSClientCertificateRequired
	return login{
		account:             made.account,
		identity:            entry.Identity,
		certificateRequired: required == nil || *required,
	}, made.err
}

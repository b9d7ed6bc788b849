package proxy

import (
	"context"
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// users finds logins in one configuration. It never changes, and takes the same
// time for users who exist and those who do not.
type users struct {
	admin    entry              // of [admin]
	readers  map[string]entry   // of the admin database, by name
	byName   map[string][]entry // of users.toml, in its order
	database string             // the admin database
	clusters map[string]bool
	trust    bool // to be in users.toml is enough
	accounts map[secrets]madeAccount
}

// entry is an entry of users.toml with its account.
type entry struct {
	config.User
	madeAccount
}

// secrets are what an account is made of. Entries with the same ones share it.
type secrets struct{ user, passwords, hash string }

// madeAccount is an account or, for a hash that is none, why there is none.
type madeAccount struct {
	account *auth.Account
	err     error
}

// newUsers makes the accounts of a configuration. Those that are as they were
// are taken over, with the keys that were derived for them.
func newUsers(c *config.Config, authenticator *auth.Authenticator, previous *settings) *users {
	u := &users{
		readers: make(map[string]entry), byName: make(map[string][]entry), database: c.Admin.Name,
		clusters: make(map[string]bool), trust: c.General.AuthType == config.AuthTrust, accounts: make(map[secrets]madeAccount),
	}
	for _, d := range c.Databases {
		u.clusters[d.Name] = true
	}
	for _, user := range c.Users {
		authenticator.Expect(user.PasswordHash)
	}
	var known map[secrets]madeAccount
	if previous != nil {
		known = previous.users.accounts
	}
	u.admin = u.add(config.User{Name: c.Admin.User, Password: c.Admin.Password}, authenticator, known)
	for _, user := range c.Users {
		added := u.add(user, authenticator, known)
		u.byName[user.Name] = append(u.byName[user.Name], added)
		if _, twice := u.readers[user.Name]; user.Names(c.Admin.Name) && !twice {
			u.readers[user.Name] = added
		}
	}
	return u
}

// add makes the account of a user, unless one of the same secrets is there.
func (u *users) add(user config.User, authenticator *auth.Authenticator, known map[secrets]madeAccount) entry {
	key, passwords := secretsOf(user)
	made, ok := u.accounts[key]
	if !ok {
		made, ok = known[key]
	}
	if !ok {
		made.account, made.err = authenticator.NewAccount(user.Name, passwords, user.PasswordHash)
	}
	u.accounts[key] = made
	return entry{user, made}
}

func secretsOf(user config.User) (secrets, []string) {
	var passwords []string
	var all strings.Builder
	for _, secret := range user.AcceptedPasswords() {
		passwords = append(passwords, secret.Reveal())
		fmt.Fprintf(&all, "%d:%s", len(secret.Reveal()), secret.Reveal())
	}
	return secrets{user.Name, all.String(), user.PasswordHash}, passwords
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
	switch {
	case database == u.database && user == u.admin.Name:
		return login{place: placeAdmin, account: u.admin.account}, u.admin.err
	case database == u.database:
		reader, ok := u.readers[user]
		if !ok {
			return login{}, nil
		}
		l, err := reader.login(placeAdmin)
		l.readOnly = true
		return l, err
	case !u.clusters[database]:
		return login{}, nil
	}
	for _, e := range u.byName[user] {
		if e.MayUse(database) {
			l, err := e.login(placeApplication)
			// An identity alone asks for its certificate.
			l.foreign = !u.trust && e.Identity == "" && len(e.AcceptedPasswords()) == 0 && e.PasswordHash == ""
			return l, err
		}
	}
	return login{place: placeApplication, foreign: true, certificateRequired: true}, nil
}

func (e entry) login(at place) (login, error) {
	required := e.TLSClientCertificateRequired
	return login{
		place: at, account: e.account, identity: e.Identity,
		certificateRequired: required == nil || *required,
	}, e.err
}

package proxy

import (
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// TestAccountsAreTakenOver: a new configuration derives no keys again, but for
// users whose secrets are other ones.
func TestAccountsAreTakenOver(t *testing.T) {
	t.Parallel()
	a := auth.New()
	c := config.Default()
	c.Databases = []config.Database{{Name: "prod", Host: "h", Role: config.RolePrimary}, {Name: "test", Host: "h", Role: config.RolePrimary}}
	c.Users = []config.User{
		{Name: "same", AllDatabases: true, Password: "p", Passwords: []config.Secret{"q"}}, {Name: "changed", Database: "prod", Password: "p"},
		{Name: "broken", Database: "prod", PasswordHash: "SCRAM-SHA-256$?"},
	}
	before := newSettings(c, a, nil)
	changed := *c
	changed.Users = []config.User{c.Users[0], {Name: "changed", Database: "prod", Password: "new"}, c.Users[2]}
	after := newSettings(&changed, a, before)

	find := func(s *settings, user, database string) *auth.Account {
		t.Helper()
		l, err := s.users.find(user, database)
		if (err != nil) != (user == "broken") {
			t.Errorf("%s: %v", user, err)
		}
		return l.account
	}
	if same := find(before, "same", "prod"); same == nil || find(after, "same", "prod") != same || find(after, "same", "test") != same {
		t.Error("the account is another one")
	}
	if find(before, "changed", "prod") == find(after, "changed", "prod") {
		t.Error("the account has the old password")
	}
	if find(after, "broken", "prod") != nil {
		t.Error("a hash that is none makes an account")
	}
	if find(before, "admin", "admin") != find(after, "admin", "admin") {
		t.Error("the admin's account is another one")
	}
	if l, err := after.users.find("stranger", "prod"); err != nil || !l.foreign || l.account != nil {
		t.Errorf("%+v, %v", l, err)
	}
	if n := len(after.users.accounts); n != 4 { // the admin's among them
		t.Errorf("%d accounts are kept", n)
	}
}

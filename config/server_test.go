package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestServer(t *testing.T) {
	t.Parallel()
	c := mustParse(t, `[general]
tls_verify = "verify_full"
tls_server_ca_certificate = "ca"
tls_server_certificate = "cert"
tls_server_private_key = "key"
connect_timeout = 1000
[[databases]]
name = "prod"
host = "::1"
port = 5433
`, "")
	got := c.Server(c.Databases[0], User{Name: "app", Password: "p"})
	want := Server{Cluster: "prod", Host: "::1", Port: 5433, Database: "prod", User: "app", Password: "p",
		TLSVerify: TLSVerifyFull, CAFile: "ca", CertFile: "cert", KeyFile: "key", ConnectTimeout: time.Second}
	if got != want {
		t.Errorf("%+v", got)
	}
	if got.Address() != "[::1]:5433" {
		t.Error(got.Address())
	}
}

func TestServerCredentials(t *testing.T) {
	t.Parallel()
	c := Default()
	for _, test := range []struct {
		name           string
		db             Database
		user           User
		login, secret  string
		databaseOnHost string
	}{
		{"user's own", Database{Name: "d"}, User{Name: "u", Password: "p"}, "u", "p", "d"},
		{"first of passwords", Database{Name: "d"}, User{Name: "u", Passwords: []Secret{"", "p1", "p2"}}, "u", "p1", "d"},
		{"password before passwords", Database{Name: "d"}, User{Name: "u", Password: "p", Passwords: []Secret{"p1"}}, "u", "p", "d"},
		{"server_user", Database{Name: "d"}, User{Name: "u", Password: "p", ServerUser: "su", ServerPassword: "sp"}, "su", "sp", "d"},
		{"server_user alone", Database{Name: "d"}, User{Name: "u", Password: "p", ServerUser: "su"}, "su", "p", "d"},
		{"database's", Database{Name: "d", DatabaseName: "real", User: "du", Password: "dp"}, User{Name: "u", ServerUser: "su", ServerPassword: "sp"}, "du", "dp", "real"},
		{"database's user alone", Database{Name: "d", User: "du"}, User{Name: "u", Password: "p", ServerPassword: "sp"}, "du", "sp", "d"},
		{"verifier only", Database{Name: "d"}, User{Name: "u", PasswordHash: goodVerifier}, "u", "", "d"},
	} {
		s := c.Server(test.db, test.user)
		if s.User != test.login || s.Password.Reveal() != test.secret || s.Database != test.databaseOnHost {
			t.Errorf("%s: %q %q %q", test.name, s.User, s.Password.Reveal(), s.Database)
		}
	}
}

func TestClusters(t *testing.T) {
	t.Parallel()
	c := &Config{Databases: []Database{
		{Name: "b", Host: "b1", Shard: 1, Role: RolePrimary},
		{Name: "a", Host: "a0", Role: RoleAuto},
		{Name: "b", Host: "b0r", Shard: 0, Role: RoleReplica},
		{Name: "b", Host: "b0", Shard: 0, Role: RolePrimary},
		{Name: "a", Host: "a0b", Role: RoleAuto},
		{Name: "c", Host: "c0r", Role: RoleAuto},
		{Name: "c", Host: "c0", Role: RolePrimary},
	}}
	want := []Cluster{
		{"a", []Shard{{0, c.Databases[1], []Database{c.Databases[4]}}}},
		{"b", []Shard{{0, c.Databases[3], []Database{c.Databases[2]}}, {1, c.Databases[0], nil}}},
		{"c", []Shard{{0, c.Databases[6], []Database{c.Databases[5]}}}},
	}
	if diff := cmp.Diff(want, c.Clusters()); diff != "" {
		t.Error(diff)
	}
	if _, ok := c.Cluster("nowhere"); ok {
		t.Error("found a cluster that is not there")
	}
}

func TestUsersOfDatabases(t *testing.T) {
	t.Parallel()
	c := &Config{Admin: Admin{Name: "admin"}, Users: []User{
		{Name: "one", Database: "a"},
		{Name: "some", Databases: []string{"b", "admin"}, SchemaAdmin: true},
		{Name: "all", AllDatabases: true},
		{Name: "stats", Database: "admin"},
	}}
	for _, test := range []struct {
		user, database string
		want           bool
	}{{"one", "a", true}, {"one", "b", false}, {"some", "b", true}, {"all", "a", true}, {"all", "zzz", true}, {"stats", "a", false}, {"nobody", "a", false}} {
		if u, ok := c.User(test.user, test.database); ok != test.want || ok && u.Name != test.user {
			t.Errorf("%s of %s: %v", test.user, test.database, ok)
		}
	}
	var readers []string
	for _, u := range c.AdminReaders() {
		readers = append(readers, u.Name)
	}
	if diff := cmp.Diff([]string{"some", "stats"}, readers); diff != "" {
		t.Error(diff)
	}
	if u, ok := c.SchemaAdmin("b"); !ok || u.Name != "some" {
		t.Errorf("schema admin of b: %v", u.Name)
	}
	if _, ok := c.SchemaAdmin("a"); ok {
		t.Error("a has a schema admin")
	}
	u := User{Password: "a", Passwords: []Secret{"b", "a", ""}}
	if diff := cmp.Diff([]Secret{"a", "b"}, u.AcceptedPasswords()); diff != "" {
		t.Error(diff)
	}
}

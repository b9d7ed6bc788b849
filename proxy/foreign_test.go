package proxy_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// rolePassword is that of the roles which only the server knows.
const rolePassword = "the role's secret"

// foreignServer starts a server with roles that users.toml does not have.
func foreignServer(t *testing.T) *pgtest.Cluster {
	t.Helper()
	c := pgtest.Start(t, pgtest.Options{HBA: []string{"host all postgres all trust", "host all trusted all trust", "host all hashed all md5", "host all all all scram-sha-256"}})
	db := c.Database("postgres")
	password := "'" + strings.ReplaceAll(rolePassword, "'", "''") + "'"
	for _, role := range []string{"alice", "renewed", "guessed", pgtest.Quote(`Weird "Name" $1`), "trusted"} {
		db.Exec(t, "CREATE ROLE "+role+" LOGIN PASSWORD "+password)
	}
	db.Exec(t, "CREATE ROLE finder SUPERUSER LOGIN PASSWORD "+password)
	db.Exec(t, "SET password_encryption = md5; CREATE ROLE hashed LOGIN PASSWORD "+password)
	return c
}

// foreignConfig has the server as prod, and one who may ask it.
func foreignConfig(c *pgtest.Cluster) *config.Config {
	out := testConfig()
	out.Databases = []config.Database{{Name: "prod", DatabaseName: "postgres", Host: c.Host(), Port: c.Port(), Role: config.RolePrimary}}
	out.Users = append(out.Users, config.User{Name: "finder", Database: "prod", Password: rolePassword}, config.User{Name: "settings_only", Database: "prod"})
	return out
}

// TestForeignUsers: those of whom users.toml has no password.
func TestForeignUsers(t *testing.T) {
	t.Parallel()
	cluster := foreignServer(t)
	for name, test := range map[string]func(*testing.T, *pgtest.Cluster){
		"auth_query": testAuthQuery, "auth_query finds new passwords": testAuthQueryFindsNewPasswords, "auth_query that cannot run": testAuthQueryThatCannotRun,
		"passthrough_auth": testPassthrough, "failed passthrough is limited": testFailedPassthroughIsLimited,
		"shutdown ends questions": testShutdownEndsQuestions, "login timeout ends questions": testLoginTimeoutEndsQuestions,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, cluster)
		})
	}
}

const authQuery = "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid WHERE rolname = $1 AND rolcanlogin"

// manyFailures lets tests fail to log in.
func manyFailures(o *proxy.Options) { o.FailedLogins = auth.LimiterOptions{Failures: 1000} }

// authenticated tells whether a login has passed, whatever came then.
func authenticated(t *testing.T, err error) bool {
	t.Helper()
	var e *pgconn.PgError
	switch {
	case err == nil:
		return true
	case !errors.As(err, &e):
		t.Fatalf("the login ended with %v", err)
	}
	return e.Code != pgerror.InvalidPassword && e.Code != pgerror.InvalidAuthorization && e.Code != pgerror.CannotConnectNow
}

func testAuthQuery(t *testing.T, cluster *pgtest.Cluster) {
	for _, method := range []config.AuthType{config.AuthSCRAM, config.AuthMD5, config.AuthPlain, config.AuthTrust} {
		t.Run(string(method), func(t *testing.T) {
			t.Parallel()
			c := withTLS(t, foreignConfig(cluster))
			c.General.AuthType, c.General.AuthQuery, c.General.AuthQueryUser = method, authQuery, "finder"
			s := start(t, c, manyFailures)
			for _, test := range []struct {
				user, database, password string
				want                     bool
			}{
				{"alice", "prod", rolePassword, true},
				{`Weird "Name" $1`, "prod", rolePassword, true},
				{"alice", "prod", "wrong", method == config.AuthTrust},
				{"hashed", "prod", rolePassword, method != config.AuthSCRAM}, // SCRAM needs a verifier
				{"hashed", "prod", "wrong", method == config.AuthTrust},
				{"nobody", "prod", rolePassword, false},
				{"pg_read_all_data", "prod", "", false},
				{"alice", "admin", rolePassword, false},
				{"alice", "nowhere", rolePassword, false},
				{"app", "prod", appPassword, true}, // users.toml counts first
			} {
				_, err := s.connect(t, "sslmode=require", as(test.user, test.database, test.password))
				if got := authenticated(t, err); got != test.want {
					t.Errorf("%s to %s with %q: %v", test.user, test.database, test.password, err)
				}
				if !test.want {
					wantError(t, err, "28P01", `password authentication failed for user "`+test.user+`"`)
				}
			}
			s.mustConnect(t, "sslmode=require")
			if strings.Contains(s.log.String(), rolePassword) || strings.Contains(s.log.String(), "SCRAM-SHA-256$") {
				t.Error("the log has a secret")
			}
		})
	}
}

// testAuthQueryFindsNewPasswords: at once after RELOAD, and soon by itself.
func testAuthQueryFindsNewPasswords(t *testing.T, cluster *pgtest.Cluster) {
	c := foreignConfig(cluster)
	c.General.AuthQuery, c.General.AuthQueryUser = authQuery, "finder"
	s := start(t, c, manyFailures)
	try := func(password string, want bool) {
		t.Helper()
		_, err := s.connect(t, "sslmode=disable", as("renewed", "prod", password))
		if got := authenticated(t, err); got != want {
			t.Errorf("with %q: %v", password, err)
		}
	}
	try(rolePassword, true)
	cluster.Database("postgres").Exec(t, "ALTER ROLE renewed PASSWORD 'new'")
	try(rolePassword, true)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	try(rolePassword, false)
	try("new", true)
	cluster.Database("postgres").Exec(t, "ALTER ROLE renewed PASSWORD 'newer'")
	eventually(t, "a wrong password has the server asked again", func() bool {
		_, err := s.connect(t, "sslmode=disable", as("renewed", "prod", "newer"))
		return authenticated(t, err)
	})
}

func testAuthQueryThatCannotRun(t *testing.T, cluster *pgtest.Cluster) {
	c := foreignConfig(cluster)
	c.General.AuthQuery, c.General.AuthQueryUser = "SELECT no_such_function($1)", "finder"
	s := start(t, c)
	var messages []string
	for _, user := range []string{"alice", "nobody"} {
		_, err := s.connect(t, "sslmode=disable", as(user, "prod", rolePassword))
		e := wantError(t, err, "57P03", "cannot be authenticated now")
		messages = append(messages, fmt.Sprint(e.Message, e.Detail, e.Hint))
	}
	if messages[0] != messages[1] || strings.Contains(messages[0], "no_such_function") {
		t.Errorf("clients are told %q", messages)
	}
	if !strings.Contains(s.log.String(), "no_such_function") {
		t.Error("the log does not tell why")
	}
	_, err := s.connect(t, "sslmode=disable", as("app", "prod", appPassword))
	if !authenticated(t, err) {
		t.Errorf("users of users.toml cannot log in: %v", err)
	}
}

func testPassthrough(t *testing.T, cluster *pgtest.Cluster) {
	c := withTLS(t, foreignConfig(cluster))
	c.General.PassthroughAuth = config.PassthroughEnabled
	s := start(t, c, manyFailures)
	for _, test := range []struct {
		user, database, password string
		want                     bool
	}{
		{"alice", "prod", rolePassword, true},
		{"alice", "prod", "wrong", false},
		{"hashed", "prod", rolePassword, true},
		{`Weird "Name" $1`, "prod", rolePassword, true},
		{"trusted", "prod", "anything", false}, // the server does not judge it
		{"nobody", "prod", rolePassword, false},
		{"alice", "admin", rolePassword, false},
		{"alice", "nowhere", rolePassword, false},
		{"app", "prod", appPassword, true},
		{"app", "prod", "wrong", false},
		{"settings_only", "prod", "x", false},
	} {
		_, err := s.connect(t, "sslmode=require", as(test.user, test.database, test.password))
		if got := authenticated(t, err); got != test.want {
			t.Errorf("%s to %s with %q: %v", test.user, test.database, test.password, err)
		}
		if !test.want {
			wantError(t, err, "28P01", `password authentication failed for user "`+test.user+`"`)
		}
	}
	cluster.Database("postgres").Exec(t, "CREATE ROLE settings_only LOGIN PASSWORD 'x'")
	if _, err := s.connect(t, "sslmode=require", as("settings_only", "prod", "x")); !authenticated(t, err) {
		t.Errorf("an entry without a password: %v", err)
	}
	if !strings.Contains(s.log.String(), "pg_hba.conf must ask") {
		t.Error("the log does not say that the server trusts us")
	}
	for _, secret := range []string{rolePassword, "anything"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has a password")
		}
	}
}

// testFailedPassthroughIsLimited: servers judge few guesses.
func testFailedPassthroughIsLimited(t *testing.T, cluster *pgtest.Cluster) {
	c := withTLS(t, foreignConfig(cluster))
	c.General.PassthroughAuth = config.PassthroughEnabled
	s := start(t, c, func(o *proxy.Options) { o.FailedLogins = auth.LimiterOptions{Failures: 3} })
	for range 3 {
		_, err := s.connect(t, "sslmode=require", as("guessed", "prod", "guess"))
		wantError(t, err, "28P01", "")
	}
	_, err := s.connect(t, "sslmode=require", as("guessed", "prod", rolePassword))
	wantError(t, err, "28000", "too many failed logins")
	if n := strings.Count(cluster.Log(), `authentication failed for user "guessed"`); n != 3 {
		t.Errorf("the server has seen %d guesses", n)
	}
}

// testShutdownEndsQuestions: who waits for a server's answer is told at once.
func testShutdownEndsQuestions(t *testing.T, cluster *pgtest.Cluster) {
	c := foreignConfig(cluster)
	c.General.AuthQuery, c.General.AuthQueryUser = "SELECT pg_sleep(601), $1", "finder"
	s := start(t, c)
	done := make(chan error, 1)
	go func() {
		_, err := s.connect(t, "sslmode=disable", as("alice", "prod", "x"))
		done <- err
	}()
	cluster.Database("postgres").WaitUntil(t, "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%601%'")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	wantError(t, <-done, "57P03", "shutting down")
}

func testLoginTimeoutEndsQuestions(t *testing.T, cluster *pgtest.Cluster) {
	c := foreignConfig(cluster)
	c.General.AuthQuery, c.General.AuthQueryUser = "SELECT pg_sleep(600), $1", "finder"
	c.General.ClientLoginTimeout = 300 * 1e6
	s := start(t, c)
	_, err := s.connect(t, "sslmode=disable", as("alice", "prod", "x"))
	wantError(t, err, "57014", "due to timeout")
}

// TestRequiredChannelBinding: libpq and pgx insist on it.
func TestRequiredChannelBinding(t *testing.T) {
	t.Parallel()
	verifier, err := auth.NewVerifier("stored")
	if err != nil {
		t.Fatal(err)
	}
	c := withTLS(t, testConfig())
	c.Users = append(c.Users, config.User{Name: "v", Database: "admin", PasswordHash: verifier.Text()})
	s := start(t, c)
	s.mustConnect(t, "sslmode=require&channel_binding=require")
	s.mustConnect(t, "sslmode=require&channel_binding=require", as("v", "admin", "stored"))
	s.mustConnect(t, "sslmode=require&channel_binding=disable")
	_, err = s.connect(t, "sslmode=require&channel_binding=require", as("v", "admin", "wrong"))
	wantError(t, err, "28P01", "")

	programs := map[string]string{}
	for _, installation := range pgtest.Majors(t) {
		if path, err := installation.Tool("psql"); err == nil {
			programs[installation.String()] = path
		}
	}
	for name, program := range programs {
		for _, test := range []struct {
			conninfo, password, want string
		}{
			{"sslmode=require channel_binding=require", adminPassword, "tls=true"},
			{"sslmode=prefer channel_binding=prefer", adminPassword, "tls=true"},
			{"sslmode=require channel_binding=disable", adminPassword, "tls=true"},
			{"sslmode=require channel_binding=require", "wrong", "password authentication failed"},
			{"sslmode=disable channel_binding=require", adminPassword, "channel binding required"},
		} {
			got, _ := s.run(t, program, "user=admin dbname=admin "+test.conninfo, test.password, "-c", "session")
			if !strings.Contains(got, test.want) {
				t.Errorf("%s: %s: %s", name, test.conninfo, got)
			}
		}
	}
}

// TestLibpqSpeaksTLSAtOnce: sslnegotiation=direct came with version 17.
func TestLibpqSpeaksTLSAtOnce(t *testing.T) {
	t.Parallel()
	program, err := pgtest.Newer(t).Tool("psql")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, withTLS(t, testConfig()))
	got, err := s.run(t, program, "user=admin dbname=admin sslmode=require sslnegotiation=direct channel_binding=require", adminPassword, "-c", "session")
	if err != nil || !strings.Contains(got, "tls=true") {
		t.Errorf("%v: %s", err, got)
	}
}

// TestSomebodyBetween: a client that shook hands with another certificate is
// not let in, even if it knows the password.
func TestSomebodyBetween(t *testing.T) {
	t.Parallel()
	s := start(t, withTLS(t, testConfig()))
	var seen atomic.Int32
	address := between(t, s.address, &seen)
	_, err := s.connect(t, "sslmode=require&channel_binding=require", func(c *pgconn.Config) {
		c.Host, c.Port = address.IP.String(), uint16(address.Port)
	})
	wantError(t, err, "28000", "channel binding check failed")
	if seen.Load() != 1 {
		t.Error("nobody was between")
	}
}

// run runs a psql of any version.
func (s *testServer) run(t *testing.T, program, conninfo, password string, arguments ...string) (string, error) {
	t.Helper()
	host, port, _ := strings.Cut(s.address, ":")
	command := exec.CommandContext(t.Context(), program, append([]string{"-XAt", "-d", "host=" + host + " port=" + port + " " + conninfo}, arguments...)...)
	command.Env = []string{"PGPASSWORD=" + password, "PGCONNECT_TIMEOUT=30", "HOME=" + t.TempDir(), "PATH=/usr/bin:/bin"}
	output, err := command.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

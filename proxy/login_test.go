package proxy_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

func TestLoginMethods(t *testing.T) {
	t.Parallel()
	for _, method := range []config.AuthType{config.AuthSCRAM, config.AuthMD5, config.AuthPlain, config.AuthTrust} {
		for _, tls := range []bool{false, true} {
			name := string(method)
			if tls {
				name += " with TLS"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := testConfig()
				c.General.AuthType = method
				parameters := "sslmode=disable&application_name=suite"
				if tls {
					withTLS(t, c)
					parameters = "sslmode=require&application_name=suite"
				}
				s := start(t, c)
				want := "user=admin database=admin application=suite readonly=false protocol=3.0 key=4 tls=false"
				if tls {
					want = strings.Replace(want, "tls=false", "tls=true", 1)
				}
				if got := session(t, s.mustConnect(t, parameters)); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				got := session(t, s.mustConnect(t, parameters, as("reader", "admin", readerPassword)))
				if !strings.Contains(got, "user=reader") || !strings.Contains(got, "readonly=true") {
					t.Errorf("the reader's session is %s", got)
				}
				if method == config.AuthTrust {
					return
				}
				_, err := s.connect(t, parameters, as("admin", "admin", "wrong"))
				wantError(t, err, "28P01", `password authentication failed for user "admin"`)
			})
		}
	}
}

// TestStrangersLearnNothing: whatever is wrong with user, database or password,
// the answer is the same.
func TestStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	for _, method := range []config.AuthType{config.AuthSCRAM, config.AuthMD5, config.AuthPlain} {
		t.Run(string(method), func(t *testing.T) {
			t.Parallel()
			c := testConfig()
			c.General.AuthType = method
			c.Users = append(c.Users, config.User{Name: "broken", Database: "prod", PasswordHash: "SCRAM-SHA-256$?"})
			s := start(t, c, func(o *proxy.Options) { o.FailedLogins = auth.LimiterOptions{Failures: 100} })
			for _, who := range [][3]string{
				{"admin", "admin", "wrong"},
				{"nobody", "admin", adminPassword},
				{"admin", "nowhere", adminPassword},
				{"admin", "prod", adminPassword},
				{"app", "admin", appPassword},
				{"app", "prod", "wrong"},
				{"broken", "prod", "wrong"},
				{`Weird "Name" $1`, `Weird "Name" $1`, "x"},
			} {
				_, err := s.connect(t, "sslmode=disable", as(who[0], who[1], who[2]))
				e := wantError(t, err, "28P01", `password authentication failed for user "`+who[0]+`"`)
				if e.Detail != "" || e.Hint != "" || e.Severity != "FATAL" {
					t.Errorf("%v: %+v", who, e)
				}
			}
			if strings.Contains(s.log.String(), "client logged in") {
				t.Error("somebody got in")
			}
		})
	}
}

func TestTrustNeedsAKnownUser(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.General.AuthType = config.AuthTrust
	s := start(t, c)
	_, err := s.connect(t, "sslmode=disable", as("nobody", "admin", ""))
	wantError(t, err, "28P01", "password authentication failed")
}

func TestApplicationTrafficIsNotServed(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	_, err := s.connect(t, "sslmode=disable", as("app", "prod", appPassword))
	e := wantError(t, err, "0A000", "application traffic is not served yet")
	if !strings.Contains(e.Hint, `database "admin"`) || !strings.Contains(e.Detail, `"prod"`) {
		t.Errorf("%+v", e)
	}
}

func TestAdminHasNoReplication(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	_, err := s.connect(t, "sslmode=disable&replication=database")
	wantError(t, err, "0A000", "replication")
	s.mustConnect(t, "sslmode=disable&replication=false")
}

func TestPasswordsRotate(t *testing.T) {
	t.Parallel()
	c := testConfig()
	verifier, err := auth.NewVerifier("stored")
	if err != nil {
		t.Fatal(err)
	}
	c.Users = []config.User{
		{Name: "r", Database: "admin", Password: "one", Passwords: []config.Secret{"two", "three"}},
		{Name: "v", Databases: []string{"admin"}, PasswordHash: verifier.Text()},
		{Name: "all", AllDatabases: true, Password: "x"},
	}
	s := start(t, c)
	for _, password := range []string{"one", "two", "three"} {
		s.mustConnect(t, "sslmode=disable", as("r", "admin", password))
	}
	s.mustConnect(t, "sslmode=disable", as("v", "admin", "stored"))
	_, err = s.connect(t, "sslmode=disable", as("r", "admin", "four"))
	wantError(t, err, "28P01", "")
	// all_databases does not open the admin database.
	_, err = s.connect(t, "sslmode=disable", as("all", "admin", "x"))
	wantError(t, err, "28P01", "")
	_, err = s.connect(t, "sslmode=disable", as("all", "prod", "x"))
	wantError(t, err, "0A000", "")
}

func TestNewConfigurationAppliesAtOnce(t *testing.T) {
	t.Parallel()
	var current atomic.Pointer[config.Config]
	current.Store(testConfig())
	s := start(t, nil, func(o *proxy.Options) { o.Config = current.Load })
	s.mustConnect(t, "sslmode=disable")
	changed := testConfig()
	changed.Admin.Password = "new"
	current.Store(changed)
	_, err := s.connect(t, "sslmode=disable")
	wantError(t, err, "28P01", "")
	s.mustConnect(t, "sslmode=disable", as("admin", "admin", "new"))
}

func TestFailedLoginsAreLimited(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	s := start(t, testConfig(), func(o *proxy.Options) {
		o.FailedLogins = auth.LimiterOptions{Failures: 2, Window: time.Minute, Now: func() time.Time { return now }}
	})
	for _, user := range []string{"admin", "nobody"} {
		s.mustConnect(t, "sslmode=disable")
		_, err := s.connect(t, "sslmode=disable", as(user, "admin", "wrong"))
		wantError(t, err, "28P01", "")
	}
	_, err := s.connect(t, "sslmode=disable")
	e := wantError(t, err, "28000", "too many failed logins from this address")
	if !strings.Contains(e.Detail, "127.0.0.1") || !strings.Contains(e.Hint, "1m1s") {
		t.Errorf("%+v", e)
	}
}

func TestGeneratedPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.Admin.Password, c.Admin.PasswordGenerated = "generated0123456789", true
	s := start(t, c)
	if log := s.log.String(); !strings.Contains(log, "PGDOG_ADMIN_PASSWORD") || strings.Contains(log, "generated0123456789") {
		t.Errorf("the log is\n%s", log)
	}
}

func TestLoggingOfSessions(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		c := testConfig()
		c.General.LogConnections, c.General.LogDisconnections = on, on
		s := start(t, c)
		conn := s.mustConnect(t, "sslmode=disable&application_name=a%0Ab%C3%A4")
		if got := session(t, conn); !strings.Contains(got, "application=a?b?? ") {
			t.Errorf("application_name is not cleaned: %s", got)
		}
		conn.Close(t.Context())
		eventually(t, "the end of the session", func() bool { return len(s.Sessions()) == 0 })
		eventually(t, "the log line", func() bool {
			return strings.Contains(s.log.String(), "client logged in") == on && strings.Contains(s.log.String(), "client disconnected") == on
		})
	}
}

// psql runs PostgreSQL's own client.
func (s *testServer) psql(t *testing.T, conninfo, password string, arguments ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not installed")
	}
	host, port, _ := strings.Cut(s.address, ":")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, path, append([]string{"-XAt", "-d", "host=" + host + " port=" + port + " " + conninfo}, arguments...)...)
	command.Env = []string{"PGPASSWORD=" + password, "PGCONNECT_TIMEOUT=30", "HOME=" + t.TempDir(), "PATH=/usr/bin:/bin"}
	output, err := command.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func TestPsql(t *testing.T) {
	t.Parallel()
	for _, method := range []config.AuthType{config.AuthSCRAM, config.AuthMD5, config.AuthPlain, config.AuthTrust} {
		t.Run(string(method), func(t *testing.T) {
			t.Parallel()
			c := withTLS(t, testConfig())
			c.General.AuthType = method
			s := start(t, c)
			for _, mode := range []string{"disable", "prefer", "require"} {
				got, err := s.psql(t, "user=admin dbname=admin sslmode="+mode, adminPassword, "-c", "session")
				tls := "tls=true"
				if mode == "disable" {
					tls = "tls=false"
				}
				if err != nil || !strings.HasPrefix(got, "user=admin database=admin application=psql ") || !strings.HasSuffix(got, tls) {
					t.Errorf("sslmode=%s: %v: %s", mode, err, got)
				}
			}
			if method == config.AuthTrust {
				return
			}
			got, err := s.psql(t, "user=admin dbname=admin sslmode=require", "wrong", "-c", "session")
			if err == nil || !strings.HasSuffix(got, `FATAL:  password authentication failed for user "admin"`) {
				t.Errorf("%v: %s", err, got)
			}
		})
	}
}

func TestPsqlWithoutTLS(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	got, err := s.psql(t, "user=admin dbname=admin sslmode=prefer", adminPassword, "-c", "session", "-c", "session")
	if err != nil || strings.Count(got, "tls=false") != 2 {
		t.Errorf("%v: %s", err, got)
	}
	got, err = s.psql(t, "user=admin dbname=admin sslmode=require", adminPassword, "-c", "session")
	if err == nil || !strings.Contains(got, "server does not support SSL") {
		t.Errorf("%v: %s", err, got)
	}
	// psql tells DETAIL and HINT of a refused login.
	got, err = s.psql(t, "user=app dbname=prod", appPassword, "-c", "session")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(got, "HINT:  Connect to database \"admin\"") || !strings.Contains(got, "DETAIL:  ") {
		t.Errorf("%v: %s", err, got)
	}
}

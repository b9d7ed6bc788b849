// Package applications tests pgdrover with what applications are made of: drivers
// of other languages, ORMs, PostgreSQL's own programs and pgx's test-suite, through
// the binary and to real servers. `make test-clients` and `make test-pgx` run what
// the normal tests have no time for.
package applications

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds the waits for another process, far beyond what they take.
const patience = time.Minute

// modes are the pool modes.
var modes = []config.PoolerMode{config.ModeSession, config.ModeTransaction, config.ModeStatement}

// The passwords of applications, at the proxy and at servers that ask for one, and
// of the administrator. No log may have them.
const (
	password      = "application-secret"
	adminPassword = "administrator-secret"
)

// site is a pgdrover in a process of its own, before a database.
type site struct {
	database *pgtest.Database
	port     int
	log      string // path
	process  *exec.Cmd
	ended    chan struct{} // closed when the process has ended
}

// plan is what a site is made of.
type plan struct {
	database *pgtest.Database
	names    map[string]config.PoolerMode // of [[databases]]; nil: one for each mode, with its name
	host     string                       // of the server, if something is before it
	port     int
	general  string // more of [general]
	users    string // more of users.toml
}

// open starts pgdrover and waits until it serves. It is stopped at the end of the
// test, which must be orderly.
func open(t *testing.T, p plan) *site {
	t.Helper()
	for range 5 {
		if s := p.try(t); s != nil {
			return s
		}
	}
	t.Fatal("every port is taken before pgdrover listens on it")
	return nil
}

// try gives nil if somebody else has taken the port.
func (p plan) try(t *testing.T) *site {
	t.Helper()
	s := &site{database: p.database, port: freePort(t), ended: make(chan struct{})}
	dir := t.TempDir()
	s.log = filepath.Join(dir, "log")
	s.process = exec.Command(pgtest.Binary(t), "--config", filepath.Join(dir, "pgdog.toml"), "--users", filepath.Join(dir, "users.toml"))
	main, users := p.files(s.port)
	log, err := os.Create(s.log)
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "pgdog.toml"), []byte(main), 0o600), os.WriteFile(filepath.Join(dir, "users.toml"), []byte(users), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		t.Fatalf("start pgdrover: %v", err)
	}
	go func() { // ends with the process, which close waits for
		defer close(s.ended)
		_ = s.process.Wait() // its exit code tells
	}()
	t.Cleanup(func() { s.close(t) })
	taken := false
	pgtest.Eventually(t, "pgdrover serves", func(ctx context.Context) (bool, error) {
		select {
		case <-s.ended:
			taken = strings.Contains(s.logged(t), "address already in use")
			return true, nil
		default:
		}
		conn, err := pgx.Connect(ctx, s.url("admin"))
		if err != nil {
			return false, nil
		}
		return true, conn.Close(ctx)
	})
	switch {
	case taken:
		return nil
	case s.hasEnded():
		t.Fatalf("pgdrover does not start:\n%s", s.logged(t))
	}
	return s
}

// files are pgdog.toml and users.toml.
func (p plan) files(port int) (main, users string) {
	names := p.names
	if names == nil {
		names = make(map[string]config.PoolerMode)
		for _, mode := range modes {
			names[string(mode)] = mode
		}
	}
	host, serverPort := cmp.Or(p.host, p.database.Cluster.Host()), cmp.Or(p.port, p.database.Cluster.Port())
	main = fmt.Sprintf("[general]\nhost = \"127.0.0.1\"\nport = %d\n%s\n[admin]\npassword = %q\n", port, p.general, adminPassword)
	for name, mode := range names {
		main += fmt.Sprintf("\n[[databases]]\nname = %q\nhost = %q\nport = %d\ndatabase_name = %q\npooler_mode = %q\n", name, host, serverPort, p.database.Name, mode)
		if mode == config.ModeSession { // each client has one, whatever it does
			main += "pool_size = 90\n"
		}
	}
	return main, fmt.Sprintf("[[users]]\nname = %q\nall_databases = true\npassword = %q\n\n%s", p.database.Cluster.Superuser(), password, p.users)
}

// freePort finds a port that nobody listens on now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *site) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func (s *site) logged(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// close stops the process, unless it never served, and looks through its log.
func (s *site) close(t *testing.T) {
	t.Helper()
	if !s.hasEnded() {
		if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stop pgdrover: %v", err)
		}
		select {
		case <-s.ended:
		case <-time.After(patience):
			_ = s.process.Process.Signal(syscall.SIGQUIT) // for its goroutines in the log
			<-s.ended
			t.Error("pgdrover did not end")
		}
		if code := s.process.ProcessState.ExitCode(); code != 0 {
			t.Errorf("pgdrover exits with %d after SIGTERM", code)
		}
	}
	text := s.logged(t)
	for _, never := range []string{"-secret", "DATA RACE", "panic", "goroutine "} {
		if i := strings.Index(text, never); i >= 0 {
			t.Errorf("pgdrover's log has %q: %s", never, text[max(0, i-300):min(len(text), i+3000)])
		}
	}
	if t.Failed() {
		t.Logf("pgdrover wrote:\n%s", text[max(0, len(text)-20_000):])
	}
}

// url is a connection URI for one of its databases, "admin" too.
func (s *site) url(database string) string {
	if database == "admin" {
		return fmt.Sprintf("postgres://admin:%s@127.0.0.1:%d/admin?sslmode=disable", adminPassword, s.port)
	}
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", s.database.Cluster.Superuser(), password, s.port, database)
}

// environment is libpq's for a database of the site.
func (s *site) environment(database string) []string {
	return append(os.Environ(), "PGHOST=127.0.0.1", "PGPORT="+strconv.Itoa(s.port), "PGDATABASE="+database, "PGUSER="+s.database.Cluster.Superuser(),
		"PGPASSWORD="+password, "PGSSLMODE=disable", "PGCONNECT_TIMEOUT=60", "LC_ALL=C.UTF-8", "PSQLRC=/dev/null")
}

// admin runs a command in the admin database.
func (s *site) admin(t *testing.T, command string) []map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("admin"))
	if err != nil {
		t.Fatalf("connect to the admin database: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, command)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToMap)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return all
}

// balanced waits until no client and no busy server connection is left.
func (s *site) balanced(t *testing.T) {
	t.Helper()
	var last []map[string]any
	defer func() {
		if t.Failed() {
			t.Logf("SHOW POOLS: %v", last)
		}
	}()
	pgtest.Eventually(t, "no client is left", func(context.Context) (bool, error) {
		last = s.admin(t, "SHOW POOLS")
		for _, pool := range last {
			for _, column := range []string{"cl_active", "cl_waiting", "sv_active"} {
				n, ok := pool[column].(int64)
				if !ok {
					return false, fmt.Errorf("SHOW POOLS: %s is %v", column, pool[column])
				}
				if n != 0 {
					return false, nil
				}
			}
		}
		return len(s.admin(t, "SHOW CLIENTS")) == 0, nil
	})
}

// postgresOf starts a server for one test, which may restart it, and gives a
// database in it.
func postgresOf(t *testing.T) *pgtest.Database {
	t.Helper()
	c := pgtest.Start(t, pgtest.Options{AuthMethod: "scram-sha-256", SuperuserPassword: password})
	return c.CreateDatabase(t)
}

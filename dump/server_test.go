package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/pgdrover/pgdrover/config"
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, err := range []error{theServer.stop(), goleak.Find()} {
		if err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// testServer is one throw-away server for the whole package, started by the
// first test that needs it. Every test makes databases of its own.
type testServer struct {
	once   sync.Once
	err    error
	root   string // of everything it writes, and of its socket
	bin    string
	port   int
	binary Binary
}

var theServer testServer

// password is that of the role "postgres" over TCP.
const password = "s3cret'pass word"

func startServer(t *testing.T) *testServer {
	t.Helper()
	theServer.once.Do(func() { theServer.err = theServer.start(context.Background()) })
	if errors.Is(theServer.err, errNoServer) {
		t.Skip(theServer.err)
	}
	if theServer.err != nil {
		t.Fatal(theServer.err)
	}
	return &theServer
}

var errNoServer = errors.New("no PostgreSQL server is installed")

func (s *testServer) start(ctx context.Context) error {
	finding, err := Find(ctx, "")
	if err != nil {
		return err
	}
	if s.binary, err = Choose(finding, []Need{{15, "the tests"}}); err != nil {
		return fmt.Errorf("%w: %w", errNoServer, err)
	}
	s.bin = filepath.Dir(s.binary.Path)
	if _, err := os.Stat(filepath.Join(s.bin, "initdb")); err != nil {
		return fmt.Errorf("%w: %w", errNoServer, err)
	}
	if s.root, err = os.MkdirTemp("", "dump"); err != nil { // short: a socket's path is limited
		return err
	}
	if err := s.chown(s.root); err != nil {
		return err
	}
	secret := filepath.Join(s.root, "password")
	if err := os.WriteFile(secret, []byte(password), 0o644); err != nil {
		return err
	}
	data := filepath.Join(s.root, "data")
	if err := s.run("initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync",
		"--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile="+secret); err != nil {
		return err
	}
	if s.port, err = freePort(); err != nil {
		return err
	}
	settings := fmt.Sprintf("-k %s -p %d -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=40", s.root, s.port)
	return s.run("pg_ctl", "-D", data, "-w", "-l", filepath.Join(s.root, "log"), "-o", settings, "start")
}

func (s *testServer) stop() error {
	if s.port == 0 {
		return nil
	}
	err := s.run("pg_ctl", "-D", filepath.Join(s.root, "data"), "-m", "immediate", "stop")
	return errors.Join(err, os.RemoveAll(s.root))
}

// chown gives what initdb needs to the user who runs the server: PostgreSQL
// refuses to run as root.
func (s *testServer) chown(path string) error {
	credential, err := serverUser()
	if err != nil || credential == nil {
		return err
	}
	return os.Chown(path, int(credential.Uid), int(credential.Gid))
}

func serverUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uidErr, gidErr)
}

func (s *testServer) run(name string, args ...string) error {
	credential, err := serverUser()
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.root
	cmd.Env = cleanEnvironment(os.LookupEnv)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	// A file, not a pipe: the server inherits it and never closes it.
	words, err := os.Create(filepath.Join(s.root, name+".out"))
	if err != nil {
		return err
	}
	defer words.Close()
	cmd.Stdout, cmd.Stderr = words, words
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(words.Name())
		return fmt.Errorf("%s: %w\n%s", name, err, said)
	}
	return nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// server is how the package under test reaches a database: over TCP with a
// password.
func (s *testServer) server(database string) config.Server {
	return config.Server{
		Cluster: "prod", Shard: 1, Host: "127.0.0.1", Port: s.port, Database: database, User: "postgres",
		Password: password, TLSVerify: config.TLSPrefer,
	}
}

// connect opens a connection that is closed at the test's end.
func (s *testServer) connect(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	conn, err := s.dial(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (s *testServer) dial(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("sslmode=disable user=postgres client_encoding=UTF8")
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port, cfg.Database = s.root, uint16(s.port), database
	return pgx.ConnectConfig(ctx, cfg)
}

// create makes a database and runs sql in it. The database is dropped at the
// test's end.
func (s *testServer) create(t *testing.T, database, options, sql string) {
	t.Helper()
	s.exec(t, s.connect(t, "postgres"), "CREATE DATABASE "+QuoteIdent(database)+" "+options)
	t.Cleanup(func() {
		if err := s.drop(database); err != nil {
			t.Error(err)
		}
	})
	s.exec(t, s.connect(t, database), sql)
}

func (s *testServer) drop(database string) error {
	ctx := context.Background() // the test's own has ended
	// A database with subscriptions cannot be dropped.
	for _, step := range []struct{ database, sql string }{
		{database, `DO $$ DECLARE s name; BEGIN
			FOR s IN SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) LOOP
				EXECUTE format('DROP SUBSCRIPTION %I', s);
			END LOOP; END $$`},
		{"postgres", "DROP DATABASE " + QuoteIdent(database) + " WITH (FORCE)"},
	} {
		conn, err := s.dial(ctx, step.database)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, step.sql)
		if err = errors.Join(err, conn.Close(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// role gives the SQL that makes a role which can log in, unless it is there.
func role(name, password string) string {
	return fmt.Sprintf("DO $do$ BEGIN CREATE ROLE %s LOGIN PASSWORD %s; EXCEPTION WHEN duplicate_object THEN NULL; END $do$;",
		QuoteIdent(name), QuoteLiteral(password))
}

func (s *testServer) exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

// tool runs a client program against the server and gives what it writes.
func (s *testServer) tool(t *testing.T, stdin []byte, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.bin, name), args...)
	cmd.Env = append(cleanEnvironment(os.LookupEnv), "PGHOST="+s.root, "PGPORT="+strconv.Itoa(s.port), "PGUSER=postgres", "PGTZ=UTC")
	cmd.Stdin = bytes.NewReader(stdin)
	var said strings.Builder
	cmd.Stderr = &said
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, said.String())
	}
	return string(output)
}

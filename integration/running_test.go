package integration

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// secretMark is in every password of the tests: no log may hold it.
const secretMark = "-secret"

// patience bounds the waits for another process, far beyond what they take.
const patience = time.Minute

// running is a pgdrover that serves, in a process of its own.
type running struct {
	paths config.Paths
	port  int
	cmd   *exec.Cmd
	log   *logged
	ended chan struct{} // closed when the process has ended
}

// serve starts pgdrover and waits until it listens. At the end of the test it
// is stopped, which must be orderly, and its log is looked through.
func serve(tb testing.TB, s setup, environment ...string) *running {
	tb.Helper()
	for range 5 {
		s.port = freePort(tb)
		if r := start(tb, s.write(tb), s.port, environment...); r != nil {
			return r
		}
	}
	tb.Fatal("every port is taken before pgdrover listens on it")
	return nil
}

// serveAgain starts another process with the files of one that has ended.
func (r *running) serveAgain(tb testing.TB, environment ...string) *running {
	tb.Helper()
	again := start(tb, r.paths, r.port, environment...)
	if again == nil {
		tb.Fatal("somebody else took the port")
	}
	return again
}

// start gives nil when the port is taken.
func start(tb testing.TB, paths config.Paths, port int, environment ...string) *running {
	tb.Helper()
	r := &running{paths: paths, port: port, log: newLogged(), ended: make(chan struct{})}
	r.cmd = exec.Command(pgtest.Binary(tb), "--config", paths.Config, "--users", paths.Users)
	r.cmd.Env = append(os.Environ(), environment...)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	if err := r.cmd.Start(); err != nil {
		tb.Fatalf("start pgdrover: %v", err)
	}
	go func() { // ends with the process, which the cleanup waits for
		defer close(r.ended)
		_ = r.cmd.Wait() // exitCode tells
	}()
	tb.Cleanup(func() { r.close(tb) })
	if r.log.wait("pgdrover is ready", r.ended) {
		return r
	}
	if !strings.Contains(r.log.text(), "address already in use") {
		tb.Fatalf("pgdrover does not listen:\n%s", r.log.text())
	}
	return nil
}

// freePort finds a port that nobody listens on now.
func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// close stops the process, if the test has not, and looks through its log.
func (r *running) close(tb testing.TB) {
	tb.Helper()
	select {
	case <-r.ended:
	default:
		r.signal(tb, syscall.SIGTERM)
		if code := r.exitCode(tb); code != 0 {
			tb.Errorf("pgdrover exits with %d after SIGTERM", code)
		}
	}
	text := r.log.text()
	for _, never := range []string{secretMark, "DATA RACE", "panic", "goroutine "} {
		if i := strings.Index(text, never); i >= 0 {
			tb.Errorf("pgdrover's log has %q: %s", never, text[max(0, i-300):min(len(text), i+3000)])
		}
	}
	if tb.Failed() {
		tb.Logf("pgdrover wrote:\n%s", text)
	}
}

func (r *running) signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		tb.Errorf("send %s to pgdrover: %v", s, err)
	}
}

// exitCode waits for the process to end.
func (r *running) exitCode(tb testing.TB) int {
	tb.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		_ = r.cmd.Process.Kill() // it may end just now
		<-r.ended
		tb.Fatalf("pgdrover did not end:\n%s", r.log.text())
	}
	return r.cmd.ProcessState.ExitCode()
}

// logs waits until the log has a text.
func (r *running) logs(tb testing.TB, text string) {
	tb.Helper()
	if !r.log.wait(text, r.ended) {
		tb.Fatalf("pgdrover does not log %q:\n%s", text, r.log.text())
	}
}

// saysSince tells whether the log has one of texts after its first bytes.
func (r *running) saysSince(first int, texts ...string) func(context.Context) (bool, error) {
	return func(context.Context) (bool, error) {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(r.log.text()[first:], text) }), nil
	}
}

// logged is what a process writes. It may be read at any time.
type logged struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	more   chan struct{} // closed, and replaced, when there is more
}

func newLogged() *logged { return &logged{more: make(chan struct{})} }

// Write is io.Writer's.
func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.buffer.Write(p)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// wait waits until the text was written; false if the writer ended, or nothing
// came for too long, without it.
func (l *logged) wait(text string, ended <-chan struct{}) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		l.mu.Lock()
		there, more := strings.Contains(l.buffer.String(), text), l.more
		l.mu.Unlock()
		if there {
			return true
		}
		select {
		case <-more:
		case <-ended:
			return strings.Contains(l.text(), text)
		case <-timer.C:
			return false
		}
	}
}

// account is who a client logs in as.
type account struct{ user, password string }

var administrator = account{"admin", "admin-secret"}

// environment is that of libpq for the admin database.
func (r *running) environment(as account) []string {
	return append(os.Environ(), "PGHOST=127.0.0.1", "PGPORT="+strconv.Itoa(r.port), "PGDATABASE=admin", "PGUSER="+as.user,
		"PGPASSWORD="+as.password, "PGCONNECT_TIMEOUT=30", "PGCLIENTENCODING=UTF8", "LC_ALL=C.UTF-8", "PSQL_PAGER=cat", "PSQLRC=/dev/null")
}

// url is a connection URI for the admin database.
func (r *running) url(as account) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/admin", as.user, as.password, r.port)
}

// connect opens a connection to the admin database. options follow the URL,
// as "?sslmode=disable".
func (r *running) connect(tb testing.TB, as account, options string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), r.url(as)+options)
	if err != nil {
		tb.Fatalf("connect to the admin database: %v", err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) }) // it may be broken on purpose
	return conn
}

// outcome is how a program ended.
type outcome struct {
	out, err string
	code     int
}

// psql runs the psql of the oldest PostgreSQL as the administrator.
func (r *running) psql(tb testing.TB, args ...string) outcome {
	tb.Helper()
	return r.psqlOf(tb, tool(tb, pgtest.Base(tb), "psql"), administrator, nil, args...)
}

// psqlAs runs it as another user, with further environment variables.
func (r *running) psqlAs(tb testing.TB, as account, environment []string, args ...string) outcome {
	tb.Helper()
	return r.psqlOf(tb, tool(tb, pgtest.Base(tb), "psql"), as, environment, args...)
}

func (r *running) psqlOf(tb testing.TB, path string, as account, environment []string, args ...string) outcome {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), path, append([]string{"-X", "-w"}, args...)...)
	cmd.Env = append(r.environment(as), environment...)
	return outcomeOf(tb, cmd)
}

// outcomeOf runs a program to its end.
func outcomeOf(tb testing.TB, cmd *exec.Cmd) outcome {
	tb.Helper()
	var out, warnings bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &warnings
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		tb.Fatalf("run %s: %v\n%s", cmd.Path, err, warnings.String())
	}
	return outcome{out.String(), warnings.String(), cmd.ProcessState.ExitCode()}
}

// expect checks an exit code, and that both streams together have all of words.
func (o outcome) expect(tb testing.TB, code int, words ...string) outcome {
	tb.Helper()
	missing := ""
	for _, word := range words {
		if missing == "" && !strings.Contains(o.out+o.err, word) {
			missing = word
		}
	}
	if o.code != code || missing != "" {
		tb.Errorf("exit code %d, want %d; missing: %s\nstdout:\n%s\nstderr:\n%s", o.code, code, cmp.Or(missing, "nothing"), o.out, o.err)
	}
	return o
}

// rows runs commands by psql -At and gives their rows.
func (r *running) rows(tb testing.TB, commands ...string) []string {
	tb.Helper()
	args := []string{"-At", "-v", "ON_ERROR_STOP=1"}
	for _, command := range commands {
		args = append(args, "-c", command)
	}
	o := r.psql(tb, args...)
	if o.code != 0 {
		tb.Fatalf("%s: exit code %d\n%s%s", commands, o.code, o.out, o.err)
	}
	return strings.Split(strings.TrimSuffix(o.out, "\n"), "\n")
}

// setting is the value of a setting, as SHOW CONFIG tells it.
func (r *running) setting(tb testing.TB, name string) string {
	tb.Helper()
	value, _, _ := strings.Cut(strings.TrimPrefix(r.rows(tb, "SHOW CONFIG "+name)[0], name+"|"), "|")
	return value
}

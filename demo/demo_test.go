package demo_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/demo"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// moments are lines that the demonstration prints on its way, in order.
var moments = struct{ loading, waiting, staying string }{
	"Loading the sample shop", "admin=# WAIT 2;", "Ctrl-C here",
}

// watched keeps what is written, and calls react once when it contains at.
type watched struct {
	at    string
	react func()
	mu    sync.Mutex
	text  bytes.Buffer
	once  sync.Once
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	if w.at != "" && bytes.Contains(w.text.Bytes(), []byte(w.at)) {
		w.once.Do(w.react)
	}
	return len(b), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// emptyDir gives a directory that has to be empty in the end, with no process
// that works in it.
func emptyDir(t *testing.T) string {
	t.Helper()
	pgtest.Base(t) // skips, or fails, without PostgreSQL
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // root's servers are run by postgres
		t.Fatal(err)
	}
	return dir
}

func leftovers(ctx context.Context, dir string) ([]string, error) {
	var found []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		found = append(found, "file "+e.Name())
	}
	processes, err := exec.CommandContext(ctx, "ps", "-A", "-ww", "-o", "pid=,args=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for line := range strings.Lines(string(processes)) {
		if strings.Contains(line, dir) {
			found = append(found, "process "+strings.TrimSpace(line))
		}
	}
	return found, nil
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	found, err := leftovers(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		t.Errorf("left behind in %s: %q", dir, found)
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	dir, out := emptyDir(t), &watched{}
	// A port that is taken is not a reason to fail.
	if taken, err := net.Listen("tcp", "127.0.0.1:6432"); err == nil {
		defer taken.Close()
	}
	if err := demo.Run(t.Context(), demo.Options{Out: out, Version: "test", Once: true, Dir: dir}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	nothingLeft(t, dir)
	text := out.String()
	for _, want := range []string{
		`37 tables, [0-9]{5,6} rows`,
		`(?s)1/6 .*2/6 .*3/6 .*4/6 .*5/6 .*6/6 `,
		`(?s)admin=# SHOW DATABASES;.* prod_sharded \| +2 \| 127\.0\.0\.1 .* shop_2 `,
		`(?s)admin=# SCHEMA_SYNC PRE prod prod_sharded all_tables;\n.*admin=# WAIT 1;\n.* 1 +\| finished `,
		`(?s)admin=# SCHEMA_SYNC POST prod prod_sharded all_tables;\n.*admin=# WAIT 2;\n.* 2 +\| finished `,
		`(?s)admin=# SCHEMA_SYNC CUTOVER prod prod_sharded all_tables;\n.*admin=# WAIT 3;\n.* 3 +\| finished `,
		`(?s)admin=# SHOW TASKS;.*\(12 rows\)`,
		`admin=# SHOW SCHEMA_DIFF prod prod_sharded;\n shard \| kind \| .*\n[-+]+\n\(0 rows\)\n`,
		`Nothing is left\.\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("the output does not match %s", want)
		}
	}
	if strings.Contains(text, "port=6432") || strings.Contains(text, "\x1b") {
		t.Error("the port that is taken, or a terminal's escape, is in the output")
	}
	if t.Failed() {
		t.Log(text)
	}
}

// A port that was asked for and is taken is refused before anything is started.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	out := &watched{}
	err = demo.Run(t.Context(), demo.Options{Out: out, Version: "test", Port: taken.Addr().(*net.TCPAddr).Port, Dir: t.TempDir()})
	if e := pgerror.From(err); e == nil || e.Code != pgerror.ObjectInUse || !strings.Contains(e.Hint, "--port") || out.String() != "" {
		t.Errorf("the error is %+v, the output %q", e, out)
	}
}

// Whatever it is doing when its context ends, nothing is left.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for name, moment := range map[string]string{"start": "Starting two", "load": moments.loading, "wait": moments.waiting} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dir, out := emptyDir(t), &watched{at: moment, react: cancel}
			err := demo.Run(ctx, demo.Options{Out: out, Version: "test", Dir: dir})
			if pgerror.Code(err) != pgerror.QueryCanceled {
				t.Errorf("the error is %v\n%s", err, out)
			}
			nothingLeft(t, dir)
		})
	}
}

// While it stays up, what it printed works; SHUTDOWN ends it in order.
func TestStaysUpUntilShutdown(t *testing.T) {
	t.Parallel()
	up := make(chan struct{})
	dir, out := emptyDir(t), &watched{at: moments.staying, react: func() { close(up) }}
	ended := make(chan error, 1)
	go func() { ended <- demo.Run(t.Context(), demo.Options{Out: out, Version: "test", Dir: dir}) }()
	select {
	case <-up:
	case err := <-ended:
		t.Fatalf("it ended: %v\n%s", err, out)
	}
	lines := regexp.MustCompile(`psql "([^"]+)"(?: -c '([^']+)')?`).FindAllStringSubmatch(out.String(), -1)
	if len(lines) < 4 {
		t.Errorf("%d psql lines are printed", len(lines))
	}
	for _, line := range lines {
		run(t, line[1], line[2])
	}
	run(t, lines[0][1], "SHUTDOWN")
	if err := <-ended; err != nil {
		t.Errorf("after SHUTDOWN: %v\n%s", err, out)
	}
	nothingLeft(t, dir)
}

func run(t *testing.T, conninfo, sql string) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), conninfo)
	if err != nil {
		t.Errorf("%s: %v", conninfo, err)
		return
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Errorf("%s: %v", sql, err)
	}
}

// The binary is ended by each signal at different moments.
func TestSignals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		moment string
		signal syscall.Signal
		code   int // -1: killed
	}{
		"interrupted while up":  {moments.staying, syscall.SIGINT, 0},
		"terminated at work":    {moments.waiting, syscall.SIGTERM, 1},
		"killed at work":        {moments.waiting, syscall.SIGKILL, -1},
		"terminal gone at load": {moments.loading, syscall.SIGHUP, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := emptyDir(t)
			command := exec.CommandContext(t.Context(), pgtest.Binary(t), "demo")
			command.Env = append(os.Environ(), "TMPDIR="+dir)
			out := &watched{at: c.moment, react: func() { _ = command.Process.Signal(c.signal) }}
			command.Stdout, command.Stderr = out, io.Writer(out)
			err := command.Run()
			if code := command.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d: %v\n%s", code, c.code, err, out)
			}
			if c.signal != syscall.SIGKILL {
				nothingLeft(t, dir)
				return
			}
			pgtest.Eventually(t, "nothing is left", func(ctx context.Context) (bool, error) {
				found, err := leftovers(ctx, dir)
				return len(found) == 0, err
			})
		})
	}
}

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
	"slices"
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
var moments = struct{ loading, copying, comparing, stopped, staying string }{
	"Loading the sample shop", "admin=# SHOW TABLE_COPIES;", "admin=# SHOW STREAMS;", "Meanwhile the customers", "Ctrl-C here",
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
	const mirrorTables = 14
	for _, want := range []string{
		`14 tables, [0-9]{6} rows`,
		`(?s)1/9 .*2/9 .*3/9 .*4/9 .*5/9 .*6/9 .*7/9 .*8/9 .*9/9 `,
		`(?s)admin=# SHOW DATABASES;.* prod_sharded \| +2 \| 127\.0\.0\.1 .* shop_2 `,
		`(?s)admin=# COPY_DATA prod prod_new all_tables;\n.*\n 1 +\| pgdrover_prod_to_prod_new_[0-9a-f]+_0\n.*admin=# SHOW TABLE_COPIES;\n.*\n page_views +\| (running|done) `,
		`\n prod_to_prod_new +\| replicating \| +1 \| +14 \| +14 \| +0 \| +[0-9]{6} \|`,
		`(?s)shop=# INSERT INTO shop\.coupons .*shop_new=# SELECT .*\n HELLO-NEW-HOUSE \| +20 \|.*Seen there [0-9]+ ms after`,
		`(?s)\[\[sharded_tables\]\]\ndatabase = "prod_sharded"\nschema = "shop"\nname = "orders"\n.*admin=# COPY_DATA prod prod_sharded all_tables;\n.*\n 2 +\| pgdrover_prod_to_prod_sharded_[0-9a-f]+_0\n`,
		`(?s)admin=# STOP_TASK 2;.*\n prod_to_prod_sharded +\| cancelled .*have committed [0-9]{3,} transactions.*\n 3 +\| pgdrover_prod_to_prod_sharded.*No row was copied again`,
		`(?s)admin=# SHOW REPLICATION_SLOTS;.*\n pgdrover_prod_to_prod_sharded_[0-9a-f]+_0 +\| prod_to_prod_sharded \| +0 \| f +\| t +\|`,
		`admin=# SHOW SCHEMA_DIFF prod prod_new;\n shard \| kind \| .*\n[-+]+\n\(0 rows\)\n`,
		`admin=# SHOW SCHEMA_DIFF prod prod_sharded;\n shard \| kind \| .*\n[-+]+\n\(0 rows\)\n`,
		`Nothing is left\.\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("the output does not match %s", want)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^ shop\.[a-z_]+ .* yes$`).FindAllString(text, -1)); n != 2*mirrorTables {
		t.Errorf("%d tables are told to be the same, not twice %d", n, mirrorTables)
	}
	if rows := regexp.MustCompile(`(?m)^ shop\.orders +\| +([0-9]+) \| +([0-9]+) \| +([0-9]+) \| +([0-9]+) \| yes$`).FindStringSubmatch(text); rows == nil {
		t.Error("the orders of the shards are not counted")
	} else if slices.Contains(rows[2:], "0") || slices.Contains(rows[2:], rows[1]) {
		t.Errorf("the orders are not spread: %q", rows[1:])
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
	for name, moment := range map[string]string{
		"start": "Starting two", "load": moments.loading, "copy": moments.copying, "compare": moments.comparing,
	} {
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
	pgtest.Long(t)
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
	text := out.String()
	lines := regexp.MustCompile(`psql "([^"]+)"(?: -c '([^']+)')?`).FindAllStringSubmatch(text[strings.LastIndex(text, "All of it stays up"):], -1)
	if len(lines) != 5 {
		t.Fatalf("%d psql lines are printed: %q", len(lines), lines)
	}
	admin := lines[0][1]
	for _, line := range lines[1:3] { // the row that is taken away, and changed
		run(t, line[1], line[2])
	}
	const addresses = "addresses"
	if row := tableIs(t, admin, addresses, "stopped"); !strings.Contains(row["hint"], `RESYNC "prod_to_prod_new" "shop"."addresses"`) ||
		!strings.Contains(row["detail"], `"id" = 1`) || row["stopped_lsn"] == "" {
		t.Errorf("the stopped table is %v", row)
	}
	run(t, admin, "RESYNC prod_to_prod_new shop.addresses")
	tableIs(t, admin, addresses, "streaming")
	run(t, lines[3][1], lines[3][2]) // the new table
	tableIs(t, admin, "wishes", "streaming")
	if rows := run(t, lines[4][1], lines[4][2]); rows[0]["count"] != "100" {
		t.Errorf("the new table has on the destination: %v", rows)
	}
	for _, command := range []string{"SHOW MIRRORS", "SHOW SCHEMA_SYNC", "SHOW HELP", "STOP_TASK 1", "COPY_DATA prod prod_new all_tables", "DROP MIRROR prod_to_prod_new"} {
		if !strings.Contains(text, "  "+command) {
			t.Errorf("the output does not say %s", command)
		}
		if command == "COPY_DATA prod prod_new all_tables" {
			pgtest.Eventually(t, "the task is stopped", func(context.Context) (bool, error) {
				return run(t, admin, "SHOW MIRRORS")[0]["state"] == "cancelled", nil
			})
		}
		run(t, admin, command)
	}
	run(t, admin, "SHUTDOWN")
	if err := <-ended; err != nil {
		t.Errorf("after SHUTDOWN: %v\n%s", err, out)
	}
	nothingLeft(t, dir)
}

// tableIs waits until a table of the mirror to prod_new is in a state, and gives
// its row.
func tableIs(t *testing.T, admin, name, state string) (found map[string]string) {
	t.Helper()
	pgtest.Eventually(t, name+" is "+state, func(context.Context) (bool, error) {
		for _, row := range run(t, admin, "SHOW MIRROR prod_to_prod_new") {
			if row["table"] == name && row["state"] == state {
				found = row
				return true, nil
			}
		}
		return false, nil
	})
	return found
}

// run runs SQL and gives the rows of its last result, by the names of its columns.
func run(t *testing.T, conninfo, sql string) (rows []map[string]string) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), conninfo)
	if err != nil {
		t.Fatalf("%s: %v", conninfo, err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	results, err := conn.Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	for _, result := range results {
		rows = nil
		for _, values := range result.Rows {
			row := map[string]string{}
			for i, field := range result.FieldDescriptions {
				row[field.Name] = string(values[i])
			}
			rows = append(rows, row)
		}
	}
	return rows
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
		"terminated at work":    {moments.copying, syscall.SIGTERM, 1},
		"killed at work":        {moments.stopped, syscall.SIGKILL, -1},
		"terminal gone at load": {moments.loading, syscall.SIGHUP, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if c.moment != moments.stopped { // killed: nobody can clean up but the servers themselves
				pgtest.Long(t)
			}
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

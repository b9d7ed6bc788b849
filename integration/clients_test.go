package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/pgerror"
)

// requireDrivers turns skipping for want of a driver into failing.
const requireDrivers = "PGDROVER_REQUIRE_DRIVERS"

// missingDriver skips the test, or fails it where drivers are required.
func missingDriver(tb testing.TB, what string, err error) {
	tb.Helper()
	if os.Getenv(requireDrivers) == "1" {
		tb.Fatalf("%s: %v; %s=1 forbids skipping", what, err, requireDrivers)
	}
	tb.Skipf("%s: %v; make drivers installs it where it can", what, err)
}

// driver finds a file that scripts/drivers.sh installs.
func driver(tb testing.TB, path ...string) string {
	tb.Helper()
	dir, err := filepath.Abs(cmp.Or(os.Getenv("PGDROVER_DRIVERS_DIR"), "../.cache/drivers"))
	if err != nil {
		tb.Fatal(err)
	}
	found := filepath.Join(append([]string{dir}, path...)...)
	if _, err := os.Stat(found); err != nil {
		missingDriver(tb, "a client library is not installed", err)
	}
	return found
}

// interpreter finds a program that runs a client.
func interpreter(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missingDriver(tb, "a client's runtime is not installed", err)
	}
	return path
}

// TestDrivers runs the clients of other languages, each a program of
// testdata/clients that checks what it gets.
func TestDrivers(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.psql(t, "-v", "ON_ERROR_STOP=1", "-c", "SCHEMA_SYNC PRE prod prod_new all_tables; WAIT 1").expect(t, 0)
	environment := append(s.environment(administrator), "TASK=1", "DSN="+s.url(administrator), fmt.Sprintf("JDBC_URL=jdbc:postgresql://127.0.0.1:%d/admin", s.port))
	for name, command := range map[string]func(*testing.T) *exec.Cmd{
		"psycopg": func(t *testing.T) *exec.Cmd {
			return exec.CommandContext(t.Context(), driver(t, "python", "bin", "python"), "testdata/clients/psycopg_client.py")
		},
		"asyncpg": func(t *testing.T) *exec.Cmd {
			return exec.CommandContext(t.Context(), driver(t, "python", "bin", "python"), "testdata/clients/asyncpg_client.py")
		},
		"pgJDBC": func(t *testing.T) *exec.Cmd {
			java, javac, jar, classes := interpreter(t, "java"), interpreter(t, "javac"), driver(t, "java", "postgresql.jar"), t.TempDir()
			outcomeOf(t, exec.CommandContext(t.Context(), javac, "-cp", jar, "-d", classes, "testdata/clients/Client.java")).expect(t, 0)
			return exec.CommandContext(t.Context(), java, "-cp", jar+string(os.PathListSeparator)+classes, "Client")
		},
		"node-postgres": func(t *testing.T) *exec.Cmd {
			node, modules := interpreter(t, "node"), driver(t, "node", "node_modules")
			cmd := exec.CommandContext(t.Context(), node, "testdata/clients/client.js")
			cmd.Env = append(slices.Clone(environment), "NODE_PATH="+modules)
			return cmd
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t)
			if cmd.Env == nil {
				cmd.Env = environment
			}
			outcomeOf(t, cmd).expect(t, 0, "done")
		})
	}
}

var execModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

// TestPgx uses pgx in each of its modes.
func TestPgx(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	open := gate(t, s.destination)
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			conn := s.connect(t, administrator, "?default_query_exec_mode="+strings.ReplaceAll(mode.String(), " ", "_"))
			var task string
			for range 2 { // the second uses what the first cached
				var version string
				if err := conn.QueryRow(t.Context(), "SHOW VERSION").Scan(&version); err != nil || !strings.HasPrefix(version, "pgdrover ") {
					t.Fatalf("SHOW VERSION: %q, %v", version, err)
				}
			}
			if err := conn.QueryRow(t.Context(), "SCHEMA_SYNC PRE $1 $2 $3", "prod", weirdName, "all_tables").Scan(&task); err != nil {
				t.Fatalf("SCHEMA_SYNC: %v", err)
			}
			stopped(t, s.destination)
			waitIsCancelled(t, s.connect(t, administrator, "?default_query_exec_mode="+strings.ReplaceAll(mode.String(), " ", "_")), task)
			if _, err := conn.Exec(t.Context(), "STOP_TASK $1", task); err != nil {
				t.Fatalf("STOP_TASK: %v", err)
			}
			_, err := conn.Exec(t.Context(), "WAIT $1", task)
			if pgerror.Code(err) != pgerror.QueryCanceled {
				t.Errorf("WAIT for a stopped task: %v", err)
			}
			checkTask(t, conn, task)
			if _, err := conn.Exec(t.Context(), "SHOW CONFIG $1", "no such"); pgerror.Code(err) != pgerror.UndefinedObject {
				t.Errorf("SHOW CONFIG of nothing: %v", err)
			}
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(tx.Conn().Ping(t.Context()), tx.Commit(t.Context())); err != nil {
				t.Errorf("transaction: %v", err)
			}
		})
	}
	open()
}

// waitIsCancelled cancels a WAIT by a cancel request and goes on with the
// connection.
func waitIsCancelled(t *testing.T, conn *pgx.Conn, task string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { // ends with the cancel request below
		_, err := conn.PgConn().Exec(ctx, "WAIT "+task).ReadAll()
		done <- err
	}()
	ticker := time.NewTicker(20 * time.Millisecond) // a request that comes too early does nothing
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			var e *pgconn.PgError
			if !errors.As(err, &e) || e.Code != pgerror.QueryCanceled || !strings.Contains(e.Detail, "goes on") {
				t.Errorf("WAIT that was cancelled: %v", err)
			}
			if err := conn.Ping(t.Context()); err != nil {
				t.Errorf("after the cancelled WAIT: %v", err)
			}
			return
		case <-ticker.C:
			if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
				t.Fatalf("cancel: %v", err)
			}
		}
	}
}

// checkTask reads typed columns of SHOW TASKS.
func checkTask(t *testing.T, conn *pgx.Conn, task string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SHOW TASKS")
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToMap)
	if err != nil {
		t.Fatalf("SHOW TASKS: %v", err)
	}
	number, err := strconv.ParseInt(task, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 2 || all[0]["id"] != number || all[0]["status"] != "cancelled" || all[0]["done"] == nil || all[1]["id"] != nil {
		t.Errorf("SHOW TASKS: %v", all)
	}
}

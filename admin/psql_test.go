package admin

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// psqlCommand prepares psql without the user's own settings.
func psqlCommand(t *testing.T, s *adminServer, arguments ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, append([]string{"-X", "-w", s.url("admin")}, arguments...)...)
	cmd.Env = append(os.Environ(), "PGOPTIONS=", "PGAPPNAME=psql", "PSQL_PAGER=cat", "LC_ALL=C.UTF-8", "PGCLIENTENCODING=UTF8")
	return cmd
}

// psql runs psql and gives what it wrote, both streams in one.
func psql(t *testing.T, s *adminServer, arguments ...string) (string, int) {
	t.Helper()
	cmd := psqlCommand(t, s, arguments...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("psql %v: %v\n%s", arguments, err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// busyServer has an engine that answers everything.
func busyServer(t *testing.T) *adminServer {
	s := startServer(t)
	percent := 33.3
	s.engine.tasks = func() ([]mirror.Task, []*pgerror.Error, error) { return finishedTasks(), nil, nil }
	s.engine.schemaSync = func(mirror.SchemaSyncRequest) (mirror.Started, error) {
		warning := pgerror.New("01000", "2 tables have no primary key").WithHint("ALTER TABLE ... REPLICA IDENTITY")
		return mirror.Started{Task: 7, Warnings: []*pgerror.Error{warning}}, nil
	}
	s.engine.schemaPlan = func(mirror.SchemaSyncRequest) ([]schema.Statement, []*pgerror.Error, error) {
		return []schema.Statement{
			{Ordinal: 1, Phase: dump.PreData, Kind: "SCHEMA", Object: "shop", SQL: "CREATE SCHEMA shop", Display: "CREATE SCHEMA shop"},
			{Ordinal: 2, Phase: dump.PostData, Kind: "INDEX", Schema: "shop", Table: "orders", Object: "orders_idx", Lock: schema.Share, SQL: "secret", Display: "CREATE INDEX ..."},
		}, nil, nil
	}
	s.engine.schemaDiff = func(source, destination string) ([]drift.Difference, []*pgerror.Error, error) {
		return []drift.Difference{{Shard: 1, Kind: "TABLE", Schema: "shop", Object: "orders", What: drift.Missing, Phase: dump.PreData, Source: "CREATE TABLE ...", Hint: "SCHEMA_SYNC PRE " + source + " " + destination}}, nil, nil
	}
	s.engine.statements = func() ([]mirror.StatementRow, []*pgerror.Error, error) {
		return []mirror.StatementRow{
			{
				Task: 7, Database: "prod_sharded", User: "owner", Shard: 1, Ordinal: 2, Phase: dump.PostData, Kind: "index", ObjectKind: "INDEX",
				Schema: "shop", Table: "orders", Object: "orders_idx", State: "failed", Percent: &percent, Attempts: 3, StartedAt: &began, FinishedAt: &ended,
				Error: pgerror.New("55P03", "canceling statement due to lock timeout"), SQL: "CREATE INDEX ...",
			},
			{Task: 7, Database: "prod_sharded", User: "owner", Phase: dump.PostData, Kind: "statement", State: "pending", SQL: "COMMENT ..."},
		}, nil, nil
	}
	s.engine.watch = func(_ context.Context, id mirror.TaskID, tell func(mirror.Task)) (mirror.Task, error) {
		tell(mirror.Task{ID: id, State: mirror.Running, Inner: "syncing tables", Done: 1, Total: 2})
		task := finishedTasks()[0]
		task.ID = id
		if id == 1 {
			task.State, task.Error = mirror.Finished, nil
		}
		return task, nil
	}
	s.engine.stopTask = func(id mirror.TaskID) error {
		return pgerror.New(pgerror.UndefinedObject, "there is no task %d", id).WithHint("SHOW TASKS lists the tasks.")
	}
	return s
}

// TestPsql compares whole outputs of psql with files.
func TestPsql(t *testing.T) {
	t.Parallel()
	s := busyServer(t)
	file := filepath.Join(t.TempDir(), "commands.sql")
	if err := os.WriteFile(file, []byte("-- a file\nSHOW VERSION; /* and */ SHOW SERVER_VERSION;\nBEGIN;\nSTOP_TASK 9;\nSHOW VERSION;\nROLLBACK;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name      string
		exit      int
		arguments []string
	}{
		{"help", 0, []string{"-A", "-c", "SHOW HELP"}},
		{"help_schema_sync", 0, []string{"-A", "-c", "show help schema_sync"}},
		{"tasks", 0, []string{"-c", `SHOW TASKS`, "-x"}},
		{"schema_sync", 0, []string{"-x", "-c", "SHOW SCHEMA_SYNC"}},
		{"databases", 0, []string{"-x", "-c", "SHOW DATABASES"}},
		{"users", 0, []string{"-c", "SHOW USERS"}},
		{"two_statements", 0, []string{"-c", `SCHEMA_SYNC PRE prod "prod_sharded" p; SCHEMA_SYNC POST prod prod_sharded p DRY RUN`}},
		{"wait", 0, []string{"-v", "ON_ERROR_STOP=1", "-c", "WAIT 1"}},
		{"wait_failed", 1, []string{"-v", "ON_ERROR_STOP=1", "-c", "WAIT 2"}},
		{"caret", 1, []string{"-c", "SHOW VERSION; SCHEMA_SYNC PREE prod größe p"}},
		{"caret_utf8", 1, []string{"-c", `SHOW CONFIG "größe"`}},
		{"diff", 0, []string{"-c", "SHOW SCHEMA_DIFF prod prod_sharded"}},
		{"file", 0, []string{"-f", file}},
		{"single_transaction", 0, []string{"-1", "-c", "SHOW VERSION"}},
		{"unsupported", 1, []string{"-c", "CREATE TABLE t ()"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, exit := psql(t, s, test.arguments...)
			if exit != test.exit {
				t.Errorf("exit code %d, want %d", exit, test.exit)
			}
			golden(t, "psql_"+test.name+".golden", strings.ReplaceAll(out, file, "commands.sql"))
		})
	}
}

// TestPsqlDescribe: the queries behind \d and its like differ between psql's
// versions; each is refused with a way out, and none ends the session.
func TestPsqlDescribe(t *testing.T) {
	t.Parallel()
	s := busyServer(t)
	for _, command := range []string{`\d`, `\dt`, `\l`, `\du`, `\dn`, `\d orders`, `\df`} {
		out, _ := psql(t, s, "-c", command, "-c", "SHOW VERSION")
		if !strings.Contains(out, "HINT:  SHOW HELP lists the commands.") || !strings.Contains(out, "pgdrover 0.1.0") {
			t.Errorf("%s:\n%s", command, out)
		}
	}
}

// TestPsqlInteractive feeds psql's standard input.
func TestPsqlInteractive(t *testing.T) {
	t.Parallel()
	s := busyServer(t)
	for _, test := range []struct{ name, input, want string }{
		{"gdesc", `SHOW TASKS \gdesc`, "elapsed_ms|bigint"},
		{"gdesc types", `SHOW CONFIG \gdesc`, "settable|boolean"},
		{"gset", "SHOW VERSION \\gset v_\n\\echo :v_version", "pgdrover 0.1.0"},
		{"errverbose", "SHOV;\n\\errverbose", "ERROR:  42601: unknown command"},
		{"crosstab", `SELECT 1 AS a, 'x' AS b, 2 AS c \crosstabview`, "a|x\n1|2"},
		{"fetch_count", "\\set FETCH_COUNT 1\nSHOW TASKS;", "interrupted"},
		{"connect again", "\\c\nSHOW VERSION;", "pgdrover 0.1.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := psqlCommand(t, s, "-A")
			cmd.Stdin = strings.NewReader(test.input + "\n")
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), test.want) {
				t.Errorf("%v, no %q in:\n%s", err, test.want, out)
			}
		})
	}
}

// TestPsqlWatch lets \watch run three times, then interrupts it as Ctrl-C does.
func TestPsqlWatch(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	asked := make(chan struct{}, 100)
	s.engine.tasks = func() ([]mirror.Task, []*pgerror.Error, error) { asked <- struct{}{}; return nil, nil, nil }
	cmd := psqlCommand(t, s)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(input, "SHOW TASKS \\watch 0.01\n"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		within(t, asked, "SHOW TASKS")
	}
	_ = input.Close()
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() == 1 {
		t.Errorf("psql failed: %v", err)
	}
}

// TestPsqlTab presses Tab in a psql on a terminal.
func TestPsqlTab(t *testing.T) {
	t.Parallel()
	script, err := exec.LookPath("script")
	if err != nil {
		t.Skip("script is not installed")
	}
	s := busyServer(t)
	for _, test := range []struct{ input, want string }{
		{"SHOW SCHEMA_D\t prod prod_sharded;\n", "CREATE TABLE"},
		{"SHOW schema_sync.index_j\t;\n", "schema_sync.index_jobs"},
		{"SET schema_sync.index_j\t TO 3;\nSHOW schema_sync.index_jobs;\n", " 3\r\n"},
		{"SHOW vers\t;\n", "pgdrover 0.1.0"},
	} {
		t.Run(test.input, func(t *testing.T) {
			t.Parallel()
			plain := psqlCommand(t, s)
			cmd := exec.Command(script, "-qec", strings.Join(plain.Args, " "), "/dev/null")
			cmd.Env = append(plain.Env, "TERM=dumb", "INPUTRC=/dev/null")
			input, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(input, test.input+"\\q\n"); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("psql: %v\n%s", err, out.String())
			}
			if !strings.Contains(out.String(), test.want) {
				t.Errorf("no %q in:\n%s", test.want, out.String())
			}
		})
	}
}

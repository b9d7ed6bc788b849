package pgcluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestMain(m *testing.M) {
	if dir, isChild := os.LookupEnv("PGCLUSTER_TEST_DIR"); isChild {
		liveUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, options pgcluster.Options) *pgcluster.Cluster {
	t.Helper()
	if len(pgcluster.Installed()) == 0 {
		t.Skip("no PostgreSQL server programs are installed")
	}
	c, err := pgcluster.Start(t.Context(), options)
	if err != nil {
		t.Fatal(pgerror.From(err), pgerror.From(err).Detail)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func query(t *testing.T, dsn, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	last := results[len(results)-1]
	if len(last.Rows) == 0 {
		return ""
	}
	return string(bytes.Join(last.Rows[0], []byte("|")))
}

func TestEveryInstallationStarts(t *testing.T) {
	t.Parallel()
	installed := pgcluster.Installed()
	for i := range installed[:max(0, len(installed)-1)] {
		if installed[i].Major < installed[i+1].Major {
			t.Errorf("not newest first: %v before %v", installed[i], installed[i+1])
		}
	}
	for _, inst := range installed {
		t.Run(fmt.Sprintf("%d root=%t", inst.Major, inst.Root != ""), func(t *testing.T) {
			t.Parallel()
			c := start(t, pgcluster.Options{Installation: inst})
			if got, want := query(t, c.DSN("postgres"), "SHOW server_version"), inst.Version; got != want {
				t.Errorf("server_version = %q, want %q", got, want)
			}
			for setting, want := range map[string]string{
				"wal_level": "logical", "fsync": "off", "full_page_writes": "off", "synchronous_commit": "on",
				"max_replication_slots": "32", "max_wal_senders": "32", "max_prepared_transactions": "20",
				"shared_buffers": "64MB", "server_encoding": "UTF8", "listen_addresses": "127.0.0.1",
			} {
				if got := query(t, c.DSN("postgres"), "SHOW "+setting); got != want {
					t.Errorf("%s = %q, want %q", setting, got, want)
				}
			}
			query(t, c.DSN("postgres"), "CREATE EXTENSION hstore; CREATE EXTENSION postgres_fdw")
			socket := fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", c.SocketDir(), c.Port())
			if got := query(t, socket, "SELECT inet_server_addr() IS NULL"); got != "t" {
				t.Errorf("over the socket: %q", got)
			}
		})
	}
}

func TestSettingsAreQuoted(t *testing.T) {
	t.Parallel()
	c := start(t, pgcluster.Options{
		Settings:   map[string]string{"cluster_name": `it's a \ test`, "shared_buffers": "16MB"},
		InitdbArgs: []string{"--data-checksums"},
		Locale:     "C",
	})
	if got, want := query(t, c.DSN("postgres"), "SELECT current_setting('cluster_name'), current_setting('shared_buffers'), current_setting('data_checksums'), datcollate FROM pg_database WHERE datname = 'postgres'"), `it's a \ test|16MB|on|C`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"scram-sha-256", "md5"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			const password = `p@ss'w\ord:%/`
			c := start(t, pgcluster.Options{AuthMethod: method, SuperuserPassword: password})
			prefix := map[string]string{"md5": "md5", "scram-sha-256": "SCRAM"}[method]
			if got := query(t, c.DSN("postgres"), "SELECT left(rolpassword, 5) FROM pg_authid WHERE rolname = 'postgres'"); !strings.HasPrefix(got, prefix) {
				t.Errorf("stored password begins with %q, want %q", got, prefix)
			}
			_, err := pgx.Connect(t.Context(), strings.Replace(c.DSN("postgres"), "ord", "wrong", 1))
			if code := pgerror.From(err).Code; code != pgerror.InvalidPassword {
				t.Errorf("wrong password: SQLSTATE %s (%v), want %s", code, err, pgerror.InvalidPassword)
			}
			if strings.Contains(c.Log(), password) {
				t.Error("the password is in the server's log")
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for _, inst := range pgcluster.Installed() {
		c := start(t, pgcluster.Options{Installation: inst, SSL: true})
		if got := query(t, c.DSN("postgres"), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != "t" {
			t.Errorf("%v: ssl = %q", inst, got)
		}
	}
}

func TestStopRestartKill(t *testing.T) {
	t.Parallel()
	c := start(t, pgcluster.Options{})
	ctx := t.Context()
	port := c.Port()
	query(t, c.DSN("postgres"), "CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
	for _, step := range []struct {
		name string
		do   func() error
		want pgcluster.State
	}{
		{"stop fast", func() error { return c.Stop(ctx, pgcluster.Fast) }, pgcluster.Stopped},
		{"stop again", func() error { return c.Stop(ctx, pgcluster.Fast) }, pgcluster.Stopped},
		{"kill while stopped", c.Kill, pgcluster.Stopped},
		{"start", func() error { return c.Start(ctx) }, pgcluster.Running},
		{"restart smart", func() error { return c.Restart(ctx, pgcluster.Smart) }, pgcluster.Running},
		{"restart immediate", func() error { return c.Restart(ctx, pgcluster.Immediate) }, pgcluster.Running},
		{"kill", c.Kill, pgcluster.Stopped},
		{"start after kill", func() error { return c.Start(ctx) }, pgcluster.Running},
		{"reload", c.Reload, pgcluster.Running},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := c.State(); got != step.want {
			t.Fatalf("after %s: %v, want %v", step.name, got, step.want)
		}
		if step.want == pgcluster.Running {
			if got := query(t, c.DSN("postgres"), "SELECT count(*) FROM t"); got != "1" {
				t.Fatalf("after %s: %s rows, want 1", step.name, got)
			}
		}
	}
	if c.Port() != port {
		t.Errorf("port %d after restarts, was %d", c.Port(), port)
	}
	if err := c.Start(ctx); pgerror.From(err).Code != pgerror.ObjectNotInPrerequisiteState {
		t.Errorf("start of a running cluster: %v", err)
	}
	if !strings.Contains(c.Log(), "automatic recovery") && !strings.Contains(c.Log(), "not properly shut down") {
		t.Errorf("no recovery in the log after Kill:\n%s", c.Log())
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err == nil {
		t.Error("start of a closed cluster: no error")
	}
	if _, err := os.Stat(c.SocketDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory after Close: %v", err)
	}
}

// The server's own start failure reaches the caller with its log.
func TestStartFailureShowsTheLog(t *testing.T) {
	t.Parallel()
	running := start(t, pgcluster.Options{})
	for name, options := range map[string]pgcluster.Options{
		"invalid value":   {Settings: map[string]string{"shared_buffers": "many"}},
		"port is taken":   {Port: running.Port()},
		"initdb fails":    {Locale: "xx_YY.nonsense"},
		"no such major":   {Installation: pgcluster.Installation{Major: 3}},
		"no password":     {AuthMethod: "md5"},
		"newline":         {Settings: map[string]string{"work_mem": "1MB\nfsync = on"}},
		"unreachable":     {Dir: filepath.Join(t.TempDir(), strings.Repeat("long", 40))},
		"impossible port": {Port: 70000},
	} {
		c, err := pgcluster.Start(t.Context(), options)
		if err == nil {
			t.Errorf("%s: no error", name)
			_ = c.Close()
			continue
		}
		e := pgerror.From(err)
		t.Logf("%s: %s\nDETAIL: %s\nHINT: %s", name, e, e.Detail, e.Hint)
		if name == "invalid value" && !strings.Contains(e.Detail, `"shared_buffers"`) {
			t.Errorf("%s: the detail has no log: %q", name, e.Detail)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	ports := sync.Map{}
	for range 6 {
		wg.Go(func() {
			c, err := pgcluster.Start(t.Context(), pgcluster.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if _, twice := ports.LoadOrStore(c.Port(), true); twice {
				t.Errorf("port %d was given twice", c.Port())
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// The clients of every installation work against the servers of every other
// whose version they take, with the caller's files and environment.
func TestToolsAcrossInstallations(t *testing.T) {
	t.Parallel()
	installed := pgcluster.Installed()
	for _, server := range installed {
		c := start(t, pgcluster.Options{Installation: server, AuthMethod: "scram-sha-256", SuperuserPassword: "secret"})
		for _, client := range installed {
			tool := func(stdin, name string, args ...string) (string, error) {
				path, err := client.Tool(name)
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.CommandContext(t.Context(), path, args...)
				cmd.Env = append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", c.Port()), "PGUSER=postgres", "PGPASSWORD=secret", "PGDATABASE=postgres")
				cmd.Stdin = strings.NewReader(stdin)
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			table := fmt.Sprintf(`"t %d"`, client.Major)
			script := filepath.Join(t.TempDir(), "a script.sql")
			if err := os.WriteFile(script, []byte("CREATE TABLE "+table+" (i int);\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := tool("", "psql", "-X", "-v", "ON_ERROR_STOP=1", "-f", script); err != nil {
				t.Fatalf("psql %d on %d: %v: %s", client.Major, server.Major, err, out)
			}
			if out, err := tool("SELECT 'from '||'stdin';", "psql", "-XAt"); err != nil || out != "from stdin\n" {
				t.Errorf("psql %d on %d: %v: %q", client.Major, server.Major, err, out)
			}
			out, err := tool("", "pg_dump", "--schema-only", "-t", table)
			if newEnough := client.Major >= server.Major; newEnough != (err == nil) {
				t.Errorf("pg_dump %d on %d: %v: %s", client.Major, server.Major, err, out)
			} else if newEnough && !strings.Contains(out, "CREATE TABLE public."+table) {
				t.Errorf("pg_dump %d on %d printed %q", client.Major, server.Major, out)
			}
			if out, err := tool("", "pg_restore", "--version"); err != nil || !strings.Contains(out, fmt.Sprint(client.Major)) {
				t.Errorf("pg_restore --version: %v: %q", err, out)
			}
			if out, err := tool("", "pgbench", "-i", "-s", "1", "-q"); err != nil {
				t.Errorf("pgbench %d on %d: %v: %s", client.Major, server.Major, err, out)
			}
		}
	}
}

// liveUntilKilled is what the child processes of the next test do.
func liveUntilKilled(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	for i, inst := range pgcluster.Installed() {
		c, err := pgcluster.Start(context.Background(), pgcluster.Options{Installation: inst})
		fail(err)
		note := fmt.Sprintf("%s\n%d\n", c.SocketDir(), c.Port())
		fail(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.new", i)), []byte(note), 0o600))
		fail(os.Rename(filepath.Join(dir, fmt.Sprintf("%d.new", i)), filepath.Join(dir, fmt.Sprint(i))))
	}
	fmt.Println("ready")
	select {}
}

// SIGKILL of the process, after the start and in the middle of it, leaves
// neither servers nor directories.
func TestNothingIsLeftWhenTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	if len(pgcluster.Installed()) == 0 {
		t.Skip("no PostgreSQL server programs are installed")
	}
	for _, ready := range []bool{true, false} {
		t.Run(fmt.Sprintf("ready=%t", ready), func(t *testing.T) {
			t.Parallel()
			notes, temp := t.TempDir(), t.TempDir()
			// The child's clusters go here, where the server's account can reach
			// them; a root's are in the root.
			for dir := temp; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), "PGCLUSTER_TEST_DIR="+notes, "TMPDIR="+temp)
			child.Stderr = os.Stderr
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			if ready {
				if _, err := out.Read(make([]byte, 8)); err != nil {
					t.Fatal(err)
				}
			} else {
				until(t, "a cluster's directory is there", func() bool {
					found, _ := filepath.Glob(filepath.Join(temp, "pgdrover-*", "data"))
					return len(found) > 0
				})
			}
			running := processesNaming(temp)
			if ready && len(running) == 0 {
				t.Error("no server runs in the child's directory: the test would see nothing")
			}
			if err := child.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = child.Wait()
			var dirs []string
			written, _ := filepath.Glob(filepath.Join(notes, "[0-9]"))
			for _, note := range written {
				text, err := os.ReadFile(note)
				if err != nil {
					t.Fatal(err)
				}
				dir, _, _ := strings.Cut(string(text), "\n")
				dirs = append(dirs, dir)
			}
			until(t, "the directories are gone", func() bool {
				left, _ := filepath.Glob(filepath.Join(temp, "*"))
				for _, dir := range dirs {
					if _, err := os.Stat(dir); err == nil {
						left = append(left, dir)
					}
				}
				return len(left) == 0
			})
			until(t, "the servers are gone", func() bool { return len(processesNaming(temp)) == 0 })
			for _, dir := range dirs {
				until(t, "the server of "+dir+" is gone", func() bool { return len(processesNaming(filepath.Base(dir))) == 0 })
			}
		})
	}
}

package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

// nowhere is a configuration whose databases nobody serves, for tests that
// need none.
func nowhere(general string) setup {
	server := []endpoint{{host: "127.0.0.1", port: 1, database: "none", user: "postgres", password: "server-secret"}}
	return setup{
		source: server, destination: server, general: general,
		users: "[[users]]\nname = \"looker\"\ndatabase = \"admin\"\npassword = \"reader-secret\"\n",
	}
}

// edit changes a configuration file; every old has to be there.
func edit(tb testing.TB, path string, oldNew ...string) {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(string(text), oldNew[i]) {
			tb.Fatalf("%s has no %q", path, oldNew[i])
		}
		text = []byte(strings.Replace(string(text), oldNew[i], oldNew[i+1], 1))
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// reloads are the two ways to have the files read again; each waits until that
// is done, and gives what was said.
var reloads = map[string]func(*testing.T, *running) string{
	"RELOAD": func(t *testing.T, r *running) string {
		o := r.psqlAs(t, administrator, nil, "-c", "RELOAD")
		return o.out + o.err
	},
	"SIGHUP": func(t *testing.T, r *running) string {
		before := len(r.log.text())
		r.signal(t, syscall.SIGHUP)
		pgtest.Eventually(t, "the configuration is reloaded or refused", r.saysSince(before, "configuration reloaded", "was not reloaded"))
		return r.log.text()[before:]
	},
}

// TestReload changes the files of a pgdrover that runs.
func TestReload(t *testing.T) {
	t.Parallel()
	for how, reload := range reloads {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := serve(t, nowhere(""))
			before := r.connect(t, administrator, "")
			edit(t, r.paths.Config, "[general]\n", "[general]\nlog_level = \"debug\"\n",
				fmt.Sprintf("port = %d\n", r.port), "port = 65000\n", "[[databases]]\nname = \"prod\"",
				"[[databases]]\nname = \"added\"\nhost = \"10.0.0.1\"\n\n[[databases]]\nname = \"prod\"")
			told := reload(t, r)
			if how == "RELOAD" {
				outcome{told, "", 0}.expect(t, 0, `databases "added"`, "general.log_level: info -> debug",
					fmt.Sprintf("WARNING:  general.port: %d -> 65000 takes effect at the next start", r.port))
			} else {
				outcome{told, "", 0}.expect(t, 0, "needs a restart", "general.port")
			}
			if got := strings.Join(r.rows(t, "SHOW DATABASES"), "\n"); !strings.Contains(got, "added|10.0.0.1|5432") {
				t.Errorf("SHOW DATABASES:\n%s", got)
			}
			if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port)); err != nil {
				t.Error(err)
			} else {
				conn.Close()
				r.logs(t, "level=DEBUG msg=\"client left before it logged in\"") // the level is in force
			}

			edit(t, r.paths.Config, "admin-secret", "second-secret")
			if how == "SIGHUP" { // RELOAD would have to log in with the new one
				reload(t, r)
			} else if _, err := before.Exec(t.Context(), "RELOAD"); err != nil {
				t.Error(err)
			}
			r.psql(t, "-c", "SHOW VERSION").expect(t, 2, `password authentication failed for user "admin"`)
			r.psqlAs(t, account{"admin", "second-secret"}, nil, "-c", "SHOW VERSION").expect(t, 0, "pgdrover")
			if _, err := before.Exec(t.Context(), "SHOW VERSION"); err != nil {
				t.Errorf("a session that was there before: %v", err)
			}
		})
	}
}

// TestReloadOfBrokenFiles is refused whole, with every problem and its place.
func TestReloadOfBrokenFiles(t *testing.T) {
	t.Parallel()
	for how, reload := range reloads {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := serve(t, nowhere(""))
			edit(t, r.paths.Config, "[general]\n", "[general]\nlog_level = \"debug\"\nprot = 1\nconnect_timeout = \"soon\"\n")
			edit(t, r.paths.Users, "name = \"looker\"", "name = \"looker\"\npasword = \"typo-secret\"", `database = "prod_new"`, `database = "prod_old"`)
			outcome{reload(t, r), "", 0}.expect(t, 0,
				r.paths.Config+":3: general.prot: unknown key; did you mean", "port",
				r.paths.Config+":4: general.connect_timeout: expected",
				r.paths.Users+":9: users: ", "prod_old", r.paths.Users+":", "users.pasword: unknown key; did you mean")
			if level := r.setting(t, "log_level"); level != "info" {
				t.Errorf("log_level of the refused file is in force: %s", level)
			}
			r.psqlAs(t, reader, nil, "-c", "SHOW VERSION").expect(t, 0, "pgdrover")
			edit(t, r.paths.Config, "prot = 1\nconnect_timeout = \"soon\"\n", "")
			edit(t, r.paths.Users, "\npasword = \"typo-secret\"", "", "prod_old", "prod_new")
			reload(t, r)
			if level := r.setting(t, "log_level"); level != "debug" {
				t.Errorf("log_level of the corrected file is not in force: %s", level)
			}
		})
	}
}

// TestSet lasts until the files are read again.
func TestSet(t *testing.T) {
	t.Parallel()
	r := serve(t, nowhere(""))
	r.psql(t, "-c", "SET schema_sync.index_jobs TO 7", "-c", "SHOW CONFIG schema_sync.index_jobs").expect(t, 0, "| set")
	if got := r.setting(t, "schema_sync.index_jobs"); got != "7" {
		t.Errorf("after SET it is %s", got)
	}
	r.psql(t, "-c", "RELOAD").expect(t, 0, "schema_sync.index_jobs: 7 -> 2")
	if got := r.setting(t, "schema_sync.index_jobs"); got != "2" {
		t.Errorf("after RELOAD it is %s", got)
	}
	for command, words := range map[string][]string{
		"SET schema_sync.index_jobs TO many": {"invalid value for setting \"schema_sync.index_jobs\"", "LINE 1"},
		"SET schema_sync.index_job TO 1":     {"schema_sync.index_jobs"},
		"SET port TO 1":                      {"cannot be changed without a restart", "HINT:"},
		"SET workers TO 3":                   {"not supported yet"},
		"SET admin.password TO 'x-secret'":   {"cannot be changed by SET"},
	} {
		r.psql(t, "-c", command).expect(t, 1, words...)
	}
	if got := r.setting(t, "admin.password"); strings.Contains(got, "secret") || got == "" {
		t.Errorf("SHOW CONFIG admin.password: %q", got)
	}
	for _, command := range []string{"SHOW CONFIG", "SHOW USERS", "SHOW DATABASES", "SHOW admin.password", "SELECT current_setting('admin.password')"} {
		if o := r.psql(t, "-c", command); strings.Contains(o.out+o.err, secretMark) {
			t.Errorf("%s shows a password:\n%s%s", command, o.out, o.err)
		}
	}
}

// TestConfigcheck looks at configurations without serving them.
func TestConfigcheck(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, paths config.Paths, environment ...string) outcome {
		cmd := exec.CommandContext(t.Context(), pgtest.Binary(t), "configcheck", "-c", paths.Config, "-u", paths.Users)
		cmd.Env = append(os.Environ(), environment...)
		return outcomeOf(t, cmd)
	}
	paths := nowhere("").write(t)
	check(t, paths).expect(t, 0, "are in order: 2 databases, 3 users")
	if err := os.Chmod(paths.Users, 0o644); err != nil {
		t.Fatal(err)
	}
	check(t, paths).expect(t, 0, "WARNING:", "can be read by others than its owner (mode 0644); run: chmod 600 "+paths.Users)
	check(t, paths, "PGDOG_PORT=x").expect(t, 1, "ERROR:  environment: PGDOG_PORT: ")
	edit(t, paths.Config, "[general]\n", "[general]\nworkers = 4\nshutdown_timout = 1\n")
	check(t, paths).expect(t, 1, "WARNING:  "+paths.Config+":2: general.workers: not supported yet",
		"ERROR:  "+paths.Config+`:3: general.shutdown_timout: unknown key; did you mean "shutdown_timeout"?`)
	check(t, config.Paths{Config: "nothing.toml", Users: paths.Users}).expect(t, 1, "nothing.toml: file does not exist")
	outcomeOf(t, exec.CommandContext(t.Context(), pgtest.Binary(t), "configchek")).expect(t, 2, "pgdrover --help")
}

// TestEnvironment overrides the files.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	for range 5 {
		port := freePort(t)
		r := start(t, nowhere("").write(t), port, "PGDOG_PORT="+strconv.Itoa(port), "PGDOG_ADMIN_PASSWORD=environment-secret", "PGDOG_LOG_LEVEL=debug")
		if r == nil {
			continue
		}
		as := account{"admin", "environment-secret"}
		r.psqlAs(t, as, nil, "-At", "-c", "SHOW CONFIG port").expect(t, 0, fmt.Sprintf("port|%d|6432|environment", port))
		r.psqlAs(t, as, nil, "-At", "-c", "SHOW CONFIG log_level").expect(t, 0, "log_level|debug|info|environment")
		r.psql(t, "-c", "SHOW VERSION").expect(t, 2, "password authentication failed")
		return
	}
	t.Fatal("every port is taken")
}

// TestShutdown stops pgdrover while a task runs: the task is interrupted and
// goes on after the next start.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for how, stop := range map[string]func(*testing.T, *running){
		"SHUTDOWN": func(t *testing.T, r *running) { r.psql(t, "-c", "SHUTDOWN").expect(t, 0, "SHUTDOWN") },
		"SIGTERM":  func(t *testing.T, r *running) { r.signal(t, syscall.SIGTERM) },
		"SIGINT":   func(t *testing.T, r *running) { r.signal(t, syscall.SIGINT) },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			open := gate(t, s.destination)
			idle := s.connect(t, administrator, "")
			task := s.rows(t, "SCHEMA_SYNC PRE prod prod_new all_tables")[0]
			stopped(t, s.destination)
			stop(t, s.running)
			if code := s.exitCode(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if _, err := idle.Exec(t.Context(), "SHOW VERSION"); pgerror.Code(err) != pgerror.AdminShutdown {
				t.Errorf("an idle session is told: %v", err)
			}
			free(t, s.destination)
			open()
			again := s.serveAgain(t)
			if row := again.table(t, "SHOW TASKS")[0]; row["id"] != task || row["status"] != "interrupted" {
				t.Errorf("after the next start: %v", row)
			}
			again.psql(t, "-c", "WAIT "+task).expect(t, 1, "pgdrover was shut down", "HINT:")
			again.psql(t, "-v", "ON_ERROR_STOP=1", "-c", "SCHEMA_SYNC PRE prod prod_new all_tables; WAIT 2; SCHEMA_SYNC POST prod prod_new all_tables; WAIT 3").expect(t, 0)
			if got := again.rows(t, "SHOW SCHEMA_DIFF prod prod_new"); got[0] != "" {
				t.Errorf("the schemas differ: %s", got)
			}
		})
	}
}

// TestSecondSignal cuts an orderly stop short that waits for a server which has
// fallen silent.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, smallSchema)
	silent := destination.Cluster.Proxy(t)
	conf := withSecrets(source, destination, "shutdown_timeout = 3600000\n")
	conf.destination[0].host, conf.destination[0].port = silent.Host(), silent.Port()
	open := gate(t, destination)
	s := serve(t, conf)
	s.rows(t, "SCHEMA_SYNC PRE prod prod_new all_tables")
	stopped(t, destination)
	silent.Blackhole(true)
	s.signal(t, syscall.SIGTERM)
	s.logs(t, "msg=stopping")
	again := time.NewTicker(100 * time.Millisecond) // one that comes with the first is the same
	defer again.Stop()
	go func() { // ends with the process
		for {
			select {
			case <-again.C:
				_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
			case <-s.ended:
				return
			}
		}
	}()
	if code := s.exitCode(t); code != 1 {
		t.Errorf("exit code %d, want 1: the stop was not orderly", code)
	}
	s.logs(t, "ERROR:  wait for tasks to end: a second signal cut the stop short (SQLSTATE 57P01)\nHINT:")
	silent.Cut()
	open()
	free(t, destination)
}

// TestCLITask runs a phase by the command line beside a pgdrover that runs: its
// task is seen there, waited for and stopped.
func TestCLITask(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	open := gate(t, s.destination)

	output, code := launch(t, s.paths, schemaSync(dump.PreData, "--dry-run")...).end()
	outcome{output, "", code}.expect(t, 0, "CREATE TABLE public.items", "CREATE DOMAIN public.price")
	output, code = launch(t, s.paths, schemaSync(dump.PreData, "--dry-run", "--json")...).end()
	outcome{output, "", code}.expect(t, 0, `"kind":"TABLE"`, `"sql":"CREATE TABLE public.items`, `"shard":0`)
	if got := s.rows(t, "SHOW TASKS"); got[0] != "" {
		t.Errorf("--dry-run left tasks: %s", got)
	}

	// Stopped by the server.
	cli := launch(t, s.paths, schemaSync(dump.PreData, "--json")...)
	stopped(t, s.destination)
	if row := s.table(t, "SHOW TASKS")[0]; row["id"] != "1" || row["status"] != "running" || !strings.Contains(row["runner"], fmt.Sprintf("process %d", cli.cmd.Process.Pid)) {
		t.Errorf("SHOW TASKS of the server: %v", row)
	}
	s.psql(t, "-c", "SCHEMA_SYNC PRE prod prod_new all_tables").expect(t, 1, "process "+strconv.Itoa(cli.cmd.Process.Pid))
	s.psql(t, "-c", "STOP_TASK 1").expect(t, 0, "OK")
	output, code = cli.end()
	if last := lastObject(t, output); code != 1 || last["status"] != "cancelled" || last["sqlstate"] != "57014" {
		t.Errorf("the command line after STOP_TASK: exit code %d\n%s", code, output)
	}

	// Stopped by Ctrl-C.
	free(t, s.destination)
	cli = launch(t, s.paths, schemaSync(dump.PreData)...)
	stopped(t, s.destination)
	if err := cli.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	output, code = cli.end()
	outcome{output, "", code}.expect(t, 1, "task 2", "HINT:")
	if row := s.table(t, "SHOW TASKS")[0]; row["id"] != "2" || row["status"] == "running" {
		t.Errorf("SHOW TASKS after Ctrl-C: %v", row)
	}
	free(t, s.destination)

	// Waited for by the server.
	cli = launch(t, s.paths, schemaSync(dump.PreData)...)
	stopped(t, s.destination)
	open()
	s.psql(t, "-v", "ON_ERROR_STOP=1", "-c", "WAIT 3").expect(t, 0, "finished")
	output, code = cli.end()
	outcome{output, "", code}.expect(t, 0, "task 3: schema_sync(pre) prod -> prod_new finished")

	for _, flags := range [][]string{{"--data-sync-complete"}, {"--cutover"}, {"--post-cutover"}} {
		output, code = launch(t, s.paths, schemaSync(dump.PreData, append(flags, "--json")...)...).end()
		if last := lastObject(t, output); code != 0 || last["status"] != "finished" {
			t.Errorf("%s: exit code %d\n%s", flags, code, output)
		}
	}
	output, code = launch(t, s.paths, "schema-sync", "--from-database", "prod", "--to-database", "nowhere", "--publication", "all_tables").end()
	outcome{output, "", code}.expect(t, 1, `database "nowhere" is not in [[databases]]`, "SQLSTATE 3D000", "HINT:")
	output, code = launch(t, s.paths, "schema-sync", "--from-database", "prod").end()
	outcome{output, "", code}.expect(t, 2, "missing flags: --publication=NAME, --to-database=NAME")
	output, code = launch(t, s.paths, schemaSync(dump.PostData, "--cutover")...).end()
	outcome{output, "", code}.expect(t, 2, "can't be used together")
	output, code = launch(t, s.paths, "schema-diff", "--from-database", "prod", "--to-database", "prod_new").end()
	outcome{output, "", code}.expect(t, 0, "no differences")
}

// lastObject reads the last line of --json.
func lastObject(t *testing.T, output string) map[string]any {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(output), "\n")
	var out map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &out); err != nil {
		t.Fatalf("the last line is not JSON: %v\n%s", err, output)
	}
	return out
}

// Package integration tests pgdrover as its users meet it: against real
// servers, through the binary, psql and drivers.
package integration

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

func TestMain(m *testing.M) {
	// Most tests wait for servers and clocks most of the time. -parallel wins.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	pgtest.Main(m)
}

// endpoint is a server of a test's configuration; it may be a proxy before one.
type endpoint struct {
	host     string
	port     int
	database string
	user     string
	password string
}

func at(d *pgtest.Database) endpoint {
	return endpoint{host: d.Cluster.Host(), port: d.Cluster.Port(), database: d.Name, user: d.Cluster.Superuser()}
}

// setup is a pair of configuration files under test.
type setup struct {
	source      []endpoint
	destination []endpoint
	extra       string // more of pgdog.toml
	general     string // more of its [general]
	users       string // more of users.toml
	port        int    // of the admin database, 0 if nobody listens
}

// write writes the files and gives their paths. The source is called "prod",
// the destination "prod_new".
func (s setup) write(tb testing.TB) config.Paths {
	tb.Helper()
	var main, users strings.Builder
	fmt.Fprintf(&main, "[general]\nhost = \"127.0.0.1\"\nport = %d\n%s\n[admin]\npassword = \"admin-secret\"\n", max(s.port, 1), s.general)
	databases := func(name string, endpoints []endpoint) {
		for i, e := range endpoints {
			fmt.Fprintf(&main, "\n[[databases]]\nname = %q\nshard = %d\nhost = %q\nport = %d\ndatabase_name = %q\n", name, i, e.host, e.port, e.database)
		}
		fmt.Fprintf(&users, "[[users]]\nname = %q\ndatabase = %q\npassword = %q\nschema_admin = true\n\n", endpoints[0].user, name, endpoints[0].password)
	}
	databases("prod", s.source)
	databases("prod_new", s.destination)
	main.WriteString("\n" + s.extra)
	users.WriteString(s.users)
	dir := tb.TempDir()
	paths := config.Paths{Config: filepath.Join(dir, "pgdog.toml"), Users: filepath.Join(dir, "users.toml")}
	for path, text := range map[string]string{paths.Config: main.String(), paths.Users: users.String()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return paths
}

// manager gives an engine that works with the configuration, and is closed at
// the test's end.
func (s setup) manager(tb testing.TB) *mirror.Manager {
	tb.Helper()
	cfg, _, err := config.Load(s.write(tb), func(string) (string, bool) { return "", false })
	if err != nil {
		tb.Fatalf("load the configuration: %v", err)
	}
	m := mirror.NewManager(mirror.Options{
		Config: func() *config.Config { return cfg }, Version: "test", Logger: slog.New(slog.NewTextHandler(tb.Output(), nil)),
	})
	tb.Cleanup(func() {
		if err := m.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("close the engine: %v", err)
		}
	})
	return m
}

// request is a phase from prod to prod_new with the publication all_tables.
func request(phase dump.Phase) mirror.SchemaSyncRequest {
	return mirror.SchemaSyncRequest{Phase: phase, Source: "prod", Destination: "prod_new", Publication: "all_tables"}
}

// run runs a phase to its end.
func run(tb testing.TB, m *mirror.Manager, req mirror.SchemaSyncRequest) mirror.Task {
	tb.Helper()
	started, err := m.SchemaSync(tb.Context(), req)
	if err != nil {
		tb.Fatalf("start %s: %s", req.Phase, full(err))
	}
	task, err := m.Wait(tb.Context(), started.Task, func(string) {})
	if err != nil {
		tb.Fatalf("wait for %s: %s", req.Phase, full(err))
	}
	return task
}

// succeed runs a phase that has to succeed.
func succeed(tb testing.TB, m *mirror.Manager, req mirror.SchemaSyncRequest) mirror.Task {
	tb.Helper()
	task := run(tb, m, req)
	if task.State != mirror.Finished {
		tb.Fatalf("%s is %s: %s", task.Type, task.State, full(task.Error))
	}
	return task
}

// full is an error with all its fields.
func full(err error) string {
	e := pgerror.From(err)
	if e == nil {
		return "no error"
	}
	return fmt.Sprintf("%s: %s\nDETAIL: %s\nHINT: %s", e.Code, e.Message, e.Detail, e.Hint)
}

// same checks that both sides have one and the same schema.
func same(tb testing.TB, m *mirror.Manager) {
	tb.Helper()
	differences, _, err := m.SchemaDiff(tb.Context(), "prod", "prod_new")
	if err != nil {
		tb.Fatalf("compare: %s", full(err))
	}
	for _, d := range differences {
		tb.Errorf("shard %d: %s %q.%q: %s (%s)\nsource:\n%s\ndestination:\n%s", d.Shard, d.Kind, d.Schema, d.Object, d.What, d.Phase, d.Source, d.Destination)
	}
}

// fresh makes a source with a schema and an empty destination, both in the
// shared cluster of the oldest version. Every table is published.
func fresh(tb testing.TB, sql string) (source, destination *pgtest.Database) {
	tb.Helper()
	c := pgtest.Shared(tb, 0)
	source, destination = c.CreateDatabase(tb), c.CreateDatabase(tb)
	source.Exec(tb, sql)
	source.Exec(tb, "CREATE PUBLICATION all_tables FOR ALL TABLES")
	return source, destination
}

// between is a configuration of a source and a destination.
func between(source *pgtest.Database, destination ...*pgtest.Database) setup {
	return setup{source: []endpoint{at(source)}, destination: endpoints(destination)}
}

// arrives runs the phases that carry a schema over and checks that it arrived.
func arrives(tb testing.TB, m *mirror.Manager) {
	tb.Helper()
	for _, phase := range phases {
		succeed(tb, m, request(phase))
	}
	same(tb, m)
}

// fails runs a phase that has to be refused, or to fail, with a SQLSTATE and an
// error that has all of words in its fields.
func fails(tb testing.TB, m *mirror.Manager, req mirror.SchemaSyncRequest, code string, words ...string) *pgerror.Error {
	tb.Helper()
	started, err := m.SchemaSync(tb.Context(), req)
	if err == nil {
		task, waitErr := m.Wait(tb.Context(), started.Task, func(string) {})
		if waitErr != nil {
			tb.Fatalf("wait for %s: %s", req.Phase, full(waitErr))
		}
		if task.State != mirror.Failed {
			tb.Fatalf("%s is %s: %s", task.Type, task.State, full(task.Error))
		}
		err = task.Error
	}
	says(tb, err, code, words...)
	return pgerror.From(err)
}

// says checks an error's SQLSTATE, and that its fields have all of words.
func says(tb testing.TB, err error, code string, words ...string) {
	tb.Helper()
	text := full(err)
	if pgerror.Code(err) != code {
		tb.Errorf("SQLSTATE is %s, want %s, in:\n%s", pgerror.Code(err), code, text)
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			tb.Errorf("%q is missing in:\n%s", word, text)
		}
	}
	if e := pgerror.From(err); e == nil || e.Hint == "" {
		tb.Errorf("there is no HINT in:\n%s", text)
	}
}

var hintedSQL = regexp.MustCompile(`\b(?:CREATE|ALTER|GRANT|DROP) [^\n]*;`)

// obey runs the SQL of an error's HINT in a database.
func obey(tb testing.TB, d *pgtest.Database, e *pgerror.Error) {
	tb.Helper()
	found := hintedSQL.FindAllString(e.Hint, -1)
	if len(found) == 0 {
		tb.Fatalf("there is no SQL in the hint: %s", full(e))
	}
	for _, sql := range found {
		tb.Logf("%s: %s", d.Name, sql)
		d.Exec(tb, sql)
	}
}

// process is a pgdrover that runs by itself.
type process struct {
	cmd    *exec.Cmd
	output bytes.Buffer // standard output and error; complete when it has ended
}

// launch starts the binary with the configuration. It is killed at the end of
// the test if it still runs then.
func launch(tb testing.TB, paths config.Paths, args ...string) *process {
	tb.Helper()
	return launchIn(tb, nil, paths, args...)
}

// launchIn is launch with an environment, nil for that of the test.
func launchIn(tb testing.TB, environment []string, paths config.Paths, args ...string) *process {
	tb.Helper()
	p := &process{cmd: exec.Command(pgtest.Binary(tb), append([]string{"-c", paths.Config, "-u", paths.Users}, args...)...)}
	p.cmd.Env = environment
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.kill)
	return p
}

// kill ends it by SIGKILL, unless it has ended, and waits for it.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait() // killed, or ended just before
	}
}

// end waits until it ends by itself and gives what it wrote and its exit code.
func (p *process) end() (output string, code int) {
	_ = p.cmd.Wait() // the exit code tells
	return p.output.String(), p.cmd.ProcessState.ExitCode()
}

// phaseFlags are those of schema-sync for a phase.
var phaseFlags = map[dump.Phase][]string{
	dump.PostData: {"--data-sync-complete"}, dump.Cutover: {"--cutover"}, dump.PostCutover: {"--post-cutover"},
}

// schemaSync is the command line that runs a phase from prod to prod_new.
func schemaSync(phase dump.Phase, flags ...string) []string {
	args := []string{"schema-sync", "--from-database", "prod", "--to-database", "prod_new", "--publication", "all_tables"}
	return append(append(args, phaseFlags[phase]...), flags...)
}

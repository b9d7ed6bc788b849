// Package integration tests pgdrover as its users meet it: against real
// servers, through the binary, psql and drivers.
package integration

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

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
	port        int    // of the admin database, 0 if nobody listens
}

// write writes the files and gives their paths. The source is called "prod",
// the destination "prod_new".
func (s setup) write(tb testing.TB) config.Paths {
	tb.Helper()
	var main, users strings.Builder
	fmt.Fprintf(&main, "[general]\nhost = \"127.0.0.1\"\nport = %d\n\n[admin]\npassword = \"admin-secret\"\n", max(s.port, 1))
	databases := func(name string, endpoints []endpoint) {
		for i, e := range endpoints {
			fmt.Fprintf(&main, "\n[[databases]]\nname = %q\nshard = %d\nhost = %q\nport = %d\ndatabase_name = %q\n", name, i, e.host, e.port, e.database)
		}
		fmt.Fprintf(&users, "[[users]]\nname = %q\ndatabase = %q\npassword = %q\nschema_admin = true\n\n", endpoints[0].user, name, endpoints[0].password)
	}
	databases("prod", s.source)
	databases("prod_new", s.destination)
	main.WriteString("\n" + s.extra)
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
		Config: func() *config.Config { return cfg }, Version: "test", Logger: slog.New(slog.DiscardHandler),
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

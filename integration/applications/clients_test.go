package applications

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgcluster"
)

// missing skips the test, or fails it where drivers are required.
func missing(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("PGDROVER_REQUIRE_DRIVERS") == "1" {
		t.Fatalf("%s: %v; PGDROVER_REQUIRE_DRIVERS=1 forbids skipping", what, err)
	}
	t.Skipf("%s: %v; make test-clients installs it where it can", what, err)
}

// driver finds a file that scripts/drivers.sh installs.
func driver(t *testing.T, path ...string) string {
	t.Helper()
	dir, err := filepath.Abs(cmp.Or(os.Getenv("PGDROVER_DRIVERS_DIR"), "../../.cache/drivers"))
	if err != nil {
		t.Fatal(err)
	}
	found := filepath.Join(append([]string{dir}, path...)...)
	if _, err := os.Stat(found); err != nil {
		missing(t, "a client library is not installed", err)
	}
	return found
}

// program finds a program that runs a client.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "a client's runtime is not installed", err)
	}
	return path
}

// client is an application that works with pgdrover: a program of testdata that
// checks what it gets, and says "restart" when the server is to be restarted.
type client struct {
	name string
	// build prepares it and gives the command line and further environment.
	build func(t *testing.T) (command, environment []string)
}

// python is a client that a virtual environment runs.
func python(environment, script string, more ...string) func(*testing.T) ([]string, []string) {
	return func(t *testing.T) ([]string, []string) {
		return append([]string{driver(t, environment, "bin", "python"), "testdata/" + script}, more...), []string{"PYTHONDONTWRITEBYTECODE=1"}
	}
}

// node is a client that Node.js runs.
func node(modules, script string) func(*testing.T) ([]string, []string) {
	return func(t *testing.T) ([]string, []string) {
		return []string{program(t, "node"), "testdata/" + script}, []string{"NODE_PATH=" + driver(t, modules, "node_modules")}
	}
}

// java is a client that is compiled first.
func java(class, library, jars string) func(*testing.T) ([]string, []string) {
	return func(t *testing.T) ([]string, []string) {
		run, compile, classes := program(t, "java"), program(t, "javac"), t.TempDir()
		path := filepath.Join(driver(t, library), jars)
		if out, err := exec.CommandContext(t.Context(), compile, "-cp", path, "-d", classes, "testdata/"+class+".java", "testdata/Proxied.java").CombinedOutput(); err != nil {
			t.Fatalf("compile %s: %v\n%s", class, err, out)
		}
		return []string{run, "-cp", path + string(os.PathListSeparator) + classes, class}, nil
	}
}

// gorm is a client with a module of its own. Its source has another name here, so that
// nobody takes it for a part of this module.
func gorm(t *testing.T) ([]string, []string) {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.CopyFS(dir, os.DirFS("testdata/gorm")), os.Rename(filepath.Join(dir, "main.go.txt"), filepath.Join(dir, "main.go"))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "gorm")
	build := exec.CommandContext(t.Context(), program(t, "go"), "build", "-o", path, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		missing(t, "GORM's client cannot be built", fmt.Errorf("%w\n%s", err, out))
	}
	return []string{path}, nil
}

// onlyAsked skips what make test-clients runs.
func onlyAsked(t *testing.T) {
	t.Helper()
	if os.Getenv("PGDROVER_CLIENTS") == "" {
		t.Skip("it takes long: make test-clients runs it")
	}
}

var clients = []client{
	{name: "psycopg", build: python("python", "psycopg_work.py")},
	{name: "asyncpg", build: python("python", "asyncpg_work.py")},
	{name: "node-postgres", build: node("node", "pg_work.js")},
	{name: "pgJDBC", build: java("Jdbc", "java", "postgresql.jar")},
	{name: "SQLAlchemy", build: python("sqlalchemy", "sqlalchemy_work.py")},
	{name: "Sequelize", build: node("sequelize", "sequelize_work.js")},
	{name: "Hibernate", build: java("Hibernate", "hibernate", "lib/*")},
	{name: "GORM", build: gorm},
}

// TestClients has each client work in each pool mode. In the end nobody is left.
func TestClients(t *testing.T) {
	t.Parallel()
	onlyAsked(t)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			command, environment := c.build(t)
			d := postgresOf(t)
			s := open(t, plan{database: d, general: "default_pool_size = 6\ncheckout_timeout = 60000\n"})
			for _, mode := range modes {
				t.Run(string(mode), func(t *testing.T) {
					s.work(t, mode, command, environment)
					s.balanced(t)
				})
			}
		})
	}
}

// work runs a client, and restarts the server when it says so.
func (s *site) work(t *testing.T, mode config.PoolerMode, command, environment []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(append(s.environment(string(mode)), environment...), "MODE="+string(mode))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = lines.Text()
		if last != "restart" {
			continue
		}
		if err := s.database.Cluster.Restart(ctx, pgcluster.Fast); err != nil {
			t.Errorf("restart the server: %v", err)
		}
		if _, err := in.Write([]byte("restarted\n")); err != nil {
			t.Errorf("tell the client: %v", err)
		}
	}
	if err := cmd.Wait(); err != nil || last != "done" {
		t.Fatalf("%s: %v, its last line is %q\n%s", strings.Join(command, " "), err, last, said.String())
	}
}

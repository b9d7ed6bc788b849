package applications

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// TestPgxSuite runs pgx's own tests through session mode, and those that it has for
// poolers through transaction mode. Those of pgxExceptions may fail, and no others.
func TestPgxSuite(t *testing.T) {
	if os.Getenv("PGDROVER_PGX_SUITE") == "" {
		t.Skip("it takes minutes: make test-pgx runs it")
	}
	sources := pgxSources(t)
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_connections": "300"}})
	d := c.CreateNamedDatabase(t, "pgx_test")
	for _, sql := range []string{
		`CREATE EXTENSION hstore`, `CREATE EXTENSION ltree`, `CREATE DOMAIN uint64 AS numeric(20,0)`, `CREATE USER pgx_scram SUPERUSER PASSWORD 'secret'`,
		`CREATE USER " tricky, ' } "" \ test user " SUPERUSER PASSWORD 'secret'`,
	} {
		d.Exec(t, sql)
	}
	s := open(t, plan{
		database: d, names: map[string]config.PoolerMode{"pgx_test": config.ModeSession, "pooled": config.ModeTransaction},
		users: "[[users]]\nname = \"pgx_scram\"\ndatabase = \"pgx_test\"\npassword = \"secret\"\n",
	})
	failed := s.runPgx(t, sources)
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		if reason := pgxExceptions[name]; reason != "" {
			t.Logf("%s fails, as it has to: %s", name, reason)
			continue
		}
		t.Errorf("%s fails:\n%s", name, failed[name])
	}
	s.balanced(t)
}

// pgxSources copies the module of the pinned version: its tests write beside them.
func pgxSources(t *testing.T) string {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/jackc/pgx/v5").Output()
	if err != nil {
		t.Fatalf("find pgx: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "pgx")
	if err := os.CopyFS(dir, os.DirFS(strings.TrimSpace(string(module)))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runPgx gives the tests that failed, with what they said.
func (s *site) runPgx(t *testing.T, sources string) map[string]string {
	t.Helper()
	key := func(user, password, database string) string {
		return fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s dbname=%s sslmode=disable", s.port, user, password, database)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "-trimpath", "-count=1", "-p=1", "-timeout=15m", cmp.Or(os.Getenv("PGDROVER_PGX_PACKAGES"), "./..."))
	if only := os.Getenv("PGDROVER_PGX_RUN"); only != "" {
		cmd.Args = slices.Insert(cmd.Args, 3, "-run="+only)
	}
	cmd.Dir = sources
	user := s.database.Cluster.Superuser()
	cmd.Env = append(os.Environ(), "PGX_TEST_DATABASE="+key(user, password, "pgx_test"), "PGX_TEST_TCP_CONN_STRING="+key(user, password, "pgx_test"),
		"PGX_TEST_SCRAM_PASSWORD_CONN_STRING="+key("pgx_scram", "secret", "pgx_test"), "PGX_TEST_PGBOUNCER_CONN_STRING="+key(user, password, "pooled"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	failed, err := pgxFailures(t, out)
	_ = cmd.Wait() // the failures tell
	if err != nil {
		t.Fatalf("read what go test says: %v", err)
	}
	return failed
}

// pgxFailures reads the output of go test -json.
func pgxFailures(t *testing.T, out io.Reader) (map[string]string, error) {
	t.Helper()
	said, failed := make(map[string]string), make(map[string]string)
	passed, skipped := 0, 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event struct{ Action, Package, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(event.Package, "github.com/jackc/pgx/v5"), "/") + "." + event.Test
		switch event.Action {
		case "output", "build-output":
			said[name] += event.Output
		case "pass":
			passed++
		case "skip":
			skipped++
		case "fail":
			failed[name] = said[name]
		}
	}
	t.Logf("%d passed, %d skipped, %d failed", passed, skipped, len(failed))
	// A test fails with its parts, and a package with its tests: the parts tell.
	for name := range maps.Clone(failed) {
		for other := range failed {
			if other != name && (strings.HasPrefix(other, name+"/") || strings.HasSuffix(name, ".") && strings.HasPrefix(other, name)) {
				delete(failed, name)
				break
			}
		}
	}
	if passed == 0 {
		t.Error("no test has passed")
	}
	return failed, lines.Err()
}

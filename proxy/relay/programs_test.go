package relay_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// program runs a program of PostgreSQL's against the proxy.
func (s *stand) program(t *testing.T, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(s.database.Cluster.Installation().BinDir, name)
	if _, err := os.Stat(path); err != nil {
		if path, err = exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	c := exec.CommandContext(ctx, path, args...)
	c.Env = append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", s.address.Port), "PGUSER=postgres", "PGDATABASE=app", "PGSSLMODE=disable", "LC_ALL=C")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestPgbench(t *testing.T) {
	t.Parallel()
	transactions := "100"
	protocols := []string{"prepared"}
	if os.Getenv("PGDROVER_LONG_TESTS") != "" {
		transactions, protocols = "1000", []string{"simple", "extended", "prepared"}
	}
	each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode, general: "default_pool_size = 8"})
		s.program(t, "pgbench", "-i", "-s", "1", "-q")
		for _, protocol := range protocols {
			for _, more := range [][]string{{"-t", transactions}, {"-S", "-t", transactions}, {"-S", "-C", "-t", "10"}} {
				args := append([]string{"-n", "-M", protocol, "-c", "8", "-j", "2"}, more...)
				if out := s.program(t, "pgbench", args...); strings.Contains(out, "aborted") || !strings.Contains(out, "number of failed transactions: 0 ") {
					t.Errorf("pgbench %v:\n%s", args, out)
				}
			}
		}
		if got := pgtest.Value[int64](t, s.database, "SELECT sum(bbalance) - (SELECT sum(delta) FROM pgbench_history) FROM pgbench_branches"); got != 0 {
			t.Errorf("balances and history differ by %d", got)
		}
	})
}

func TestPsql(t *testing.T) {
	t.Parallel()
	each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode})
		file := filepath.Join(t.TempDir(), "rows")
		script := strings.Join([]string{
			`CREATE TABLE t (a int, b text);`,
			`\copy t FROM PROGRAM 'seq 1 20000 | sed "s/$/\trow/"'`,
			`SELECT count(*) FROM t;`,
			`\copy t TO '` + file + `'`,
			`SELECT 1/0;`,
			`SELECT 'still here';`,
			`BEGIN; SELECT 1/0; COMMIT;`,
			`\set FETCH_COUNT 100`,
			`SELECT count(*) FROM (SELECT a FROM t) AS x;`,
			`\d t`,
		}, "\n")
		path := filepath.Join(t.TempDir(), "script.sql")
		if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		out := s.program(t, "psql", "-X", "-At", "-f", path)
		for _, want := range []string{"COPY 20000\n20000\nCOPY 20000\n", "still here", "division by zero", "ROLLBACK", "b|text||"} {
			if !strings.Contains(out, want) {
				t.Errorf("psql said %q, which has no %q", out, want)
			}
		}
		if info, err := os.Stat(file); err != nil || info.Size() < 100_000 {
			t.Errorf("the copied file: %v, %v", info, err)
		}
	})
}

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// phases are those that carry a schema over.
var phases = []dump.Phase{dump.PreData, dump.PostData, dump.Cutover}

// samples is where real schemas lie beside the repository, where they do.
const samples = "../../shared/samples"

// sample is a source schema that tests share: nobody changes it.
type sample struct {
	name string
	load func(tb testing.TB, c *pgtest.Cluster) *pgtest.Database
	once sync.Once
	db   *pgtest.Database
}

var tortureSample = &sample{name: "torture", load: func(tb testing.TB, c *pgtest.Cluster) *pgtest.Database {
	return loaded(tb, c, "torture_source", "testdata/torture_roles.sql", "testdata/torture.sql")
}}

var allSamples = []*sample{
	tortureSample,
	{name: "shop", load: func(tb testing.TB, c *pgtest.Cluster) *pgtest.Database {
		return loaded(tb, c, "shop_source", "../demo/shop.sql")
	}},
	{name: "pagila", load: func(tb testing.TB, c *pgtest.Cluster) *pgtest.Database {
		d := loaded(tb, c, "pagila_source", sampleFile(tb, "pagila.sql"))
		d.Exec(tb, `CREATE PUBLICATION all_tables FOR ALL TABLES`)
		return d
	}},
	{name: "chinook", load: func(tb testing.TB, c *pgtest.Cluster) *pgtest.Database {
		c.Database("postgres").LoadFile(tb, sampleFile(tb, "chinook.sql"))
		d := c.Database("chinook_auto_increment")
		d.Exec(tb, `CREATE PUBLICATION all_tables FOR ALL TABLES`)
		return d
	}},
}

func sampleFile(tb testing.TB, name string) string {
	tb.Helper()
	path := filepath.Join(samples, name)
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("the sample database %s is not beside the repository: %v", name, err)
	}
	return path
}

// loaded makes a database that outlives the test.
func loaded(tb testing.TB, c *pgtest.Cluster, name string, files ...string) *pgtest.Database {
	tb.Helper()
	c.Database("postgres").Exec(tb, "CREATE DATABASE "+pgtest.Quote(name))
	d := c.Database(name)
	for _, file := range files {
		d.LoadFile(tb, file)
	}
	return d
}

// source gives the sample in the shared cluster of the oldest version.
func (s *sample) source(tb testing.TB) *pgtest.Database {
	tb.Helper()
	s.once.Do(func() { s.db = s.load(tb, pgtest.Shared(tb, 0)) })
	if s.db == nil {
		tb.Skipf("the sample %s could not be loaded", s.name)
	}
	return s.db
}

// shards makes empty databases in a cluster, with the roles the samples need.
func shards(tb testing.TB, c *pgtest.Cluster, n int) []*pgtest.Database {
	tb.Helper()
	out := make([]*pgtest.Database, n)
	for i := range out {
		out[i] = c.CreateDatabase(tb)
	}
	out[0].LoadFile(tb, "testdata/torture_roles.sql")
	out[0].LoadFile(tb, "testdata/sample_roles.sql")
	return out
}

func endpoints(databases []*pgtest.Database) []endpoint {
	out := make([]endpoint, len(databases))
	for i, d := range databases {
		out[i] = at(d)
	}
	return out
}

// destinations are the clusters to which schemas are carried: the source's own
// version, and a newer one.
var destinations = map[string]func(testing.TB) *pgtest.Cluster{
	"same version":  func(tb testing.TB) *pgtest.Cluster { return pgtest.Shared(tb, 0) },
	"newer version": func(tb testing.TB) *pgtest.Cluster { return pgtest.Shared(tb, pgtest.Newer(tb).Major) },
}

// pgDump is the configuration that names the pg_dump of a cluster's version:
// that of an unpacked release lies where nobody would look for it.
func pgDump(tb testing.TB, c *pgtest.Cluster) string {
	tb.Helper()
	path, err := c.Installation().Tool("pg_dump")
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("[replication]\npg_dump_path = %q\n", path)
}

// TestSchemasArrive carries whole schemas over and proves that nothing differs.
func TestSchemasArrive(t *testing.T) {
	for version, cluster := range destinations {
		for _, n := range []int{1, 3} {
			for _, s := range allSamples {
				t.Run(fmt.Sprintf("%s/%s/%d shards", s.name, version, n), func(t *testing.T) {
					if (version == "same version") != (n == 1) {
						pgtest.Long(t)
					}
					source, c := s.source(t), cluster(t)
					m := setup{source: []endpoint{at(source)}, destination: endpoints(shards(t, c, n)), extra: pgDump(t, c)}.manager(t)
					for _, phase := range phases {
						task := succeed(t, m, request(phase))
						t.Logf("%s: %d statements in %s", task.Type, task.Total, task.FinishedAt.Sub(task.StartedAt))
					}
					same(t, m)
					repeats(t, m)
				})
			}
		}
	}
}

// repeats checks that every phase can be run again and finds nothing to do.
func repeats(t *testing.T, m *mirror.Manager) {
	t.Helper()
	for _, phase := range phases {
		succeed(t, m, request(phase))
	}
	rows, _, err := m.Statements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.State != "existed" && r.ObjectKind != "ANALYZE" {
			t.Errorf("run again, %s %s %q on shard %d is %s, not existed:\n%s", r.Phase, r.ObjectKind, r.Object, r.Shard, r.State, r.SQL)
		}
	}
	same(t, m)
}

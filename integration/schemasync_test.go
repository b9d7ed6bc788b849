package integration

import (
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// phases are those that carry a schema over.
var phases = []dump.Phase{dump.PreData, dump.PostData, dump.Cutover}

// torture makes a database with every kind of object in a cluster.
func torture(tb testing.TB, c *pgtest.Cluster) *pgtest.Database {
	tb.Helper()
	d := c.CreateDatabase(tb)
	d.LoadFile(tb, "testdata/torture_roles.sql")
	d.LoadFile(tb, "testdata/torture.sql")
	return d
}

func TestTortureArrivesOnOneShard(t *testing.T) {
	c := pgtest.Start(t, pgtest.Options{})
	source := torture(t, c)
	m := setup{source: []endpoint{at(source)}, destination: []endpoint{at(c.CreateDatabase(t))}}.manager(t)
	for _, phase := range phases {
		task := succeed(t, m, request(phase))
		t.Logf("%s: %d statements in %s", task.Type, task.Total, task.FinishedAt.Sub(task.StartedAt))
	}
	same(t, m)
}

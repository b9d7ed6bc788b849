package catalog_test

import (
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

func TestScratch(t *testing.T) {
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	conn := asRole(t, d, d.Cluster.Superuser())
	oids := pgtest.Column[uint32](t, d, "select oid from pg_type where typtype in ('b','r','m')")
	for _, n := range []int{10, 40, 72, 100} {
		start := time.Now()
		_, err := catalog.ReadTypes(t.Context(), conn, oids[:n])
		t.Log(n, time.Since(start), err)
	}
}

package copy_test

import (
	"runtime"
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// TestHugeValue has rows of 100 MB. They are not collected. It is not parallel:
// it looks at what this process allocates.
func TestHugeValue(t *testing.T) {
	pgtest.Long(t)
	if testing.Short() {
		t.Skip("it moves gigabytes")
	}
	for _, shards := range []int{1, 2} {
		p := newPair(t, shards, "CREATE TABLE t (v text, id int); ALTER TABLE t ALTER v SET STORAGE EXTERNAL")
		p.shardBy(t, "id", "bigint")
		p.source.Exec(t, "INSERT INTO t SELECT repeat('0123456789', CASE i WHEN 2 THEN 10000000 ELSE 1000 END), i FROM generate_series(1, 5) i")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p.mustRun(t)
		runtime.ReadMemStats(&after)
		p.same(t, "SELECT id, length(v), md5(v) FROM t")
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 50<<20 {
			t.Errorf("%d MB were allocated", grown>>20)
		}
	}
}

// TestVersions copies between major versions, both ways.
func TestVersions(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	older, newer := pgtest.Shared(t, 0), pgtest.Shared(t, pgtest.Newer(t).Major)
	for _, way := range [][2]*pgtest.Cluster{{older, newer}, {newer, older}, {newer, newer}} {
		for _, text := range []bool{false, true} {
			p := pairOf(t, way[0].CreateDatabase(t), []*pgtest.Database{way[1].CreateDatabase(t), way[1].CreateDatabase(t)}, table, "CREATE TABLE nothing (); CREATE TABLE e (x int)")
			p.text = text
			p.both(t, everyTypeTable())
			p.shardBy(t, "n", "bigint")
			p.source.Exec(t, everyTypeRows())
			p.source.Exec(t, fill(10_000)+"; INSERT INTO nothing SELECT FROM generate_series(1, 77)")
			p.mustRun(t)
			p.same(t, "SELECT t FROM every_type t")
			p.sameEverywhere(t, "SELECT * FROM t")
			p.sameEverywhere(t, "SELECT count(*) FROM nothing")
		}
	}
}

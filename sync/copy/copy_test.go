package copy_test

import (
	"slices"
	"testing"
)

const table = `CREATE TABLE t (id bigint, name text, hash text)`

func TestOneToOne(t *testing.T) {
	t.Parallel()
	for _, text := range []bool{false, true} {
		p := newPair(t, 1, table)
		p.text = text
		p.source.Exec(t, fill(50_000))
		p.mustRun(t)
		p.same(t, "SELECT * FROM t")
		if len(p.ranges) < 4 || !slices.Equal(p.done, []string{"t"}) || p.rows != 50_000 || p.bytes < 50_000*40 {
			t.Errorf("%d ranges, %v done, progress %d rows and %d bytes", len(p.ranges), p.done, p.rows, p.bytes)
		}
	}
}

func TestResharding(t *testing.T) {
	t.Parallel()
	for _, text := range []bool{false, true} {
		p := newPair(t, 3, table, "CREATE TABLE everywhere (x int)")
		p.text = text
		p.shardBy(t, "id", "bigint")
		p.source.Exec(t, fill(50_000))
		p.source.Exec(t, "INSERT INTO everywhere SELECT generate_series(1, 1000)")
		p.mustRun(t)
		p.same(t, "SELECT * FROM t")
		p.sameEverywhere(t, "SELECT * FROM everywhere")
	}
}

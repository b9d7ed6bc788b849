package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// TestResyncLedger copies every table of the ledger workload again, one after
// another, while the workload goes on: large transactions, TOAST, keys that change,
// tables without key, TRUNCATE. In the end both sides are the same, and every
// transaction that was acknowledged is there.
func TestResyncLedger(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	for _, run := range []struct {
		course
		strategy resync.Strategy
	}{
		{course{name: "one destination", source: oldest, destination: oldest, shards: 1}, resync.Swap},
		{course{name: "one destination", source: oldest, destination: oldest, shards: 1}, resync.Reconcile},
		{course{name: "one destination", source: oldest, destination: oldest, shards: 1}, resync.Truncate},
		{course{name: "three shards", source: oldest, destination: oldest, shards: 3}, resync.Swap},
		{course{name: "three shards", source: oldest, destination: oldest, shards: 3}, resync.Reconcile},
		{course{name: "of a newer version", source: pgtest.Newer, destination: pgtest.Newer, shards: 1}, resync.Swap},
	} {
		c, strategy := run.course, run.strategy
		t.Run(fmt.Sprintf("%s, %s", c.name, strategy), func(t *testing.T) {
			t.Parallel()
			start := func(installation pgcluster.Installation) *pgtest.Cluster {
				return pgtest.Start(t, pgtest.Options{Installation: installation})
			}
			from, to := start(c.source(t)), start(c.destination(t))
			source := from.CreateDatabase(t)
			var shards []*pgtest.Database
			for range c.shards {
				shards = append(shards, to.CreateDatabase(t))
			}
			options := ledger.Options{Seed: rand.Uint64(), Workers: 2, Rate: 25, BigRows: 2000, BigEvery: 60}
			t.Logf("seed %d", options.Seed)
			if err := ledger.Setup(t.Context(), source.Connect(t), options); err != nil {
				t.Fatal(err)
			}
			source.Exec(t, "CREATE PUBLICATION all_tables FOR ALL TABLES")
			s := between(source, shards...)
			s.general = quick
			s.extra = pgDump(t, newest(from, to))
			if c.shards > 1 {
				s.extra += ledger.ShardedTables("prod_new")
			}
			b := &bankAt{source: source, shards: shards, m: s.manager(t)}
			w, err := ledger.Start(t.Context(), ledger.DSN(source.DSN()), options)
			if err != nil {
				t.Fatal(err)
			}
			follow(t, b.m)
			slot := b.slot(t)
			asked, err := b.m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Strategy: strategy})
			if err != nil {
				t.Fatal(full(err))
			}
			for over := false; !over; { // as long as each single one may take
				before := len(b.log(t, "is copied again by"))
				var rows []mirror.ResyncRow
				pgtest.Eventually(t, "another table is copied again", func(ctx context.Context) (_ bool, err error) {
					rows, err = b.m.Resyncs(ctx, theMirror, asked.Tables)
					over = len(rows) > 0 && !slices.ContainsFunc(rows, func(r mirror.ResyncRow) bool { return !r.Over() })
					return over || len(b.log(t, "is copied again by")) > before, err
				})
				if over {
					succeeded(t, rows)
				}
			}
			stats, err := w.Stop()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", stats)
			ledger.CaughtUp(t, source, applied(b.m))
			c.check(t, source, shards, w)
			b.clean(t)
			if now := b.slot(t); now != slot {
				t.Errorf("the slot was %s and is %s", slot, now)
			}
		})
	}
}

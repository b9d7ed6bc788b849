package apply_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// TestTablesAreCounted: the sum over the shards has each change once, in groups
// in memory, large ones and ones that are done again.
func TestTablesAreCounted(t *testing.T) {
	t.Parallel()
	s := sharded(t)
	var mu sync.Mutex
	got := map[catalog.Name]apply.Counts{}
	s.opts.Observer.GroupApplied = func(g apply.GroupApplied) {
		mu.Lock()
		defer mu.Unlock()
		for name, c := range g.Tables {
			sum := got[name]
			sum.Inserts += c.Inserts
			sum.Updates += c.Updates
			sum.Deletes += c.Deletes
			sum.Truncates += c.Truncates
			got[name] = sum
		}
	}
	s.opts.GroupRows = 30
	tab, all := s.rel["t"], s.rel["all"]
	many := func(from, n int) (out []stream.Change) {
		for i := range n {
			out = append(out, ins(tab, num(from+i), num(i), text("v")), ins(all, num(from+i), text("a")))
		}
		return out
	}
	large := many(100, 50)
	s.apply(
		s.clock.tx(many(0, 10)...),
		s.clock.tx(upd(tab, num(1), num(1), text("w")), del(tab, num(2), num(2), null), upd(all, num(1), text("b"))),
		s.clock.spool(len(large), func(i int) stream.Change { return large[i] }),
		s.clock.tx(trunc(false, all)),
		// A row comes again that was there: only one by one this is no conflict.
		s.clock.tx(ins(all, num(1), text("a")), del(all, num(1), null), ins(all, num(1), text("c"))),
	)
	s.wantNoStop()
	want := map[catalog.Name]apply.Counts{
		{Schema: "public", Name: "t"}:   {Inserts: 60, Updates: 1, Deletes: 1},
		{Schema: "public", Name: "all"}: {Inserts: 62, Updates: 1, Deletes: 1, Truncates: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, at := range s.tables.found {
		if at != 100 {
			t.Errorf("a relation was first met at %s, not 0/64", at)
		}
	}
}

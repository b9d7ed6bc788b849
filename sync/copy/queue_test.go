package copy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// queueOf makes a copier with tables of so many ranges of 100 bytes each.
func queueOf(sizes ...int) *Copier {
	c := &Copier{changed: make(chan struct{}), unsettled: len(sizes)}
	for i, n := range sizes {
		t := &tableState{t: &Table{Source: &catalog.Relation{Table: catalog.Name{Schema: "s", Name: string(rune('a' + i))}}}, cancel: func(error) {}}
		for number := range n {
			t.jobs = append(t.jobs, &job{r: &Range{Table: t.t, Relation: t.t.Source, Number: number, Bytes: 100}, table: t})
		}
		t.enqueue(t.jobs)
		c.tables = append(c.tables, t)
	}
	c.queue = slices.Clone(c.tables)
	return c
}

// TestWorkersKeepToTheirTables has workers take ranges in turns: each one those of a
// table in their order, several at a table that is larger than the others, and all at
// what is left in the end.
func TestWorkersKeepToTheirTables(t *testing.T) {
	for _, test := range []struct {
		name    string
		sizes   []int
		workers int
		want    []string // by worker
	}{
		{"a table each", []int{5, 4}, 2, []string{"a0 a1 a2 a3 a4", "b0 b1 b2 b3"}},
		{"small ones go to who is free", []int{3, 1, 1, 1}, 2, []string{"a0 a1 a2", "b0 c0 d0"}},
		{"all at one table in the end", []int{6, 2}, 2, []string{"a0 a2 a4 b0", "a1 a3 a5 b1"}},
		{"several at a large one", []int{8, 2, 1}, 3, []string{"a0 a2 a4 a6", "a1 a3 a5 a7", "b0 b1 c0"}},
		{"all at a very large one", []int{12, 2, 1}, 3, []string{"a0 a3 a6 a9 b0", "a1 a4 a7 a10 c0", "a2 a5 a8 a11 b1"}},
	} {
		c, s := queueOf(test.sizes...), &sourceState{workers: test.workers}
		workers, got := make([]*worker, test.workers), make([][]string, test.workers)
		for i := range workers {
			workers[i] = &worker{c: c, source: s}
		}
		for taken := true; taken; {
			taken = false
			for i, w := range workers {
				if j := c.pick(w); j != nil {
					got[i] = append(got[i], fmt.Sprintf("%s%d", j.r.Relation.Table.Name, j.r.Number))
					taken = true
				}
			}
		}
		for i := range workers {
			if have := strings.Join(got[i], " "); have != test.want[i] {
				t.Errorf("%s: worker %d takes %s, want %s", test.name, i, have, test.want[i])
			}
		}
	}
}

// TestOneSourceReadsATable has two servers: a table stays with the one that began it,
// and what a retired worker had is taken up again by its own server.
func TestOneSourceReadsATable(t *testing.T) {
	c := queueOf(2)
	first, second := &worker{c: c, source: &sourceState{workers: 1}}, &worker{c: c, source: &sourceState{workers: 1}}
	c.sources = []*sourceState{first.source, second.source}
	j := c.pick(first)
	if other := c.pick(second); j == nil || other != nil {
		t.Fatalf("the servers read %v and %v", j, other)
	}
	c.putBack(j)
	if again := c.pick(first); again != j {
		t.Errorf("then %v is read, want %v", again.r, j.r)
	}
	c.retire(first)
	if phase := c.tables[0].phase; phase != tableLost || first.at != nil {
		t.Errorf("without its server the table is %d, and the worker at %v", phase, first.at)
	}
}

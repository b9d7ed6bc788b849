package copy

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// TestPlan checks that the ranges of every relation are all of its pages, each
// in one of them, with no end; that they are as large as they may be, and in
// order.
func TestPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		relation := rapid.Custom(func(t *rapid.T) *catalog.Relation {
			pages := rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64Range(0, 1<<20), rapid.Just(int64(1)<<32-1)).Draw(t, "pages")
			return &catalog.Relation{
				Relkind: 'r', Pages: pages, Bytes: pages*8192 + rapid.Int64Range(0, pages*100_000).Draw(t, "toast"),
				AccessMethod: rapid.SampledFrom([]string{"heap", "heap", "columnar"}).Draw(t, "access method"), Tuples: rapid.Float64Range(-1, 1e9).Draw(t, "tuples"),
			}
		})
		var tables []*Table
		for range rapid.IntRange(0, 6).Draw(t, "tables") {
			table := &Table{Source: relation.Draw(t, "relation")}
			if rapid.Bool().Draw(t, "partitioned") {
				table.Source.Relkind, table.Leaves = 'p', rapid.SliceOfN(relation, 0, 4).Draw(t, "leaves")
			}
			tables = append(tables, table)
		}
		o := PlanOptions{Workers: rapid.IntRange(0, 16).Draw(t, "workers"), VersionNum: rapid.SampledFrom([]int{130000, 140000, 180000}).Draw(t, "version")}
		ranges := Plan(tables, o)
		if !slices.IsSortedFunc(ranges, func(a, b *Range) int { return int(max(-1, min(1, b.Bytes-a.Bytes))) }) {
			t.Fatal("the largest is not first")
		}
		var total int64
		for _, table := range tables {
			_, bytes := table.Estimate()
			total += bytes
		}
		for _, table := range tables {
			numbers := map[int]bool{}
			for _, r := range ranges {
				if r.Table == table {
					if numbers[r.Number] {
						t.Fatalf("two ranges are number %d", r.Number)
					}
					numbers[r.Number] = true
				}
			}
			for i := range len(numbers) {
				if !numbers[i] {
					t.Fatalf("there is no range %d of %d", i, len(numbers))
				}
			}
			for _, relation := range table.relations() {
				var own []*Range
				for _, r := range ranges {
					if r.Relation == relation {
						own = append(own, r)
					}
				}
				checkRanges(t, relation, own, o, max(leastPart, min(mostPart, total/int64(4*max(1, o.Workers)))))
			}
		}
	})
}

func checkRanges(t *rapid.T, r *catalog.Relation, own []*Range, o PlanOptions, most int64) {
	slices.SortFunc(own, func(a, b *Range) int { return a.Number - b.Number })
	if len(own) == 0 || own[0].First != 0 || own[len(own)-1].Behind != 0 {
		t.Fatalf("the ranges are %v", own)
	}
	for i, x := range own[1:] {
		if own[i].Behind != x.First || x.First <= own[i].First {
			t.Fatalf("the ranges are %v", own)
		}
	}
	whole := o.VersionNum < 140000 || r.AccessMethod != "heap"
	if whole && len(own) > 1 {
		t.Fatalf("%d ranges where ctid cannot be used", len(own))
	}
	if !whole && int64(len(own)) < r.Pages && own[0].Bytes > most {
		t.Fatalf("a range has %d bytes, %d are allowed", own[0].Bytes, most)
	}
	if own[0].empty != (r.Pages == 0 && r.AccessMethod == "heap") {
		t.Fatalf("a relation of %d pages is empty: %t", r.Pages, own[0].empty)
	}
}

func TestStatements(t *testing.T) {
	t.Parallel()
	r := &catalog.Relation{Relkind: 'r', Table: catalog.Name{Schema: `S "1"`, Name: "t"}, Columns: []catalog.Column{{Name: `a"b`}, {Name: "g", Generated: 's'}}}
	plain := &Table{Source: r, Destination: r, Columns: []string{`a"b`}}
	filtered := &Table{Source: r, Destination: r, Columns: []string{`a"b`}, Filter: "a OR b", Format: Text}
	generated := &Table{Source: r, Destination: r, Columns: []string{"g"}}
	nothing := &Table{Source: r, Destination: r}
	for _, test := range []struct{ got, want string }{
		{(&Range{Table: plain, Relation: r}).SQL(), `COPY "S ""1"""."t" ("a""b") TO STDOUT (FORMAT binary)`},
		{(&Range{Table: plain, Relation: r, Behind: 7}).SQL(), `COPY (SELECT "a""b" FROM ONLY "S ""1"""."t" WHERE ctid >= '(0,0)'::pg_catalog.tid AND ctid < '(7,0)'::pg_catalog.tid) TO STDOUT (FORMAT binary)`},
		{(&Range{Table: filtered, Relation: r, First: 7}).SQL(), `COPY (SELECT "a""b" FROM ONLY "S ""1"""."t" WHERE ctid >= '(7,0)'::pg_catalog.tid AND (a OR b)) TO STDOUT (FORMAT text)`},
		{(&Range{Table: filtered, Relation: r}).SQL(), `COPY (SELECT "a""b" FROM ONLY "S ""1"""."t" WHERE (a OR b)) TO STDOUT (FORMAT text)`},
		{(&Range{Table: generated, Relation: r}).SQL(), `COPY (SELECT "g" FROM ONLY "S ""1"""."t") TO STDOUT (FORMAT binary)`},
		{(&Range{Table: nothing, Relation: r}).SQL(), `COPY (SELECT  FROM ONLY "S ""1"""."t") TO STDOUT (FORMAT binary)`},
		{nothing.copyIn(), `COPY "S ""1"""."t" FROM STDIN (FORMAT binary)`},
		{filtered.copyIn(), `COPY "S ""1"""."t" ("a""b") FROM STDIN (FORMAT text)`},
	} {
		if test.got != test.want {
			t.Errorf("%s\nwant %s", test.got, test.want)
		}
	}
	for r, want := range map[*Range]string{{}: "S.t", {First: 3}: "S.t from page 3 on", {Behind: 3}: "S.t pages 0 to 2", {First: 3, Behind: 7}: "S.t pages 3 to 6"} {
		r.Relation = &catalog.Relation{Table: catalog.Name{Schema: "S", Name: "t"}}
		if r.String() != want || r.Whole() != !strings.Contains(want, " ") {
			t.Errorf("%s, want %s", r, want)
		}
	}
}

// TestTransitions walks the table of phases: the end of each way is settled.
func TestTransitions(t *testing.T) {
	t.Parallel()
	for from := tableCopying; from <= tableLost; from++ {
		for to := tableCopying; to <= tableLost; to++ {
			c := &Copier{changed: make(chan struct{}), unsettled: 1}
			ended := 0
			table := &tableState{phase: from, cancel: func(error) { ended++ }}
			allowed := slices.Contains(tableTransitions[from], to)
			if c.to(table, to) != allowed || allowed != (table.phase == to && from != to) {
				t.Errorf("from %d to %d: %d", from, to, table.phase)
			}
			settled := allowed && (to == tableComplete || to == tableFailed || to == tableLost)
			if settled != (c.unsettled == 0) || settled != (ended == 1) {
				t.Errorf("from %d to %d: %d are not settled, ended %d times", from, to, c.unsettled, ended)
			}
		}
	}
}

package schema

import (
	"testing"

	"github.com/pgdrover/pgdrover/dump"
)

// TestWithout: what a destination is meant not to have takes with it what is
// said of that, and nothing else.
func TestWithout(t *testing.T) {
	t.Parallel()
	e := func(id int, kind dump.Kind, definition string, needs ...int) dump.Entry {
		return dump.Entry{DumpID: id, Kind: kind, Definition: definition, Dependencies: needs}
	}
	entries := []dump.Entry{
		e(1, dump.KindTable, "CREATE TABLE t ()"),
		e(2, dump.KindIndexAttach, "ALTER INDEX i ATTACH PARTITION j", 4, 6), // before what it needs
		e(3, dump.KindConstraint, "ALTER TABLE t ADD PRIMARY KEY (id)", 1),
		e(4, dump.KindIndex, "CREATE INDEX i ON t (a)", 1),
		e(5, dump.KindIndex, "CREATE UNIQUE INDEX u ON t (b)", 1),
		e(6, dump.KindIndex, "CREATE INDEX j ON t1 (a)", 1),
		e(7, dump.KindComment, "COMMENT ON INDEX i", 4),
		e(8, dump.KindComment, "COMMENT ON INDEX u", 5),
		e(9, dump.KindForeignKey, "ALTER TABLE t ADD FOREIGN KEY (x) REFERENCES r (b)", 1, 5),
		e(10, dump.KindComment, "COMMENT ON CONSTRAINT", 9),
		e(11, dump.KindMaterializedView, "CREATE INDEX is not the beginning of this", 1),
	}
	for w, want := range map[Without][]int{
		{}:                                 nil,
		{Indexes: true}:                    {2, 4, 6, 7},
		{ForeignKeys: true}:                {9, 10},
		{Indexes: true, ForeignKeys: true}: {2, 4, 6, 7, 9, 10},
	} {
		left := w.of(entries)
		n := 0
		for _, out := range left {
			if out {
				n++
			}
		}
		for _, id := range want {
			if !left[id] {
				t.Errorf("%+v keeps %d", w, id)
			}
		}
		if n != len(want) {
			t.Errorf("%+v leaves out %v, want %v", w, left, want)
		}
	}
}

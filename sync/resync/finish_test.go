package resync_test

import (
	"context"
	"testing"

	"github.com/pgdrover/pgdrover/sync/resync"
)

// TestFinishGoesOn cuts the connection again and again while a shadow table is being
// finished: the next call goes on with what is missing.
func TestFinishGoesOn(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 0, `CREATE TABLE t (id int PRIMARY KEY, a int UNIQUE, b text, CHECK (a > 0)); CREATE INDEX ON t (b); CREATE STATISTICS st ON a, b FROM t;
CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); COMMENT ON TRIGGER tr ON t IS 'x'; GRANT SELECT ON t TO PUBLIC;
INSERT INTO t SELECT i, i, 'b' FROM generate_series(1, 100) i; CREATE MATERIALIZED VIEW mv AS SELECT * FROM t; CREATE INDEX ON mv (a)`)
	before, rows := d.schema(t), d.rowsOf(t, public("t"))
	conn := d.open(t)
	s, err := resync.NewShadow(t.Context(), conn, resync.ShadowOptions{Mirror: "m", Table: public("t"), Archive: d.archive(t, true)})
	noError(t, err)
	noError(t, s.Create(t.Context(), conn, patient))
	d.fill(t, public("t"), s.Target())
	told, calls := 0, 0
	for commits := false; ; commits = !commits {
		at := 8 // within the second step
		if commits {
			at = 1
		}
		broken, _ := d.openBreaking(t, at, commits)
		err := s.Finish(t.Context(), broken, patient, func(p resync.Progress) { told = max(told, p.Done) })
		_ = broken.Close(context.Background())
		d.quiet(t)
		if calls++; err == nil {
			break
		}
		if calls > 100 {
			t.Fatalf("after %d calls: %v", calls, err)
		}
	}
	if calls < 5 || told < 8 {
		t.Errorf("finished in %d calls, told of %d steps", calls, told)
	}
	noError(t, s.Finish(t.Context(), conn, patient, nil))
	differences, err := s.Compare(t.Context(), conn, d.archive(t, true))
	noError(t, err)
	for _, diff := range differences {
		t.Error(diff)
	}
	_, err = s.Swap(t.Context(), conn, patient)
	noError(t, err)
	noError(t, s.Drop(t.Context(), conn, patient))
	same(t, "the schema", before, d.schema(t))
	same(t, "the rows", rows, d.rowsOf(t, public("t")))
}

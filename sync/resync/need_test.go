package resync_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

const megabyte = 1 << 20

func TestEstimate(t *testing.T) {
	t.Parallel()
	now := resync.Size{Heap: 100 * megabyte, Indexes: 40 * megabyte, Largest: 20 * megabyte, Key: 10 * megabyte}
	for _, c := range []struct {
		strategy resync.Strategy
		now      resync.Size
		rows     int64
		want     resync.Need
	}{
		{resync.Truncate, now, 100 * megabyte, resync.Need{WAL: 140 * megabyte}},
		{resync.Truncate, now, 200 * megabyte, resync.Need{Tables: 140 * megabyte, WAL: 280 * megabyte}},
		{resync.Swap, now, 100 * megabyte, resync.Need{Tables: 140 * megabyte, WAL: 140 * megabyte, Sort: 20 * megabyte}},
		{resync.Reconcile, now, 100 * megabyte, resync.Need{Tables: 250 * megabyte, WAL: 240 * megabyte, Sort: 10 * megabyte}},
		{resync.Swap, resync.Size{}, 100 * megabyte, resync.Need{Tables: 100 * megabyte, WAL: 100 * megabyte}},
		{resync.Swap, resync.Size{Heap: 8192, Indexes: 16384, Largest: 16384}, 100 * megabyte, resync.Need{Tables: 150 * megabyte, WAL: 150 * megabyte, Sort: 50 * megabyte}},
	} {
		c.want.Strategy = c.strategy
		if got := resync.Estimate(c.strategy, c.now, c.rows); got != c.want {
			t.Errorf("%s of %+v, %d bytes: %+v, want %+v", c.strategy, c.now, c.rows, got, c.want)
		}
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	need := resync.Need{Strategy: resync.Swap, Tables: 100 * megabyte, WAL: 100 * megabyte}
	for _, c := range []struct {
		room  resync.Room
		known bool
		fits  bool
	}{
		{resync.Room{}, false, true},
		{resync.Room{Limit: 1000 * megabyte, Used: 900 * megabyte}, true, true},
		{resync.Room{Limit: 1000 * megabyte, Used: 901 * megabyte}, true, false},
		{resync.Room{Free: 200 * megabyte}, true, true},
		{resync.Room{Free: 199 * megabyte}, true, false},
		{resync.Room{Limit: 1000 * megabyte, Free: 100 * megabyte}, true, false},
	} {
		known, err := c.room.Fits(public("t"), need)
		if known != c.known || (err == nil) != c.fits {
			t.Errorf("%+v: known %v, error %v", c.room, known, err)
		}
		if err != nil && (pgerror.Code(err) != pgerror.DiskFull || pgerror.From(err).Hint == "" || !strings.Contains(pgerror.From(err).Detail, "MB")) {
			t.Errorf("error %+v", pgerror.From(err))
		}
	}
}

// TestReadSize measures, and compares the estimate for a swap with what a swap takes.
func TestReadSize(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 0, `CREATE TABLE t (id int, v text, PRIMARY KEY (id)) PARTITION BY HASH (id); CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1); CREATE INDEX ON t (v)`)
	d.Exec(t, `INSERT INTO t SELECT i, repeat('x', 50) || i FROM generate_series(1, 40000) i`)
	d.Exec(t, `VACUUM t`)
	conn := d.open(t)
	size, err := resync.ReadSize(t.Context(), conn, public("t"))
	noError(t, err)
	if size.Heap < 3*megabyte || size.Key < megabyte/2 || size.Indexes <= size.Key || size.Largest >= size.Indexes {
		t.Errorf("size %+v", size)
	}
	used, err := resync.ReadUsed(t.Context(), conn)
	noError(t, err)
	need := resync.Estimate(resync.Swap, size, size.Heap)
	s := d.built(t, conn, public("t"))
	after, err := resync.ReadUsed(t.Context(), conn)
	noError(t, err)
	if took := float64(after - used); took < 0.5*float64(need.Tables) || took > 1.3*float64(need.Tables) {
		t.Errorf("took %.0f bytes, estimated %d", took, need.Tables)
	}
	noError(t, s.Drop(t.Context(), conn, patient))
	none, err := resync.ReadSize(t.Context(), conn, public("none"))
	noError(t, err)
	same(t, "a table that is not there", resync.Size{}, none)
}

func TestLeftovers(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 0, fmt.Sprintf(`CREATE TABLE %[1]s (id int PRIMARY KEY); INSERT INTO %[1]s VALUES (1); CREATE SCHEMA pgdrover_shadow_of_somebody; CREATE SCHEMA pgdrover_stage_1`, weirdQuoted))
	conn := d.open(t)
	table := public(weird)
	shadow, err := resync.NewShadow(t.Context(), conn, resync.ShadowOptions{Mirror: "m'" + weird, Table: table, Archive: d.archive(t, true)})
	noError(t, err)
	noError(t, shadow.Create(t.Context(), conn, patient))
	stage, err := resync.NewStage(t.Context(), conn, resync.StageOptions{Mirror: "m'" + weird, Table: table})
	noError(t, err)
	noError(t, stage.Create(t.Context(), conn, patient))
	left, err := resync.Leftovers(t.Context(), conn)
	noError(t, err)
	if len(left) != 3 || left[0].Schema != shadow.Schema() || left[0].Prefix != resync.ShadowPrefix || left[0].Mirror != "m'"+weird || left[0].Table != table || left[0].Made.IsZero() ||
		left[1].Schema != "pgdrover_stage_1" || left[1].Mirror != "" || left[2].Schema != stage.Schema() || left[2].Bytes == 0 {
		t.Errorf("left: %+v", left)
	}
	// Another mirror keeps off; the same one begins anew.
	other, err := resync.NewStage(t.Context(), conn, resync.StageOptions{Mirror: "other", Table: table})
	noError(t, err)
	if err := other.Create(t.Context(), conn, patient); pgerror.Code(err) != pgerror.ObjectInUse {
		t.Errorf("another mirror's stage: %v", err)
	}
	noError(t, stage.Create(t.Context(), conn, patient))
	// What somebody else has made on it is not dropped with it.
	d.Exec(t, "CREATE VIEW v AS SELECT * FROM "+quoted(stage.Target()))
	if err := resync.RemoveLeftover(t.Context(), conn, stage.Schema(), patient); err == nil || pgerror.From(err).Hint == "" {
		t.Errorf("removed although a view depends on it: %v", err)
	}
	d.Exec(t, "DROP VIEW v")
	if err := resync.RemoveLeftover(t.Context(), conn, "public", patient); pgerror.Code(err) != pgerror.InvalidParameterValue {
		t.Errorf("removed the schema public: %v", err)
	}
	if err := resync.RemoveLeftover(t.Context(), conn, "pgdrover_stage_1", patient); pgerror.Code(err) != pgerror.ObjectNotInPrerequisiteState {
		t.Errorf("removed somebody's schema: %v", err)
	}
	d.Exec(t, "DROP SCHEMA pgdrover_stage_1")
	for _, l := range left {
		noError(t, resync.RemoveLeftover(t.Context(), conn, l.Schema, patient))
	}
	noError(t, resync.RemoveLeftover(t.Context(), conn, left[0].Schema, patient))
	d.clean(t)
}

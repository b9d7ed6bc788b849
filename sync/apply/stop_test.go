package apply_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// TestTableStops: the transaction that fails and all behind it go without the
// table, those before with it, and the rest of it goes on whole.
func TestTableStops(t *testing.T) {
	t.Parallel()
	const ddl = `CREATE TABLE t (id int PRIMARY KEY, v varchar(3) CHECK (v <> 'bad')); CREATE TABLE other (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (50, 'x')`
	for name, test := range map[string]struct {
		bad  func(r *stream.Relation) stream.Change
		code string
		row  string
	}{
		"missing row of UPDATE": {func(r *stream.Relation) stream.Change { return upd(r, num(99), text("y")) }, "P0002", `"id" = 99`},
		"missing row of DELETE": {func(r *stream.Relation) stream.Change { return del(r, num(98), null) }, "P0002", `"id" = 98`},
		"row is there":          {func(r *stream.Relation) stream.Change { return ins(r, num(50), text("y")) }, "23505", `"id" = 50`},
		"check":                 {func(r *stream.Relation) stream.Change { return ins(r, num(51), text("bad")) }, "23514", `"id" = 51`},
		"too long":              {func(r *stream.Relation) stream.Change { return ins(r, num(51), text("much too long")) }, "22001", `"id" = 51`},
		"not a number":          {func(r *stream.Relation) stream.Change { return ins(r, text("five"), null) }, "22P02", `"id" = five`},
		"binary that is none":   {func(r *stream.Relation) stream.Change { return ins(r, raw([]byte{1, 2, 3}), null) }, "08P01", `"id" = `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, many := range []int{0, 30} {
				o := setup(t, ddl, "t", "other")
				r, other := o.rel["t"], o.rel["other"]
				fill := func(from int) (out []stream.Change) {
					for i := range many {
						out = append(out, ins(r, num(from+i), text("f")), ins(other, num(from+i), null))
					}
					return out
				}
				o.apply(
					o.clock.tx(append(fill(100), ins(r, num(1), text("a")), ins(other, num(1), text("a")))...),
					o.clock.tx(append(fill(200), ins(r, num(2), text("b")), ins(other, num(2), text("b")), test.bad(r), ins(other, num(3), text("c")))...),
					o.clock.tx(append(fill(300), ins(r, num(4), text("d")), upd(other, num(1), text("d")))...),
				)
				s, ok := o.tables.stop("t")
				if !ok {
					t.Fatal("t is not stopped")
				}
				if s.err.Code != test.code || s.at != 200 || s.xid != 200 {
					t.Errorf("%s at %s: %s", s.err.Code, s.at, s.err.Message)
				}
				if !strings.Contains(s.err.Detail, "LSN 0/C8, transaction 200, committed 20") || !strings.Contains(s.err.Detail, test.row) {
					t.Errorf("DETAIL: %s", s.err.Detail)
				}
				if !strings.HasSuffix(s.err.Hint, `RESYNC "m ""1""" "public"."t";`) {
					t.Errorf("HINT: %s", s.err.Hint)
				}
				o.wantRows("SELECT * FROM t WHERE id < 100 ORDER BY 1", "1|a", "50|x")
				o.wantRows("SELECT * FROM other WHERE id < 100 ORDER BY 1", "1|d", "2|b", "3|c")
				o.db.WaitUntil(t, "SELECT (SELECT count(*) FROM t WHERE id >= 100) = $1 AND (SELECT count(*) FROM other WHERE id >= 100) = 3 * $1", many)
				if len(o.tables.stopped) != 1 {
					t.Errorf("%d tables are stopped", len(o.tables.stopped))
				}
			}
		})
	}
}

// TestStopIsRecordedFirst: if it cannot be, nothing is committed without the table.
func TestStopIsRecordedFirst(t *testing.T) {
	t.Parallel()
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)", "t", "other")
	failing := &failingTables{Tables: o.tables}
	o.opts.Tables = failing
	o.source.add(o.clock.tx(ins(o.rel["other"], num(1)), del(o.rel["t"], num(1))))
	err := apply.New(o.opts).Run(t.Context(), o.source)
	if !errors.Is(err, errNoState) {
		t.Fatalf("Run: %v", err)
	}
	o.wantRows("TABLE other")
	o.wantRows("SELECT lsn FROM pgdrover.progress", "0/0")
}

var errNoState = errors.New("the state cannot be written")

type failingTables struct{ apply.Tables }

func (f *failingTables) Stop(context.Context, catalog.Name, *pgerror.Error, stream.LSN, uint32) error {
	return errNoState
}

// TestStopInLargeTransaction: the table ends before the transaction, though
// parts of it were applied already.
func TestStopInLargeTransaction(t *testing.T) {
	t.Parallel()
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)", "t", "other")
	o.opts.GroupRows = 100
	r, other := o.rel["t"], o.rel["other"]
	o.apply(
		o.clock.tx(ins(r, num(-1))),
		o.clock.spool(2000, func(i int) stream.Change {
			switch {
			case i == 1501:
				return del(r, num(-5))
			case i%2 == 0:
				return ins(r, num(i))
			}
			return ins(other, num(i))
		}),
		o.clock.tx(ins(r, num(-2)), ins(other, num(-2))),
	)
	if s, ok := o.tables.stop("t"); !ok || s.at != 200 {
		t.Errorf("t is stopped %t %+v", ok, s)
	}
	o.wantRows("TABLE t", "-1")
	o.wantRows("SELECT count(*) FROM other", "1000")
}

// TestExactInLargeTransaction: a violation in one chunk is taken back alone.
func TestExactInLargeTransaction(t *testing.T) {
	t.Parallel()
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE); INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i", "t")
	o.opts.GroupRows = 90
	r := o.rel["t"]
	st := o.apply(o.clock.spool(1500, func(i int) stream.Change {
		k := i/3*2 + 1 // swap k and k+1
		switch i % 3 {
		case 0:
			return upd(r, num(k), null)
		case 1:
			return upd(r, num(k+1), num(k))
		}
		return upd(r, num(k), num(k+1))
	}))
	o.wantNoStop()
	o.wantRows("SELECT count(*) FROM t WHERE u = id + CASE id % 2 WHEN 1 THEN 1 ELSE -1 END", "1000")
	if st.ExactGroups != 1 || st.Transactions != 1 {
		t.Errorf("%+v", st)
	}
}

func TestResyncedTableGoesOn(t *testing.T) {
	t.Parallel()
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY)", "t")
	r := o.rel["t"]
	a := apply.New(o.opts)
	run := start(t, a, o.source)
	o.source.add(o.clock.tx(ins(r, num(1))), o.clock.tx(del(r, num(7))), o.clock.tx(ins(r, num(2))))
	run.reaches(behind(o.clock.lsn))
	o.wantRows("TABLE t", "1")
	// A copy made behind the third transaction joins.
	err := a.At(t.Context(), func(pos stream.LSN) error {
		if pos != behind(o.clock.lsn) {
			t.Errorf("the point is %s, want %s", pos, behind(o.clock.lsn))
		}
		o.db.Exec(t, "INSERT INTO t VALUES (2)")
		find := o.tables.find
		o.tables.mu.Lock()
		delete(o.tables.stopped, catalog.Name{Schema: "public", Name: "t"})
		o.tables.find = func(r *stream.Relation) (*apply.Target, error) {
			target, err := find(r)
			if target != nil {
				target.From = pos
			}
			return target, err
		}
		o.tables.mu.Unlock()
		a.Forget(r.OID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	o.source.add(o.clock.tx(ins(r, num(3))))
	run.reaches(behind(o.clock.lsn))
	run.stop()
	o.wantRows("TABLE t ORDER BY 1", "1", "2", "3")
}

// TestGate: a change is applied if its transaction's commit record is not
// before the table's copy.
func TestGate(t *testing.T) {
	t.Parallel()
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY)", "t")
	r := o.rel["t"]
	find := o.tables.find
	o.tables.find = func(r *stream.Relation) (*apply.Target, error) {
		target, err := find(r)
		if target != nil {
			target.From = 200
		}
		return target, err
	}
	o.apply(o.clock.tx(ins(r, num(1))), o.clock.tx(ins(r, num(2))), o.clock.tx(ins(r, num(3))))
	o.wantRows("TABLE t ORDER BY 1", "2", "3")
}

// TestShapesFollowEachOther: a new Relation is looked up; the statements of the
// old shape do not do for it.
func TestShapesFollowEachOther(t *testing.T) {
	t.Parallel()
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY, a text, b text DEFAULT 'd')", "t")
	wide := o.rel["t"]
	narrow := &stream.Relation{OID: wide.OID, Schema: "public", Name: "t", Identity: 'd', Columns: wide.Columns[:2]}
	var txs []*stream.Transaction
	for i := range 10 {
		txs = append(txs, o.clock.tx(ins(narrow, num(3*i), text("n")), ins(wide, num(3*i+1), text("w"), text("x")), upd(narrow, num(3*i+1), text("u")), upd(wide, num(3*i), same, text("y"))))
	}
	o.apply(txs...)
	o.wantNoStop()
	o.wantRows("SELECT a, b, count(*) FROM t GROUP BY 1, 2 ORDER BY 1", "n|y|10", "u|x|10")
	if o.tables.finds != 2 {
		t.Errorf("Find was called %d times, want once per shape", o.tables.finds)
	}
}

func TestAtWithoutRun(t *testing.T) {
	t.Parallel()
	a := apply.New(apply.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := a.At(ctx, func(stream.LSN) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("At without Run: %v", err)
	}
}

// TestDeferredConstraint: where the destination checks deferred constraints
// (its triggers are ENABLE ALWAYS), they may be broken within a transaction of
// the source, and what breaks them at its end stops the table there.
func TestDeferredConstraint(t *testing.T) {
	t.Parallel()
	for _, large := range []bool{false, true} {
		o := setup(t, `CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY IMMEDIATE); CREATE TABLE other (id int PRIMARY KEY);
INSERT INTO t SELECT i, i FROM generate_series(1, 9) i; DO $$ DECLARE n name; BEGIN FOR n IN SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass LOOP EXECUTE format('ALTER TABLE t ENABLE ALWAYS TRIGGER %I', n); END LOOP; END $$`, "t", "other")
		r, other := o.rel["t"], o.rel["other"]
		bad := []stream.Change{upd(r, num(5), num(6)), ins(other, num(3)), upd(r, num(7), num(70)), ins(other, num(4))}
		tx3 := func() *stream.Transaction { return o.clock.tx(bad...) }
		if large {
			o.opts.GroupRows = 3
			tx3 = func() *stream.Transaction {
				return o.clock.spool(len(bad), func(i int) stream.Change { return bad[i] })
			}
		}
		o.apply(
			o.clock.tx(upd(r, num(1), num(2)), upd(r, num(2), num(1)), ins(other, num(1))),
			o.clock.tx(upd(r, num(3), num(4)), upd(r, num(4), num(3)), ins(other, num(2))),
			tx3(),
			o.clock.tx(upd(r, num(8), num(80)), ins(other, num(5))),
		)
		if s, ok := o.tables.stop("t"); !ok || s.at != 300 || s.err.Code != "23505" {
			t.Errorf("large=%t: t is stopped %t: %+v", large, ok, s)
		}
		o.wantRows("SELECT id, u FROM t WHERE id <> u ORDER BY 1", "1|2", "2|1", "3|4", "4|3")
		o.wantRows("TABLE other ORDER BY 1", "1", "2", "3", "4", "5")
	}
}

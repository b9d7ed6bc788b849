package apply_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// one is a destination whose tables look as the source's.
type one struct {
	t       testing.TB
	db      *pgtest.Database
	rel     map[string]*stream.Relation
	tables  *tables
	clock   clock
	amounts map[int]int
	made    int
	source  *source
	opts    apply.Options
}

func setup(t testing.TB, ddl string, names ...string) *one {
	t.Helper()
	c := pgtest.Shared(t, 0)
	o := &one{t: t, db: destination(t, c, ddl), rel: map[string]*stream.Relation{}, source: newSource()}
	relations, types := shapes(t, o.db, names...)
	for name, r := range relations {
		o.rel[name] = published(r, r.Identity)
	}
	o.tables = &tables{find: finder(t, o.db, o.db, types, nil)}
	o.opts = options(o.tables, server(o.db, 0))
	o.opts.Logger = testLogger(t)
	return o
}

// apply runs until everything that is in the source is applied, and stops.
func (o *one) apply(txs ...*stream.Transaction) apply.ShardStats {
	o.t.Helper()
	o.source.add(txs...)
	a := apply.New(o.opts)
	r := start(o.t, a, o.source)
	r.reaches(o.source.log[len(o.source.log)-1].EndLSN)
	r.stop()
	return a.Stats()[0]
}

func (o *one) wantRows(sql string, want ...string) {
	o.t.Helper()
	got := o.db.Rows(o.t, sql)
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		o.t.Errorf("%s (-want +got):\n%s", sql, diff)
	}
}

func (o *one) wantNoStop() {
	o.t.Helper()
	for name, s := range o.tables.stopped {
		o.t.Errorf("%s is stopped: %s\nDETAIL: %s\nHINT: %s", name, s.err.Message, s.err.Detail, s.err.Hint)
	}
}

func TestInsertUpdateDelete(t *testing.T) {
	t.Parallel()
	o := setup(t, `CREATE TABLE "Weird ""Name"" $1" ("the ""id"" $2" int PRIMARY KEY, v text);`, `Weird "Name" $1`)
	r := o.rel[`Weird "Name" $1`]
	st := o.apply(
		o.clock.tx(ins(r, num(1), text("a")), ins(r, num(2), text("b")), ins(r, num(3), null)),
		o.clock.tx(upd(r, num(2), text("bb")), del(r, num(1), null)),
		o.clock.mark(),
	)
	o.wantNoStop()
	o.wantRows(`TABLE "Weird ""Name"" $1" ORDER BY 1`, "2|bb", "3|")
	if st.Rows.Inserts != 3 || st.Rows.Updates != 1 || st.Rows.Deletes != 1 || st.Transactions != 2 {
		t.Errorf("the counts are %+v", st)
	}
	if got := o.source.lastConfirmed(); got != (o.clock.lsn+7)&^7 {
		t.Errorf("%s is confirmed, want %s", got, (o.clock.lsn+7)&^7)
	}
	o.wantRows(`SELECT mirror, shard, lsn FROM pgdrover.progress`, mirror+"|0|"+((o.clock.lsn+7)&^7).String())
	if o.source.released != 3 {
		t.Errorf("%d transactions were released, want 3", o.source.released)
	}
}

func TestManyRowsInSets(t *testing.T) {
	t.Parallel()
	o := setup(t, `CREATE TABLE t (id int PRIMARY KEY, v text, n bigint)`, "t")
	r := o.rel["t"]
	var a, b, c []stream.Change
	for i := range 1000 {
		a = append(a, ins(r, bin4(int32(i)), binText("x\ty\n\\z"), bin8(int64(i))))
		if i%2 == 0 {
			b = append(b, upd(r, bin4(int32(i)), null, bin8(int64(-i))))
		}
		if i%3 == 0 {
			c = append(c, del(r, bin4(int32(i)), null, null))
		}
	}
	o.apply(o.clock.tx(a...))
	o.apply(o.clock.tx(b...))
	st := o.apply(o.clock.tx(c...))
	o.wantNoStop()
	if st.ExactGroups != 0 {
		t.Errorf("%d groups were exact", st.ExactGroups)
	}
	o.wantRows(`SELECT count(*), count(v), sum(n), count(*) FILTER (WHERE v = E'x\ty\n\\z') FROM t`, "666|333|-1|333")
}

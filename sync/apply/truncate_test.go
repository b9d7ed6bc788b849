package apply_test

import (
	"slices"
	"testing"

	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

func TestTruncate(t *testing.T) {
	t.Parallel()
	o := setup(t, `CREATE TABLE a (id int PRIMARY KEY, s serial); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
CREATE TABLE c (id int PRIMARY KEY); CREATE TABLE child (x int) INHERITS (c);
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (100);
INSERT INTO child VALUES (1, 1); SELECT setval('a_s_seq', 100)`, "a", "b", "c", "part")
	a, b, c, part := o.rel["a"], o.rel["b"], o.rel["c"], o.rel["part"]
	o.apply(
		o.clock.tx(ins(a, num(1), num(1)), ins(b, num(1), num(1)), ins(c, num(1)), ins(part, num(1))),
		o.clock.tx(ins(a, num(2), num(2)), upd(b, num(1), null), trunc(true, a, b), ins(a, num(1), num(7)), trunc(false, c), ins(c, num(5)), ins(a, num(3), num(8))),
		o.clock.tx(ins(c, num(6)), del(c, num(6)), trunc(false, part), ins(part, num(2))),
	)
	o.wantNoStop()
	o.wantRows("TABLE a ORDER BY 1", "1|7", "3|8")
	o.wantRows("TABLE b")
	o.wantRows("SELECT tableoid::regclass, id FROM c ORDER BY 2", "child|1", "c|5") // a child is emptied only if it is named
	o.wantRows("TABLE part", "2")
	o.wantRows("SELECT nextval('a_s_seq')", "1")
}

func TestTruncateThatCannotBe(t *testing.T) {
	t.Parallel()
	o := setup(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE own (a int REFERENCES a); CREATE TABLE other (id int PRIMARY KEY)`, "a", "other")
	o.apply(o.clock.tx(ins(o.rel["a"], num(1))), o.clock.tx(ins(o.rel["other"], num(1)), ins(o.rel["a"], num(2)), trunc(false, o.rel["a"])), o.clock.tx(ins(o.rel["a"], num(3)), ins(o.rel["other"], num(2))))
	if s, ok := o.tables.stop("a"); !ok || s.err.Code != "0A000" || s.at != 200 {
		t.Errorf("a is stopped %t %+v", ok, s)
	}
	o.wantRows("TABLE a", "1")
	o.wantRows("TABLE other ORDER BY 1", "1", "2")
}

// TestTruncateBeside: the source has emptied tables together, and one of them is
// left out, as a newer copy of it was made. Its foreign key is not in the way; that
// of a table which the source has not emptied is.
func TestTruncateBeside(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, more string
		beside     []string
		stops      bool
	}{
		{name: "one of the mirror", beside: []string{"b"}},
		{name: "one that is not of the mirror", stops: true},
		{name: "another one as well", more: `CREATE TABLE own (id int REFERENCES "Weird ""Name"" $1")`, beside: []string{"b"}, stops: true},
		{name: "partitioned", beside: []string{"b"}, more: `DROP TABLE b; CREATE TABLE b (id int, a int REFERENCES "Weird ""Name"" $1") PARTITION BY LIST (id);
CREATE TABLE b_of PARTITION OF b DEFAULT PARTITION BY LIST (id); CREATE TABLE b_of_of PARTITION OF b_of DEFAULT; INSERT INTO b VALUES (7, 7)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const a = `Weird "Name" $1`
			o := setup(t, `CREATE TABLE "Weird ""Name"" $1" (id int PRIMARY KEY, up int REFERENCES "Weird ""Name"" $1"); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES "Weird ""Name"" $1");
CREATE TABLE "it's" (id int PRIMARY KEY); INSERT INTO "Weird ""Name"" $1" VALUES (7, 7); INSERT INTO b VALUES (7, 7);`+c.more, a, "b", "it's")
			find := o.tables.find
			o.tables.find = func(r *stream.Relation) (*apply.Target, error) {
				target, err := find(r)
				if err == nil && r.Name == "b" {
					target.From = 300
				}
				return target, err
			}
			o.opts.Destination = func(n catalog.Name) (catalog.Name, bool) { return n, slices.Contains(c.beside, n.Name) }
			r := o.rel[a]
			o.apply(
				o.clock.tx(ins(r, num(1), num(1)), ins(o.rel["it's"], num(1))),
				o.clock.tx(trunc(true, r, o.rel["b"], o.rel["it's"]), ins(r, num(2), null)),
				o.clock.tx(ins(r, num(3), num(2)), ins(o.rel["b"], num(8), num(3))),
			)
			if _, stopped := o.tables.stop(a); stopped != c.stops {
				t.Errorf("it is stopped: %t", stopped)
			}
			want := []string{"2|", "3|2"}
			if c.stops {
				want = []string{"1|1", "7|7"}
			}
			o.wantRows(`TABLE "Weird ""Name"" $1" ORDER BY 1`, want...)
			o.wantRows("TABLE b ORDER BY 1", "7|7", "8|3")
		})
	}
}

func TestTruncateInLargeTransaction(t *testing.T) {
	t.Parallel()
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (-1)", "t")
	o.opts.GroupRows = 10
	r := o.rel["t"]
	o.apply(o.clock.spool(101, func(i int) stream.Change {
		if i == 55 {
			return trunc(false, r)
		}
		return ins(r, num(i))
	}))
	o.wantNoStop()
	o.wantRows("SELECT count(*), min(id) FROM t", "45|56")
}

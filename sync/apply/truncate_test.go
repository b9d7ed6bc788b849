package apply_test

import (
	"testing"

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

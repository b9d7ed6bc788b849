package apply_test

import (
	"fmt"
	"testing"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// old is the key alone, as an old tuple with replica identity default has it.
func old(key val, more int) []val {
	out := []val{key}
	for range more {
		out = append(out, null)
	}
	return out
}

func TestSwapsOfUniqueValues(t *testing.T) {
	t.Parallel()
	o := setup(t, `CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, r int4range, d int UNIQUE DEFERRABLE INITIALLY DEFERRED, EXCLUDE USING gist (r WITH &&));
INSERT INTO t SELECT i, i, int4range(10 * i, 10 * i + 5), i FROM generate_series(1, 10) i`, "t")
	r := o.rel["t"]
	row := func(id, u, lo, d int) []val {
		return []val{num(id), num(u), text(fmt.Sprintf("[%d,%d)", lo, lo+5)), num(d)}
	}
	swap := func(a, b int) *stream.Transaction {
		return o.clock.tx(
			upd(r, num(a), null, null, num(b)), // the deferrable one may be doubled meanwhile
			upd(r, row(b, a, 10*a, a)...),
			upd(r, row(a, b, 10*b, b)...),
			// and back again in part
			upd(r, num(b), null, null, num(a)),
			upd(r, row(b, a, 10*a, a)...),
		)
	}
	st := o.apply(swap(1, 2), swap(3, 4), o.clock.tx(del(r, old(num(9), 3)...), ins(r, row(11, 9, 90, 9)...)))
	o.wantNoStop()
	o.wantRows("SELECT id, u, lower(r), d FROM t WHERE id < 5 OR id > 8 ORDER BY 1", "1|2|20|2", "2|1|10|1", "3|4|40|4", "4|3|30|3", "10|10|100|10", "11|9|90|9")
	if st.ExactGroups == 0 {
		t.Error("no group was exact: sets cannot swap unique values")
	}
	o.apply(swap(5, 6), swap(7, 8)) // while the table is treated with caution
	o.wantNoStop()
	o.wantRows("SELECT id, u, lower(r), d FROM t WHERE id BETWEEN 5 AND 8 ORDER BY 1", "5|6|60|6", "6|5|50|5", "7|8|80|8", "8|7|70|7")
}

func TestKeyChanges(t *testing.T) {
	t.Parallel()
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprintf("full=%t", full), func(t *testing.T) {
			t.Parallel()
			ddl := `CREATE TABLE t (id int PRIMARY KEY, v text, big text); INSERT INTO t SELECT i, 'v' || i, 'big' || i FROM generate_series(1, 6) i;`
			if full {
				ddl += "ALTER TABLE t REPLICA IDENTITY FULL"
			}
			o := setup(t, ddl, "t")
			r := o.rel["t"]
			move := func(from, to int, v string) stream.Change {
				if full {
					return updOld(r, []val{num(from), text("v"), text(fmt.Sprint("big", from))}, num(to), text(v), same)
				}
				return updOld(r, old(num(from), 2), num(to), text(v), same)
			}
			o.apply(
				o.clock.tx(move(1, 100, "a")), // alone: TOAST is not known
				o.clock.tx(updOld(r, old(num(2), 2), num(20), text("b"), text("B")), updOld(r, old(num(20), 2), num(21), text("c"), text("B"))), // a chain
				o.clock.tx( // two rows swap keys
					updOld(r, old(num(3), 2), num(-1), text("v3"), text("big3")),
					updOld(r, old(num(4), 2), num(3), text("v4"), text("big4")),
					updOld(r, old(num(-1), 2), num(4), text("v3"), text("big3")),
				),
				o.clock.tx(ins(r, num(7), text("n"), text("N")), move(7, 8, "m")), // filled from the INSERT
				o.clock.tx(upd(r, num(5), text("x"), text("known")), move(5, 50, "y")),
			)
			o.wantNoStop()
			want := []string{"3|v4|big4", "4|v3|big3", "6|v6|big6", "8|m|N", "21|c|B", "50|y|known", "100|a|big1"}
			if full { // the old tuple of a scripted change says what TOAST was
				want[3], want[5] = "8|m|big7", "50|y|big5"
			}
			o.wantRows("TABLE t ORDER BY id", want...)
		})
	}
}

func TestGhosts(t *testing.T) {
	t.Parallel()
	o := setup(t, `CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE other (id int PRIMARY KEY)`, "t", "other")
	r, other := o.rel["t"], o.rel["other"]
	o.apply(o.clock.tx(ins(r, num(1), text("a")), upd(r, num(1), text("b")), del(r, old(num(1), 1)...), ins(r, num(2), null)))
	o.wantNoStop()
	o.wantRows("TABLE t", "2|")
	// A row that comes and goes meets one that must not be there.
	o.apply(
		o.clock.tx(ins(r, num(3), text("before"))),
		o.clock.tx(ins(other, num(1)), ins(r, num(2), text("a")), del(r, old(num(2), 1)...), ins(r, num(4), null)),
		o.clock.tx(ins(other, num(2)), ins(r, num(5), null)),
	)
	s, ok := o.tables.stop("t")
	if !ok || s.err.Code != "23505" || s.at != 300 {
		t.Errorf("t is stopped %t: %+v", ok, s)
	}
	o.wantRows("TABLE t ORDER BY 1", "2|", "3|before")
	o.wantRows("TABLE other ORDER BY 1", "1", "2")
}

func TestReplicaIdentityFullWithoutKey(t *testing.T) {
	t.Parallel()
	ddl := `CREATE TABLE t (n numeric, f float8, j json, p point, v text, i int);
INSERT INTO t VALUES (1.0, 'NaN', '{"a":1}', '(1,2)', 'x', 1), (1.00, 'NaN', '{"a":1}', '(1,2)', 'x', 2), (1.0, 'NaN', '{"a":1}', '(1,2)', 'x', 3),
  (NULL, NULL, NULL, NULL, NULL, NULL), (NULL, NULL, NULL, NULL, NULL, NULL), (0, '-0', '{"a": 1}', '(3,4)', 'y', 4), (0, 0, '{"a":1}', '(3,4)', 'y', 5);
ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET i = NULL; CREATE INDEX ON t (n)`
	o := setup(t, ddl, "t")
	r := o.rel["t"]
	nulls := []val{null, null, null, null, null, null}
	row := func(n, f, j, p, v string) []val { return []val{text(n), text(f), text(j), text(p), text(v), null} }
	with := func(i int, values []val) []val {
		out := append([]val(nil), values...)
		out[5] = num(i)
		return out
	}
	near := row("1.0", "NaN", `{"a":1}`, "(1,2)", "x")
	o.apply(o.clock.tx(
		updOld(r, row("0", "-0", `{"a": 1}`, "(3,4)", "y"), row("0", "-0", `{"a": 1}`, "(3,4)", "y")...),
		del(r, row("1.00", "NaN", `{"a":1}`, "(1,2)", "x")...), // not its near equals
	))
	o.wantRows("SELECT n FROM t WHERE n = 1", "1.0", "1.0")
	o.apply(o.clock.tx(
		updOld(r, near, with(7, near)...), // one of two
		del(r, nulls...),
		updOld(r, row("0", "-0", `{"a": 1}`, "(3,4)", "y"), with(9, row("0", "-0", `{"a": 1}`, "(3,4)", "y"))...),
		ins(r, nulls...),
	))
	o.wantNoStop()
	o.wantRows("SELECT n, f, j, p, v, i FROM t ORDER BY t::text",
		`|||||`, `|||||`, `0|-0|{"a": 1}|(3,4)|y|9`, `0|0|{"a":1}|(3,4)|y|`, `1.0|NaN|{"a":1}|(1,2)|x|`, `1.0|NaN|{"a":1}|(1,2)|x|7`)
	o.apply(o.clock.tx(del(r, row("5", "1", "{}", "(1,1)", "")...)))
	if s, ok := o.tables.stop("t"); !ok || s.err.Code != "P0002" {
		t.Errorf("a missing row: %t %+v", ok, s)
	}
}

func TestFullIdentityUsesTheKey(t *testing.T) {
	t.Parallel()
	o := setup(t, `CREATE TABLE t (v text, a int, j json, b int, PRIMARY KEY (a, b)); INSERT INTO t SELECT 'v', i, '{}', i FROM generate_series(1, 500) i; ALTER TABLE t REPLICA IDENTITY FULL`, "t")
	r := o.rel["t"]
	var changes []stream.Change
	for i := 1; i <= 500; i++ {
		row := []val{text("v"), num(i), text("{}"), num(i)}
		if i%2 == 0 {
			changes = append(changes, del(r, row...))
		} else {
			changes = append(changes, updOld(r, row, text("w"), num(i), text("[]"), num(i)))
		}
	}
	st := o.apply(o.clock.tx(changes...))
	o.wantNoStop()
	if st.ExactGroups != 0 {
		t.Error("the key of the destination was not used")
	}
	o.wantRows("SELECT v, j::text, count(*) FROM t GROUP BY 1, 2", "w|[]|250")
}

func TestIdentityAlways(t *testing.T) {
	t.Parallel()
	o := setup(t, `CREATE TABLE k (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, g text GENERATED ALWAYS AS (v || '!') STORED);
CREATE TABLE w (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v text);
INSERT INTO w OVERRIDING SYSTEM VALUE SELECT i, i, 'v' FROM generate_series(1, 10) i`, "k", "w")
	k, w := o.rel["k"], o.rel["w"]
	var many, changes []stream.Change
	for i := range 20 {
		many = append(many, ins(k, num(i), text("v")))
	}
	for i := 1; i <= 9; i++ {
		changes = append(changes, upd(w, num(i), num(i), text("u"))) // n as it was
	}
	o.apply(
		o.clock.tx(many...),
		o.clock.tx(upd(k, num(3), text("u")), updOld(k, old(num(4), 1), num(40), text("moved")), updOld(k, old(num(5), 1), num(50), same)),
		o.clock.tx(changes...),
		o.clock.tx(upd(w, num(10), num(100), same)), // SET n = DEFAULT at the source
		o.clock.tx(upd(w, num(1), num(101), text("x")), upd(w, num(2), num(2), text("y")), upd(w, num(3), num(3), text("y")), upd(w, num(4), num(4), text("y"))),
	)
	o.wantNoStop()
	o.wantRows("SELECT id, v, g FROM k WHERE id IN (3, 4, 5, 6, 40, 50) ORDER BY 1", "3|u|u!", "6|v|v!", "40|moved|moved!", "50|v|v!")
	o.wantRows("SELECT * FROM w ORDER BY 1", "1|101|x", "2|2|y", "3|3|y", "4|4|y", "5|5|u", "6|6|u", "7|7|u", "8|8|u", "9|9|u", "10|100|v")
}

// TestUnchangedTOAST: what an UPDATE leaves out stays, in every combination with
// other changes of the row in one chunk.
func TestUnchangedTOAST(t *testing.T) {
	t.Parallel()
	o := setup(t, `CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t SELECT i, 'a', 'b' FROM generate_series(1, 20) i`, "t")
	r := o.rel["t"]
	var changes []stream.Change
	for i := 1; i <= 10; i++ { // three sets of columns, each in a set statement
		changes = append(changes, upd(r, num(i), text("A"), same), upd(r, num(i+10), same, text("B")))
	}
	changes = append(changes,
		upd(r, num(1), same, text("B1")),                                        // both now
		upd(r, num(2), same, same),                                              // nothing new
		ins(r, num(30), text("x"), text("y")), upd(r, num(30), same, text("z")), // into the INSERT
		del(r, old(num(3), 2)...), ins(r, num(3), text("x"), text("y")), upd(r, num(3), text("w"), same),
		upd(r, num(4), null, same), upd(r, num(4), same, null),
	)
	st := o.apply(o.clock.tx(changes...))
	o.wantNoStop()
	if st.ExactGroups != 0 {
		t.Error("it was not folded")
	}
	o.wantRows("SELECT * FROM t WHERE id IN (1, 2, 3, 4, 5, 11, 12, 30) ORDER BY 1",
		"1|A|B1", "2|A|b", "3|w|y", "4||", "5|A|b", "11|a|B", "12|a|B", "30|x|z")
}

func TestIntegersAreWidened(t *testing.T) {
	t.Parallel()
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY, s smallint, v text)", "t")
	r := o.rel["t"]
	o.db.Exec(t, "ALTER TABLE t ALTER id TYPE bigint, ALTER s TYPE bigint")
	source := o.db.Cluster.CreateDatabase(t)
	source.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, s smallint, v text)")
	_, sourceTypes := shapes(t, source, "t")
	o.tables.find = finder(t, source, o.db, sourceTypes, nil)
	bin2 := func(n int16) val { return raw([]byte{byte(uint16(n) >> 8), byte(n)}) }
	var a, b, c []stream.Change
	for i := int32(-50); i < 50; i++ {
		a = append(a, ins(r, bin4(i), bin2(int16(-i)), binText("v")))
		b = append(b, upd(r, bin4(i), bin2(int16(i)-1000), binText("w")))
		if i < 0 {
			c = append(c, del(r, bin4(i), null, null))
		}
	}
	st := o.apply(o.clock.tx(a...), o.clock.tx(b...), o.clock.tx(c...), o.clock.tx(ins(r, bin4(-1<<31), bin2(-1), null), upd(r, bin4(49), null, null)))
	o.wantNoStop()
	if st.ExactGroups != 0 {
		t.Error("it was not folded")
	}
	o.wantRows("SELECT count(*), sum(id), sum(s) FROM t", fmt.Sprintf("51|%d|%d", 1225-1<<31, 1225-49-49*1000-1))
}

func TestNothingToSet(t *testing.T) {
	t.Parallel()
	o := setup(t, "CREATE TABLE t (a int, b int, PRIMARY KEY (a, b)); INSERT INTO t SELECT i, i FROM generate_series(1, 10) i; CREATE TABLE none ()", "t", "none")
	r := o.rel["t"]
	var changes []stream.Change
	for i := 1; i <= 10; i++ {
		changes = append(changes, upd(r, num(i), num(i)))
	}
	o.apply(o.clock.tx(changes...), o.clock.tx(upd(r, num(3), num(3))), o.clock.tx(ins(o.rel["none"]), ins(o.rel["none"])))
	o.wantNoStop()
	o.wantRows("SELECT count(*) FROM none", "2")
	o.apply(o.clock.tx(upd(r, num(99), num(1))))
	if _, ok := o.tables.stop("t"); !ok {
		t.Error("an UPDATE of a row that is not there was taken for done")
	}
}

func TestOrdinaryTriggersDoNotFire(t *testing.T) {
	t.Parallel()
	o := setup(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fired'; END $$;
CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON b FOR EACH ROW EXECUTE FUNCTION f();
CREATE RULE r AS ON INSERT TO b DO INSTEAD NOTHING`, "a", "b")
	// The row refers to one that comes later.
	o.apply(o.clock.tx(ins(o.rel["b"], num(1), num(1)), ins(o.rel["a"], num(1)), upd(o.rel["b"], num(1), null)))
	o.wantNoStop()
	o.wantRows("TABLE b", "1|")
}

// TestKeysThatAreNotUnique: where the destination has no immediate unique index
// on the identity, nothing is folded and an INSERT looks first.
func TestKeysThatAreNotUnique(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"PRIMARY KEY (id) DEFERRABLE", "PRIMARY KEY (id, v)"} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			o := setup(t, "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)", "t")
			r := o.rel["t"]
			o.db.Exec(t, "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD "+key)
			var many []stream.Change
			for i := range 20 {
				many = append(many, ins(r, num(i), text("a")), upd(r, num(i), text("b")))
			}
			o.apply(o.clock.tx(many...), o.clock.tx(del(r, old(num(1), 1)...)))
			o.wantNoStop()
			o.wantRows("SELECT count(*), min(v) FROM t", "19|b")
			o.apply(o.clock.tx(ins(r, num(2), text("other"))))
			if s, ok := o.tables.stop("t"); !ok || s.err.Code != "23505" {
				t.Errorf("a second row with the key: %t %+v", ok, s)
			}
		})
	}
}

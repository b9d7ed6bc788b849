package resync_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// roles are made once per cluster; tests in parallel may meet.
func roles(t testing.TB, d *pgtest.Database) {
	t.Helper()
	d.Exec(t, `SELECT pg_advisory_lock(4711);
DO $$ BEGIN
  IF to_regrole('resync_owner') IS NULL THEN CREATE ROLE resync_owner; END IF;
  IF to_regrole('"resync ""reader"""') IS NULL THEN CREATE ROLE "resync ""reader"""; END IF;
END $$; SELECT pg_advisory_unlock(4711);`)
}

// shop is a schema with everything that can hang on a table.
const shop = `
CREATE EXTENSION btree_gist;
ALTER DEFAULT PRIVILEGES GRANT SELECT, TRUNCATE ON TABLES TO "resync ""reader""";
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO PUBLIC;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE parent (k int PRIMARY KEY, v text);
INSERT INTO parent SELECT i, 'v' || i FROM generate_series(1, 20) i;
CREATE TABLE orders (
  id int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 5) PRIMARY KEY, dropped int, s serial, p int REFERENCES parent ON DELETE CASCADE, boss int REFERENCES orders DEFERRABLE,
  code text UNIQUE DEFERRABLE, j json, g int GENERATED ALWAYS AS (id * 2) STORED, m mood DEFAULT 'sad', "Col ""x""" numeric(10,2) DEFAULT 1.5,
  CONSTRAINT positive CHECK (p > 0), CONSTRAINT "No overlap" EXCLUDE USING gist (int4range(id, id + 1) WITH &&)
) WITH (fillfactor = 70, autovacuum_enabled = off);
ALTER TABLE orders DROP COLUMN dropped;
ALTER TABLE orders ADD CONSTRAINT later CHECK (s > 0) NOT VALID;
CREATE INDEX ON orders (lower(code)) WHERE p > 3;
CREATE INDEX "Idx ""1""" ON orders (p DESC NULLS LAST, id) INCLUDE (s);
ALTER INDEX orders_lower_idx ALTER COLUMN 1 SET STATISTICS 500;
CREATE STATISTICS orders_stats ON code, p FROM orders;
CREATE STATISTICS "Stats ""2""" (mcv) ON p, (s % 7) FROM orders;
ALTER STATISTICS orders_stats SET STATISTICS 77;
ALTER TABLE orders ALTER code SET STATISTICS 200, ALTER j SET STORAGE EXTERNAL, ALTER code SET (n_distinct = 5), ALTER code SET COMPRESSION pglz;
COMMENT ON TABLE orders IS 'not "public"."orders" public.orders'; COMMENT ON COLUMN orders.code IS 'a "column"';
COMMENT ON CONSTRAINT later ON orders IS 'cc'; COMMENT ON INDEX orders_lower_idx IS 'ii'; COMMENT ON CONSTRAINT orders_p_fkey ON orders IS 'to the parent';
COMMENT ON STATISTICS orders_stats IS 'stats'; COMMENT ON SEQUENCE orders_id_seq IS 'identity';
GRANT SELECT, INSERT ON orders TO "resync ""reader""" WITH GRANT OPTION; GRANT UPDATE (code, p) ON orders TO PUBLIC; REVOKE TRIGGER ON orders FROM CURRENT_USER;
GRANT USAGE ON SEQUENCE orders_s_seq TO "resync ""reader"""; GRANT SELECT ON SEQUENCE orders_id_seq TO "resync ""reader""";
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end';
CREATE TRIGGER first BEFORE INSERT ON orders FOR EACH ROW WHEN (new.code IS NOT NULL) EXECUTE FUNCTION touch();
CREATE TRIGGER "Second ""t""" AFTER UPDATE ON orders REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION touch('it''s', 'x');
ALTER TABLE orders ENABLE ALWAYS TRIGGER first; ALTER TABLE orders DISABLE TRIGGER "Second ""t""";
CREATE CONSTRAINT TRIGGER third AFTER INSERT ON orders DEFERRABLE FOR EACH ROW EXECUTE FUNCTION touch();
COMMENT ON TRIGGER first ON orders IS 'trc';
CREATE RULE ru AS ON DELETE TO orders WHERE old.id < 0 DO INSTEAD NOTHING; ALTER TABLE orders DISABLE RULE ru;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY po ON orders FOR SELECT TO "resync ""reader""", resync_owner USING (EXISTS (SELECT FROM orders o JOIN parent ON k = o.p WHERE o.id = orders.id));
CREATE POLICY po2 ON orders AS RESTRICTIVE FOR INSERT WITH CHECK (p < 1000);
CREATE PUBLICATION pub FOR TABLE orders (id, code) WHERE (id > 5) WITH (publish = 'insert'); CREATE PUBLICATION "Pub ""2""" FOR TABLE parent, orders;
ALTER TABLE orders REPLICA IDENTITY FULL; ALTER TABLE orders CLUSTER ON orders_pkey;
ALTER TABLE orders OWNER TO resync_owner;
CREATE TABLE items (a int CONSTRAINT "Items ""fk""" REFERENCES orders DEFERRABLE INITIALLY DEFERRED, b int REFERENCES orders (id) ON UPDATE CASCADE ON DELETE SET NULL);
`

// around is what depends on the table orders.
const around = `
CREATE VIEW v AS SELECT * FROM orders;
CREATE VIEW v2 WITH (security_barrier = true) AS SELECT v.id, v.code AS "Code ""x""", o.p FROM v JOIN orders o USING (id) WHERE o.p > 0;
CREATE VIEW checked WITH (security_barrier = true) AS SELECT id, p FROM orders WHERE p > 0 WITH LOCAL CHECK OPTION;
ALTER VIEW v2 ALTER COLUMN p SET DEFAULT 3;
CREATE VIEW v3 AS SELECT count(*) FROM v2;
CREATE VIEW grouped AS SELECT id, code, count(*) AS n FROM orders GROUP BY id;
CREATE RECURSIVE VIEW tree (id, depth) AS SELECT id, 1 FROM orders WHERE boss IS NULL UNION ALL SELECT o.id, depth + 1 FROM tree JOIN orders o ON o.boss = tree.id;
COMMENT ON VIEW v IS 'a view'; COMMENT ON COLUMN v2.p IS 'pp'; GRANT SELECT ON v, v3 TO "resync ""reader"""; ALTER VIEW v2 OWNER TO resync_owner; GRANT SELECT ON orders, v TO resync_owner;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS 'begin return null; end';
CREATE TRIGGER i INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION instead();
CREATE MATERIALIZED VIEW mv AS SELECT id, p FROM orders WITH DATA; CREATE UNIQUE INDEX mv_id ON mv (id); COMMENT ON MATERIALIZED VIEW mv IS 'mm';
GRANT SELECT ON mv TO "resync ""reader"""; CREATE STATISTICS mv_stats ON id, p FROM mv;
CREATE MATERIALIZED VIEW "Mv ""2""" AS SELECT count(*) AS n FROM mv WITH NO DATA;
CREATE VIEW on_mv AS SELECT max(id) AS top FROM mv;
CREATE FUNCTION bound(x int) RETURNS bigint STABLE BEGIN ATOMIC SELECT count(*) FROM orders WHERE p = x; END;
GRANT EXECUTE ON FUNCTION bound TO resync_owner; COMMENT ON FUNCTION bound IS 'ff';
CREATE TABLE log (t text, n int); ALTER TABLE log ENABLE ROW LEVEL SECURITY;
CREATE POLICY on_orders ON log USING (EXISTS (SELECT FROM orders WHERE code = t)) WITH CHECK (n IN (SELECT id FROM orders));
CREATE RULE to_orders AS ON UPDATE TO log DO ALSO UPDATE orders SET code = new.t WHERE id = new.n;
CREATE TABLE other_serial (x int DEFAULT nextval('orders_s_seq'));
`

func loadShop(t testing.TB, major int) *database {
	t.Helper()
	cluster := pgtest.Shared(t, major).CreateDatabase(t)
	roles(t, cluster)
	return prepare(t, cluster, shop, around,
		`INSERT INTO orders (p, boss, code, j) SELECT 1 + i % 20, CASE WHEN i > 1 THEN 100 END, 'c' || i, '{"a": 1}' FROM generate_series(1, 200) i;
INSERT INTO items SELECT id, id FROM orders; REFRESH MATERIALIZED VIEW mv; ANALYZE orders`)
}

// built makes a finished shadow table that holds the table's rows, and compares it.
func (d *database) built(t testing.TB, conn *pgx.Conn, table catalog.Name) *resync.Shadow {
	t.Helper()
	s, err := resync.NewShadow(t.Context(), conn, resync.ShadowOptions{Mirror: "m", Table: table, Archive: d.archive(t, true)})
	noError(t, err)
	noError(t, s.Rehearse(t.Context(), conn, patient))
	noError(t, s.Create(t.Context(), conn, patient))
	d.fill(t, table, s.Target())
	noError(t, s.Finish(t.Context(), conn, patient, nil))
	differences, err := s.Compare(t.Context(), conn, d.archive(t, true))
	noError(t, err)
	for _, diff := range differences {
		t.Errorf("after Finish: %s", diff)
	}
	return s
}

// swapped puts a table's double into its place, and makes sure that the database
// is what it was.
func (d *database) swapped(t testing.TB, table catalog.Name) {
	t.Helper()
	conn := d.open(t)
	before, rows := d.schema(t), d.rowsOf(t, table)
	oid := `SELECT string_agg(relid::oid::text, ' ' ORDER BY relid::oid) FROM pg_partition_tree($1::regclass) WHERE isleaf`
	if pgtest.Value[string](t, d.Database, `SELECT relkind::text || relispartition::text FROM pg_class WHERE oid = $1::regclass`, quoted(table)) == "rfalse" {
		oid = `SELECT $1::regclass::oid::text`
	}
	old := pgtest.Value[string](t, d.Database, oid, quoted(table))
	s := d.built(t, conn, table)
	if t.Failed() {
		return
	}
	_, err := s.Swap(t.Context(), conn, patient)
	noError(t, err)
	results, err := resync.PutBack(t.Context(), conn, "m", []catalog.Name{table}, patient, nil)
	noError(t, err)
	for _, r := range results {
		if r.Outcome != resync.KeyRestored {
			t.Errorf("foreign key %s: %s %v", r.ForeignKey, r.Outcome, r.Err)
		}
	}
	noError(t, s.Drop(t.Context(), conn, patient))
	same(t, "the schema", before, d.schema(t))
	same(t, "the rows", rows, d.rowsOf(t, table))
	if now := pgtest.Value[string](t, d.Database, oid, quoted(table)); now == old {
		t.Errorf("the table is still the one with OID %s", old)
	}
	d.clean(t)
}

// clean makes sure that nothing is left of resyncs.
func (d *database) clean(t testing.TB) {
	t.Helper()
	conn := d.open(t)
	defer func() { _ = conn.Close(context.Background()) }()
	left, err := resync.Leftovers(t.Context(), conn)
	noError(t, err)
	for _, l := range left {
		t.Errorf("left: schema %s of table %s", l.Schema, l.Table)
	}
	if n := pgtest.Value[int](t, d.Database, `SELECT count(*)::int FROM pgdrover.foreign_keys`); n > 0 {
		t.Errorf("%d foreign keys are still recorded", n)
	}
}

func TestSwapKeepsEverything(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, major int) {
		d := loadShop(t, major)
		last := pgtest.Value[int64](t, d.Database, `SELECT nextval('orders_s_seq') + nextval('orders_id_seq')`)
		d.swapped(t, public("orders"))
		if next := pgtest.Value[int64](t, d.Database, `SELECT nextval('orders_s_seq') + nextval('orders_id_seq')`); next != last+6 {
			t.Errorf("sequences go on at %d, want %d", next, last+6)
		}
		if n := pgtest.Value[int64](t, d.Database, `SELECT (SELECT count(*) FROM v3) + (SELECT count(*) FROM mv) + bound(2) + (SELECT top FROM on_mv)`); n != 1+200+10+100+199*5 {
			t.Errorf("views and functions see %d", n)
		}
		// Everything that hangs on it hangs on the new table.
		d.Exec(t, `INSERT INTO orders (p, code) VALUES (7, 'new'); UPDATE items SET a = NULL; DELETE FROM parent WHERE k = 7`)
		if got := d.Rows(t, `SELECT (SELECT count(*) FROM orders WHERE p = 7), bound(7), (SELECT count(*) FROM items WHERE b IS NULL)`); got[0] != "0|0|10" {
			t.Errorf("after the parent was deleted: %s", got)
		}
		d.swapped(t, public("parent"))
		d.swapped(t, public("items"))
		d.swapped(t, public("log"))
	})
}

// hierarchies are tables above and below each other.
const hierarchies = `
CREATE SCHEMA "Weird ""Schema""";
CREATE TABLE referenced (k int PRIMARY KEY); INSERT INTO referenced SELECT generate_series(0, 99);
CREATE TABLE events (id int, day int NOT NULL, kind int REFERENCES referenced, note text, PRIMARY KEY (id, day), CONSTRAINT positive CHECK (id > 0)) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (10);
CREATE TABLE "Weird ""Schema"""."Events ""2""" (note text, id int NOT NULL, gone int, day int NOT NULL, kind int, CONSTRAINT positive CHECK (id > 0), PRIMARY KEY (id, day));
ALTER TABLE "Weird ""Schema"""."Events ""2""" DROP COLUMN gone;
ALTER TABLE events ATTACH PARTITION "Weird ""Schema"""."Events ""2""" FOR VALUES FROM (10) TO (20);
CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (20) TO (40) PARTITION BY HASH (id);
CREATE TABLE events_3a PARTITION OF events_3 FOR VALUES WITH (MODULUS 2, REMAINDER 0) WITH (fillfactor = 50);
CREATE TABLE events_3b PARTITION OF events_3 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE INDEX ON events (note); CREATE INDEX only_here ON events_1 (kind);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end';
CREATE TRIGGER each AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE points (id int, day int, FOREIGN KEY (id, day) REFERENCES events);
CREATE VIEW on_events AS SELECT * FROM events; CREATE VIEW on_leaf AS SELECT * FROM events_3a;
INSERT INTO events SELECT i, i % 50, i % 100, 'n' || i FROM generate_series(1, 500) i;
INSERT INTO points SELECT id, day FROM events;
CREATE TABLE base (a int DEFAULT 7, b text, CONSTRAINT small CHECK (a < 1000));
CREATE TABLE middle (c int) INHERITS (base);
CREATE TABLE child (b text, d int DEFAULT 3) INHERITS (middle);
INSERT INTO base VALUES (1, 'base'); INSERT INTO middle VALUES (2, 'middle', 2); INSERT INTO child VALUES (3, 'child', 3, 3), (4, 'child', 4, 4);
CREATE VIEW on_base AS SELECT * FROM base;
`

func TestSwapInHierarchies(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, major int) {
		d := newDatabase(t, major, hierarchies)
		for _, table := range []catalog.Name{
			public("events_1"), name(`Weird "Schema"`, `Events "2"`), public("events_3a"), public("events_rest"), public("events_3"), public("events"),
			public("referenced"), public("points"), public("child"), public("middle"), public("base"),
		} {
			t.Run(table.Name, func(t *testing.T) { d.swapped(t, table) })
		}
	})
}

// TestSwapKilled cuts the connection at every statement of a swap: the table is
// then the old one or the new one, complete, and the work can be begun again.
func TestSwapKilled(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	d := newDatabase(t, 0, `CREATE TABLE p (k int PRIMARY KEY); INSERT INTO p VALUES (1);
CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, s serial, p int REFERENCES p); INSERT INTO t (p) SELECT 1 FROM generate_series(1, 10);
CREATE TABLE r (t int REFERENCES t); INSERT INTO r VALUES (1), (2); CREATE VIEW v AS SELECT * FROM t; CREATE INDEX ON t (s); CREATE PUBLICATION pub FOR TABLE t`)
	const content = `SELECT 't', t::text FROM t UNION ALL SELECT 'v', v::text FROM v ORDER BY 1, 2`
	before, rows := d.relations(t), d.Rows(t, content)
	archives := map[uint32]*dump.Archive{} // by the table's OID
	whole := func(conn *pgx.Conn) error {
		oid := pgtest.Value[uint32](t, d.Database, `SELECT 't'::regclass::oid`)
		if archives[oid] == nil {
			archives[oid] = d.archive(t, true)
		}
		s, err := resync.NewShadow(t.Context(), conn, resync.ShadowOptions{Mirror: "m", Table: public("t"), Archive: archives[oid]})
		if err != nil {
			return err
		}
		if err := s.Create(t.Context(), conn, patient); err != nil {
			return err
		}
		d.fill(t, public("t"), s.Target())
		if err := s.Finish(t.Context(), conn, patient, nil); err != nil {
			return err
		}
		if _, err := s.Swap(t.Context(), conn, patient); err != nil {
			return err
		}
		if _, err := resync.PutBack(t.Context(), conn, "m", nil, patient, nil); err != nil {
			return err
		}
		return s.Drop(t.Context(), conn, patient)
	}
	d.killing(t, 400, whole, func(int) {
		conn := d.open(t)
		defer func() { _ = conn.Close(context.Background()) }()
		same(t, "the rows", rows, d.Rows(t, content))
		_, err := resync.PutBack(t.Context(), conn, "m", nil, patient, nil)
		noError(t, err)
		left, err := resync.Leftovers(t.Context(), conn)
		noError(t, err)
		for _, l := range left {
			if l.Table != public("t") || l.Mirror != "m" {
				t.Errorf("leftover %+v", l)
			}
			noError(t, resync.RemoveLeftover(t.Context(), conn, l.Schema, patient))
		}
		same(t, "the relations", before, d.relations(t))
	})
	d.clean(t)
}

// TestSwapBesideReaders lets readers count rows of the table and of views of it
// while it is swapped again and again.
func TestSwapBesideReaders(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 0, `CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 1 FROM generate_series(1, 1000) i;
CREATE VIEW v AS SELECT * FROM t; CREATE VIEW v2 AS SELECT v.* FROM v JOIN t USING (id)`)
	stop, readers := readWhile(t, d, 1000, "SELECT count(*) FROM public.t", "SELECT count(*) FROM public.v", "SELECT count(*) FROM public.v2", "SELECT count(*) FROM (SELECT sum(n) FROM public.v2 GROUP BY id) x")
	conn := d.open(t)
	for range 5 {
		s := d.built(t, conn, public("t"))
		for {
			_, err := s.Swap(t.Context(), conn, resync.Patience{})
			if errors.Is(err, resync.ErrLocked) {
				continue
			}
			noError(t, err)
			break
		}
		noError(t, s.Drop(t.Context(), conn, patient))
	}
	stop()
	readers()
}

// readWhile runs queries that count, until stop is called: each answer must be the
// same number. wait gives the readers' end.
func readWhile(t *testing.T, d *database, want int, queries ...string) (stop, wait func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, len(queries))
	for _, sql := range queries {
		conn, err := pgx.Connect(t.Context(), d.DSN())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer func() { _ = conn.Close(context.Background()) }()
			reads := 0
			for ctx.Err() == nil {
				var got int
				if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil || got != want {
					done <- fmt.Errorf("%s: read %d rows, want %d: %w", sql, got, want, err)
					return
				}
				reads++
			}
			if reads == 0 {
				done <- fmt.Errorf("%s never read", sql)
				return
			}
			done <- nil
		}()
	}
	return cancel, func() {
		t.Helper()
		for range queries {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSwapMeetsALongReader(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 0, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE VIEW v AS SELECT * FROM t`)
	conn := d.open(t)
	s := d.built(t, conn, public("t"))
	reader := d.Connect(t)
	tx, err := reader.Begin(t.Context())
	noError(t, err)
	var n int
	noError(t, tx.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n))
	before := d.schema(t)
	_, err = s.Swap(t.Context(), conn, resync.Patience{LockTimeout: 50 * time.Millisecond})
	if !errors.Is(err, resync.ErrLocked) || pgerror.Code(err) != pgerror.LockNotAvailable {
		t.Fatalf("swap beside a reader: %v", err)
	}
	detail := pgerror.From(err).Detail
	if !strings.Contains(detail, fmt.Sprintf("session %d ", reader.PgConn().PID())) || !strings.Contains(detail, "AccessShareLock on public.t") {
		t.Errorf("detail does not name the reader: %q", detail)
	}
	same(t, "the schema", before, d.schema(t))
	noError(t, tx.Commit(t.Context()))
	_, err = s.Swap(t.Context(), conn, patient)
	noError(t, err)
	noError(t, s.Drop(t.Context(), conn, patient))
	same(t, "the schema", before, d.schema(t))
}

// TestSwapMeetsAnOldSnapshot: a transaction that has not touched the table yet would
// see none of the new table's rows.
func TestSwapMeetsAnOldSnapshot(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 0, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)`)
	conn := d.open(t)
	reader := d.Connect(t)
	tx, err := reader.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	noError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT 1")
	noError(t, err)
	s := d.built(t, conn, public("t"))
	later, err := d.Connect(t).BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	noError(t, err)
	_, err = later.Exec(t.Context(), "SELECT 1")
	noError(t, err)
	_, err = s.Swap(t.Context(), conn, patient)
	if !errors.Is(err, resync.ErrLocked) || !strings.Contains(pgerror.From(err).Detail, fmt.Sprintf("session %d ", reader.PgConn().PID())) || strings.Contains(pgerror.From(err).Detail, "\n") {
		t.Fatalf("swap beside an old snapshot: %v, %s", err, pgerror.From(err).Detail)
	}
	var n int
	noError(t, tx.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n))
	noError(t, tx.Commit(t.Context()))
	_, err = s.Swap(t.Context(), conn, patient)
	noError(t, err)
	var seen int
	noError(t, later.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&seen))
	if n != 2 || seen != 2 {
		t.Errorf("rows seen: %d before the swap, %d after it, want 2", n, seen)
	}
	noError(t, later.Rollback(t.Context()))
	noError(t, s.Drop(t.Context(), conn, patient))
}

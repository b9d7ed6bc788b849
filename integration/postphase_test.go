package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// ran gives the SQL that a phase ran or found, of objects whose name is like pattern.
func ran(tb testing.TB, d *pgtest.Database, phase dump.Phase, pattern string) []string {
	tb.Helper()
	return pgtest.Column[string](tb, d, "SELECT state || ': ' || sql FROM pgdrover.statements WHERE phase = $1 AND object LIKE $2 ORDER BY shard, ordinal", phase.String(), pattern)
}

// has checks that one of lines has all of words.
func has(tb testing.TB, lines []string, words ...string) {
	tb.Helper()
	for _, line := range lines {
		found := 0
		for _, word := range words {
			if strings.Contains(line, word) {
				found++
			}
		}
		if found == len(words) {
			return
		}
	}
	tb.Errorf("nothing has %q in:\n%s", words, strings.Join(lines, "\n"))
}

// rowsOf checks what a query gives, as psql -At would print it.
func rowsOf(tb testing.TB, d *pgtest.Database, sql string, want ...string) {
	tb.Helper()
	if got := d.Rows(tb, sql); strings.Join(got, "\n") != strings.Join(want, "\n") {
		tb.Errorf("%s: %s gives\n%s\nwant\n%s", d.Name, sql, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestConcurrently builds indexes without blocking writers where there are any.
func TestConcurrently(t *testing.T) {
	t.Parallel()
	for _, how := range []struct {
		setting     string
		busy, quiet bool // built CONCURRENTLY
		written     bool
	}{{"auto", true, false, true}, {"auto", false, false, false}, {"always", true, true, false}, {"never", false, false, true}} {
		t.Run(fmt.Sprintf("%s, written %t", how.setting, how.written), func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, `CREATE TABLE busy (id int PRIMARY KEY, name text); CREATE TABLE quiet (id int PRIMARY KEY, name text);
				CREATE INDEX busy_name ON busy (name); CREATE INDEX quiet_name ON quiet (name)`)
			s := between(source, destination)
			s.extra = fmt.Sprintf("\n[schema_sync]\nindex_concurrently = %q\n", how.setting)
			m := s.manager(t)
			succeed(t, m, request(dump.PreData))
			destination.Exec(t, "INSERT INTO busy SELECT i, repeat('x', 200) || i FROM generate_series(1, 30000) i; INSERT INTO quiet SELECT * FROM busy")
			if how.written {
				defer write(t, destination, "UPDATE busy SET name = name || 'x' WHERE id = 1")()
			}
			succeed(t, m, request(dump.PostData))
			for name, concurrently := range map[string]bool{"busy": how.busy, "quiet": how.quiet} {
				sql := strings.Join(ran(t, destination, dump.PostData, name+"_name"), "\n")
				if strings.Contains(sql, "CONCURRENTLY") != concurrently {
					t.Errorf("%s is built by %s", name, sql)
				}
			}
			valid(t, destination)
			same(t, m)
		})
	}
}

// write runs a statement again and again until stop is called.
func write(tb testing.TB, d *pgtest.Database, sql string) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	conn := d.Connect(tb)
	ended, begun := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := conn.Exec(ctx, sql); err != nil && ctx.Err() == nil {
				tb.Errorf("write: %v", err)
				return
			}
			if n == 0 {
				close(begun)
			}
		}
	}()
	<-begun
	return func() {
		cancel()
		<-ended
	}
}

// TestConstraintsOnRows makes constraints on tables that hold rows.
func TestConstraintsOnRows(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, `
CREATE TABLE parents (id int PRIMARY KEY, code text CONSTRAINT parents_code UNIQUE, place int CONSTRAINT parents_place UNIQUE DEFERRABLE INITIALLY DEFERRED,
  span int4range, CONSTRAINT parents_during EXCLUDE USING gist (span WITH &&));
CREATE TABLE children (id int PRIMARY KEY, parent int CONSTRAINT to_parent REFERENCES parents DEFERRABLE, amount int CONSTRAINT positive CHECK (amount > 0));
CREATE TABLE unproved (id int PRIMARY KEY, parent int);
ALTER TABLE unproved ADD CONSTRAINT later FOREIGN KEY (parent) REFERENCES parents NOT VALID;`)
	m := between(source, destination).manager(t)
	succeed(t, m, request(dump.PreData))
	destination.Exec(t, `INSERT INTO parents SELECT i, 'code ' || i, i, int4range(i, i + 1) FROM generate_series(1, 100) i;
INSERT INTO children SELECT i, i, i FROM generate_series(1, 100) i; INSERT INTO unproved VALUES (1, 4711);
INSERT INTO children VALUES (1000, 1000, 1)`)
	e := fails(t, m, request(dump.PostData), "23503", `"children to_parent" in schema "public" on "prod_new" shard 0`, "Key (parent)=(1000) is not present", "compare them with the source")
	if e.Detail == "" {
		t.Error("the server's DETAIL is lost")
	}
	ignoring := request(dump.PostData)
	ignoring.IgnoreErrors = true
	if task := succeed(t, m, ignoring); task.Failed != 1 {
		t.Errorf("%d statements failed, not 1", task.Failed)
	}
	rowsOf(t, destination, `SELECT conname, convalidated FROM pg_constraint WHERE conname IN ('to_parent', 'positive', 'later', 'parents_during') ORDER BY 1`,
		"later|f", "parents_during|t", "positive|t", "to_parent|f")
	destination.Exec(t, "DELETE FROM children WHERE id = 1000")
	succeed(t, m, request(dump.PostData))
	has(t, ran(t, destination, dump.PostData, "%to_parent"), "done: ", "VALIDATE CONSTRAINT")
	same(t, m)
	arrives(t, m)
	rowsOf(t, destination, `SELECT conname, condeferrable, condeferred, convalidated FROM pg_constraint WHERE conname IN ('to_parent', 'parents_place', 'parents_code', 'later') ORDER BY 1`,
		"later|f|f|f", "parents_code|f|f|t", "parents_place|t|t|t", "to_parent|t|f|t")
}

// TestConstraintsFromIndexes builds the index of a key first, beside others, and
// promotes it; also the primary key of a table that lost it.
func TestConstraintsFromIndexes(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, `CREATE TABLE parts (id int CONSTRAINT parts_key PRIMARY KEY, code text CONSTRAINT parts_code UNIQUE, place int CONSTRAINT parts_place UNIQUE DEFERRABLE INITIALLY DEFERRED); ALTER TABLE parts CLUSTER ON parts_code`)
	m := between(source, destination).manager(t)
	succeed(t, m, request(dump.PreData))
	destination.Exec(t, "ALTER TABLE parts DROP CONSTRAINT parts_key; INSERT INTO parts SELECT i, i, i FROM generate_series(1, 100) i")
	succeed(t, m, request(dump.PreData))
	has(t, ran(t, destination, dump.PreData, "%parts_key"), "done: ", "CREATE UNIQUE INDEX parts_key")
	has(t, ran(t, destination, dump.PreData, "%parts_key"), "done: ", "PRIMARY KEY USING INDEX")
	succeed(t, m, request(dump.PostData))
	has(t, ran(t, destination, dump.PostData, "%parts_code"), "UNIQUE USING INDEX", "CLUSTER ON")
	has(t, ran(t, destination, dump.PostData, "%parts_place"), "UNIQUE USING INDEX", "DEFERRABLE INITIALLY DEFERRED")
	same(t, m)
}

// TestMaterializedViews fills views over views in their order, and leaves alone
// what is empty on the source. Afterwards the planner knows all tables.
func TestMaterializedViews(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, `
CREATE TABLE facts (id int PRIMARY KEY, amount int); INSERT INTO facts VALUES (1, 1);
CREATE MATERIALIZED VIEW z_first AS SELECT sum(amount) AS n FROM facts;
CREATE VIEW y_between AS SELECT n + 1 AS n FROM z_first;
CREATE MATERIALIZED VIEW a_last AS SELECT n * 2 AS n FROM y_between;
CREATE UNIQUE INDEX a_last_n ON a_last (n);
CREATE MATERIALIZED VIEW never AS SELECT 1 / 0 AS fails WITH NO DATA;`)
	s := between(source, destination)
	s.extra = "\n[schema_sync]\nindex_jobs = 4\n"
	m := s.manager(t)
	succeed(t, m, request(dump.PreData))
	destination.Exec(t, "INSERT INTO facts SELECT i, i FROM generate_series(1, 100) i")
	arrives(t, m)
	rowsOf(t, destination, "SELECT n FROM a_last", "10102")
	rowsOf(t, destination, "SELECT relispopulated FROM pg_class WHERE relname = 'never'", "f")
	rowsOf(t, destination, "SELECT relname, reltuples FROM pg_class WHERE relname IN ('facts', 'a_last') ORDER BY 1", "a_last|1", "facts|100")
	rowsOf(t, destination, "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'facts'", "t")
}

// TestInvalidIndexFound finds an index that a cancelled CONCURRENTLY build left.
func TestInvalidIndexFound(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, "CREATE TABLE items (id int PRIMARY KEY, name text); CREATE INDEX items_name ON items (name); CREATE UNIQUE INDEX items_once ON items (lower(name))")
	m := between(source, destination).manager(t)
	succeed(t, m, request(dump.PreData))
	destination.Exec(t, "INSERT INTO items VALUES (1, 'a'), (2, 'A'), (3, 'c')")
	for _, sql := range []string{"CREATE UNIQUE INDEX CONCURRENTLY items_once ON items (lower(name))", "SET statement_timeout = 1; CREATE INDEX CONCURRENTLY items_name ON items ((pg_sleep(1)::text || name))"} {
		if destination.TryExec(t.Context(), sql) == nil {
			t.Fatalf("%s should fail", sql)
		}
	}
	rowsOf(t, destination, "SELECT count(*) > 0 FROM pg_index WHERE NOT indisvalid", "t")
	destination.Exec(t, "DELETE FROM items WHERE id = 2")
	succeed(t, m, request(dump.PostData))
	has(t, ran(t, destination, dump.PostData, "items_once"), "done: DROP INDEX CONCURRENTLY")
	valid(t, destination)
	same(t, m)
}

// TestTriggersWait leaves triggers that fire on replicated changes to CUTOVER.
func TestTriggersWait(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, orders+`
CREATE TRIGGER touch_replica BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch();
ALTER TABLE shop.orders ENABLE REPLICA TRIGGER touch_replica;
CREATE TRIGGER touch_off BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch();
ALTER TABLE shop.orders DISABLE TRIGGER touch_off`)
	m := between(source, destination).manager(t)
	triggers := "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
	succeed(t, m, request(dump.PreData))
	rowsOf(t, destination, triggers)
	succeed(t, m, request(dump.PostData))
	rowsOf(t, destination, triggers, "touch|O", "touch_off|D")
	succeed(t, m, request(dump.Cutover))
	rowsOf(t, destination, triggers, "touch|O", "touch_always|A", "touch_off|D", "touch_replica|R")
	same(t, m)
}

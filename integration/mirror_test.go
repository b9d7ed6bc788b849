package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

const shopRows = `
CREATE SCHEMA "Weird ""Name"" $1";
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, price numeric);
CREATE INDEX items_name ON items (name);
CREATE TABLE "Weird ""Name"" $1"."it's" (id bigint PRIMARY KEY, "a ""b"" $1" text);
CREATE TABLE notes (note text, at timestamptz);
ALTER TABLE notes REPLICA IDENTITY FULL;
INSERT INTO items SELECT i, 'item ' || i, i * 1.1 FROM generate_series(1, 1000) i;
INSERT INTO "Weird ""Name"" $1"."it's" SELECT i, repeat('x', i) FROM generate_series(1, 100) i;
INSERT INTO notes SELECT 'n' || i, now() FROM generate_series(1, 50) i;
`

// tableRow gives one table of the mirror.
func tableRow(tb testing.TB, m *mirror.Manager, name string) mirror.MirrorTableRow {
	tb.Helper()
	for _, row := range tables(tb, m) {
		if row.Schema+"."+row.Table == name {
			return row
		}
	}
	tb.Fatalf("the mirror has no table %s", name)
	return mirror.MirrorTableRow{}
}

// becomes waits until a table is in a state.
func becomes(tb testing.TB, m *mirror.Manager, name string, want mirror.TableState) mirror.MirrorTableRow {
	tb.Helper()
	var row mirror.MirrorTableRow
	pgtest.Eventually(tb, fmt.Sprintf("table %s is %s", name, want), func(ctx context.Context) (bool, error) {
		rows, _, err := m.MirrorTables(ctx, theMirror)
		for _, r := range rows {
			if r.Schema+"."+r.Table == name {
				row = r
				return r.State == want, err
			}
		}
		return false, err
	})
	return row
}

// slots gives the names of the slots of a source.
func slots(tb testing.TB, source *pgtest.Database) []string {
	tb.Helper()
	return pgtest.Column[string](tb, source, `SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database() ORDER BY 1`)
}

func TestStopAndGoOn(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, shopRows)
	m := between(source, destination).manager(t)
	for round := range 3 {
		id := copyData(t, m, copyRequest())
		streaming(t, m, id)
		source.Exec(t, fmt.Sprintf("UPDATE items SET price = %d WHERE id %% 10 = %d; INSERT INTO items VALUES (%d, 'new', 1)", round, round, 2000+round))
		ledger.CaughtUp(t, source, applied(m))
		if task := stopTask(t, m, id); task.State != mirror.Cancelled {
			t.Fatalf("the task is %s: %s", task.State, full(task.Error))
		}
		sameRows(t, source, destination)
		// Written while nobody reads.
		source.Exec(t, fmt.Sprintf("DELETE FROM items WHERE id = %d; UPDATE notes SET note = note || 'x' WHERE note LIKE 'n%d%%'", 100+round, round))
	}
	if s := slots(t, source); len(s) != 1 {
		t.Errorf("the slots are %v", s)
	}
	req := copyRequest()
	req.StreamOnly = true
	id := copyData(t, m, req)
	ledger.CaughtUp(t, source, applied(m))
	stopTask(t, m, id)
	sameRows(t, source, destination)
	same(t, m)
	report, err := m.DropMirror(t.Context(), theMirror)
	if err != nil || len(report.Warnings) > 0 || len(report.Slots) != 1 {
		t.Errorf("drop the mirror: %+v, %s", report, full(err))
	}
	if s := slots(t, source); len(s) != 0 {
		t.Errorf("slots are left: %v", s)
	}
	if n := pgtest.Value[int](t, destination, `SELECT count(*)::int FROM pg_namespace WHERE nspname = 'pgdrover'`); n != 0 {
		t.Error("the schema pgdrover is left")
	}
	if n := pgtest.Value[int](t, destination, `SELECT count(*)::int FROM items`); n != 1000 {
		t.Errorf("%d items are left, want 1000", n)
	}
	if _, err := m.DropMirror(t.Context(), theMirror); pgerror.Code(err) != pgerror.UndefinedObject {
		t.Errorf("drop it again: %s", full(err))
	}
}

// TestTableIsAdded publishes tables while others stream; they are copied and
// join, with what is written meanwhile.
func TestTableIsAdded(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, shopRows)
	m := between(source, destination).manager(t)
	id := copyData(t, m, copyRequest())
	streaming(t, m, id)
	source.Exec(t, `CREATE TABLE added (id bigint PRIMARY KEY, v text); INSERT INTO added SELECT i, 'v' || i FROM generate_series(1, 5000) i`)
	for i := range 50 {
		source.Exec(t, fmt.Sprintf("INSERT INTO added VALUES (%d, 'late'); UPDATE added SET v = 'changed' WHERE id = %d; UPDATE items SET name = 'i%d' WHERE id = %d", 10000+i, i+1, i, i+1))
	}
	becomes(t, m, "public.added", mirror.TableStreaming)
	source.Exec(t, `INSERT INTO added VALUES (20000, 'after'); DELETE FROM added WHERE id = 7`)
	ledger.CaughtUp(t, source, applied(m))
	sameRows(t, source, destination)
	if s := slots(t, source); len(s) != 1 {
		t.Errorf("the slots are %v", s)
	}
	if n := pgtest.Value[int](t, destination, `SELECT count(*)::int FROM pgdrover.progress`); n != 1 {
		t.Errorf("%d positions are recorded, want 1", n)
	}
	stopTask(t, m, id)
	same(t, m)
}

// TestDamagedTableStops changes rows of the destination by hand: the table
// stops with all that is needed to know why, the others go on, and RESYNC mends
// it.
func TestDamagedTableStops(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ damage, write, words string }{
		"update meets no row": {`DELETE FROM items WHERE id = 5`, `UPDATE items SET price = 1 WHERE id = 5`, "\"id\" = 5"},
		"delete meets no row": {`DELETE FROM items WHERE id = 6`, `DELETE FROM items WHERE id = 6`, "\"id\" = 6"},
		"insert meets a row":  {`INSERT INTO items VALUES (7777, 'mine', 0)`, `INSERT INTO items VALUES (7777, 'theirs', 1)`, "7777"},
		"constraint":          {`ALTER TABLE items ADD CONSTRAINT low CHECK (price < 100000)`, `UPDATE items SET price = 100001 WHERE id = 9`, "low"},
		"column is missing":   {`ALTER TABLE items DROP COLUMN price`, `UPDATE items SET price = 3 WHERE id = 9`, "price"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, shopRows)
			m := between(source, destination).manager(t)
			id := copyData(t, m, copyRequest())
			streaming(t, m, id)
			destination.Exec(t, c.damage)
			// In one transaction with a table that is well, which must arrive.
			source.Exec(t, "BEGIN; INSERT INTO notes VALUES ('together', now()); "+c.write+"; COMMIT")
			row := becomes(t, m, "public.items", mirror.TableStopped)
			text := full(row.Error)
			for _, word := range []string{c.words, `RESYNC`, "items"} {
				if !strings.Contains(text, word) {
					t.Errorf("the error does not say %q:\n%s", word, text)
				}
			}
			if row.StoppedLSN == 0 && name != "column is missing" {
				t.Error("the error has no LSN")
			}
			source.Exec(t, `INSERT INTO notes VALUES ('after', now()); UPDATE items SET name = 'lost' WHERE id = 20`)
			ledger.CaughtUp(t, source, applied(m))
			if n := pgtest.Value[int](t, destination, `SELECT count(*)::int FROM notes WHERE note IN ('together', 'after')`); n != 2 {
				t.Errorf("%d of 2 rows of the healthy table arrived", n)
			}
			switch name {
			case "constraint":
				destination.Exec(t, `ALTER TABLE items DROP CONSTRAINT low`)
			case "column is missing":
				destination.Exec(t, `ALTER TABLE items ADD COLUMN price numeric`)
			}
			if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Stopped: true}); err != nil {
				t.Fatal(full(err))
			}
			becomes(t, m, "public.items", mirror.TableStreaming)
			source.Exec(t, `UPDATE items SET name = 'seen' WHERE id = 21`)
			ledger.CaughtUp(t, source, applied(m))
			sameRows(t, source, destination)
			stopTask(t, m, id)
		})
	}
}

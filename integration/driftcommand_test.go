package integration

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// syncPoint is a named step of SYNC_SCHEMA at which it can be held.
type syncPoint struct {
	name    string
	source  string // what the source is given
	hold    func(tb testing.TB, d *pgtest.Database) (release func())
	reached func(tb testing.TB, d *pgtest.Database)
	columns string // which are equal then
	done    string // what the destination has then
}

var syncPoints = []syncPoint{
	{name: "a statement waits for its lock", source: "ALTER TABLE items ADD COLUMN note text, ADD CONSTRAINT positive CHECK (price > -1)",
		hold: func(tb testing.TB, d *pgtest.Database) func() {
			return inTransaction(tb, d, "LOCK TABLE items IN ACCESS SHARE MODE")
		}, reached: func(tb testing.TB, d *pgtest.Database) { held(tb, d, "schema") },
		columns: "id, price, note", done: "SELECT convalidated FROM pg_constraint WHERE conname = 'positive'"},
	{name: "a constraint is added and not validated", source: "ALTER TABLE items ADD COLUMN note text, ADD CONSTRAINT positive CHECK (price > -1)",
		hold: func(tb testing.TB, d *pgtest.Database) func() {
			g := shut(tb, d, "VALIDATE CONSTRAINT")
			return func() { g.open(tb) }
		}, reached: advisory, columns: "id, price, note", done: "SELECT convalidated FROM pg_constraint WHERE conname = 'positive'"},
	{name: "rows are copied again", source: "ALTER TABLE items ADD COLUMN note text, ADD COLUMN u uuid NOT NULL DEFAULT gen_random_uuid()",
		hold: holdCopies, reached: recording, columns: "id, price, note, u", done: "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'items'::regclass AND attname = 'u'"},
	{name: "all is done and not answered", source: "ALTER TABLE items ADD COLUMN note text",
		hold: func(tb testing.TB, d *pgtest.Database) func() {
			return barrierAt(tb, d, "BEFORE UPDATE ON pgdrover.drift_commands FOR EACH ROW WHEN (NEW.ended)")
		}, reached: advisory, columns: "id, price, note", done: "SELECT true"},
}

// TestSyncSchemaKilled kills pgdrover by SIGKILL at named steps of SYNC_SCHEMA, and
// starts it again: the table is still held, and the same command does what is
// missing.
func TestSyncSchemaKilled(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	for _, point := range syncPoints {
		t.Run(point.name, func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, pairRows)
			r := serve(t, between(source, destination))
			r.rows(t, "CREATE MIRROR shop FROM prod TO prod_new PUBLICATION all_tables")
			streams := func(r *running) {
				t.Helper()
				pgtest.Eventually(t, "both tables stream", func(context.Context) (bool, error) {
					return strings.Count(strings.Join(r.rows(t, "SHOW MIRROR shop"), "\n"), "|streaming|") == 2, nil
				})
			}
			streams(r)
			slot := pgtest.Value[string](t, source, "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()")
			source.Exec(t, point.source+"; INSERT INTO items (id, name, price, note) VALUES (40000, 'new', 1, 'kept')")
			pgtest.Eventually(t, "items is stopped, with its ways out", func(context.Context) (bool, error) {
				return strings.Contains(strings.Join(r.rows(t, "SHOW MIRROR shop"), "\n"), "SYNC_SCHEMA shop public.items"), nil
			})
			release := point.hold(t, destination)
			sent := make(chan outcome, 1)
			go func() { sent <- r.psql(t, "-At", "-c", "SYNC_SCHEMA shop public.items") }() // ends when pgdrover is killed
			point.reached(t, destination)
			r.signal(t, syscall.SIGKILL)
			<-r.ended
			<-sent
			destination.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgdrover%'")
			release()
			source.Exec(t, "UPDATE items SET note = 'while it was down' WHERE id = 3")
			again := r.serveAgain(t)
			pgtest.Eventually(t, "SYNC_SCHEMA is done", func(context.Context) (bool, error) {
				return again.psql(t, "-At", "-c", "SYNC_SCHEMA shop public.items").code == 0, nil
			})
			streams(again)
			pgtest.Eventually(t, "nothing is lost", func(context.Context) (bool, error) {
				return pgtest.Value[int](t, destination, "SELECT count(*)::int FROM items WHERE note IN ('kept', 'while it was down')") == 2, nil
			})
			equalColumns(t, source, destination, "items", point.columns)
			destination.WaitUntil(t, "SELECT coalesce(("+point.done+"), false)")
			rowsOf(t, destination, "SELECT count(*) FROM pg_index WHERE NOT indisvalid", "0")
			if now := slots(t, source); len(now) != 1 || now[0] != slot {
				t.Errorf("the slots are %v, and it was %s", now, slot)
			}
			again.rows(t, "PAUSE MIRROR shop")
		})
	}
}

// TestSchemaCommands runs the command line's twins beside a mirror that rests.
func TestSchemaCommands(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	m := s.manager(t)
	id := follow(t, m)
	stopTask(t, m, id)
	paths := s.write(t)
	expect := func(code int, words string, args ...string) string {
		t.Helper()
		out, got := launch(t, paths, append([]string{"schema"}, args...)...).end()
		if got != code {
			t.Errorf("%v: exit code %d, want %d\n%s", args, got, code, out)
		}
		for _, word := range strings.Split(words, "|") {
			if !strings.Contains(out, word) {
				t.Errorf("%v does not say %q:\n%s", args, word, out)
			}
		}
		return out
	}
	expect(0, "every table goes on", "validate", theMirror)
	expect(0, "nothing to do", "sync", theMirror, "--dry-run")
	destination.Exec(t, "ALTER TABLE items ADD COLUMN must int NOT NULL DEFAULT 1; ALTER TABLE items ALTER must DROP DEFAULT; DROP INDEX items_name")
	source.Exec(t, "ALTER TABLE items ADD COLUMN note text")
	expect(1, "stop_table|must not go on|note|must|1. (recommended)", "validate", theMirror)
	expect(1, "stop_table|goes on by skip_columns", "validate", theMirror, "items", "--skip-columns", "public.items.note")
	expect(1, "+ source       text|- destination  (nothing)|CREATE INDEX", "diff", theMirror, "items")
	expect(1, `"kind":"source_added_column"`, "diff", theMirror, "items", "--json")
	script := expect(1, `ADD COLUMN "note" text;`, "diff", theMirror, "items", "--sql")
	if !strings.Contains(script, "-- shard 0") {
		t.Errorf("the script is\n%s", script)
	}
	expect(0, "planned|ACCESS EXCLUSIVE|about", "sync", theMirror, "--dry-run")
	expect(2, "--sql needs --dry-run", "sync", theMirror, "--sql")
	expect(2, "does not name columns", "validate", theMirror, "--skip-columns", "note")
	expect(3, "there is no mirror", "validate", "none")
	expect(0, "done", "sync", theMirror)
	expect(0, "every table goes on", "validate", theMirror)
	id = follow(t, m)
	equalColumns(t, source, destination, "items", "id, price, note")
	stopTask(t, m, id)
}

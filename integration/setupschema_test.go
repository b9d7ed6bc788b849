package integration

import (
	"context"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// TestSetupSchemaFromPsql has the event triggers put into the source by command,
// beside a mirror that runs: it follows what they tell from then on, other clients
// of the source notice nothing, and REMOVE leaves nothing.
func TestSetupSchemaFromPsql(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	s.extra = everyChange
	r := serve(t, s)
	r.rows(t, "CREATE MIRROR shop FROM prod TO prod_new PUBLICATION all_tables")
	streams := func() {
		t.Helper()
		pgtest.Eventually(t, "both tables stream", func(context.Context) (bool, error) {
			return strings.Count(strings.Join(r.rows(t, "SHOW MIRROR shop"), "\n"), "|streaming|") == 2, nil
		})
	}
	streams()
	r.rows(t, "SETUP SCHEMA prod")
	if n := pgtest.Value[int](t, source, "SELECT count(*)::int FROM pg_event_trigger WHERE evtname LIKE 'pgdrover%'"); n != 3 {
		t.Errorf("%d event triggers are there, want 3", n)
	}
	r.rows(t, "SETUP SCHEMA prod") // again, which changes nothing
	source.Exec(t, "BEGIN; UPDATE items SET price = 7 WHERE id < 5; ALTER TABLE items ADD COLUMN note text DEFAULT 'n'; UPDATE items SET note = 'x' WHERE id < 5; ALTER TABLE items RENAME price TO cost; COMMIT; UPDATE items SET cost = 8 WHERE id = 1")
	destination.WaitUntil(t, "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'items'::regclass AND attname = 'cost')")
	equalColumns(t, source, destination, "items", "id, cost, note")
	streams()
	r.rows(t, "SETUP SCHEMA prod REMOVE")
	rowsOf(t, source, "SELECT (SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'pgdrover%') + (SELECT count(*) FROM pg_namespace WHERE nspname = 'pgdrover')", "0")
	source.Exec(t, "ALTER TABLE items ADD COLUMN late int; UPDATE items SET late = 1 WHERE id = 2") // polls find it
	destination.WaitUntil(t, "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'items'::regclass AND attname = 'late')")
	equalColumns(t, source, destination, "items", "id, cost, note, late")
	r.rows(t, "PAUSE MIRROR shop")
}

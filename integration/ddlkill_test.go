package integration

import (
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// TestSchemaChangeKilled kills data-sync by SIGKILL at the points of a schema
// change on three shards, and starts it again: what is before the change, the
// change, and what is behind it are each done once.
func TestSchemaChangeKilled(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	for _, c := range []struct {
		name    string
		shard   int    // on which it is held
		table   string // that is locked there
		waits   string // who waits for it
		mode    string
		release bool // the change goes on before the kill
	}{
		{name: "rows before the change are applied", shard: 1, table: "items", waits: "apply", mode: "SHARE"},
		{name: "no shard is altered", shard: 0, table: "items", waits: "schema", mode: "ACCESS SHARE"},
		{name: "one shard is altered", shard: 1, table: "items", waits: "schema", mode: "ACCESS SHARE"},
		{name: "two shards are altered", shard: 2, table: "items", waits: "schema", mode: "ACCESS SHARE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			source, first := fresh(t, pairRows)
			triggered(t, source)
			destinations := []*pgtest.Database{first, first.Cluster.CreateDatabase(t), first.Cluster.CreateDatabase(t)}
			s := between(source, destinations...)
			s.general, s.extra = quick, evenly+everyChange
			m, paths := s.manager(t), s.write(t)
			succeed(t, m, request(dump.PreData))
			process := launch(t, paths, dataSync()...)
			first.WaitUntil(t, "SELECT to_regclass('pgdrover.tables') IS NOT NULL")
			streamsAtLast(t, m)
			changed(t, source, 1)
			arrivedIn(t, m, source, destinations)
			conn := destinations[c.shard].Connect(t)
			if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(), "LOCK TABLE "+c.table+" IN "+c.mode+" MODE"); err != nil {
				t.Fatal(err)
			}
			source.Exec(t, `BEGIN; UPDATE items SET name = 'before' WHERE id <= 30; ALTER TABLE items RENAME price TO cost; ALTER TABLE items ADD COLUMN at timestamptz DEFAULT now();
INSERT INTO items SELECT i, 'behind', 1 FROM generate_series(2000001, 2000030) i; COMMIT; UPDATE items SET cost = 0 WHERE id < 10`)
			held(t, destinations[c.shard], c.waits)
			process.kill()
			interrupted(t, m)
			source.Exec(t, "UPDATE items SET at = NULL WHERE id = 11; ALTER TABLE items DROP COLUMN name")
			if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil && !strings.Contains(err.Error(), "closed") {
				t.Fatal(err)
			}
			second := launch(t, paths, dataSync()...)
			streamsAtLast(t, m)
			arrivedIn(t, m, source, destinations)
			second.terminate(t)
			if s := slots(t, source); len(s) != 1 {
				t.Errorf("the slots are %v", s)
			}
		})
	}
}

// TestLaterStatementsKilled kills data-sync when a change that was followed is
// committed and its index is not built: the next one builds it.
func TestLaterStatementsKilled(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	source, destination := fresh(t, pairRows)
	triggered(t, source)
	s := between(source, destination)
	s.general, s.extra = quick, everyChange
	m, paths := s.manager(t), s.write(t)
	process := launch(t, paths, dataSync()...)
	destination.WaitUntil(t, "SELECT to_regclass('pgdrover.tables') IS NOT NULL")
	streamsAtLast(t, m)
	gate := shut(t, destination, "CREATE INDEX CONCURRENTLY")
	source.Exec(t, "BEGIN; ALTER TABLE items ADD COLUMN note text; CREATE INDEX items_note ON items (note); COMMIT; UPDATE items SET note = 'x' WHERE id < 10")
	advisory(t, destination)
	// Rows do not wait for it.
	destination.WaitUntil(t, "SELECT count(*) = 9 FROM items WHERE note = 'x'")
	process.kill()
	interrupted(t, m)
	destination.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgdrover%'")
	gate.open(t)
	rowsOf(t, destination, "SELECT to_regclass('items_note') IS NULL", "t")
	second := launch(t, paths, dataSync()...)
	destination.WaitUntil(t, "SELECT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('items_note')), false)")
	destination.WaitUntil(t, "SELECT count(*) = 0 FROM pgdrover.drift WHERE after IS NOT NULL")
	streamsAtLast(t, m)
	arrivedIn(t, m, source, []*pgtest.Database{destination})
	second.terminate(t)
}

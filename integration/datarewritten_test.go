package integration

import (
	"fmt"
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// TestDataRewrittenWhileCopied changes rows and then gives their tables new
// files, between the snapshot and the copy of these tables: the snapshot does
// not see what it should any more, and the changes are in the stream.
func TestDataRewrittenWhileCopied(t *testing.T) {
	t.Parallel()
	tables := []string{"truncated", "refilled", "altered", "vacuumed"}
	schema := pairRows
	for _, name := range tables {
		schema += fmt.Sprintf("CREATE TABLE %[1]s (id int PRIMARY KEY, v int); INSERT INTO %[1]s SELECT i, i FROM generate_series(1, 1000) i;\n", name)
	}
	// Copied in the first snapshot, and what it references in another one.
	schema += "CREATE TABLE referring (id int PRIMARY KEY, v int REFERENCES vacuumed); INSERT INTO referring SELECT i, i FROM generate_series(1, 1000) i;\n"
	source, destination := fresh(t, schema)
	s := between(source, destination)
	s.general = quick + "resharding_parallel_copies = 1\n"
	m := s.manager(t)
	succeed(t, m, request(dump.PreData))
	release := hold(t, destination, "items") // the largest: it is copied first
	id := copyData(t, m, copyRequest())
	held(t, destination, "copy")
	source.Exec(t, "DELETE FROM referring WHERE id > 900")
	for _, name := range tables {
		source.Exec(t, fmt.Sprintf("UPDATE %[1]s SET v = -v WHERE id <= 100; DELETE FROM %[1]s WHERE id > 900; INSERT INTO %[1]s VALUES (2000, 1)", name))
	}
	source.Exec(t, "TRUNCATE truncated, refilled; INSERT INTO refilled SELECT i, -i FROM generate_series(500, 1500) i; ALTER TABLE altered ALTER v TYPE int USING v + 0")
	source.Exec(t, "VACUUM FULL vacuumed")
	release()
	streaming(t, m, id)
	arrived(t, m, source, destination)
	if again := pgtest.Column[string](t, destination, "SELECT table_name FROM pgdrover.tables WHERE sync_lsn > (SELECT min(sync_lsn) FROM pgdrover.tables) ORDER BY 1"); len(again) != len(tables) {
		t.Errorf("copied again: %v", again)
	}
	destination.WaitUntil(t, "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'referring'::regclass AND contype = 'f' AND convalidated)")
	stopTask(t, m, id)
	same(t, m)
}

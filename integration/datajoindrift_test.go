package integration

import (
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// TestDataJoinsBesideDrift lets tables join though the definition of another one
// differs on the destination.
func TestDataJoinsBesideDrift(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows)
	m := between(source, destination).manager(t)
	id := follow(t, m)
	destination.Exec(t, "ALTER TABLE items ADD COLUMN extra int")

	source.Exec(t, "CREATE TABLE joins (id int PRIMARY KEY, v int UNIQUE); INSERT INTO joins SELECT i, i FROM generate_series(1, 100) i")
	becomes(t, m, "public.joins", mirror.TableStreaming)
	rowsOf(t, destination, "SELECT count(*) FROM pg_index WHERE indrelid = 'joins'::regclass", "2")

	// One that is gone from the destination is made by RESYNC, as the hint says.
	destination.Exec(t, "DROP TABLE joins")
	source.Exec(t, "UPDATE joins SET v = -v")
	row := becomes(t, m, "public.joins", mirror.TableStopped)
	says(t, row.Error, "42P01", "joins", `RESYNC "prod_to_prod_new" "public"."joins"`)
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Stopped: true}); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.joins", mirror.TableStreaming)
	destination.Exec(t, "ALTER TABLE items DROP COLUMN extra")
	changed(t, source, 1)
	arrived(t, m, source, destination)
	stopTask(t, m, id)
	same(t, m)
}

// TestDataJoinsHalfMade lets a table join of which an earlier attempt has left
// the rows without a key.
func TestDataJoinsHalfMade(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	source, destination := fresh(t, pairRows)
	m := between(source, destination).manager(t)
	id := follow(t, m)
	destination.Exec(t, "CREATE TABLE other (id int); CREATE INDEX later_v_key ON other (id)")
	source.Exec(t, "CREATE TABLE later (id int PRIMARY KEY, v int CONSTRAINT later_v_key UNIQUE); INSERT INTO later SELECT i, i FROM generate_series(1, 100) i")
	row := becomes(t, m, "public.later", mirror.TableStopped)
	says(t, row.Error, "42P07", "later_v_key", `RESYNC "prod_to_prod_new" "public"."later"`)
	destination.Exec(t, "DROP TABLE other")
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"later"}}); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.later", mirror.TableStreaming)
	rowsOf(t, destination, "SELECT count(*) FROM pg_index WHERE indrelid = 'later'::regclass", "2")

	arrived(t, m, source, destination)
	stopTask(t, m, id)
	same(t, m)
}

package integration

import (
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// TestDataJoinOneBad lets tables join together of which some cannot be made:
// those alone are stopped.
func TestDataJoinOneBad(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows)
	m := between(source, destination).manager(t)
	id := follow(t, m)
	destination.Exec(t, `CREATE TYPE "no table" AS ENUM (); CREATE TABLE no_index_v ()`)
	source.Exec(t, `
		BEGIN; CREATE TABLE "no table" (id int PRIMARY KEY); CREATE TABLE no_index (id int PRIMARY KEY, v int); CREATE INDEX no_index_v ON no_index (v); CREATE TABLE good (id int PRIMARY KEY, v text UNIQUE);
		INSERT INTO "no table" VALUES (1); INSERT INTO no_index VALUES (1, 1); INSERT INTO good VALUES (1, 'one'); COMMIT`)
	becomes(t, m, "public.good", mirror.TableStreaming)
	says(t, becomes(t, m, "public.no table", mirror.TableStopped).Error, "42710", `type "no table" already exists`)
	says(t, becomes(t, m, "public.no_index", mirror.TableStopped).Error, "42P07", `no_index_v`, `ALTER TABLE "public"."no_index_v" RENAME TO`, `RESYNC "prod_to_prod_new" "public"."no_index";`)
	destination.Exec(t, `DROP TYPE "no table"; ALTER TABLE no_index_v RENAME TO renamed`)
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Stopped: true}); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.no table", mirror.TableStreaming)
	becomes(t, m, "public.no_index", mirror.TableStreaming)
	changed(t, source, 1)
	arrived(t, m, source, destination)
	if n := pgtest.Value[int](t, destination, "SELECT count(*)::int FROM pg_indexes WHERE indexname IN ('no_index_v', 'good_v_key')"); n != 2 {
		t.Errorf("%d of 2 indexes were made", n)
	}
	stopTask(t, m, id)
}

// TestDataAllStopped has every table of a mirror stopped, and no task: RESYNC of
// one does not ask for the others' structure.
func TestDataAllStopped(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, "CREATE TABLE one (id int PRIMARY KEY, v int); CREATE TABLE two (id int PRIMARY KEY, v int)")
	m := between(source, destination).manager(t)
	id := follow(t, m)
	destination.Exec(t, "INSERT INTO one VALUES (1); INSERT INTO two VALUES (1)")
	source.Exec(t, "INSERT INTO one VALUES (1, 1); INSERT INTO two VALUES (1, 2)")
	for _, table := range []string{"public.one", "public.two"} {
		says(t, becomes(t, m, table, mirror.TableStopped).Error, "23505", "cannot be applied")
	}
	stopTask(t, m, id)
	destination.Exec(t, "ALTER TABLE two ALTER v TYPE bigint, ADD CONSTRAINT mine CHECK (v > 0)")
	started, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"one"}})
	if err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.one", mirror.TableStreaming)
	rowsOf(t, destination, "SELECT id, v FROM one", "1|1")
	if row := becomes(t, m, "public.two", mirror.TableStopped); row.Error == nil || row.Error.Code != "23505" {
		t.Errorf("two: %s", full(row.Error))
	}
	stopTask(t, m, started.Task)
}

// TestDataNoRoomAtTheSource has neither a slot nor a connection for one left: that
// is told before anything is made.
func TestDataNoRoomAtTheSource(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_replication_slots": "1", "max_wal_senders": "0"}})
	source, destination := c.CreateDatabase(t), pgtest.Shared(t, 0).CreateDatabase(t)
	source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	source.Exec(t, "SELECT pg_create_logical_replication_slot('taken', 'pgoutput')")
	_, err := between(source, destination).manager(t).CopyData(t.Context(), copyRequest())
	unchanged(t, destination)
	says(t, err, pgerror.ConfigurationLimitExceeded, "the preflight found 2 problems",
		"has 0 free replication slots, and the mirror needs 1", "max_replication_slots is 1 there", "ALTER SYSTEM SET max_replication_slots = 3; there",
		"has 0 free connections for replication, and the mirror needs 1", "ALTER SYSTEM SET max_wal_senders = 2; there")
}

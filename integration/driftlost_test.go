package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// TestHeldWALRunsOut lets more of the source's log be kept for a table than is
// allowed: its slot goes, it is told, the mirror's slot and the other tables go on,
// and RESYNC has the table right again.
func TestHeldWALRunsOut(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	s.extra = "[drift]\ninterval = 300\nheld_wal = 2000000\n"
	m := s.manager(t)
	id := follow(t, m)
	slot := slots(t, source)
	destination.Exec(t, "ALTER TABLE items ADD CHECK (price < 1000000)")
	row := stopsForDrift(t, m, "public.items", "kept by slot")
	if len(slots(t, source)) != 2 {
		t.Errorf("the slots are %v", slots(t, source))
	}
	source.Exec(t, "UPDATE items SET price = 7 WHERE id <= 10; INSERT INTO notes SELECT repeat(md5(i::text), 20), now() FROM generate_series(1, 6000) i")
	pgtest.Eventually(t, "its changes are no longer kept, and that is told", func(context.Context) (bool, error) {
		row = tableRow(t, m, "public.items")
		return strings.Contains(full(row.Error), "no longer kept"), nil
	})
	says(t, row.Error, pgerror.ObjectNotInPrerequisiteState, "held_wal allows 2000000", "RESYNC", "DROP CONSTRAINT")
	if now := slots(t, source); len(now) != 1 || now[0] != slot[0] {
		t.Errorf("the slots are %v", now)
	}
	others(t, m, source, destination, 1)
	// The way out ends with the copy.
	if _, err := m.SyncSchema(t.Context(), mirror.SyncSchemaRequest{Mirror: theMirror, Tables: []string{"items"}}); err != nil {
		t.Fatal(full(err))
	}
	if row := tableRow(t, m, "public.items"); row.State != mirror.TableStopped {
		t.Errorf("it goes on without its changes: %+v", row)
	}
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"items"}, Strategy: resync.Reconcile}); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.items", mirror.TableStreaming)
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

// TestMigrateCreatesTable drops a table of the destination under a mirror that may
// create tables: it is created and copied again; another mirror tells.
func TestMigrateCreatesTable(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	for _, kinds := range [][]string{nil, {"create_table"}} {
		t.Run(fmt.Sprint(kinds), func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, pairRows)
			s := between(source, destination)
			s.extra = "[drift]\ninterval = 300\n"
			m := s.manager(t)
			definition := config.NewMirror("prod", "prod_new", "all_tables")
			definition.Name, definition.Drift.AutoMigrate = theMirror, kinds
			if err := m.CreateMirror(t.Context(), definition); err != nil {
				t.Fatal(full(err))
			}
			if _, err := m.Resume(t.Context(), theMirror); err != nil {
				t.Fatal(full(err))
			}
			becomes(t, m, "public.items", mirror.TableStreaming)
			destination.Exec(t, "DROP TABLE items")
			if kinds == nil {
				stopsForDrift(t, m, "public.items", "does not have the table", "SYNC_SCHEMA")
				source.Exec(t, "UPDATE items SET price = 7 WHERE id <= 10")
				takesWayOut(t, m, "items")
			}
			destination.WaitUntil(t, "SELECT to_regclass('items') IS NOT NULL")
			source.Exec(t, "UPDATE items SET price = 8 WHERE id <= 10")
			becomes(t, m, "public.items", mirror.TableStreaming)
			arrived(t, m, source, destination)
			destination.WaitUntil(t, "SELECT to_regclass('items_name') IS NOT NULL")
			if err := m.Pause(t.Context(), theMirror); err != nil {
				t.Fatal(full(err))
			}
		})
	}
}

// TestDropMirrorInterrupted breaks DROP MIRROR off after it has stopped the task:
// it says what the mirror is then, the log has it, and the same command goes on.
func TestDropMirrorInterrupted(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	source, destination := fresh(t, pairRows)
	m := between(source, destination).manager(t)
	follow(t, m)
	lift := barrierAt(t, destination, "BEFORE UPDATE ON pgdrover.tasks FOR EACH ROW WHEN (NEW.state = 'cancelled')")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { // ends when ctx does
		_, err := m.DropMirror(ctx, theMirror)
		ended <- err
	}()
	advisory(t, destination)
	cancel()
	err := <-ended
	says(t, err, pgerror.Code(err), "DROP MIRROR", "RESUME MIRROR")
	lift()
	events, err := m.MirrorLog(t.Context(), theMirror, mirror.LogFilter{Search: "DROP MIRROR has begun", Levels: []string{"warning"}, Limit: 1})
	if err != nil || len(events) != 1 || !strings.Contains(full(events[0].Error), "DROP MIRROR") {
		t.Errorf("the log has %+v, %s", events, full(err))
	}
	pgtest.Eventually(t, "it is dropped by the same command", func(ctx context.Context) (bool, error) {
		_, err := m.DropMirror(ctx, theMirror)
		if pgerror.Code(err) == pgerror.ObjectInUse { // the task is about to end
			return false, nil
		}
		return err == nil, err
	})
	if left := slots(t, source); len(left) > 0 {
		t.Errorf("slots %v are left", left)
	}
}

// TestSourceShardsDiffer alters one shard of the source: what it has beside the
// first one is brought to the destination, and what contradicts the first one is
// told and left to the source.
func TestSourceShardsDiffer(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	sources, destinations, s := tenantSetup(t, 1, "")
	s.extra += "[drift]\ninterval = 300\n"
	m := s.manager(t)
	id := follow(t, m)
	all := func(state mirror.TableState) {
		t.Helper()
		pgtest.Eventually(t, "orders is "+string(state)+" from both shards", func(ctx context.Context) (bool, error) {
			rows, _, err := m.MirrorTables(ctx, theMirror)
			n := 0
			for _, r := range rows {
				if r.Table == "orders" && r.State == state {
					n++
				}
			}
			return n == 2, err
		})
	}
	all(mirror.TableStreaming)
	sources[1].Exec(t, "ALTER TABLE orders ADD COLUMN note text; UPDATE orders SET note = 'of shard 1' WHERE id = 3")
	all(mirror.TableStopped)
	row := tableRow(t, m, "public.orders")
	says(t, row.Error, pgerror.ObjectNotInPrerequisiteState, "shard 1 of the source has it", "SYNC_SCHEMA")
	sources[0].Exec(t, "UPDATE orders SET v = 'meanwhile' WHERE id = 4")
	takesWayOut(t, m, "orders")
	all(mirror.TableStreaming)
	for shard, d := range sources {
		shardCaughtUp(t, m, shard, d)
	}
	want := pgtest.Value[int](t, sources[1], "SELECT count(*)::int FROM orders WHERE note = 'of shard 1'")
	if got := pgtest.Value[int](t, destinations[0], "SELECT count(*)::int FROM orders WHERE note = 'of shard 1'"); got != want || want == 0 {
		t.Errorf("%d rows have the new value, want %d", got, want)
	}
	// A contradiction: no destination is right for both.
	sources[1].Exec(t, "ALTER TABLE orders RENAME v TO w; UPDATE orders SET w = 'by another name' WHERE id = 5")
	all(mirror.TableStopped)
	pgtest.Eventually(t, "it is told which shard is other", func(ctx context.Context) (bool, error) {
		reports, err := m.ValidateSchema(ctx, theMirror, []string{"orders"})
		text := fmt.Sprintf("%+v", reports)
		return err == nil && strings.Contains(text, "shard 1 of the source is other than its first one") && strings.Contains(text, "every shard of the source"), err
	})
	stopTask(t, m, id)
}

package integration

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// dataSync is the command line that copies prod to prod_new.
func dataSync(flags ...string) []string {
	return append([]string{"data-sync", "--from-database", "prod", "--to-database", "prod_new", "--publication", "all_tables"}, flags...)
}

// terminate ends a data-sync that streams by SIGTERM, which must be orderly.
func (p *process) terminate(tb testing.TB) {
	tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Fatal(err)
	}
	p.finish(tb)
}

// streamsAtLast waits until every table streams, whichever process does it. One
// that ends before fails the test.
func streamsAtLast(tb testing.TB, m *mirror.Manager) {
	tb.Helper()
	gone(tb, m)
	pgtest.Eventually(tb, "all tables stream", func(ctx context.Context) (bool, error) {
		tasks, _, err := m.Tasks(ctx)
		if err != nil || len(tasks) == 0 {
			return false, err
		}
		if s := tasks[0].State; s.Ended() && s != mirror.Interrupted { // the task of a process that was killed is not followed at once by the next
			tb.Fatalf("task %d is %s: %s", tasks[0].ID, s, full(tasks[0].Error))
		}
		rows, _, err := m.MirrorTables(ctx, theMirror)
		streams := tasks[0].State == mirror.Running && len(rows) > 0
		for _, row := range rows {
			streams = streams && row.State == mirror.TableStreaming
		}
		return streams, err
	})
}

// TestDataKilled kills data-sync by SIGKILL at named points and starts it again.
func TestDataKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// hold keeps the process at its point; reached waits until it is there.
		hold    func(tb testing.TB, source, destination *pgtest.Database) (release func())
		reached func(tb testing.TB, source, destination *pgtest.Database)
		streams bool // the point comes when a stream is disturbed
	}{
		{name: "slot is being made",
			hold:    func(tb testing.TB, source, _ *pgtest.Database) func() { return holdSlots(tb, source) },
			reached: func(tb testing.TB, source, _ *pgtest.Database) { slotWaits(tb, source) }},
		{name: "slot is made, nothing is copied",
			hold: func(tb testing.TB, _, destination *pgtest.Database) func() {
				return hold(tb, destination, "items, notes")
			},
			reached: func(tb testing.TB, _, destination *pgtest.Database) { held(tb, destination, "copy") }},
		{name: "one table is copied",
			hold: func(tb testing.TB, _, destination *pgtest.Database) func() { return hold(tb, destination, "items") },
			reached: func(tb testing.TB, _, destination *pgtest.Database) {
				held(tb, destination, "copy")
				destination.WaitUntil(tb, "SELECT EXISTS (SELECT FROM pgdrover.tables WHERE table_name = 'notes' AND state = 'catching_up')")
			}},
		{name: "index is being built",
			hold: func(tb testing.TB, _, destination *pgtest.Database) func() {
				g := shut(tb, destination, "CREATE INDEX items_name")
				return func() { g.open(tb) }
			},
			reached: func(tb testing.TB, _, destination *pgtest.Database) { waitsForLock(tb, destination, "advisory") }},
		{name: "changes are being applied", streams: true,
			hold:    func(tb testing.TB, _, destination *pgtest.Database) func() { return hold(tb, destination, "items") },
			reached: func(tb testing.TB, _, destination *pgtest.Database) { held(tb, destination, "apply") }},
		{name: "a table joins", streams: true,
			hold: func(tb testing.TB, source, destination *pgtest.Database) func() {
				const joins = "CREATE TABLE joins (id int PRIMARY KEY, t text);"
				destination.Exec(tb, joins)
				release := hold(tb, destination, "joins")
				source.Exec(tb, joins+"INSERT INTO joins SELECT i FROM generate_series(1, 1000) i")
				return release
			},
			reached: func(tb testing.TB, _, destination *pgtest.Database) { held(tb, destination, "copy") }},
		{name: "a table that joins has its rows", streams: true,
			hold: func(tb testing.TB, source, destination *pgtest.Database) func() {
				const joins = "CREATE TABLE joins (id int PRIMARY KEY, t text);"
				destination.Exec(tb, joins)
				release := hold(tb, destination, "joins")
				source.Exec(tb, joins+"INSERT INTO joins SELECT i FROM generate_series(1, 1000) i")
				held(tb, destination, "copy")
				source.Exec(tb, "UPDATE joins SET t = repeat('x', 100)")
				// The next lock queues behind the copy, and before its changes.
				next := holdNext(tb, destination, "joins")
				release()
				return next
			},
			// Its ANALYZE waits, or its first change.
			reached: func(tb testing.TB, _, destination *pgtest.Database) { held(tb, destination, "") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "one table is copied" && c.name != "changes are being applied" && c.name != "a table joins" {
				pgtest.Long(t)
			}
			t.Parallel()
			source, destination := fresh(t, pairRows)
			s := between(source, destination)
			s.general = quick + "resharding_parallel_copies = 2\n"
			m, paths := s.manager(t), s.write(t)
			if !strings.HasPrefix(c.name, "index") {
				succeed(t, m, request(dump.PreData))
			}
			var first *process
			var release func()
			if c.streams {
				first = launch(t, paths, dataSync()...)
				destination.WaitUntil(t, "SELECT to_regclass('pgdrover.tables') IS NOT NULL")
				streamsAtLast(t, m)
				release = c.hold(t, source, destination)
				changed(t, source, 1)
			} else {
				release = c.hold(t, source, destination)
				first = launch(t, paths, dataSync()...)
			}
			c.reached(t, source, destination)
			first.kill()
			interrupted(t, m)
			changed(t, source, 2)
			release()
			second := launch(t, paths, dataSync()...)
			streamsAtLast(t, m)
			changed(t, source, 3)
			arrived(t, m, source, destination)
			second.terminate(t)
			if s := slots(t, source); len(s) != 1 {
				t.Errorf("the slots are %v", s)
			}
			if n := pgtest.Value[int](t, destination, "SELECT count(*)::int FROM pgdrover.progress"); n != 1 {
				t.Errorf("%d positions are recorded, want 1", n)
			}
			if n := pgtest.Value[int](t, destination, "SELECT count(*)::int FROM pg_prepared_xacts WHERE database = current_database()"); n != 0 {
				t.Errorf("%d transactions are left", n)
			}
			valid(t, destination)
			same(t, m)
		})
	}
}

// holdNext is hold for a table that somebody waits to write to: it asks for the
// lock, which it gets when those before it are done.
func holdNext(tb testing.TB, d *pgtest.Database, tables string) (release func()) {
	tb.Helper()
	conn := d.Connect(tb)
	if _, err := conn.Exec(tb.Context(), "BEGIN"); err != nil {
		tb.Fatal(err)
	}
	locked := make(chan error, 1)
	go func() { // ends with the lock, or with the connection
		_, err := conn.Exec(tb.Context(), "LOCK TABLE "+tables+" IN SHARE ROW EXCLUSIVE MODE")
		locked <- err
	}()
	d.WaitUntil(tb, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock')", int32(conn.PgConn().PID()))
	return func() {
		if err := <-locked; err != nil {
			tb.Errorf("lock %s: %v", tables, err)
		}
		if _, err := conn.Exec(tb.Context(), "ROLLBACK"); err != nil {
			tb.Errorf("unlock %s: %v", tables, err)
		}
	}
}

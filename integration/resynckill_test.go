package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// resyncPoint is a named step of a resync at which it can be held.
type resyncPoint struct {
	name     string
	strategy resync.Strategy
	long     bool // not in every run
	copying  bool // hold is called while rows are copied
	hold     func(tb testing.TB, d *pgtest.Database) (release func())
	reached  func(tb testing.TB, d *pgtest.Database)
}

// inTransaction runs SQL in a transaction that stays open until release.
func inTransaction(tb testing.TB, d *pgtest.Database, sql string) (release func()) {
	tb.Helper()
	conn := d.Connect(tb)
	if _, err := conn.PgConn().Exec(tb.Context(), "BEGIN; "+sql).ReadAll(); err != nil {
		tb.Fatal(err)
	}
	return func() { _ = conn.Close(context.WithoutCancel(tb.Context())) } // nothing to commit
}

// recording waits until rows are being recorded as copied.
func recording(tb testing.TB, d *pgtest.Database) {
	tb.Helper()
	d.WaitUntil(tb, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgdrover copy%' AND wait_event = 'advisory')")
}

// holdCopies keeps rows from being recorded as copied. A lock of the table would
// also hold back the tidying with which a stream begins, and all that follows it.
func holdCopies(tb testing.TB, d *pgtest.Database) (release func()) {
	tb.Helper()
	lift := barrierAt(tb, d, "BEFORE INSERT ON pgdrover.copied FOR EACH ROW")
	d.Exec(tb, "ALTER TABLE pgdrover.copied ENABLE ALWAYS TRIGGER wait_here")
	return lift
}

func stepIs(pattern string) func(testing.TB, *pgtest.Database) {
	return func(tb testing.TB, d *pgtest.Database) {
		d.WaitUntil(tb, "SELECT EXISTS (SELECT FROM pgdrover.tables WHERE table_name = 'accounts' AND step LIKE $1)", pattern)
	}
}

func advisory(tb testing.TB, d *pgtest.Database) {
	d.WaitUntil(tb, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory')")
}

var resyncPoints = []resyncPoint{
	{name: "rows are copied, foreign keys are aside", strategy: resync.Truncate, long: true,
		hold: holdCopies, reached: recording},
	{name: "foreign keys are being put back", strategy: resync.Truncate, long: true,
		hold: func(tb testing.TB, d *pgtest.Database) func() {
			return barrierAt(tb, d, "BEFORE DELETE ON pgdrover.foreign_keys FOR EACH ROW")
		}, reached: advisory},
	{name: "the swap is being rehearsed", strategy: resync.Swap, long: true,
		hold: func(tb testing.TB, d *pgtest.Database) func() {
			return inTransaction(tb, d, "LOCK TABLE accounts IN ACCESS SHARE MODE")
		},
		reached: func(tb testing.TB, d *pgtest.Database) { held(tb, d, "resync") }},
	{name: "rows are copied into the shadow table", strategy: resync.Swap, long: true,
		hold: holdCopies, reached: recording},
	{name: "an index of the shadow table is being built", strategy: resync.Swap, long: true,
		copying: true, hold: func(tb testing.TB, d *pgtest.Database) func() {
			g := shut(tb, d, "CREATE INDEX accounts_branch")
			return func() { g.open(tb) }
		}, reached: advisory},
	{name: "the tables are being compared", strategy: resync.Swap, long: true,
		copying: true, hold: func(tb testing.TB, d *pgtest.Database) func() {
			return inTransaction(tb, d, "LOCK TABLE bookings IN ACCESS EXCLUSIVE MODE")
		}, reached: stepIs("compare%")},
	{name: "the swap waits for locks", strategy: resync.Swap,
		copying: true, hold: func(tb testing.TB, d *pgtest.Database) func() {
			return inTransaction(tb, d, "LOCK TABLE accounts IN ACCESS SHARE MODE")
		}, reached: stepIs("swap: waiting%")},
	{name: "swapped, foreign keys are being validated", strategy: resync.Swap, long: true,
		hold: func(tb testing.TB, d *pgtest.Database) func() {
			return barrierAt(tb, d, "BEFORE DELETE ON pgdrover.foreign_keys FOR EACH ROW")
		}, reached: advisory},
	{name: "swapped, the old table is being dropped", strategy: resync.Swap, long: true,
		hold: func(tb testing.TB, d *pgtest.Database) func() {
			g := shut(tb, d, "DROP TABLE pgdrover_old_")
			return func() { g.open(tb) }
		}, reached: advisory},
	{name: "rows are staged", strategy: resync.Reconcile, long: true,
		hold: holdCopies, reached: recording},
	{name: "rows are being reconciled", strategy: resync.Reconcile, long: true,
		copying: true, hold: func(tb testing.TB, d *pgtest.Database) func() {
			return inTransaction(tb, d, "LOCK TABLE accounts IN SHARE MODE")
		}, reached: func(tb testing.TB, d *pgtest.Database) { held(tb, d, "resync") }},
}

// TestResyncKilled kills the process by SIGKILL at named steps of a resync, and
// starts it again: the resync is done anew, whatever was set aside or made is put
// back or removed, and no change is lost.
func TestResyncKilled(t *testing.T) {
	t.Parallel()
	for _, point := range resyncPoints {
		t.Run(fmt.Sprintf("%s, %s", point.strategy, point.name), func(t *testing.T) {
			if point.long {
				pgtest.Long(t)
			}
			t.Parallel()
			b := newBank(t, 1, nil)
			d := b.shards[0]
			paths := b.setup.write(t)
			first := launch(t, paths, dataSync()...)
			d.WaitUntil(t, "SELECT to_regclass('pgdrover.foreign_keys') IS NOT NULL")
			streamsAtLast(t, b.m)
			b.around(t)
			before, slot := schemaOf(t, d), b.slot(t)
			d.Exec(t, damage)
			stopWriting := b.write(t)
			hold := point.hold
			if point.copying {
				hold = holdCopies
			}
			release := hold(t, d)
			asked, err := b.m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"accounts"}, Strategy: point.strategy})
			if err != nil {
				t.Fatal(full(err))
			}
			if point.copying {
				recording(t, d)
				copying := release
				release = point.hold(t, d)
				copying()
			}
			point.reached(t, d)
			first.kill()
			interrupted(t, b.m)
			release()
			second := launch(t, paths, dataSync()...)
			succeeded(t, b.over(t, asked))
			stopWriting()
			arrived(t, b.m, b.source, d)
			b.clean(t)
			rowsOf(t, d, "SELECT sum(balance), count(*) FILTER (WHERE id <= 1000) FROM accounts", fmt.Sprintf("%d|1000", sum))
			d.Exec(t, "DROP SCHEMA IF EXISTS gate CASCADE; DROP FUNCTION IF EXISTS public.wait_here CASCADE")
			if diff := cmp.Diff(before, schemaOf(t, d)); diff != "" {
				t.Errorf("the schema (-before +after):\n%s", diff)
			}
			second.terminate(t)
			if now := b.slot(t); now != slot {
				t.Errorf("the slot was %s and is %s", slot, now)
			}
		})
	}
}

// TestResyncStopped stops the task while a table is copied again, and goes on:
// nothing is left meanwhile, and the table that streams goes on streaming.
func TestResyncStopped(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	b := newBank(t, 1, nil)
	id := follow(t, b.m)
	b.around(t)
	d := b.shards[0]
	d.Exec(t, damage)
	stopWriting := b.write(t)
	release := holdCopies(t, d)
	asked, err := b.m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"accounts"}, Strategy: resync.Swap})
	if err != nil {
		t.Fatal(full(err))
	}
	recording(t, d)
	// What stands there goes on meanwhile.
	b.source.Exec(t, "UPDATE branches SET name = 'seen'; UPDATE accounts SET note = 'seen' WHERE id = 1000")
	d.WaitUntil(t, "SELECT EXISTS (SELECT FROM accounts WHERE id = 1000 AND note = 'seen')")
	if task := stopTask(t, b.m, id); task.State != mirror.Cancelled {
		t.Errorf("the task is %s", task.State)
	}
	rowsOf(t, d, "SELECT nspname FROM pg_namespace WHERE nspname ~ '^pgdrover_'")
	release()
	copyData(t, b.m, copyRequest())
	succeeded(t, b.over(t, asked))
	stopWriting()
	arrived(t, b.m, b.source, d)
	b.clean(t)

	// DROP MIRROR in the middle: foreign keys are there again, and nothing is left.
	before := schemaOf(t, d)
	release = holdCopies(t, d)
	if _, err := b.m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"bookings", "branches"}}); err != nil {
		t.Fatal(full(err))
	}
	recording(t, d)
	dropped := make(chan error, 1)
	go func() { // ends with the test's context at the latest
		_, err := b.m.DropMirror(t.Context(), theMirror)
		dropped <- err
	}()
	d.WaitUntil(t, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgdrover copy%')")
	release()
	if err := <-dropped; err != nil {
		t.Fatal(full(err))
	}
	after := schemaOf(t, d)
	if diff := cmp.Diff(before, after); diff != "" && !strings.Contains(diff, "NOT VALID") {
		t.Errorf("the schema (-before +after):\n%s", diff)
	}
	rowsOf(t, d, "SELECT conname FROM pg_constraint WHERE conname = 'accounts_branch_fkey'", "accounts_branch_fkey")
	rowsOf(t, d, "SELECT nspname FROM pg_namespace WHERE nspname ~ '^pgdrover'")
}

// TestResyncRefused: what cannot be is refused, and the table goes on as it was.
func TestResyncRefused(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	b := newBank(t, 1, func(s *setup) { s.extra += "[data_sync]\nresync_disk_limit = 1000000\nresync_lock_wait = 1500\n" }).streams(t)
	d := b.shards[0]
	_, err := b.m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"accounts"}, Strategy: resync.Swap})
	says(t, err, pgerror.DiskFull, "public.accounts does not fit", "resync_disk_limit", "truncate")
	rowsOf(t, d, "SELECT count(*) FROM pgdrover.tables WHERE resync_asked OR resync <> ''", "0")

	b = newBank(t, 1, func(s *setup) { s.extra += "[data_sync]\nresync_lock_wait = 1500\n" }).streams(t)
	d = b.shards[0]
	// A function of the row type cannot be carried over.
	d.Exec(t, "CREATE FUNCTION of_row(accounts) RETURNS int LANGUAGE sql AS 'SELECT $1.id'")
	refused := func(code string, words ...string) {
		t.Helper()
		rows := b.resync(t, mirror.ResyncRequest{Tables: []string{"accounts"}, Strategy: resync.Swap})
		if len(rows) != 1 || rows[0].State != mirror.TableStreaming {
			t.Fatalf("%+v", rows)
		}
		says(t, rows[0].Error, code, words...)
		b.source.Exec(t, "UPDATE accounts SET balance = balance + 1")
		arrived(t, b.m, b.source, d)
		b.clean(t)
	}
	refused(pgerror.FeatureNotSupported, "uses the table's row type", "reconcile", "RESYNC")
	d.Exec(t, "DROP FUNCTION of_row")
	// A reader never ends.
	release := inTransaction(t, d, "LOCK TABLE accounts IN ACCESS SHARE MODE")
	refused(pgerror.LockNotAvailable, "holds AccessShareLock on public.accounts", "pg_terminate_backend")
	release()
	// A table that is stopped stays so, with the new reason.
	d.Exec(t, "SET session_replication_role = replica; DELETE FROM accounts WHERE id = 5; CREATE FUNCTION of_row(accounts) RETURNS int LANGUAGE sql AS 'SELECT $1.id'")
	b.source.Exec(t, "UPDATE accounts SET note = 'x' WHERE id = 5")
	becomes(t, b.m, "public.accounts", mirror.TableStopped)
	rows := b.resync(t, mirror.ResyncRequest{Stopped: true, Strategy: resync.Swap})
	if rows[0].State != mirror.TableStopped {
		t.Errorf("%+v", rows)
	}
	says(t, rows[0].Error, pgerror.FeatureNotSupported, "uses the table's row type")
	succeeded(t, b.resync(t, mirror.ResyncRequest{Stopped: true}))
	arrived(t, b.m, b.source, d)
}

// TestResyncWaits holds a resync back while the stream is behind.
func TestResyncWaits(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	b := newBank(t, 1, func(s *setup) { s.extra += "[data_sync]\nresync_max_lag = 1000\n" }).streams(t)
	d := b.shards[0]
	d.Exec(t, damage)
	b.source.Exec(t, "UPDATE branches SET name = 'x'")
	arrived := func() { ledger.CaughtUp(t, b.source, applied(b.m)) }
	arrived() // from now on it is known how far behind the stream is
	// No transaction may be open that has written: slots are not made meanwhile.
	release := inTransaction(t, d, "LOCK TABLE pgdrover.progress IN SHARE MODE")
	b.source.Exec(t, "INSERT INTO branches VALUES (99)")
	pgtest.Eventually(t, "the stream is behind", func(ctx context.Context) (bool, error) {
		rows, _, err := b.m.Mirrors(ctx)
		return err == nil && len(rows) == 1 && rows[0].Lag.Seconds() > 1, err
	})
	asked, err := b.m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"accounts"}, Strategy: resync.Swap})
	if err != nil {
		t.Fatal(full(err))
	}
	pgtest.Eventually(t, "the resync waits", func(ctx context.Context) (bool, error) {
		rows, err := b.m.Resyncs(ctx, theMirror, asked.Tables)
		return err == nil && len(rows) == 1 && rows[0].Error != nil && strings.Contains(rows[0].Error.Message, "resync_max_lag"), err
	})
	release()
	succeeded(t, b.over(t, asked))
	arrived()
	sameRows(t, b.source, d)
	b.clean(t)
}

// TestResyncViolated puts a foreign key back whose rows violate it by then: it is
// there, NOT VALID, and the log says which rows those are.
func TestResyncViolated(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	b := newBank(t, 1, nil).streams(t)
	d := b.shards[0]
	b.source.Exec(t, "DELETE FROM bookings WHERE account = 7; DELETE FROM accounts WHERE id = 7")
	arrived(t, b.m, b.source, d)
	rows := b.resync(t, mirror.ResyncRequest{Tables: []string{"accounts"}, Strategy: resync.Truncate})
	succeeded(t, rows)
	pgtest.Eventually(t, "the log has the row", func(ctx context.Context) (bool, error) {
		events, err := b.m.MirrorLog(ctx, theMirror, mirror.LogFilter{Search: "NOT VALID"})
		return err == nil && len(events) == 1 && strings.Contains(full(events[0].Error), "(7, 7)") && strings.Contains(full(events[0].Error), "VALIDATE CONSTRAINT"), err
	})
	d.WaitUntil(t, `SELECT string_agg(conname || ' ' || convalidated, ', ' ORDER BY conname) = 'audits_account_fkey false, bookings_account_fkey true'
FROM pg_constraint WHERE contype = 'f' AND confrelid = 'accounts'::regclass`)
	for _, key := range []string{"audits_account_fkey", "bookings_account_fkey"} {
		if told := b.log(t, key); len(told) < 2 {
			t.Errorf("the log has of %s: %v", key, told)
		}
	}
}

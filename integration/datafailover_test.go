package integration

import (
	"context"
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
)

// stand stops a standby, so that it falls behind.
func stand(tb testing.TB, standby *pgtest.Cluster) {
	tb.Helper()
	if err := standby.Stop(tb.Context(), pgcluster.Fast); err != nil {
		tb.Fatal(err)
	}
}

// failOver lets a primary crash and its standby, which may be stopped, take over.
func failOver(tb testing.TB, primary, standby *pgtest.Cluster) {
	tb.Helper()
	if err := primary.Kill(); err != nil {
		tb.Fatal(err)
	}
	if standby.State() == pgcluster.Stopped {
		if err := standby.Start(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	standby.Promote(tb)
}

// TestDataSourceFailsOver has a standby take over that does not have the slot:
// nothing goes on in silence, and what the error says makes both sides equal.
func TestDataSourceFailsOver(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{})
	standby := primary.Standby(t, pgcluster.StandbyOptions{})
	source, destination := primary.CreateDatabase(t), pgtest.Shared(t, 0).CreateDatabase(t)
	source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	s := between(source, destination)
	s.general = quick
	m := s.manager(t)
	id := follow(t, m)
	changed(t, source, 1)
	arrived(t, m, source, destination)
	standby.Replayed(t, primary)
	failOver(t, primary, standby)
	waiting(t, m, "cannot connect") // it waits for the primary that it knows
	stopTask(t, m, id)
	promoted := standby.Database(source.Name)
	changed(t, promoted, 2)

	moved := between(promoted, destination)
	moved.general = quick
	m = moved.manager(t)
	for _, only := range []bool{true, false} {
		req := copyRequest()
		req.StreamOnly = only
		e := breaks(t, m, copyData(t, m, req), pgerror.UndefinedObject, "slot", "fails over to a standby")
		if s := slots(t, promoted); len(s) != 0 {
			t.Errorf("there are slots: %v", s)
		}
		if !only {
			begunAnew(t, m, e, promoted, destination)
		}
	}
	onlyItsSlot(t, promoted)
}

// TestDataSourceFailsOverWithSlot has a slot that standbys keep (PostgreSQL 17):
// the mirror goes on with the one that takes over, if it was not behind.
func TestDataSourceFailsOverWithSlot(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	newest := pgtest.Newer(t)
	if newest.Major < 17 {
		t.Skipf("%s has no failover slots", newest)
	}
	for _, name := range []string{"caught up", "behind", "behind and has written on"} {
		behind := name != "caught up"
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := pgtest.Start(t, pgtest.Options{Installation: newest})
			standby := primary.Standby(t, pgcluster.StandbyOptions{})
			source, destination := primary.CreateDatabase(t), pgtest.Shared(t, newest.Major).CreateDatabase(t)
			source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
			source.Exec(t, "SELECT pg_create_logical_replication_slot('kept', 'pgoutput', failover => true)")
			s := between(source, destination)
			s.general, s.extra = quick, pgDump(t, primary)
			m := s.manager(t)
			req := copyRequest()
			req.Slot = "kept"
			id := copyData(t, m, req)
			streaming(t, m, id)
			changed(t, source, 1)
			arrived(t, m, source, destination)
			pgtest.Eventually(t, "the standby has the slot", func(ctx context.Context) (bool, error) {
				source.Exec(t, "SELECT pg_log_standby_snapshot()")
				standby.Replayed(t, primary)
				// Of one session: a slot that is not ready goes with it.
				kept := standby.Database("postgres").Rows(t, "SELECT pg_sync_replication_slots(); SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'kept' AND synced AND NOT temporary")
				return len(kept) == 1 && kept[0] == "1", nil
			})
			if behind {
				stand(t, standby)
				source.Exec(t, "INSERT INTO notes SELECT 'lost', now() FROM generate_series(1, 100000)")
				arrived(t, m, source, destination)
			}
			failOver(t, primary, standby)
			stopTask(t, m, id)
			promoted := standby.Database(source.Name)
			detail := "Its log ends at"
			if name == "behind and has written on" {
				promoted.Exec(t, "SELECT pg_logical_emit_message(true, 'filler', repeat('x', 1000000)) FROM generate_series(1, 60)")
				detail = "which has left timeline 1 at"
			}
			moved := between(promoted, destination)
			moved.general, moved.extra = quick, pgDump(t, primary)
			m = moved.manager(t)
			if behind {
				e := breaks(t, m, copyData(t, m, copyRequest()), pgerror.ObjectNotInPrerequisiteState, "has lost transactions that are on the destination", detail)
				begunAnew(t, m, e, promoted, destination)
				return
			}
			id = goOn(t, m)
			changed(t, promoted, 2)
			arrived(t, m, promoted, destination)
			stopTask(t, m, id)
		})
	}
}

// TestDataDestinationFailsOver has a standby of the destination take over that
// was behind: it lacks what the slot was told is there.
func TestDataDestinationFailsOver(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{})
	standby := primary.Standby(t, pgcluster.StandbyOptions{})
	source, destination := pgtest.Shared(t, 0).CreateDatabase(t), primary.CreateDatabase(t)
	source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	s := between(source, destination)
	s.general = quick
	m := s.manager(t)
	id := follow(t, m)
	changed(t, source, 1)
	arrived(t, m, source, destination)
	standby.Replayed(t, primary)
	stand(t, standby)
	changed(t, source, 2)
	arrived(t, m, source, destination)
	stopTask(t, m, id) // which confirms it
	failOver(t, primary, standby)
	changed(t, source, 3)

	promoted := standby.Database(destination.Name)
	moved := between(source, promoted)
	moved.general = quick
	m = moved.manager(t)
	id = copyData(t, m, copyRequest())
	e := breaks(t, m, id, pgerror.ObjectNotInPrerequisiteState, "has lost transactions that it had applied", "fails over to a standby that was behind")
	begunAnew(t, m, e, source, promoted)
	onlyItsSlot(t, source)
}

package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// TestMirrorsAreIsolated has two mirrors of one source to one destination, of
// tables of their own. Whatever becomes of the one, the other goes on untouched:
// the same task, the same slot, no table copied again, no change missing.
func TestMirrorsAreIsolated(t *testing.T) {
	t.Parallel()
	pgtest.Long(t) // TestConfiguredMirror has the core of it
	source, destination := fresh(t, pairRows+`CREATE TABLE aside (id int PRIMARY KEY, v text); INSERT INTO aside SELECT i, 'v' FROM generate_series(1, 500) i;
		CREATE TABLE beside (id int PRIMARY KEY, v text); INSERT INTO beside SELECT i, 'v' FROM generate_series(1, 500) i;
		CREATE PUBLICATION calm FOR TABLE items, notes; CREATE PUBLICATION troubled FOR TABLE aside, beside`)
	m, _ := between(source, destination).supervised(t)
	for _, name := range []string{"calm", "troubled"} {
		definition := config.NewMirror("prod", "prod_new", name)
		definition.Name = name
		if err := m.CreateMirror(t.Context(), definition); err != nil {
			t.Fatal(full(err))
		}
		if _, err := m.Resume(t.Context(), name); err != nil {
			t.Fatal(full(err))
		}
		wanted(t, m, name, mirror.MirrorRunning)
	}
	task := mirrorNamed(t, m, "calm").Task
	slot := pgtest.Value[string](t, destination, "SELECT slot FROM pgdrover.streams JOIN pgdrover.mirrors USING (mirror_id) WHERE name = 'calm'")
	const pids = "SELECT coalesce(active_pid, 0)::text FROM pg_replication_slots WHERE slot_name = $1"
	reader := pgtest.Value[string](t, source, pids, slot)
	round := 0
	goesOn := func(after string) {
		t.Helper()
		round++
		changed(t, source, round)
		ledger.CaughtUp(t, source, appliedOf(m, "calm"))
		for _, table := range []string{"items", "notes"} {
			equalSets(t, source.Rows(t, "SELECT * FROM "+table), destination.Rows(t, "SELECT * FROM "+table))
		}
		now := mirrorNamed(t, m, "calm")
		if now.Task != task || now.State != "replicating" || now.Wanted != mirror.MirrorRunning || now.Streaming != 2 || now.Error != nil {
			t.Errorf("after %s the other mirror is %+v", after, now)
		}
		if pid := pgtest.Value[string](t, source, pids, slot); pid != reader {
			t.Errorf("after %s the other mirror's slot is read by %s, before by %s", after, pid, reader)
		}
	}
	stateOf := func(table string, want mirror.TableState) {
		t.Helper()
		pgtest.Eventually(t, fmt.Sprintf("%s is %s", table, want), func(ctx context.Context) (bool, error) {
			rows, _, err := m.MirrorTables(ctx, "troubled")
			return slices.ContainsFunc(rows, func(r mirror.MirrorTableRow) bool { return r.Table == table && r.State == want }), err
		})
	}
	follows := func() {
		t.Helper()
		source.Exec(t, "UPDATE aside SET v = v || 'x' WHERE id % 7 = 1; UPDATE beside SET v = v || 'y' WHERE id % 7 = 2")
		ledger.CaughtUp(t, source, appliedOf(m, "troubled"))
		for _, table := range []string{"aside", "beside"} {
			equalSets(t, source.Rows(t, "SELECT * FROM "+table), destination.Rows(t, "SELECT * FROM "+table))
		}
	}
	goesOn("the start")

	// A table that cannot go on, and that is copied again.
	destination.Exec(t, "ALTER TABLE aside ADD CHECK (v <> 'bad')")
	source.Exec(t, "UPDATE aside SET v = 'bad' WHERE id = 3")
	stateOf("aside", mirror.TableStopped)
	goesOn("a table was stopped")
	destination.Exec(t, "ALTER TABLE aside DROP CONSTRAINT aside_v_check")
	if _, err := m.Resync(t.Context(), "troubled", mirror.ResyncRequest{Tables: []string{"aside"}}); err != nil {
		t.Fatal(full(err))
	}
	stateOf("aside", mirror.TableStreaming)
	goesOn("a table was copied again")
	follows()

	// A stream that waits for a lock at the destination.
	release := hold(t, destination, "beside")
	source.Exec(t, "UPDATE beside SET v = 'waits'")
	held(t, destination, "apply")
	goesOn("the stream waits")
	release()
	follows()

	if err := m.Pause(t.Context(), "troubled"); err != nil {
		t.Fatal(full(err))
	}
	goesOn("a pause")
	if _, err := m.AlterMirror(t.Context(), "troubled", func(d *config.Mirror) error { d.ResyncStrategy = "truncate"; d.Autostart = true; return nil }); err != nil {
		t.Fatal(full(err))
	}
	if _, err := m.Resume(t.Context(), "troubled"); err != nil {
		t.Fatal(full(err))
	}
	wanted(t, m, "troubled", mirror.MirrorRunning)
	follows()
	if _, err := m.AlterMirror(t.Context(), "troubled", func(d *config.Mirror) error { n := 3; d.Workers = &n; return nil }); err != nil {
		t.Fatal(full(err))
	}
	wanted(t, m, "troubled", mirror.MirrorRunning)
	goesOn("other settings")
	follows()

	// It fails, and is dropped, with its slot.
	source.Exec(t, "DROP PUBLICATION troubled; UPDATE aside SET v = 'unseen'")
	wanted(t, m, "troubled", mirror.MirrorFailed)
	goesOn("a failure")
	if _, err := m.DropMirror(t.Context(), "troubled"); err != nil {
		t.Fatal(full(err))
	}
	goesOn("the end of the other")
	if s := slots(t, source); !slices.Equal(s, []string{slot}) {
		t.Errorf("the slots are %v, want %s alone", s, slot)
	}
	log, err := m.MirrorLog(t.Context(), "calm", mirror.LogFilter{Levels: []string{"warning", "error"}})
	if err != nil || len(log) != 0 {
		t.Errorf("the log of the other mirror tells of trouble: %+v, %s", log, full(err))
	}
}

package integration

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// supervised is an engine that takes up mirrors, as the daemon's does, until
// stop is called, or the test ends.
func (s setup) supervised(tb testing.TB) (m *mirror.Manager, stop func()) {
	tb.Helper()
	m = s.manager(tb)
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	var supervising sync.WaitGroup
	supervising.Go(func() { m.Supervise(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		supervising.Wait()
		if err := m.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("close the engine: %v", err)
		}
	})
	tb.Cleanup(stop)
	return m, stop
}

// mirrorNamed gives a mirror as SHOW MIRRORS tells it.
func mirrorNamed(tb testing.TB, m *mirror.Manager, name string) mirror.MirrorRow {
	tb.Helper()
	rows, _, err := m.Mirrors(tb.Context())
	if err != nil {
		tb.Fatal(full(err))
	}
	at := slices.IndexFunc(rows, func(r mirror.MirrorRow) bool { return r.Name == name })
	if at < 0 {
		tb.Fatalf("there is no mirror %q among %+v", name, rows)
	}
	return rows[at]
}

// wanted waits until a mirror is to do something, and for replicating if that is
// running.
func wanted(tb testing.TB, m *mirror.Manager, name string, want mirror.MirrorState) {
	tb.Helper()
	pgtest.Eventually(tb, "mirror "+name+" is "+string(want), func(ctx context.Context) (bool, error) {
		rows, _, err := m.Mirrors(ctx)
		for _, r := range rows {
			if r.Name == name {
				return r.Wanted == want && (want != mirror.MirrorRunning || r.State == "replicating"), err
			}
		}
		return false, err
	})
}

// appliedOf gives how far a mirror is: the lowest of its streams.
func appliedOf(m *mirror.Manager, name string) func(context.Context) (pglogrepl.LSN, error) {
	return func(ctx context.Context) (lowest pglogrepl.LSN, err error) {
		rows, _, err := m.Mirrors(ctx)
		for _, row := range rows {
			for i, s := range row.Streams {
				if row.Name == name && (i == 0 || s.AppliedLSN < lowest) {
					lowest = s.AppliedLSN
				}
			}
		}
		return lowest, err
	}
}

// hasNoMeaning checks how a command is refused in a state for which it is not.
func hasNoMeaning(tb testing.TB, err error, words ...string) {
	tb.Helper()
	says(tb, err, pgerror.ObjectNotInPrerequisiteState, words...)
}

// superviseLooks is longer than the time between two looks for mirrors to take up.
const superviseLooks = 6 * time.Second

const weirdMirror = `Weird "Mirror" $1`

// TestMirrorLifecycle creates a mirror, lets it rest and go on, and asks for
// what has no meaning in each state.
func TestMirrorLifecycle(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	m := between(source, destination).manager(t)
	definition := config.NewMirror("prod", "prod_new", "all_tables")
	definition.Name = weirdMirror
	if err := m.CreateMirror(t.Context(), definition); err != nil {
		t.Fatal(full(err))
	}
	says(t, m.CreateMirror(t.Context(), definition), pgerror.DuplicateObject, "exists already", "DROP MIRROR")
	if row := mirrorNamed(t, m, weirdMirror); row.Wanted != mirror.MirrorCreated || row.Task != 0 {
		t.Errorf("a mirror that was created is %+v", row)
	}
	_, err := m.Retry(t.Context(), weirdMirror)
	hasNoMeaning(t, err, "created", `RESUME MIRROR "Weird ""Mirror"" $1"`)
	started, err := m.Resume(t.Context(), weirdMirror)
	if err != nil {
		t.Fatal(full(err))
	}
	wanted(t, m, weirdMirror, mirror.MirrorRunning)
	_, err = m.Resume(t.Context(), weirdMirror)
	hasNoMeaning(t, err, "running", "PAUSE MIRROR")
	changed(t, source, 1)
	ledger.CaughtUp(t, source, appliedOf(m, weirdMirror))
	if err := m.Pause(t.Context(), weirdMirror); err != nil {
		t.Fatal(full(err))
	}
	ends(t, m, started.Task, mirror.Cancelled)
	wanted(t, m, weirdMirror, mirror.MirrorPaused)
	hasNoMeaning(t, m.Pause(t.Context(), weirdMirror), "paused", "RESUME MIRROR")
	changed(t, source, 2)
	if _, err := m.Resume(t.Context(), weirdMirror); err != nil {
		t.Fatal(full(err))
	}
	ledger.CaughtUp(t, source, appliedOf(m, weirdMirror))
	sameRows(t, source, destination)

	log, err := m.MirrorLog(t.Context(), weirdMirror, mirror.LogFilter{})
	if err != nil {
		t.Fatal(full(err))
	}
	var told []string
	for _, e := range log {
		told = append(told, e.Kind+" "+e.Message)
	}
	for _, want := range []string{"mirror created", "mirror paused", "table pending -> copying", "table catching_up -> streaming", "task copy_data prod -> prod_new cancelled"} {
		if !slices.Contains(told, want) {
			t.Errorf("the log does not say %q: %q", want, told)
		}
	}
	if _, err := m.DropMirror(t.Context(), weirdMirror); err != nil {
		t.Fatal(full(err))
	}
	if s := slots(t, source); len(s) != 0 {
		t.Errorf("slots are left: %v", s)
	}
	_, err = m.MirrorLog(t.Context(), weirdMirror, mirror.LogFilter{})
	says(t, err, pgerror.UndefinedObject, "Mirror")
}

// TestMirrorIsTakenUp ends an engine while its mirror streams: the next one
// takes it up by itself, and not one that was to rest.
func TestMirrorIsTakenUp(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	first, end := s.supervised(t)
	copyData(t, first, copyRequest())
	wanted(t, first, theMirror, mirror.MirrorRunning)
	end()
	changed(t, source, 1)
	watcher := s.manager(t)
	if row := mirrorNamed(t, watcher, theMirror); row.Wanted != mirror.MirrorRunning || row.State != string(mirror.Interrupted) {
		t.Errorf("after the end of its process the mirror is %s, %s", row.Wanted, row.State)
	}
	second, end := s.supervised(t)
	wanted(t, second, theMirror, mirror.MirrorRunning)
	arrived(t, second, source, destination)
	if err := second.Pause(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
	end()
	before := mirrorNamed(t, watcher, theMirror).Task
	third, end := s.supervised(t)
	defer end()
	pause(t, superviseLooks)
	if row := mirrorNamed(t, third, theMirror); row.Wanted != mirror.MirrorPaused || row.Task != before {
		t.Errorf("a mirror that was to rest was taken up: %+v", row)
	}
	if _, err := third.Resume(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
	changed(t, source, 2)
	arrived(t, third, source, destination)
}

// TestMirrorFails lets a mirror meet what trying again does not help: nobody
// takes it up before RETRY MIRROR.
func TestMirrorFails(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	m, _ := s.supervised(t)
	id := copyData(t, m, copyRequest())
	wanted(t, m, theMirror, mirror.MirrorRunning)
	source.Exec(t, "DROP PUBLICATION all_tables; UPDATE notes SET note = 'unseen'")
	breaks(t, m, id, pgerror.UndefinedObject, "all_tables")
	wanted(t, m, theMirror, mirror.MirrorFailed)
	pause(t, superviseLooks)
	if row := mirrorNamed(t, m, theMirror); row.Task != id {
		t.Errorf("task %d took the mirror up that had failed", row.Task)
	}
	_, err := m.Resume(t.Context(), theMirror)
	hasNoMeaning(t, err, "failed", "RETRY MIRROR")
	_, err = m.Retry(t.Context(), theMirror)
	says(t, err, pgerror.UndefinedObject, "all_tables")
	log, err := m.MirrorLog(t.Context(), theMirror, mirror.LogFilter{Levels: []string{"error"}, Search: "ALL_TABLES"})
	if err != nil || len(log) == 0 {
		t.Errorf("the log does not tell the failure: %v %+v", err, log)
	}
}

// TestConfiguredMirror has a mirror in the configuration: it is made and taken
// up by itself, and two mirrors of one pair do not touch each other.
func TestConfiguredMirror(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows+"CREATE TABLE aside (id int PRIMARY KEY, v text); INSERT INTO aside SELECT i, 'v' FROM generate_series(1, 500) i;"+
		"CREATE PUBLICATION most FOR TABLE items, notes; CREATE PUBLICATION rest FOR TABLE aside")
	s := between(source, destination)
	s.extra = `
[[mirrors]]
name = "most"
autostart = true
source = "prod"
destination = "prod_new"
publication = "most"

[[mirrors]]
name = "rest"
autostart = true
source = "prod"
destination = "prod_new"
publication = "rest"
`
	m, _ := s.supervised(t)
	for _, name := range []string{"most", "rest"} {
		wanted(t, m, name, mirror.MirrorRunning)
	}
	changed(t, source, 1)
	source.Exec(t, "UPDATE aside SET v = 'changed' WHERE id < 100")
	for _, name := range []string{"most", "rest"} {
		ledger.CaughtUp(t, source, appliedOf(m, name))
	}
	sameRows(t, source, destination)
	if err := m.Pause(t.Context(), "rest"); err != nil {
		t.Fatal(full(err))
	}
	source.Exec(t, "DELETE FROM aside WHERE id < 50")
	changed(t, source, 2)
	ledger.CaughtUp(t, source, appliedOf(m, "most"))
	rowsOf(t, destination, "SELECT count(*) FROM aside", "500")
	if _, err := m.DropMirror(t.Context(), "most"); err != nil {
		t.Fatal(full(err))
	}
	if _, err := m.Resume(t.Context(), "rest"); err != nil {
		t.Fatal(full(err))
	}
	ledger.CaughtUp(t, source, appliedOf(m, "rest"))
	rowsOf(t, destination, "SELECT count(*) FROM aside", "451")
}

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// commandPatience bounds what a command line waits for, far beyond what it takes.
const commandPatience = "1m"

// TestMirrorFromShell lets the command line pause, resume, alter and retry a
// mirror that a pgdrover which serves works on.
func TestMirrorFromShell(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	m, paths := s.manager(t), s.write(t)
	command := func(code int, args ...string) string {
		t.Helper()
		output, got := launch(t, paths, append([]string{"mirror"}, args...)...).end()
		if got != code {
			t.Fatalf("mirror %v: exit code %d, want %d:\n%s", args, got, code, output)
		}
		return output
	}
	command(0, "create", weirdMirror, "--from-database", "prod", "--to-database", "prod_new", "--publication", "all_tables")
	if output := command(3, "resume", weirdMirror, "--timeout", "1s"); !strings.Contains(output, "nobody has taken it up within 1s") {
		t.Error(output)
	}
	if row := mirrorNamed(t, m, weirdMirror); row.Wanted != mirror.MirrorRunning || row.Task != 0 {
		t.Errorf("what was asked for is not recorded, or done by nobody: %+v", row)
	}
	s.supervised(t)
	if output := command(0, "resume", weirdMirror, "--timeout", commandPatience, "--json"); !strings.HasSuffix(output, `{"mirror":"Weird \"Mirror\" $1","status":"running","task_id":1}`+"\n") {
		t.Errorf("resume of what is to run already: %s", output)
	}
	wanted(t, m, weirdMirror, mirror.MirrorRunning)
	if output := command(1, "resume", weirdMirror); !strings.Contains(output, "is running: RESUME MIRROR has no meaning now") {
		t.Error(output)
	}
	if output := command(0, "alter", weirdMirror, "--set", "workers = 3", "--timeout", commandPatience); !strings.Contains(output, "is altered: task 2 works on it") {
		t.Error(output)
	}
	wanted(t, m, weirdMirror, mirror.MirrorRunning)
	command(0, "pause", weirdMirror)
	changed(t, source, 1)
	if output := command(0, "alter", weirdMirror, "--reset", "workers"); !strings.Contains(output, "is altered\n") {
		t.Error(output)
	}
	if output := command(0, "resume", weirdMirror, "--timeout", commandPatience); !strings.Contains(output, "runs: task 3 works on it") {
		t.Error(output)
	}
	ledger.CaughtUp(t, source, appliedOf(m, weirdMirror))
	sameRows(t, source, destination)

	source.Exec(t, "DROP PUBLICATION all_tables; UPDATE notes SET note = 'unseen'")
	wanted(t, m, weirdMirror, mirror.MirrorFailed)
	if output := command(1, "retry", weirdMirror, "--timeout", commandPatience); !strings.Contains(output, "all_tables") || !strings.Contains(output, "42704") {
		t.Errorf("a mirror that fails again: %s", output)
	}
	wanted(t, m, weirdMirror, mirror.MirrorFailed)
	if output := command(1, "resume", weirdMirror); !strings.Contains(output, "RETRY MIRROR") {
		t.Error(output)
	}
}

// barrierAt keeps sessions of pgdrover waiting at a point of what they record.
func barrierAt(tb testing.TB, d *pgtest.Database, when string) (lift func()) {
	tb.Helper()
	d.Exec(tb, "CREATE FUNCTION public.wait_here() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END'")
	conn := d.Connect(tb)
	if _, err := conn.Exec(tb.Context(), "SELECT pg_advisory_lock(4711)"); err != nil {
		tb.Fatal(err)
	}
	d.Exec(tb, "CREATE TRIGGER wait_here "+when+" EXECUTE FUNCTION public.wait_here()")
	return func() {
		tb.Helper()
		if err := conn.Close(tb.Context()); err != nil {
			tb.Error(err)
		}
		d.Exec(tb, "DROP FUNCTION public.wait_here() CASCADE")
	}
}

// TestAlterMirrorKilled kills pgdrover with SIGKILL at each step of an ALTER
// MIRROR: started again it has the old mirror or the new one, which runs.
func TestAlterMirrorKilled(t *testing.T) {
	t.Parallel()
	for i, point := range []struct{ name, when string }{
		{"its task has ended and is not recorded so", "BEFORE UPDATE ON pgdrover.tasks FOR EACH ROW WHEN (NEW.state = 'cancelled')"},
		{"the new task is to start", "BEFORE INSERT ON pgdrover.tasks FOR EACH ROW"},
		{"settings are being recorded", "BEFORE UPDATE OF definition ON pgdrover.mirrors FOR EACH ROW"},
		{"its task is being told to end", "BEFORE UPDATE ON pgdrover.tasks FOR EACH ROW WHEN (NEW.state = 'restarting')"},
		{"what it is to do is being recorded", "BEFORE UPDATE OF wanted ON pgdrover.mirrors FOR EACH ROW"},
		{"the new task has started", "BEFORE UPDATE ON pgdrover.tasks FOR EACH ROW WHEN (NEW.inner_status = 'preparing')"},
	} {
		t.Run(point.name, func(t *testing.T) {
			t.Parallel()
			if i != 1 {
				pgtest.Long(t)
			}
			source, destination := fresh(t, pairRows)
			s := between(source, destination)
			m := s.manager(t)
			first := serve(t, s)
			if err := m.CreateMirror(t.Context(), config.NewMirror("prod", "prod_new", "all_tables")); err != nil {
				t.Fatal(full(err))
			}
			first.rows(t, "RESUME MIRROR prod_to_prod_new")
			wanted(t, m, theMirror, mirror.MirrorRunning)
			lift := barrierAt(t, destination, point.when)
			altering := make(chan outcome, 1)
			go func() {
				altering <- first.psql(t, "-c", "ALTER MIRROR prod_to_prod_new SET (workers = 3, group_rows = 77)")
			}() // ends with the process
			destination.WaitUntil(t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgdrover %' AND wait_event = 'advisory')")
			if err := first.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-first.ended
			if o := <-altering; o.code == 0 {
				t.Errorf("ALTER MIRROR has answered before it was killed: %s", o.out)
			}
			lift()
			changed(t, source, 1)
			row := mirrorNamed(t, m, theMirror)
			if row.Wanted != mirror.MirrorRunning {
				t.Errorf("after the kill the mirror is %s", row.Wanted)
			}
			first.serveAgain(t)
			ledger.CaughtUp(t, source, applied(m))
			wanted(t, m, theMirror, mirror.MirrorRunning)
			sameRows(t, source, destination)
			if now := mirrorNamed(t, m, theMirror); now.Task <= row.Task && now.State != "replicating" {
				t.Errorf("it was not taken up: %+v", now)
			}
			definition := pgtest.Value[string](t, destination, "SELECT concat_ws(' ', definition::json->>'workers', definition::json->>'group_rows') FROM pgdrover.mirrors")
			if definition != "" && definition != "3 77" {
				t.Errorf("the settings are half of each: %q", definition)
			}
			if s := slots(t, source); len(s) != 1 {
				t.Errorf("the slots are %v", s)
			}
		})
	}
}

// TestAlterMirrorStopped stops the task while ALTER MIRROR waits for its end: the
// mirror rests then.
func TestAlterMirrorStopped(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	m, _ := s.supervised(t)
	id := copyData(t, m, copyRequest())
	wanted(t, m, theMirror, mirror.MirrorRunning)
	for _, table := range []string{"public.items", "public.notes"} {
		becomes(t, m, table, mirror.TableStreaming)
	}
	lift := barrierAt(t, destination, "BEFORE INSERT ON pgdrover.events FOR EACH ROW WHEN (NEW.kind = 'table')")
	source.Exec(t, "CREATE TABLE late (id int PRIMARY KEY)")
	destination.WaitUntil(t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory')")
	altered := make(chan error, 1)
	go func() { // ends with the task
		_, err := m.AlterMirror(t.Context(), theMirror, func(d *config.Mirror) error { rows := 77; d.GroupRows = &rows; return nil })
		altered <- err
	}()
	pgtest.Eventually(t, "the task is to be started anew", func(ctx context.Context) (bool, error) {
		tasks, _, err := m.Tasks(ctx)
		return len(tasks) > 0 && tasks[0].State == mirror.Restarting, err
	})
	if err := m.StopTask(t.Context(), id); err != nil {
		t.Fatal(full(err))
	}
	lift()
	if err := <-altered; err != nil {
		t.Fatal(full(err))
	}
	ends(t, m, id, mirror.Cancelled)
	wanted(t, m, theMirror, mirror.MirrorPaused)
	if row := mirrorNamed(t, m, theMirror); row.Task != id {
		t.Errorf("task %d goes on after STOP_TASK", row.Task)
	}
}

// TestAlterMirrorImpossible asks for settings with which a mirror could not go
// on: its task is not touched.
func TestAlterMirrorImpossible(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	m, _ := between(source, destination).supervised(t)
	id := copyData(t, m, copyRequest())
	wanted(t, m, theMirror, mirror.MirrorRunning)
	for words, spoil := range map[string]func(d *config.MirrorTable){
		"missing":    func(d *config.MirrorTable) { d.RenameColumns = map[string]string{"missing": "x"} },
		"row_filter": func(d *config.MirrorTable) { d.RowFilter = "id > 5" },
		"id":         func(d *config.MirrorTable) { d.ExcludeColumns = []string{"id"} },
	} {
		_, err := m.AlterMirror(t.Context(), theMirror, func(d *config.Mirror) error {
			entry := config.MirrorTable{Schema: "public", Name: "items"}
			spoil(&entry)
			d.Tables = []config.MirrorTable{entry}
			return nil
		})
		if err == nil || !strings.Contains(full(err), words) || !strings.Contains(full(err), "items") {
			t.Errorf("%s: %s", words, full(err))
		}
	}
	changed(t, source, 1)
	arrived(t, m, source, destination)
	if row := mirrorNamed(t, m, theMirror); row.Task != id || row.State != "replicating" {
		t.Errorf("the mirror was disturbed: %+v", row)
	}
}

// TestAlterMirrorMapping changes how tables are at the destination while the
// mirror runs: what is other is copied again, and nothing is emptied that is not
// the mirror's.
func TestAlterMirrorMapping(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows)
	m, _ := between(source, destination).supervised(t)
	copyData(t, m, copyRequest())
	wanted(t, m, theMirror, mirror.MirrorRunning)
	destination.Exec(t, `CREATE TABLE sold (id bigint PRIMARY KEY, name text NOT NULL, price numeric); INSERT INTO sold VALUES (-1, 'not ours', 0);
		ALTER TABLE notes ADD COLUMN said text`)
	alter := func(entries ...config.MirrorTable) {
		t.Helper()
		if _, err := m.AlterMirror(t.Context(), theMirror, func(d *config.Mirror) error { d.Tables = entries; return nil }); err != nil {
			t.Fatal(full(err))
		}
	}
	renamed := config.MirrorTable{Schema: "public", Name: "notes", RenameColumns: map[string]string{"note": "said"}}
	moved := config.MirrorTable{Schema: "public", Name: "items", DestinationName: "sold"}
	alter(renamed)
	changed(t, source, 1)
	resyncs(t, m, "public.notes", 1)
	ledger.CaughtUp(t, source, applied(m))
	equalSets(t, source.Rows(t, "SELECT note, at FROM notes"), destination.Rows(t, "SELECT said, at FROM notes"))
	rowsOf(t, destination, "SELECT count(*) FROM notes WHERE note IS NOT NULL", "0")

	alter(renamed, moved)
	row := becomes(t, m, "public.items", mirror.TableStopped)
	says(t, row.Error, pgerror.ObjectNotInPrerequisiteState, "holds rows already", "RESYNC")
	rowsOf(t, destination, "SELECT id FROM sold", "-1")
	destination.Exec(t, "DELETE FROM sold")
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"items"}}); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.items", mirror.TableStreaming)
	changed(t, source, 2)
	ledger.CaughtUp(t, source, applied(m))
	equalSets(t, source.Rows(t, "SELECT id, name, price FROM items"), destination.Rows(t, "SELECT id, name, price FROM sold"))
	before := mirrorNamed(t, m, theMirror).Task
	alter(renamed, moved) // the same: nothing is started anew
	if now := mirrorNamed(t, m, theMirror); now.Task != before || now.State != "replicating" {
		t.Errorf("settings that are what they were have changed something: %+v", now)
	}
	resyncs(t, m, "public.notes", 1)
}

// resyncs waits until a table was copied again so many times in all, and
// streams.
func resyncs(tb testing.TB, m *mirror.Manager, table string, times int) {
	tb.Helper()
	pgtest.Eventually(tb, fmt.Sprintf("%s is copied again %d times", table, times), func(ctx context.Context) (bool, error) {
		log, err := m.MirrorLog(ctx, theMirror, mirror.LogFilter{Search: "resyncing ->"})
		n := 0
		for _, e := range log {
			if e.Schema+"."+e.Table == table {
				n++
			}
		}
		return n == times, err
	})
	becomes(tb, m, table, mirror.TableStreaming)
}

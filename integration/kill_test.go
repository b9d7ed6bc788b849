package integration

import (
	"context"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// waitsAgain waits until a session of pgdrover that began after since waits for
// a lock.
func waitsAgain(tb testing.TB, d *pgtest.Database, since time.Time) {
	tb.Helper()
	d.WaitUntil(tb, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
		AND application_name LIKE 'pgdrover schema sync%' AND wait_event_type = 'Lock' AND backend_start > $1)`, since)
}

// interrupted checks that the newest task is shown as interrupted.
func interrupted(tb testing.TB, m *mirror.Manager) {
	tb.Helper()
	pgtest.Eventually(tb, "the killed task is shown as interrupted", func(ctx context.Context) (bool, error) {
		tasks, _, err := m.Tasks(ctx)
		return len(tasks) > 0 && tasks[0].State == mirror.Interrupted, err
	})
}

// history checks the states of the tasks, the oldest first.
func history(tb testing.TB, m *mirror.Manager, want ...mirror.TaskState) {
	tb.Helper()
	tasks, _, err := m.Tasks(tb.Context())
	if err != nil {
		tb.Fatal(full(err))
	}
	var states []string
	for i := len(tasks) - 1; i >= 0; i-- {
		states = append(states, string(tasks[i].State))
	}
	var wanted []string
	for _, s := range want {
		wanted = append(wanted, string(s))
	}
	if strings.Join(states, " ") != strings.Join(wanted, " ") {
		tb.Errorf("the tasks are %v, want %v", states, wanted)
	}
}

// finish lets a process come to its end, which must be a good one.
func (p *process) finish(tb testing.TB) {
	tb.Helper()
	if output, code := p.end(); code != 0 {
		tb.Fatalf("exit code %d:\n%s", code, output)
	}
}

// valid checks that no invalid index was left.
func valid(tb testing.TB, d *pgtest.Database) {
	tb.Helper()
	if left := d.Rows(tb, "SELECT indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT indisvalid AND relkind = 'i'"); len(left) > 0 {
		tb.Errorf("invalid indexes are left on %s: %v", d.Name, left)
	}
}

// TestKilledAtStatement kills the process with SIGKILL while a chosen statement
// runs on the destination, and starts it again while the server has not noticed.
func TestKilledAtStatement(t *testing.T) {
	t.Parallel()
	for _, kill := range []struct {
		phase dump.Phase
		text  string
	}{
		{dump.PreData, "CREATE SCHEMA shop"},
		{dump.PreData, "CREATE TABLE shop.orders"},
		{dump.PreData, "CREATE PUBLICATION"},
		{dump.PostData, "CREATE INDEX orders_customer"},
		{dump.PostData, "UNIQUE USING INDEX"},
		{dump.PostData, "ADD CONSTRAINT orders_customer_fkey"},
		{dump.PostData, "VALIDATE CONSTRAINT"},
		{dump.PostData, "REFRESH MATERIALIZED VIEW"},
		{dump.Cutover, "CREATE TRIGGER touch_always"},
	} {
		t.Run(kill.text, func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, orders)
			s := between(source, destination)
			m := s.manager(t)
			var states []mirror.TaskState
			for _, phase := range phases {
				if phase == kill.phase {
					break
				}
				succeed(t, m, request(phase))
				states = append(states, mirror.Finished)
				if phase == dump.PreData {
					destination.Exec(t, rows)
				}
			}
			paths := s.write(t)
			g := shut(t, destination, kill.text)
			first := launch(t, paths, schemaSync(kill.phase)...)
			g.reached(t)
			first.kill()
			interrupted(t, m)
			since := pgtest.Value[time.Time](t, destination, "SELECT clock_timestamp()")
			second := launch(t, paths, schemaSync(kill.phase)...)
			waitsAgain(t, destination, since)
			g.open(t)
			second.finish(t)
			history(t, m, append(states, mirror.Interrupted, mirror.Finished)...)
			arrives(t, m)
			valid(t, destination)
		})
	}
}

// TestKilledWhileConcurrently kills the process while CREATE INDEX CONCURRENTLY
// waits for an old transaction: what it leaves is an invalid index.
func TestKilledWhileConcurrently(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, orders)
	s := between(source, destination)
	s.extra = "\n[schema_sync]\nindex_concurrently = \"always\"\nindex_jobs = 1\n"
	m := s.manager(t)
	succeed(t, m, request(dump.PreData))
	destination.Exec(t, rows)
	writer := destination.Connect(t)
	if _, err := writer.Exec(t.Context(), "BEGIN; UPDATE shop.orders SET total = 1 WHERE id = 1", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	paths := s.write(t)
	states := []mirror.TaskState{mirror.Finished}
	for range 3 {
		since := pgtest.Value[time.Time](t, destination, "SELECT clock_timestamp()")
		killed := launch(t, paths, schemaSync(dump.PostData)...)
		waitsAgain(t, destination, since)
		killed.kill()
		interrupted(t, m)
		states = append(states, mirror.Interrupted)
		if n := pgtest.Value[int](t, destination, "SELECT count(*)::int FROM pg_index WHERE NOT indisvalid"); n == 0 {
			t.Error("no invalid index was left: nothing is tested")
		}
	}
	since := pgtest.Value[time.Time](t, destination, "SELECT clock_timestamp()")
	last := launch(t, paths, schemaSync(dump.PostData)...)
	waitsAgain(t, destination, since)
	if _, err := writer.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	last.finish(t)
	history(t, m, append(states, mirror.Finished)...)
	valid(t, destination)
	arrives(t, m)
}

// TestTerminated ends the process by SIGTERM: it stops its task in an orderly way.
func TestTerminated(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, orders)
	s := between(source, destination)
	g := shut(t, destination, "CREATE TABLE shop.orders")
	p := launch(t, s.write(t), schemaSync(dump.PreData)...)
	g.reached(t)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	output, code := p.end()
	for _, words := range []string{"ERROR:  stopped by STOP_TASK (SQLSTATE 57014)", "HINT:  run the same command again"} {
		if code != 1 || !strings.Contains(output, words) {
			t.Errorf("exit code %d, want %q in:\n%s", code, words, output)
		}
	}
	g.open(t)
	m := s.manager(t)
	history(t, m, mirror.Cancelled)
	arrives(t, m)
}

// TestKilledAnywhere kills the process at moments drawn by lot, again and again,
// while it moves a schema with every kind of object.
func TestKilledAnywhere(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	const seed = 20
	draw := rand.New(rand.NewPCG(seed, seed))
	source := tortureSample.source(t)
	destination := shards(t, pgtest.Shared(t, 0), 3)
	s := setup{source: []endpoint{at(source)}, destination: endpoints(destination)}
	m := s.manager(t)
	paths := s.write(t)
	var told strings.Builder
	for _, phase := range phases {
		kills := 0
		for kills < 4 {
			delay := time.Duration(draw.Int64N(int64(1800 * time.Millisecond)))
			p := launch(t, paths, schemaSync(phase, "--json")...)
			timer := time.AfterFunc(delay, func() { _ = p.cmd.Process.Kill() })
			output, code := p.end()
			timer.Stop()
			told.WriteString(output)
			if code > 0 {
				t.Fatalf("%s, to be killed after %s, ends with exit code %d:\n%s", phase, delay, code, output)
			}
			if code == 0 {
				break // faster than the lot
			}
			kills++
		}
		t.Logf("%s: killed %d times", phase, kills)
		launch(t, paths, schemaSync(phase)...).finish(t)
	}
	same(t, m)
	for _, d := range destination {
		valid(t, d)
	}
	remembered(t, &told, destination[0])
	hidden(t, told.String(), "torture-secret-password")
}

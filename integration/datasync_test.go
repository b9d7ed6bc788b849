package integration

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// copyRequest is COPY_DATA prod prod_new all_tables.
func copyRequest() mirror.CopyDataRequest {
	return mirror.CopyDataRequest{Source: "prod", Destination: "prod_new", Publication: "all_tables"}
}

// theMirror is the mirror that every test here works on.
const theMirror = "prod_to_prod_new"

// copyData starts COPY_DATA.
func copyData(tb testing.TB, m *mirror.Manager, req mirror.CopyDataRequest) mirror.TaskID {
	tb.Helper()
	started, err := m.CopyData(tb.Context(), req)
	if err != nil {
		tb.Fatalf("start: %s", full(err))
	}
	return started.Task
}

// tables gives the mirror's tables.
func tables(tb testing.TB, m *mirror.Manager) []mirror.MirrorTableRow {
	tb.Helper()
	rows, warnings, err := m.MirrorTables(tb.Context(), theMirror)
	if err != nil || len(warnings) > 0 {
		tb.Fatalf("look at the mirror: %s %v", full(err), warnings)
	}
	return rows
}

// streaming waits until every table that is not in except is streaming. A task
// that ends before fails the test.
func streaming(tb testing.TB, m *mirror.Manager, id mirror.TaskID, except ...string) {
	tb.Helper()
	tb.Cleanup(func() {
		if tb.Failed() {
			ctx := context.WithoutCancel(tb.Context())
			task, _ := look(ctx, m, id)
			tb.Logf("task %d was %s, %s: %s", id, task.State, task.Inner, full(task.Error))
			rows, _, _ := m.MirrorTables(ctx, theMirror)
			for _, row := range rows {
				tb.Logf("%s.%s %s rows %d since %s: %v", row.Schema, row.Table, row.State, row.Rows, row.SyncLSN, row.Error)
			}
			for _, s := range task.Streams {
				tb.Logf("stream %+v", s)
			}
		}
	})
	pgtest.Eventually(tb, "all tables stream", func(ctx context.Context) (bool, error) {
		task, err := look(ctx, m, id)
		if err != nil {
			return false, err
		}
		if task.State.Ended() {
			tb.Fatalf("task %d is %s: %s", id, task.State, full(task.Error))
		}
		rows, _, err := m.MirrorTables(ctx, theMirror)
		if err != nil {
			return false, err
		}
		for _, row := range rows {
			if row.State != mirror.TableStreaming && !contains(except, row.Schema+"."+row.Table) {
				if row.State == mirror.TableStopped {
					tb.Fatalf("table %s.%s is stopped: %s", row.Schema, row.Table, full(row.Error))
				}
				return false, nil
			}
		}
		return len(rows) > 0, nil
	})
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

func look(ctx context.Context, m *mirror.Manager, id mirror.TaskID) (mirror.Task, error) {
	all, _, err := m.Tasks(ctx)
	if err != nil {
		return mirror.Task{}, err
	}
	for _, t := range all {
		if t.ID == id {
			return t, nil
		}
	}
	return mirror.Task{}, fmt.Errorf("task %d is not among the %d tasks", id, len(all))
}

// applied gives the position that every stream of the mirror has applied.
func applied(m *mirror.Manager) func(context.Context) (pglogrepl.LSN, error) {
	return func(ctx context.Context) (pglogrepl.LSN, error) {
		rows, warnings, err := m.Mirrors(ctx)
		if err != nil {
			return 0, err
		}
		if len(warnings) > 0 {
			return 0, warnings[0]
		}
		var lowest pglogrepl.LSN
		for _, row := range rows {
			for i, s := range row.Streams {
				if i == 0 || s.AppliedLSN < lowest {
					lowest = s.AppliedLSN
				}
			}
		}
		return lowest, nil
	}
}

// stopTask stops a task and waits for its end.
func stopTask(tb testing.TB, m *mirror.Manager, id mirror.TaskID) mirror.Task {
	tb.Helper()
	if err := m.StopTask(tb.Context(), id); err != nil {
		tb.Fatalf("stop task %d: %s", id, full(err))
	}
	task, err := m.Wait(tb.Context(), id, func(string) {})
	if err != nil {
		tb.Fatalf("wait for task %d: %s", id, full(err))
	}
	return task
}

func connections(tb testing.TB, all ...*pgtest.Database) []*pgx.Conn {
	tb.Helper()
	var out []*pgx.Conn
	for _, d := range all {
		out = append(out, d.Connect(tb))
	}
	return out
}

// sameRows checks that every published table has the same rows on both sides.
func sameRows(tb testing.TB, source *pgtest.Database, destination ...*pgtest.Database) {
	tb.Helper()
	from := source.Connect(tb)
	tables, err := ledger.PublishedTables(tb.Context(), from, "all_tables")
	if err != nil {
		tb.Fatal(err)
	}
	report, err := ledger.Same(tb.Context(), from, connections(tb, destination...), tables, ledger.CompareOptions{})
	if err != nil {
		tb.Errorf("%s", err)
	}
	tb.Logf("%+v", report)
}

func TestCopyDataFollowsWrites(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	source, destination := c.CreateDatabase(t), c.CreateDatabase(t)
	options := ledger.Options{Seed: 1, Workers: 3, Rate: 150, BigRows: 2000, BigEvery: 60}
	if err := ledger.Setup(t.Context(), source.Connect(t), options); err != nil {
		t.Fatal(err)
	}
	source.Exec(t, "CREATE PUBLICATION all_tables FOR ALL TABLES")
	w, err := ledger.Start(t.Context(), ledger.DSN(source.DSN()), options)
	if err != nil {
		t.Fatal(err)
	}
	m := between(source, destination).manager(t)
	id := copyData(t, m, copyRequest())
	streaming(t, m, id)
	stats, err := w.Stop()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", stats)
	ledger.CaughtUp(t, source, applied(m))
	if task := stopTask(t, m, id); task.State != mirror.Cancelled {
		t.Errorf("the task is %s: %s", task.State, full(task.Error))
	}
	sameRows(t, source, destination)
}

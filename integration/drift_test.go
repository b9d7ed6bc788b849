package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// stopsForDrift waits until a table is stopped because of its structure, and
// gives why. What it waits for, and the ways out, must be there.
func stopsForDrift(tb testing.TB, m *mirror.Manager, table string, words ...string) mirror.MirrorTableRow {
	tb.Helper()
	row := becomes(tb, m, table, mirror.TableStopped)
	says(tb, row.Error, pgerror.ObjectNotInPrerequisiteState, words...)
	if !strings.HasPrefix(row.Error.Hint, "1. (recommended) ") || !strings.Contains(row.Error.Detail, "the source has") {
		tb.Errorf("why %s is stopped has no way out, or no definitions: %s", table, full(row.Error))
	}
	return row
}

// others makes sure that a mirror's other table goes on.
func others(tb testing.TB, m *mirror.Manager, source, destination *pgtest.Database, round int) {
	tb.Helper()
	source.Exec(tb, fmt.Sprintf("INSERT INTO notes VALUES ('other %d', now())", round))
	pgtest.Eventually(tb, "the other table goes on", func(context.Context) (bool, error) {
		return pgtest.Value[int](tb, destination, "SELECT count(*)::int FROM notes WHERE note = $1", fmt.Sprintf("other %d", round)) == 1, nil
	})
	if row := tableRow(tb, m, "public.notes"); row.State != mirror.TableStreaming {
		tb.Errorf("notes is %s: %s", row.State, full(row.Error))
	}
}

// TestDriftOfSource adds a column to the source: the table stops before a row is
// lost, the others go on, and it goes on without a copy when SYNC_SCHEMA has
// brought the column.
func TestDriftOfSource(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	m := between(source, destination).manager(t)
	id := follow(t, m)
	before := tableRow(t, m, "public.items")
	source.Exec(t, "UPDATE items SET price = 7 WHERE id <= 10; ALTER TABLE items ADD COLUMN note text DEFAULT 'none'; UPDATE items SET note = 'some' WHERE id <= 5; INSERT INTO items VALUES (30000, 'new', 1, 'of its own')")
	row := stopsForDrift(t, m, "public.items", "note")
	if row.StoppedLSN == 0 || !strings.Contains(row.Error.Detail, "are kept by slot") {
		t.Errorf("its changes are not kept: %s", full(row.Error))
	}
	others(t, m, source, destination, 1)
	source.Exec(t, "DELETE FROM items WHERE id = 6; UPDATE items SET note = 'later' WHERE id = 7")
	report, err := m.SyncSchema(t.Context(), mirror.SyncSchemaRequest{Mirror: theMirror, Tables: []string{"items"}})
	if err != nil {
		t.Fatal(full(err))
	}
	if len(report.Steps) == 0 || report.Steps[0].State != "done" || len(report.Left) > 0 {
		t.Errorf("the report is %+v", report)
	}
	becomes(t, m, "public.items", mirror.TableStreaming)
	others(t, m, source, destination, 2)
	arrived(t, m, source, destination)
	if after := tableRow(t, m, "public.items"); after.Rows != before.Rows || after.Inserted == 0 {
		t.Errorf("it was copied again: %+v, before %+v", after, before)
	}
	if left := slots(t, source); len(left) != 1 {
		t.Errorf("slots %v", left)
	}
	stopTask(t, m, id)
}

// TestDriftOfDestination has somebody alter the destination by hand, and put it
// right again: the table goes on by itself from where it was stopped.
func TestDriftOfDestination(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	s.extra = "[drift]\ninterval = 500\n"
	m := s.manager(t)
	id := follow(t, m)
	destination.Exec(t, "ALTER TABLE items ALTER name TYPE varchar(200), ADD COLUMN must int NOT NULL DEFAULT 1; ALTER TABLE items ALTER must DROP DEFAULT")
	row := stopsForDrift(t, m, "public.items", "must", "name")
	changed(t, source, 1)
	others(t, m, source, destination, 1)
	destination.Exec(t, "ALTER TABLE items DROP COLUMN must, ALTER name TYPE text")
	becomes(t, m, "public.items", mirror.TableStreaming)
	arrived(t, m, source, destination)
	events, err := m.MirrorLog(t.Context(), theMirror, mirror.LogFilter{Search: "items"})
	if err != nil {
		t.Fatal(full(err))
	}
	if !slices.ContainsFunc(events, func(e mirror.MirrorEvent) bool {
		return e.Error != nil && e.Error.Hint == row.Error.Hint && e.LSN == row.StoppedLSN.String()
	}) {
		t.Errorf("the log does not have the ways out, or where it was stopped: %+v", events)
	}
	stopTask(t, m, id)
	_ = ledger.CaughtUp
}

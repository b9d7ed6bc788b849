package integration

import (
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// alone starts a mirror of one table, and stops when it streams.
func alone(t *testing.T, settings config.MirrorDrift, extra string) (m *mirror.Manager, source, destination *pgtest.Database) {
	t.Helper()
	source, destination = fresh(t, "CREATE TABLE lonely (id int PRIMARY KEY, v text, n int); INSERT INTO lonely SELECT i, 'v' || i, i FROM generate_series(1, 20) i")
	definition := config.NewMirror("prod", "prod_new", "all_tables")
	definition.Name, definition.Drift = theMirror, settings
	s := between(source, destination)
	s.general, s.extra = quick, "[drift]\ninterval = 300\n"+extra
	m = s.manager(t)
	if err := m.CreateMirror(t.Context(), definition); err != nil {
		t.Fatal(full(err))
	}
	if _, err := m.Resume(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.lonely", mirror.TableStreaming)
	return m, source, destination
}

// TestOnlyTableIsStopped restarts a mirror whose only table is stopped because of
// its structure, which ALTER MIRROR does: it goes on from where it was held.
func TestOnlyTableIsStopped(t *testing.T) {
	t.Parallel()
	m, source, destination := alone(t, config.MirrorDrift{}, "")
	source.Exec(t, "ALTER TABLE lonely ADD COLUMN note text; UPDATE lonely SET note = 'n', v = 'w' WHERE id = 2")
	stopsForDrift(t, m, "public.lonely", "note")
	if err := alters(t, m, "ALTER MIRROR "+theMirror+" WITH (skip_columns = 'public.lonely.note')"); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.lonely", mirror.TableStreaming)
	equalColumns(t, source, destination, "lonely", "id, v, n")
	if row := tableRow(t, m, "public.lonely"); row.Rows != 20 {
		t.Errorf("it was copied again: %d rows", row.Rows)
	}
	if err := m.Pause(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
}

// TestColumnMadeAgain drops a column of the source and adds one of its name, of
// which older rows have no value: the destination's old values must not stay.
func TestColumnMadeAgain(t *testing.T) {
	t.Parallel()
	m, source, destination := alone(t, config.MirrorDrift{}, "")
	source.Exec(t, "ALTER TABLE lonely DROP COLUMN n")
	source.Exec(t, "ALTER TABLE lonely ADD COLUMN n int; UPDATE lonely SET n = 5 WHERE id = 2")
	stopsForDrift(t, m, "public.lonely", "n")
	takesWayOut(t, m, "public.lonely")
	equalColumns(t, source, destination, "lonely", "id, v, n")
	becomes(t, m, "public.lonely", mirror.TableStreaming)
	if err := m.Pause(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
}

// TestApprovalOfCopy copies a table under require_approval: nobody has to approve
// the key that the copy ends with.
func TestApprovalOfCopy(t *testing.T) {
	t.Parallel()
	yes := true
	m, source, destination := alone(t, config.MirrorDrift{AutoMigrate: []string{"add_constraint", "create_index", "change_type"}, RequireApproval: &yes}, "")
	// A type altered by an expression leaves other values in older rows.
	source.Exec(t, "ALTER TABLE lonely ALTER COLUMN n TYPE bigint USING n * 2; UPDATE lonely SET n = 5 WHERE id = 2")
	stopsForDrift(t, m, "public.lonely", "n")
	takesWayOut(t, m, "public.lonely")
	equalColumns(t, source, destination, "lonely", "id, v, n")
	becomes(t, m, "public.lonely", mirror.TableStreaming)
	if err := m.Pause(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
}

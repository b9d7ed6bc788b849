package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// policyTable is a table with a policy of its own, and what is done to it.
type policyTable struct {
	name        string
	drift       config.TableDrift
	source      string // a change of the source, with rows behind it
	destination string // a change of the destination before those
	columns     string // which must be equal in the end
	state       mirror.TableState
	says        string // in why it is stopped, or by which it goes on
}

func policyTables() []policyTable {
	yes := true
	with := func(d config.MirrorDrift) config.TableDrift { return config.TableDrift{MirrorDrift: d} }
	add := "ALTER TABLE %[1]s ADD COLUMN note text DEFAULT 'n'; INSERT INTO %[1]s VALUES (100, 'new', 1, 'of its own'); UPDATE %[1]s SET note = 'u' WHERE id = 2"
	drop := "ALTER TABLE %[1]s DROP COLUMN v; INSERT INTO %[1]s VALUES (100, 1); UPDATE %[1]s SET n = 5 WHERE id = 2"
	rows := "INSERT INTO %[1]s VALUES (100, 'new', 1.5); UPDATE %[1]s SET n = 2 WHERE id = 2"
	return []policyTable{
		{"p_stop", config.TableDrift{}, add, "", "id, v, n, note", mirror.TableStopped, "SYNC_SCHEMA"},
		{"p_skip", config.TableDrift{ColumnDrift: config.ColumnDrift{SkipColumns: []string{"note"}}}, add, "", "id, v, n", mirror.TableStreaming, "skip_columns: note"},
		{"p_skipall", with(config.MirrorDrift{SourceAddedColumns: "skip"}), add, "", "id, v, n", mirror.TableStreaming, "source_added_columns: note"},
		{"p_superset", with(config.MirrorDrift{AllowSchemaDrift: []string{"source_superset"}}), add, "", "id, v, n", mirror.TableStreaming, "allow_schema_drift: note"},
		{"p_apply", with(config.MirrorDrift{SourceAddedColumns: "apply"}), add, "", "id, v, n, note", mirror.TableStreaming, ""},
		{"p_migrate", with(config.MirrorDrift{AutoMigrate: []string{"add_column"}}), add, "", "id, v, n, note", mirror.TableStreaming, ""},
		{"p_approve", with(config.MirrorDrift{AutoMigrate: []string{"add_column"}, RequireApproval: &yes}), add, "", "id, v, n, note", mirror.TableStopped, "APPROVE"},
		{"p_removed", config.TableDrift{}, drop, "", "id, n", mirror.TableStopped, "preserve_columns"},
		{"p_preserve", with(config.MirrorDrift{SourceRemovedColumns: "preserve"}), drop, "", "id, n", mirror.TableStreaming, "source_removed_columns: v"},
		{"p_null", with(config.MirrorDrift{SourceRemovedColumns: "null"}), drop, "", "id, n", mirror.TableStreaming, ""},
		{"p_drop", with(config.MirrorDrift{SourceRemovedColumns: "drop"}), drop, "", "*", mirror.TableStreaming, ""},
		{"p_cast", config.TableDrift{ColumnDrift: config.ColumnDrift{AllowTypeCasts: []string{"n:integer"}}}, rows, "ALTER TABLE %s ALTER n TYPE integer", "id, v, round(n)::int", mirror.TableStreaming, "allow_type_casts: n"},
		{"p_extra", with(config.MirrorDrift{TargetAddedColumns: "stop"}), rows, "ALTER TABLE %s ADD COLUMN own int", "id, v, n", mirror.TableStopped, "target_superset"},
		{"p_own", config.TableDrift{}, rows, "ALTER TABLE %s ADD COLUMN own int DEFAULT 3", "id, v, n", mirror.TableStreaming, ""},
		{"p_permissive", with(config.MirrorDrift{Validation: "permissive"}), rows, "ALTER TABLE %s ADD CHECK (n < 1000)", "id, v, n", mirror.TableStreaming, "validation"},
		{"p_warn", with(config.MirrorDrift{WarnOnly: &yes}), rows, "ALTER TABLE %s ADD CHECK (n < 1000)", "id, v, n", mirror.TableStreaming, "warn_only"},
		{"p_off", with(config.MirrorDrift{Validation: "disabled"}), rows, "ALTER TABLE %s ADD CHECK (n < 1000)", "id, v, n", mirror.TableStreaming, ""},
		{"p_strict", config.TableDrift{}, rows, "ALTER TABLE %s ADD CHECK (n < 1000)", "id, v, n", mirror.TableStopped, "SYNC_SCHEMA"},
	}
}

// policyMirror starts a mirror of tables that have a policy each.
func policyMirror(tb testing.TB, tables []policyTable, shards int) (m *mirror.Manager, source *pgtest.Database, destinations []*pgtest.Database) {
	tb.Helper()
	sql := pairRows
	definition := config.NewMirror("prod", "prod_new", "all_tables")
	definition.Name = theMirror
	for _, p := range tables {
		sql += fmt.Sprintf("CREATE TABLE %[1]s (id int PRIMARY KEY, v text NOT NULL DEFAULT 'd', n numeric); INSERT INTO %[1]s SELECT i, 'v' || i, i FROM generate_series(1, 20) i;", p.name)
		definition.Tables = append(definition.Tables, config.MirrorTable{Schema: "public", Name: p.name, Drift: p.drift})
	}
	source, first := fresh(tb, sql)
	destinations = []*pgtest.Database{first}
	for len(destinations) < shards {
		destinations = append(destinations, first.Cluster.CreateDatabase(tb))
	}
	s := between(source, destinations...)
	s.extra = "[drift]\ninterval = 300\n"
	m = s.manager(tb)
	if err := m.CreateMirror(tb.Context(), definition); err != nil {
		tb.Fatal(full(err))
	}
	if _, err := m.Resume(tb.Context(), theMirror); err != nil {
		tb.Fatal(full(err))
	}
	for _, p := range tables {
		becomes(tb, m, "public."+p.name, mirror.TableStreaming)
	}
	return m, source, destinations
}

// equalColumns waits until a table has the same rows on both sides.
func equalColumns(tb testing.TB, source, destination *pgtest.Database, table, columns string) {
	tb.Helper()
	query := fmt.Sprintf("SELECT coalesce(string_agg(x::text, '|' ORDER BY x), '') FROM (SELECT %s FROM %s) x", columns, table)
	var want, got string
	defer func() {
		if tb.Failed() {
			tb.Logf("%s has\n%s\nnot\n%s", table, got, want)
		}
	}()
	there := destination.Connect(tb)
	pgtest.Eventually(tb, table+" is equal", func(ctx context.Context) (bool, error) {
		want = pgtest.Value[string](tb, source, query)
		err := there.QueryRow(ctx, query).Scan(&got)
		if pgerror.Code(err) == pgerror.UndefinedColumn {
			return false, nil // it has not got it yet
		}
		return want == got, err
	})
}

// TestDriftPolicies has a table for every policy: it goes on by it, or stops, and
// what goes on is what the policy says. Those that stop go on by the way out that
// is recommended, followed literally, without a new copy.
func TestDriftPolicies(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	tables := policyTables()
	m, source, destinations := policyMirror(t, tables, 1)
	destination := destinations[0]
	for _, p := range tables {
		if p.destination != "" {
			destination.Exec(t, fmt.Sprintf(p.destination, p.name))
		}
	}
	for _, p := range tables {
		if p.destination != "" && p.state == mirror.TableStopped {
			stopsForDrift(t, m, "public."+p.name, p.says)
		} else if p.says != "" && p.destination != "" {
			allowedBy(t, m, "public."+p.name, p.says)
		}
		source.Exec(t, fmt.Sprintf(p.source, p.name))
	}
	for _, p := range tables {
		if p.state == mirror.TableStopped {
			stopsForDrift(t, m, "public."+p.name, p.says)
			continue
		}
		equalColumns(t, source, destination, p.name, p.columns)
		becomes(t, m, "public."+p.name, p.state) // one that was held meanwhile is handed over behind its rows
		if p.says != "" {
			allowedBy(t, m, "public."+p.name, p.says)
		}
	}
	others(t, m, source, destination, 1)
	rowsOf(t, destination, "SELECT v IS NULL FROM p_null WHERE id = 100", "t")
	rowsOf(t, destination, "SELECT v FROM p_preserve WHERE id IN (2, 100) ORDER BY id", "v2", "d")
	rowsOf(t, destination, "SELECT own FROM p_own WHERE id IN (2, 100)", "3", "3")
	// The costs: rows that were written otherwise than on the source.
	pgtest.Eventually(t, "what skip_columns has cost is told", func(ctx context.Context) (bool, error) {
		return strings.Contains(tableRow(t, m, "public.p_skip").Allowed, "(2 rows since"), nil
	})
	for _, p := range tables {
		if p.state == mirror.TableStopped {
			takesWayOut(t, m, p.name)
			becomes(t, m, "public."+p.name, mirror.TableStreaming)
			equalColumns(t, source, destination, p.name, p.columns)
			if row := tableRow(t, m, "public."+p.name); row.Rows != 20 {
				t.Errorf("%s was copied again: %d rows", p.name, row.Rows)
			}
		}
	}
	ledger.CaughtUp(t, source, applied(m))
	pgtest.Eventually(t, "no slot is left over", func(context.Context) (bool, error) { return len(slots(t, source)) == 1, nil })
	if err := m.Pause(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
}

// allowedBy waits until a table goes on by an escape hatch.
func allowedBy(tb testing.TB, m *mirror.Manager, table, by string) {
	tb.Helper()
	pgtest.Eventually(tb, table+" goes on by "+by, func(context.Context) (bool, error) {
		row := tableRow(tb, m, table)
		if row.State == mirror.TableStopped {
			return false, fmt.Errorf("%s is stopped: %s", table, full(row.Error))
		}
		return strings.Contains(row.Allowed, by), nil
	})
}

// takesWayOut does what the recommended way out of a table says, command by command.
func takesWayOut(tb testing.TB, m *mirror.Manager, table string) {
	tb.Helper()
	reports, err := m.ValidateSchema(tb.Context(), theMirror, []string{table})
	if err != nil {
		tb.Fatal(full(err))
	}
	i := slices.IndexFunc(reports, func(r mirror.TableReport) bool { return len(r.Ways) > 0 })
	if i < 0 {
		tb.Fatalf("%s has no way out: %+v", table, reports)
	}
	for _, command := range reports[i].Ways[0].Commands {
		obeys(tb, m, command)
	}
}

// obeys runs one command of a way out.
func obeys(tb testing.TB, m *mirror.Manager, command string) {
	tb.Helper()
	words := strings.Fields(command)
	var err error
	switch words[0] {
	case "SYNC_SCHEMA", "APPROVE":
		_, err = m.SyncSchema(tb.Context(), mirror.SyncSchemaRequest{Mirror: words[1], Tables: words[2:3], Force: slices.Contains(words, "FORCE"), Approve: words[0] == "APPROVE"})
	case "RETRY":
		_, err = m.Retry(tb.Context(), words[2])
	case "RESYNC":
		_, err = m.Resync(tb.Context(), words[1], mirror.ResyncRequest{Tables: words[2:3]})
	case "ALTER":
		err = alters(tb, m, command)
	default:
		tb.Fatalf("nobody obeys %s", command)
	}
	if err != nil {
		tb.Fatalf("%s: %s", command, full(err))
	}
}

// TestDriftRefusals are commands that must not do anything.
func TestDriftRefusals(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	tables := policyTables()[7:8] // p_removed
	m, source, destinations := policyMirror(t, tables, 1)
	_, err := m.SyncSchema(t.Context(), mirror.SyncSchemaRequest{Mirror: theMirror, Tables: []string{"p_removed"}, Approve: true})
	says(t, err, pgerror.ObjectNotInPrerequisiteState, "nothing of public.p_removed waits")
	source.Exec(t, fmt.Sprintf(tables[0].source, "p_removed"))
	stopsForDrift(t, m, "public.p_removed", "v")
	_, err = m.SyncSchema(t.Context(), mirror.SyncSchemaRequest{Mirror: theMirror})
	says(t, err, pgerror.ObjectNotInPrerequisiteState, "would be lost", "FORCE")
	rowsOf(t, destinations[0], "SELECT v FROM p_removed WHERE id = 2", "v2")
	dry, err := m.SyncSchema(t.Context(), mirror.SyncSchemaRequest{Mirror: theMirror, DryRun: true})
	if err != nil || len(dry.Steps) != 1 || !dry.Steps[0].Lossy || dry.Steps[0].State != "planned" {
		t.Errorf("a dry run gives %+v, %v", dry, err)
	}
	says(t, m.DropTable(t.Context(), theMirror, "p_removed"), pgerror.ObjectNotInPrerequisiteState, "is published", "ALTER PUBLICATION")
	if err := m.Pause(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
	// It stays stopped, and held, over a restart; the lossy way is taken then.
	if _, err := m.Resume(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
	others(t, m, source, destinations[0], 1)
	if row := tableRow(t, m, "public.p_removed"); row.State != mirror.TableStopped || len(slots(t, source)) != 2 {
		t.Errorf("after a restart it is %s, slots %v", row.State, slots(t, source))
	}
	pgtest.Eventually(t, "SYNC_SCHEMA is taken", func(ctx context.Context) (bool, error) {
		_, err := m.SyncSchema(ctx, mirror.SyncSchemaRequest{Mirror: theMirror, Force: true})
		if pgerror.Code(err) == pgerror.ObjectNotInPrerequisiteState {
			return false, nil // it is not streaming yet
		}
		return err == nil, err
	})
	becomes(t, m, "public.p_removed", mirror.TableStreaming)
	equalColumns(t, source, destinations[0], "p_removed", "*")
	if err := m.Pause(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
}

// TestDriftShards alters one of three shards by hand: the table stops for all of
// them, and goes on for all; the same when the source is altered.
func TestDriftShards(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	tables := policyTables()[:1] // p_stop
	m, source, destinations := policyMirror(t, tables, 3)
	destinations[1].Exec(t, "ALTER TABLE p_stop ALTER n TYPE smallint USING n::smallint")
	stopsForDrift(t, m, "public.p_stop", "smallint")
	source.Exec(t, "INSERT INTO p_stop VALUES (50, 'big', 123456.5); UPDATE p_stop SET n = n + 0.5 WHERE id < 5")
	others(t, m, source, destinations[2], 1)
	takesWayOut(t, m, "p_stop")
	becomes(t, m, "public.p_stop", mirror.TableStreaming)
	source.Exec(t, fmt.Sprintf(tables[0].source, "p_stop"))
	stopsForDrift(t, m, "public.p_stop", "note")
	source.Exec(t, "DELETE FROM p_stop WHERE id = 7")
	takesWayOut(t, m, "p_stop")
	becomes(t, m, "public.p_stop", mirror.TableStreaming)
	for _, d := range destinations {
		equalColumns(t, source, d, "p_stop", "id, v, n, note")
	}
	if err := m.Pause(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
}

// alters runs ALTER MIRROR as a way out writes it.
func alters(tb testing.TB, m *mirror.Manager, command string) error {
	tb.Helper()
	_, list, _ := strings.Cut(command, "WITH (")
	settings, err := admin.ParseMirrorSettings(strings.TrimSuffix(list, ")"))
	if err != nil {
		return err
	}
	_, err = m.AlterMirror(tb.Context(), theMirror, func(d *config.Mirror) error { return settings.Apply(&config.Config{}, d) })
	return err
}

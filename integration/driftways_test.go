package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// driftWay is a way out of a stop that is followed on servers.
type driftWay struct {
	says    string // begins its text
	byHand  bool   // its SQL is run by hand, instead of its command
	columns string // which are equal then
	copied  bool   // the table is copied again
}

// driftStop is something that stops a table, with every way out of it, in order.
type driftStop struct {
	name        string
	drift       config.TableDrift
	destination string
	source      string
	ways        []driftWay
}

func driftStops() []driftStop {
	yes := true
	with := func(d config.MirrorDrift) config.TableDrift { return config.TableDrift{MirrorDrift: d} }
	add := "ALTER TABLE %[1]s ADD COLUMN note text DEFAULT 'n'; INSERT INTO %[1]s VALUES (100, 'new', 1, 'of its own'); UPDATE %[1]s SET note = 'u' WHERE id = 2"
	rows := "INSERT INTO %[1]s VALUES (100, 'new', 1.5); UPDATE %[1]s SET n = 2 WHERE id = 2"
	all := "id, v, n"
	return []driftStop{
		{name: "added", source: add, ways: []driftWay{
			{says: "alter the destination", columns: all + ", note"}, {says: "alter the destination", byHand: true, columns: all + ", note"}, {says: "go on without the column", columns: all}}},
		{name: "approval", drift: with(config.MirrorDrift{AutoMigrate: []string{"add_column"}, RequireApproval: &yes}), source: add, ways: []driftWay{
			{says: "let the planned statements run", columns: all + ", note"}, {says: "alter the destination", columns: all + ", note"}, {says: "go on without the column", columns: all}}},
		{name: "removed", source: "ALTER TABLE %[1]s DROP COLUMN v; INSERT INTO %[1]s VALUES (100, 1); UPDATE %[1]s SET n = 5 WHERE id = 2", ways: []driftWay{
			{says: "keep the column with the values", columns: "id, n"}, {says: "alter the destination", columns: "*"}, {says: "alter the destination", byHand: true, columns: "*"}, {says: "keep the column, NULL", columns: "id, n"}}},
		{name: "narrower", destination: "ALTER TABLE %s ALTER n TYPE integer", source: rows, ways: []driftWay{
			{says: "alter the destination", columns: "*"}, {says: "alter the destination", byHand: true, columns: "*"}, {says: "cast the values", columns: "id, v, round(n)::int"}}},
		{name: "extra", drift: with(config.MirrorDrift{TargetAddedColumns: "stop"}), destination: "ALTER TABLE %s ADD COLUMN own int", source: rows, ways: []driftWay{
			{says: "allow columns that only", columns: all}}},
		{name: "check", destination: "ALTER TABLE %s ADD CHECK (n < 1000)", source: rows, ways: []driftWay{
			{says: "alter the destination", columns: "*"}, {says: "alter the destination", byHand: true, columns: "*"}}},
		{name: "unlogged", destination: "ALTER TABLE %s SET UNLOGGED", source: rows, ways: []driftWay{
			{says: "alter the destination", columns: "*"}, {says: "alter the destination", byHand: true, columns: "*"}}},
		{name: "volatile", source: "ALTER TABLE %[1]s ADD COLUMN u uuid NOT NULL DEFAULT gen_random_uuid(); INSERT INTO %[1]s VALUES (100, 'new', 1)", ways: []driftWay{
			{says: "alter the destination", columns: "*", copied: true}, {says: "go on without the column", columns: all, copied: true}}}, // its changes are not kept
	}
}

// TestWaysOut follows every way out of every kind of stop literally: the table
// goes on with what came meanwhile, and without a new copy unless the way says so.
func TestWaysOut(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	for _, inst := range pgtest.Majors(t) {
		t.Run(fmt.Sprint(inst.Major), func(t *testing.T) { t.Parallel(); waysOut(t, pgtest.Shared(t, inst.Major)) })
	}
}

// wayTable is a table that is stopped, and the way out that is taken.
type wayTable struct {
	name string
	stop driftStop
	way  driftWay
}

func waysOut(t *testing.T, c *pgtest.Cluster) {
	sql := pairRows
	definition := config.NewMirror("prod", "prod_new", "all_tables")
	definition.Name = theMirror
	var all []wayTable
	for _, stop := range driftStops() {
		for i, way := range stop.ways {
			w := wayTable{fmt.Sprintf("w_%s_%d", stop.name, i), stop, way}
			all = append(all, w)
			sql += fmt.Sprintf("CREATE TABLE %[1]s (id int PRIMARY KEY, v text NOT NULL DEFAULT 'd', n numeric); INSERT INTO %[1]s SELECT i, 'v' || i, i FROM generate_series(1, 20) i;", w.name)
			definition.Tables = append(definition.Tables, config.MirrorTable{Schema: "public", Name: w.name, Drift: stop.drift})
		}
	}
	source, destination := c.CreateDatabase(t), c.CreateDatabase(t)
	source.Exec(t, sql)
	source.Exec(t, "CREATE PUBLICATION all_tables FOR ALL TABLES")
	s := between(source, destination)
	s.extra = pgDump(t, c) + "[drift]\ninterval = 300\n"
	m := s.manager(t)
	if err := m.CreateMirror(t.Context(), definition); err != nil {
		t.Fatal(full(err))
	}
	if _, err := m.Resume(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
	for _, w := range all {
		becomes(t, m, "public."+w.name, mirror.TableStreaming)
	}
	slot := slots(t, source)
	for _, w := range all {
		if w.stop.destination != "" {
			destination.Exec(t, fmt.Sprintf(w.stop.destination, w.name))
			stopsForDrift(t, m, "public."+w.name)
		}
	}
	for _, w := range all {
		source.Exec(t, fmt.Sprintf(w.stop.source, w.name))
	}
	for _, w := range all {
		stopsForDrift(t, m, "public."+w.name)
	}
	others(t, m, source, destination, 1)
	for _, w := range all {
		w.take(t, m, destination)
		becomes(t, m, "public."+w.name, mirror.TableStreaming)
		equalColumns(t, source, destination, w.name, w.way.columns)
		if row := tableRow(t, m, "public."+w.name); (row.Rows > 20) != w.way.copied {
			t.Errorf("%s, %s: %d rows were copied", w.name, w.way.says, row.Rows)
		}
	}
	others(t, m, source, destination, 2)
	ledger.CaughtUp(t, source, applied(m))
	pgtest.Eventually(t, "no slot is left over, and none was exchanged", func(context.Context) (bool, error) { return slices.Equal(slots(t, source), slot), nil })
	if err := m.Pause(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
}

// take does what the way out says.
func (w *wayTable) take(t *testing.T, m *mirror.Manager, destination *pgtest.Database) {
	t.Helper()
	reports, err := m.ValidateSchema(t.Context(), theMirror, []string{w.name})
	if err != nil {
		t.Fatal(full(err))
	}
	known := map[string]bool{}
	for _, way := range w.stop.ways {
		known[way.says] = true
	}
	if len(reports[0].Ways) != len(known) {
		t.Errorf("%s has %d ways out, %d are followed: %+v", w.name, len(reports[0].Ways), len(known), reports[0].Ways)
	}
	i := slices.IndexFunc(reports[0].Ways, func(o drift.Way) bool { return strings.HasPrefix(o.Text, w.way.says) })
	if i < 0 {
		t.Fatalf("%s has no way to %s: %+v", w.name, w.way.says, reports[0].Ways)
	}
	way := reports[0].Ways[i]
	commands := way.Commands
	if w.way.byHand {
		for _, sql := range way.SQL {
			destination.Exec(t, sql)
		}
		commands = []string{"RETRY MIRROR " + theMirror}
	}
	for _, command := range commands {
		obeys(t, m, command)
	}
}

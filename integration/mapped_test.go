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
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// mappedDefinition has items under another name, with a renamed, a cast and an
// excluded column, and everything else in another schema.
func mappedDefinition() config.Mirror {
	d := config.NewMirror("prod", "prod_new", "all_tables")
	d.Name = weirdMirror
	d.Schemas = map[string]string{"public": `The "App"`}
	d.Tables = []config.MirrorTable{{
		Schema: "public", Name: "items", DestinationSchema: "shop", DestinationName: `Articles "sold"`,
		RenameColumns: map[string]string{"name": "title"}, CastColumns: map[string]string{"amount": "bigint"}, ExcludeColumns: []string{"price"},
	}}
	return d
}

const mappedTables = `CREATE SCHEMA shop; CREATE SCHEMA "The ""App""";
CREATE TABLE shop."Articles ""sold""" (id bigint PRIMARY KEY, title text NOT NULL, amount bigint, own text DEFAULT 'own');
CREATE TABLE "The ""App""".notes (note text, at timestamptz)`

// TestMappedMirror copies and streams into tables that have other names and
// forms, on one and on two shards.
func TestMappedMirror(t *testing.T) {
	t.Parallel()
	for shards := 1; shards <= 2; shards++ {
		t.Run(fmt.Sprintf("to %d", shards), func(t *testing.T) {
			if shards == 1 {
				pgtest.Long(t)
			}
			t.Parallel()
			source, first := fresh(t, pairRows+"ALTER TABLE items ADD COLUMN amount int; UPDATE items SET amount = id % 1000 WHERE id < 5000;")
			destinations := []*pgtest.Database{first}
			for len(destinations) < shards {
				destinations = append(destinations, first.Cluster.CreateDatabase(t))
			}
			for _, d := range destinations {
				d.Exec(t, mappedTables)
			}
			s := between(source, destinations...)
			s.extra = "[[sharded_tables]]\ndatabase = \"prod_new\"\nschema = \"shop\"\nname = 'Articles \"sold\"'\ncolumn = \"id\"\ndata_type = \"bigint\"\n"
			m := s.manager(t)
			if err := m.CreateMirror(t.Context(), mappedDefinition()); err != nil {
				t.Fatal(full(err))
			}
			started, err := m.Resume(t.Context(), weirdMirror)
			if err != nil {
				t.Fatal(full(err))
			}
			wanted(t, m, weirdMirror, mirror.MirrorRunning)
			arrivesMapped := func() {
				t.Helper()
				ledger.CaughtUp(t, source, appliedOf(m, weirdMirror))
				var articles []string
				for _, d := range destinations {
					articles = append(articles, d.Rows(t, `SELECT id, title, amount FROM shop."Articles ""sold"""`)...)
				}
				equalSets(t, source.Rows(t, "SELECT id, name, amount FROM items"), articles)
				for _, d := range destinations {
					equalSets(t, source.Rows(t, "SELECT note, at FROM notes"), d.Rows(t, `SELECT note, at FROM "The ""App""".notes`))
				}
			}
			arrivesMapped()
			changed(t, source, 1)
			source.Exec(t, "UPDATE items SET id = -id, amount = 7 WHERE id % 100 = 1; DELETE FROM items WHERE id % 50 = 3; UPDATE items SET price = 1 WHERE id % 10 = 5")
			arrivesMapped()
			if err := m.Pause(t.Context(), weirdMirror); err != nil {
				t.Fatal(full(err))
			}
			ends(t, m, started.Task, mirror.Cancelled)
			changed(t, source, 2)
			if _, err := m.Resume(t.Context(), weirdMirror); err != nil {
				t.Fatal(full(err))
			}
			arrivesMapped()
			destinations[0].Exec(t, `DELETE FROM shop."Articles ""sold""" WHERE id > 500`)
			if _, err := m.Resync(t.Context(), weirdMirror, mirror.ResyncRequest{Tables: []string{"items"}}); err != nil {
				t.Fatal(full(err))
			}
			pgtest.Eventually(t, "the rows are there again, and the table streams", func(ctx context.Context) (bool, error) {
				rows, _, err := m.MirrorTables(ctx, weirdMirror)
				if err != nil || slices.ContainsFunc(rows, func(r mirror.MirrorTableRow) bool { return r.State != mirror.TableStreaming }) {
					return false, err
				}
				there := 0
				for _, d := range destinations {
					there += pgtest.Value[int](t, d, `SELECT count(*)::int FROM shop."Articles ""sold"""`)
				}
				return there == pgtest.Value[int](t, source, "SELECT count(*)::int FROM items"), nil
			})
			changed(t, source, 3)
			arrivesMapped()
			source.Exec(t, "TRUNCATE items, notes; INSERT INTO items (id, name) VALUES (1, 'new')")
			arrivesMapped()
			rowsOf(t, destinations[0], "SELECT to_regclass('public.items') IS NULL", "t")
		})
	}
}

// TestMappedWrongly has mappings that cannot be: refused before anything is
// changed.
func TestMappedWrongly(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	destination.Exec(t, mappedTables)
	m := between(source, destination).manager(t)
	wrong := map[string]func(d *config.Mirror){
		"no such column": func(d *config.Mirror) { d.Tables[0].RenameColumns["missing"] = "x" },
		"the key":        func(d *config.Mirror) { d.Tables[0].ExcludeColumns = []string{"id"} },
		"another filter": func(d *config.Mirror) { d.Tables[0].RowFilter = "id > 5" },
	}
	for name, spoil := range wrong {
		d := mappedDefinition()
		d.Name = name
		d.Tables[0].CastColumns = nil
		spoil(&d)
		if err := m.CreateMirror(t.Context(), d); err != nil {
			t.Fatal(full(err))
		}
		if _, err := m.Resume(t.Context(), name); err == nil {
			t.Errorf("%s is not refused", name)
		} else if e := pgerror.From(err); !strings.Contains(full(e), "items") {
			t.Errorf("%s: %s", name, full(e))
		}
		if s := slots(t, source); len(s) != 0 {
			t.Errorf("%s: slots %v", name, s)
		}
	}
}

// equalSets compares rows whose order does not count.
func equalSets(tb testing.TB, want, got []string) {
	tb.Helper()
	count := map[string]int{}
	for _, row := range want {
		count[row]++
	}
	for _, row := range got {
		count[row]--
	}
	for row, n := range count {
		if n != 0 {
			tb.Fatalf("of %d rows there are %d; %q differs by %d", len(want), len(got), row, n)
		}
	}
}

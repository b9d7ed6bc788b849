package integration

import (
	"context"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// TestRowFilterChanges gives a table of the publication another row filter than
// the mirror has, while the mirror runs and while it rests: the table is
// stopped, the others go on, and with the filter as it was RESYNC lets it follow.
func TestRowFilterChanges(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows)
	const publish = `ALTER PUBLICATION filtered SET TABLE notes, items WHERE `
	source.Exec(t, `DROP PUBLICATION all_tables; ALTER TABLE items REPLICA IDENTITY FULL;
		CREATE PUBLICATION filtered FOR TABLE notes, items WHERE (id > 100 AND name <> 'it''s')`)
	m := between(source, destination).manager(t)
	definition := config.NewMirror("prod", "prod_new", "filtered")
	definition.Tables = []config.MirrorTable{{Schema: "public", Name: "items", RowFilter: "(name <> 'it''s') is true and 100 < id"}}
	if err := m.CreateMirror(t.Context(), definition); err != nil {
		t.Fatal(full(err))
	}
	_, err := m.Resume(t.Context(), theMirror)
	says(t, err, pgerror.ObjectNotInPrerequisiteState, "other rows", "items")
	setFilter := func(filter string) {
		t.Helper()
		_, err := m.AlterMirror(t.Context(), theMirror, func(d *config.Mirror) error {
			d.Tables = []config.MirrorTable{{Schema: "public", Name: "items", RowFilter: filter}}
			return nil
		})
		if err != nil {
			t.Fatal(full(err))
		}
	}
	setFilter("id > 100 and name <> 'it''s' -- as there")
	if _, err := m.Resume(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
	wanted(t, m, theMirror, mirror.MirrorRunning)
	follows := func(filter string) {
		t.Helper()
		source.Exec(t, "INSERT INTO notes VALUES ('more', now()); UPDATE items SET price = price + 1 WHERE id % 100 = 7")
		ledger.CaughtUp(t, source, applied(m))
		equalSets(t, source.Rows(t, "SELECT * FROM notes"), destination.Rows(t, "SELECT * FROM notes"))
		if filter != "" {
			equalSets(t, source.Rows(t, "SELECT * FROM items WHERE "+filter), destination.Rows(t, "SELECT * FROM items"))
		}
	}
	const first, second = "(id > 100 AND name <> 'it''s')", "(id > 200)"
	follows(first)

	source.Exec(t, publish+second)
	stopped := becomes(t, m, "public.items", mirror.TableStopped)
	says(t, stopped.Error, pgerror.ObjectNotInPrerequisiteState, "other rows of table public.items", "(id > 200)", "RESYNC")
	if stopped.StoppedLSN == 0 {
		t.Error("it is not told where the table was stopped")
	}
	follows("")
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"items"}}); err != nil {
		t.Fatal(full(err))
	}
	pgtest.Eventually(t, "the table is stopped again, as long as the filters differ", func(ctx context.Context) (bool, error) {
		log, err := m.MirrorLog(ctx, theMirror, mirror.LogFilter{Search: "resyncing -> stopped"})
		return len(log) == 1, err
	})
	source.Exec(t, publish+first)
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"items"}}); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.items", mirror.TableStreaming)
	follows(first)

	if err := m.Pause(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
	source.Exec(t, publish+second)
	if _, err := m.Resume(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
	wanted(t, m, theMirror, mirror.MirrorRunning)
	becomes(t, m, "public.items", mirror.TableStopped)
	follows("")
	setFilter("id > 200") // the mirror is told of it: now it is what the publication has
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"items"}}); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.items", mirror.TableStreaming)
	follows(second)
}

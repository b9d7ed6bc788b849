package resync_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/catalog"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// TestTargetsTakeCopies: what is made here is a destination for sync/copy like any
// other, and has the table's keys for sync/apply when it is finished.
func TestTargetsTakeCopies(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, major int) {
		d := newDatabase(t, major, `
CREATE TABLE plain (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, s serial, v text NOT NULL, u int NOT NULL UNIQUE, g int GENERATED ALWAYS AS (u * 2) STORED, mine int NOT NULL DEFAULT 1);
CREATE TABLE parts (id int, d int, v text, PRIMARY KEY (d, id)) PARTITION BY RANGE (d);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); CREATE TABLE parts_2 PARTITION OF parts DEFAULT PARTITION BY LIST (id); CREATE TABLE parts_2a PARTITION OF parts_2 DEFAULT`)
		conn := d.open(t)
		for table, columns := range map[string][]string{"plain": {"id", "s", "v", "u", "g"}, "parts": {"id", "d", "v"}} {
			shadow, err := resync.NewShadow(t.Context(), conn, resync.ShadowOptions{Mirror: "m", Table: public(table), Archive: d.archive(t, true)})
			noError(t, err)
			noError(t, shadow.Create(t.Context(), conn, patient))
			copied := columns
			if table == "plain" {
				copied = columns[:4]
			}
			stage, err := resync.NewStage(t.Context(), conn, resync.StageOptions{Mirror: "m", Table: public(table), Columns: copied})
			noError(t, err)
			noError(t, stage.Create(t.Context(), conn, patient))
			for _, target := range []catalog.Name{shadow.Target(), stage.Target()} {
				source, destination := relationOf(t, conn, public(table)), relationOf(t, conn, target)
				if len(destination.Keys) > 0 {
					t.Errorf("%s has keys before the rows are in: %+v", target, destination.Keys)
				}
				leaves, err := tablecopy.ReadLeaves(t.Context(), conn, []catalog.Name{public(table)})
				noError(t, err)
				if _, why := tablecopy.NewTable(tablecopy.TableOptions{
					Published: catalog.PublishedTable{Table: public(table), Columns: columns}, Source: source, Leaves: leaves[public(table)], Destination: destination, Text: true,
				}); why != nil {
					t.Errorf("copy into %s: %v", target, why)
				}
			}
			noError(t, shadow.Finish(t.Context(), conn, patient, nil))
			noError(t, stage.Finish(t.Context(), conn))
			if got, want := len(relationOf(t, conn, shadow.Target()).Keys), len(relationOf(t, conn, public(table)).Keys); got != want {
				t.Errorf("%s has %d keys, want %d", shadow.Target(), got, want)
			}
			if got := len(relationOf(t, conn, stage.Target()).Keys); got != 1 || !stage.Keyed() {
				t.Errorf("%s has %d keys, want 1", stage.Target(), got)
			}
			noError(t, shadow.Drop(t.Context(), conn, patient))
			noError(t, stage.Drop(t.Context(), conn, patient))
		}
		d.clean(t)
	})
}

func relationOf(t testing.TB, conn *pgx.Conn, table catalog.Name) *catalog.Relation {
	t.Helper()
	relations, err := catalog.ReadRelations(t.Context(), conn, []catalog.Name{table})
	noError(t, err)
	if relations[table] == nil {
		t.Fatalf("%s is not there", table)
	}
	return relations[table]
}

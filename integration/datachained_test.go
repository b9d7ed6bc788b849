package integration

import (
	"context"
	"testing"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/ddl"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// TestDataSourceIsADestination has a source that is another mirror's destination:
// the schemas in which that one copies tables again are neither copied nor
// followed, and a table that it swaps in is copied again.
func TestDataSourceIsADestination(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	const shadow = `CREATE SCHEMA pgdrover_shadow_7; CREATE TABLE pgdrover_shadow_7.items (LIKE items INCLUDING ALL); INSERT INTO pgdrover_shadow_7.items SELECT id, 'swapped', price FROM items;
		CREATE SCHEMA pgdrover_stage_7; CREATE UNLOGGED TABLE pgdrover_stage_7.items (LIKE items)`
	for _, triggers := range []bool{false, true} {
		t.Run(map[bool]string{false: "polls", true: "triggers"}[triggers], func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, pairRows)
			m := between(source, destination).manager(t)
			if triggers {
				if err := ddl.Install(t.Context(), source.Connect(t)); err != nil {
					t.Fatal(err)
				}
			}
			id := follow(t, m)
			source.Exec(t, shadow)
			changed(t, source, 1)
			source.Exec(t, "CREATE SCHEMA pgdrover_old_7; BEGIN; ALTER TABLE items SET SCHEMA pgdrover_old_7; ALTER TABLE pgdrover_shadow_7.items SET SCHEMA public; COMMIT")
			source.Exec(t, "UPDATE items SET price = -1 WHERE id = 1; UPDATE pgdrover_old_7.items SET price = -2 WHERE id = 2")
			pgtest.Eventually(t, "the new table is there", func(ctx context.Context) (bool, error) {
				return destination.TryExec(ctx, "SELECT 1 / count(*) FROM items WHERE id = 1 AND price = -1 AND name = 'swapped'") == nil, nil // the old one is moved aside first
			})
			becomes(t, m, "public.items", mirror.TableStreaming)
			changed(t, source, 2)
			ledger.CaughtUp(t, source, applied(m))
			sameTable(t, source, []*pgtest.Database{destination}, "items")
			rowsOf(t, destination, "SELECT nspname FROM pg_namespace WHERE nspname ~ '^pgdrover_(shadow|stage|old)'")
			for _, row := range tables(t, m) {
				if row.Schema != "public" {
					t.Errorf("%s.%s is %s", row.Schema, row.Table, row.State)
				}
			}
			stopTask(t, m, id)
		})
	}
}

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// TestWithoutIndexes has mirrors that are meant to have no indexes, or no
// foreign keys: neither the copy nor a table that joins later makes them, no
// comparison misses them, and they come with the setting.
func TestWithoutIndexes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ indexes, keys bool }{{false, false}, {true, false}, {false, true}} {
		t.Run(fmt.Sprintf("indexes %t, foreign keys %t", c.indexes, c.keys), func(t *testing.T) {
			t.Parallel()
			if c.indexes || c.keys {
				pgtest.Long(t)
			}
			source, destination := fresh(t, orders+`INSERT INTO shop.customers (name) SELECT 'n' || i FROM generate_series(1, 100) i;
				INSERT INTO shop.orders (customer, total) SELECT 1 + i % 100, i FROM generate_series(1, 1000) i;
				CREATE TABLE shop.parts (id int, day date, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
				CREATE TABLE shop.part PARTITION OF shop.parts FOR VALUES FROM ('2020-01-01') TO ('2030-01-01');
				CREATE INDEX parts_note ON shop.parts (note); CREATE UNIQUE INDEX orders_alike ON shop.orders (id, customer);
				ALTER TABLE shop.orders REPLICA IDENTITY USING INDEX orders_alike; ALTER TABLE shop.customers CLUSTER ON customers_pkey; DROP TRIGGER touch_always ON shop.orders`)
			m := between(source, destination).manager(t)
			definition := config.NewMirror("prod", "prod_new", "all_tables")
			definition.ReplicateIndexes, definition.ReplicateForeignKeys = c.indexes, c.keys
			if err := m.CreateMirror(t.Context(), definition); err != nil {
				t.Fatal(full(err))
			}
			if _, err := m.Resume(t.Context(), theMirror); err != nil {
				t.Fatal(full(err))
			}
			wanted(t, m, theMirror, mirror.MirrorRunning)
			there := func() (indexes, keys string) {
				t.Helper()
				indexes = strings.Join(destination.Rows(t, `SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
					WHERE n.nspname = 'shop' AND NOT indisunique ORDER BY 1`), " ")
				keys = strings.Join(destination.Rows(t, `SELECT conname FROM pg_constraint WHERE contype = 'f' AND connamespace = 'shop'::regnamespace ORDER BY 1`), " ")
				return indexes, keys
			}
			expect := func(indexes, keys string) {
				t.Helper()
				if !c.indexes {
					indexes = ""
				}
				if !c.keys {
					keys = ""
				}
				if haveIndexes, haveKeys := there(); haveIndexes != indexes || haveKeys != keys {
					t.Errorf("the destination has indexes %q and foreign keys %q, want %q and %q", haveIndexes, haveKeys, indexes, keys)
				}
				rowsOf(t, destination, "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = indexrelid WHERE relname IN ('orders_alike', 'orders_pkey', 'customers_name_key', 'totals_customer', 'part_pkey')", "5")
				same(t, m)
				reports, err := m.ValidateSchema(t.Context(), theMirror, nil)
				if err != nil {
					t.Fatal(full(err))
				}
				for _, r := range reports {
					for _, d := range r.Differences {
						if strings.Contains(string(d.Kind), "index") || strings.Contains(string(d.Kind), "foreign_key") {
							t.Errorf("a comparison misses what is meant to be absent: %s %s of %s", d.Kind, d.Object, d.Table)
						}
					}
				}
			}
			expect("orders_customer orders_note part_note_idx parts_note", "orders_customer_fkey")
			source.Exec(t, "CREATE TABLE shop.late (id int PRIMARY KEY, customer int REFERENCES shop.customers, note text UNIQUE); CREATE INDEX late_note ON shop.late (note); INSERT INTO shop.late VALUES (1, 1, 'x')")
			becomes(t, m, "shop.late", mirror.TableStreaming)
			expect("late_note orders_customer orders_note part_note_idx parts_note", "late_customer_fkey orders_customer_fkey")
			for _, row := range tablesOf(t, m) {
				if want := map[bool]string{true: "foreign keys", false: "indexes"}[c.indexes]; !strings.Contains(row.Without, want) || c.keys && strings.Contains(row.Without, "foreign") {
					t.Errorf("SHOW MIRROR tells %q of %s", row.Without, row.Table)
				}
			}

			_, err := m.AlterMirror(t.Context(), theMirror, func(d *config.Mirror) error {
				d.ReplicateIndexes, d.ReplicateForeignKeys = true, true
				return nil
			})
			if err != nil {
				t.Fatal(full(err))
			}
			wanted(t, m, theMirror, mirror.MirrorRunning)
			if err := m.Pause(t.Context(), theMirror); err != nil {
				t.Fatal(full(err))
			}
			succeed(t, m, request(dump.PostData))
			c.indexes, c.keys = true, true
			expect("late_note orders_customer orders_note part_note_idx parts_note", "late_customer_fkey orders_customer_fkey")
			source.Exec(t, "UPDATE shop.orders SET total = total + 1")
			if _, err := m.Resume(t.Context(), theMirror); err != nil {
				t.Fatal(full(err))
			}
			ledger.CaughtUp(t, source, applied(m))
			sameRows(t, source, destination)
		})
	}
}

// tablesOf gives the tables of the mirror as SHOW MIRROR tells them.
func tablesOf(tb testing.TB, m *mirror.Manager) []mirror.MirrorTableRow {
	tb.Helper()
	rows, _, err := m.MirrorTables(tb.Context(), theMirror)
	if err != nil || len(rows) == 0 {
		tb.Fatalf("%d tables, %s", len(rows), full(err))
	}
	return rows
}

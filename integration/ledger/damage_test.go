package ledger_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// damages are what a replication that is wrong leaves behind.
var damages = []struct {
	name     string
	sql      string // $last is the last transaction with a transfer
	whole    bool   // CheckWhole cannot see it: every transaction is there, or is not there, as a whole
	tables   []string
	rowCount int64 // of the first table
}{
	{name: "nothing", sql: "SELECT 1", whole: true},
	{name: "a transaction without its record", sql: "DELETE FROM ledger.txs WHERE id = $last", tables: []string{"txs"}, rowCount: 1},
	{name: "a record alone", sql: "DELETE FROM ledger.writes WHERE tx = $last", tables: []string{"writes"}},
	{name: "one half of a transfer", sql: "UPDATE ledger.accounts a SET balance = balance - amount FROM ledger.journal j WHERE j.account = a.account AND j.tx = $last AND n = 1", tables: []string{"accounts"}, rowCount: 2},
	{name: "one half of a journal", sql: "DELETE FROM ledger.journal WHERE tx = $last AND n = 1", tables: []string{"journal"}, rowCount: 1},
	{name: "a lost insert", sql: "DELETE FROM ledger.invoices WHERE item = (SELECT max(item) FROM ledger.invoices)", tables: []string{"invoices"}, rowCount: 1},
	{name: "a lost update", sql: "UPDATE ledger.chains SET version = version - 1 WHERE item = (SELECT max(item) FROM ledger.chains)", tables: []string{"chains"}, rowCount: 2},
	{name: "a lost deletion", sql: `INSERT INTO ledger.parcels SELECT (json_populate_record(p, json_build_object('item', -1))).* FROM ledger.parcels p LIMIT 1`, tables: []string{"parcels"}, rowCount: 1},
	{name: "a column", sql: "UPDATE ledger.documents SET body = NULL WHERE item = (SELECT min(item) FROM ledger.documents WHERE body IS NOT NULL)", whole: true, tables: []string{"documents"}, rowCount: 2},
	{name: "a key", sql: "UPDATE ledger.badges SET account = account + 1000000 WHERE item = (SELECT min(item) FROM ledger.badges)", tables: []string{"badges"}, rowCount: 2},
	{name: "a duplicate", sql: "INSERT INTO ledger.notes SELECT * FROM ledger.notes WHERE ctid = (SELECT min(ctid) FROM ledger.notes)", tables: []string{"notes"}, rowCount: 1},
	{name: "one of two duplicates", sql: "DELETE FROM ledger.notes WHERE ctid = (SELECT min(ctid) FROM ledger.notes GROUP BY notes.* HAVING count(*) > 1 LIMIT 1)", tables: []string{"notes"}, rowCount: 1},
	{name: "a NULL", sql: "UPDATE ledger.notes SET body = '' WHERE ctid = (SELECT min(ctid) FROM ledger.notes WHERE body IS NULL)", whole: true, tables: []string{"notes"}},
	{name: "a scale", sql: "UPDATE ledger.scraps SET ratio = 1.000 WHERE ctid = (SELECT min(ctid) FROM ledger.scraps WHERE ratio = 1)", whole: true, tables: []string{"scraps"}},
	{name: "a lost truncation", sql: "INSERT INTO ledger.events SELECT account, -1, 0, 'old', 0, 0 FROM ledger.accounts LIMIT 1", tables: []string{"events"}, rowCount: 1},
	{name: "a row of a big transaction", sql: "DELETE FROM ledger.bulk WHERE item = (SELECT min(item) FROM ledger.bulk)", tables: []string{"bulk"}, rowCount: 1},
	{name: "a trigger that fired", sql: "INSERT INTO ledger.audits VALUES (1, -1, 0)", tables: []string{"audits"}, rowCount: 1},
	{name: "a table of every shard", sql: "DELETE FROM ledger.settings WHERE name = (SELECT min(name) FROM ledger.settings)", tables: []string{"settings"}, rowCount: 1},
	{name: "a text key", sql: "UPDATE ledger.labels SET label = label || ' ' WHERE label = (SELECT min(label) FROM ledger.labels)", tables: []string{"labels"}, rowCount: 2},
	{name: "names", sql: `DELETE FROM "Weird ""Name"" $1"."Weird ""Name"" $1" WHERE "Weird ""Item"" $1" = (SELECT min("Weird ""Item"" $1") FROM "Weird ""Name"" $1"."Weird ""Name"" $1")`, tables: []string{`Weird ""Name"" $1`}, rowCount: 1},
	{name: "two tables", sql: "DELETE FROM ledger.epochs WHERE epoch = 1; UPDATE ledger.seats SET later = -1 WHERE item = 0", tables: []string{"epochs", "seats"}},
	{name: "a dropped column", sql: "ALTER TABLE ledger.fancies DROP COLUMN codes", whole: true, tables: []string{"fancies"}},
}

// TestDamage: every damage is found, where it is, by the checks that can.
func TestDamage(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Shared(t, 0)
	original, conn := setup(t, cluster, ledger.Options{Seed: 5, BigRows: 200, Initial: 60})
	_ = conn.Close(t.Context()) // a template has no connections
	for _, damage := range damages {
		t.Run(damage.name, func(t *testing.T) {
			d := cluster.CreateDatabase(t, "TEMPLATE "+pgtest.Quote(original.Name)+" STRATEGY file_copy")
			last := pgtest.Value[int64](t, d, "SELECT max(tx) FROM ledger.journal")
			d.Exec(t, "SET session_replication_role = replica; "+strings.ReplaceAll(damage.sql, "$last", fmt.Sprint(last)))
			to := d.Connect(t)
			err := ledger.CheckWhole(t.Context(), to, ledger.Unsharded)
			var notWhole *ledger.NotWhole
			if damage.whole && err != nil || !damage.whole && !errors.As(err, &notWhole) {
				t.Errorf("CheckWhole: %v", err)
			}
			source, err := pgx.Connect(t.Context(), original.DSN())
			if err != nil {
				t.Fatal(err)
			}
			report, err := ledger.Same(t.Context(), source, []*pgx.Conn{to}, ledger.Tables(1), ledger.CompareOptions{})
			_ = source.Close(t.Context()) // before the next copy of the template
			if damage.tables == nil {
				if err != nil || report.Rows < 1000 {
					t.Errorf("%d rows are not the same: %v", report.Rows, err)
				}
				return
			}
			var different *ledger.Different
			if !errors.As(err, &different) {
				t.Fatalf("Same: %v", err)
			}
			for _, name := range damage.tables {
				if !slices.ContainsFunc(different.Tables, func(d ledger.TableDifference) bool { return strings.HasSuffix(d.Table, `."`+name+`"`) }) {
					t.Errorf("no difference of %s is in: %v", name, err)
				}
			}
			if len(different.Tables) != len(damage.tables) {
				t.Errorf("differences of other tables are in: %v", err)
			}
			if got := different.Tables[0].Count; damage.rowCount != 0 && got != damage.rowCount {
				t.Errorf("%d rows differ, want %d: %v", got, damage.rowCount, err)
			}
		})
	}
}

// TestLostAcknowledged: a destination in a state that the source was in is
// whole, but not all that was acknowledged; and what was rolled back is found.
func TestLostAcknowledged(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Shared(t, 0)
	options := ledger.Options{Seed: 6, Initial: 5}
	source, conn := setup(t, cluster, options)
	_ = conn.Close(t.Context())
	before := cluster.CreateDatabase(t, "TEMPLATE "+pgtest.Quote(source.Name)).Connect(t)
	w, err := ledger.Start(t.Context(), ledger.DSN(source.DSN()), options)
	if err != nil {
		t.Fatal(err)
	}
	soon(t, w, 50)
	stats := stop(t, w)
	if err := ledger.CheckWhole(t.Context(), before, ledger.Unsharded); err != nil {
		t.Error(err)
	}
	var notWhole *ledger.NotWhole
	if err := w.CheckAcknowledged(t.Context(), before); !errors.As(err, &notWhole) || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("nothing acknowledged is there: %v", err)
	}
	after := source.Connect(t)
	if err := w.CheckAcknowledged(t.Context(), after); err != nil {
		t.Error(err)
	}
	if stats.RolledBack == 0 {
		t.Fatal("nothing was rolled back")
	}
	// The numbers of transactions have no gaps, so the first that is missing was rolled back.
	source.Exec(t, `INSERT INTO ledger.txs SELECT id + 1, worker, '', 0 FROM ledger.txs t WHERE id >> 40 = 2
		AND NOT EXISTS (SELECT FROM ledger.txs n WHERE n.id = t.id + 1) AND EXISTS (SELECT FROM ledger.txs n WHERE n.id = t.id + 2)`)
	if err := w.CheckAcknowledged(t.Context(), after); !errors.As(err, &notWhole) || !strings.Contains(err.Error(), "was rolled back") {
		t.Errorf("what was rolled back is there: %v", err)
	}
	if err := w.CheckAcknowledged(t.Context()); err == nil {
		t.Error("a check without destinations passes")
	}
}

// TestSecondRun: a second run goes on where the first one ended.
func TestSecondRun(t *testing.T) {
	t.Parallel()
	source, conn := setup(t, pgtest.Shared(t, 0), ledger.Options{Initial: 1, Workers: 2})
	for range 2 {
		w, err := ledger.Start(t.Context(), ledger.DSN(source.DSN()), ledger.Options{Workers: 2, Rate: 1000})
		if err != nil {
			t.Fatal(err)
		}
		soon(t, w, 30)
		stop(t, w)
		if err := w.CheckAcknowledged(t.Context(), conn); err != nil {
			t.Error(err)
		}
	}
}

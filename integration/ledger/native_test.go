package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// subscribe makes a native subscription, which stands for a mirror that is
// right. The slot is made first, as source and destination may be one cluster.
func subscribe(tb testing.TB, source, destination *pgtest.Database, publication string, copyData bool) (applied func(context.Context) (pglogrepl.LSN, error)) {
	tb.Helper()
	name := destination.Name
	source.Exec(tb, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name)
	destination.Exec(tb, fmt.Sprintf("CREATE SUBSCRIPTION %s CONNECTION '%s' PUBLICATION %s WITH (create_slot = false, slot_name = %s, copy_data = %t)",
		pgtest.Quote(name), source.DSN(), publication, pgtest.Quote(name), copyData))
	conn := source.Connect(tb)
	return func(ctx context.Context) (lsn pglogrepl.LSN, err error) {
		var text string
		err = conn.QueryRow(ctx, "SELECT coalesce(min(replay_lsn), '0/0')::text FROM pg_stat_replication WHERE application_name = $1", name).Scan(&text)
		if err != nil {
			return 0, err
		}
		return pglogrepl.ParseLSN(text)
	}
}

// natively is what native replication can do.
func natively(options ledger.Options) ledger.Options {
	options.Without = append(options.Without, ledger.Scrap)
	return options
}

// TestOneDestination has native replication copy and follow the workload: all
// checks pass, those of wholeness at any time.
func TestOneDestination(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	options := natively(ledger.Options{Seed: 2, BigRows: 600, BigEvery: 40, PreparedTransactions: true, Rate: 400})
	source, conn := setup(t, pgtest.Shared(t, 0), options)
	destination := pgtest.Shared(t, pgtest.Majors(t)[len(pgtest.Majors(t))-1].Major).CreateDatabase(t)
	to := destination.Connect(t)
	if err := ledger.SetupSchema(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	source.Exec(t, "CREATE PUBLICATION everything FOR ALL TABLES")
	applied := subscribe(t, source, destination, "everything", true)
	w, err := ledger.Start(t.Context(), ledger.DSN(source.DSN()), options)
	if err != nil {
		t.Fatal(err)
	}
	destination.WaitUntil(t, "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")
	ledger.CaughtUp(t, source, applied)
	from := w.Stats().Committed
	for checked := 1; w.Stats().Committed < from+600; checked++ {
		if err := errors.Join(ledger.CheckWhole(t.Context(), to, ledger.Unsharded), w.Err()); err != nil {
			t.Fatalf("check %d: %v", checked, err)
		}
	}
	stop(t, w)
	ledger.CaughtUp(t, source, applied)
	if err := w.CheckAcknowledged(t.Context(), to); err != nil {
		t.Error(err)
	}
	report, err := ledger.Same(t.Context(), conn, []*pgx.Conn{to}, ledger.Tables(1), ledger.CompareOptions{})
	if err != nil {
		t.Error(err)
	}
	if report.Tables != len(ledger.Tables(1)) || report.Rows < 5000 {
		t.Errorf("compared %+v", report)
	}
}

// TestShards has native replication spread the workload by row filters.
func TestShards(t *testing.T) {
	t.Parallel()
	const shards = 3
	options := natively(ledger.Options{Seed: 3, BigRows: 300, BigEvery: 60, Rate: 200, Without: []ledger.Kind{ledger.DocumentRekey}})
	source := pgtest.Shared(t, 0).CreateDatabase(t)
	conn := source.Connect(t)
	if err := ledger.SetupSchema(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	var destinations []*pgx.Conn
	var applied []func(context.Context) (pglogrepl.LSN, error)
	for i := range shards {
		d := pgtest.Shared(t, 0).CreateDatabase(t)
		to := d.Connect(t)
		if err := ledger.SetupSchema(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		destinations = append(destinations, to)
		var published []string
		for _, table := range ledger.Tables(shards) {
			filter := ""
			if table.Placement != nil {
				filter = fmt.Sprintf(" WHERE (%s = %d)", table.Placement.Expression, i)
			}
			published = append(published, table.String()+filter)
		}
		publication := fmt.Sprintf("shard_%d", i)
		source.Exec(t, "CREATE PUBLICATION "+publication+" FOR TABLE "+strings.Join(published, ", ")+" WITH (publish_via_partition_root)")
		applied = append(applied, subscribe(t, source, d, publication, false))
	}
	lowest := func(ctx context.Context) (pglogrepl.LSN, error) {
		var positions []pglogrepl.LSN
		for _, f := range applied {
			lsn, err := f(ctx)
			if err != nil {
				return 0, err
			}
			positions = append(positions, lsn)
		}
		return slices.Min(positions), nil
	}
	if err := ledger.SetupRows(t.Context(), conn, options); err != nil {
		t.Fatal(err)
	}
	w, err := ledger.Start(t.Context(), ledger.DSN(source.DSN()), options)
	if err != nil {
		t.Fatal(err)
	}
	for w.Stats().Committed < 400 {
		for i, to := range destinations {
			if err := errors.Join(ledger.CheckWhole(t.Context(), to, ledger.Shard{Index: i, Of: shards}), w.Err()); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop(t, w)
	ledger.CaughtUp(t, source, lowest)
	if err := w.CheckAcknowledged(t.Context(), destinations...); err != nil {
		t.Error(err)
	}
	if _, err := ledger.Same(t.Context(), conn, destinations, ledger.Tables(shards), ledger.CompareOptions{}); err != nil {
		t.Error(err)
	}

	// A row on a wrong shard, and one on two: the shards' checks say so, and the comparison.
	for _, to := range destinations {
		if _, err := to.Exec(t.Context(), "SET session_replication_role = replica"); err != nil {
			t.Fatal(err)
		}
	}
	misplaced := "INSERT INTO ledger.accounts SELECT account, opening, balance, version, tx FROM json_populate_record(NULL::ledger.accounts, $1)"
	var row string
	if err := destinations[1].QueryRow(t.Context(), "SELECT row_to_json(a) FROM ledger.accounts a LIMIT 1").Scan(&row); err != nil {
		t.Fatal(err)
	}
	if _, err := destinations[0].Exec(t.Context(), misplaced, row); err != nil {
		t.Fatal(err)
	}
	var notWhole *ledger.NotWhole
	if err := ledger.CheckWhole(t.Context(), destinations[0], ledger.Shard{Index: 0, Of: shards}); !errors.As(err, &notWhole) {
		t.Errorf("a row on a shard where it does not belong passes: %v", err)
	}
	for _, remove := range []bool{false, true} {
		if remove {
			if _, err := destinations[1].Exec(t.Context(), "DELETE FROM ledger.accounts a USING json_populate_record(NULL::ledger.accounts, $1) r WHERE a.account = r.account", row); err != nil {
				t.Fatal(err)
			}
		}
		var different *ledger.Different
		_, err := ledger.Same(t.Context(), conn, destinations, ledger.Tables(shards), ledger.CompareOptions{})
		if !errors.As(err, &different) || len(different.Tables) != 1 || different.Tables[0].Count != 1 || *different.Tables[0].Rows[0].Shard != 1 {
			t.Errorf("a row on a shard where it does not belong, removed from its own %t: %v", remove, err)
		}
	}
}

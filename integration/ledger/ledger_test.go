package ledger_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// setup makes a source with the ledger in it.
func setup(tb testing.TB, c *pgtest.Cluster, options ledger.Options) (*pgtest.Database, *pgx.Conn) {
	tb.Helper()
	d := c.CreateDatabase(tb)
	conn := d.Connect(tb)
	if err := ledger.Setup(tb.Context(), conn, options); err != nil {
		tb.Fatal(err)
	}
	return d, conn
}

// soon waits until the workload has committed n transactions.
func soon(tb testing.TB, w *ledger.Workload, n int) {
	tb.Helper()
	pgtest.Eventually(tb, fmt.Sprintf("%d transactions are committed", n), func(context.Context) (bool, error) {
		return w.Stats().Committed >= n, w.Err()
	})
}

func stop(tb testing.TB, w *ledger.Workload) ledger.Stats {
	tb.Helper()
	stats, err := w.Stop()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Logf("%+v", stats)
	return stats
}

// TestSource runs the workload on every version, with its checks of the source
// itself, which is right at any time.
func TestSource(t *testing.T) {
	for _, installation := range pgtest.Majors(t) {
		t.Run(installation.String(), func(t *testing.T) {
			t.Parallel()
			options := ledger.Options{Seed: 1, BigRows: 400, BigEvery: 50, PreparedTransactions: true}
			source, conn := setup(t, pgtest.Shared(t, installation.Major), options)
			w, err := ledger.Start(t.Context(), ledger.DSN(source.DSN()), options)
			if err != nil {
				t.Fatal(err)
			}
			for at := 100; at <= 800; at += 100 {
				soon(t, w, at)
				if err := ledger.CheckWhole(t.Context(), conn, ledger.Unsharded); err != nil {
					t.Error(err)
				}
			}
			stats := stop(t, w)
			if err := w.CheckAcknowledged(t.Context(), conn); err != nil {
				t.Error(err)
			}
			for _, o := range ledger.Kinds() {
				if stats.Kinds[o] == 0 {
					t.Errorf("no %s was committed", o)
				}
			}
			if stats.RolledBack == 0 || stats.Prepared == 0 || stats.Big == 0 {
				t.Errorf("rolled back, prepared and big transactions are missing: %+v", stats)
			}
		})
	}
}

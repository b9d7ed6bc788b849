package ledger_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
)

// TestReconnect loses connections and the whole source while the workload
// runs. What it then knows about its transactions is what the source has.
func TestReconnect(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t, pgtest.Options{})
	source, _ := setup(t, cluster, ledger.Options{Seed: 4})
	proxy := cluster.Proxy(t)
	config, err := pgx.ParseConfig(source.DSN())
	if err != nil {
		t.Fatal(err)
	}
	config.Host, config.Port = proxy.Host(), uint16(proxy.Port())
	connect := func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, config) }
	run := func(workers int, disturb func(further func())) {
		t.Helper()
		w, err := ledger.Start(t.Context(), connect, ledger.Options{Seed: 4, Workers: workers, PreparedTransactions: true})
		if err != nil {
			t.Fatal(err)
		}
		disturb(func() { soon(t, w, w.Stats().Committed+50) })
		stats := stop(t, w)
		if stats.Unknown == 0 || stats.Reconnects == 0 {
			t.Errorf("no connection was lost: %+v", stats)
		}
		if err := w.CheckAcknowledged(t.Context(), source.Connect(t)); err != nil {
			t.Error(err)
		}
		if left := source.Rows(t, "SELECT gid FROM pg_prepared_xacts"); len(left) > 0 {
			t.Errorf("prepared transactions are left: %v", left)
		}
		// All that is there was acknowledged: the check above is not of too little.
		there := pgtest.Value[int](t, source, "SELECT count(*)::integer FROM ledger.txs WHERE id >> 40 = (SELECT last_value FROM ledger.runs)")
		if there != stats.Committed {
			t.Errorf("%d transactions are there, %d were acknowledged", there, stats.Committed)
		}
	}
	run(1, func(further func()) { // one connection: a rule is for one
		for _, text := range []string{"PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED", "COMMIT", "ROLLBACK"} {
			<-proxy.CutReply(text, "")
			further()
			<-proxy.CutBefore(text)
			further()
		}
	})
	run(4, func(further func()) {
		proxy.Cut()
		further()
		for _, mode := range []pgcluster.StopMode{pgcluster.Fast, pgcluster.Immediate} {
			if err := cluster.Restart(t.Context(), mode); err != nil {
				t.Fatal(err)
			}
			further()
		}
	})
}

// TestStopWithCanceledContext: that is no orderly end, and said.
func TestStopWithCanceledContext(t *testing.T) {
	t.Parallel()
	source, conn := setup(t, pgtest.Shared(t, 0), ledger.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	w, err := ledger.Start(ctx, ledger.DSN(source.DSN()), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, w, 20)
	cancel()
	if _, err := w.Stop(); err == nil {
		t.Error("the workload was canceled and Stop gives no error")
	}
	if err := w.CheckAcknowledged(t.Context(), conn); err != nil {
		t.Error(err)
	}
}

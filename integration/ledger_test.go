package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// course is one run of the ledger workload through data-sync while something
// breaks again and again.
type course struct {
	name                string
	source, destination func(tb testing.TB) pgcluster.Installation
	shards              int
	breaks              []breaker
	long                bool // for make test-long
}

// breaker breaks something once, and lets it be mended.
type breaker struct {
	name string
	do   func(tb testing.TB, r *ledgerRun)
}

// ledgerRun is what a breaker can break.
type ledgerRun struct {
	source, destination         *pgtest.Cluster
	sourceProxy, destinationWay *pgtest.Proxy
	start                       func() *process
	running                     *process
	broken, started             int // faults, and starts because of them
}

func oldest(tb testing.TB) pgcluster.Installation { return pgtest.Base(tb) }

var (
	killIt = breaker{"kill -9", func(tb testing.TB, r *ledgerRun) {
		r.running.kill()
		r.running = r.start()
	}}
	cutSource        = breaker{"cut source", func(_ testing.TB, r *ledgerRun) { r.sourceProxy.Cut() }}
	cutDestination   = breaker{"cut destination", func(_ testing.TB, r *ledgerRun) { r.destinationWay.Cut() }}
	crashDestination = breaker{"crash destination", func(tb testing.TB, r *ledgerRun) {
		if err := r.destination.Restart(tb.Context(), pgcluster.Immediate); err != nil {
			tb.Fatal(err)
		}
	}}
	restartSource = breaker{"restart source", func(tb testing.TB, r *ledgerRun) {
		if err := r.source.Restart(tb.Context(), pgcluster.Fast); err != nil {
			tb.Fatal(err)
		}
	}}
)

var everything = []breaker{killIt, cutSource, cutDestination, crashDestination, killIt, restartSource}

func TestLedger(t *testing.T) {
	t.Parallel()
	for _, c := range []course{
		{"one destination", oldest, oldest, 1, everything, true},
		{"three shards", oldest, oldest, 3, everything, false},
		{"to a newer version", oldest, pgtest.Newer, 1, []breaker{killIt, cutSource, killIt}, true},
		{"of a newer version to three shards", pgtest.Newer, pgtest.Newer, 3, []breaker{killIt, cutDestination, killIt}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long {
				pgtest.Long(t)
			}
			t.Parallel()
			c.run(t)
		})
	}
}

func (c course) run(t *testing.T) {
	start := func(installation pgcluster.Installation) *pgtest.Cluster {
		return pgtest.Start(t, pgtest.Options{Installation: installation, Settings: map[string]string{"max_prepared_transactions": "20"}})
	}
	r := &ledgerRun{source: start(c.source(t)), destination: start(c.destination(t))}
	r.sourceProxy, r.destinationWay = r.source.Proxy(t), r.destination.Proxy(t)
	source := r.source.CreateDatabase(t)
	var shards []*pgtest.Database
	var ways []endpoint
	for range c.shards {
		d := r.destination.CreateDatabase(t)
		shards = append(shards, d)
		way := at(d)
		way.host, way.port = r.destinationWay.Host(), r.destinationWay.Port()
		ways = append(ways, way)
	}
	from := at(source)
	from.host, from.port = r.sourceProxy.Host(), r.sourceProxy.Port()
	options := ledger.Options{Seed: rand.Uint64(), Workers: 3, Rate: 60, BigRows: 1500, BigEvery: 100, PreparedTransactions: true} // what a slow machine can follow
	t.Logf("seed %d", options.Seed)
	if err := ledger.Setup(t.Context(), source.Connect(t), options); err != nil {
		t.Fatal(err)
	}
	source.Exec(t, "CREATE PUBLICATION all_tables FOR ALL TABLES")
	extra := pgDump(t, newest(r.source, r.destination)) + "[data_sync]\nspill_memory = 65536\n" // a large transaction goes to disk
	if c.shards > 1 {
		extra += ledger.ShardedTables("prod_new")
	}
	paths := setup{source: []endpoint{from}, destination: ways, extra: extra}
	files := paths.write(t)
	r.start = func() *process {
		return launch(t, files, "data-sync", "--from-database", "prod", "--to-database", "prod_new", "--publication", "all_tables")
	}
	direct := setup{source: []endpoint{at(source)}, destination: endpoints(shards), extra: extra}
	m := direct.manager(t)

	w, err := ledger.Start(t.Context(), ledger.DSN(source.DSN()), options)
	if err != nil {
		t.Fatal(err)
	}
	r.running = r.start()
	defer func() {
		if !t.Failed() {
			return
		}
		r.running.kill()
		t.Logf("the last process wrote:\n%s", tail(r.running.output.String(), 4000))
		for _, row := range tables(t, m) {
			t.Logf("%s.%s %s since %s: %s", row.Schema, row.Table, row.State, row.SyncLSN, full(row.Error))
		}
	}()
	c.breakThings(t, r, m)
	stats, err := w.Stop()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", stats)
	ledger.CaughtUp(t, source, applied(m))
	if err := r.running.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, code := r.running.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	c.check(t, source, shards, w)
}

// breakThings breaks one thing after another: the first ones while rows are
// copied, at moments that chance picks, the others while the stream goes on.
func (c course) breakThings(t *testing.T, r *ledgerRun, m *mirror.Manager) {
	for i, b := range c.breaks {
		if i >= len(c.breaks)/2 {
			// Only what streams can have its stream broken.
			pgtest.Eventually(t, "the stream goes on", func(ctx context.Context) (bool, error) {
				r.again(t)
				rows, _, err := m.Mirrors(ctx)
				return err == nil && len(rows) > 0 && rows[0].State == "replicating" && rows[0].Streaming > 0, nil
			})
		}
		pause(t, time.Duration(rand.IntN(1500))*time.Millisecond)
		t.Logf("%s", b.name)
		b.do(t, r)
		r.broken++
		r.again(t)
	}
	pgtest.Eventually(t, "all tables stream after all", func(ctx context.Context) (bool, error) {
		r.again(t)
		rows, _, err := m.MirrorTables(ctx, theMirror)
		for _, row := range rows {
			if row.State == mirror.TableStopped {
				return false, fmt.Errorf("table %s.%s is stopped: %s", row.Schema, row.Table, full(row.Error))
			}
			if row.State != mirror.TableStreaming {
				return false, nil
			}
		}
		return err == nil && len(rows) > 0, nil
	})
}

// newest is the cluster whose pg_dump can read both.
func newest(a, b *pgtest.Cluster) *pgtest.Cluster {
	if a.Installation().Major > b.Installation().Major {
		return a
	}
	return b
}

// again starts a process that has ended by itself: its connection was cut before
// the task was there, and a command that is refused is typed again. That happens
// once for each fault at the most.
func (r *ledgerRun) again(tb testing.TB) {
	tb.Helper()
	if r.started == r.broken || !r.running.gone() {
		return
	}
	r.started++
	output, code := r.running.end()
	tb.Logf("exit code %d, started again: %s", code, tail(output, 500))
	r.running = r.start()
}

// gone tells whether a process has ended.
func (p *process) gone() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// pause lets chance pick the moment of a fault.
func pause(tb testing.TB, length time.Duration) {
	tb.Helper()
	select {
	case <-time.After(length):
	case <-tb.Context().Done():
	}
}

func tail(text string, n int) string {
	if len(text) > n {
		return text[len(text)-n:]
	}
	return text
}

func (c course) check(t *testing.T, source *pgtest.Database, shards []*pgtest.Database, w *ledger.Workload) {
	from, to := source.Connect(t), connections(t, shards...)
	report, err := ledger.Same(t.Context(), from, to, ledger.Tables(c.shards), ledger.CompareOptions{})
	if err != nil {
		t.Errorf("%s", err)
	}
	t.Logf("%+v", report)
	for i, conn := range to {
		if err := ledger.CheckWhole(t.Context(), conn, ledger.Shard{Index: i, Of: c.shards}); err != nil {
			t.Errorf("shard %d: %s", i, err)
		}
	}
	if err := w.CheckAcknowledged(t.Context(), to...); err != nil {
		t.Errorf("%s", err)
	}
}

package integration

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// groups is what an engine tells of destination transactions.
type groups struct {
	metrics.Data
	mu           sync.Mutex
	most         int64 // source transactions in one of them
	transactions int64
}

// ApplyGroup is metrics.Data's.
func (g *groups) ApplyGroup(_ string, _, _ int, group metrics.Group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.most, g.transactions = max(g.most, group.Transactions), g.transactions+group.Transactions
}

// take gives what was told since the last call.
func (g *groups) take() (most, transactions int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	most, transactions = g.most, g.transactions
	g.most, g.transactions = 0, 0
	return most, transactions
}

// TestMirrorGroups gives a mirror batch sizes of its own: as many transactions
// as these allow are applied together, and not more.
func TestMirrorGroups(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	cfg, _, err := config.Load(s.write(t), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	told := &groups{Data: metrics.Discard}
	m := mirror.NewManager(mirror.Options{Config: func() *config.Config { return cfg }, Version: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: told})
	t.Cleanup(func() {
		if err := m.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	follow(t, m)
	one, large := 20, int64(1<<20)
	small := int64(1 << 10)
	// Each transaction has 10 rows of some 400 bytes.
	for _, c := range []struct {
		name        string
		rows        *int
		bytes       *int64
		least, most int64 // transactions in the largest group
	}{
		{"defaults", nil, nil, 20, 100},
		{"group_rows", &one, &large, 1, 3},
		{"group_bytes", nil, &small, 1, 2},
	} {
		if err := m.Pause(t.Context(), theMirror); err != nil {
			t.Fatal(full(err))
		}
		for i := range 100 {
			source.Exec(t, fmt.Sprintf("INSERT INTO items SELECT nextval_.n, repeat('x', 400), 1 FROM (SELECT max(id) + i AS n FROM items, generate_series(1, 10) i GROUP BY i) nextval_ /* %d */", i))
		}
		if _, err := m.AlterMirror(t.Context(), theMirror, func(d *config.Mirror) error { d.GroupRows, d.GroupBytes = c.rows, c.bytes; return nil }); err != nil {
			t.Fatal(full(err))
		}
		told.take()
		if _, err := m.Resume(t.Context(), theMirror); err != nil {
			t.Fatal(full(err))
		}
		ledger.CaughtUp(t, source, applied(m))
		if most, n := told.take(); n < 100 || most < c.least || most > c.most {
			t.Errorf("%s: the largest group has %d of %d transactions, want %d to %d", c.name, most, n, c.least, c.most)
		}
	}
	sameRows(t, source, destination)
}

// TestMirrorWorkers gives mirrors numbers of workers of their own: so many
// sessions copy rows at the same time.
func TestMirrorWorkers(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	const tables = "CREATE TABLE a AS SELECT i AS id FROM generate_series(1, 1000) i; CREATE TABLE b AS TABLE a; CREATE TABLE c AS TABLE a; CREATE TABLE d AS TABLE a; CREATE TABLE e AS TABLE a;" +
		"ALTER TABLE a REPLICA IDENTITY FULL; ALTER TABLE b REPLICA IDENTITY FULL; ALTER TABLE c REPLICA IDENTITY FULL; ALTER TABLE d REPLICA IDENTITY FULL; ALTER TABLE e REPLICA IDENTITY FULL;"
	source, destination := fresh(t, tables)
	s := between(source, destination)
	s.general = quick + "resharding_parallel_copies = 2\n"
	m := s.manager(t)
	succeed(t, m, request(dump.PreData))
	release := hold(t, destination, "a, b, c, d, e")
	for _, workers := range []int{4, 1, 0} {
		definition := config.NewMirror("prod", "prod_new", "all_tables")
		definition.Name = fmt.Sprint("with ", workers)
		want := 2
		if workers > 0 {
			definition.Workers, want = &workers, workers
		}
		if err := m.CreateMirror(t.Context(), definition); err != nil {
			t.Fatal(full(err))
		}
		if _, err := m.Resume(t.Context(), definition.Name); err != nil {
			t.Fatal(full(err))
		}
		const copying = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgdrover copy%' AND wait_event_type = 'Lock' AND query LIKE '%COPY%'`
		destination.WaitUntil(t, "SELECT ("+copying+") >= $1", want)
		pgtest.Eventually(t, "every worker has begun, so that SHOW tells it", func(ctx context.Context) (bool, error) {
			rows, _, err := m.TableCopies(ctx)
			n := 0
			for _, r := range rows {
				if r.Mirror == definition.Name && r.Workers != "" {
					n++
				}
			}
			return n >= want, err
		})
		if n := pgtest.Value[int](t, destination, "SELECT ("+copying+")::int"); n != want {
			t.Errorf("%d sessions copy rows, want %d", n, want)
		}
		if err := m.Pause(t.Context(), definition.Name); err != nil {
			t.Fatal(full(err))
		}
		destination.WaitUntil(t, "SELECT ("+copying+") = 0")
	}
	release()
}

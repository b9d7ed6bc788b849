package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// tenants are tables of a source with two shards: two that are spread over them
// by tenant, one of which has no key, and one that both have whole.
const tenants = `
CREATE TABLE orders (tenant bigint, id bigint, v text, PRIMARY KEY (tenant, id));
CREATE INDEX orders_v ON orders (v);
CREATE TABLE visits (tenant bigint, note text);
ALTER TABLE visits REPLICA IDENTITY FULL;
CREATE TABLE settings (id int PRIMARY KEY, v text);
INSERT INTO settings SELECT i, 'v' || i FROM generate_series(1, 50) i;
`

// tenantRows are the rows of a shard of the source.
func tenantRows(shard int) string {
	in := ledger.ShardExpression("t::bigint", "bigint", 2)
	return fmt.Sprintf(`
INSERT INTO orders SELECT t, i, 'order ' || i FROM generate_series(1, 40) t, generate_series(1, 100) i WHERE %[1]s = %[2]d;
INSERT INTO visits SELECT t, 'visit ' || i FROM generate_series(1, 40) t, generate_series(1, 5) i WHERE %[1]s = %[2]d;`, in, shard)
}

// sharded are the entries of [[sharded_tables]] of a database.
func sharded(database string, tables ...string) string {
	var b strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&b, "[[sharded_tables]]\ndatabase = %q\nschema = \"public\"\nname = %q\ncolumn = \"tenant\"\ndata_type = \"bigint\"\n", database, table)
	}
	return b.String()
}

// tenantSetup makes a source of two shards and a destination of n.
func tenantSetup(tb testing.TB, n int, more string) (sources, destinations []*pgtest.Database, s setup) {
	tb.Helper()
	c := pgtest.Shared(tb, 0)
	for shard := range 2 {
		d := c.CreateDatabase(tb)
		d.Exec(tb, tenants+more+tenantRows(shard))
		d.Exec(tb, "CREATE PUBLICATION all_tables FOR ALL TABLES")
		sources = append(sources, d)
	}
	for range n {
		destinations = append(destinations, c.CreateDatabase(tb))
	}
	s = setup{source: endpoints(sources), destination: endpoints(destinations), general: quick + "resharding_parallel_copies = 4\n"}
	s.extra = sharded("prod", "orders", "visits", "added")
	if n > 1 {
		s.extra += sharded("prod_new", "orders", "visits", "added")
	}
	return sources, destinations, s
}

// tenantChanges writes to both shards of the source.
func tenantChanges(tb testing.TB, sources []*pgtest.Database, round int) {
	tb.Helper()
	for shard, d := range sources {
		in := fmt.Sprintf("%s = %d", ledger.ShardExpression("t::bigint", "bigint", 2), shard)
		d.Exec(tb, fmt.Sprintf(`
BEGIN; UPDATE orders SET v = v || ' %[1]d' WHERE id %% 20 = %[1]d; INSERT INTO visits SELECT t, 'round %[1]d' FROM generate_series(1, 10) t WHERE %[2]s; COMMIT;
BEGIN; DELETE FROM orders WHERE id = 100 - %[1]d; INSERT INTO orders SELECT t, 1000 + %[1]d, 'new' FROM generate_series(1, 60) t WHERE %[2]s; COMMIT;
DELETE FROM visits WHERE ctid = (SELECT min(ctid) FROM visits);
UPDATE settings SET v = 'round %[1]d' WHERE id %% 10 = %[1]d %% 10`, round, in))
	}
}

// tenantsArrived waits until all that both shards have committed is applied,
// and compares: shards of the source are put together, as are the destination's.
func tenantsArrived(tb testing.TB, m *mirror.Manager, sources, destinations []*pgtest.Database, tables ...string) {
	tb.Helper()
	for shard, d := range sources {
		shardCaughtUp(tb, m, shard, d)
	}
	for _, table := range append([]string{"orders", "visits"}, tables...) {
		all := counted(tb, sources, "SELECT t.*, tenant FROM "+table+" t")
		got := counted(tb, destinations, "SELECT t.*, tenant FROM "+table+" t")
		compareBags(tb, table, all, got)
	}
	for i, d := range destinations {
		compareBags(tb, fmt.Sprintf("settings of shard %d", i), counted(tb, sources[:1], "SELECT * FROM settings"), counted(tb, []*pgtest.Database{d}, "SELECT * FROM settings"))
		if n := len(destinations); n > 1 {
			for _, table := range []string{"orders", "visits"} {
				rowsOf(tb, d, fmt.Sprintf("SELECT count(*) FROM %s WHERE %s <> %d", table, ledger.ShardExpression("tenant", "bigint", n), i), "0")
			}
		}
	}
}

// counted counts the rows of a query over several databases.
func counted(tb testing.TB, databases []*pgtest.Database, sql string) map[string]int {
	tb.Helper()
	rows := map[string]int{}
	for _, d := range databases {
		for _, row := range d.Rows(tb, sql) {
			rows[row]++
		}
	}
	return rows
}

// compareBags reports rows that are not as often on both sides.
func compareBags(tb testing.TB, what string, want, got map[string]int) {
	tb.Helper()
	shown := 0
	for row, n := range want {
		if got[row] != n && shown < 10 {
			tb.Errorf("%s: source %d, destination %d: %s", what, n, got[row], row)
			shown++
		}
	}
	for row, n := range got {
		if want[row] == 0 && shown < 20 {
			tb.Errorf("%s: source 0, destination %d: %s", what, n, row)
			shown++
		}
	}
	if len(want) == 0 {
		tb.Errorf("%s has no rows: nothing was compared", what)
	}
}

// shardCaughtUp waits until a stream has applied what its shard has written.
func shardCaughtUp(tb testing.TB, m *mirror.Manager, shard int, source *pgtest.Database) {
	tb.Helper()
	target := pgtest.Value[string](tb, source, "SELECT pg_current_wal_insert_lsn()::text")
	pgtest.Eventually(tb, fmt.Sprintf("shard %d is applied up to %s", shard, target), func(ctx context.Context) (bool, error) {
		rows, _, err := m.Mirrors(ctx)
		if err != nil || len(rows) == 0 {
			return false, err
		}
		for _, s := range rows[0].Streams {
			if s.Shard == shard {
				return pgtest.Value[bool](tb, source, "SELECT $1::pg_lsn >= $2::pg_lsn", s.AppliedLSN.String(), target), nil
			}
		}
		return false, nil
	})
}

// writing writes to both shards until the function that it gives is called.
func writing(tb testing.TB, sources []*pgtest.Database) (stop func()) {
	tb.Helper()
	var stops []func()
	for shard, d := range sources {
		ctx, cancel := context.WithCancel(tb.Context())
		ended := make(chan error, 1)
		conn := d.Connect(tb)
		go func() { // ends by stop, or with the test
			ended <- func() error {
				pace := time.NewTicker(50 * time.Millisecond)
				defer pace.Stop()
				for i := 0; ; i++ {
					select {
					case <-pace.C:
					case <-ctx.Done():
						return nil
					}
					_, err := conn.PgConn().Exec(context.WithoutCancel(ctx), fmt.Sprintf(`
BEGIN; INSERT INTO orders SELECT t, %[1]d, 'w' FROM generate_series(1, 40) t WHERE %[2]s = %[3]d LIMIT 3; INSERT INTO visits VALUES ((SELECT min(tenant) FROM orders), 'w %[1]d'); COMMIT;
UPDATE orders SET v = 'u %[1]d' WHERE id = %[1]d %% 100; DELETE FROM visits WHERE note = 'w ' || (%[1]d - 5)`,
						10000+i, ledger.ShardExpression("t::bigint", "bigint", 2), shard)).ReadAll()
					if err != nil {
						return err
					}
				}
			}()
		}()
		stops = append(stops, func() {
			cancel()
			if err := <-ended; err != nil {
				tb.Errorf("write to shard %d of the source: %v", shard, err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		for _, stop := range stops {
			stop()
		}
	})
	tb.Cleanup(stop)
	return stop
}

// TestDataFromShards merges two shards into one, and spreads them over three,
// while both are written to.
func TestDataFromShards(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("to %d", n), func(t *testing.T) {
			if n == 1 {
				pgtest.Long(t)
			}
			t.Parallel()
			sources, destinations, s := tenantSetup(t, n, "")
			sources[1].Exec(t, "DELETE FROM settings WHERE id > 10; INSERT INTO settings VALUES (1000, 'of shard 1 alone')") // only shard 0 is asked
			m := s.manager(t)
			stop := writing(t, sources)
			id := copyData(t, m, copyRequest())
			streaming(t, m, id)
			tenantChanges(t, sources, 1)
			if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"visits"}}); err != nil {
				t.Fatal(full(err))
			}
			again(t, m, "visits", 2)
			tenantChanges(t, sources, 2)
			stop()
			streaming(t, m, id)
			tenantsArrived(t, m, sources, destinations)

			stopTask(t, m, id)
			tenantChanges(t, sources, 3)
			id = copyData(t, m, copyRequest())
			tenantsArrived(t, m, sources, destinations)

			// A table that comes to both, and not at the same time.
			const added = "CREATE TABLE added (tenant bigint PRIMARY KEY, v text);"
			for shard, d := range sources {
				d.Exec(t, added+fmt.Sprintf("INSERT INTO added SELECT t, 'v' FROM generate_series(1, 100) t WHERE %s = %d", ledger.ShardExpression("t::bigint", "bigint", 2), shard))
				if shard == 0 {
					becomes(t, m, "public.added", mirror.TableStreaming)
				}
			}
			pgtest.Eventually(t, "it is there from both shards", func(ctx context.Context) (bool, error) {
				rows, _, err := m.MirrorTables(ctx, theMirror)
				there := 0
				for _, row := range rows {
					if row.Table == "added" && row.State == mirror.TableStreaming {
						there++
					}
				}
				return there == 2, err
			})
			for _, d := range sources {
				d.Exec(t, "UPDATE added SET v = 'new' WHERE tenant % 3 = 0; DELETE FROM added WHERE tenant % 7 = 0")
			}
			tenantsArrived(t, m, sources, destinations, "added")
			stopTask(t, m, id)
			for _, d := range sources {
				onlyItsSlot(t, d)
			}
			same(t, m)
		})
	}
}

// TestDataFromShardsKilled kills data-sync while one shard of the source is
// copied and the other is not, and while both stream.
func TestDataFromShardsKilled(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	for _, while := range []string{"copying", "streaming"} {
		t.Run(while, func(t *testing.T) {
			t.Parallel()
			sources, destinations, s := tenantSetup(t, 2, "")
			m, paths := s.manager(t), s.write(t)
			succeed(t, m, request(dump.PreData))
			release := func() {}
			if while == "copying" {
				release = hold(t, destinations[1], "orders")
			}
			first := launch(t, paths, dataSync()...)
			if while == "copying" {
				held(t, destinations[1], "copy")
				destinations[0].WaitUntil(t, "SELECT count(*) = 2 FROM pgdrover.tables WHERE table_name = 'visits' AND state = 'catching_up'")
			} else {
				destinations[0].WaitUntil(t, "SELECT to_regclass('pgdrover.tables') IS NOT NULL")
				streamsAtLast(t, m)
				release = hold(t, destinations[1], "orders")
				tenantChanges(t, sources, 1)
				held(t, destinations[1], "apply")
			}
			first.kill()
			interrupted(t, m)
			tenantChanges(t, sources, 2)
			release()
			second := launch(t, paths, dataSync()...)
			streamsAtLast(t, m)
			tenantChanges(t, sources, 3)
			tenantsArrived(t, m, sources, destinations)
			second.terminate(t)
			for _, d := range sources {
				onlyItsSlot(t, d)
			}
		})
	}
}

// TestDataFromShardsReconnects loses the connection to one shard of the source
// while it is copied, and while it streams.
func TestDataFromShardsReconnects(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	sources, destinations, s := tenantSetup(t, 1, "")
	way := sources[1].Cluster.Proxy(t)
	s.source[1] = through(way, sources[1])
	m := s.manager(t)
	succeed(t, m, request(dump.PreData))
	release := hold(t, destinations[0], "orders")
	id := copyData(t, m, copyRequest())
	held(t, destinations[0], "copy")
	destinations[0].WaitUntil(t, "SELECT count(*) = 2 FROM pgdrover.tables WHERE table_name = 'visits' AND state = 'catching_up'")
	way.Cut() // with it the snapshot of shard 1 goes
	tenantChanges(t, sources, 1)
	release()
	pgtest.Eventually(t, "the copy has come to its end", func(ctx context.Context) (bool, error) {
		task, err := look(ctx, m, id)
		return task.State.Ended() || task.Inner == "replicating", err
	})
	if task, _ := look(t.Context(), m, id); task.State.Ended() {
		// What was begun from both shards has to be begun again from both.
		says(t, task.Error, pgerror.Code(task.Error), "COPY_DATA")
		id = copyData(t, m, copyRequest())
	}
	streaming(t, m, id)
	way.Cut()
	tenantChanges(t, sources, 2)
	tenantsArrived(t, m, sources, destinations)
	stopTask(t, m, id)
	for _, d := range sources {
		onlyItsSlot(t, d)
	}
}

// TestDataFromShardsPartitions has a table that is spread over two shards and
// is partitioned there: its partitions are published, the entry of
// [[sharded_tables]] names the table.
func TestDataFromShardsPartitions(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	const parted = `
CREATE TABLE parted (tenant bigint, id int, PRIMARY KEY (tenant, id)) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (50);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (50) TO (1000);
`
	sources, destinations, s := tenantSetup(t, 1, parted)
	s.extra += sharded("prod", "parted")
	for shard, d := range sources {
		d.Exec(t, fmt.Sprintf("INSERT INTO parted SELECT t, i FROM generate_series(1, 20) t, generate_series(1, 100) i WHERE %s = %d", ledger.ShardExpression("t::bigint", "bigint", 2), shard))
	}
	m := s.manager(t)
	id := follow(t, m)
	tenantsArrived(t, m, sources, destinations, "parted")
	for _, d := range sources {
		d.Exec(t, "UPDATE parted SET id = id + 500 WHERE id IN (3, 30); DELETE FROM parted WHERE id = 60")
	}
	tenantsArrived(t, m, sources, destinations, "parted")
	stopTask(t, m, id)
}

// TestDataFromShardsTruncate empties a table on one shard of the source: the
// rows that came from the other must stay, or the table must stop.
func TestDataFromShardsTruncate(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	sources, destinations, s := tenantSetup(t, 1, "")
	m := s.manager(t)
	id := follow(t, m)
	sources[0].Exec(t, "TRUNCATE visits; INSERT INTO visits VALUES (1, 'after')")
	for shard, d := range sources {
		shardCaughtUp(t, m, shard, d)
	}
	stopped := false
	for _, row := range tables(t, m) {
		if row.Table == "visits" && row.State == mirror.TableStopped {
			stopped = true
			says(t, row.Error, row.Error.Code, "TRUNCATE", "RESYNC")
		}
	}
	if stopped {
		if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Stopped: true}); err != nil {
			t.Fatal(full(err))
		}
		pgtest.Eventually(t, "the table streams again from both shards", func(ctx context.Context) (bool, error) {
			rows, _, err := m.MirrorTables(ctx, theMirror)
			return !slices.ContainsFunc(rows, func(r mirror.MirrorTableRow) bool { return r.State != mirror.TableStreaming }), err
		})
	}
	tenantsArrived(t, m, sources, destinations)
	stopTask(t, m, id)
}

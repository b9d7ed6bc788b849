package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// pairRows are two tables: one of several ranges with a key and an index, and
// one in which a row that arrives twice is seen.
const pairRows = `
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, price numeric);
CREATE INDEX items_name ON items (name);
CREATE TABLE notes (note text, at timestamptz);
ALTER TABLE notes REPLICA IDENTITY FULL;
INSERT INTO items SELECT i, repeat('item ' || i, 20), i * 1.1 FROM generate_series(1, 20000) i;
INSERT INTO notes SELECT 'n' || i, now() FROM generate_series(1, 500) i;
`

// quick lets what waits for a server be tried again soon.
const quick = "resharding_replication_retry_min_delay = 100\nresharding_copy_retry_min_delay = 50\n"

// follow runs COPY_DATA until every table streams.
func follow(tb testing.TB, m *mirror.Manager) mirror.TaskID {
	tb.Helper()
	id := copyData(tb, m, copyRequest())
	streaming(tb, m, id)
	return id
}

// changed writes to both tables in transactions that must stay whole.
func changed(tb testing.TB, source *pgtest.Database, round int) {
	tb.Helper()
	source.Exec(tb, fmt.Sprintf(`
BEGIN; UPDATE items SET price = price + 1, name = 'round %[1]d' WHERE id %% 50 = %[1]d; INSERT INTO notes VALUES ('round %[1]d', now()); COMMIT;
BEGIN; INSERT INTO items SELECT i, 'new', 1 FROM generate_series(%[2]d, %[2]d + 99) i; DELETE FROM notes WHERE note = 'n%[1]d'; COMMIT`, round, 1000000+1000*round))
}

// arrives waits until all that the source has committed is applied, and
// compares both sides.
func arrived(tb testing.TB, m *mirror.Manager, source *pgtest.Database, destination ...*pgtest.Database) {
	tb.Helper()
	ledger.CaughtUp(tb, source, applied(m))
	sameRows(tb, source, destination...)
}

// waiting waits until the mirror shows what it waits for, with all of words.
func waiting(tb testing.TB, m *mirror.Manager, words ...string) *pgerror.Error {
	tb.Helper()
	var shown *pgerror.Error
	pgtest.Eventually(tb, "SHOW MIRRORS has an error with "+strings.Join(words, ", "), func(ctx context.Context) (bool, error) {
		rows, _, err := m.Mirrors(ctx)
		if err != nil || len(rows) == 0 || rows[0].Error == nil {
			return false, err
		}
		shown = rows[0].Error
		for _, word := range words {
			if !strings.Contains(full(shown), word) {
				return false, nil
			}
		}
		return true, nil
	})
	return shown
}

// gone waits until the mirror shows no error any more, and goes on.
func gone(tb testing.TB, m *mirror.Manager) {
	tb.Helper()
	pgtest.Eventually(tb, "SHOW MIRRORS has no error", func(ctx context.Context) (bool, error) {
		rows, warnings, err := m.Mirrors(ctx)
		return err == nil && len(warnings) == 0 && len(rows) > 0 && rows[0].Error == nil && rows[0].State == "replicating", err
	})
}

// breaks waits for a task that has to end by an error, and checks that.
func breaks(tb testing.TB, m *mirror.Manager, id mirror.TaskID, code string, words ...string) *pgerror.Error {
	tb.Helper()
	pgtest.Eventually(tb, "the task has failed", func(ctx context.Context) (bool, error) {
		task, err := look(ctx, m, id)
		return err == nil && task.State == mirror.Failed, nil
	})
	task := ends(tb, m, id, mirror.Failed)
	says(tb, task.Error, code, words...)
	return task.Error
}

// hold keeps everybody from writing to tables until the function that it gives
// is called. Whoever reads them, pg_dump among them, does not notice.
func hold(tb testing.TB, d *pgtest.Database, tables string) (release func()) {
	tb.Helper()
	conn := d.Connect(tb)
	if _, err := conn.PgConn().Exec(tb.Context(), "BEGIN; LOCK TABLE "+tables+" IN SHARE MODE").ReadAll(); err != nil {
		tb.Fatal(err)
	}
	return func() { _ = conn.Close(context.WithoutCancel(tb.Context())) } // the server may have been restarted
}

// holdSlots keeps new slots from becoming usable until the function that it
// gives is called: a transaction has begun to write.
func holdSlots(tb testing.TB, source *pgtest.Database) (release func()) {
	tb.Helper()
	conn := source.Connect(tb)
	if _, err := conn.PgConn().Exec(tb.Context(), "BEGIN; SELECT pg_current_xact_id()").ReadAll(); err != nil {
		tb.Fatal(err)
	}
	return func() { _ = conn.Close(context.WithoutCancel(tb.Context())) } // nothing to commit
}

// slotWaits waits until a slot that is being made waits for transactions.
func slotWaits(tb testing.TB, source *pgtest.Database) {
	tb.Helper()
	source.WaitUntil(tb, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
		AND application_name = 'pgdrover slot' AND wait_event_type = 'Lock')`)
}

// held waits until a session of pgdrover for a purpose waits for a lock.
func held(tb testing.TB, d *pgtest.Database, purpose string) {
	tb.Helper()
	d.WaitUntil(tb, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
		AND application_name LIKE 'pgdrover ' || $1 || '%' AND wait_event_type = 'Lock')`, purpose)
}

// through puts a proxy before a database's server.
func through(p *pgtest.Proxy, d *pgtest.Database) endpoint {
	e := at(d)
	e.host, e.port = p.Host(), p.Port()
	return e
}

// TestDataServerRestarts restarts, and crashes, each server while rows are
// copied and while changes are applied. The same task brings everything over.
func TestDataServerRestarts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		source bool
		mode   pgcluster.StopMode
	}{
		{"source", true, pgcluster.Fast},
		{"source crashes", true, pgcluster.Immediate},
		{"destination", false, pgcluster.Fast},
		{"destination crashes", false, pgcluster.Immediate},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			what := pgtest.Start(t, pgtest.Options{})
			from, to := what, pgtest.Shared(t, 0)
			if !c.source {
				from, to = to, from
			}
			source, destination := from.CreateDatabase(t), to.CreateDatabase(t)
			source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
			s := between(source, destination)
			s.general = quick
			m := s.manager(t)
			succeed(t, m, request(dump.PreData))
			release := hold(t, destination, "items")
			id := copyData(t, m, copyRequest())
			held(t, destination, "copy")
			plans(t, m, id)
			changed(t, source, 1)
			restart(t, what, c.mode)
			release()
			gone(t, m)
			streaming(t, m, id)
			changed(t, source, 2)
			arrived(t, m, source, destination)
			if s := slots(t, source); len(s) != 1 {
				t.Errorf("the slots are %v", s)
			}

			release = hold(t, destination, "items")
			changed(t, source, 3)
			held(t, destination, "apply")
			if c.source && c.mode == pgcluster.Fast {
				release() // see TestDataSourceStops
			}
			restart(t, what, c.mode)
			release()
			changed(t, source, 4)
			gone(t, m)
			arrived(t, m, source, destination)
			stopTask(t, m, id)
			same(t, m)
		})
	}
}

// TestDataSourceStops stops the source in an orderly way while changes cannot be
// applied. A server that stops waits for those who read its slots; nobody may
// make it wait for a destination.
func TestDataSourceStops(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	source, destination := c.CreateDatabase(t), pgtest.Shared(t, 0).CreateDatabase(t)
	source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	s := between(source, destination)
	s.general = quick
	m := s.manager(t)
	id := follow(t, m)
	release := hold(t, destination, "items")
	changed(t, source, 1)
	held(t, destination, "apply")
	ctx, cancel := context.WithTimeout(t.Context(), patience/2)
	defer cancel()
	if err := c.Stop(ctx, pgcluster.Fast); err != nil {
		t.Errorf("the source cannot stop while the destination is stalled: %v", err)
		release()
		if err := c.Stop(t.Context(), pgcluster.Fast); err != nil {
			t.Fatal(err)
		}
	}
	release()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone(t, m)
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

// plans waits until a task knows what it has to build after the rows.
func plans(tb testing.TB, m *mirror.Manager, id mirror.TaskID) {
	tb.Helper()
	pgtest.Eventually(tb, "the rest of the schema is planned", func(ctx context.Context) (bool, error) {
		rows, _, err := m.Statements(ctx)
		return slices.ContainsFunc(rows, func(r mirror.StatementRow) bool { return r.Task == id && r.Phase == dump.PostData }), err
	})
}

// TestDataSchemaReadLost loses the connections on which the rest of the schema
// is read while rows are copied.
func TestDataSchemaReadLost(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"source", "destination"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, pairRows)
			s := between(source, destination)
			s.general = quick
			d, way := source, source.Cluster.Proxy(t)
			if side == "destination" {
				d, way = destination, destination.Cluster.Proxy(t)
				s.destination[0] = through(way, d)
			} else {
				s.source[0] = through(way, d)
			}
			m := s.manager(t)
			release := holdSlots(t, source)
			id := copyData(t, m, copyRequest())
			slotWaits(t, source)
			fired := way.CutBefore(query("BEGIN")) // pg_dump's
			release()
			await(t, fired)
			gone(t, m)
			streaming(t, m, id)
			arrived(t, m, source, destination)
			stopTask(t, m, id)
			same(t, m)
		})
	}
}

func restart(tb testing.TB, c *pgtest.Cluster, mode pgcluster.StopMode) {
	tb.Helper()
	if err := c.Restart(tb.Context(), mode); err != nil {
		tb.Fatal(err)
	}
}

// TestDataServerIsDown stops a server for longer than one attempt takes: what
// the stream waits for is shown, and it goes on by itself.
func TestDataServerIsDown(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	sourceWay, destinationWay := source.Cluster.Proxy(t), destination.Cluster.Proxy(t)
	s := setup{source: []endpoint{through(sourceWay, source)}, destination: []endpoint{through(destinationWay, destination)}, general: quick}
	m := s.manager(t)
	id := follow(t, m)

	sourceWay.Refuse()
	sourceWay.Cut()
	waiting(t, m, "08001", `database "prod" shard 0`, "refused")
	rows, _, err := m.Mirrors(t.Context())
	if err != nil || rows[0].LagBytes != nil {
		t.Errorf("the lag of a stream that is not read is not known: %+v %v", rows, err)
	}
	changed(t, source, 1)
	if err := sourceWay.Accept(); err != nil {
		t.Fatal(err)
	}
	gone(t, m)
	arrived(t, m, source, destination)

	destinationWay.Refuse()
	destinationWay.Cut()
	changed(t, source, 2)
	if _, warnings, _ := m.Mirrors(t.Context()); len(warnings) == 0 {
		t.Error("SHOW MIRRORS does not say that the destination cannot be asked")
	}
	if err := destinationWay.Accept(); err != nil {
		t.Fatal(err)
	}
	gone(t, m)
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

// TestDataStreamCut cuts connections to the destination at each point of a
// group's transaction: it is applied once, whatever its fate was.
func TestDataStreamCut(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	way := destination.Cluster.Proxy(t)
	s := between(source, destination)
	s.destination[0], s.general = through(way, destination), quick
	m := s.manager(t)
	id := follow(t, m)
	round := 0
	for _, c := range []struct {
		name string
		arm  func() <-chan struct{}
	}{
		{"before begin", func() <-chan struct{} { return way.CutBefore("pgdrover_begin") }},
		{"before the position", func() <-chan struct{} { return way.CutBefore("pgdrover_position") }},
		{"after the position", func() <-chan struct{} { return way.CutReply("pgdrover_position", "") }},
		{"before commit", func() <-chan struct{} { return way.CutBefore("pgdrover_commit") }},
		{"commit of unknown outcome", func() <-chan struct{} { return way.CutReply("pgdrover_commit", "COMMIT") }},
		{"before the answer to a question", func() <-chan struct{} { return way.CutReply("pgdrover_lsn", "") }},
		{"in the middle of rows", func() <-chan struct{} { return way.CutAfter(pgtest.ToServer, 3000) }},
		{"in the middle of answers", func() <-chan struct{} { return way.CutAfter(pgtest.ToClient, 50) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			round++
			fired := c.arm()
			changed(t, source, round)
			await(t, fired)
			arrived(t, m, source, destination)
		})
	}
	stopTask(t, m, id)
}

// await waits for a rule of a proxy.
func await(tb testing.TB, fired <-chan struct{}) {
	tb.Helper()
	select {
	case <-fired:
	case <-time.After(patience):
		tb.Fatal("the connection was not cut")
	}
}

// TestDataSourceCut cuts connections to the source while changes are read.
func TestDataSourceCut(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	way := source.Cluster.Proxy(t)
	s := between(source, destination)
	s.source[0], s.general = through(way, source), quick
	m := s.manager(t)
	id := follow(t, m)
	for round, arm := range []func() <-chan struct{}{
		func() <-chan struct{} { return way.CutAfter(pgtest.ToClient, 5000) },   // within a transaction
		func() <-chan struct{} { return way.CutBefore("START_REPLICATION") },    // taking it up again
		func() <-chan struct{} { return way.CutReply("START_REPLICATION", "") }, // the slot is taken
	} {
		fired := arm()
		if round > 0 {
			way.Cut()
		}
		changed(t, source, round+1)
		await(t, fired)
		arrived(t, m, source, destination)
	}
	stopTask(t, m, id)
}

// TestDataCopyCut cuts connections while rows are copied, at points where a
// range could be lost or come twice.
func TestDataCopyCut(t *testing.T) {
	t.Parallel()
	type ways struct{ source, destination *pgtest.Proxy }
	for name, arm := range map[string]func(ways) <-chan struct{}{
		"rows from the source":      func(w ways) <-chan struct{} { return w.source.CutReply(`"price") TO STDOUT`, "item 9") },
		"rows to the destination":   func(w ways) <-chan struct{} { return w.destination.CutBefore("item 9item 9item 9") },
		"before a range's commit":   func(w ways) <-chan struct{} { return w.destination.CutBefore("INSERT INTO pgdrover.copied") },
		"commit of unknown outcome": func(w ways) <-chan struct{} { return w.destination.CutReply("INSERT INTO pgdrover.copied", "COMMIT") },
		"the snapshot's connection": func(w ways) <-chan struct{} {
			return w.source.CutReply("CREATE_REPLICATION_SLOT", "CREATE_REPLICATION_SLOT")
		},
		"a snapshot is taken over": func(w ways) <-chan struct{} { return w.source.CutBefore("SET TRANSACTION SNAPSHOT") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, pairRows)
			w := ways{source.Cluster.Proxy(t), destination.Cluster.Proxy(t)}
			s := setup{source: []endpoint{through(w.source, source)}, destination: []endpoint{through(w.destination, destination)}, general: quick + "resharding_parallel_copies = 2\n"}
			m := s.manager(t)
			fired := arm(w)
			id := copyData(t, m, copyRequest())
			await(t, fired)
			task, err := m.Wait(waitSome(t, m, id), id, func(string) {})
			if err == nil && task.State == mirror.Failed {
				// Told clearly: the same command then goes on.
				says(t, task.Error, pgerror.Code(task.Error))
				t.Logf("%s", full(task.Error))
				id = copyData(t, m, copyRequest())
			}
			streaming(t, m, id)
			changed(t, source, 1)
			arrived(t, m, source, destination)
			if s := slots(t, source); len(s) != 1 {
				t.Errorf("the slots are %v", s)
			}
			stopTask(t, m, id)
			same(t, m)
		})
	}
}

// waitSome gives a context that ends when the task streams.
func waitSome(tb testing.TB, m *mirror.Manager, id mirror.TaskID) context.Context {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	pgtest.Eventually(tb, "the task streams, or has ended", func(ctx context.Context) (bool, error) {
		task, err := look(ctx, m, id)
		return err == nil && (task.State.Ended() || task.Inner == "replicating"), nil
	})
	if task, err := look(tb.Context(), m, id); err == nil && !task.State.Ended() {
		cancel()
	}
	tb.Cleanup(cancel)
	return ctx
}

// TestDataCopyRetryIsSeen loses one shard of the destination while rows are
// copied: what the copy waits for is told.
func TestDataCopyRetryIsSeen(t *testing.T) {
	t.Parallel()
	source, first := fresh(t, pairRows)
	second := first.Cluster.CreateDatabase(t)
	way := second.Cluster.Proxy(t)
	s := between(source, first, second)
	s.destination[1] = through(way, second)
	s.general = quick + "resharding_copy_retry_max_attempts = 1000\n"
	m := s.manager(t)
	succeed(t, m, request(dump.PreData))
	release := hold(t, second, "items")
	id := copyData(t, m, copyRequest())
	held(t, second, "copy")
	way.Refuse()
	way.Cut()
	pgtest.Eventually(t, "SHOW TABLE_COPIES tells what the copy waits for", func(ctx context.Context) (bool, error) {
		rows, _, err := m.TableCopies(ctx)
		for _, row := range rows {
			if row.Error != nil && row.Error.Code == pgerror.UnableToConnect {
				return strings.Contains(full(row.Error), "shard 1"), nil
			}
		}
		return false, err
	})
	release()
	if err := way.Accept(); err != nil {
		t.Fatal(err)
	}
	streaming(t, m, id)
	for _, row := range copies(t, m) {
		if row.Error != nil {
			t.Errorf("%s is copied and has an error still: %s", row.Table, full(row.Error))
		}
	}
	arrived(t, m, source, first, second)
	stopTask(t, m, id)
}

// TestDataNetworkIsSilent lets a network swallow everything for longer than the
// source waits for an answer.
func TestDataNetworkIsSilent(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_sender_timeout": "1s"}})
	source, destination := c.CreateDatabase(t), pgtest.Shared(t, 0).CreateDatabase(t)
	source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	sourceWay, destinationWay := source.Cluster.Proxy(t), destination.Cluster.Proxy(t)
	s := setup{source: []endpoint{through(sourceWay, source)}, destination: []endpoint{through(destinationWay, destination)}, general: quick}
	m := s.manager(t)
	id := follow(t, m)
	for round, way := range []*pgtest.Proxy{sourceWay, destinationWay} {
		way.Blackhole(true)
		changed(t, source, 2*round)
		pgtest.Eventually(t, "something is in the black hole", func(context.Context) (bool, error) { return way.Held(), nil })
		if way == sourceWay {
			// The source gives the stream up.
			source.WaitUntil(t, "SELECT NOT active FROM pg_replication_slots WHERE database = current_database()")
		} else {
			pause(t, 3*time.Second)
		}
		changed(t, source, 2*round+1)
		way.Blackhole(false)
		arrived(t, m, source, destination)
		gone(t, m)
	}
	stopTask(t, m, id)
}

// TestDataStalledDestination holds the applier up for several times the
// source's wal_sender_timeout: answers go out nevertheless.
func TestDataStalledDestination(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_sender_timeout": "1s"}})
	source, destination := c.CreateDatabase(t), c.CreateDatabase(t)
	source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	m := between(source, destination).manager(t)
	id := follow(t, m)
	const reader = `SELECT active_pid FROM pg_replication_slots WHERE database = current_database()`
	before := pgtest.Value[int32](t, source, reader)
	release := hold(t, destination, "items, notes")
	changed(t, source, 1)
	held(t, destination, "apply")
	for range 4 {
		changed(t, source, 2)
		source.Exec(t, "DELETE FROM items WHERE id >= 1002000")
		pause(t, time.Second)
	}
	if after := pgtest.Value[int32](t, source, `SELECT coalesce((`+reader+`), 0)`); after != before {
		t.Errorf("the source has given the stream up: its process was %d and is %d", before, after)
	}
	release()
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

// TestDataRoleSettings gives the roles settings that would end every longer
// statement and transaction, and forbid writing.
func TestDataRoleSettings(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	const role = "hasty"
	postgres := c.Database("postgres")
	postgres.Exec(t, "CREATE ROLE "+role+" LOGIN SUPERUSER")
	t.Cleanup(func() { // after its databases are dropped
		if err := postgres.TryExec(context.Background(), "DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	source, destination := fresh(t, pairRows)
	for name, value := range map[string]string{
		"statement_timeout": "100", "lock_timeout": "50", "idle_in_transaction_session_timeout": "50", "idle_session_timeout": "200",
		"default_transaction_read_only": "on", "default_transaction_isolation": "serializable", "search_path": "pg_temp", "DateStyle": "'SQL, DMY'", "bytea_output": "escape",
		"synchronous_commit": "off", "row_security": "on", "client_encoding": "LATIN1", "TimeZone": "'Asia/Tokyo'", "extra_float_digits": "-10",
	} {
		postgres.Exec(t, fmt.Sprintf("ALTER ROLE %s SET %s = %s", role, name, value))
	}
	s := between(source, destination)
	s.source[0].user, s.destination[0].user = role, role
	s.general = quick
	m := s.manager(t)
	succeed(t, m, request(dump.PreData))
	release := hold(t, destination, "items")
	id := copyData(t, m, copyRequest())
	held(t, destination, "copy")
	pause(t, time.Second)
	release()
	streaming(t, m, id)

	release = hold(t, destination, "items")
	changed(t, source, 1)
	held(t, destination, "apply")
	pause(t, time.Second)
	release()
	arrived(t, m, source, destination)
	task := stopTask(t, m, id)
	for _, row := range task.Streams {
		if row.Error != nil {
			t.Errorf("a setting of the role was met: %s", full(row.Error))
		}
	}
	for _, row := range copies(t, m) {
		if row.Attempt != 1 {
			t.Errorf("%s was copied %d times", row.Table, row.Attempt)
		}
	}
	same(t, m)
}

// copies gives the rows of SHOW TABLE_COPIES.
func copies(tb testing.TB, m *mirror.Manager) []mirror.TableCopyRow {
	tb.Helper()
	rows, warnings, err := m.TableCopies(tb.Context())
	if err != nil || len(warnings) > 0 {
		tb.Fatalf("look at the copies: %s %v", full(err), warnings)
	}
	return rows
}

// TestDataDiskFull fills the destination's disk while rows are copied and while
// changes are applied. Both wait, visibly, and go on when there is room again.
func TestDataDiskFull(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	space := c.SmallTablespace(t, smallDisk)
	source, destination := pgtest.Shared(t, 0).CreateDatabase(t), c.CreateDatabase(t, "TABLESPACE "+space)
	source.Exec(t, pairRows+"CREATE TABLE wide (id int PRIMARY KEY, md text); INSERT INTO wide SELECT i, repeat(md5(i::text), 6) FROM generate_series(1, 20000) i; CREATE PUBLICATION all_tables FOR ALL TABLES")
	s := between(source, destination)
	s.general = quick + "resharding_copy_retry_max_attempts = 1000\n"
	m := s.manager(t)
	fill(t, destination)
	id := copyData(t, m, copyRequest())
	pgtest.Eventually(t, "the copy meets the full disk", func(context.Context) (bool, error) {
		log := c.Log()
		at := strings.Index(log, "No space left on device")
		return at >= 0 && strings.Contains(log[at:], "COPY wide"), nil
	})
	destination.Exec(t, "DROP TABLE filler")
	destination.Exec(t, "CHECKPOINT")
	streaming(t, m, id)

	fill(t, destination)
	source.Exec(t, "INSERT INTO wide SELECT i, repeat(md5(i::text), 6) FROM generate_series(100001, 115000) i")
	waiting(t, m, pgerror.DiskFull, "No space left on device")
	if row := tableRow(t, m, "public.wide"); row.State != mirror.TableStreaming {
		t.Errorf("a full disk is nobody's fault, and the table is %s: %s", row.State, full(row.Error))
	}
	destination.Exec(t, "DROP TABLE filler")
	destination.Exec(t, "CHECKPOINT")
	arrived(t, m, source, destination)
	gone(t, m)
	stopTask(t, m, id)
}

// smallDisk is the size of the disk that is filled.
const smallDisk = 48 << 20

// fill leaves 2 MB of room on a database's disk.
func fill(tb testing.TB, d *pgtest.Database) {
	tb.Helper()
	d.Exec(tb, "CREATE TABLE filler (f text); ALTER TABLE filler ALTER f SET STORAGE PLAIN")
	for pgtest.Value[int64](tb, d, "SELECT pg_database_size(current_database())") < smallDisk-2<<20 {
		d.Exec(tb, "INSERT INTO filler SELECT repeat('x', 4000) FROM generate_series(1, 50)")
	}
}

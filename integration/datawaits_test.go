package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

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

// TestDataDiskFull fills the destination's disk while rows are copied and while
// changes are applied. Both wait, visibly, and go on when there is room again.
func TestDataDiskFull(t *testing.T) {
	pgtest.Long(t)
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

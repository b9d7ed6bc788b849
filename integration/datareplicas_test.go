package integration

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// replicated is a source with standbys that exist to be copied from.
type replicated struct {
	primary  *pgtest.Cluster
	standbys []*pgtest.Cluster
}

// replicate starts a primary with so many standbys, whose logs have every
// statement.
func replicate(tb testing.TB, installation pgcluster.Installation, standbys int) replicated {
	tb.Helper()
	r := replicated{primary: pgtest.Start(tb, pgtest.Options{Installation: installation})}
	for range standbys {
		r.standbys = append(r.standbys, r.primary.Standby(tb, pgcluster.StandbyOptions{Settings: map[string]string{"log_statement": "all"}}))
	}
	return r
}

// fresh makes a source on the primary and a destination in the shared cluster
// of its version; of each standby one session is to read.
func (r replicated) fresh(tb testing.TB, sql string) (source, destination *pgtest.Database, s setup) {
	tb.Helper()
	source, destination = r.primary.CreateDatabase(tb), pgtest.Shared(tb, r.primary.Installation().Major).CreateDatabase(tb)
	source.Exec(tb, sql+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	s = between(source, destination)
	s.extra = pgDump(tb, r.primary)
	s.general = quick + "resharding_parallel_copies = 1\n"
	for _, standby := range r.standbys {
		s.extra += fmt.Sprintf("[[databases]]\nname = \"prod\"\nshard = 0\nrole = \"replica\"\nhost = %q\nport = %d\ndatabase_name = %q\nresharding_only = true\n",
			standby.Host(), standby.Port(), source.Name)
	}
	return source, destination, s
}

// copiesFrom waits until pgdrover reads rows from a server, for a database.
func copiesFrom(tb testing.TB, c *pgtest.Cluster, database string) {
	tb.Helper()
	c.Database("postgres").WaitUntil(tb, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'pgdrover copy%' AND query LIKE 'COPY%TO STDOUT%')`, database)
}

// readsNothing checks that no session of pgdrover has snapshots for copies on a server.
func readsNothing(tb testing.TB, c *pgtest.Cluster, database string) {
	tb.Helper()
	const sessions = `SELECT count(*)::int FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'pgdrover copy%'`
	if n := pgtest.Value[int](tb, c.Database("postgres"), sessions, database); n != 0 {
		tb.Errorf("%d sessions copy from the server on port %d", n, c.Port())
	}
}

// noSlots waits until no logical slot is left on the standbys that run.
func (r replicated) noSlots(tb testing.TB) {
	tb.Helper()
	for _, standby := range r.standbys {
		if standby.State() == pgcluster.Running {
			standby.Database("postgres").WaitUntil(tb, "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'logical')")
		}
	}
}

// onlyItsSlot checks that the mirror's slot is the only one of the source.
func onlyItsSlot(tb testing.TB, source *pgtest.Database) {
	tb.Helper()
	source.WaitUntil(tb, "SELECT count(*) = 1 FROM pg_replication_slots WHERE database = current_database()")
}

// loggedManager is manager with what it logs.
func (s setup) loggedManager(tb testing.TB) (*mirror.Manager, *logged) {
	tb.Helper()
	cfg, _, err := config.Load(s.write(tb), func(string) (string, bool) { return "", false })
	if err != nil {
		tb.Fatalf("load the configuration: %v", err)
	}
	log := newLogged()
	m := mirror.NewManager(mirror.Options{
		Config: func() *config.Config { return cfg }, Version: "test", Logger: slog.New(slog.NewTextHandler(io.MultiWriter(tb.Output(), log), nil)),
	})
	tb.Cleanup(func() {
		if err := m.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("close the engine: %v", err)
		}
	})
	return m, log
}

// leftOut waits for the warning that a server is not copied from.
func leftOut(tb testing.TB, log *logged, c *pgtest.Cluster, words ...string) {
	tb.Helper()
	pgtest.Eventually(tb, "it is logged that a replica is not used", func(context.Context) (bool, error) {
		for line := range strings.Lines(log.text()) {
			if strings.Contains(line, "WARN") && strings.Contains(line, "a replica is not used") && strings.Contains(line, fmt.Sprint(c.Port())) {
				for _, word := range words {
					if !strings.Contains(line, word) {
						tb.Errorf("%q is missing in: %s", word, line)
					}
				}
				return true, nil
			}
		}
		return false, nil
	})
}

// TestDataFromReplicas copies from two standbys, which share the tables, while
// the primary is written to.
func TestDataFromReplicas(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	r := replicate(t, pgtest.Newer(t), 2)
	t.Run("share", func(t *testing.T) {
		source, destination, s := r.fresh(t, pairRows)
		m := s.manager(t)
		succeed(t, m, request(dump.PreData))
		release := hold(t, destination, "items, notes")
		id := copyData(t, m, copyRequest())
		for _, standby := range r.standbys {
			copiesFrom(t, standby, source.Name)
		}
		readsNothing(t, r.primary, source.Name)
		for round := range 5 {
			changed(t, source, round)
		}
		release()
		streaming(t, m, id)
		changed(t, source, 6)
		arrived(t, m, source, destination)

		// A table that joins, and one that is copied again.
		source.Exec(t, "CREATE TABLE added (id int, v text); ALTER TABLE added REPLICA IDENTITY FULL; INSERT INTO added SELECT i, 'v' || i FROM generate_series(1, 1000) i")
		becomes(t, m, "public.added", mirror.TableStreaming)
		if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"notes"}}); err != nil {
			t.Fatal(full(err))
		}
		source.Exec(t, "UPDATE added SET v = v || '!' WHERE id % 7 = 0; DELETE FROM added WHERE id % 11 = 0")
		changed(t, source, 7)
		again(t, m, "notes", 2)
		streaming(t, m, id)
		arrived(t, m, source, destination)
		stopTask(t, m, id)
		onlyItsSlot(t, source)
		if from := copiedFrom(r.standbys, "added"); from != 1 {
			t.Errorf("the table that joined was copied from %d of the standbys", from)
		}
	})
	t.Run("workload", func(t *testing.T) {
		source, destination, s := r.fresh(t, "")
		source.Exec(t, "DROP PUBLICATION all_tables")
		options := ledger.Options{Seed: 5, Workers: 3, Rate: 150, BigRows: 500, BigEvery: 60}
		if err := ledger.Setup(t.Context(), source.Connect(t), options); err != nil {
			t.Fatal(err)
		}
		source.Exec(t, "CREATE PUBLICATION all_tables FOR ALL TABLES")
		w, err := ledger.Start(t.Context(), ledger.DSN(source.DSN()), options)
		if err != nil {
			t.Fatal(err)
		}
		m := s.manager(t)
		id := copyData(t, m, copyRequest())
		streaming(t, m, id)
		if _, err := w.Stop(); err != nil {
			t.Fatal(err)
		}
		arrived(t, m, source, destination)
		if err := w.CheckAcknowledged(t.Context(), destination.Connect(t)); err != nil {
			t.Error(err)
		}
		stopTask(t, m, id)
		onlyItsSlot(t, source)
	})
	r.noSlots(t)
}

// copiedFrom counts the servers whose log has the COPY of a table.
func copiedFrom(servers []*pgtest.Cluster, table string) int {
	n := 0
	for _, server := range servers {
		for line := range strings.Lines(server.Log()) {
			if strings.Contains(line, "statement: COPY") && strings.Contains(line, `"`+table+`"`) && strings.Contains(line, "TO STDOUT") {
				n++
				break
			}
		}
	}
	return n
}

// again waits until tables have been begun so often.
func again(tb testing.TB, m *mirror.Manager, table string, attempt int) {
	tb.Helper()
	pgtest.Eventually(tb, table+" is copied again", func(ctx context.Context) (bool, error) {
		rows, _, err := m.TableCopies(ctx)
		for _, row := range rows {
			if row.Table == table && row.Attempt >= attempt {
				return true, err
			}
		}
		return false, err
	})
}

// pauseReplay keeps a standby from replaying until the function that it gives
// is called.
func pauseReplay(tb testing.TB, standby *pgtest.Cluster) (resume func()) {
	tb.Helper()
	db := standby.Database("postgres")
	db.Exec(tb, "SELECT pg_wal_replay_pause()")
	db.WaitUntil(tb, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
	return func() { db.Exec(tb, "SELECT pg_wal_replay_resume()") }
}

// asked waits until pgdrover looks how far a standby is.
func asked(tb testing.TB, standby *pgtest.Cluster, database string) {
	tb.Helper()
	standby.Database("postgres").WaitUntil(tb, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND application_name = 'pgdrover replica' AND query LIKE '%pg_last_wal_replay_lsn%')`, database)
}

// TestDataReplicaBehind has a standby that lags behind when rows are to be read.
func TestDataReplicaBehind(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	r := replicate(t, pgtest.Newer(t), 1)
	source, destination, s := r.fresh(t, pairRows)
	s.extra += "[data_sync]\ngroup_rows = 1\n" // the stream is read no further than it can be applied
	r.standbys[0].Replayed(t, r.primary)
	m := s.manager(t)
	resume := pauseReplay(t, r.standbys[0])
	id := copyData(t, m, copyRequest())
	asked(t, r.standbys[0], source.Name)
	changed(t, source, 1)
	resume()
	streaming(t, m, id)
	arrived(t, m, source, destination)
	if copiedFrom(r.standbys, "items") != 1 {
		t.Error("the standby was not waited for")
	}

	// The standby's snapshot is of a later moment than what the stream has
	// applied when the table joins: nothing may come twice.
	const twice = "CREATE TABLE twice (v int); ALTER TABLE twice REPLICA IDENTITY FULL;"
	destination.Exec(t, twice)
	resume = pauseReplay(t, r.standbys[0])
	source.Exec(t, twice)
	asked(t, r.standbys[0], source.Name)
	release := hold(t, destination, "items")
	source.Exec(t, "DO $$ BEGIN FOR i IN 1..30 LOOP UPDATE items SET price = 0 WHERE id = i; COMMIT; END LOOP; END $$")
	held(t, destination, "apply")
	source.Exec(t, "DO $$ BEGIN FOR i IN 1..20 LOOP INSERT INTO twice VALUES (i); COMMIT; END LOOP; END $$")
	resume()
	destination.WaitUntil(t, "SELECT state = 'catching_up' FROM pgdrover.tables WHERE table_name = 'twice'")
	release()
	becomes(t, m, "public.twice", mirror.TableStreaming)
	source.Exec(t, "INSERT INTO twice VALUES (100)")
	arrived(t, m, source, destination)
	stopTask(t, m, id)
	onlyItsSlot(t, source)
	r.noSlots(t)
}

// TestDataReplicaGoes has standbys that go away: before rows are read from
// them, and while they are.
func TestDataReplicaGoes(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	t.Run("waited for", func(t *testing.T) {
		t.Parallel()
		r := replicate(t, pgtest.Newer(t), 1)
		source, destination, s := r.fresh(t, pairRows)
		r.standbys[0].Replayed(t, r.primary)
		m, log := s.loggedManager(t)
		pauseReplay(t, r.standbys[0])
		id := copyData(t, m, copyRequest())
		asked(t, r.standbys[0], source.Name)
		if err := r.standbys[0].Kill(); err != nil {
			t.Fatal(err)
		}
		streaming(t, m, id)
		leftOut(t, log, r.standbys[0])
		changed(t, source, 1)
		arrived(t, m, source, destination)
		stopTask(t, m, id)
		onlyItsSlot(t, source)
	})
	for _, c := range []struct {
		name     string
		standbys int
		back     bool // it is started again at once: it is there, its snapshot is not
	}{{"the only one", 1, false}, {"one of two", 2, false}, {"restarted", 2, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := replicate(t, pgtest.Newer(t), c.standbys)
			// More than the buffers of a connection hold.
			source, destination, s := r.fresh(t, pairRows+"INSERT INTO items SELECT i, repeat(md5(i::text), 40), i FROM generate_series(100001, 130000) i;")
			m := s.manager(t)
			succeed(t, m, request(dump.PreData))
			release := hold(t, destination, "items, notes")
			id := copyData(t, m, copyRequest())
			for _, standby := range r.standbys {
				copiesFrom(t, standby, source.Name)
			}
			changed(t, source, 1)
			if err := r.standbys[0].Kill(); err != nil {
				t.Fatal(err)
			}
			if c.back {
				if err := r.standbys[0].Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			release()
			changed(t, source, 2)
			streaming(t, m, id)
			arrived(t, m, source, destination)

			stopTask(t, m, id)
			onlyItsSlot(t, source)
			r.noSlots(t)
		})
	}
}

// TestDataReplicaGoesInJoin restarts the standby while one of two tables that
// join is copied from it, and the other is already.
func TestDataReplicaGoesInJoin(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	r := replicate(t, pgtest.Newer(t), 1)
	source, destination, s := r.fresh(t, pairRows)
	s.general = quick + "resharding_parallel_copies = 8\n" // of added there are several ranges
	m := s.manager(t)
	id := follow(t, m)
	const added = "CREATE TABLE added (id int PRIMARY KEY, v text); CREATE TABLE small (v int); ALTER TABLE small REPLICA IDENTITY FULL;"
	destination.Exec(t, added)
	release := hold(t, destination, "added")
	source.Exec(t, added+"INSERT INTO added SELECT i, repeat(md5(i::text), 40) FROM generate_series(1, 20000) i; INSERT INTO small VALUES (1)")
	copiesFrom(t, r.standbys[0], source.Name)
	destination.WaitUntil(t, "SELECT state = 'catching_up' FROM pgdrover.tables WHERE table_name = 'small'")
	restart(t, r.standbys[0], pgcluster.Immediate)
	source.Exec(t, "UPDATE added SET v = 'new' WHERE id < 10; INSERT INTO small VALUES (2)")
	release()
	becomes(t, m, "public.added", mirror.TableStreaming)
	becomes(t, m, "public.small", mirror.TableStreaming)
	source.Exec(t, "DELETE FROM added WHERE id % 5 = 0; INSERT INTO small VALUES (3)")
	arrived(t, m, source, destination)
	stopTask(t, m, id)
	onlyItsSlot(t, source)
	r.noSlots(t)
}

// TestDataReplicaTooOld has a standby of a version that cannot decode: it is
// left out, and said so.
func TestDataReplicaTooOld(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	oldest := pgtest.Base(t)
	if oldest.Major >= 16 {
		t.Skipf("%s decodes on standbys", oldest)
	}
	r := replicate(t, oldest, 1)
	source, destination, s := r.fresh(t, pairRows)
	r.standbys[0].Replayed(t, r.primary)
	m, log := s.loggedManager(t)
	id := copyData(t, m, copyRequest())
	streaming(t, m, id)
	leftOut(t, log, r.standbys[0], fmt.Sprintf("PostgreSQL %d", oldest.Major), "version 16")
	changed(t, source, 1)
	arrived(t, m, source, destination)
	if copiedFrom(r.standbys, "items") != 0 {
		t.Error("rows were copied from it")
	}
	stopTask(t, m, id)
	onlyItsSlot(t, source)
	r.noSlots(t)
}

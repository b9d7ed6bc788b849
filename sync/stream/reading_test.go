package stream

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
)

// Only what was confirmed is told to the slot; an idle database gets marks, by
// which the slot advances.
func TestConfirm(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY)`)
		o := options(t, d, slot)
		o.StatusInterval = 20 * time.Millisecond
		r := openReader(t, o)
		before := pgtest.Value[string](t, d, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", slot)
		d.Exec(t, "INSERT INTO t VALUES (1)")
		first := next(t, r)
		d.Exec(t, "INSERT INTO t VALUES (2)")
		second := next(t, r)
		if second.FinalLSN < first.EndLSN {
			t.Errorf("%v before %v", second, first)
		}
		asked := pgtest.Value[time.Time](t, d, "SELECT clock_timestamp()")
		d.WaitUntil(t, "SELECT coalesce(r.reply_time > $2, false) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE s.slot_name = $1", slot, asked)
		if now := pgtest.Value[string](t, d, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", slot); now != before {
			t.Errorf("confirmed %s without being told, %s before", now, before)
		}
		r.Confirm(first.EndLSN)
		r.Confirm(first.FinalLSN) // never back
		d.WaitUntil(t, `SELECT s.confirmed_flush_lsn = $2::text::pg_lsn AND r.write_lsn = s.confirmed_flush_lsn AND r.flush_lsn = s.confirmed_flush_lsn AND r.replay_lsn = s.confirmed_flush_lsn
			FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE s.slot_name = $1`, slot, first.EndLSN.String())
		if at := r.Stats().ConfirmedLSN; at != first.EndLSN {
			t.Errorf("Stats: %s, want %s", at, first.EndLSN)
		}
		// What others write comes as a mark.
		c.Database("postgres").Exec(t, "SELECT pg_logical_emit_message(false, 'x', 'x')")
		mark := nextOrMark(t, r)
		for mark.Mark() && mark.EndLSN <= second.EndLSN {
			mark = nextOrMark(t, r)
		}
		if !mark.Mark() || mark.EndLSN <= second.EndLSN || mark.CommitTime.IsZero() {
			t.Errorf("mark %+v", mark)
		}
		if _, ok := r.TryNext(); ok {
			t.Error("TryNext gives something")
		}
		r.Confirm(mark.EndLSN)
		if err := r.Close(); err != nil { // tells the last position
			t.Error(err)
		}
		if now := pgtest.Value[string](t, d, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1 AND NOT active", slot); now != mark.EndLSN.String() {
			t.Errorf("confirmed %s after Close, want %s", now, mark.EndLSN)
		}
		if _, err := r.Next(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("Next after Close: %v", err)
		}

		// The same again from where it was confirmed, or from further on.
		d.Exec(t, "INSERT INTO t VALUES (3)")
		d.Exec(t, "INSERT INTO t VALUES (4)")
		r = openReader(t, options(t, d, slot))
		third := next(t, r)
		if got := lines(t, third)[0]; got != "I t N(3)" {
			t.Errorf("got %q", got)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		o.Start = third.EndLSN
		r = openReader(t, o)
		if got := lines(t, next(t, r))[0]; got != "I t N(4)" {
			t.Errorf("got %q", got)
		}
	})
}

// However slow the consumer is, the server is answered: wal_sender_timeout does
// not fire. Nothing is read beyond the queue's limit meanwhile.
func TestSlowConsumer(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, `CREATE TABLE t (i int, v text)`)
		d.Exec(t, "ALTER DATABASE "+pgtest.Quote(d.Name)+" SET wal_sender_timeout = '1s'")
		o := options(t, d, slot)
		o.QueueMemory = 1 << 20
		r := openReader(t, o)
		const transactions = 400
		conn := d.Connect(t)
		for i := range transactions {
			if _, err := conn.Exec(t.Context(), "INSERT INTO t SELECT $1, repeat('x', 1000) FROM generate_series(1, 100)", i); err != nil {
				t.Fatal(err)
			}
		}
		pid := pgtest.Value[int32](t, d, "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1", slot)
		// The server's clock says when three times the timeout have passed.
		began := pgtest.Value[time.Time](t, d, "SELECT clock_timestamp()")
		d.WaitUntil(t, "SELECT clock_timestamp() > $1::timestamptz + interval '3 s'", began)
		if now := pgtest.Value[int32](t, d, "SELECT coalesce(active_pid, 0) FROM pg_replication_slots WHERE slot_name = $1", slot); now != pid {
			t.Fatalf("process %d has the slot, not %d", now, pid)
		}
		if n := r.Stats().QueuedBytes; n < o.QueueMemory || n > o.QueueMemory+2*blockSize {
			t.Errorf("%d bytes are queued", n)
		}
		for i := range transactions {
			tx := next(t, r)
			if tx.Rows != 100 || !strings.HasPrefix(lines(t, tx)[0], "I t N("+strconv.Itoa(i)+",") {
				t.Fatalf("transaction %d: %d rows, %q", i, tx.Rows, lines(t, tx)[0])
			}
			tx.Release()
		}
		if n := r.Stats().QueuedBytes; n != 0 {
			t.Errorf("%d bytes are queued in the end", n)
		}
	})
}

// A cut connection, a killed server, one that is silent: the error says that
// the connection is lost, what was complete comes before it, and the same comes
// again after Open.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(*testing.T, *pgtest.Cluster, *pgtest.Proxy){
		"cut":     func(_ *testing.T, _ *pgtest.Cluster, p *pgtest.Proxy) { p.Cut() },
		"silence": func(_ *testing.T, _ *pgtest.Cluster, p *pgtest.Proxy) { p.Blackhole(true) },
		"killed":  func(t *testing.T, c *pgtest.Cluster, _ *pgtest.Proxy) { must(t, c.Kill()) },
		"stopped": func(t *testing.T, c *pgtest.Cluster, _ *pgtest.Proxy) {
			must(t, c.Stop(t.Context(), pgcluster.Immediate))
		},
		"process": func(t *testing.T, c *pgtest.Cluster, _ *pgtest.Proxy) {
			c.Database("postgres").Exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := pgtest.Start(t, pgtest.Options{})
			d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY)`)
			p := c.Proxy(t)
			o := options(t, d, slot)
			o.Server.Port = p.Port()
			o.ReceiveTimeout = time.Second
			o.StatusInterval = 100 * time.Millisecond
			r := openReader(t, o)
			d.Exec(t, "INSERT INTO t VALUES (1)")
			next(t, r).Release()
			d.Exec(t, "INSERT INTO t VALUES (2)")
			pgtest.Eventually(t, "the second transaction has come", func(context.Context) (bool, error) { return r.Stats().Transactions == 2, nil })
			breaks(t, c, p)
			next(t, r).Release()
			err := failure(t, r)
			if !pgerror.IsConnectionLost(err) {
				t.Errorf("got %v", err)
			}
			if _, again := r.Next(t.Context()); !errors.Is(again, err) {
				t.Errorf("then %v", again)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if c.State() != pgcluster.Running {
				must(t, c.Start(t.Context()))
			}
			p.Blackhole(false)
			r = openReader(t, o)
			for _, want := range []string{"I t N(1)", "I t N(2)"} {
				if got := lines(t, next(t, r)); len(got) != 1 || got[0] != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Cut after any number of bytes, in a message or between two, whole
// transactions come and nothing else.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	d, slot := source(t, pgtest.Shared(t, 0), `CREATE TABLE t (i int, j int)`)
	for i := range 50 {
		d.Exec(t, "INSERT INTO t SELECT $1, j FROM generate_series(1, 3) j", i)
	}
	p := d.Cluster.Proxy(t)
	o := options(t, d, slot)
	for cut := int64(3000); cut < 8000; cut += 211 {
		o.Server.Port = p.Port()
		p.CutAfter(pgtest.ToClient, cut)
		r, err := Open(t.Context(), o)
		if err != nil {
			continue // cut too early
		}
		n := 0
		for {
			tx, err := r.Next(t.Context())
			if err != nil {
				if !pgerror.IsConnectionLost(err) {
					t.Errorf("cut after %d: %v", cut, err)
				}
				break
			}
			if !tx.Mark() {
				if got := lines(t, tx); len(got) != 3 || got[0] != "I t N("+strconv.Itoa(n)+",1)" {
					t.Errorf("cut after %d: transaction %d is %q", cut, n, got)
				}
				n++
			}
			tx.Release()
			if n == 50 {
				break
			}
		}
		must(t, r.Close())
	}
}

// A server that is being stopped is let go, though not everything it has sent
// was confirmed.
func TestServerStops(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY)`)
	o := options(t, d, slot)
	o.Heartbeat = 100 * time.Millisecond
	r := openReader(t, o)
	d.Exec(t, "INSERT INTO t VALUES (1)")
	next(t, r).Release()
	stopped := make(chan error)
	go func() { stopped <- c.Restart(t.Context(), pgcluster.Fast) }()
	if err := failure(t, r); !pgerror.IsConnectionLost(err) {
		t.Errorf("got %v", err)
	}
	must(t, r.Close())
	must(t, <-stopped)
	if got := lines(t, next(t, openReader(t, o)))[0]; got != "I t N(1)" {
		t.Errorf("got %q", got)
	}
}

// The heartbeat moves an idle server's position, is not seen, and warns once
// when it cannot be written.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY)`)
	o := options(t, d, slot)
	o.Heartbeat = 50 * time.Millisecond
	var log syncBuffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r := openReader(t, o)
	first := nextOrMark(t, r)
	for range 3 {
		mark := nextOrMark(t, r)
		if !mark.Mark() || mark.EndLSN <= first.EndLSN {
			t.Errorf("%v after %v", mark, first)
		}
		first = mark
	}
	if s := r.Stats(); s.ServerLSN < s.ReceivedLSN || s.ReceivedLSN < first.EndLSN || s.LastMessage.IsZero() || s.Bytes == 0 {
		t.Errorf("%+v", s)
	}
	postgres := c.Database("postgres")
	postgres.Exec(t, "CREATE ROLE reader LOGIN REPLICATION")
	postgres.Exec(t, "REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) FROM PUBLIC")
	d.Exec(t, "REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) FROM PUBLIC")
	must(t, r.Close())
	o.Server.User = "reader"
	r = openReader(t, o)
	pgtest.Eventually(t, "a warning", func(context.Context) (bool, error) { return strings.Contains(log.String(), "42501"), nil })
	d.Exec(t, "INSERT INTO t VALUES (1)")
	next(t, r).Release() // the stream goes on
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
}

// A row of a hundred megabytes, in memory and through a file.
func TestHugeRow(t *testing.T) {
	t.Parallel()
	d, slot := source(t, pgtest.Shared(t, 0), `CREATE TABLE t (i int PRIMARY KEY, v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL`)
	const size = 100 << 20
	d.Exec(t, "INSERT INTO t VALUES (1, repeat('x', $1))", size)
	d.Exec(t, "INSERT INTO t VALUES (2, 'small')")
	for _, memory := range []int64{1 << 20, 1 << 30} {
		o := options(t, d, slot)
		o.SpillMemory = memory
		r := openReader(t, o)
		tx := next(t, r)
		if (tx.Spool != nil) != (memory == 1<<20) || tx.Bytes < size {
			t.Errorf("memory %d: spool %v, %d bytes", memory, tx.Spool != nil, tx.Bytes)
		}
		err := tx.Each(func(c *Change) error {
			_, _, rest := c.New.Next()
			if _, value, _ := rest.Next(); len(value) != size || value[0] != 'x' || value[size-1] != 'x' {
				t.Errorf("memory %d: a value of %d bytes", memory, len(value))
			}
			return nil
		})
		must(t, err)
		tx.Release()
		if got := lines(t, next(t, r)); got[0] != "I t N(2,small)" {
			t.Errorf("then %q", got)
		}
		must(t, r.Close())
	}
}

// A full disk ends the stream with an error that names the directory.
func TestSpillDiskFull(t *testing.T) {
	t.Parallel()
	disk := pgtest.SmallDisk(t, "", 4<<20)
	d, slot := source(t, pgtest.Shared(t, 0), `CREATE TABLE t (i int, v text)`)
	d.Exec(t, "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 10000) i")
	o := options(t, d, slot)
	o.SpillDirectory, o.SpillMemory = disk, 1<<20
	r := openReader(t, o)
	err := failure(t, r)
	if e := pgerror.From(err); e.Code != pgerror.DiskFull || !strings.Contains(e.Detail, disk) || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	must(t, r.Close())
	if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// The directories of processes that are no more are removed, those of others
// stay, and a reader's own goes with it.
func TestSpillDirectories(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dead := filepath.Join(parent, spoolDirPrefix+"dead")
	must(t, os.MkdirAll(filepath.Join(dead, "1-file"), 0o700))
	foreign := filepath.Join(parent, "foreign")
	must(t, os.Mkdir(foreign, 0o700))
	alive, err := newSpoolDir(parent)
	must(t, err)
	other, err := newSpoolDir(parent)
	must(t, err)
	entries, err := os.ReadDir(parent)
	must(t, err)
	if len(entries) != 3 {
		t.Errorf("entries %v", entries)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the dead one's: %v", err)
	}
	must(t, alive.remove())
	must(t, other.remove())
	if entries, err = os.ReadDir(parent); err != nil || len(entries) != 1 {
		t.Errorf("left %v %v", entries, err)
	}
}

// Next ends with its context, and the stream goes on.
func TestNextCancelled(t *testing.T) {
	t.Parallel()
	d, slot := source(t, pgtest.Shared(t, 0), `CREATE TABLE t (i int PRIMARY KEY)`)
	r := openReader(t, options(t, d, slot))
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error)
	go func() {
		for {
			if _, err := r.Next(ctx); err != nil {
				ended <- err
				return
			}
		}
	}()
	cancel(stopped)
	if err := <-ended; !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
	d.Exec(t, "INSERT INTO t VALUES (1)")
	next(t, r).Release()
}

// A transaction tells, wherever it is kept, that an UPDATE with another identity
// leaves values out.
func TestLacking(t *testing.T) {
	t.Parallel()
	d, slot := source(t, pgtest.Shared(t, 0), `CREATE TABLE t (i int PRIMARY KEY, n int, v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL`)
	for sql, want := range map[string]bool{
		"UPDATE t SET n = 1 WHERE i <= 100": false, "UPDATE t SET i = i + 1000, v = repeat('y', 5000) WHERE i <= 100": false,
		"UPDATE t SET i = i + 1000 WHERE i <= 100": true,
	} {
		d.Exec(t, "TRUNCATE t; INSERT INTO t SELECT i, 0, repeat('x', 5000) FROM generate_series(1, 100) i")
		d.Exec(t, sql)
		for _, memory := range []int64{1 << 10, 1 << 30} {
			o := options(t, d, slot)
			o.SpillMemory = memory
			r := openReader(t, o)
			for {
				tx := next(t, r)
				var last Kind
				must(t, tx.Each(func(c *Change) error { last = c.Kind; return nil }))
				lacking, spooled, end := tx.Lacking, tx.Spool != nil, tx.EndLSN
				tx.Release()
				if last == Insert && lacking {
					t.Error("an INSERT lacks values")
				}
				if last != Update {
					continue
				}
				if lacking != want || spooled != (memory == 1<<10) {
					t.Errorf("%s, memory %d: lacking %t, spooled %t", sql, memory, lacking, spooled)
				}
				if memory == 1<<30 {
					r.Confirm(end)
				}
				break
			}
			must(t, r.Close())
		}
	}
}

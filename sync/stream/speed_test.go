package stream

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// BenchmarkStream reads a backlog of 100,000 transactions of pgbench's kind from
// a real server, and tells the CPU time of both sides.
func BenchmarkStream(b *testing.B) {
	c := pgtest.Start(b, pgtest.Options{Settings: map[string]string{"shared_buffers": "256MB", "max_wal_size": "8GB"}})
	d := c.CreateDatabase(b)
	d.Exec(b, `
CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
CREATE TABLE tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));
CREATE TABLE branches (bid int PRIMARY KEY, bbalance int, filler char(88));
CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
INSERT INTO accounts SELECT i, 1, 0, '' FROM generate_series(1, 100000) i;
INSERT INTO tellers SELECT i, 1, 0, '' FROM generate_series(1, 10) i;
INSERT INTO branches SELECT 1, 0, '';
CREATE PROCEDURE work(n int) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..n LOOP
    UPDATE accounts SET abalance = abalance + 1 WHERE aid = 1 + (i * 7919) % 100000;
    UPDATE tellers SET tbalance = tbalance + 1 WHERE tid = 1 + i % 10;
    UPDATE branches SET bbalance = bbalance + 1 WHERE bid = 1;
    INSERT INTO history VALUES (1 + i % 10, 1, 1, 1, now(), '');
    COMMIT;
  END LOOP;
END $$;`)
	slot := prepare(b, d)
	d.Exec(b, "ALTER DATABASE "+pgtest.Quote(d.Name)+" SET synchronous_commit = off")
	d.Exec(b, "CALL work(100000)")
	d.Exec(b, "CREATE TABLE done (i int PRIMARY KEY); INSERT INTO done VALUES (1)")
	d.Exec(b, "CHECKPOINT")
	for b.Loop() {
		began, own := time.Now(), cpu()
		o := options(b, d, slot)
		o.Binary = os.Getenv("BINARY") != ""
		r := openReader(b, o)
		pid := pgtest.Value[int32](b, d, "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1", slot)
		theirs := cpuOf(b, pid)
		n, changes := 0, 0
		for {
			tx, ok := r.TryNext()
			if !ok {
				var err error
				if tx, err = r.Next(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			if tx.Mark() {
				continue
			}
			n++
			changes += len(tx.Changes)
			last := tx.Changes[0].Relation.Name == "done"
			tx.Release()
			if last {
				break
			}
		}
		took := time.Since(began)
		b.ReportMetric(float64(changes)/took.Seconds(), "changes/s")
		b.ReportMetric(float64(n)/took.Seconds(), "tx/s")
		b.ReportMetric((cpu() - own).Seconds(), "cpu-s")
		b.ReportMetric((cpuOf(b, pid) - theirs).Seconds(), "walsender-cpu-s")
		b.ReportMetric(float64(r.Stats().Bytes)/took.Seconds()/1e6, "MB/s")
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// cpu is the CPU time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuOf is the CPU time of a process on Linux.
func cpuOf(b *testing.B, pid int32) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("only where there is /proc")
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
	var user, system int64
	_, _ = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// BenchmarkDecode decodes a recorded stream from memory: frames, messages,
// transactions, queue, Release.
func BenchmarkDecode(b *testing.B) {
	data := recording(b, "plain")
	o, err := Options{Slot: "s", Publications: []string{"p"}}.complete()
	if err != nil {
		b.Fatal(err)
	}
	client, other := net.Pipe()
	defer func() { _, _ = client.Close(), other.Close() }()
	in := &bytes.Reader{}
	r := newReader(&o, nil, client, newFrames(in, maxMessage), time.Hour, true)
	defer r.cancel(nil)
	r.frames.from = in
	r.assembler.block = r.frames.block
	var changes int64
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(data)
		for {
			moved, err := r.frames.fill()
			if moved {
				r.assembler.moved(r.frames.block)
			}
			if err != nil {
				break
			}
			if err := r.decode(); err != nil {
				b.Fatal(err)
			}
			for {
				tx, ok := r.TryNext()
				if !ok {
					break
				}
				changes += int64(len(tx.Changes))
				tx.Release()
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(changes), "ns/change")
}

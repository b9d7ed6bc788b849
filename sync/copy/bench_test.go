package copy_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// BenchmarkRelay copies a table of some 250 MB and reports the processor time
// that this process needs per gigabyte. It has the servers beside it, so that
// the rate says little where they share processors.
func BenchmarkRelay(b *testing.B) {
	for _, shards := range []int{1, 2} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			p := newPair(b, shards, "CREATE TABLE t (id bigint, a int, b text, c timestamptz, d numeric, e jsonb)")
			p.plan.MinBytes, p.plan.MaxBytes = 16<<20, 64<<20
			p.options.Progress = nil
			if shards > 1 {
				p.shardBy(b, "id", "bigint")
			}
			p.source.Exec(b, `INSERT INTO t SELECT i, i % 1000, md5(i::text), now(), i / 7.0, jsonb_build_object('k', i, 'v', md5((-i)::text)) FROM generate_series(1, 1200000) i`)
			for b.Loop() {
				b.StopTimer()
				for _, d := range p.targets {
					d.Exec(b, "TRUNCATE t, pgdrover.copied; CHECKPOINT")
				}
				b.StartTimer()
				before, start := processorTime(b), time.Now()
				p.mustRun(b)
				var bytes int64
				for _, r := range p.targets {
					bytes += pgtest.Value[int64](b, r, "SELECT sum(bytes)::int8 FROM pgdrover.copied WHERE range >= 0") / int64(len(p.targets))
				}
				gigabytes := float64(bytes) / 1e9
				b.ReportMetric((processorTime(b)-before).Seconds()/gigabytes, "cpu-s/GB")
				b.ReportMetric(gigabytes*1000/time.Since(start).Seconds(), "MB/s")
			}
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package apply_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// peak measures how much the heap grows while f runs, garbage left out as far
// as the collector does.
func peak(f func()) (most uint64) {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	var top atomic.Uint64
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				runtime.ReadMemStats(&now)
				if now.HeapAlloc > top.Load() {
					top.Store(now.HeapAlloc)
				}
			case <-done:
				return
			}
		}
	}()
	f()
	close(done)
	<-finished
	return top.Load() - min(top.Load(), before.HeapAlloc)
}

// TestLargeTransaction: 300,000 rows that are not in memory are applied in one
// transaction, in memory that does not grow with them. Not parallel: it looks
// at the heap of the process.
func TestLargeTransaction(t *testing.T) {
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY, v text, n bigint); CREATE TABLE u (id int PRIMARY KEY)", "t", "u")
	r := o.rel["t"]
	filler := strings.Repeat("x", 300)
	most := peak(func() {
		o.apply(
			o.clock.tx(ins(o.rel["u"], num(1))),
			o.clock.spool(300_000, func(i int) stream.Change {
				if i >= 250_000 {
					return upd(r, bin4(int32(i-250_000)), same, bin8(-1))
				}
				return ins(r, bin4(int32(i)), binText(filler), bin8(int64(i)))
			}),
			o.clock.tx(ins(o.rel["u"], num(2))),
		)
	})
	o.wantNoStop()
	o.wantRows("SELECT count(*), count(DISTINCT xmin::text) <= 60, count(*) FILTER (WHERE n = -1), sum(length(v)) FROM t", "250000|t|50000|75000000")
	if const64 := uint64(64 << 20); most > const64 {
		t.Errorf("the heap grew by %d MB", most>>20)
	}
}

// TestStopInTheMiddle: a large transaction that is not finished when Run is told
// to end is taken back; what was before it is confirmed.
func TestStopInTheMiddle(t *testing.T) {
	t.Parallel()
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY)", "t")
	o.opts.GroupRows = 10
	r := o.rel["t"]
	reached, goOn := make(chan struct{}), make(chan struct{})
	first := o.clock.tx(ins(r, num(-1)))
	o.source.add(first, o.clock.spool(1000, func(i int) stream.Change {
		if i == 500 && reached != nil {
			close(reached)
			<-goOn
			reached = nil
		}
		return ins(r, num(i))
	}))
	run := start(t, apply.New(o.opts), o.source)
	<-reached
	run.cancel()
	close(goOn)
	run.stop()
	o.wantRows("TABLE t", "-1")
	if got := o.source.lastConfirmed(); got != first.EndLSN {
		t.Errorf("%s is confirmed", got)
	}
	o.source = o.source.again()
	o.apply()
	o.wantRows("SELECT count(*) FROM t", "1001")
}

// TestHugeRow: a row of 200 MB goes alone and is not copied more than needed.
func TestHugeRow(t *testing.T) {
	if testing.Short() {
		t.Skip("200 MB")
	}
	o := setup(t, "CREATE TABLE t (id int PRIMARY KEY, v bytea); ALTER TABLE t ALTER v SET STORAGE EXTERNAL", "t")
	r := o.rel["t"]
	const size = 200 << 20
	huge := make([]byte, size)
	for i := range huge {
		huge[i] = byte(i * 7)
	}
	tuple := tuple(bin4(1), raw(huge))
	var changes []stream.Change
	for i := 2; i < 30; i++ {
		changes = append(changes, ins(r, bin4(int32(i)), raw([]byte{1})))
	}
	changes = append(changes, stream.Change{Kind: stream.Insert, Relation: r, New: tuple})
	most := peak(func() {
		o.apply(o.clock.tx(changes...), o.clock.spool(2, func(i int) stream.Change {
			if i == 1 {
				return ins(r, bin4(50), null)
			}
			return stream.Change{Kind: stream.Update, Relation: r, New: tuple}
		}))
	})
	o.wantNoStop()
	o.wantRows("SELECT count(*), max(length(v)) FROM t", fmt.Sprintf("30|%d", size))
	// The fixture copies each change of a spool; so does the chunk.
	if most > 3*size {
		t.Errorf("the heap grew by %d MB", most>>20)
	}
}

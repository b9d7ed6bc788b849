package apply

import (
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// Counts are changes of the source by kind.
type Counts struct{ Inserts, Updates, Deletes, Truncates int64 }

func (c *Counts) add(kind stream.Kind) {
	switch kind {
	case stream.Insert:
		c.Inserts++
	case stream.Update:
		c.Updates++
	case stream.Delete:
		c.Deletes++
	case stream.Truncate:
		c.Truncates++
	}
}

func (c *Counts) plus(other Counts) {
	c.Inserts += other.Inserts
	c.Updates += other.Updates
	c.Deletes += other.Deletes
	c.Truncates += other.Truncates
}

// Rows is the number of changes.
func (c Counts) Rows() int64 { return c.Inserts + c.Updates + c.Deletes + c.Truncates }

// Observer is told what happens, by several goroutines at the same time, which
// wait for it. Any of its functions may be nil.
type Observer struct {
	GroupApplied func(GroupApplied)
	TableStopped func(table catalog.Name, failure *pgerror.Error)
	Retry        func(shard, attempt int, err error)
}

// GroupApplied is one destination transaction that has been committed.
type GroupApplied struct {
	Shard        int
	Transactions int
	Rows         Counts
	// Tables are the changes by the source's table. Those that go to every shard
	// are told by shard 0 alone, so that the sum over the shards counts each
	// change once; a row that moves is a DELETE on one shard and an INSERT on
	// another. It is the receiver's.
	Tables   map[catalog.Name]Counts
	Exact    bool          // some table's changes went one by one
	Duration time.Duration // from the begin of its execution to the answer of COMMIT
	Lag      time.Duration // since the source committed its last transaction, by the clocks of both
}

func (g *group) info(shard int, took time.Duration) GroupApplied {
	last := g.items[len(g.items)-1].tx
	return GroupApplied{Shard: shard, Transactions: len(g.items), Rows: g.counts, Tables: g.tables, Exact: g.exact, Duration: took, Lag: time.Since(last.CommitTime)}
}

// ShardStats is where one destination shard is.
type ShardStats struct {
	AppliedLSN   stream.LSN // everything before is committed there
	RecordedLSN  stream.LSN // the position in pgdrover.progress
	FlushedLSN   stream.LSN // recorded and flushed
	Transactions int64
	Rows         Counts
	Groups       int64
	ExactGroups  int64
	CommitTime   time.Time // at the source, of the last transaction applied
	Waiting      error     // why nothing goes on, nil if it does
}

// Stats tells where each destination shard is. It is safe for concurrent use.
func (a *Applier) Stats() []ShardStats {
	a.mu.Lock()
	waiting := a.waiting
	a.mu.Unlock()
	out := make([]ShardStats, len(a.stats))
	for i, s := range a.stats {
		s.mu.Lock()
		out[i] = s.s
		s.mu.Unlock()
		if out[i].Waiting == nil {
			out[i].Waiting = waiting
		}
	}
	return out
}

type workerStats struct {
	mu sync.Mutex
	s  ShardStats
}

// begin keeps the counters: they are those of the Applier.
func (s *workerStats) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.AppliedLSN, s.s.RecordedLSN, s.s.FlushedLSN, s.s.Waiting = 0, 0, 0, nil
}

// position notes where the worker is when nothing is in flight.
func (s *workerStats) position(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.RecordedLSN = w.committed
	s.s.AppliedLSN = max(s.s.AppliedLSN, w.committed)
	if len(w.sealed) == 0 && len(w.open.items) == 0 && len(w.flights) == 0 {
		s.s.AppliedLSN = max(s.s.AppliedLSN, w.at)
	}
}

func (s *workerStats) group(w *worker, g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.RecordedLSN = w.committed
	s.s.AppliedLSN = max(s.s.AppliedLSN, w.committed)
	s.s.Waiting = nil
	if len(g.items) == 0 {
		return
	}
	s.s.Transactions += int64(len(g.items))
	s.s.Rows.plus(g.counts)
	s.s.Groups++
	if g.exact {
		s.s.ExactGroups++
	}
	s.s.CommitTime = g.items[len(g.items)-1].tx.CommitTime
}

func (s *workerStats) flush(lsn stream.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.FlushedLSN = max(s.s.FlushedLSN, lsn)
}

// wait notes why nothing goes on; it is logged once per reason.
func (s *workerStats) wait(w *worker, err error) {
	s.mu.Lock()
	before := s.s.Waiting
	s.s.Waiting = err
	s.mu.Unlock()
	if err != nil && (before == nil || before.Error() != err.Error()) {
		w.a.log.Warn("applying waits for the destination", "destination", w.place, "error", err)
	}
}

func (s *workerStats) waitingFor() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s.Waiting
}

// position is up to where everything is committed.
func (w *worker) position() stream.LSN {
	w.stats.mu.Lock()
	defer w.stats.mu.Unlock()
	return w.stats.s.AppliedLSN
}

// Package copy copies the rows that a source has to the shards of a
// destination, while it is in use.
//
// All of a table's rows are read in one exported snapshot of the source. Plan
// cuts tables into ranges of pages; a Copier has each range sent by COPY on the
// source and passes what comes on to COPY on the destinations, as it is: rows
// are looked at only as far as the sharding key, which is made their first
// column. A range and the record that it is there are one transaction on each
// shard, so no attempt leaves a row twice.
package copy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// LSN is a position in the write-ahead log of the source.
type LSN = pglogrepl.LSN

// ErrSnapshotLost is what Run ends with when tables are missing because no
// session has their snapshot any more: the one that exported it has ended, or
// the server was restarted. They have to be cleared and copied in a new one.
var ErrSnapshotLost = errors.New("the snapshot in which rows are copied is gone")

// ErrRewritten is the failure of a table that has got a new file, or that another
// has replaced, after the snapshot was taken: its rows cannot be trusted to be
// seen in the snapshot any more. It has to be copied in a new one.
var ErrRewritten = errors.New("the table was rewritten after the snapshot was taken")

// Source is a server that rows are read from, with the snapshot to read them in.
type Source struct {
	Server   config.Server
	Snapshot string // as CREATE_REPLICATION_SLOT or pg_export_snapshot names it; exported there as long as Run lasts
	LSN      LSN    // transactions whose commit record begins before it are in the snapshot, others are not
	Workers  int    // sessions that read, at least 1
}

// Options say what a Copier works with. The callbacks may be nil. Progress, Working, Retry
// and RangeDone are called by many goroutines at once, and must be quick; TableDone
// and TableFailed by one goroutine.
type Options struct {
	Mirror       string
	SourceShard  int
	Sources      []Source
	Destinations []config.Server // by shard
	Attempts     int             // at a range, at least 1; 0: 5
	MinDelay     time.Duration   // before the second attempt; it doubles up to 32 times; 0: a second
	// Done is what is recorded on each destination, see Recorded: ranges that are
	// there are left out. It is valid only for the ranges it was made with.
	Done   [][]Record
	Logger *slog.Logger

	// Ease is called before each range, by many goroutines at once; it returns when
	// the range may begin.
	Ease func(ctx context.Context) error
	// Progress tells what has been read of a range since the last call, in bytes
	// of COPY's own form. It is negative when an attempt has failed.
	Progress func(r *Range, rows, bytes int64)
	// Working tells that a worker begins with a range, or has ended with it; the
	// numbers of workers count over all sources.
	Working func(r *Range, worker int, begins bool)
	// Retry tells why a range will be tried again after a pause.
	Retry func(r *Range, err *pgerror.Error)
	// RangeDone tells that a range is committed wherever its rows belong. After a
	// crash of a destination that can turn out not to be so, and comes again.
	RangeDone func(r *Range)
	// TableDone tells that all of a table is committed durably on all shards.
	// Changes from lsn on are not in it.
	TableDone func(t *Table, lsn LSN)
	// TableFailed tells that a table cannot be copied. The others go on.
	TableFailed func(t *Table, err *pgerror.Error)
}

// Copier copies ranges. Use New.
type Copier struct {
	o       Options
	tables  []*tableState
	sources []*sourceState

	mu        sync.Mutex
	queue     []*tableState // the largest first; settled ones may be left out
	changed   chan struct{} // closed, and replaced, by every change
	unsettled int           // tables
	failures  []*tableState // not told yet
	lost      int           // tables whose snapshot is gone
}

// sourceState is a source and how many workers it has left.
type sourceState struct {
	Source
	workers int // guarded by Copier.mu
}

// New makes a copier of tables, with the ranges that Plan has made of them.
func New(tables []*Table, ranges []*Range, o Options) *Copier {
	o.Attempts, o.MinDelay = cmp.Or(o.Attempts, 5), cmp.Or(o.MinDelay, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Copier{o: o, changed: make(chan struct{}), unsettled: len(tables)}
	for _, s := range o.Sources {
		s.Workers = max(1, s.Workers)
		c.sources = append(c.sources, &sourceState{Source: s, workers: s.Workers})
	}
	states := make(map[*Table]*tableState, len(tables))
	for _, t := range tables {
		states[t] = &tableState{t: t}
		c.tables = append(c.tables, states[t])
	}
	for _, r := range ranges {
		t := states[r.Table]
		j := &job{r: r, table: t, has: make([]bool, len(o.Destinations))}
		for shard := range j.has {
			j.has[shard] = true
		}
		for _, shard := range r.Table.shards(len(o.Destinations)) {
			j.has[shard] = false
		}
		t.jobs = append(t.jobs, j)
	}
	c.leaveOut(o.Done)
	return c
}

// leaveOut takes what is recorded for done.
func (c *Copier) leaveOut(done [][]Record) {
	type place struct {
		table catalog.Name
		lsn   LSN
		shard int
	}
	recorded := map[place]map[int]bool{}
	for shard, records := range done {
		for _, r := range records {
			at := place{r.Table, r.Snapshot, shard}
			if recorded[at] == nil {
				recorded[at] = map[int]bool{}
			}
			recorded[at][r.Range] = true
		}
	}
	for _, t := range c.tables {
		for _, s := range c.sources {
			for shard := range c.o.Destinations {
				there := recorded[place{t.t.Destination.Table, s.LSN, shard}]
				for _, j := range t.jobs {
					if there[j.r.Number] && (t.source == nil || t.source == s) {
						j.has[shard], t.source = true, s
					}
				}
			}
		}
	}
}

// Run copies, and returns when every table is done or has failed: nil, even if
// some have failed, or ErrSnapshotLost if some are missing for that reason, or
// the error that keeps anything from being copied, or that of ctx. Whenever it
// returns, no statement of it runs on any server any more. It may be called once.
func (c *Copier) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range c.tables {
		t.ctx, t.cancel = context.WithCancelCause(ctx)
		defer t.cancel(nil)
	}
	first, err := c.start(ctx)
	if err != nil {
		group.Go(func() error { return err })
		return group.Wait()
	}
	number := 0
	for _, s := range c.sources {
		for range s.Workers {
			number++
			w := &worker{c: c, source: s, number: number, to: make([]*session, len(c.o.Destinations))}
			if number == 1 {
				w.from = first
			}
			group.Go(func() error { return w.run(ctx) })
		}
	}
	group.Go(func() error { return c.finish(ctx) })
	if err := group.Wait(); err != nil {
		return err
	}
	if c.lost > 0 {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%w", ErrSnapshotLost).
			WithDetail("%d tables are not copied, or not completely.", c.lost)
	}
	return nil
}

// start leaves out of the queue what need not be copied. It gives the first source's session if it has opened it.
func (c *Copier) start(ctx context.Context) (*session, error) {
	if len(c.sources) == 0 || len(c.o.Destinations) == 0 {
		return nil, pgerror.New(pgerror.InternalError, "there is nothing to copy from, or nothing to copy to")
	}
	first, err := c.leaveOutEmpty(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tables {
		t.enqueue(slices.DeleteFunc(slices.Clone(t.jobs), (*job).complete))
		if t.open = len(t.queue); t.open == 0 {
			c.to(t, tableCopied)
		}
	}
	c.queue = slices.Clone(c.tables)
	slices.SortStableFunc(c.queue, func(a, b *tableState) int { return cmp.Compare(b.left, a.left) })
	return first, nil
}

// complete tells that the range is recorded wherever its rows belong.
func (j *job) complete() bool {
	for _, has := range j.has {
		if !has {
			return false
		}
	}
	return true
}

package mirror

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// runCopier copies tables in a snapshot, and keeps their rows in the registry up
// to date.
func (s *sourceShard) runCopier(ctx context.Context, in *snapshot, tables []*tablecopy.Table, through func(*sourceShard, catalog.Name)) error {
	version, err := s.version(ctx)
	if err != nil {
		return err
	}
	general := s.job.config.General
	sources, closed := s.readers(ctx, in, tables)
	defer closed()
	ranges := tablecopy.Plan(tables, tablecopy.PlanOptions{Workers: general.ReshardingParallelCopies * len(sources), VersionNum: version})
	if err := s.beginCopy(ctx, in, tables, ranges); err != nil {
		return err
	}
	outcomes := &copyOutcomes{source: s, in: in, through: through, workers: map[tableKey][]int{}, sums: map[*tablecopy.Range][2]int64{}, context: context.WithoutCancel(ctx)}
	copier := tablecopy.New(tables, ranges, tablecopy.Options{
		Mirror: s.job.pair.mirror, SourceShard: s.number, Destinations: s.job.pair.destination,
		Sources:  sources,
		Attempts: general.ReshardingCopyRetryMaxAttempts, MinDelay: general.ReshardingCopyRetryMinDelay, Logger: s.job.manager.log,
		Ease:     s.easing(tables),
		Progress: outcomes.progress, Working: outcomes.working, Retry: outcomes.retry, RangeDone: outcomes.rangeDone, TableDone: outcomes.tableDone, TableFailed: outcomes.tableFailed,
	})
	if err := copier.Run(ctx); err != nil {
		return err
	}
	return outcomes.failure()
}

// version is the source's server_version_num.
func (s *sourceShard) version(ctx context.Context) (int, error) {
	conn, err := connect.Open(ctx, s.server, "tables")
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	facts, err := catalog.ReadServer(ctx, conn)
	return facts.VersionNum, err
}

// copyOutcomes takes what a copier tells.
type copyOutcomes struct {
	source  *sourceShard
	in      *snapshot
	through func(*sourceShard, catalog.Name)
	context context.Context

	mu      sync.Mutex
	err     error                         // what kept something from being recorded
	workers map[tableKey][]int            // who copies a table now
	sums    map[*tablecopy.Range][2]int64 // rows and bytes of ranges that are not done
}

func (o *copyOutcomes) key(t *tablecopy.Table) tableKey {
	return tableKey{o.source.number, t.Source.Table}
}

func (o *copyOutcomes) progress(r *tablecopy.Range, rows, bytes int64) {
	o.source.job.tables.note(o.key(r.Table), func(row *state.Table) {
		if row.StartedAt == nil {
			row.StartedAt = timeNow()
		}
		row.Rows, row.Bytes = max(0, row.Rows+rows), max(0, row.Bytes+bytes)
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	sum := o.sums[r]
	o.sums[r] = [2]int64{sum[0] + rows, sum[1] + bytes} // what a failed attempt has read is taken back
}

// working keeps the list of those who copy a table now.
func (o *copyOutcomes) working(r *tablecopy.Range, worker int, begins bool) {
	key := o.key(r.Table)
	o.mu.Lock()
	defer o.mu.Unlock()
	if begins {
		o.workers[key] = append(o.workers[key], worker)
	} else if at := slices.Index(o.workers[key], worker); at >= 0 {
		o.workers[key] = slices.Delete(o.workers[key], at, at+1)
	}
	slices.Sort(o.workers[key])
	texts := make([]string, len(o.workers[key]))
	for i, n := range o.workers[key] {
		texts[i] = strconv.Itoa(n)
	}
	o.source.job.tables.note(key, func(row *state.Table) { row.Workers = strings.Join(texts, ",") })
}

// retry shows what the copy of a table waits for, until one of its ranges is
// done.
func (o *copyOutcomes) retry(r *tablecopy.Range, why *pgerror.Error) {
	o.source.job.tables.note(o.key(r.Table), func(row *state.Table) { row.Error = why })
}

func (o *copyOutcomes) rangeDone(r *tablecopy.Range) {
	o.source.job.tables.note(o.key(r.Table), func(row *state.Table) { row.RangesDone, row.Error = min(row.Ranges, row.RangesDone+1), nil })
	o.mu.Lock()
	sum := o.sums[r]
	delete(o.sums, r)
	o.mu.Unlock()
	o.source.job.manager.metrics.CopyRows(o.source.job.pair.mirror, o.source.number, sum[0])
	o.source.job.manager.metrics.CopyBytes(o.source.job.pair.mirror, o.source.number, sum[1])
	o.source.job.manager.metrics.CopyRange(o.source.job.pair.mirror, o.source.number)
}

// tableDone records that a table is in. Its part, if it has one, joins it to the
// stream.
func (o *copyOutcomes) tableDone(t *tablecopy.Table, lsn tablecopy.LSN) {
	o.keep(o.source.job.tables.set(o.context, TableCatchingUp, func(row *state.Table) {
		row.SyncLSN, row.RangesDone, row.FinishedAt = lsn, row.Ranges, timeNow()
		row.TotalRows, row.TotalBytes = row.Rows, row.Bytes // estimates until now
		if row.StartedAt == nil {
			row.StartedAt = row.FinishedAt
		}
	}, o.key(t)))
	if row, ok := o.source.job.tables.get(o.key(t)); ok {
		o.source.job.drift.copied(t.Source.Table, row.Rows)
	}
	o.through(o.source, t.Source.Table)
}

func (o *copyOutcomes) tableFailed(t *tablecopy.Table, failure *pgerror.Error) {
	if errors.Is(failure, tablecopy.ErrRewritten) {
		// It is copied again, in a snapshot of what it is now.
		o.source.setRewritten(t.Source.Table)
		o.source.job.manager.log.Warn("table is copied again", "mirror", o.source.job.pair.mirror, "table", t.Source.Table.String(), "because", failure.Message)
		o.keep(o.source.job.tables.alter(o.context, func(row *state.Table) TableState {
			if row.Resync != "" {
				return TableResyncing
			}
			return TablePending
		}, o.key(t)))
		return
	}
	why := withWayOut(failure, o.source.job.pair.mirror, t.Source.Table)
	o.source.job.manager.log.Error("table cannot be copied", "mirror", o.source.job.pair.mirror, "table", t.Source.Table.String(),
		"sqlstate", failure.Code, "error", failure.Message, "detail", failure.Detail)
	o.source.job.manager.metrics.CopyFailure(o.source.job.pair.mirror, o.source.number)
	o.source.job.tables.note(o.key(t), func(row *state.Table) { row.FinishedAt = timeNow() })
	o.keep(o.source.job.tables.stop(o.context, o.key(t), why, o.in.at))
	o.through(o.source, t.Source.Table)
}

func (o *copyOutcomes) keep(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
}

func (o *copyOutcomes) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

package mirror

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// rows copies what is missing, and builds keys and indexes of each table as
// soon as its rows are in. It ends when both are done; a table that cannot be
// copied is stopped and does not keep the others.
func (j *copyData) rows(ctx context.Context, snapshots map[int]*snapshot) error {
	if err := j.journal.inner(ctx, "copying rows"); err != nil {
		return err
	}
	j.together()
	for _, s := range j.sources { // nothing streams
		err := j.tables.alter(ctx, func(t *state.Table) TableState {
			t.LiveLSN = 0
			return TableState(t.State)
		}, s.missing()...)
		if err != nil {
			return err
		}
	}
	var filling *filling
	err := j.persist(ctx, func() (err error) {
		if filling, err = newFilling(ctx, j); err == nil {
			err = j.clearMissing(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	work, copying := errgroup.WithContext(ctx)
	for _, s := range j.sources {
		work.Go(func() error {
			defer filling.left(s)
			return s.copyMissing(copying, snapshots[s.number], filling)
		})
	}
	var schemaFailed error
	work.Go(func() error {
		// What fails here is told when the rows are in: hours of copying are not
		// thrown away for an index.
		schemaFailed = j.schemaPhase(copying, dump.PostData, filling.gate)
		return nil
	})
	if err := work.Wait(); err != nil {
		return err
	}
	if j.postponed.any() {
		j.manager.log.Info("rows of tables with foreign keys were read at different moments: the keys are checked when all tables stream", "task", j.journal.task)
	}
	if j.req.SyncOnly && schemaFailed == nil {
		j.untidy = true
		return j.tidy(ctx)
	}
	return schemaFailed
}

// filling opens the gate of a table when every shard of the source that has
// rows of it is through with them.
type filling struct {
	gate *schema.Gate
	mu   sync.Mutex
	open map[catalog.Name]map[int]bool // shards still at work
}

func newFilling(ctx context.Context, j *copyData) (*filling, error) {
	f := &filling{open: map[catalog.Name]map[int]bool{}}
	weights := map[catalog.Name]int64{}
	for _, s := range j.sources {
		keys := s.missing()
		sizes, err := s.sizes(ctx, keys)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			weights[key.table] += sizes[key.table]
			if f.open[key.table] == nil {
				f.open[key.table] = map[int]bool{}
			}
			f.open[key.table][s.number] = true
		}
	}
	f.gate = schema.NewGate(weights)
	return f, nil
}

// through says that a shard has nothing more to copy of a table.
func (f *filling) through(s *sourceShard, table catalog.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open[table], s.number)
	if len(f.open[table]) == 0 {
		f.gate.Open(table)
	}
}

// left says that a shard copies nothing more, however it ended: what waits for
// its tables must not wait for ever.
func (f *filling) left(s *sourceShard) {
	f.mu.Lock()
	tables := make([]catalog.Name, 0, len(f.open))
	for table := range f.open {
		tables = append(tables, table)
	}
	f.mu.Unlock()
	for _, table := range tables {
		f.through(s, table)
	}
}

// copyMissing copies a shard's missing tables: in the snapshot of the slot that
// was just made, else, and when a snapshot is lost, in that of a temporary slot.
func (s *sourceShard) copyMissing(ctx context.Context, first *snapshot, filling *filling) error {
	delay := s.job.config.General.ReshardingCopyRetryMinDelay
	for attempt := 1; ; attempt++ {
		keys := s.missing()
		if len(keys) == 0 {
			return nil
		}
		// Before the snapshot: what it has to be compared with may change at any time.
		err := s.job.persist(ctx, func() (err error) {
			keys, err = s.job.drift.beforeCopy(ctx, s, keys, filling.through)
			return err
		})
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return nil
		}
		in := first
		first = nil
		if in == nil {
			err := s.job.persist(ctx, func() (err error) {
				in, err = s.export(ctx, partSlotName(slotName(s.job.pair.mirror, s.job.pair.destination0, s.number), fmt.Sprintf("c%d", time.Now().UnixMilli()%1e9)), stream.SlotOptions{Temporary: true})
				return err
			})
			if err != nil {
				return err
			}
		}
		err = s.copyIn(ctx, in, keys, nil, filling.through)
		in.close(ctx)
		if err == nil && len(s.missing()) > 0 {
			err = fmt.Errorf("tables changed while they were copied: %w", tablecopy.ErrSnapshotLost)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, tablecopy.ErrSnapshotLost) && !pgerror.IsConnectionLost(err), attempt >= s.job.config.General.ReshardingCopyRetryMaxAttempts:
			return err
		}
		if len(s.job.sources) > 1 {
			return fmt.Errorf("the tables have to be copied from all shards of the source in new snapshots: %w", err)
		}
		if err := s.job.persist(ctx, func() error { return s.job.clearMissing(ctx) }); err != nil {
			return err
		}
		s.job.manager.log.Warn("what is missing is copied in a new snapshot", "task", s.job.journal.task, "shard", s.number, "error", err)
		if err := wait(ctx, delay<<min(attempt-1, 5)); err != nil {
			return err
		}
	}
}

// wait lets time pass between two attempts.
func wait(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

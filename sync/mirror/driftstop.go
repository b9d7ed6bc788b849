package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// start compares every table before anything is applied.
func (w *driftWatch) start(ctx context.Context) error {
	err := w.job.persist(ctx, func() error {
		w.turn.Lock()
		defer w.turn.Unlock()
		return w.checkAll(ctx)
	})
	w.mu.Lock()
	w.started = true
	w.mu.Unlock()
	if err != nil {
		return fmt.Errorf("compare the structure of the tables: %w", err)
	}
	return w.flush(ctx)
}

// stopAll stops a table on every shard of the source, as a comparison has found
// that it must not go on. Those that are stopped already are told why.
func (w *driftWatch) stopAll(ctx context.Context, table catalog.Name, j *drift.Judgement) error {
	if j.Verdict == drift.ResyncTable && len(j.Steps) == 0 {
		return w.copyAgain(ctx, table)
	}
	var errs []error
	for _, s := range w.job.sources {
		key := tableKey{s.number, table}
		row, ok := w.job.tables.get(key)
		switch {
		case !ok:
		case TableState(row.State) == TableStopped:
			w.explain(key, row, j)
		case row.Part == "" && (TableState(row.State) == TableStreaming || TableState(row.State) == TableCatchingUp):
			errs = append(errs, w.stopOne(ctx, s, key, j))
		}
	}
	err := errors.Join(errs...)
	if err != nil {
		w.again([]catalog.Name{table})
	}
	return err
}

// copyAgain has a table copied whose rows were not in the stream.
func (w *driftWatch) copyAgain(ctx context.Context, table catalog.Name) error {
	for _, s := range w.job.sources {
		key := tableKey{s.number, table}
		if row, ok := w.job.tables.get(key); !ok || row.Part != "" && !isHold(row.Part) || TableState(row.State) == TablePending || TableState(row.State) == TableCopying || TableState(row.State) == TableUnpublished {
			continue
		}
		if err := w.job.tables.set(ctx, TableResyncing, nil, key); err != nil {
			return err
		}
		s.forget(table)
		s.want()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.table(table)
	t.row.Stopped, t.dirty = false, true
	return nil
}

// explain tells a table that is stopped already what is wrong with its structure.
func (w *driftWatch) explain(key tableKey, row state.Table, j *drift.Judgement) {
	w.mu.Lock()
	t := w.table(key.table)
	ours := t.row.Stopped
	if isHold(row.Part) && !ours {
		t.row.Stopped, t.dirty, ours = true, true, true
	}
	w.mu.Unlock()
	e := driftError(j, row.StoppedLSN, w.sourceOf(key).slotOfPart(holdOf(row.Part)))
	if !ours && row.Error != nil { // it was stopped by a change that could not be applied
		kept := *row.Error
		if !strings.Contains(kept.Detail, e.Message) {
			kept.Detail = strings.TrimSpace(kept.Detail + "\n" + upperFirst(e.Message) + "\n" + e.Detail)
		}
		kept.Hint = e.Hint
		e = &kept
	}
	w.job.tables.note(key, func(t *state.Table) { t.Error = e })
}

func upperFirst(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func holdOf(part string) string {
	if isHold(part) {
		return part
	}
	return ""
}

func (w *driftWatch) sourceOf(key tableKey) *sourceShard {
	for _, s := range w.job.sources {
		if s.number == key.shard {
			return s
		}
	}
	return w.job.sources[0]
}

// stopOne stops a table of one shard of the source at a point where everything
// before it is applied on every shard of the destination, and nothing behind it.
func (w *driftWatch) stopOne(ctx context.Context, s *sourceShard, key tableKey, j *drift.Judgement) error {
	live := s.running()
	w.mu.Lock()
	started := w.started
	w.mu.Unlock()
	if live == nil && started {
		return errNotStreaming
	}
	if live == nil { // nothing is applied yet: where each shard has recorded itself to be
		main := &pipeline{source: s, mirror: w.job.pair.mirror}
		lowest, err := main.lowest(ctx)
		if err != nil {
			return err
		}
		return w.stopAt(ctx, s, key, j, lowest, func(server config.Server) (stream.LSN, error) { return main.recorded(ctx, server) })
	}
	return live.applier.At(ctx, func(at stream.LSN) error {
		if row, ok := w.job.tables.get(key); !ok || TableState(row.State) != TableStreaming && TableState(row.State) != TableCatchingUp {
			return nil // the stream has met it first
		}
		err := w.stopAt(context.WithoutCancel(ctx), s, key, j, at, func(config.Server) (stream.LSN, error) { return at, nil })
		s.forget(key.table)
		return err
	})
}

// stopAt stops a table at a position of the mirror's stream, and keeps its
// changes from there on.
func (w *driftWatch) stopAt(ctx context.Context, s *sourceShard, key tableKey, j *drift.Judgement, at stream.LSN, positions func(config.Server) (stream.LSN, error)) error {
	if j.NeedsCopy() {
		return w.stopForCopy(ctx, s, key, j)
	}
	part := w.hold(ctx, s, key, positions)
	why := driftError(j, at, s.slotOfPart(part))
	return w.stopped(ctx, s, key, part, why, at)
}

// stopForCopy stops a table that is to be copied again as soon as its structure
// is right: what its older rows hold now was not in the stream.
func (w *driftWatch) stopForCopy(ctx context.Context, s *sourceShard, key tableKey, j *drift.Judgement) error {
	if err := w.stopped(ctx, s, key, "", driftError(j, 0, ""), 0); err != nil {
		return err
	}
	w.job.tables.note(key, func(t *state.Table) { t.StoppedLSN, t.Attempt = 0, max(t.Attempt, 1) })
	return nil
}

// stopped records that a table is stopped because of its structure.
func (w *driftWatch) stopped(ctx context.Context, s *sourceShard, key tableKey, part string, why *pgerror.Error, at stream.LSN) error {
	row, _ := w.job.tables.get(key)
	at = max(at, row.SyncLSN)
	if err := w.job.tables.set(ctx, TableStopped, func(t *state.Table) {
		endResync(t)
		t.Error, t.StoppedLSN, t.Part = why, at, part
	}, key); err != nil {
		return err
	}
	w.mu.Lock()
	t := w.table(key.table)
	t.row.Schema, t.row.Name = key.table.Schema, key.table.Name
	t.row.Stopped, t.row.LSN, t.dirty = true, at, true
	if t.row.Since.IsZero() {
		t.row.Since, t.row.CheckedAt = time.Now(), time.Now()
	}
	w.mu.Unlock()
	w.job.manager.log.Error("a table is stopped", "task", w.job.journal.task, "table", key.table.String(), "shard", key.shard, "lsn", at.String(), "error", why.Message, "detail", why.Detail)
	w.job.manager.metrics.TableStop(w.job.pair.mirror, s.number)
	return w.flush(ctx)
}

// handles looks at a table whose rows do not fit as they come, and tells whether
// the policy says how they are to be written instead.
func (w *driftWatch) handles(ctx context.Context, relation *stream.Relation) bool {
	name := catalog.Name{Schema: relation.Schema, Name: relation.Name}
	st := w.structure()
	found, err := st.read(ctx, []catalog.Name{name})
	if err != nil {
		return false // the table stops; what is asked for then compares it again
	}
	w.mu.Lock()
	t := w.table(name)
	before := t.before
	w.mu.Unlock()
	reports := st.judge(found[0], before, behind(relation, found[0]))
	judged := worst(reports)
	if judged.Verdict.Stops() || judged.Verdict == drift.Apply {
		return false
	}
	w.mu.Lock()
	next := handlingOf(&judged)
	changed := !next.equal(t.handling)
	t.handling, t.judged, t.reports = next, judged, reports
	t.row.Schema, t.row.Name = name.Schema, name.Name
	events := w.allow(t, time.Now()) // the rows behind it are counted
	w.mu.Unlock()
	if err := w.tellEvents(ctx, events); err != nil {
		w.job.manager.log.Warn("an event could not be recorded", "task", w.job.journal.task, "error", err)
	}
	return changed
}

package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// Statements that wait until their table streams: those that need its new copy,
// and indexes of a change that was followed, which rows do not wait for. They are
// recorded with the table (state.Drift.After), so that a kill does not lose them,
// and are run by runLater.

// keepAfter keeps statements until the table streams.
func (w *driftWatch) keepAfter(table catalog.Name, steps []SchemaStep) {
	if len(steps) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addAfter(table, steps)
}

// addAfter is keepAfter for who has mu.
func (w *driftWatch) addAfter(table catalog.Name, steps []SchemaStep) {
	t := w.table(table)
	var all []SchemaStep
	if t.row.After != "" {
		if err := json.Unmarshal([]byte(t.row.After), &all); err != nil {
			w.job.manager.log.Warn("what was to be done after a copy cannot be read", "task", w.job.journal.task, "table", table.String(), "error", err)
		}
	}
	for _, s := range steps {
		if !slices.ContainsFunc(all, func(o SchemaStep) bool { return o.Shard == s.Shard && o.SQL == s.SQL }) {
			all = append(all, s)
		}
	}
	text, err := json.Marshal(all)
	if err != nil { // strings and numbers always can be written
		panic(err)
	}
	t.row.Schema, t.row.Name, t.row.After, t.dirty = table.Schema, table.Name, string(text), true
	if t.row.Since.IsZero() {
		t.row.Since, t.row.CheckedAt = time.Now(), time.Now()
	}
}

// promise records statements that are left of a change which is about to be
// committed at the destination. They wait for promised.
func (w *driftWatch) promise(ctx context.Context, steps []SchemaStep) error {
	if len(steps) == 0 {
		return nil
	}
	w.mu.Lock()
	for _, s := range steps {
		w.addAfter(s.Source, []SchemaStep{s})
		w.table(s.Source).promises = true
	}
	w.mu.Unlock()
	return w.flush(ctx)
}

// promised lets the statements of promise be run, or takes them back as their
// change was not committed.
func (w *driftWatch) promised(steps []SchemaStep, committed bool) {
	if len(steps) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range steps {
		t := w.table(s.Source)
		t.promises = false
		if !committed {
			w.doneAfter(t, func(o SchemaStep) bool { return o.Shard == s.Shard && o.SQL == s.SQL })
		}
	}
}

// doneAfter forgets statements that wait. The caller has mu.
func (w *driftWatch) doneAfter(t *tableDrift, done func(SchemaStep) bool) {
	var all []SchemaStep
	if t.row.After == "" || json.Unmarshal([]byte(t.row.After), &all) != nil {
		t.row.After, t.dirty = "", true
		return
	}
	all = slices.DeleteFunc(all, done)
	t.row.After, t.dirty = "", true
	if len(all) > 0 {
		text, err := json.Marshal(all)
		if err != nil {
			panic(err)
		}
		t.row.After = string(text)
	}
}

// runLater runs what waits, until ctx ends. An index may take hours: nothing else
// waits for it but commands that alter tables.
func (w *driftWatch) runLater(ctx context.Context) error {
	return again(ctx, driftInterval, nil, w.afterCopies, func(err error) {
		w.job.manager.log.Warn("statements that waited could not be run; it is tried again", "task", w.job.journal.task, "error", err)
	})
}

// afterCopies runs the statements that wait for tables which stream now.
func (w *driftWatch) afterCopies(ctx context.Context) error {
	w.mu.Lock()
	waiting := map[catalog.Name]string{}
	for name, t := range w.tables {
		if t.row.After != "" && !t.promises && !w.busy[name] {
			waiting[name] = t.row.After
		}
	}
	w.mu.Unlock()
	var errs []error
	for name, text := range waiting {
		if !w.settled(name) {
			continue
		}
		w.altering.Lock()
		err := w.runAfter(ctx, name, text)
		w.altering.Unlock()
		errs = append(errs, err)
	}
	return errors.Join(append(errs, w.flush(ctx))...)
}

// runAfter runs what waits for one table. What is refused is told, and is a
// difference from then on; SYNC_SCHEMA resolves it.
func (w *driftWatch) runAfter(ctx context.Context, name catalog.Name, text string) error {
	var steps []SchemaStep
	if err := json.Unmarshal([]byte(text), &steps); err != nil {
		return err
	}
	for _, step := range steps {
		err := runSteps(ctx, w.job.manager.config(), w.job.pair, []SchemaStep{step}, w.altered(ctx, "after the copy"))
		if ctx.Err() != nil || retryable(err) {
			return err
		}
		if err != nil {
			e := w.event("warning", name, "rows go on, but the destination refuses: "+step.SQL)
			e.Error = pgerror.From(err)
			if err := w.tellEvents(ctx, []state.Event{e}); err != nil {
				return err
			}
		}
		w.mu.Lock()
		w.doneAfter(w.table(name), func(o SchemaStep) bool { return o.Shard == step.Shard && o.SQL == step.SQL })
		w.mu.Unlock()
	}
	w.ask(name)
	return nil
}

// settled tells whether nothing of a table waits for rows: it streams from every
// shard, or is a partitioned table whose partitions are published.
func (w *driftWatch) settled(table catalog.Name) bool {
	for _, s := range w.job.sources {
		if row, ok := w.job.tables.get(tableKey{s.number, table}); ok && TableState(row.State) != TableStreaming {
			return false
		}
	}
	return true
}

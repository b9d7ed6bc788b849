package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// The verbs of commands that are asked of the task that works on a mirror.
const (
	verbSync    = "sync"
	verbApprove = "approve"
	verbCheck   = "check"
)

// syncAnswer is what the task answers.
type syncAnswer struct {
	Steps   []SchemaStep   `json:"steps"`
	Copying []catalog.Name `json:"copying,omitempty"` // are copied again
	Left    []storedReport `json:"left,omitempty"`    // tables that must not go on all the same
	Failed  string         `json:"failed,omitempty"`
}

// serve does what commands ask for, one after the other, until ctx ends.
func (w *driftWatch) serve(ctx context.Context) error {
	ticker := time.NewTicker(driftInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		var commands []state.DriftCommand
		err := w.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
			commands, err = state.TakeDrift(ctx, conn, w.job.journal.mirrorID, w.job.journal.task)
			return err
		})
		if err != nil {
			w.job.manager.log.Warn("commands could not be looked for", "task", w.job.journal.task, "error", err)
			continue
		}
		for _, c := range commands {
			w.do(ctx, c)
		}
	}
}

// do does one command and records the answer.
func (w *driftWatch) do(ctx context.Context, c state.DriftCommand) {
	var answer syncAnswer
	var err error
	switch c.Verb {
	case verbCheck:
		err = w.retry(ctx, c.Tables)
	default:
		answer, err = w.sync(ctx, c)
	}
	if ctx.Err() != nil {
		return // the next task tells who asked
	}
	result, encoded := json.Marshal(answer)
	if encoded != nil {
		panic(encoded)
	}
	var failure *pgerror.Error
	if err != nil {
		failure = pgerror.From(err)
	}
	err = w.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.EndDrift(ctx, conn, c.ID, string(result), failure)
	})
	if err != nil {
		w.job.manager.log.Warn("a command could not be answered", "task", w.job.journal.task, "error", err)
	}
}

// retry compares tables anew, and lets those go on that can, whatever became of
// earlier attempts.
func (w *driftWatch) retry(ctx context.Context, names []catalog.Name) error {
	w.turn.Lock()
	defer w.turn.Unlock()
	if len(names) == 0 {
		names = w.followed()
	}
	w.mu.Lock()
	for _, name := range names {
		t := w.table(name)
		t.failed, t.notBefore = false, time.Time{}
	}
	w.mu.Unlock()
	for _, s := range w.job.sources { // what a change has stopped that could not be applied, and is kept
		for _, key := range w.job.tables.in(s.number, TableStopped) {
			if row, _ := w.job.tables.get(key); isHold(row.Part) && slices.Contains(names, key.table) {
				w.mu.Lock()
				w.table(key.table).row.Stopped = true
				w.mu.Unlock()
			}
		}
	}
	if err := w.check(ctx, names, true); err != nil {
		return err
	}
	w.mu.Lock()
	for _, name := range names {
		w.table(name).failed = false
	}
	w.mu.Unlock()
	return errors.Join(w.migrateDue(ctx), w.rejoinDue(ctx), w.flush(ctx))
}

// sync is SYNC_SCHEMA and APPROVE.
func (w *driftWatch) sync(ctx context.Context, c state.DriftCommand) (syncAnswer, error) {
	w.altering.Lock()
	defer w.altering.Unlock()
	var answer syncAnswer
	names := c.Tables
	if len(names) == 0 {
		names = w.followed()
	}
	plans, err := w.plan(ctx, names, c)
	if err != nil {
		return answer, err
	}
	for i := range plans {
		err := w.syncTable(ctx, &plans[i], c)
		answer.Steps = append(answer.Steps, plans[i].all()...)
		if err != nil {
			answer.Failed = plans[i].table.String()
			return answer, err
		}
		if plans[i].copy {
			answer.Copying = append(answer.Copying, plans[i].table)
		}
	}
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	for _, name := range names {
		t := w.table(name)
		t.failed, t.notBefore = false, time.Time{}
	}
	w.mu.Unlock()
	names = slices.DeleteFunc(slices.Clone(names), func(n catalog.Name) bool { return slices.Contains(answer.Copying, n) })
	if err := w.check(ctx, names, true); err != nil {
		return answer, err
	}
	err = errors.Join(w.rejoinDue(ctx), w.flush(ctx))
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		if t := w.table(name); t.judged.Verdict.Stops() && t.pending == nil {
			answer.Left = append(answer.Left, storedReport{Judgement: t.judged})
		}
	}
	return answer, err
}

// plan plans the statements of a command.
func (w *driftWatch) plan(ctx context.Context, names []catalog.Name, c state.DriftCommand) ([]tableSteps, error) {
	only := wanted
	if c.Verb == verbApprove {
		only = permitted
	}
	st := w.structure()
	found, err := st.read(ctx, names)
	if err != nil {
		return nil, err
	}
	var plans []tableSteps
	for _, r := range found {
		w.mu.Lock()
		before := w.table(r.table).before
		w.mu.Unlock()
		plan := planSteps(r, st.judge(r, before, nil), only)
		if len(plan.now)+len(plan.after) > 0 || plan.missing {
			plans = append(plans, plan)
		}
	}
	if c.Verb == verbApprove {
		if len(plans) == 0 {
			return nil, nothingWaits(w.job.pair.mirror, names)
		}
		return plans, nil // what the policy lets run may lose values: it was approved
	}
	return plans, refuseLossy(w.job.pair.mirror, plans, c.Force)
}

func nothingWaits(mirror string, names []catalog.Name) error {
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "nothing of %s waits for approval", joinNames(names)).
		WithHint("SHOW SCHEMA_DIFF %s; tells differences and ways out", dump.QuoteIdent(mirror))
}

// syncTable brings one table of every shard to its source's. If rows have to be
// written in another way then, the table is stopped meanwhile, at a place in the
// stream behind what the source has changed, and its changes are kept.
func (w *driftWatch) syncTable(ctx context.Context, plan *tableSteps, c state.DriftCommand) error {
	w.mu.Lock()
	w.busy[plan.table] = true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.busy, plan.table)
		w.mu.Unlock()
	}()
	if plan.shapes() && !w.isStopped(plan.table) {
		if err := w.stopForSteps(ctx, plan); err != nil {
			return err
		}
	}
	why := "SYNC_SCHEMA"
	if c.Verb == verbApprove {
		why = "APPROVE"
	}
	if err := runSteps(ctx, w.job.manager.config(), w.job.pair, plan.now, w.altered(ctx, why)); err != nil {
		return err
	}
	w.keepAfter(plan.table, plan.after)
	for _, s := range w.job.sources {
		s.forget(plan.table)
	}
	if !plan.copy {
		return nil
	}
	if plan.missing && w.job.req.SkipSchema {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "table %s does not exist on the destination, and the mirror makes no tables there", plan.reports[0].Destination).
			WithHint("make it there by hand, as the mirror's mapping has it; then RETRY MIRROR %s;", dump.QuoteIdent(w.job.pair.mirror))
	}
	w.turn.Lock()
	defer w.turn.Unlock()
	return w.copyAgain(ctx, plan.table)
}

// stopForSteps stops a table that streams, for statements to be run.
func (w *driftWatch) stopForSteps(ctx context.Context, plan *tableSteps) error {
	ends, err := w.structure().sourceEnds(ctx)
	if err != nil {
		return err
	}
	if err := w.awaitPosition(ctx, ends); err != nil {
		return err
	}
	w.turn.Lock()
	defer w.turn.Unlock()
	j := worst(plan.reports)
	j.Reason = "it is being altered to be like it"
	j.Ways = nil
	return w.stopAll(ctx, plan.table, stopping(j))
}

// stopping is a judgement that stops.
func stopping(j drift.Judgement) *drift.Judgement {
	j.Verdict = drift.StopTable
	return &j
}

// awaitPosition waits until the stream of every shard has come to a position.
func (w *driftWatch) awaitPosition(ctx context.Context, at []stream.LSN) error {
	ticker := time.NewTicker(driftInterval / 10)
	defer ticker.Stop()
	for !w.arrived(at) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
	return nil
}

package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
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

// SyncSchemaRequest is SYNC_SCHEMA, or APPROVE.
type SyncSchemaRequest struct {
	Mirror  string
	Tables  []string // "schema.table" or a name alone; none: all
	DryRun  bool     // tell the statements, and run none
	Force   bool     // statements that lose values too
	Approve bool     // what the policy lets run and waits for approval, and nothing else
}

// SyncSchemaReport is what SYNC_SCHEMA has done, or would do.
type SyncSchemaReport struct {
	Steps   []SchemaStep
	Copying []catalog.Name    // tables that are copied again for values that are not in the stream
	Left    []drift.Judgement // tables that must not go on all the same
}

// SyncSchema brings tables of the destination to their sources'. The task that
// works on the mirror does it, at a safe place in its stream; if none does, it is
// done here. Slots are neither dropped nor moved.
func (m *Manager) SyncSchema(ctx context.Context, req SyncSchemaRequest) (SyncSchemaReport, error) {
	var report SyncSchemaReport
	kept, err := m.findMirror(ctx, req.Mirror)
	if err != nil {
		return report, err
	}
	s, err := m.structureOf(kept)
	if err != nil {
		return report, err
	}
	names, err := s.published(ctx, req.Tables)
	if err != nil {
		return report, err
	}
	if req.DryRun || !kept.runs {
		return m.syncHere(ctx, kept, s, names, req)
	}
	verb := verbSync
	if req.Approve {
		verb = verbApprove
	}
	if len(req.Tables) == 0 {
		names = nil
	}
	answer, err := m.askTask(ctx, kept, state.DriftCommand{Verb: verb, Tables: names, Force: req.Force})
	report.Steps, report.Copying = answer.Steps, answer.Copying
	for _, left := range answer.Left {
		report.Left = append(report.Left, left.Judgement)
	}
	return report, err
}

// answerInterval is how often it is looked whether a command is answered.
const answerInterval = 200 * time.Millisecond

// askTask has the task that works on a mirror do something, and waits for it. If
// ctx ends the task goes on all the same.
func (m *Manager) askTask(ctx context.Context, kept keptMirror, c state.DriftCommand) (syncAnswer, error) {
	var answer syncAnswer
	switch {
	case kept.task.Inner == replicating:
	case c.Verb == verbCheck:
		return answer, nil // it compares everything before it applies anything
	default:
		return answer, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q does not stream yet: task %d is %s", kept.row.Name, kept.task.ID, cmp.Or(kept.task.Inner, kept.task.State)).
			WithHint("SHOW TASKS; tells how far it is. What its copies meet is compared before")
	}
	conn, err := connect.Open(ctx, kept.server, "command")
	if err != nil {
		return answer, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	id, err := state.AskDrift(ctx, conn, kept.row.ID, c)
	if err != nil {
		return answer, err
	}
	ticker := time.NewTicker(answerInterval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return answer, context.Cause(ctx)
		case <-ticker.C:
		}
		now, err := state.DriftAnswer(ctx, conn, id)
		if err != nil {
			return answer, err
		}
		if now.Ended {
			if now.Result != "" {
				if err := json.Unmarshal([]byte(now.Result), &answer); err != nil {
					return answer, fmt.Errorf("read the task's answer: %w", err)
				}
			}
			if now.Error != nil {
				return answer, now.Error
			}
			return answer, nil
		}
		if n%10 != 0 {
			continue
		}
		task, ok, err := state.RunningTask(ctx, conn, kept.row.ID)
		if err != nil {
			return answer, err
		}
		if !ok || task.ID != kept.task.ID {
			return answer, pgerror.New(pgerror.AdminShutdown, "task %d of mirror %q has ended before it answered", kept.task.ID, kept.row.Name).
				WithHint("run the command again: what is done is not repeated")
		}
	}
}

// syncHere plans the statements, and runs them unless it is a dry run: nobody
// works on the mirror.
func (m *Manager) syncHere(ctx context.Context, kept keptMirror, s *structure, names []catalog.Name, req SyncSchemaRequest) (SyncSchemaReport, error) {
	var report SyncSchemaReport
	if !req.DryRun {
		release, err := m.leaseFor(ctx, kept)
		if err != nil {
			return report, err
		}
		defer release()
	}
	known, err := recordedDrift(ctx, kept)
	if err != nil {
		return report, err
	}
	found, err := s.read(ctx, names)
	if err != nil {
		return report, err
	}
	only := wanted
	if req.Approve {
		only = permitted
	}
	var plans []tableSteps
	for _, r := range found {
		plan := planSteps(r, s.judge(r, known[r.table].before, nil), only)
		if len(plan.now)+len(plan.after) > 0 || plan.missing {
			plans = append(plans, plan)
		}
	}
	for i := range plans {
		if plans[i].copy {
			report.Copying = append(report.Copying, plans[i].table)
		}
	}
	switch {
	case req.DryRun:
		for i := range plans {
			report.Steps = append(report.Steps, plans[i].all()...)
		}
		return report, nil
	case req.Approve && len(plans) == 0:
		return report, nothingWaits(req.Mirror, names)
	case !req.Approve:
		if err := refuseLossy(req.Mirror, plans, req.Force); err != nil {
			return report, err
		}
	}
	if err := m.refuseBehind(ctx, kept, plans); err != nil {
		return report, err
	}
	for i := range plans {
		err := runSteps(ctx, s.config, s.pair, plans[i].now, func(step *SchemaStep) {
			e := state.Event{Level: "info", Kind: "schema", Shard: -1, Schema: step.Source.Schema, Name: step.Source.Name, Message: fmt.Sprintf("SYNC_SCHEMA, shard %d of the destination: %s", step.Shard, step.SQL)}
			if err := m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error { return state.AddEvents(ctx, conn, kept.row.ID, e) }); err != nil {
				m.log.Warn("a statement could not be recorded", "sql", step.SQL, "error", err)
			}
		})
		report.Steps = append(report.Steps, plans[i].all()...)
		if err == nil && plans[i].copy {
			err = m.copyLater(ctx, kept, &plans[i], known[plans[i].table])
		}
		if err != nil {
			return report, err
		}
	}
	again, err := s.read(ctx, names)
	if err != nil {
		return report, err
	}
	for _, r := range again {
		if slices.Contains(report.Copying, r.table) {
			continue
		}
		if j := worst(s.judge(r, known[r.table].before, nil)); j.Verdict.Stops() {
			report.Left = append(report.Left, j)
		}
	}
	return report, nil
}

// leaseFor takes the lease of a mirror that nobody works on.
func (m *Manager) leaseFor(ctx context.Context, kept keptMirror) (release func(), err error) {
	conn, err := connect.OpenListener(ctx, kept.server, "lease")
	if err != nil {
		return nil, err
	}
	_, ok, err := state.Acquire(ctx, conn, kept.row.ID, nil)
	if err == nil && !ok {
		err = busy(ctx, conn, kept.row)
	}
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return func() { _ = conn.Close(context.WithoutCancel(ctx)) }, nil
}

// refuseBehind refuses statements that rows of the stream do not fit which are
// still to be applied: those that the source wrote before it was changed.
func (m *Manager) refuseBehind(ctx context.Context, kept keptMirror, plans []tableSteps) error {
	conn, err := connect.Open(ctx, kept.server, "mirror")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := state.Tables(ctx, conn, kept.row.ID)
	if err != nil {
		return err
	}
	for i := range plans {
		streams := slices.ContainsFunc(rows, func(r state.Table) bool {
			return r.Schema == plans[i].table.Schema && r.Name == plans[i].table.Name && (TableState(r.State) == TableStreaming || TableState(r.State) == TableCatchingUp)
		})
		at := slices.IndexFunc(plans[i].now, func(s SchemaStep) bool {
			switch s.Kind {
			case drift.RenamedColumn, drift.RemovedColumn, drift.TypeUnsafe, drift.TypeWarn, drift.PrimaryKeyDiffers, drift.GeneratedDiffers, drift.GeneratedSource:
				return true
			}
			return false
		})
		if streams && at >= 0 {
			return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q rests: changes of %s that are older than this may still have to be applied", kept.row.Name, plans[i].table).
				WithDetail("%s;", plans[i].now[at].SQL).
				WithHint("RESUME MIRROR %[1]s; then SYNC_SCHEMA %[1]s %[2]s; again: it is done at the right place in the stream", dump.QuoteIdent(kept.row.Name), quoteTable(plans[i].table))
		}
	}
	return nil
}

// copyLater has the next task copy a table, and run what waits for that.
func (m *Manager) copyLater(ctx context.Context, kept keptMirror, plan *tableSteps, known knownDrift) error {
	row := known.row
	row.Schema, row.Name = plan.table.Schema, plan.table.Name
	if row.Since.IsZero() {
		row.Since, row.CheckedAt = time.Now(), time.Now()
	}
	if len(plan.after) > 0 {
		text, err := json.Marshal(plan.after)
		if err != nil {
			panic(err)
		}
		row.After = string(text)
	}
	return m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error {
		if err := state.PutDrift(ctx, conn, kept.row.ID, row); err != nil {
			return err
		}
		_, err := state.RequestResync(ctx, conn, kept.row.ID, []string{row.Schema}, []string{row.Name}, "")
		return err
	})
}

// retryTables has the running task of a mirror compare its tables anew, and let
// those go on that can. ok is false if no task runs.
func (m *Manager) retryTables(ctx context.Context, name string) (started Started, ok bool, err error) {
	kept, err := m.findMirror(ctx, name)
	if err != nil || !kept.runs {
		return Started{}, false, err
	}
	if _, err := m.askTask(ctx, kept, state.DriftCommand{Verb: verbCheck}); err != nil {
		return Started{}, true, err
	}
	return Started{Task: TaskID(kept.task.ID)}, true, nil
}

// DropTable takes a table out of a mirror that the publication no longer has: its
// record is forgotten, and the destination keeps its rows.
func (m *Manager) DropTable(ctx context.Context, name string, named string) error {
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return err
	}
	s, err := m.structureOf(kept)
	if err != nil {
		return err
	}
	published, err := s.published(ctx, nil)
	if err != nil {
		return err
	}
	conn, err := connect.Open(ctx, kept.server, "mirror")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := state.Tables(ctx, conn, kept.row.ID)
	if err != nil {
		return err
	}
	var all []catalog.Name
	for _, r := range rows {
		if n := (catalog.Name{Schema: r.Schema, Name: r.Name}); !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	names, err := namedAmong(name, all, []string{named})
	if err != nil {
		return err
	}
	table := names[0]
	if slices.Contains(published, table) {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "table %s is published by %q", table, s.definition.Publication).
			WithDetail("A mirror has the tables of its publication.").
			WithHint("on the source: ALTER PUBLICATION %s DROP TABLE %s; then this again", dump.QuoteIdent(s.definition.Publication), quoteTable(table))
	}
	return m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error {
		if err := state.ForgetTable(ctx, conn, kept.row.ID, table); err != nil {
			return err
		}
		e := happened("mirror", "table "+table.String()+" is no longer part of it")
		e.Schema, e.Name = table.Schema, table.Name
		return state.AddEvents(ctx, conn, kept.row.ID, e)
	})
}

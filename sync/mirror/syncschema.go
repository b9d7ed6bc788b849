package mirror

import (
	"cmp"
	"context"
	"encoding/json"
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
)

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

package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// SchemaStep is one statement of SYNC_SCHEMA on one shard of the destination.
type SchemaStep struct {
	Source catalog.Name `json:"source"` // the table, by its name on the source
	Shard  int          `json:"shard"`  // of the destination
	drift.Step
	Estimate time.Duration  `json:"estimate_ns"` // once it has its lock; to tell seconds from hours
	State    string         `json:"state"`       // "planned", "done", "failed", "waits" for a new copy of the table
	Error    *pgerror.Error `json:"-"`
}

// tableSteps are the statements for one table.
type tableSteps struct {
	table   catalog.Name
	reports []TableReport
	now     []SchemaStep
	after   []SchemaStep // wait for a new copy of the table
	copy    bool         // the table has to be copied again
	missing bool         // the destination does not have it: the copy makes it
}

// planSteps plans what brings a table of each shard to its source's. only, if
// not nil, chooses the differences.
func planSteps(t *tableStructure, reports []TableReport, only func(*drift.Judged) bool) tableSteps {
	out := tableSteps{table: t.table, reports: reports}
	for i, r := range reports {
		var differences []drift.TableDifference
		for k := range r.Differences {
			d := &r.Differences[k]
			if only == nil || only(d) {
				differences = append(differences, d.TableDifference)
				out.missing = out.missing || d.Kind == drift.TableMissing
			}
		}
		var rows, bytes int64
		if there := t.there[i]; there != nil {
			rows, bytes = int64(there.Tuples), there.Bytes
		}
		for _, step := range drift.Migrate(differences, r.policy) {
			s := SchemaStep{Source: t.table, Shard: r.Shard, Step: step, Estimate: step.Estimate(rows, bytes), State: "planned"}
			out.copy = out.copy || step.Resync
			if step.After {
				s.State = "waits"
				out.after = append(out.after, s)
			} else {
				out.now = append(out.now, s)
			}
		}
	}
	out.copy = out.copy || out.missing
	return out
}

// wanted chooses the differences that SYNC_SCHEMA resolves: not those that the
// policy lets a table go on with.
func wanted(d *drift.Judged) bool {
	switch d.Kind {
	case drift.RemovedColumn, drift.RemovedRequired: // by the policy
		return true
	}
	return !d.Verdict.Stops() || d.By == "" || d.Final != drift.OK && d.Final != drift.Warn
}

// permitted chooses the differences that the policy lets be resolved.
func permitted(d *drift.Judged) bool {
	return d.Final == drift.Apply || d.By != "" && (d.By == "auto_migrate" || d.By == "source_added_columns" || strings.HasPrefix(d.By, "source_removed") || d.By == "preserve_columns" || d.By == "null_columns") && d.Final.Stops()
}

// all are the steps in the order in which they are told.
func (t *tableSteps) all() []SchemaStep { return slices.Concat(t.now, t.after) }

// shapes tells whether a step changes how rows have to be written: none of the
// table may be applied meanwhile.
func (t *tableSteps) shapes() bool {
	return slices.ContainsFunc(t.now, func(s SchemaStep) bool {
		switch s.Kind {
		case drift.IndexMissing, drift.IndexInvalid, drift.UniqueSource, drift.CheckSource, drift.ForeignKeyMissing, drift.ConstraintAttribute, drift.DefaultDiffers, drift.IdentityDiffers,
			drift.NotNullSource, drift.ColumnStorage, drift.TriggerMissing, drift.SequenceDiffers, drift.Appearance, drift.IdentityIndex, drift.ExclusionSource, drift.PrimaryKeyMissing,
			drift.PartitionMissing, drift.EnumLabelEnd, drift.EnumLabelMiddle, drift.DomainStricter, drift.CheckDestination, drift.NotNullDestination, drift.ExtraRequired, drift.UniqueDestination:
			return false
		}
		return true
	})
}

// lossy gives the first step that loses or changes values.
func (t *tableSteps) lossy() (SchemaStep, bool) {
	for _, s := range t.all() {
		if s.Lossy {
			return s, true
		}
	}
	return SchemaStep{}, false
}

// runSteps runs statements on their shards, each shard's in their order. Those
// that are repeated after a kill are planned anew from what is there: what is
// done is not among them. State and Error tell what has become of each.
func runSteps(ctx context.Context, cfg *config.Config, pair *pair, steps []SchemaStep, done func(*SchemaStep)) error {
	for _, server := range pair.destination {
		var mine []*SchemaStep
		for i := range steps {
			if steps[i].Shard == server.Shard {
				mine = append(mine, &steps[i])
			}
		}
		if len(mine) == 0 {
			continue
		}
		if err := runStepsOn(ctx, cfg, server, mine, done); err != nil {
			return fmt.Errorf("alter %s: %w", connect.Place(server), err)
		}
	}
	return nil
}

func runStepsOn(ctx context.Context, cfg *config.Config, server config.Server, steps []*SchemaStep, done func(*SchemaStep)) error {
	conn, err := connect.Open(ctx, server, "schema")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for len(steps) > 0 {
		n := 1
		if !apart(steps[0]) {
			for n < len(steps) && !apart(steps[n]) {
				n++
			}
		}
		group := steps[:n]
		steps = steps[n:]
		if err := runGroup(ctx, cfg, conn, group); err != nil {
			for _, s := range group {
				s.State, s.Error = "failed", pgerror.From(err)
			}
			return err
		}
		for _, s := range group {
			s.State = "done"
			done(s)
		}
	}
	return nil
}

// apart tells whether a step has a transaction of its own: it cannot be run in
// one with others, or reads the table without keeping anybody from it.
func apart(s *SchemaStep) bool {
	return s.Alone || s.Scans && !s.Blocks() || s.Indexes > 0 && !s.Rewrites
}

// runGroup runs statements in one transaction. Locks are waited for no longer
// than [schema_sync] lock_timeout, and the group is tried again.
func runGroup(ctx context.Context, cfg *config.Config, conn *pgx.Conn, group []*SchemaStep) error {
	settings := cfg.SchemaSync
	for attempt := 1; ; attempt++ {
		err := tryGroup(ctx, conn, settings.LockTimeout, group)
		code := pgerror.Code(err)
		if err == nil || ctx.Err() != nil || code != pgerror.LockNotAvailable && code != "40P01" {
			return err
		}
		if attempt >= settings.RetryMaxAttempts {
			e := *pgerror.From(err)
			e.Hint = fmt.Sprintf("%d attempts met a lock of another session: see pg_stat_activity and pg_blocking_pids() there, end it or raise [schema_sync] lock_timeout and retry_max_attempts; then the same command again", attempt)
			return &e
		}
		if err := wait(ctx, settings.RetryMinDelay<<min(attempt-1, 5)); err != nil {
			return err
		}
	}
}

func tryGroup(ctx context.Context, conn *pgx.Conn, lockTimeout time.Duration, group []*SchemaStep) error {
	if _, err := conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", lockTimeout.Milliseconds())); err != nil {
		return err
	}
	run := func() error {
		for _, s := range group {
			if strings.Contains(s.SQL, ` ADD CONSTRAINT "pgdrover_not_null_`) { // one that was killed has left it
				again := strings.Replace(s.Inverse, "DROP CONSTRAINT ", "DROP CONSTRAINT IF EXISTS ", 1)
				if _, err := conn.Exec(ctx, again, pgx.QueryExecModeSimpleProtocol); err != nil {
					return err
				}
			}
			if _, err := conn.Exec(ctx, s.SQL, pgx.QueryExecModeSimpleProtocol); err != nil {
				e := *pgerror.From(err)
				e.Message = fmt.Sprintf("%s: %s", s.SQL, e.Message)
				e.Cause = err
				return &e
			}
		}
		return nil
	}
	if len(group) == 1 {
		if err := dropInvalid(ctx, conn, group[0]); err != nil {
			return err
		}
		return run()
	}
	return pgx.BeginFunc(ctx, conn, func(pgx.Tx) error { return run() })
}

// dropIndexConcurrently begins what undoes CREATE INDEX CONCURRENTLY.
const dropIndexConcurrently = "DROP INDEX CONCURRENTLY IF EXISTS "

// dropInvalid removes what an earlier attempt of CREATE INDEX CONCURRENTLY has
// left: an invalid index of the name.
func dropInvalid(ctx context.Context, conn *pgx.Conn, s *SchemaStep) error {
	name, builds := strings.CutPrefix(s.Inverse, dropIndexConcurrently)
	if !s.Alone || !builds {
		return nil
	}
	var invalid bool
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid)`, name).Scan(&invalid)
	if err != nil || !invalid {
		return err
	}
	_, err = conn.Exec(ctx, s.Inverse, pgx.QueryExecModeSimpleProtocol)
	return err
}

// refuseLossy refuses statements that lose values unless they are forced.
func refuseLossy(mirror string, plans []tableSteps, force bool) error {
	if force {
		return nil
	}
	for i := range plans {
		if s, lossy := plans[i].lossy(); lossy {
			return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "values of %s that the destination has would be lost or changed", plans[i].table).
				WithDetail("%s;\n%s.", s.SQL, upperFirst(s.Why)).
				WithHint("if that is meant: SYNC_SCHEMA %s %s FORCE; nothing was changed", dump.QuoteIdent(mirror), quoteTable(plans[i].table))
		}
	}
	return nil
}

func quoteTable(n catalog.Name) string {
	return dump.QuoteIdent(n.Schema) + "." + dump.QuoteIdent(n.Name)
}

// altered tells of a statement that was run.
func (w *driftWatch) altered(ctx context.Context, why string) func(*SchemaStep) {
	return func(s *SchemaStep) {
		e := w.event("info", s.Source, fmt.Sprintf("%s, shard %d of the destination: %s", why, s.Shard, s.SQL))
		e.Kind = "schema"
		if err := w.tellEvents(ctx, []state.Event{e}); err != nil {
			w.job.manager.log.Warn("a statement could not be recorded", "sql", s.SQL, "error", err)
		}
	}
}

// alterForCopy runs what the policy lets run on a table that is about to be
// copied.
func (w *driftWatch) alterForCopy(ctx context.Context, st *structure, r *tableStructure, reports []TableReport) error {
	plan := planSteps(r, reports, permitted)
	if err := runSteps(ctx, st.config, w.job.pair, plan.now, w.altered(ctx, "auto_migrate")); err != nil {
		return err
	}
	w.keepAfter(r.table, plan.after)
	return nil
}

// migrateDue runs what the policy lets run for tables that are stopped for it.
func (w *driftWatch) migrateDue(ctx context.Context) error {
	w.mu.Lock()
	var due []catalog.Name
	for name, t := range w.tables {
		applies := t.judged.Verdict == drift.Apply || t.judged.Verdict == drift.ResyncTable && len(t.judged.Steps) > 0 || t.judged.Verdict == drift.ResyncTable && t.judged.Would == drift.ResyncTable
		if applies && t.pending == nil && t.row.Stopped && !w.busy[name] && time.Now().After(t.notBefore) {
			due = append(due, name)
		}
	}
	w.mu.Unlock()
	var errs []error
	for _, name := range due {
		if !w.isStopped(name) {
			continue
		}
		if err := w.migrate(ctx, name); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// migrate runs what the policy lets run for one table, and has it looked at
// again: then it goes on.
func (w *driftWatch) migrate(ctx context.Context, table catalog.Name) error {
	st := w.structure()
	found, err := st.read(ctx, []catalog.Name{table})
	if err != nil {
		return err
	}
	w.mu.Lock()
	before := w.table(table).before
	w.mu.Unlock()
	plan := planSteps(found[0], st.judge(found[0], before, nil), permitted)
	err = runSteps(ctx, st.config, w.job.pair, plan.now, w.altered(ctx, "auto_migrate"))
	w.ask(table)
	if err != nil {
		w.mu.Lock()
		t := w.table(table)
		t.notBefore = time.Now().Add(maxStreamDelay)
		w.mu.Unlock()
		if retryable(err) || ctx.Err() != nil {
			return err
		}
		e := w.event("error", table, "a change of the source could not be made at the destination")
		e.Error = pgerror.From(err)
		for _, s := range w.job.sources {
			w.job.tables.note(tableKey{s.number, table}, func(row *state.Table) {
				if row.Error != nil {
					why := *row.Error
					why.Detail = strings.TrimSpace(why.Detail + "\nThe last attempt has failed: " + pgerror.From(err).Message)
					row.Error = &why
				}
			})
		}
		return w.tellEvents(ctx, []state.Event{e})
	}
	w.keepAfter(table, plan.after)
	if plan.copy {
		return w.copyAgain(ctx, table)
	}
	return nil
}

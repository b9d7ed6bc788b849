package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// schemaSync is one phase of a schema sync: a task's work.
type schemaSync struct {
	manager *Manager
	pair    *pair
	req     SchemaSyncRequest
	binary  dump.Binary
	// quoteAll: see schema.ReadOptions.
	quoteAll bool
	journal  *journal
	source   *schema.Source
	// part: the phase is a part of a task that also moves rows. Primary keys
	// are then built after them, and the task's own parts are not ended here.
	part bool
	gate *schema.Gate // of a part that runs while tables are filled
	// tolerant: of a part for tables that join, nil otherwise.
	tolerant *tolerance
	// postponed: of a part, the foreign keys that have to wait.
	postponed *postponed
}

func (j *schemaSync) begun(journal *journal) { j.journal = journal }
func (j *schemaSync) record() *journal       { return j.journal }
func (j *schemaSync) phase() string          { return j.req.Phase.String() }
func (j *schemaSync) request() string        { return "" }

func (j *schemaSync) mirror() state.Mirror {
	return state.Mirror{Name: j.pair.mirror, Source: j.req.Source, Destination: j.req.Destination, Publication: j.req.Publication}
}

// read says how both sides are read.
func (j *schemaSync) read() schema.ReadOptions {
	opts := j.pair.readOptions(j.req, j.binary)
	opts.QuoteAll = j.quoteAll
	return opts
}

// typeName is the task's type as SHOW TASKS tells it.
func (j *schemaSync) typeName() string {
	return fmt.Sprintf("schema_sync(%s) %s -> %s", phaseWord(j.req.Phase), j.req.Source, j.req.Destination)
}

func phaseWord(p dump.Phase) string {
	switch p {
	case dump.PreData:
		return "pre"
	case dump.PostData:
		return "post"
	}
	return p.String()
}

func (j *schemaSync) subtasks() []state.Subtask {
	out := make([]state.Subtask, len(j.pair.destination))
	for i, server := range j.pair.destination {
		out[i] = state.Subtask{Shard: server.Shard, Type: fmt.Sprintf("%s shard %d", j.typeName(), server.Shard)}
	}
	return out
}

// run does the work and returns when nothing of it is in flight any more.
func (j *schemaSync) run(ctx context.Context) error {
	j.journal.start(ctx)
	if err := j.journal.inner(ctx, "loading schema"); err != nil {
		return err
	}
	plans, err := j.firstPlans(ctx)
	if err != nil {
		return errors.Join(err, j.endAll(ctx, err))
	}
	if err := j.recordPlans(ctx, plans); err != nil {
		return err
	}
	if err := j.refuseDrift(plans); err != nil {
		return errors.Join(err, j.endAll(ctx, err))
	}
	if err := j.journal.inner(ctx, doing(j.req.Phase)); err != nil {
		return err
	}
	if err := j.shards(ctx, plans); err != nil {
		return err
	}
	switch j.req.Phase {
	case dump.PostData:
		if j.tolerant != nil {
			return nil // what it is strict about was made, and the rest may differ
		}
		return j.compare(ctx)
	case dump.PostCutover:
		return j.prepareSource(ctx)
	}
	return nil
}

// firstPlans makes the plans once nothing of an earlier run goes on any more.
func (j *schemaSync) firstPlans(ctx context.Context) ([]*schema.Plan, error) {
	group, ending := errgroup.WithContext(ctx)
	for _, server := range j.pair.destination {
		group.Go(func() error { return schema.EndLeftOver(ending, server, j.runOptions()) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return j.plans(ctx)
}

// runOptions say how statements are run, in sessions that bear the mirror's name.
func (j *schemaSync) runOptions() schema.RunOptions {
	opts := j.pair.runOptions(j.req)
	opts.Owner = fmt.Sprintf("%d %s", j.journal.mirrorID, j.pair.mirror)
	opts.Gate = j.gate
	opts.Postpone = j.postponed.takes
	opts.IgnoreErrors = opts.IgnoreErrors || j.tolerant != nil // its own failures are seen by it
	return opts
}

// doing is what a phase does, in the words of SHOW TASKS.
func doing(p dump.Phase) string {
	switch p {
	case dump.PreData:
		return "syncing tables"
	case dump.PostData:
		return "creating indexes"
	case dump.Cutover:
		return "syncing cutover schema"
	}
	return "preparing the reverse stream"
}

// plans reads the source and every shard, at the same time, and plans each.
func (j *schemaSync) plans(ctx context.Context) ([]*schema.Plan, error) {
	read := j.read()
	destinations := make([]*schema.Destination, len(j.pair.destination))
	group, reading := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		j.source, err = schema.ReadSource(reading, j.pair.source[0], read)
		return err
	})
	for i, server := range j.pair.destination {
		group.Go(func() (err error) {
			destinations[i], err = schema.ReadDestination(reading, server, len(j.pair.destination), read)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	err := j.source.ReadIndexSQL(ctx, j.quoteAll, func(table catalog.Name) bool {
		return j.gate.Holds(table) || slices.ContainsFunc(destinations, func(d *schema.Destination) bool { return d.Sizes[table].Bytes > 0 })
	})
	if err != nil {
		return nil, err
	}
	plans := make([]*schema.Plan, len(destinations))
	for i, d := range destinations {
		if plans[i], err = j.plan(ctx, d); err != nil {
			return nil, err
		}
	}
	return plans, nil
}

// plan plans one shard.
func (j *schemaSync) plan(ctx context.Context, d *schema.Destination) (*schema.Plan, error) {
	opts, err := j.comparable(ctx, d)
	if err != nil {
		return nil, err
	}
	plan, err := schema.Build(j.source, d, opts)
	if err != nil {
		return nil, fmt.Errorf("plan the schema of %s: %w", connect.Place(d.Server), err)
	}
	return plan, nil
}

// comparable gives the options under which the source and a shard of another
// version of PostgreSQL can be compared.
func (j *schemaSync) comparable(ctx context.Context, d *schema.Destination) (schema.PlanOptions, error) {
	opts := j.pair.planOptions(j.req)
	opts.KeysAfterRows, opts.Gate = j.part, j.gate
	canonical, err := schema.Canonical(ctx, j.source, d, opts, j.read())
	opts.Canonical = canonical
	return opts, err
}

// recordPlans writes every shard's plan down.
func (j *schemaSync) recordPlans(ctx context.Context, plans []*schema.Plan) error {
	for _, plan := range plans {
		if err := j.journal.plan(ctx, plan.Shard, j.rows(plan, nil)); err != nil {
			return err
		}
	}
	return nil
}

// rows are the durable rows of a plan. Statements of which earlier tells that
// this task has run them are done, though the plan now finds them there.
func (j *schemaSync) rows(plan *schema.Plan, earlier map[string]bool) []state.Statement {
	now := time.Now()
	out := make([]state.Statement, len(plan.Statements))
	for i, s := range plan.Statements {
		r := state.Statement{
			Ordinal: s.Ordinal, Database: j.req.Destination, User: j.pair.destAdmin.Name, Kind: s.PgDogKind(), ObjectKind: s.Kind,
			Schema: s.Schema, Table: s.Table, Object: s.Object, SQL: s.Display, State: string(schema.StatePending),
		}
		switch {
		case s.Outcome == schema.Existed && earlier[identity(s)]:
			r.State, r.Attempts, r.StartedAt, r.FinishedAt = string(schema.StateDone), 1, &now, &now
		case s.Outcome == schema.Existed:
			r.State = string(schema.StateExisted)
		case s.Outcome == schema.Differs:
			r.State, r.Error, r.FinishedAt = string(schema.StateFailed), s.Err, &now
		}
		out[i] = r
	}
	return out
}

// identity tells a statement apart from the others of a shard's phase, across
// two plans of it.
func identity(s *schema.Statement) string {
	return strings.Join([]string{s.Kind, s.Schema, s.Object, s.SQL}, "\x00")
}

// refuseDrift ends the task before anything is changed when something on the
// destination differs, unless errors are ignored.
func (j *schemaSync) refuseDrift(plans []*schema.Plan) error {
	var drifted []*schema.Statement
	for _, p := range plans {
		drifted = append(drifted, p.Drift()...)
	}
	drifted = j.tolerant.drifted(drifted)
	if len(drifted) == 0 || j.req.IgnoreErrors {
		return nil
	}
	if len(drifted) == 1 {
		return drifted[0].Err
	}
	var detail strings.Builder
	for _, s := range drifted[:min(len(drifted), 20)] {
		fmt.Fprintf(&detail, "%s\n", s.Err.Message)
	}
	if more := len(drifted) - 20; more > 0 {
		fmt.Fprintf(&detail, "and %d more\n", more)
	}
	return pgerror.New(pgerror.DuplicateObject, "%d objects exist on %q and differ from those of %q", len(drifted), j.req.Destination, j.req.Source).
		WithDetail("%s", strings.TrimRight(detail.String(), "\n")).
		WithHint("nothing was changed. SHOW SCHEMA_DIFF %s %s; tells both sides of each. Change or drop them on the destination, or leave them as they are: SCHEMA_SYNC with IGNORE ERRORS, COPY_DATA with SKIP SCHEMA",
			dump.QuoteIdent(j.req.Source), dump.QuoteIdent(j.req.Destination))
}

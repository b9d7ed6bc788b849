package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/drift"
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
	if err := j.record(ctx, plans); err != nil {
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
		return slices.ContainsFunc(destinations, func(d *schema.Destination) bool { return d.Sizes[table].Bytes > 0 })
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
	canonical, err := schema.Canonical(ctx, j.source, d, opts, j.read())
	opts.Canonical = canonical
	return opts, err
}

// record writes every shard's plan down.
func (j *schemaSync) record(ctx context.Context, plans []*schema.Plan) error {
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
		WithHint("nothing was changed. SHOW SCHEMA_DIFF %s %s; tells both sides of each. Change or drop them on the destination, or add IGNORE ERRORS to leave them as they are",
			dump.QuoteIdent(j.req.Source), dump.QuoteIdent(j.req.Destination))
}

// shards runs every shard's plan, at the same time, and records how each ended.
// When one fails in strict mode the others end what they have in flight.
func (j *schemaSync) shards(ctx context.Context, plans []*schema.Plan) error {
	errs := make([]error, len(plans))
	var group errgroup.Group
	for i, plan := range plans {
		group.Go(func() error {
			errs[i] = j.shard(ctx, plan)
			to, failure := outcome(ctx, errs[i])
			return j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
				return state.EndSubtask(ctx, conn, j.journal.task, plan.Shard, string(to), failure)
			})
		})
	}
	recorded := group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return recorded
}

// endAll records that every shard's part has ended with err.
func (j *schemaSync) endAll(ctx context.Context, err error) error {
	to, failure := outcome(ctx, err)
	var errs []error
	for _, server := range j.pair.destination {
		errs = append(errs, j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return state.EndSubtask(ctx, conn, j.journal.task, server.Shard, string(to), failure)
		}))
	}
	return errors.Join(errs...)
}

// shard runs one shard's plan. When its connection is lost the shard is looked
// at anew, as soon as it can be reached, and what is missing then is run.
func (j *schemaSync) shard(ctx context.Context, plan *schema.Plan) error {
	attempted := map[string]bool{}
	runner := &schema.Runner{
		Server: j.server(plan.Shard), Options: j.runOptions(),
		Report: j.journal.event,
	}
	for attempt := 1; ; attempt++ {
		before := missing(plan)
		for _, s := range plan.Statements {
			if s.Outcome == schema.ToRun {
				attempted[identity(s)] = true
			}
		}
		lost := runner.Run(ctx, plan)
		if !errors.Is(lost, schema.ErrConnectionLost) {
			return lost
		}
		j.manager.log.Warn("connection to the destination was lost", "task", j.journal.task, "shard", plan.Shard, "error", lost)
		var err error
		plan, err = j.lookAgain(ctx, plan.Shard, lost)
		if err != nil {
			return err
		}
		if err := j.journal.plan(ctx, plan.Shard, j.rows(plan, attempted)); err != nil {
			return err
		}
		if missing(plan) < before {
			attempt = 0 // it got on: the next loss is a new one
		}
		if attempt >= j.pair.settings.RetryMaxAttempts {
			e := *pgerror.From(lost)
			e.Hint = "look into the log of that server for the reason, then run the same command again: it goes on with what is missing"
			return &e
		}
	}
}

func missing(plan *schema.Plan) int {
	n := 0
	for _, s := range plan.Statements {
		if s.Outcome == schema.ToRun {
			n++
		}
	}
	return n
}

func (j *schemaSync) server(shard int) config.Server { return j.pair.destination[shard] }

// lookAgain plans a shard anew after its connection was lost, trying until the
// server answers or the attempts are used up.
func (j *schemaSync) lookAgain(ctx context.Context, shard int, lost error) (*schema.Plan, error) {
	delay := j.pair.settings.RetryMinDelay
	for range max(1, j.pair.settings.RetryMaxAttempts) + 5 {
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
		delay = min(2*delay, 10*time.Second)
		plan, err := j.planAgain(ctx, shard)
		if err == nil {
			return plan, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		lost = err
	}
	return nil, lost
}

func (j *schemaSync) planAgain(ctx context.Context, shard int) (*schema.Plan, error) {
	if err := schema.EndLeftOver(ctx, j.server(shard), j.runOptions()); err != nil {
		return nil, err
	}
	d, err := schema.ReadDestination(ctx, j.server(shard), len(j.pair.destination), j.read())
	if err != nil {
		return nil, err
	}
	return j.plan(ctx, d)
}

// compare proves, at the end of POST, that the schemas are the same: both sides
// were dumped by the same pg_dump and are compared entry by entry. What belongs
// to a later phase is not there yet; what only the destination has is its own.
func (j *schemaSync) compare(ctx context.Context) error {
	if err := j.journal.inner(ctx, "comparing both schemas"); err != nil {
		return err
	}
	differences, err := j.compareShards(ctx)
	if err != nil {
		return err
	}
	differences = slices.DeleteFunc(differences, func(d drift.Difference) bool {
		return d.What == drift.Extra || d.Phase > dump.PostData
	})
	if len(differences) == 0 || j.req.IgnoreErrors {
		return nil
	}
	var detail strings.Builder
	for _, d := range differences[:min(len(differences), 20)] {
		fmt.Fprintf(&detail, "shard %d: %s %q in schema %q: %s\n", d.Shard, d.Kind, d.Object, d.Schema, d.What)
	}
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "every statement was run, and %s between %q and %q", remain(len(differences)), j.req.Source, j.req.Destination).
		WithDetail("%s", strings.TrimRight(detail.String(), "\n")).
		WithHint("SHOW SCHEMA_DIFF %s %s; tells both sides of each", dump.QuoteIdent(j.req.Source), dump.QuoteIdent(j.req.Destination))
}

func remain(n int) string {
	if n == 1 {
		return "one difference remains"
	}
	return fmt.Sprintf("%d differences remain", n)
}

// compareShards compares every shard with the source as it was read.
func (j *schemaSync) compareShards(ctx context.Context) ([]drift.Difference, error) {
	perShard := make([][]drift.Difference, len(j.pair.destination))
	group, reading := errgroup.WithContext(ctx)
	for i, server := range j.pair.destination {
		group.Go(func() error {
			read := j.read()
			read.Phase = dump.PreData // no counters, no sequences: only the dump
			d, err := schema.ReadDestination(reading, server, len(j.pair.destination), read)
			if err != nil {
				return err
			}
			opts, err := j.comparable(reading, d)
			if err != nil {
				return err
			}
			perShard[i], err = schema.Compare(j.source, d, opts)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(perShard...), nil
}

// differences reads both sides and compares them.
func (j *schemaSync) differences(ctx context.Context) ([]drift.Difference, []*pgerror.Error, error) {
	read := j.read()
	source, err := schema.ReadSource(ctx, j.pair.source[0], read)
	if err != nil {
		return nil, nil, err
	}
	j.source = source
	differences, err := j.compareShards(ctx)
	return differences, dumpWarnings(source), err
}

// dumpWarnings are pg_dump's own words about what it left out.
func dumpWarnings(source *schema.Source) []*pgerror.Error {
	var out []*pgerror.Error
	for _, w := range source.Archive.Warnings {
		out = append(out, pgerror.New("01000", "pg_dump of %s: %s", connect.Place(source.Server), w))
	}
	return out
}

// leftOut says what scope = "publication" does not take.
func leftOut(plans []*schema.Plan) []*pgerror.Error {
	if len(plans) == 0 || len(plans[0].Left) == 0 {
		return nil
	}
	return []*pgerror.Error{pgerror.New("01000", "%d parts of published tables are left out: they need something that is not published", len(plans[0].Left)).
		WithDetail("%s", strings.Join(plans[0].Left, "\n")).
		WithHint("publish those tables too, or set [schema_sync] scope = \"database\"")}
}

// prepareSource makes the source ready to take the reverse stream: the schema
// pgdrover with its progress table on every shard. What it did is recorded
// behind the statements of the destination.
func (j *schemaSync) prepareSource(ctx context.Context) error {
	if err := j.journal.inner(ctx, "preparing the source to take changes back"); err != nil {
		return err
	}
	for _, server := range j.pair.source {
		row := state.Statement{
			Shard: server.Shard, Database: j.req.Source, User: j.pair.sourceAdmin.Name, Kind: "table", ObjectKind: schema.KindReverse,
			Schema: "pgdrover", Table: "progress", Object: "progress", SQL: "CREATE SCHEMA pgdrover; -- with its tables, on the source",
			State: string(schema.StateDone), Attempts: 1,
		}
		began := time.Now()
		there, err := j.install(ctx, server)
		if err != nil {
			return fmt.Errorf("create the progress table on %s: %w", connect.Place(server), err)
		}
		ended := time.Now()
		row.StartedAt, row.FinishedAt = &began, &ended
		if there {
			row.State, row.Attempts, row.StartedAt, row.FinishedAt = string(schema.StateExisted), 0, nil, nil
		}
		err = j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return state.AddStatement(ctx, conn, j.journal.mirrorID, j.journal.task, j.journal.phase, row)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// install makes the schema pgdrover on a server and tells whether it was there.
func (j *schemaSync) install(ctx context.Context, server config.Server) (there bool, err error) {
	conn, err := connect.Open(ctx, server, "task")
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if there, err = state.Installed(ctx, conn); err != nil {
		return false, err
	}
	return there, state.Install(ctx, conn)
}

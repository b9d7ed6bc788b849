package mirror

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/ddl"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// schemaStep is what is done where the schema changes: because of events, which
// are in the stream, or of what a poll has read. It implements apply.Step.
type schemaStep struct {
	f     *schemaFollower
	final stream.LSN // of the transaction, or the position of the mark
	// Of events.
	events []ddl.Event
	end    bool // they are the last of their transaction
	again  bool // rows that were written between them may have any form
	// Of a poll.
	poll    *schemaPoll
	early   bool               // the stream is not at its fence yet
	unknown []*stream.Relation // which the poll should explain
	mixed   []uint32           // tables of which the transaction has rows of several forms
}

// tableChange is what becomes of one table.
type tableChange struct {
	table         catalog.Name // its name at the source, behind the step
	key           tableKey     // as it is recorded
	row           state.Table
	known, live   bool
	before, after *catalog.TableDescription
	followed      map[string]bool // columns and objects whose changes are made
	left          bool            // some changes are not made: what differs then has to be judged
	resync        string          // why it is copied again
	rewritten     bool            // because older rows hold values that were not in the stream
	stop          *pgerror.Error
	judged        *drift.Judgement // why the policy stops it, nil for another reason
	aside         []string         // statements that free a name
	drop          bool             // the destination's is dropped too
	create        bool             // it is to be copied for the first time
	unpublished   string           // why nothing comes for it any more
	renamed       bool
}

// schemaPlan is what a step does.
type schemaPlan struct {
	groups []changeGroup // what is done, in order
	tables []*tableChange
}

// changeGroup is what is done to one table, or type, in a row.
type changeGroup struct {
	t       *tableChange // nil for a type
	changes []ddl.Change
}

// follow adds a change to what is done.
func (p *schemaPlan) follow(t *tableChange, c *ddl.Change) {
	if n := len(p.groups); t != nil && n > 0 && p.groups[n-1].t == t {
		p.groups[n-1].changes = append(p.groups[n-1].changes, *c)
	} else {
		p.groups = append(p.groups, changeGroup{t, []ddl.Change{*c}})
	}
	if t == nil {
		return
	}
	if t.followed == nil {
		t.followed = map[string]bool{}
	}
	t.followed[c.Object], t.followed[c.NewName] = true, true
	for _, column := range []*catalog.ColumnDescription{c.From, c.To} {
		if column != nil {
			t.followed[column.Name] = true
		}
	}
	delete(t.followed, "")
}

// Run implements apply.Step.
func (s *schemaStep) Run(ctx context.Context, to stream.LSN) (bool, error) {
	f := s.f
	if to <= f.from {
		return false, nil
	}
	registry, memory, through, changes, err := s.changes(ctx)
	if err != nil {
		return false, err
	}
	if len(changes) == 0 && s.poll == nil {
		f.registry = registry
		return false, nil
	}
	plan, err := s.plan(ctx, registry, changes)
	if err != nil {
		return false, err
	}
	if err := s.record(ctx, registry, memory, through, to); err != nil {
		return false, err
	}
	moved := false
	if plan != nil {
		if err := s.mark(ctx, plan); err != nil {
			return false, err
		}
		if moved, err = s.alter(ctx, plan, to); err != nil {
			return moved, err
		}
	}
	f.registry, f.memory = registry, memory
	for oid, at := range through {
		f.through[oid] = max(f.through[oid], at)
	}
	if plan != nil {
		s.finish(plan)
	}
	return moved, nil
}

// changes tells what has changed, and what is known of the source behind it.
func (s *schemaStep) changes(ctx context.Context) (registry *ddl.Registry, memory ddl.Memory, through map[uint32]stream.LSN, changes []ddl.Change, err error) {
	f := s.f
	registry, memory, through = f.registry.Clone(), f.memory, map[uint32]stream.LSN{}
	for i := range s.events {
		e := s.events[i]
		changes = append(changes, f.observe(registry, &e, s.final)...)
	}
	if s.end {
		changes = append(changes, registry.EndTransaction()...)
	}
	poll := s.poll
	if poll == nil && slices.ContainsFunc(changes, needsPoll) && f.polls != nil {
		if poll, err = f.polls.now(ctx); err != nil {
			return nil, memory, nil, nil, err
		}
		through[0] = poll.reading.Fence
		changes = slices.DeleteFunc(changes, needsPoll)
	}
	if poll != nil {
		changes = append(changes, registry.Read(f.trusted(poll.reading, registry))...)
		memory = poll.memory
		if s.early {
			through[0] = poll.reading.Fence
		}
	}
	return registry, memory, through, changes, nil
}

func needsPoll(c ddl.Change) bool {
	verdict, _ := ddl.Judge(&c)
	return verdict == ddl.Poll
}

// trusted leaves out what a poll guesses of how a table was changed, where event
// triggers have told.
func (f *schemaFollower) trusted(r *ddl.Reading, registry *ddl.Registry) *ddl.Reading {
	if !f.exact.Load() {
		return r
	}
	out := *r
	out.Tables = slices.Clone(r.Tables)
	for i := range out.Tables {
		if registry.Table(out.Tables[i].After.OID) != nil {
			out.Tables[i].Known.Moved, out.Tables[i].Known.Reason = false, 0
		}
	}
	return &out
}

// plan tells what is to be done; nil for nothing.
func (s *schemaStep) plan(ctx context.Context, registry *ddl.Registry, changes []ddl.Change) (*schemaPlan, error) {
	plan := &schemaPlan{}
	byOID := map[uint32]*tableChange{}
	of := func(oid uint32, before, after *catalog.TableDescription, table catalog.Name) *tableChange {
		t := byOID[oid]
		if t == nil {
			t = &tableChange{table: table, before: before}
			t.key, t.row, t.known = s.f.row(oid)
			byOID[oid] = t
			plan.tables = append(plan.tables, t)
		}
		t.table = table
		if after != nil {
			t.after = after
		}
		return t
	}
	for i := range changes {
		c := &changes[i]
		if c.OID == 0 {
			if c.Type != nil {
				s.typeChange(plan, registry, c, of)
			} else if verdict, why := ddl.Judge(c); verdict == ddl.Stop {
				for _, d := range registry.Tables() {
					of(d.OID, d, d, d.Table).stop = verdictStop(c, why)
				}
			}
			continue
		}
		s.tableChange(plan, of(c.OID, c.Before, c.After, c.Table), c)
	}
	for _, r := range s.unknown {
		d := registry.Table(r.OID)
		if d != nil && (slices.Contains(s.mixed, r.OID) || !s.f.fits(registry, r)) {
			of(r.OID, d, d, d.Table).resync = "rows came in a form that nobody has seen: the table was altered more than once since it was looked at"
		}
	}
	for _, t := range plan.tables {
		from, lives := live(&t.row)
		t.live = t.known && lives && s.final >= from
		if s.again && t.live {
			t.resync = "a transaction has altered it too often between its rows"
		}
	}
	if len(plan.tables) == 0 && len(plan.groups) == 0 {
		return nil, nil
	}
	return plan, s.judge(ctx, plan)
}

// judge stops the tables whose rows cannot go on where a change is not made.
func (s *schemaStep) judge(ctx context.Context, plan *schemaPlan) error {
	var asked []*tableChange
	for _, t := range plan.tables {
		if t.live && t.left && t.stop == nil && t.before != nil && t.after != nil {
			asked = append(asked, t)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	conn, err := connect.Open(ctx, s.f.source.job.pair.destination0, "schema")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, t := range asked {
		name := s.f.source.job.destinationNames([]catalog.Name{t.key.table})[0]
		found, err := catalog.DescribeTables(ctx, conn, []catalog.Name{name})
		if err != nil {
			return fmt.Errorf("describe table %s: %w", name, err)
		}
		if found[name] == nil {
			continue // its rows tell
		}
		j, err := s.f.judgement(t, found[name])
		if err != nil {
			return err
		}
		if j.Verdict.Stops() && j.Verdict != drift.ResyncTable {
			t.stop, t.judged = s.f.policyStop(t.before, t.after, j), &j
		}
	}
	return nil
}

// typeChange plans a change of a type that columns may have.
func (s *schemaStep) typeChange(plan *schemaPlan, registry *ddl.Registry, c *ddl.Change, of func(uint32, *catalog.TableDescription, *catalog.TableDescription, catalog.Name) *tableChange) {
	f := s.f
	verdict, why := ddl.Judge(c)
	made := verdict == ddl.Apply && decide(c, f.policy(catalog.Name{})) == follow
	if made {
		plan.follow(nil, c)
	}
	for _, d := range registry.Tables() {
		if d.TypeNamed(c.Type.Type) == nil {
			continue
		}
		before := f.registry.Table(d.OID)
		if before == nil {
			continue
		}
		t := of(d.OID, before, d, d.Table)
		switch {
		case verdict == ddl.Stop:
			t.stop = verdictStop(&ddl.Change{Kind: c.Kind, Table: d.Table}, why)
		case !made:
			t.left = true
		}
	}
}

// tableChange plans one change of a table.
func (s *schemaStep) tableChange(plan *schemaPlan, t *tableChange, c *ddl.Change) {
	f := s.f
	viaRoot := c.After != nil && f.viaRoot(c.After) || c.After == nil && c.Before != nil && f.viaRoot(c.Before)
	verdict, why := ddl.Judge(c)
	switch verdict {
	case ddl.Metadata:
		return
	case ddl.Copy:
		if !viaRoot {
			t.create = true
		}
		return
	case ddl.Keep:
		if c.Kind == ddl.TableDropped && decide(c, f.policy(c.Table)) == follow {
			t.drop = true
		}
		t.unpublished = why
		return
	case ddl.Stop, ddl.Poll:
		t.stop = verdictStop(c, why)
		return
	case ddl.Resync:
		t.resync, t.rewritten = why, true
	}
	if viaRoot && !t.known {
		return // the destination's partitions are its own; its root has what is the table's
	}
	switch c.Kind {
	case ddl.TableRenamed, ddl.TableMoved:
		if mapsByName(f.source.job.definition, t.key.table) {
			t.stop = pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the source has renamed %s to %s, and the mirror's mapping names it", t.key.table, c.Table).
				WithHint("ALTER MIRROR ... SET (TABLE ...) with the new name")
			return
		}
		t.renamed = true
	}
	if decide(c, f.policy(c.Table)) == follow {
		plan.follow(t, c)
	} else {
		t.left = true
	}
}

// record keeps what is known of the source behind the step.
func (s *schemaStep) record(ctx context.Context, registry *ddl.Registry, memory ddl.Memory, through map[uint32]stream.LSN, to stream.LSN) error {
	f := s.f
	objects, err := schemaObjects(f.registry, registry, f.memory, memory, to)
	if err != nil {
		return err
	}
	w := schemaWriter{at: to, objects: objects}
	for oid, at := range through {
		w.put(schemaThrough, oid, at)
	}
	if w.err != nil {
		return w.err
	}
	job, confirmed := f.source.job, f.source.confirmed()
	return job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if err := state.PutSourceObjects(ctx, conn, job.journal.mirrorID, f.source.number, w.objects); err != nil {
			return err
		}
		return state.PruneSourceObjects(ctx, conn, job.journal.mirrorID, f.source.number, confirmed)
	})
}

// mark records what does not depend on the destination, before it is touched: it
// may be recorded again.
func (s *schemaStep) mark(ctx context.Context, plan *schemaPlan) error {
	f, tables := s.f, s.f.source.job.tables
	renames := map[tableKey]tableKey{}
	for _, t := range plan.tables {
		wanted := tableKey{f.source.number, t.table}
		if t.known && t.after != nil && t.key != wanted && t.stop == nil {
			renames[t.key] = wanted
			t.key = wanted
		}
	}
	// A name that is given to another table is taken from the one that had it.
	if err := f.renameRows(ctx, renames); err != nil {
		return err
	}
	for _, t := range plan.tables {
		if err := s.markTable(ctx, tables, t); err != nil {
			return err
		}
	}
	return nil
}

func (s *schemaStep) markTable(ctx context.Context, tables *tableRegistry, t *tableChange) error {
	f := s.f
	switch {
	case t.create:
		return s.markNew(ctx, tables, t)
	case !t.known:
		return nil
	case t.unpublished != "":
		if TableState(t.row.State) == TableUnpublished {
			return nil
		}
		f.tellChange(ctx, t.table, s.final, "no longer followed: "+t.unpublished, nil)
		return tables.set(ctx, TableUnpublished, nil, t.key)
	case isHold(t.row.Part) && TableState(t.row.State) == TableStopped:
		return nil // it is stopped, and what is kept for it comes in the form that its destination has by then
	case t.row.Part != "" && s.final >= t.row.SyncLSN, TableState(t.row.State) == TableCopying && s.final >= t.row.SyncLSN:
		f.tellChange(ctx, t.table, s.final, "altered while it was copied: it is copied again", nil)
		return tables.set(ctx, TableResyncing, func(row *state.Table) { row.Part = "" }, t.key)
	case !t.live:
		return nil
	case t.stop != nil:
		return s.stop(ctx, t, t.stop)
	case t.resync != "":
		return s.copyAgain(ctx, t)
	}
	return nil
}

// markNew records a table that is to be copied for the first time. One that had
// its name is kept aside.
func (s *schemaStep) markNew(ctx context.Context, tables *tableRegistry, t *tableChange) error {
	f := s.f
	key := tableKey{f.source.number, t.table}
	row, there := tables.get(key)
	if there && row.Membership.OID != 0 && row.Membership.OID != t.after.OID {
		destination := f.source.job.destinationNames([]catalog.Name{t.table})[0]
		t.aside = moveAside(destination, row.Membership.OID)
		f.tellChange(ctx, t.table, s.final, fmt.Sprintf("another table has this name now: the old one is kept in schema %s of the destination", keptSchema(row.Membership.OID)), nil)
	}
	fresh := func(row *state.Table) { row.Membership, row.Attempt, row.Part = catalog.Membership{}, 0, "" }
	if !there {
		return tables.add(ctx, f.source.number, []catalog.Name{t.table})
	}
	switch TableState(row.State) {
	case TablePending:
		return nil
	case TableUnpublished:
		return tables.set(ctx, TablePending, fresh, key)
	}
	if t.aside == nil && row.Membership.OID == t.after.OID {
		return nil
	}
	if err := tables.set(ctx, TableUnpublished, nil, key); err != nil {
		return err
	}
	return tables.set(ctx, TablePending, fresh, key)
}

// stop stops a table in front of the transaction.
func (s *schemaStep) stop(ctx context.Context, t *tableChange, why *pgerror.Error) error {
	f := s.f
	t.stop, t.live = why, false
	if t.judged != nil { // its changes are kept until its structure is right
		job := f.source.job
		if t.rewritten {
			return job.drift.stopForCopy(ctx, f.source, t.key, t.judged)
		}
		return job.drift.stopAt(ctx, f.source, t.key, t.judged, s.final, func(config.Server) (stream.LSN, error) { return s.final, nil })
	}
	e := withWayOut(why, f.mirror, t.key.table)
	f.source.job.manager.log.Error("a table is stopped", "table", t.table.String(), "lsn", s.final.String(), "sqlstate", e.Code, "error", e.Message, "detail", e.Detail, "hint", e.Hint)
	f.source.job.manager.metrics.TableStop(f.mirror, f.source.number)
	return f.source.job.tables.stop(ctx, t.key, e, s.final)
}

// copyAgain has a table copied again once the step is done.
func (s *schemaStep) copyAgain(ctx context.Context, t *tableChange) error {
	s.f.tellChange(ctx, t.table, s.final, "copied again: "+t.resync, nil)
	return s.f.source.job.tables.set(ctx, TableResyncing, func(row *state.Table) { row.LiveLSN = 0 }, t.key)
}

// finish has the stream look at what is new, when everything is done.
func (s *schemaStep) finish(plan *schemaPlan) {
	f := s.f
	for _, t := range plan.tables {
		oid := uint32(0)
		switch {
		case t.after != nil:
			oid = t.after.OID
		case t.before != nil:
			oid = t.before.OID
		}
		f.altered[oid] = s.final
		if t.live && t.stop == nil && !t.left && t.after != nil {
			f.source.job.drift.madeAs(t.key.table, t.after)
		}
		if live := f.source.running(); live != nil {
			live.applier.Forget(oid)
		}
	}
	f.source.want()
}

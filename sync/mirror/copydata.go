package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// copyData is COPY_DATA and REPLICATE: a task's work. What of it was done is
// recorded, so that the same command goes on with what is missing.
type copyData struct {
	manager  *Manager
	pair     *pair
	req      CopyDataRequest
	config   *config.Config // as it was when the task began
	binary   dump.Binary
	quoteAll bool
	journal  *journal
	tables   *tableRegistry
	router   *shard.Router    // which rows go to which shard of the destination
	mapping  *mapping.Mapping // what is not the same there
	remapped []remapped       // tables of which that has changed since they were copied
	began    bool             // with these settings, before this task
	origin   *shard.Router    // which tables are spread over the shards of the source; nil if it has one
	sources  []*sourceShard
	wanted   chan struct{}         // poked when a table wants to join
	strategy string                // of RESYNC, where it names none
	untidy   bool                  // there may be something of resyncs to be put back or removed; of watch alone
	asked    map[catalog.Name]bool // by RESYNC, of tables that were never copied
	toldLeft map[string]bool       // schemas that cannot be removed; of watch alone
	ease     easing

	definition config.Mirror
	drift      *driftWatch
	postponed  postponed
}

// sourceShard is one shard of the source: a slot, a snapshot, a stream.
type sourceShard struct {
	job      *copyData
	server   config.Server
	number   int
	stream   state.Stream
	recorded atomic.Bool // its schema is followed: see ddlpublication.go

	mu        sync.Mutex
	published map[catalog.Name]catalog.PublishedTable
	viaRoot   bool
	roots     map[uint32]catalog.Name // see readRoots
	live      *pipeline               // what applies changes now, nil if nothing does
	rates     rates
	told      string                // the SQLSTATE for which the stream was interrupted last
	wholeOnly atomic.Bool           // transactions are not read in progress: see stream.ErrInProgress
	left      map[catalog.Name]bool // see leaveOut
	filters   map[catalog.Name]checkedFilter
	// What keeps a slot from being made, and whether that was ever told.
	slotWait   *pgerror.Error
	slotWaited bool
	leftOut    *pgerror.Error // operations that the publication leaves out
	// Tables that got a new file while they were copied: see readers.
	rewritten map[catalog.Name]bool
}

func (j *copyData) begun(journal *journal) {
	journal.part = state.StreamPart
	j.wanted, j.toldLeft, j.asked = make(chan struct{}, 1), map[string]bool{}, map[catalog.Name]bool{}
	j.journal, j.tables = journal, newTableRegistry(journal)
	j.drift = newDriftWatch(j)
}

func (j *copyData) record() *journal { return j.journal }
func (j *copyData) phase() string    { return "" }

// request is the command, for whoever takes the mirror up again.
func (j *copyData) request() string {
	text, err := json.Marshal(j.req)
	if err != nil { // strings and booleans always can be written
		panic(err)
	}
	return string(text)
}

func (j *copyData) mirror() state.Mirror {
	return state.Mirror{Name: j.pair.mirror, Source: j.req.Source, Destination: j.req.Destination, Publication: j.req.Publication}
}

func (j *copyData) typeName() string {
	verb := verbCopyData
	if j.req.StreamOnly {
		verb = verbReplicate
	}
	return fmt.Sprintf("%s %s -> %s", verb, j.req.Source, j.req.Destination)
}

// With these the type of a task begins that moves rows.
const (
	verbCopyData  = "copy_data"
	verbReplicate = "replication"
)

func (j *copyData) subtasks() []state.Subtask {
	var out []state.Subtask
	for _, server := range j.pair.destination {
		if !j.req.SkipSchema && !j.req.StreamOnly {
			out = append(out, state.Subtask{Shard: server.Shard, Type: fmt.Sprintf("schema_sync %s -> %s shard %d", j.req.Source, j.req.Destination, server.Shard)})
		}
	}
	for _, server := range j.pair.source {
		out = append(out, state.Subtask{Shard: state.StreamSubtask + server.Shard, Type: fmt.Sprintf("replication %s shard %d -> %s", j.req.Source, server.Shard, j.req.Destination)})
	}
	return out
}

// run goes all the way: schema, rows, the rest of the schema, changes.
func (j *copyData) run(ctx context.Context) error {
	j.journal.start(ctx)
	if err := j.prepare(ctx); err != nil {
		return err
	}
	stop := j.report(ctx)
	defer stop()
	if j.copies() {
		if err := j.schemaPhase(ctx, dump.PreData, nil); err != nil {
			return err
		}
	}
	if !j.copies() && !j.req.StreamOnly {
		if err := j.endSchema(ctx, nil); err != nil {
			return err
		}
	}
	snapshots, err := j.slots(ctx)
	defer func() {
		for _, s := range snapshots {
			s.close(ctx)
		}
	}()
	if err != nil {
		return err
	}
	if j.copies() {
		if err := j.rows(ctx, snapshots); err != nil {
			return err
		}
	}
	if j.req.SyncOnly {
		return nil
	}
	if j.req.StreamOnly {
		for _, s := range j.sources {
			s.leaveOut()
		}
	}
	return j.replicate(ctx)
}

// prepare makes the schema pgdrover on every shard of the destination and reads
// what the mirror is.
func (j *copyData) prepare(ctx context.Context) (err error) {
	if err := j.journal.inner(ctx, "preparing"); err != nil {
		return err
	}
	if len(j.pair.source) > 1 {
		if j.origin, err = shard.NewRouter(j.config, j.req.Source, len(j.pair.source)); err != nil {
			return err
		}
	}
	group, installing := errgroup.WithContext(ctx)
	for _, server := range j.pair.destination {
		group.Go(func() error {
			return j.persist(installing, func() error { return installState(installing, server) })
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := j.tables.load(ctx); err != nil {
		return err
	}
	if err := j.tables.abandonParts(ctx); err != nil {
		return err
	}
	for _, server := range j.pair.source {
		s := &sourceShard{job: j, server: server, number: server.Shard, filters: map[catalog.Name]checkedFilter{}}
		if err := s.findRecorded(ctx); err != nil {
			return err
		}
		if err := j.persist(ctx, func() error { return s.readPublication(ctx) }); err != nil {
			return err
		}
		j.sources = append(j.sources, s)
	}
	if err := j.readStreams(ctx); err != nil {
		return err
	}
	if err := j.takeRemapped(ctx); err != nil {
		return err
	}
	if err := j.drift.load(ctx); err != nil {
		return err
	}
	if err := j.drift.loadHolds(ctx); err != nil {
		return err
	}
	return j.takeResyncs(ctx)
}

func installState(ctx context.Context, server config.Server) error {
	conn, err := connect.Open(ctx, server, "task")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := state.Install(ctx, conn); err != nil {
		return fmt.Errorf("prepare the schema pgdrover on %s: %w", connect.Place(server), err)
	}
	return nil
}

// copies tells whether schema and rows come before the stream. Once a mirror
// has streamed they do not: what is missing then joins while it goes on.
func (j *copyData) copies() bool {
	if j.req.StreamOnly {
		return false
	}
	for _, s := range j.sources {
		if s.row().Timeline != 0 { // it has streamed, also where all tables are stopped by now
			return false
		}
		if len(j.tables.in(s.number, TableStreaming))+len(s.beside()) > 0 {
			return false
		}
		for _, key := range j.tables.in(s.number, TableStopped) {
			if row, _ := j.tables.get(key); isHold(row.Part) {
				return false // the stream keeps its changes: it has begun
			}
		}
		for _, key := range j.tables.in(s.number, TableResyncing) {
			if row, _ := j.tables.get(key); row.LiveLSN != 0 {
				return false
			}
		}
	}
	return true
}

// missing are the tables that have to be copied into the place where they are
// read.
func (s *sourceShard) missing() []tableKey { return s.toCopy(false) }

// beside are those that have to be copied beside it.
func (s *sourceShard) beside() []tableKey { return s.toCopy(true) }

func (s *sourceShard) toCopy(beside bool) []tableKey {
	keys := s.job.tables.in(s.number, TablePending, TableCopying, TableResyncing)
	return slices.DeleteFunc(keys, func(k tableKey) bool {
		row, _ := s.job.tables.get(k)
		return s.left[k.table] || !s.carries(k.table) || beside != (TableState(row.State) != TablePending && copiedBeside(row.Resync))
	})
}

// leaveOut keeps the tables that are not copied yet out of a stream without a
// copy: only what is published, or asked for, from now on is copied.
func (s *sourceShard) leaveOut() {
	s.left = map[catalog.Name]bool{}
	for _, key := range s.job.tables.in(s.number, TablePending, TableCopying) {
		if !s.job.asked[key.table] {
			s.left[key.table] = true
		}
	}
	if len(s.left) > 0 {
		s.job.manager.log.Warn("tables were never copied and are left out: REPLICATE copies no rows, COPY_DATA does",
			"task", s.job.journal.task, "shard", s.number, "tables", len(s.left))
	}
}

// carries tells whether a table's rows are taken from this shard: of one that
// every shard of the source has whole, only the first is asked.
func (s *sourceShard) carries(table catalog.Name) bool {
	s.mu.Lock()
	t, ok := s.published[table]
	s.mu.Unlock()
	if !ok {
		return false
	}
	return s.number == 0 || s.job.origin == nil || s.spread(t)
}

// shares tells whether a table of the destination takes rows of other shards of
// the source as well.
func (s *sourceShard) shares(table catalog.Name) bool {
	s.mu.Lock()
	t, ok := s.published[table]
	s.mu.Unlock()
	return ok && s.job.origin != nil && s.spread(t)
}

// spread tells whether a table's rows are spread over the shards of the source.
func (s *sourceShard) spread(t catalog.PublishedTable) bool {
	columns := make([]shard.Column, len(t.Columns))
	for i, c := range t.Columns {
		columns[i] = shard.Column{Name: c}
	}
	key, err := s.job.origin.Table(t.Table.Schema, t.Table.Name, columns)
	if root, ok := s.root(t.OID); ok && err == nil && key == nil {
		// [[sharded_tables]] names what is partitioned, the publication its partitions.
		key, err = s.job.origin.Table(root.Schema, root.Name, columns)
	}
	return err != nil || key != nil
}

// readPublication reads which tables are published now, and brings the registry
// in line: new ones are pending, those that are gone are unpublished. It gives
// the new ones.
func (s *sourceShard) readPublication(ctx context.Context) error {
	conn, err := connect.Open(ctx, s.server, "publication")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return s.takePublication(ctx, conn)
}

func (s *sourceShard) takePublication(ctx context.Context, conn *pgx.Conn) error {
	publication, ok, err := catalog.ReadPublication(ctx, conn, s.job.req.Publication)
	if err != nil {
		return err
	}
	if !ok {
		return pgerror.New(pgerror.UndefinedObject, "publication %q does not exist on %s", s.job.req.Publication, connect.Place(s.server)).
			WithHint("CREATE PUBLICATION %s FOR ALL TABLES; there", dump.QuoteIdent(s.job.req.Publication))
	}
	published := make(map[catalog.Name]catalog.PublishedTable, len(publication.Tables))
	names := make([]catalog.Name, 0, len(publication.Tables))
	for _, t := range publication.Tables {
		published[t.Table] = t
		names = append(names, t.Table)
	}
	roots, err := s.readRoots(ctx, conn)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.published, s.viaRoot, s.roots = published, publication.ViaRoot, roots
	s.mu.Unlock()
	if err := s.tellLeftOut(ctx, publication); err != nil {
		return err
	}
	if s.recorded.Load() {
		return errors.Join(s.lookAtPublication(ctx, published), s.checkFilters(ctx, conn, publication))
	}
	// What another shard is asked for would be pending here for ever.
	names = slices.DeleteFunc(names, func(n catalog.Name) bool { return !s.carries(n) })
	if err := s.job.tables.add(ctx, s.number, names); err != nil {
		return err
	}
	var gone, back []tableKey
	for _, key := range s.job.tables.all(s.number) {
		row, _ := s.job.tables.get(key)
		_, there := published[key.table]
		switch {
		case !there && TableState(row.State) != TableUnpublished:
			gone = append(gone, key)
		case there && TableState(row.State) == TableUnpublished:
			back = append(back, key)
		}
	}
	if err := s.job.tables.set(ctx, TableUnpublished, endResync, gone...); err != nil {
		return err
	}
	if err := s.job.tables.set(ctx, TablePending, nil, back...); err != nil {
		return err
	}
	if err := s.checkFilters(ctx, conn, publication); err != nil {
		return err
	}
	return s.resyncBroken(ctx)
}

// resyncBroken lets tables be copied again that were not published all the
// time: another table bears the name, or the table was taken out of the
// publication and put in again, or its rows are chosen in another way. What was
// written meanwhile is in no stream.
func (s *sourceShard) resyncBroken(ctx context.Context) error {
	var broken []tableKey
	for _, key := range s.job.tables.in(s.number, TableCatchingUp, TableStreaming) {
		row, _ := s.job.tables.get(key)
		now := s.membership(key.table)
		switch {
		case row.Membership.Equal(now):
		case row.Membership.OID == 0 || row.Membership.Unbroken(now):
			s.job.tables.note(key, func(t *state.Table) { t.Membership = now })
		default:
			s.job.manager.log.Warn("a table was not published all the time: it is copied again", "task", s.job.journal.task, "shard", s.number, "table", key.table.String(),
				"was", row.Membership, "is", now)
			broken = append(broken, key)
		}
	}
	if len(broken) == 0 {
		return nil
	}
	return s.job.tables.set(ctx, TableResyncing, func(t *state.Table) { t.Resync = s.job.strategy }, broken...)
}

// membership is what publishes a table, as far as was read.
func (s *sourceShard) membership(table catalog.Name) catalog.Membership {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published[table].Membership()
}

// schemaPhase runs a phase of the schema as a part of this task.
func (j *copyData) schemaPhase(ctx context.Context, phase dump.Phase, gate *schema.Gate) error {
	return j.runSchemaPhase(ctx, phase, gate, nil)
}

func (j *copyData) runSchemaPhase(ctx context.Context, phase dump.Phase, gate *schema.Gate, tolerant *tolerance) error {
	if j.req.SkipSchema {
		return nil
	}
	part := &schemaSync{
		manager: j.manager, pair: j.pair, binary: j.binary, quoteAll: j.quoteAll, part: true, gate: gate, tolerant: tolerant, postponed: &j.postponed,
		req: SchemaSyncRequest{Phase: phase, Source: j.req.Source, Destination: j.req.Destination, Publication: j.req.Publication},
	}
	err := j.persist(ctx, func() error {
		return j.besideOthers(ctx, func() error { return j.runPart(ctx, part) })
	})
	if phase == dump.PostData || err != nil {
		err = errors.Join(err, j.endSchema(ctx, err))
	}
	return err
}

// besideOthers runs a phase again when it has collided with somebody who makes
// the same objects: another mirror of the destination, as a rule. What is there
// by then is looked at anew; if it is not the same, that is the error.
func (j *copyData) besideOthers(ctx context.Context, run func() error) error {
	var last string
	same := 0
	for attempt := 1; ; attempt++ {
		err := run()
		if err == nil || ctx.Err() != nil || !collided(err) || attempt == mostCollisions {
			return err
		}
		// Somebody who makes objects gets on: what stays the same is a difference.
		e := pgerror.From(err)
		if text := e.Message + e.Detail; text == last {
			same++
		} else {
			last, same = text, 1
		}
		if same == mostSame {
			return err
		}
		j.manager.log.Info("objects of the destination differ; in case that somebody else is making them, the phase is planned anew", "task", j.journal.task, "attempt", attempt, "error", err)
		if err := wait(ctx, time.Duration(attempt)*collisionDelay); err != nil {
			return err
		}
	}
}

const (
	mostCollisions = 20
	mostSame       = 3 // times that the same error is met
	collisionDelay = 200 * time.Millisecond
)

// collided tells whether an error means that somebody has made, or changed, the
// same object at the same moment.
func collided(err error) bool {
	switch pgerror.Code(err) {
	case "42P07", "42P06", "42710", "42723", "42701", "42P16", "23505", "40P01":
		return true
	case pgerror.InternalError:
		return strings.Contains(err.Error(), "tuple concurrently updated") || strings.Contains(err.Error(), "tuple concurrently deleted")
	}
	return false
}

// persist does something that can be done again, as often as lost connections
// make it necessary, within the attempts that are configured.
func (j *copyData) persist(ctx context.Context, do func() error) error {
	general := j.config.General
	for attempt := 1; ; attempt++ {
		err := do()
		switch {
		case err == nil || ctx.Err() != nil || !retryable(err) || pgerror.Code(err) == pgerror.ConfigurationLimitExceeded:
			return err
		case attempt >= general.ReshardingCopyRetryMaxAttempts:
			e := *pgerror.From(err)
			if e.Hint != "" {
				e.Hint += ". "
			}
			e.Hint += fmt.Sprintf("It was tried %s. Run the same command again when the servers are well: it goes on with what is missing", times(attempt))
			return &e
		}
		j.manager.log.Warn("a connection was lost; it is tried again", "task", j.journal.task, "attempt", attempt, "error", err)
		if err := wait(ctx, general.ReshardingCopyRetryMinDelay<<min(attempt-1, 5)); err != nil {
			return err
		}
	}
}

// runPart runs a phase once, with a journal of its own.
func (j *copyData) runPart(ctx context.Context, part *schemaSync) error {
	open, phase := j.journal.open, part.req.Phase
	part.begun(newJournal(open, nil, j.journal.mirrorID, j.journal.task, phase.String()))
	part.journal.part = state.SchemaPart
	err := part.run(ctx)
	part.journal.flush(ctx)
	if closed := part.journal.close(ctx); err == nil && closed != nil {
		err = closed
	}
	return err
}

// endSchema records that the schema's subtasks have ended.
func (j *copyData) endSchema(ctx context.Context, err error) error {
	to, failure := outcome(ctx, err)
	return j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		for _, server := range j.pair.destination {
			if err := state.EndSubtask(ctx, conn, j.journal.task, server.Shard, string(to), failure); err != nil {
				return err
			}
		}
		return nil
	})
}

// takeResyncs brings the tables that RESYNC has asked for into their state.
func (j *copyData) takeResyncs(ctx context.Context) error {
	var asked []state.AskedResync
	err := j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		asked, err = state.AskedResyncs(ctx, conn, j.journal.mirrorID)
		return err
	})
	if err != nil || len(asked) == 0 {
		return err
	}
	for _, s := range j.sources {
		for _, a := range asked {
			key := tableKey{s.number, a.Table}
			row, ok := j.tables.get(key)
			if ok && TableState(row.State) == TablePending { // REPLICATE leaves it out no longer
				delete(s.left, a.Table)
				j.asked[a.Table] = true
			}
			if !ok || TableState(row.State) == TablePending || TableState(row.State) == TableUnpublished {
				continue
			}
			if err := j.tables.set(ctx, TableResyncing, func(t *state.Table) { beginResync(t, cmp.Or(a.Strategy, j.strategy)) }, key); err != nil {
				return err
			}
			s.forget(a.Table)
		}
	}
	return j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.ClearResyncs(ctx, conn, j.journal.mirrorID, asked)
	})
}

package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
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

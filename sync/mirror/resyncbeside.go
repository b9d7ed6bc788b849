package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/resync"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// beside is the copying again of one table into another place than where it is
// read: a shadow table that is swapped with it, or a stage with which it is
// reconciled. The rows come as those of a table that joins: see join.go.
//
// By a swap the table goes on in the mirror's stream until the shadow table takes
// its place, at one position of the stream on every shard: if the copy is given up,
// or the process killed, nothing has happened to it. To be reconciled it leaves the
// stream before the snapshot is taken, and rests until it has caught up.
type beside struct {
	job      *copyData
	table    catalog.Name // of the source
	there    catalog.Name // what the destination calls it
	strategy resync.Strategy
	parts    []*part
	shards   []*besideShard

	mu     sync.Mutex
	shares map[int]float64 // of a step, by shard
}

// besideShard is its part on one shard of the destination.
type besideShard struct {
	server config.Server
	shadow *resync.Shadow
	stage  *resync.Stage
}

// resyncs copies the tables again that are copied beside what is read, one after
// another.
func (j *copyData) resyncs(ctx context.Context) error {
	for {
		b := j.nextBeside()
		if b == nil {
			return nil
		}
		if err := b.resync(ctx); err != nil {
			return err
		}
	}
}

// nextBeside gives the next table that is to be copied again in this way, with
// all shards of the source that have rows of it.
func (j *copyData) nextBeside() *beside {
	j.together()
	var b *beside
	for _, s := range j.sources {
		for _, key := range s.beside() {
			row, _ := j.tables.get(key)
			if b == nil {
				b = &beside{job: j, table: key.table, there: j.destinationNames([]catalog.Name{key.table})[0], strategy: resync.Strategy(row.Resync), shares: map[int]float64{}}
			}
			if key.table == b.table {
				b.parts = append(b.parts, newPart(s, []tableKey{key}))
			}
		}
	}
	if b == nil {
		return nil
	}
	for _, server := range j.pair.destination {
		b.shards = append(b.shards, &besideShard{server: server})
	}
	return b
}

// errGivenUp means that a table's copy has ended with an error that its row has.
var errGivenUp = errors.New("the table could not be copied")

// resync copies the table again. Its error is one after which it is tried again.
func (b *beside) resync(ctx context.Context) error {
	b.job.untidy = true
	defer b.clean(ctx)
	err := b.run(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case !b.passes(err):
		return b.giveUp(ctx, err)
	}
	return errors.Join(err, b.job.tables.abandonParts(context.WithoutCancel(ctx)))
}

// passes tells whether an error may be gone when everything is tried again.
func (b *beside) passes(err error) bool {
	if pgerror.Code(err) == pgerror.DiskFull {
		return false
	}
	return retryable(err) || errors.Is(err, errNotStreaming) || errors.Is(err, tablecopy.ErrSnapshotLost) || errors.Is(err, resync.ErrStageLost) ||
		errors.Is(err, resync.ErrChanged) || errors.Is(err, errHalf) || errors.Is(err, apply.ErrRedeliver)
}

// giveUp ends the resync: the table goes on as it was, or is stopped if it did not
// go on.
func (b *beside) giveUp(ctx context.Context, err error) error {
	why := withWayOut(pgerror.From(err), b.job.pair.mirror, b.table)
	b.job.manager.log.Error("a table could not be copied again", "task", b.job.journal.task, "table", b.table.String(), "strategy", string(b.strategy),
		"sqlstate", why.Code, "error", why.Message, "detail", why.Detail, "hint", why.Hint)
	for _, key := range b.keys() {
		switch row, _ := b.job.tables.get(key); TableState(row.State) {
		case TableResyncing, TableCopying, TableCatchingUp:
			if err := b.job.tables.stop(ctx, key, why, row.SyncLSN); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *beside) keys() []tableKey {
	var out []tableKey
	for _, p := range b.parts {
		out = append(out, p.keys...)
	}
	return out
}

func (b *beside) step(what string, share float64) { b.job.tables.step(what, share, b.keys()...) }

// shardStep tells how far one shard is with a step; the slowest is shown.
func (b *beside) shardStep(what string, shard int, share float64) {
	b.mu.Lock()
	b.shares[shard] = share
	for i := range b.shards {
		share = min(share, b.shares[i])
	}
	b.mu.Unlock()
	b.step(what, share)
}

func (b *beside) newStep(what string) {
	b.mu.Lock()
	clear(b.shares)
	b.mu.Unlock()
	b.step(what, -1)
}

func (b *beside) run(ctx context.Context) error {
	b.newStep(stepPlan)
	if err := b.job.eased(ctx); err != nil {
		return err
	}
	number, err := b.find(ctx)
	if err != nil || number == 0 {
		return err
	}
	if err := b.job.fits(ctx, b.keys(), b.strategy); err != nil {
		return err
	}
	if err := b.onShards(ctx, func(ctx context.Context, conn *pgx.Conn, s *besideShard) error { return b.plan(ctx, conn, s, number) }); err != nil {
		return err
	}
	if err := b.leave(ctx); err != nil {
		return err
	}
	for _, p := range b.parts {
		p.into = map[catalog.Name]catalog.Name{b.table: b.target()}
	}
	if err := b.job.drift.beforeJoin(ctx, b.parts); err != nil {
		return err
	}
	b.step(stepCopy, -1)
	if err := b.job.copyRows(ctx, b.parts); err != nil {
		return err
	}
	if err := b.copied(); err != nil {
		return err
	}
	for _, p := range b.parts {
		p.snapshot.close(ctx)
	}
	if b.strategy == resync.Swap {
		return b.swap(ctx)
	}
	return b.reconcile(ctx)
}

// find gives the number that the schemas of this resync have: the OID that the
// table has on shard 0. A table that the destination does not have is left to those
// that join.
func (b *beside) find(ctx context.Context) (number uint32, err error) {
	err = b.onShard(ctx, b.shards[0], func(ctx context.Context, conn *pgx.Conn, _ *besideShard) error {
		relations, err := catalog.ReadRelations(ctx, conn, []catalog.Name{b.there})
		if err == nil && relations[b.there] != nil {
			number = relations[b.there].OID
		}
		return err
	})
	if err == nil && number == 0 {
		err = b.job.tables.set(ctx, TableResyncing, func(t *state.Table) { t.Resync = string(resync.Truncate) }, b.keys()...)
	}
	return number, err
}

// onShards does something on every shard of the destination at the same time, and
// again on a new connection if one is lost.
func (b *beside) onShards(ctx context.Context, do func(context.Context, *pgx.Conn, *besideShard) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range b.shards {
		group.Go(func() error { return b.onShard(ctx, s, do) })
	}
	return group.Wait()
}

func (b *beside) onShard(ctx context.Context, s *besideShard, do func(context.Context, *pgx.Conn, *besideShard) error) error {
	err := b.job.persist(ctx, func() error {
		conn, err := b.job.resyncConn(ctx, s.server)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		return do(ctx, conn, s)
	})
	if err != nil && len(b.shards) > 1 {
		return fmt.Errorf("%s: %w", connect.Place(s.server), err)
	}
	return err
}

// resyncConn opens a connection on which tables are made.
func (j *copyData) resyncConn(ctx context.Context, server config.Server) (*pgx.Conn, error) {
	conn, err := connect.Open(ctx, server, "resync")
	if err != nil {
		return nil, err
	}
	if memory := j.pair.settings.MaintenanceWorkMem; memory != "" {
		if _, err := conn.Exec(ctx, "SET maintenance_work_mem = "+dump.QuoteLiteral(memory)); err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
			return nil, err
		}
	}
	return conn, nil
}

// archive dumps the schema of a shard, with what is being made beside.
func (b *beside) archive(ctx context.Context, s *besideShard) (*dump.Archive, error) {
	return b.job.binary.Run(ctx, dump.Options{Server: s.server, ExcludeSchemas: []string{"pgdrover"}, ExcludePrefixes: []string{resync.StagePrefix, resync.OldPrefix}})
}

// plan makes the place on a shard. What can be refused is refused before.
func (b *beside) plan(ctx context.Context, conn *pgx.Conn, s *besideShard, number uint32) (err error) {
	mirror, patience := b.job.pair.mirror, b.job.patience()
	if b.strategy == resync.Reconcile {
		columns, err := b.columns(ctx)
		if err != nil {
			return err
		}
		if s.stage, err = resync.NewStage(ctx, conn, resync.StageOptions{Mirror: mirror, Table: b.there, Columns: columns, Number: number}); err != nil {
			return err
		}
		return s.stage.Create(ctx, conn, patience)
	}
	archive, err := b.archive(ctx, s)
	if err != nil {
		return err
	}
	if s.shadow, err = resync.NewShadow(ctx, conn, resync.ShadowOptions{Mirror: mirror, Table: b.there, Archive: archive, Number: number}); err != nil {
		return err
	}
	for _, warning := range s.shadow.Warnings() {
		b.job.happens(ctx, "warning", b.table, fmt.Sprintf("shard %d: %s", s.server.Shard, warning), nil)
	}
	if err := s.shadow.Drop(ctx, conn, patience); err != nil { // what another attempt has left
		return err
	}
	if err := s.shadow.Rehearse(ctx, conn, patience); err != nil {
		return err
	}
	return s.shadow.Create(ctx, conn, patience)
}

// columns are the columns that are copied, as the destination calls them.
func (b *beside) columns(ctx context.Context) ([]string, error) {
	shapes, err := b.parts[0].source.shapes(ctx, []catalog.Name{b.table})
	if err != nil {
		return nil, err
	}
	table, problem := b.job.mapping.Table(b.table)
	if problem != nil {
		return nil, problem
	}
	shape := shapes[b.table]
	var out []string
	for _, name := range shape.published.Columns {
		if c, kept := table.Column(name); kept && shape.destination != nil && shape.destination.Position(c.Destination) >= 0 {
			out = append(out, c.Destination)
		}
	}
	return out, nil
}

// target is where the rows are copied to. It has the same name on every shard.
func (b *beside) target() catalog.Name {
	if b.strategy == resync.Swap {
		return b.shards[0].shadow.Target()
	}
	return b.shards[0].stage.Target()
}

// leave takes the table out of the mirror's stream, unless it is to go on in it.
func (b *beside) leave(ctx context.Context) error {
	for _, p := range b.parts {
		if row, _ := b.job.tables.get(p.keys[0]); b.strategy == resync.Swap && row.LiveLSN != 0 {
			continue
		}
		if err := p.leaveStream(ctx); err != nil {
			return err
		}
	}
	return nil
}

// copied makes sure that the rows are in from every shard of the source.
func (b *beside) copied() error {
	for _, key := range b.keys() {
		row, _ := b.job.tables.get(key)
		switch TableState(row.State) {
		case TableCatchingUp:
		case TableStopped, TableStreaming, TableUnpublished:
			if row.Error != nil {
				return row.Error
			}
			return errGivenUp
		default:
			return fmt.Errorf("table %s was changed while it was copied: %w", b.table, tablecopy.ErrSnapshotLost)
		}
	}
	return nil
}

// reconcile changes in the table what differs, and lets it join the stream again.
func (b *beside) reconcile(ctx context.Context) error {
	b.newStep(stepFinish)
	if err := b.onShards(ctx, func(ctx context.Context, conn *pgx.Conn, s *besideShard) error { return s.stage.Finish(ctx, conn) }); err != nil {
		return err
	}
	b.newStep(stepReconcile)
	err := b.onShards(ctx, func(ctx context.Context, conn *pgx.Conn, s *besideShard) error {
		done, err := s.stage.Reconcile(ctx, conn, resync.ReconcileOptions{Progress: func(r resync.Reconciled) {
			b.shardStep(stepReconcile, s.server.Shard, r.Share)
			_ = b.job.eased(ctx) // ctx ends the next statement too
		}})
		if err == nil {
			b.job.happens(ctx, "info", b.table, fmt.Sprintf("reconciled on shard %d: %d rows inserted, %d updated, %d deleted, %d replaced",
				s.server.Shard, done.Inserted, done.Updated, done.Deleted, done.Replaced), nil)
		}
		return err
	})
	if err != nil {
		return err
	}
	b.newStep(stepCatchUp)
	for _, p := range b.parts {
		p.into = nil
	}
	return b.atLast(ctx, b.handOver)
}

// arrived makes sure that the table streams.
func (b *beside) arrived() error {
	for _, key := range b.keys() {
		if row, _ := b.job.tables.get(key); TableState(row.State) != TableStreaming || row.Error != nil {
			if row.Error != nil {
				return row.Error
			}
			return errGivenUp
		}
	}
	return nil
}

// clean removes what is not needed any more. What cannot be removed now is found by
// tidy.
func (b *beside) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	for _, p := range b.parts {
		p.snapshot.close(ctx)
		if p.from != 0 {
			p.drop(ctx)
		}
	}
	var all sync.WaitGroup
	for _, s := range b.shards {
		all.Go(func() {
			if err := b.cleanShard(ctx, s); err != nil {
				b.job.manager.log.Warn("what a resync has made could not be removed yet", "task", b.job.journal.task, "table", b.table.String(), "place", connect.Place(s.server), "error", err)
			}
		})
	}
	all.Wait()
}

func (b *beside) cleanShard(ctx context.Context, s *besideShard) error {
	if s.shadow == nil && s.stage == nil {
		return nil
	}
	conn, err := connect.Open(ctx, s.server, "resync")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if s.shadow != nil {
		return s.shadow.Drop(ctx, conn, b.job.patience())
	}
	return s.stage.Drop(ctx, conn, b.job.patience())
}

// happens records what has happened to a table, in the mirror's log and in ours.
func (j *copyData) happens(ctx context.Context, level string, table catalog.Name, message string, failure *pgerror.Error) {
	j.happensAt(ctx, level, table, 0, message, failure)
}

func (j *copyData) happensAt(ctx context.Context, level string, table catalog.Name, at stream.LSN, message string, failure *pgerror.Error) {
	attributes := []any{"task", j.journal.task, "table", table.String(), "what", message}
	if failure != nil {
		attributes = append(attributes, "sqlstate", failure.Code, "error", failure.Message, "detail", failure.Detail, "hint", failure.Hint)
	}
	switch level {
	case "error":
		j.manager.log.Error("resync", attributes...)
	case "warning":
		j.manager.log.Warn("resync", attributes...)
	default:
		j.manager.log.Info("resync", attributes...)
	}
	e := state.Event{Level: level, Kind: "resync", TaskID: j.journal.task, Shard: -1, Schema: table.Schema, Name: table.Name, LSN: at, Message: message, Error: failure}
	err := j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.AddEvents(ctx, conn, j.journal.mirrorID, e)
	})
	if err != nil {
		j.manager.log.Warn("an event could not be recorded", "task", j.journal.task, "error", err)
	}
}

// destinationTables gives the tables of the mirror that are in one of some states,
// by the names that the destination has for them.
func (j *copyData) destinationTables(states ...TableState) []catalog.Name {
	var names []catalog.Name
	for _, s := range j.sources {
		for _, key := range j.tables.in(s.number, states...) {
			if !slices.Contains(names, key.table) {
				names = append(names, key.table)
			}
		}
	}
	return j.destinationNames(names)
}

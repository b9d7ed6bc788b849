package mirror

import (
	"context"
	"errors"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// pipeline brings the changes of one slot to the destination: a reader and an
// applier. The mirror's own streams are pipelines, and so is what lets a table
// that was copied for itself catch up.
type pipeline struct {
	source *sourceShard
	mirror string                            // under which its progress is recorded
	slot   string                            //
	only   map[catalog.Name]bool             // nil: every table
	into   map[catalog.Name]catalog.Name     // tables of the destination that are not those of the mapping, by the source's
	gates  func(tableKey) (stream.LSN, bool) // from where on a table's changes are applied; false leaves them out
	held   bool                              // it lets a table go on that was stopped: see driftWatch.hold
	binary bool

	follows  bool            // it follows schema changes: it is the shard's own stream
	follower *schemaFollower // nil where they cannot be followed

	reader  *stream.Reader
	applier *apply.Applier

	goal   stream.LSN   // where the source was when the pipeline was opened
	before sample       // what earlier pipelines of the task have done
	told   stream.Stats // what of its reading the metrics know; of the reporter alone
}

// start opens the pipeline at the lowest position that a shard has. The caller
// runs it, and closes it.
func (p *pipeline) start(ctx context.Context) error {
	start, err := p.position(ctx)
	if err == nil && p.only == nil { // a part's slot is of this run
		err = p.sameHistory(ctx, start)
	}
	if err != nil {
		return err
	}
	if err := p.chooseFormat(ctx); err != nil {
		return err
	}
	if p.follows {
		if p.follower, err = p.source.openFollower(ctx, start); err != nil {
			return err
		}
	}
	settings := p.source.job.config.DataSync
	p.reader, err = stream.Open(ctx, stream.Options{
		Server: p.source.server, Slot: p.slot, Publications: []string{p.source.job.req.Publication}, Start: startOf(start),
		Binary: p.binary, Streaming: settings.Streaming && !p.source.wholeOnly.Load(), SpillDirectory: settings.SpillDirectory,
		SpillMemory: settings.SpillMemory, QueueMemory: settings.QueueMemory, StatusInterval: settings.StatusInterval,
		Heartbeat: settings.HeartbeatInterval, Logger: p.source.job.manager.log,
	})
	if err != nil {
		return err
	}
	var steps apply.Steps
	if p.follower != nil {
		steps = p.follower
	}
	p.applier = apply.New(apply.Options{
		Steps:  steps,
		Mirror: p.mirror, SourceShard: p.source.number, Destinations: p.source.job.pair.destination, Tables: &pipelineTables{pipeline: p}, Destination: p.destination,
		GroupRows: settings.GroupRows, GroupBytes: settings.GroupBytes, RetryMinDelay: p.source.job.config.General.ReshardingReplicationRetryMinDelay,
		Logger: p.source.job.manager.log, Observer: p.observer(),
	})
	return nil
}

// destination gives what the destination calls a table of the mirror.
func (p *pipeline) destination(source catalog.Name) (catalog.Name, bool) {
	row, ok := p.source.job.tables.get(tableKey{p.source.number, source})
	return p.source.job.destinationNames([]catalog.Name{source})[0], ok && TableState(row.State) != TableUnpublished
}

// observer passes what happens on to the metrics.
func (p *pipeline) observer() apply.Observer {
	sink, mirror, shard := p.source.job.manager.metrics, p.source.job.pair.mirror, p.source.number
	return apply.Observer{
		GroupApplied: func(g apply.GroupApplied) {
			sink.ApplyGroup(mirror, shard, g.Shard, metrics.Group{
				Transactions: int64(g.Transactions), Inserted: g.Rows.Inserts, Updated: g.Rows.Updates, Deleted: g.Rows.Deletes, Truncated: g.Rows.Truncates,
				Exact: g.Exact, Took: g.Duration, Lag: g.Lag,
			})
			for table, counts := range g.Tables {
				p.source.job.drift.spent(table, counts.Inserts, counts.Updates)
				p.source.job.tables.note(tableKey{shard, table}, func(row *state.Table) {
					row.Inserted += counts.Inserts
					row.Updated += counts.Updates
					row.Deleted += counts.Deletes
				})
			}
		},
		TableStopped: func(catalog.Name, *pgerror.Error) { sink.TableStop(mirror, shard) },
		Retry: func(destination, _ int, err error) {
			sink.ApplyRetry(mirror, shard, destination)
			sink.Error(mirror, pgerror.Code(err))
		},
	}
}

// run applies until ctx ends or something is final.
func (p *pipeline) run(ctx context.Context, from apply.Source) error { return p.applier.Run(ctx, from) }

func (p *pipeline) close() {
	if p.reader != nil {
		_ = p.reader.Close() // what it could not tell the server is told after the next start
	}
}

// position is the lowest position that a shard of the destination has recorded.
func (p *pipeline) position(ctx context.Context) (stream.LSN, error) {
	slot, err := p.source.slotState(ctx, p.slot)
	if err != nil {
		return 0, err
	}
	at, err := p.lowestAbove(ctx, slot.ConfirmedFlushLSN)
	if err != nil {
		return 0, err
	}
	return at, p.notBehind(ctx, at)
}

// lowest is the lowest position that is recorded.
func (p *pipeline) lowest(ctx context.Context) (stream.LSN, error) { return p.lowestAbove(ctx, 0) }

// lowestAbove is the lowest position that is recorded; one below what the slot
// was told is an error.
func (p *pipeline) lowestAbove(ctx context.Context, confirmed stream.LSN) (stream.LSN, error) {
	var lowest stream.LSN
	for i, server := range p.source.job.pair.destination {
		at, err := p.recorded(ctx, server)
		if err != nil {
			return 0, err
		}
		if at < confirmed {
			return 0, p.lost(server, at, confirmed)
		}
		if i == 0 || at < lowest {
			lowest = at
		}
	}
	return lowest, nil
}

// still runs f while nothing is applied, see apply.At. That the pipeline does not
// run is errNotStreaming.
func (p *pipeline) still(ctx context.Context, f func(at stream.LSN) error) error {
	ran := false
	err := p.applier.At(ctx, func(at stream.LSN) error {
		ran = true
		return f(at)
	})
	if err != nil && !ran && ctx.Err() == nil {
		err = errors.Join(errNotStreaming, err)
	}
	return err
}

// at is the position that every shard has at this moment.
func (p *pipeline) at(ctx context.Context) (now stream.LSN, err error) {
	err = p.still(ctx, func(at stream.LSN) error {
		now = at
		return nil
	})
	return now, err
}

// lost is the error of a destination that no longer has what it had recorded:
// the slot was told that it is there, and has let it go.
func (p *pipeline) lost(server config.Server, at, confirmed stream.LSN) error {
	job := p.source.job
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s has lost transactions that it had applied", connect.Place(server)).
		WithDetail("It is at %s of the source; slot %q was confirmed up to %s. This happens when the destination is restored from a backup, or fails over to a standby that was behind.", at, p.slot, confirmed).
		WithHint("%s", job.copyAgain())
}

func (p *pipeline) recorded(ctx context.Context, server config.Server) (stream.LSN, error) {
	conn, err := connect.Open(ctx, server, "apply")
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	at, ok, err := apply.ReadProgress(ctx, conn, p.mirror, p.source.number)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s has no record of where mirror %q is", connect.Place(server), p.mirror).
			WithHint("was a shard added, or the schema pgdrover dropped there? If so, %s", p.source.job.copyAgain())
	}
	return at, nil
}

// chooseFormat asks for binary values where every column of every table can take
// them.
func (p *pipeline) chooseFormat(ctx context.Context) error {
	p.binary = false
	if p.source.job.config.General.ReshardingCopyFormat == "text" {
		return nil
	}
	shapes, err := p.source.shapes(ctx, p.source.carried())
	if err != nil {
		return err
	}
	for _, shape := range shapes {
		if shape.source == nil || shape.destination == nil {
			continue
		}
		if why := shape.textOnly(p.source.job); why != "" {
			p.source.job.manager.log.Info("changes are sent as text", "table", shape.source.Table.String(), "because", why)
			return nil
		}
	}
	p.binary = true
	return nil
}

// slotState reads a slot that has to be there.
func (s *sourceShard) slotState(ctx context.Context, name string) (stream.SlotState, error) {
	conn, err := connect.Open(ctx, s.server, "slots")
	if err != nil {
		return stream.SlotState{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	id, err := catalog.SystemIdentifier(ctx, conn)
	if err != nil {
		return stream.SlotState{}, err
	}
	if name == s.row().Slot {
		if err := s.checkSlot(ctx, conn, id); err != nil {
			return stream.SlotState{}, err
		}
	}
	there, ok, err := stream.ReadSlot(ctx, conn, name)
	if err == nil && !ok {
		err = pgerror.New(pgerror.UndefinedObject, "slot %q is not on %s", name, connect.Place(s.server))
	}
	if err == nil {
		err = s.job.usable(there, s.server)
	}
	return there, err
}

// knows tells whether a table is published, as far as was read.
func (s *sourceShard) knows(table catalog.Name) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.published[table]
	return ok
}

// want pokes what watches the publication: the stream has met a table that it
// does not know.
func (s *sourceShard) want() { s.job.poke() }

// poke lets watch look at once.
func (j *copyData) poke() {
	select {
	case j.wanted <- struct{}{}:
	default:
	}
}

// forget makes the pipeline that runs look a table up again.
func (s *sourceShard) forget(table catalog.Name) {
	s.mu.Lock()
	live, oid := s.live, s.published[table].OID
	s.mu.Unlock()
	if live != nil {
		live.applier.Forget(oid)
	}
}

// retryable tells whether a stream that ended may be taken up again: the server
// was lost, or has no room just now.
func retryable(err error) bool {
	if pgerror.IsConnectionLost(err) {
		return true
	}
	switch code := pgerror.Code(err); {
	case code == "", len(code) != 5:
		return false
	case code[:2] == "53", code == pgerror.CannotConnectNow, code == pgerror.AdminShutdown, code == "57P02", code == pgerror.ObjectInUse, code == pgerror.UnableToConnect, code[:2] == "08" && code != pgerror.ProtocolViolation:
		return true
	}
	return false
}

// errEnd ends a pipeline that has reached its goal.
var errEnd = errors.New("the goal is reached")

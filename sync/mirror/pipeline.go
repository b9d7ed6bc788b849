package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/shard"
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

// pipelineTables tells an applier what to do with the tables of a stream.
type pipelineTables struct{ pipeline *pipeline }

// Find gives how the changes of a relation are applied, nil to leave them out.
func (t *pipelineTables) Find(ctx context.Context, relation *stream.Relation, at stream.LSN) (*apply.Target, error) {
	p := t.pipeline
	name := catalog.Name{Schema: relation.Schema, Name: relation.Name}
	key := tableKey{p.source.number, name}
	if catalog.OwnSchema(name.Schema) || p.only != nil && !p.only[name] || !p.source.carries(name) && p.source.knows(name) {
		return nil, nil
	}
	from, ok := p.gates(key)
	if !ok {
		if !p.source.knows(name) {
			p.source.want()
		}
		return nil, nil
	}
	if row, _ := p.source.job.tables.get(key); row.Membership.OID != 0 && row.Membership.OID != relation.OID {
		p.source.want() // another table under the name: it is copied again
		return nil, nil
	}
	held, err := p.heldFrom(ctx, key, relation, at)
	if err != nil || held.out {
		return nil, err
	}
	target, misfit, err := p.source.target(ctx, relation, from, held.until, p.into[name])
	if err != nil {
		return nil, err
	}
	if misfit != nil && p.source.job.drift.handles(ctx, relation) { // what is known of it is older than the row
		if target, misfit, err = p.source.target(ctx, relation, from, held.until, p.into[name]); err != nil {
			return nil, err
		}
	}
	if misfit == nil && p.binary && target.TextOnly() {
		return nil, errAsText
	}
	if misfit != nil && p.held {
		return nil, p.source.job.drift.heldAgain(ctx, key, misfit)
	}
	if misfit != nil {
		p.source.job.manager.log.Error("a table is stopped", "table", name.String(), "sqlstate", misfit.Code, "error", misfit.Message, "detail", misfit.Detail)
		if row, _ := p.source.job.tables.get(key); p.only == nil && row.LiveLSN == 0 && held.until == 0 {
			if why, part := p.source.job.drift.refused(ctx, p.source, key, misfit, at, true); why != nil {
				return nil, p.source.job.drift.stopped(ctx, p.source, key, part, why, at)
			}
		}
		p.source.job.manager.metrics.TableStop(p.source.job.pair.mirror, p.source.number)
		return nil, t.stop(ctx, key, withWayOut(misfit, p.source.job.pair.mirror, name), max(at, from))
	}
	return target, nil
}

// Stop records that a table cannot go on.
func (t *pipelineTables) Stop(ctx context.Context, table catalog.Name, failure *pgerror.Error, at stream.LSN, _ uint32) error {
	p := t.pipeline
	key := tableKey{p.source.number, table}
	if p.held {
		return p.source.job.drift.heldAgain(ctx, key, failure)
	}
	if row, _ := p.source.job.tables.get(key); p.only == nil && row.LiveLSN == 0 {
		if why, part := p.source.job.drift.refused(ctx, p.source, key, failure, at, false); why != nil {
			return p.source.job.drift.stopped(ctx, p.source, key, part, why, at)
		}
	}
	return t.stop(ctx, key, withWayOut(failure, p.source.job.pair.mirror, table), at)
}

func (t *pipelineTables) stop(ctx context.Context, key tableKey, why *pgerror.Error, at stream.LSN) error {
	if t.pipeline.only == nil {
		return t.pipeline.source.job.tables.stopStream(ctx, key, why, at)
	}
	return t.pipeline.source.job.tables.stop(ctx, key, why, at)
}

// withWayOut makes sure that a stopped table's error names the command that
// lets it go on, and says where in the statement it was.
func withWayOut(e *pgerror.Error, mirror string, table catalog.Name) *pgerror.Error {
	command := resyncCommand(mirror, table)
	out := *e
	if out.Where != "" { // "COPY t, line 7, column c": SHOW has no column for it
		out.Detail = strings.TrimSpace(out.Detail + "\n" + out.Where)
	}
	switch {
	case structural(&out):
		byHand := ""
		if sql := strings.TrimPrefix(out.Hint, "there: "); strings.HasPrefix(sql, "ALTER TABLE") {
			byHand = ". If that is all that differs, by hand there: " + sql
		}
		out.Hint = fmt.Sprintf("SYNC_SCHEMA %s %s.%s; alters the destination's table until it is as the source's%s. Then %s copies the table again while the others go on",
			dump.QuoteIdent(mirror), dump.QuoteIdent(table.Schema), dump.QuoteIdent(table.Name), strings.TrimSuffix(byHand, ";"), command)
	case strings.Contains(out.Hint, command):
	case strings.HasPrefix(out.Hint, "RESYNC"):
		out.Hint = command + " copies the table again while the others go on"
	case out.Hint == "":
		out.Hint = "when the reason is gone: " + command + " copies the table again while the others go on"
	default:
		if !strings.HasSuffix(out.Hint, ";") && !strings.HasSuffix(out.Hint, ".") {
			out.Hint += "."
		}
		out.Hint += " Then " + command + " copies the table again"
	}
	return &out
}

// structural tells whether a table has to be altered at the destination before
// another copy of it helps, and the error does not say so yet.
func structural(e *pgerror.Error) bool {
	switch e.Code {
	case pgerror.UndefinedColumn, "42804", "23502":
		return !strings.Contains(e.Hint, "SYNC_SCHEMA") && !strings.Contains(e.Hint, "[[mirrors.tables]]") && !strings.Contains(e.Hint, "publication")
	}
	return false
}

func resyncCommand(mirror string, table catalog.Name) string {
	return fmt.Sprintf("RESYNC %s %s.%s;", dump.QuoteIdent(mirror), dump.QuoteIdent(table.Schema), dump.QuoteIdent(table.Name))
}

// target makes how the changes of a relation are applied. misfit says why they
// cannot be. into is where they go, if that is not the mapping's table.
func (s *sourceShard) target(ctx context.Context, relation *stream.Relation, from, until stream.LSN, into catalog.Name) (target *apply.Target, misfit *pgerror.Error, err error) {
	name := catalog.Name{Schema: relation.Schema, Name: relation.Name}
	types, err := s.relationTypes(ctx, relation)
	if err != nil {
		return nil, nil, err
	}
	table, problem := s.job.streamMapping(name)
	if problem != nil {
		return nil, problem, nil
	}
	if into == (catalog.Name{}) {
		into = table.Destination
	}
	shape, err := s.destinationShape(ctx, into)
	if err != nil {
		return nil, nil, err
	}
	if shape.destination == nil {
		return nil, s.job.noDestination(name, table.Destination), nil
	}
	columns := make([]shard.Column, len(relation.Columns))
	for i, c := range relation.Columns {
		columns[i] = keyColumn(c.Name, c.Type, types)
	}
	key, err := s.job.routing(table, columns)
	if err != nil {
		return nil, pgerror.From(err), nil
	}
	target, misfit = apply.NewTarget(relation, types, shape.destination, shape.destinationTypes, apply.TargetOptions{From: from, Until: until, Casts: s.job.drift.handling(name).all(), Key: key, SameTypes: len(s.job.pair.destination) == 1, Shared: s.shares(name), Mapping: table})
	return target, misfit, nil
}

// keyColumn describes a column to the router: a domain's values have the form
// of the type beneath.
func keyColumn(name string, oid uint32, types catalog.Types) shard.Column {
	t := types[oid]
	for t.Kind == 'd' && t.Base != 0 {
		t = types[t.Base]
	}
	return shard.Column{Name: name, Type: t.OID, TypeName: t.Name.Name}
}

// relationTypes reads the types of a relation's columns as the source has them.
func (s *sourceShard) relationTypes(ctx context.Context, relation *stream.Relation) (catalog.Types, error) {
	conn, err := connect.Open(ctx, s.server, "types")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	oids := make([]uint32, len(relation.Columns))
	for i, c := range relation.Columns {
		oids[i] = c.Type
	}
	return catalog.ReadTypes(ctx, conn, oids)
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

// shape is a table on both sides.
type shape struct {
	published        catalog.PublishedTable
	source           *catalog.Relation
	sourceTypes      catalog.Types
	destination      *catalog.Relation
	destinationTypes catalog.Types
}

// textOnly says why the values of a table cannot be sent in binary form.
func (s *shape) textOnly(j *copyData) string {
	table, problem := j.streamMapping(s.source.Table)
	if problem != nil {
		return "" // it is stopped when its changes come
	}
	for _, name := range s.published.Columns {
		column, kept := table.Column(name)
		if !kept {
			continue
		}
		from, to := s.source.Position(name), s.destination.Position(column.Destination)
		if from < 0 || to < 0 {
			continue // likewise
		}
		if !apply.Fits(s.sourceTypes, s.source.Columns[from], s.destinationTypes, s.destination.Columns[to]) {
			column.Cast = cmp.Or(column.Cast, j.drift.handling(s.source.Table).all()[name])
		}
		if why := apply.TextOnly(column, s.sourceTypes, s.source.Columns[from], s.destinationTypes, s.destination.Columns[to]); why != "" {
			return fmt.Sprintf("column %s: %s", name, why)
		}
	}
	return ""
}

// carried are the tables whose rows are taken from this shard.
func (s *sourceShard) carried() []catalog.Name {
	s.mu.Lock()
	names := make([]catalog.Name, 0, len(s.published))
	for name := range s.published {
		names = append(names, name)
	}
	s.mu.Unlock()
	out := names[:0]
	for _, name := range names {
		if s.carries(name) {
			out = append(out, name)
		}
	}
	return out
}

// shapes reads tables on both sides. What is missing on a side is nil there.
func (s *sourceShard) shapes(ctx context.Context, names []catalog.Name) (map[catalog.Name]*shape, error) {
	conn, err := connect.Open(ctx, s.server, "tables")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return s.shapesOn(ctx, conn, names, nil)
}

// shapesOn is shapes on a connection. into has the tables of the destination that
// are not those of the mapping.
func (s *sourceShard) shapesOn(ctx context.Context, conn *pgx.Conn, names []catalog.Name, into map[catalog.Name]catalog.Name) (map[catalog.Name]*shape, error) {
	there, err := connect.Open(ctx, s.job.pair.destination0, "tables")
	if err != nil {
		return nil, err
	}
	defer func() { _ = there.Close(context.WithoutCancel(ctx)) }()
	sources, sourceTypes, err := readSide(ctx, conn, names)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", connect.Place(s.server), err)
	}
	mapped := s.job.destinationNames(names)
	for i, name := range names {
		if other, ok := into[name]; ok {
			mapped[i] = other
		}
	}
	destinations, destinationTypes, err := readSide(ctx, there, mapped)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", connect.Place(s.job.pair.destination0), err)
	}
	out := make(map[catalog.Name]*shape, len(names))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, name := range names {
		out[name] = &shape{
			published: s.published[name], source: sources[name], sourceTypes: sourceTypes,
			destination: destinations[mapped[i]], destinationTypes: destinationTypes,
		}
	}
	return out, nil
}

// destinationShape reads one table of the destination.
func (s *sourceShard) destinationShape(ctx context.Context, name catalog.Name) (*shape, error) {
	conn, err := connect.Open(ctx, s.job.pair.destination0, "tables")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	relations, types, err := readSide(ctx, conn, []catalog.Name{name})
	if err != nil {
		return nil, fmt.Errorf("read table %s of %s: %w", name, connect.Place(s.job.pair.destination0), err)
	}
	return &shape{destination: relations[name], destinationTypes: types}, nil
}

func readSide(ctx context.Context, conn *pgx.Conn, names []catalog.Name) (map[catalog.Name]*catalog.Relation, catalog.Types, error) {
	relations, err := catalog.ReadRelations(ctx, conn, names)
	if err != nil {
		return nil, nil, err
	}
	seen := map[uint32]bool{}
	var oids []uint32
	for _, r := range relations {
		for _, c := range r.Columns {
			if !seen[c.Type] {
				seen[c.Type] = true
				oids = append(oids, c.Type)
			}
		}
	}
	types, err := catalog.ReadTypes(ctx, conn, oids)
	return relations, types, err
}

// errEnd ends a pipeline that has reached its goal.
var errEnd = errors.New("the goal is reached")

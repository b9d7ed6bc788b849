package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// A table joins a stream that is running in four steps, as PostgreSQL's own
// table synchronisation does (tablesync.c): a slot of its own gives a snapshot;
// the rows are copied in it; a pipeline on that slot, for these tables alone,
// catches up with the mirror's own; at a point where that one stands still,
// between two transactions, the table is handed over. The mirror's own slot is
// not touched, and the other tables wait only for the last step.
//
// Until then the table's row names the part: a run that is killed in between
// copies it again.

// part is the tables of one source shard that join together.
type part struct {
	source   *sourceShard
	name     string // behind the mirror's name, and behind its slot's
	keys     []tableKey
	into     map[catalog.Name]catalog.Name // where the rows go that do not go to the mapping's table
	snapshot *snapshot
	from     stream.LSN     // of the snapshot
	at       stream.LSN     // up to which its changes are applied
	made     []catalog.Name // tables that the destination lacked
	// unfinished: keys and indexes are not known to be there.
	unfinished map[catalog.Name]bool
}

func (p *part) slot() string {
	return partSlotName(slotName(p.source.job.pair.mirror, p.source.job.pair.destination0, p.source.number), p.name)
}

// progress is the name under which the part's position is recorded.
func (p *part) progress() string { return p.source.job.pair.mirror + "/" + p.name }

// join lets every table join that is missing.
func (j *copyData) join(ctx context.Context) error {
	var parts []*part
	defer func() {
		for _, p := range parts {
			p.snapshot.close(ctx)
		}
	}()
	j.together()
	for _, s := range j.sources {
		if keys := s.missing(); len(keys) > 0 {
			parts = append(parts, newPart(s, keys))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	if err := j.fitting(ctx); err != nil {
		return err
	}
	for _, p := range parts {
		p.keys = p.source.missing()
	}
	parts = slices.DeleteFunc(parts, func(p *part) bool { return len(p.keys) == 0 })
	j.untidy = true
	for _, p := range parts {
		if err := p.leaveStream(ctx); err != nil {
			return err
		}
	}
	absent, unfinished, err := j.undefined(ctx, parts)
	if err == nil {
		absent, err = j.define(ctx, dump.PreData, parts, absent)
	}
	if err != nil {
		return j.giveUp(ctx, parts, err)
	}
	parts = slices.DeleteFunc(parts, func(p *part) bool { return len(p.keys) == 0 })
	unfinished = slices.DeleteFunc(unfinished, func(n catalog.Name) bool { return !joins(parts, n) })
	for _, p := range parts {
		p.made = absent
	}
	if err := j.copyParts(ctx, parts); err != nil {
		return j.giveUp(ctx, parts, err)
	}
	if _, err := j.define(ctx, dump.PostData, parts, unfinished); err != nil {
		return j.giveUp(ctx, parts, err)
	}
	for _, p := range parts {
		if err := p.catchUp(ctx); err != nil {
			// What did not join is copied again: its slot is gone.
			return errors.Join(err, j.tables.abandonParts(context.WithoutCancel(ctx)))
		}
	}
	return nil
}

func newPart(s *sourceShard, keys []tableKey) *part {
	return &part{source: s, name: fmt.Sprintf("p%d", time.Now().UnixMilli()%1_000_000_000), keys: keys}
}

// together makes sure that a table that has to be copied from one shard of the
// source is copied from all: they fill one table of the destination, which is
// emptied before.
func (j *copyData) together() {
	if len(j.sources) < 2 {
		return
	}
	again := map[catalog.Name]string{}
	for _, s := range j.sources {
		for _, key := range append(s.missing(), s.beside()...) {
			row, _ := j.tables.get(key)
			again[key.table] = cmp.Or(row.Resync, again[key.table])
		}
	}
	for _, s := range j.sources {
		for _, key := range j.tables.in(s.number, TableCatchingUp, TableStreaming) {
			if strategy, ok := again[key.table]; ok && s.carries(key.table) {
				_ = j.tables.set(context.Background(), TableResyncing, func(t *state.Table) { beginResync(t, strategy) }, key) // allowed by the table of states
			}
		}
	}
}

// leaveStream makes sure that the mirror's own stream applies nothing to the
// part's tables any more.
func (p *part) leaveStream(ctx context.Context) error {
	live := p.source.running()
	if live == nil {
		return errNotStreaming
	}
	return live.still(ctx, func(stream.LSN) error {
		err := p.source.job.tables.alter(ctx, func(t *state.Table) TableState {
			t.LiveLSN = 0
			return TableState(t.State)
		}, p.keys...)
		if err != nil {
			return err
		}
		for _, key := range p.keys {
			p.source.forget(key.table)
		}
		return nil
	})
}

func (s *sourceShard) running() *pipeline {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

// giveUp stops the tables of parts for a reason that trying again does not
// help; any other is given back.
func (j *copyData) giveUp(ctx context.Context, parts []*part, err error) error {
	for _, p := range parts {
		p.snapshot.close(ctx)
		p.drop(ctx)
	}
	if ctx.Err() != nil || givenBack(err) {
		// Those whose rows are in have lost the slot with which they were to catch up.
		return errors.Join(err, j.tables.abandonParts(context.WithoutCancel(ctx)))
	}
	for _, p := range parts {
		for _, key := range p.keys {
			if err := p.giveUpTable(ctx, key, pgerror.From(err)); err != nil {
				return err
			}
		}
	}
	return nil
}

// givenBack tells whether what has kept tables from joining passes.
func givenBack(err error) bool {
	return retryable(err) || errors.Is(err, errNotStreaming) || errors.Is(err, tablecopy.ErrSnapshotLost) || changedMeanwhile(err)
}

// giveUpTable stops a table of the part, unless it is stopped for a reason of its
// own.
func (p *part) giveUpTable(ctx context.Context, key tableKey, why *pgerror.Error) error {
	tables := p.source.job.tables
	if row, ok := tables.get(key); ok && TableState(row.State) == TableStopped {
		return nil
	}
	if p.unfinished[key.table] {
		tables.note(key, neverJoined)
	}
	return tables.stop(ctx, key, withWayOut(why, p.source.job.pair.mirror, key.table), 0)
}

// joins tells whether a table is one of parts.
func joins(parts []*part, table catalog.Name) bool {
	return slices.ContainsFunc(parts, func(p *part) bool {
		return slices.ContainsFunc(p.keys, func(key tableKey) bool { return key.table == table })
	})
}

// copyParts copies the rows, each part in the snapshot of its own slot.
func (j *copyData) copyParts(ctx context.Context, parts []*part) error {
	if err := j.drift.beforeJoin(ctx, parts); err != nil {
		return err
	}
	// Before the tables are marked as begun: whether what they hold may be removed
	// depends on what they were.
	if err := j.clearMissing(ctx); err != nil {
		return err
	}
	for _, p := range parts {
		missing := namesOf(p.source.missing())
		p.keys = slices.DeleteFunc(p.keys, func(key tableKey) bool { return !missing[key.table] })
	}
	return j.copyRows(ctx, parts)
}

// copyRows makes the slots of parts, and copies the rows in their snapshots.
func (j *copyData) copyRows(ctx context.Context, parts []*part) error {
	for _, p := range parts {
		if err := p.begin(ctx); err != nil {
			return err
		}
	}
	group, copying := errgroup.WithContext(ctx)
	for _, p := range parts {
		group.Go(func() error {
			return p.source.copyIn(copying, p.snapshot, p.keys, p.into, func(*sourceShard, catalog.Name) {})
		})
	}
	return group.Wait()
}

// begin makes the part's slot and records it.
func (p *part) begin(ctx context.Context) error {
	j := p.source.job
	made, err := p.source.export(ctx, p.slot(), stream.SlotOptions{})
	if err != nil {
		return err
	}
	p.snapshot, p.at, p.from = made, made.at, made.at
	for _, server := range j.pair.destination {
		if err := setProgress(ctx, server, p.progress(), p.source.number, made.at); err != nil {
			return err
		}
	}
	return p.inForm(ctx, func() error {
		return j.tables.set(ctx, TableCopying, func(t *state.Table) {
			t.Part = p.name
			if t.Resync != "" {
				t.Step, t.StepDone, t.StepAt = stepCopy, nil, timeNow()
			}
		}, p.keys...)
	})
}

// catchUp applies the part's changes until the mirror's own stream can take the
// tables over.
func (p *part) catchUp(ctx context.Context) error {
	p.snapshot.close(ctx)
	defer p.drop(ctx)
	s := p.source
	for {
		live := s.running()
		if live == nil {
			return errNotStreaming
		}
		// First without hindering anybody, up to where the stream is now.
		now, err := live.at(ctx)
		if err != nil {
			return err
		}
		if int64(now)-int64(p.at) > joinBytes {
			if err := p.applyUntil(ctx, now); err != nil {
				return err
			}
			continue
		}
		return live.still(ctx, func(at stream.LSN) error {
			if err := p.applyUntil(ctx, at); err != nil {
				return err
			}
			return p.handOver(ctx, max(at, p.at))
		})
	}
}

// joinBytes is how far behind the mirror's stream a part may be when that stream
// is held for it: a fraction of a second's work.
const joinBytes = 4 << 20

// handOver makes the tables the stream's own from a position on.
func (p *part) handOver(ctx context.Context, from stream.LSN) error {
	var keys []tableKey
	for _, key := range p.keys {
		if row, ok := p.source.job.tables.get(key); ok && TableState(row.State) == TableCatchingUp {
			keys = append(keys, key)
		}
	}
	// A replica's snapshot may be of a later moment than where the stream is.
	err := p.source.job.tables.set(ctx, TableStreaming, func(t *state.Table) {
		t.SyncLSN = max(t.SyncLSN, from)
		endResync(t)
	}, keys...)
	if err != nil {
		return err
	}
	for _, key := range keys {
		p.source.forget(key.table)
		p.source.job.drift.ask(key.table)
	}
	return nil
}

// applyUntil applies the part's changes of all transactions that begin to commit
// before a position. p.at is then at it or behind it.
func (p *part) applyUntil(ctx context.Context, until stream.LSN) error {
	if p.at >= until {
		return nil
	}
	err := p.applyOnce(ctx, until)
	if errors.Is(err, stream.ErrInProgress) && !p.source.wholeOnly.Swap(true) {
		err = p.applyOnce(ctx, until) // only at the transaction's end can the server decode it
	}
	return err
}

func (p *part) applyOnce(ctx context.Context, until stream.LSN) error {
	line := &pipeline{source: p.source, mirror: p.progress(), slot: p.slot(), only: namesOf(p.keys), into: p.into, gates: p.gate, held: isHold(p.name)}
	defer line.close()
	if err := line.start(ctx); err != nil {
		return err
	}
	before := &bounded{Source: line.reader, until: until}
	if err := line.run(ctx, before); !errors.Is(err, errEnd) {
		return err
	}
	reached, err := line.lowest(ctx)
	if err != nil {
		return err
	}
	if reached < before.last {
		return fmt.Errorf("tables that join were to be brought to %s and are at %s", before.last, reached)
	}
	// Up to there nothing more was committed: what follows lies behind the bound.
	p.at = max(p.at, reached, until)
	return nil
}

// gate tells from where on a table's changes are applied by the part.
func (p *part) gate(key tableKey) (stream.LSN, bool) {
	row, ok := p.source.job.tables.get(key)
	return row.SyncLSN, ok && row.Part == p.name && TableState(row.State) == TableCatchingUp
}

// drop removes the part's slot and its records. What cannot be removed now is
// found at the next start.
func (p *part) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	if err := p.source.dropPart(ctx, p.slot()); err != nil {
		p.source.job.manager.log.Warn("slot of tables that joined could not be dropped", "slot", p.slot(), "error", err)
	}
	for _, server := range p.source.job.pair.destination {
		if err := dropProgress(ctx, server, p.progress(), p.source.number); err != nil {
			p.source.job.manager.log.Warn("records of tables that joined could not be removed", "mirror", p.progress(), "error", err)
		}
	}
}

func (s *sourceShard) dropPart(ctx context.Context, slot string) error {
	conn, err := connect.Open(ctx, s.server, "slots")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return stream.DropSlot(ctx, conn, slot)
}

func dropProgress(ctx context.Context, server config.Server, mirror string, shard int) error {
	conn, err := connect.Open(ctx, server, "task")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `DELETE FROM pgdrover.progress WHERE mirror = $1 AND shard = $2`, mirror, shard)
	return err
}

// bounded ends a stream at a position: transactions that begin to commit there
// or behind it are not given.
type bounded struct {
	apply.Source
	until   stream.LSN
	last    stream.LSN // the end of the last transaction that was given
	reached bool
}

// Next gives the next transaction before the bound, errEnd behind it.
func (b *bounded) Next(ctx context.Context) (*stream.Transaction, error) {
	if b.reached {
		return nil, errEnd
	}
	t, err := b.Source.Next(ctx)
	if err != nil {
		return nil, err
	}
	return b.take(t)
}

func (b *bounded) take(t *stream.Transaction) (*stream.Transaction, error) {
	switch {
	case t.Mark():
		b.reached = t.EndLSN >= b.until
	case t.FinalLSN >= b.until:
		b.reached = true
		t.Release()
		return nil, errEnd
	default:
		b.last = t.EndLSN
	}
	return t, nil
}

// TryNext gives what is ready now, unless it lies behind the bound: that ends
// the stream with the next call of Next.
func (b *bounded) TryNext() (*stream.Transaction, bool) {
	if b.reached {
		return nil, false
	}
	t, ok := b.Source.TryNext()
	if !ok {
		return nil, false
	}
	t, err := b.take(t)
	return t, err == nil
}

package mirror

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// A table that is stopped because of its structure is held: the mirror's slot is
// copied, and the copy, which nobody reads, keeps what the source writes from
// there on. The mirror's own slot goes on with the other tables. When the
// structure is right the table catches up on the copy, as a table does that
// joins (join.go), and is handed over. Exactly once: below StoppedLSN the
// mirror's stream applies the table's changes (Target.Until), from there on the
// copy's (Target.From), each with a position of its own in the destination's
// transactions.
//
// The table's row names the part while it is held; a run that is killed leaves
// it so, and the next one goes on. A slot that no row names is dropped.

// holdPrefix begins the names of parts that hold a table.
const holdPrefix = "h"

func isHold(part string) bool { return strings.HasPrefix(part, holdPrefix) }

// holdName gives a name for a part that holds a table: 11 bytes at most.
func (w *driftWatch) holdName() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
	return holdPrefix + strconv.FormatInt(time.Now().UnixMilli()%1_000_000_000, 36) + strconv.FormatInt(int64(w.number%1296), 36)
}

// hold keeps the changes of a table from positions on, by shard of the
// destination. It gives the part's name, "" where they cannot be kept: then the
// table has to be copied again.
func (w *driftWatch) hold(ctx context.Context, s *sourceShard, key tableKey, at func(config.Server) (stream.LSN, error)) string {
	j := w.job
	if j.manager.config().Drift.HeldWAL == 0 {
		return ""
	}
	p := &part{source: s, name: w.holdName(), keys: []tableKey{key}}
	err := func() error {
		conn, err := connect.Open(ctx, s.server, "slots")
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for _, server := range j.pair.destination {
			position, err := at(server)
			if err != nil {
				return err
			}
			if err := setProgress(ctx, server, p.progress(), s.number, position); err != nil {
				return err
			}
		}
		if _, err := conn.Exec(ctx, `SELECT pg_catalog.pg_copy_logical_replication_slot($1, $2, false)`, s.row().Slot, p.slot()); err != nil {
			return fmt.Errorf("copy slot %q on %s: %w", s.row().Slot, connect.Place(s.server), err)
		}
		return nil
	}()
	if err != nil {
		j.manager.log.Warn("the changes of a table cannot be kept: it has to be copied again", "task", j.journal.task, "table", key.table.String(), "error", err)
		p.drop(ctx)
		return ""
	}
	w.mu.Lock()
	w.holds[p.name] = key
	w.mu.Unlock()
	return p.name
}

// slotOfPart is the name of the slot of a part, "" without one.
func (s *sourceShard) slotOfPart(name string) string {
	if name == "" {
		return ""
	}
	return (&part{source: s, name: name}).slot()
}

// errNotYet means that the mirror's own stream has not come to where a table is
// held from.
var errNotYet = errors.New("the stream has not come to where the table is stopped")

// errHeldAgain ends the pipeline of a table that was held and cannot go on: its
// changes are still kept.
var errHeldAgain = errors.New("the table is stopped again; its changes are still kept")

// rejoinDue lets tables go on whose structure is right again.
func (w *driftWatch) rejoinDue(ctx context.Context) error {
	type due struct {
		source *sourceShard
		key    tableKey
	}
	var all []due
	for _, s := range w.job.sources {
		for _, key := range w.job.tables.in(s.number, TableStopped) {
			w.mu.Lock()
			t := w.tables[key.table]
			ready := t != nil && t.row.Stopped && !t.failed && t.stamps != nil && !w.busy[key.table] && t.pending == nil &&
				!t.judged.Verdict.Stops() && t.judged.Verdict != drift.Apply && time.Now().After(t.notBefore)
			w.mu.Unlock()
			if ready {
				all = append(all, due{s, key})
			}
		}
	}
	var errs []error
	for _, d := range all {
		err := w.goOn(ctx, d.source, d.key)
		switch {
		case err == nil, errors.Is(err, errHeldAgain):
		case errors.Is(err, errNotYet), errors.Is(err, errAsText), errors.Is(err, errNotStreaming), retryable(err):
			w.delay(d.key)
		default:
			errs = append(errs, err)
			w.delay(d.key)
		}
	}
	return errors.Join(errs...)
}

// delay leaves a table alone for a moment.
func (w *driftWatch) delay(key tableKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.table(key.table).notBefore = time.Now().Add(2 * driftInterval)
}

// goOn lets a table go on that was stopped because of its structure: from where
// it is held, else by a new copy if it was to be copied, else not at all.
func (w *driftWatch) goOn(ctx context.Context, s *sourceShard, key tableKey) error {
	j := w.job
	row, ok := j.tables.get(key)
	if !ok || TableState(row.State) != TableStopped {
		return nil
	}
	switch {
	case isHold(row.Part):
		if err := w.rejoin(ctx, s, key, row); err != nil {
			return err
		}
	case row.StoppedLSN == 0: // it was stopped before it was copied
		next := TablePending
		if row.Attempt > 0 {
			next = TableResyncing
		}
		if err := j.tables.set(ctx, next, nil, key); err != nil {
			return err
		}
		s.want()
	default:
		return w.notKept(ctx, s, key, row)
	}
	return w.went(ctx, key, "its structure is right again: it goes on")
}

// went notes that a table is no longer stopped because of its structure.
func (w *driftWatch) went(ctx context.Context, key tableKey, message string) error {
	w.mu.Lock()
	t := w.table(key.table)
	last := w.othersStopped(key) == 0
	if last {
		t.row.Stopped, t.dirty = false, true
	}
	w.mu.Unlock()
	e := w.event("info", key.table, message)
	e.Shard = key.shard
	return w.tellEvents(ctx, []state.Event{e})
}

// othersStopped counts the shards of the source on which the table is stopped
// beside one.
func (w *driftWatch) othersStopped(key tableKey) int {
	n := 0
	for _, s := range w.job.sources {
		if row, ok := w.job.tables.get(tableKey{s.number, key.table}); ok && s.number != key.shard && TableState(row.State) == TableStopped {
			n++
		}
	}
	return n
}

// notKept tells, once, that a table whose structure is right again has to be
// copied, as its changes were not kept.
func (w *driftWatch) notKept(ctx context.Context, s *sourceShard, key tableKey, row state.Table) error {
	w.mu.Lock()
	w.table(key.table).failed = true
	w.mu.Unlock()
	e := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the structure of %s is right again, but its changes since LSN %s were not kept", key.table, row.StoppedLSN).
		WithHint("%s copies it again while the others go on", resyncCommand(w.job.pair.mirror, key.table))
	w.job.tables.note(key, func(t *state.Table) { t.Error = e })
	event := w.event("warning", key.table, "its structure is right again, and it has to be copied")
	event.Shard, event.LSN, event.Error = s.number, row.StoppedLSN, e
	return w.tellEvents(ctx, []state.Event{event})
}

// rejoin applies what was kept of a table and hands it over to the mirror's
// stream.
func (w *driftWatch) rejoin(ctx context.Context, s *sourceShard, key tableKey, row state.Table) (err error) {
	j := w.job
	live := s.running()
	if live == nil {
		return errNotStreaming
	}
	now, err := live.at(ctx)
	if err != nil {
		return err
	}
	if now < row.StoppedLSN {
		return errNotYet
	}
	p := &part{source: s, name: row.Part, keys: []tableKey{key}}
	from := max(row.SyncLSN, row.StoppedLSN)
	if err := j.tables.set(ctx, TableCatchingUp, func(t *state.Table) { t.SyncLSN = from }, key); err != nil {
		return err
	}
	defer func() {
		if after, ok := j.tables.get(key); err != nil && ok && TableState(after.State) == TableCatchingUp && after.Part == row.Part {
			// Its changes are kept as they were: only what it waits for is told.
			e := *pgerror.From(err)
			e.Hint = "it is tried again"
			err = errors.Join(err, j.tables.set(context.WithoutCancel(ctx), TableStopped, func(t *state.Table) { t.Error, t.StoppedLSN = &e, from }, key))
		}
	}()
	if p.at, err = p.recordedAt(ctx); err != nil {
		return err
	}
	if err := p.goOn(ctx); err != nil {
		var lost *pgerror.Error
		if errors.As(err, &lost) && (errors.Is(err, stream.ErrSlotMissing) || errors.Is(err, stream.ErrSlotLost) || lost.Code == pgerror.UndefinedObject || lost.Code == pgerror.ObjectNotInPrerequisiteState) && !errors.Is(err, errHeldAgain) {
			return w.lost(ctx, key, row, err)
		}
		return err
	}
	w.forgetHold(p.name)
	p.drop(ctx)
	return nil
}

// lost notes that what was kept of a table is gone.
func (w *driftWatch) lost(ctx context.Context, key tableKey, row state.Table, err error) error {
	e := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the changes of %s since LSN %s are no longer kept: %w", key.table, row.StoppedLSN, err).
		WithHint("%s copies it again while the others go on", resyncCommand(w.job.pair.mirror, key.table))
	w.mu.Lock()
	t := w.table(key.table)
	t.failed = true
	if t.judged.Would.Stops() {
		why := e.Message
		e = driftError(&t.judged, row.StoppedLSN, "")
		e.Detail += "\n" + why
	}
	w.mu.Unlock()
	set := w.job.tables.set(ctx, TableStopped, func(t *state.Table) { t.Error, t.StoppedLSN, t.Part = e, row.StoppedLSN, "" }, key)
	return errors.Join(set, w.tidyHolds(ctx))
}

// recordedAt is the lowest position that is recorded of the part.
func (p *part) recordedAt(ctx context.Context) (stream.LSN, error) {
	line := &pipeline{source: p.source, mirror: p.progress(), slot: p.slot()}
	return line.lowest(ctx)
}

// goOn is catchUp for a table that was held: what cannot be done leaves the slot
// as it is.
func (p *part) goOn(ctx context.Context) error {
	for {
		live := p.source.running()
		if live == nil {
			return errNotStreaming
		}
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
		return live.applier.At(ctx, func(at stream.LSN) error {
			if err := p.applyUntil(ctx, at); err != nil {
				return err
			}
			return p.handOver(ctx, max(at, p.at))
		})
	}
}

func (w *driftWatch) forgetHold(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.holds, name)
}

// heldParts are the parts that hold tables of a shard, by the registry.
func (j *copyData) heldParts(shard int) map[string]tableKey {
	out := map[string]tableKey{}
	for _, key := range j.tables.all(shard) {
		if row, ok := j.tables.get(key); ok && isHold(row.Part) {
			out[row.Part] = key
		}
	}
	return out
}

// tidyHolds drops slots that hold tables which are copied again, or that have
// become too expensive.
func (w *driftWatch) tidyHolds(ctx context.Context) error {
	w.mu.Lock()
	holds := make(map[string]tableKey, len(w.holds))
	for name, key := range w.holds {
		holds[name] = key
	}
	w.mu.Unlock()
	if len(holds) == 0 {
		return nil
	}
	for name, key := range holds {
		s := w.job.sources[0]
		for _, other := range w.job.sources {
			if other.number == key.shard {
				s = other
			}
		}
		row, ok := w.job.tables.get(key)
		if ok && row.Part == name {
			continue
		}
		(&part{source: s, name: name}).drop(ctx)
		w.forgetHold(name)
	}
	return w.boundHolds(ctx)
}

// holdLook is how often it is looked how much of the source's log is kept.
const holdLook = 10 * time.Second

// boundHolds lets the changes of tables go of which more is kept than is allowed.
func (w *driftWatch) boundHolds(ctx context.Context) error {
	w.mu.Lock()
	due := time.Since(w.lookedHolds) >= holdLook
	if due {
		w.lookedHolds = time.Now()
	}
	w.mu.Unlock()
	if !due {
		return nil
	}
	limit := w.job.manager.config().Drift.HeldWAL
	for _, s := range w.job.sources {
		held := w.job.heldParts(s.number)
		if len(held) == 0 {
			continue
		}
		kept, err := s.retained(ctx)
		if err != nil {
			return err
		}
		for name, key := range held {
			row, _ := w.job.tables.get(key)
			bytes, there := kept[s.slotOfPart(name)]
			if TableState(row.State) != TableStopped || there && bytes <= limit {
				continue
			}
			why := fmt.Errorf("its slot is gone")
			if there {
				why = fmt.Errorf("%d bytes of the source's log were kept for it, and [drift] held_wal allows %d", bytes, limit)
			}
			if err := w.lost(ctx, key, row, why); err != nil {
				return err
			}
		}
	}
	return nil
}

// retained gives how much of the log each slot of the mirror keeps.
func (s *sourceShard) retained(ctx context.Context) (map[string]int64, error) {
	conn, err := connect.Open(ctx, s.server, "slots")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	slots, err := stream.ReadSlots(ctx, conn)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, slot := range slots {
		if slot.Lost == "" {
			out[slot.Name] = slot.RetainedBytes
		}
	}
	return out, nil
}

// loadHolds finds what earlier tasks have kept.
func (w *driftWatch) loadHolds(ctx context.Context) error {
	var back []tableKey
	w.mu.Lock()
	for _, s := range w.job.sources {
		for name, key := range w.job.heldParts(s.number) {
			w.holds[name] = key
			if row, _ := w.job.tables.get(key); TableState(row.State) == TableCatchingUp {
				back = append(back, key)
			}
		}
	}
	w.mu.Unlock()
	for _, key := range back { // it went on when the task ended
		err := w.job.tables.set(ctx, TableStopped, func(t *state.Table) {
			t.StoppedLSN = t.SyncLSN
			t.Error = pgerror.New(pgerror.ObjectNotInPrerequisiteState, "it was catching up with what was kept of it when the task ended").WithHint("it goes on by itself")
		}, key)
		if err != nil {
			return err
		}
		w.mu.Lock()
		t := w.table(key.table)
		t.row.Schema, t.row.Name, t.row.Stopped, t.dirty = key.table.Schema, key.table.Name, true, true
		w.mu.Unlock()
	}
	return nil
}

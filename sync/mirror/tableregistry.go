package mirror

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// tableKey is one table of one source shard.
type tableKey struct {
	shard int
	table catalog.Name
}

// tableRegistry is what the running task knows of its mirror's tables. A change
// of state is durable before set returns; counters are written by flush. It is
// safe for concurrent use.
type tableRegistry struct {
	journal *journal

	mu     sync.Mutex
	tables map[tableKey]*state.Table
	dirty  map[tableKey]bool
	events []state.Event // not recorded yet

	writing sync.Mutex // one write at a time, so that an older row never follows a newer
}

func newTableRegistry(journal *journal) *tableRegistry {
	return &tableRegistry{journal: journal, tables: map[tableKey]*state.Table{}, dirty: map[tableKey]bool{}}
}

// load reads what is recorded. Counters of what earlier tasks have copied stay.
func (r *tableRegistry) load(ctx context.Context) error {
	var rows []state.Table
	err := r.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		rows, err = state.Tables(ctx, conn, r.journal.mirrorID)
		return err
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range rows {
		row := &rows[i]
		row.TaskID = r.journal.task
		r.tables[tableKey{row.Shard, catalog.Name{Schema: row.Schema, Name: row.Name}}] = row
	}
	return nil
}

// add makes tables known, in the state pending, where they are not, and records
// them.
func (r *tableRegistry) add(ctx context.Context, shard int, tables []catalog.Name) error {
	r.mu.Lock()
	for _, table := range tables {
		key := tableKey{shard, table}
		if r.tables[key] == nil {
			r.tables[key] = &state.Table{Shard: shard, Schema: table.Schema, Name: table.Name, TaskID: r.journal.task, State: string(TablePending)}
			r.dirty[key] = true
		}
	}
	r.mu.Unlock()
	return r.flush(ctx)
}

// get gives a copy of a table's row.
func (r *tableRegistry) get(key tableKey) (state.Table, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row, ok := r.tables[key]
	if !ok {
		return state.Table{}, false
	}
	return *row, true
}

// in gives the keys of a shard's tables that are in one of the given states, by
// name.
func (r *tableRegistry) in(shard int, states ...TableState) []tableKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []tableKey
	for key, row := range r.tables {
		if key.shard == shard && slices.Contains(states, TableState(row.State)) {
			out = append(out, key)
		}
	}
	slices.SortFunc(out, func(a, b tableKey) int { return strings.Compare(a.table.String(), b.table.String()) })
	return out
}

// all gives every key of a shard.
func (r *tableRegistry) all(shard int) []tableKey { return r.in(shard, TableStates()...) }

// set brings tables into a state, and records it before it returns. change may
// set more.
func (r *tableRegistry) set(ctx context.Context, to TableState, change func(*state.Table), keys ...tableKey) error {
	return r.alter(ctx, func(row *state.Table) TableState {
		if to != TableStopped {
			row.StoppedLSN, row.Error = 0, nil
		}
		if change != nil {
			change(row)
		}
		return to
	}, keys...)
}

// alter is set for a state that depends on the row as it is.
func (r *tableRegistry) alter(ctx context.Context, change func(*state.Table) TableState, keys ...tableKey) error {
	r.mu.Lock()
	for _, key := range keys {
		row := r.tables[key]
		if row == nil {
			continue
		}
		from, changed := TableState(row.State), *row
		next, err := from.To(change(&changed))
		if err != nil {
			r.mu.Unlock()
			return pgerror.New(pgerror.InternalError, "table %s: %w", key.table, err)
		}
		changed.State = string(next)
		*row = changed
		r.dirty[key] = true
		if next != from && next != quietly {
			r.events = append(r.events, r.event(key, from, row))
		}
	}
	r.mu.Unlock()
	return r.flush(ctx)
}

// quietly is the state that every table passes on its way and that is no news.
const quietly = TableCatchingUp

// event tells that a table has come from one state into another.
func (r *tableRegistry) event(key tableKey, from TableState, row *state.Table) state.Event {
	e := state.Event{
		At: time.Now(), Level: "info", Kind: "table", TaskID: r.journal.task, Shard: key.shard, Schema: key.table.Schema, Name: key.table.Name,
		LSN: max(row.StoppedLSN, row.SyncLSN), Message: string(from) + " -> " + row.State, Error: row.Error,
	}
	switch state := TableState(row.State); {
	case state == TableStopped, row.Error != nil && row.Resync == "":
		e.Level = "error"
	case state == TableResyncing, state == TableUnpublished:
		e.Level = "warning"
	}
	return e
}

// stop stops a table for a reason, at a position. The Hint of why is its way
// out. Of one that is copied again while what stands there goes on, only the copy
// is given up.
func (r *tableRegistry) stop(ctx context.Context, key tableKey, why *pgerror.Error, at stream.LSN) error {
	return r.alter(ctx, func(t *state.Table) TableState {
		t.Error = why
		if t.LiveLSN != 0 {
			t.SyncLSN, t.StoppedLSN = t.LiveLSN, 0
			endResync(t)
			return TableStreaming
		}
		t.StoppedLSN = at
		endResync(t)
		return TableStopped
	}, key)
}

// stopStream is stop for what the mirror's own stream has met. A copy that is
// being made is not touched by that.
func (r *tableRegistry) stopStream(ctx context.Context, key tableKey, why *pgerror.Error, at stream.LSN) error {
	return r.alter(ctx, func(t *state.Table) TableState {
		if t.LiveLSN != 0 {
			t.LiveLSN = 0
			r.events = append(r.events, state.Event{
				At: time.Now(), Level: "warning", Kind: "resync", TaskID: r.journal.task, Shard: key.shard, Schema: key.table.Schema, Name: key.table.Name, LSN: at,
				Message: "no changes are applied to the table any more until it is copied again", Error: why,
			})
			return TableState(t.State)
		}
		t.Error, t.StoppedLSN = why, at
		endResync(t)
		return TableStopped
	}, key)
}

// endResync takes from a row what belongs to a resync that has ended.
func endResync(t *state.Table) {
	t.Resync, t.LiveLSN, t.Part = "", 0, ""
	t.Step, t.StepDone, t.StepAt = "", nil, nil
}

// step tells what a resync of tables is doing, and how far it is with that; a
// negative share is not known.
func (r *tableRegistry) step(what string, share float64, keys ...tableKey) {
	for _, key := range keys {
		r.note(key, func(t *state.Table) {
			if t.Step != what {
				t.Step, t.StepAt = what, timeNow()
			}
			t.StepDone = nil
			if share >= 0 {
				t.StepDone = &share
			}
		})
	}
}

// note changes counters of a table; they are recorded with the next flush.
func (r *tableRegistry) note(key tableKey, change func(*state.Table)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if row := r.tables[key]; row != nil {
		change(row)
		r.dirty[key] = true
	}
}

// waits tells what a table waits for. It goes away with its next state.
func (r *tableRegistry) waits(key tableKey, why *pgerror.Error) {
	r.note(key, func(t *state.Table) { t.Error = why })
}

// flush records what has changed.
func (r *tableRegistry) flush(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	var rows []state.Table
	r.mu.Lock()
	for key := range r.dirty {
		rows = append(rows, *r.tables[key])
	}
	clear(r.dirty)
	events := r.events
	r.events = nil
	r.mu.Unlock()
	if len(rows) == 0 {
		return nil
	}
	// One order for all writers, so that none waits for another in a circle.
	slices.SortFunc(rows, func(a, b state.Table) int {
		return strings.Compare(a.Schema+"\x00"+a.Name, b.Schema+"\x00"+b.Name)
	})
	err := r.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.PutTables(ctx, conn, r.journal.mirrorID, rows, events)
	})
	if err != nil {
		r.mu.Lock()
		r.events = append(events, r.events...)
		for i := range rows {
			r.dirty[tableKey{rows[i].Shard, catalog.Name{Schema: rows[i].Schema, Name: rows[i].Name}}] = true
		}
		r.mu.Unlock()
	}
	return err
}

// timeNow is the time as rows have it.
func timeNow() *time.Time {
	now := time.Now()
	return &now
}

// abandonParts makes tables that were to join when an earlier run was killed
// wait for their copy again.
func (r *tableRegistry) abandonParts(ctx context.Context) error {
	var keys []tableKey
	r.mu.Lock()
	for key, row := range r.tables {
		if row.Part != "" && !isHold(row.Part) {
			row.Part = ""
			r.dirty[key] = true
			if s := TableState(row.State); s == TableCopying || s == TableCatchingUp {
				keys = append(keys, key)
			}
		}
	}
	r.mu.Unlock()
	return r.alter(ctx, func(t *state.Table) TableState {
		t.StoppedLSN, t.Error = 0, nil
		if t.Resync != "" {
			return TableResyncing
		}
		return TablePending
	}, keys...)
}

package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// CreateMirror records a mirror. It starts nothing: see Resume.
func (m *Manager) CreateMirror(ctx context.Context, definition config.Mirror) error {
	if err := CheckDrift(definition); err != nil {
		return err
	}
	pair, err := resolve(m.config(), definition.Source, definition.Destination)
	if err != nil {
		return err
	}
	return m.createMirror(ctx, pair, recorded{Mirror: definition})
}

// createMirror records a mirror that may be.
func (m *Manager) createMirror(ctx context.Context, pair *pair, definition recorded) error {
	text, err := definition.text()
	if err != nil {
		return err
	}
	conn, err := connect.Open(ctx, pair.destination0, "create mirror")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := state.Install(ctx, conn); err != nil {
		return fmt.Errorf("prepare the schema pgdrover on %s: %w", connect.Place(pair.destination0), err)
	}
	return pgx.BeginFunc(ctx, conn, func(pgx.Tx) error {
		_, there, err := state.FindMirror(ctx, conn, definition.Name)
		if err != nil {
			return err
		}
		if there {
			return pgerror.New(pgerror.DuplicateObject, "mirror %q exists already", definition.Name).WithHint("ALTER MIRROR changes its settings, DROP MIRROR ends it")
		}
		row, err := state.EnsureMirror(ctx, conn, state.Mirror{
			Name: definition.Name, Source: definition.Source, Destination: definition.Destination, Publication: definition.Publication,
		})
		if err != nil {
			return err
		}
		if err := state.SetDefinition(ctx, conn, row.ID, text); err != nil {
			return err
		}
		return state.AddEvents(ctx, conn, row.ID, happened("mirror", "created"))
	})
}

// Pause lets a mirror rest: its task ends after the transaction that is being
// applied, and nobody takes the mirror up before Resume. Slots and positions are
// kept.
func (m *Manager) Pause(ctx context.Context, name string) error {
	kept, err := m.command(ctx, name, PauseMirror)
	if err != nil {
		return err
	}
	if !kept.runs {
		return nil
	}
	return m.stopAndWait(ctx, TaskID(kept.task.ID))
}

// Resume lets a mirror that rests go on, or one that was created begin.
func (m *Manager) Resume(ctx context.Context, name string) (Started, error) {
	return m.startAgain(ctx, name, ResumeMirror)
}

// Retry lets a mirror go on that has failed, and tables of one that runs which
// are stopped because of their structure.
func (m *Manager) Retry(ctx context.Context, name string) (Started, error) {
	if started, ok, err := m.retryTables(ctx, name); ok || err != nil {
		return started, err
	}
	return m.startAgain(ctx, name, RetryMirror)
}

func (m *Manager) startAgain(ctx context.Context, name string, c MirrorCommand) (Started, error) {
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return Started{}, err
	}
	// A mirror that is to run and that nobody runs may be begun by either.
	if s := MirrorState(kept.row.Wanted); s != MirrorRunning || kept.runs {
		if _, err := c.After(s, name); err != nil {
			return Started{}, err
		}
	}
	req := kept.request()
	req.SyncOnly = false // it is to stream now
	return m.CopyData(ctx, req)
}

// command brings a mirror into the state that a command leads to.
func (m *Manager) command(ctx context.Context, name string, c MirrorCommand) (keptMirror, error) {
	for {
		kept, err := m.findMirror(ctx, name)
		if err != nil {
			return kept, err
		}
		next, err := c.After(MirrorState(kept.row.Wanted), name)
		if err != nil {
			return kept, err
		}
		err = m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error {
			if err := state.SetWanted(ctx, conn, kept.row.ID, string(next), kept.row.Wanted); err != nil {
				return err
			}
			return state.AddEvents(ctx, conn, kept.row.ID, happened("mirror", string(next)))
		})
		if !errors.Is(err, state.ErrMirrorChanged) {
			return kept, err
		}
	}
}

// recordMirror writes to the database that keeps a mirror.
func (m *Manager) recordMirror(ctx context.Context, kept keptMirror, write func(context.Context, *pgx.Conn) error) error {
	conn, err := connect.Open(ctx, kept.server, "mirror")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := state.Install(ctx, conn); err != nil { // an older pgdrover may have made it
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(pgx.Tx) error { return write(ctx, conn) })
}

// request is the command that takes a mirror up: the last one, else COPY_DATA.
func (k keptMirror) request() CopyDataRequest {
	out := CopyDataRequest{}
	if k.row.Request == "" || json.Unmarshal([]byte(k.row.Request), &out) != nil {
		out = CopyDataRequest{}
	}
	out.Mirror, out.Source, out.Destination, out.Publication = k.row.Name, k.row.Source, k.row.Destination, k.row.Publication
	return out
}

// happened is an event without a table.
func happened(kind, message string) state.Event {
	return state.Event{Level: "info", Kind: kind, Shard: -1, Message: message}
}

// MirrorEvent is something that has happened to a mirror, as SHOW MIRROR_LOG
// tells it.
type MirrorEvent struct {
	ID            int64
	At            time.Time
	Level, Kind   string
	Task          TaskID // 0 for none
	Shard         int    // of the source; -1 for none
	Schema, Table string // "" for none
	LSN           string // "" for none
	Message       string
	Error         *pgerror.Error
}

// LogFilter chooses events of a mirror.
type LogFilter struct {
	Levels []string // "info", "warning", "error"; none: all
	Search string   // in message, table and error, in any case
	Limit  int      // the newest so many; 0: 1000
}

// MirrorLog gives what has happened to a mirror, the newest first.
func (m *Manager) MirrorLog(ctx context.Context, name string, filter LogFilter) ([]MirrorEvent, error) {
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return nil, err
	}
	if filter.Limit == 0 {
		filter.Limit = 1000
	}
	conn, err := connect.Open(ctx, kept.server, "show")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := state.Events(ctx, conn, kept.row.ID, state.EventFilter{Levels: slices.Clone(filter.Levels), Search: filter.Search, Limit: filter.Limit})
	if err != nil {
		return nil, err
	}
	out := make([]MirrorEvent, len(rows))
	for i, e := range rows {
		out[i] = MirrorEvent{ID: e.ID, At: e.At, Level: e.Level, Kind: e.Kind, Task: TaskID(e.TaskID), Shard: e.Shard, Schema: e.Schema, Table: e.Name, Message: e.Message, Error: e.Error}
		if e.LSN != 0 {
			out[i].LSN = e.LSN.String()
		}
	}
	return out, nil
}

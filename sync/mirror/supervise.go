package mirror

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

const (
	// superviseInterval is how often mirrors are looked for that nobody works on.
	superviseInterval = 5 * time.Second
	// longestDelay is the longest pause between two attempts to take one up.
	longestDelay = time.Minute
)

// attempt is when a mirror may be taken up next, and what was told of the last.
type attempt struct {
	after time.Time
	delay time.Duration
	told  string
}

// Supervise takes up mirrors that are to run and that nobody works on: those
// that ran when pgdrover was ended, of whatever process, and those of [[mirrors]]
// with autostart. It returns when ctx ends; the tasks go on until Close.
func (m *Manager) Supervise(ctx context.Context) {
	m.mu.Lock()
	m.supervises = true
	m.mu.Unlock()
	attempts := map[string]*attempt{}
	ticker := time.NewTicker(superviseInterval)
	defer ticker.Stop()
	for {
		m.createConfigured(ctx, attempts)
		for _, kept := range m.unattended(ctx) {
			m.takeUp(ctx, kept, attempts)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-m.pokes:
		}
	}
}

// lookNow lets Supervise look for mirrors to take up without waiting.
func (m *Manager) lookNow() {
	select {
	case m.pokes <- struct{}{}:
	default:
	}
}

// unattended are the mirrors that are to run and that nobody works on.
func (m *Manager) unattended(ctx context.Context) []keptMirror {
	var mu sync.Mutex
	var out []keptMirror
	m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, server config.Server) error {
		rows, err := state.Mirrors(ctx, conn)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, row := range rows {
			if MirrorState(row.Wanted) == MirrorRunning && !row.Leased && !m.holds(row.Name) {
				out = append(out, keptMirror{server: server, row: row})
			}
		}
		return nil
	})
	return out
}

// holds tells whether a task of this process works on the mirror: its lease may
// be on its way back to a server that was restarted.
func (m *Manager) holds(mirror string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range m.mirrors {
		if name == mirror {
			return true
		}
	}
	return false
}

// takeUp starts a mirror's task. What passes is met by trying again; anything
// else is the mirror's failure.
func (m *Manager) takeUp(ctx context.Context, kept keptMirror, attempts map[string]*attempt) {
	name := kept.row.Name
	a := attempts[name]
	if a == nil {
		a = &attempt{}
		attempts[name] = a
	}
	if time.Now().Before(a.after) {
		return
	}
	started, err := m.CopyData(ctx, kept.request())
	if err == nil {
		m.log.Info("mirror taken up", "mirror", name, "task", int64(started.Task))
		for _, w := range started.Warnings {
			m.log.Warn("preflight", "mirror", name, "warning", w.Message, "detail", w.Detail, "hint", w.Hint)
		}
		delete(attempts, name)
		return
	}
	if ctx.Err() != nil || pgerror.Code(err) == pgerror.ObjectInUse {
		return // somebody else was quicker
	}
	a.delay = min(max(2*a.delay, superviseInterval), longestDelay)
	a.after = time.Now().Add(a.delay)
	m.tellOnce(a, name, err)
	if retryable(err) {
		return
	}
	err = m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error {
		if err := state.SetWanted(ctx, conn, kept.row.ID, string(MirrorFailed), string(MirrorRunning)); err != nil {
			return err
		}
		e := happened("mirror", string(MirrorFailed))
		e.Level, e.Error = "error", pgerror.From(err)
		return state.AddEvents(ctx, conn, kept.row.ID, e)
	})
	switch {
	case err == nil:
		delete(attempts, name) // it is taken up at once when somebody has asked to try again
	case !errors.Is(err, state.ErrMirrorChanged):
		m.log.Warn("the mirror's failure could not be recorded", "mirror", name, "error", err)
	}
}

// tellOnce logs an error once as long as it says the same.
func (m *Manager) tellOnce(a *attempt, mirror string, err error) {
	e := pgerror.From(err)
	if a.told == e.Message {
		return
	}
	a.told = e.Message
	m.log.Error("mirror cannot be taken up", "mirror", mirror, "sqlstate", e.Code, "error", e.Message, "detail", e.Detail, "hint", e.Hint)
}

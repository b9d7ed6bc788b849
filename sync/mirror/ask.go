package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// Asked is what was asked of a mirror for a pgdrover that serves to do.
type Asked struct {
	Mirror   string
	Restarts bool   // of AskAlter: its task was ended to be started anew
	after    TaskID // the newest task from before
}

// AskResume records that a mirror that rests, or was created, is to run. A
// pgdrover that serves takes it up: see AwaitStart.
func (m *Manager) AskResume(ctx context.Context, name string) (Asked, error) {
	return m.askStart(ctx, name, ResumeMirror)
}

// AskRetry records that a mirror that has failed is to run again, likewise.
func (m *Manager) AskRetry(ctx context.Context, name string) (Asked, error) {
	if started, ok, err := m.retryTables(ctx, name); ok || err != nil {
		return Asked{Mirror: name, after: started.Task - 1}, err // it runs: nothing is to be waited for
	}
	return m.askStart(ctx, name, RetryMirror)
}

func (m *Manager) askStart(ctx context.Context, name string, c MirrorCommand) (Asked, error) {
	asked := Asked{Mirror: name}
	row, _, err := m.mirrorRow(ctx, name)
	if err != nil {
		return asked, err
	}
	asked.after = row.Task
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return asked, err
	}
	if MirrorState(kept.row.Wanted) == MirrorRunning && !kept.runs {
		return asked, nil // it is to run, and nobody has taken it up
	}
	if kept, err = m.command(ctx, name, c); err != nil {
		return asked, err
	}
	req := kept.request()
	if !req.SyncOnly {
		return asked, nil
	}
	req.SyncOnly = false // it is to stream now
	text, err := json.Marshal(req)
	if err != nil {
		return asked, fmt.Errorf("write down the command of mirror %q: %w", name, err)
	}
	return asked, m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error {
		return state.SetRequest(ctx, conn, kept.row.ID, string(text))
	})
}

// awaitInterval is how often AwaitStart looks. The start of a task of a mirror
// that none is of yet announces nothing that could be waited for.
const awaitInterval = 500 * time.Millisecond

// AwaitStart waits until a task works on a mirror of which that was asked, and
// gives its number. It is an error if the mirror fails instead, or is let rest.
func (m *Manager) AwaitStart(ctx context.Context, asked Asked) (TaskID, error) {
	ticker := time.NewTicker(awaitInterval)
	defer ticker.Stop()
	for {
		row, known, err := m.mirrorRow(ctx, asked.Mirror)
		switch {
		case err != nil && (known || ctx.Err() != nil):
			return 0, err
		case err != nil: // a database could not be asked just now
		case row.Wanted == MirrorFailed:
			return 0, m.failureOf(ctx, row)
		case row.Wanted != MirrorRunning:
			return 0, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q is %s: somebody has asked for that meanwhile", row.Name, row.Wanted).
				WithHint("SHOW MIRROR_LOG %s; tells when", dump.QuoteIdent(row.Name))
		case row.Task > asked.after:
			return row.Task, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// failureOf is why a mirror has failed: its log knows it also of a mirror that
// could not even be taken up.
func (m *Manager) failureOf(ctx context.Context, row MirrorRow) error {
	log, err := m.MirrorLog(ctx, row.Name, LogFilter{Levels: []string{"error"}, Limit: 1})
	if err == nil && len(log) > 0 && log[0].Error != nil {
		return log[0].Error
	}
	if row.Error != nil {
		return row.Error
	}
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q has failed", row.Name).WithHint("SHOW MIRROR_LOG %s; tells why", dump.QuoteIdent(row.Name))
}

// mirrorRow tells one mirror. known is false if it is not there while a database
// could not be asked.
func (m *Manager) mirrorRow(ctx context.Context, name string) (row MirrorRow, known bool, err error) {
	rows, warnings, err := m.Mirrors(ctx)
	if err != nil {
		return row, true, err
	}
	var names []string
	for _, r := range rows {
		if r.Name == name {
			return r, true, nil
		}
		names = append(names, r.Name)
	}
	if len(warnings) > 0 {
		return row, false, warnings[0]
	}
	return row, true, noMirror(name, names)
}

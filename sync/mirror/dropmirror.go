package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// place where a mirror is kept.
type keptMirror struct {
	server config.Server // shard 0 of its destination
	row    state.Mirror
	task   state.Task
	runs   bool
}

// findMirror looks for the database that keeps a mirror.
func (m *Manager) findMirror(ctx context.Context, name string) (keptMirror, error) {
	var mu sync.Mutex
	var found []keptMirror
	var known []string
	warnings := m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, server config.Server) error {
		mirrors, err := state.Mirrors(ctx, conn)
		if err != nil {
			return err
		}
		for _, row := range mirrors {
			mu.Lock()
			known = append(known, row.Name)
			mu.Unlock()
			if row.Name != name {
				continue
			}
			kept := keptMirror{server: server, row: row}
			if kept.task, kept.runs, err = state.RunningTask(ctx, conn, row.ID); err != nil {
				return err
			}
			kept.runs = kept.runs && (row.Leased || m.holds(name)) // one that was killed is recorded as running still
			mu.Lock()
			found = append(found, kept)
			mu.Unlock()
		}
		return nil
	})
	switch {
	case context.Cause(ctx) != nil:
		return keptMirror{}, context.Cause(ctx)
	case len(found) > 0:
		return found[0], nil
	}
	return keptMirror{}, notFound(name, known, warnings)
}

// notFound is why a mirror was not found: it may be where nobody could look.
func notFound(name string, known []string, warnings []*pgerror.Error) error {
	if len(warnings) == 0 {
		return noMirror(name, known)
	}
	return pgerror.New(pgerror.UnableToConnect, "mirror %q was not found, and %w", name, errNotAsked).
		WithDetail("%s", warnings[0].Message).WithHint("%s", warnings[0].Hint)
}

// errNotAsked means that a mirror may be kept where nobody could look.
var errNotAsked = errors.New("a database could not be asked")

// DropMirror ends a mirror: its task is stopped, its slots on the source and
// all that is recorded of it are removed. The rows that were copied stay. What
// cannot be removed is told as a warning with the SQL that does it.
func (m *Manager) DropMirror(ctx context.Context, name string) (DropMirrorReport, error) {
	var report DropMirrorReport
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return report, err
	}
	if err := m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error {
		return state.AddEvents(ctx, conn, kept.row.ID, dropBegun(name))
	}); err != nil {
		return report, err
	}
	if kept.runs {
		if err := m.stopAndWait(ctx, TaskID(kept.task.ID)); err != nil {
			return report, unfinishedDrop(err, name)
		}
	}
	report, err = m.dropStopped(ctx, kept)
	switch {
	case pgerror.Code(err) == pgerror.ObjectInUse: // somebody else has it
		return report, err
	case err != nil:
		return report, unfinishedDrop(err, name)
	}
	m.metrics.DropMirror(name)
	return report, nil
}

// dropBegun is what the log has of a mirror whose DROP MIRROR did not come to its
// end: with its end the log is gone too.
func dropBegun(name string) state.Event {
	e := happened("mirror", "DROP MIRROR has begun; if this is the newest event it did not come to its end, and the mirror is paused")
	e.Level = "warning"
	e.Error = unfinishedDrop(pgerror.New(pgerror.ObjectNotInPrerequisiteState, "DROP MIRROR has begun"), name)
	return e
}

// unfinishedDrop tells what becomes of a mirror that could not be dropped to the
// end.
func unfinishedDrop(err error, name string) *pgerror.Error {
	e := *pgerror.From(err)
	e.Cause = err
	quoted := dump.QuoteIdent(name)
	e.Hint = strings.TrimSpace(e.Hint + fmt.Sprintf("\nUntil it is dropped the mirror is paused, and its slots keep the source's log. DROP MIRROR %s; again goes on with what is left. RESUME MIRROR %s; keeps it, if its slots are still there", quoted, quoted))
	return &e
}

// dropStopped drops a mirror that nobody works on.
func (m *Manager) dropStopped(ctx context.Context, kept keptMirror) (report DropMirrorReport, err error) {
	conn, err := connect.OpenListener(ctx, kept.server, "drop mirror")
	if err != nil {
		return report, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	// Nobody may begin to work on it while it goes; the session's end gives the
	// lease back.
	_, ok, err := state.Acquire(ctx, conn, kept.row.ID, nil)
	if err != nil {
		return report, err
	}
	if !ok {
		return report, busy(ctx, conn, kept.row)
	}
	if err := m.dropResyncs(ctx, kept, &report); err != nil {
		return report, err
	}
	streams, err := state.Streams(ctx, conn, kept.row.ID)
	if err != nil {
		return report, err
	}
	if err := m.dropSlots(ctx, kept, streams, &report); err != nil {
		return report, err
	}
	return report, m.forgetMirror(ctx, kept, &report)
}

// stopAndWait stops a task and waits until it has ended.
func (m *Manager) stopAndWait(ctx context.Context, id TaskID) error {
	if err := m.StopTask(ctx, id); err != nil && pgerror.Code(err) != pgerror.ObjectNotInPrerequisiteState {
		return err
	}
	_, err := m.Wait(ctx, id, func(string) {})
	return err
}

// dropSlots removes the slots that were made for a mirror.
func (m *Manager) dropSlots(ctx context.Context, kept keptMirror, streams []state.Stream, report *DropMirrorReport) error {
	sources, _, err := servers(m.config(), kept.row.Source)
	if err != nil {
		for _, s := range streams {
			report.Warnings = append(report.Warnings, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "slot %q was not dropped: %s", s.Slot, err).
				WithHint("on the source: SELECT pg_drop_replication_slot(%s);", dump.QuoteLiteral(s.Slot)))
		}
		return nil
	}
	for _, s := range streams {
		if s.Shard >= len(sources) {
			continue
		}
		if !s.Made {
			report.Warnings = append(report.Warnings, pgerror.New("00000", "slot %q was not made by pgdrover and stays", s.Slot).
				WithHint("if nobody else needs it, on the source: SELECT pg_drop_replication_slot(%s);", dump.QuoteLiteral(s.Slot)))
		}
		dropped, err := dropSlotsOf(ctx, sources[s.Shard], s, slotName(kept.row.Name, kept.server, s.Shard))
		report.Slots = append(report.Slots, dropped...)
		if err != nil {
			// The mirror stays: a slot that nobody knows of would hold the
			// source's WAL for ever.
			return fmt.Errorf("drop slot %q on %s: %w", s.Slot, connect.Place(sources[s.Shard]), err)
		}
	}
	return nil
}

// dropSlotsOf drops the slot of a stream and those of its tables that were
// copied for themselves.
func dropSlotsOf(ctx context.Context, server config.Server, s state.Stream, own string) ([]string, error) {
	conn, err := connect.Open(ctx, server, "drop mirror")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	id, err := catalog.SystemIdentifier(ctx, conn)
	if err != nil {
		return nil, err
	}
	if s.SystemID != "" && id != s.SystemID {
		return nil, nil // another cluster stands there now: its slots are not ours
	}
	slots, err := stream.ReadSlots(ctx, conn)
	if err != nil {
		return nil, err
	}
	var dropped []string
	var errs []error
	for _, slot := range slots {
		ours := slot.Name == s.Slot && s.Made || strings.HasPrefix(slot.Name, own+"_")
		if !ours {
			continue
		}
		if err := stream.DropSlot(ctx, conn, slot.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		dropped = append(dropped, slot.Name)
	}
	return dropped, errors.Join(errs...)
}

// forgetMirror removes what every shard of the destination knows of a mirror,
// shard 0, which knows that it exists, last.
func (m *Manager) forgetMirror(ctx context.Context, kept keptMirror, report *DropMirrorReport) error {
	shards, _, err := servers(m.config(), kept.row.Destination)
	if err != nil {
		shards = []config.Server{kept.server}
	}
	for i := len(shards) - 1; i >= 0; i-- {
		if err := forgetOn(ctx, shards[i], kept.row.Name); err != nil {
			if i == 0 {
				return err
			}
			e := pgerror.From(err)
			report.Warnings = append(report.Warnings, pgerror.New(e.Code, "%s still has records of the mirror: %s", connect.Place(shards[i]), e.Message).
				WithHint("there: DELETE FROM pgdrover.progress WHERE mirror = %[1]s; DELETE FROM pgdrover.copied WHERE mirror = %[1]s; DELETE FROM pgdrover.carried WHERE mirror = %[1]s;", dump.QuoteLiteral(kept.row.Name)))
		}
	}
	return nil
}

func forgetOn(ctx context.Context, server config.Server, name string) error {
	conn, err := connect.Open(ctx, server, "drop mirror")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	there, err := state.Installed(ctx, conn)
	if err != nil || !there {
		return err
	}
	return state.Forget(ctx, conn, name)
}

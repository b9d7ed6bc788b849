package stream

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// What keeps a slot from being read, or a reader from going on, for errors.Is.
// The errors themselves are pgerror.Error values. For a lost connection there
// is pgerror.IsConnectionLost: Open again.
var (
	// ErrSlotMissing means that there is no slot of that name.
	ErrSlotMissing = errors.New("the replication slot does not exist")
	// ErrSlotLost means that the slot is there and can give no more changes.
	ErrSlotLost = errors.New("the replication slot was invalidated")
	// ErrSlotActive means that somebody else reads from the slot.
	ErrSlotActive = errors.New("the replication slot is in use")
	// ErrSlotExists means that a slot that was to be made is there already.
	ErrSlotExists = errors.New("the replication slot exists already")
	// ErrPublicationMissing means that a publication is not there, or was not at
	// the position that is being read.
	ErrPublicationMissing = errors.New("the publication does not exist")
	// ErrInProgress means that the server cannot decode a transaction that is in
	// progress; at its commit it can: Open again without Options.Streaming. It
	// happens when one transaction alters a table, takes that back with a
	// savepoint, and alters it again.
	ErrInProgress = errors.New("a transaction in progress cannot be decoded")
)

// because makes an error with one of the above as its cause.
func because(cause error, code, format string, args ...any) *pgerror.Error {
	e := pgerror.New(code, format, args...)
	e.Cause = errors.Join(cause, e.Cause)
	return e
}

func slotMissing(server config.Server, slot string) *pgerror.Error {
	return because(ErrSlotMissing, pgerror.UndefinedObject, "replication slot %q does not exist on %s", slot, connect.Place(server)).
		WithDetail("Changes since its last position can no longer be had. A slot is gone when it was dropped, or when the server failed over to a standby that does not have it.").
		WithHint("find out who dropped it; the tables have to be copied again from a new slot")
}

func slotLost(server config.Server, slot SlotState) *pgerror.Error {
	return because(ErrSlotLost, pgerror.ObjectNotInPrerequisiteState, "replication slot %q on %s can give no more changes: %s", slot.Name, connect.Place(server), slot.Lost).
		WithDetail("It was read up to %s.", slot.ConfirmedFlushLSN).
		WithHint("the tables have to be copied again from a new slot; before, raise what limits slots on the source, see SHOW max_slot_wal_keep_size;")
}

func slotActive(server config.Server, slot string, holder holder) *pgerror.Error {
	return because(ErrSlotActive, pgerror.ObjectInUse, "replication slot %q on %s is in use by the process %d", slot, connect.Place(server), holder.pid).
		WithDetail("%s", holder.detail()).
		WithHint("if it should not be, on the source: SELECT pg_terminate_backend(%d);", holder.pid)
}

func publicationMissing(server config.Server, names []string) *pgerror.Error {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = dump.QuoteIdent(name)
	}
	return because(ErrPublicationMissing, pgerror.UndefinedObject, "publication %s does not exist in %s", strings.Join(quoted, ", "), connect.Place(server)).
		WithHint("on the source: CREATE PUBLICATION %s FOR TABLE …;", quoted[0])
}

// whileStreaming explains an error that the server sent instead of changes.
func whileStreaming(o *Options, err *pgconn.PgError, at LSN) error {
	where := connect.Place(o.Server)
	switch err.Code {
	case pgerror.UndefinedObject:
		// pgoutput looks publications up as they were at the change it decodes.
		e := because(ErrPublicationMissing, err.Code, "stream from %s: %s", where, err.Message).
			WithDetail("The slot %q was being read at %s. A publication must exist at every position that is read: one that was dropped, or made after the slot, is missing there.", o.Slot, at).
			WithHint("if it was dropped: CREATE PUBLICATION it again, drop the slot and copy the tables again from a new one")
		e.Cause = errors.Join(e.Cause, err)
		return e
	case pgerror.UndefinedFile: // requested WAL segment has already been removed
		e := because(ErrSlotLost, err.Code, "stream from %s: %s", where, err.Message).
			WithDetail("The slot %q was being read at %s.", o.Slot, at).
			WithHint("look into the server's log; if write-ahead log is missing, the tables have to be copied again from a new slot")
		e.Cause = errors.Join(e.Cause, err)
		return e
	}
	if o.Streaming && strings.HasPrefix(err.Code, "XX") {
		e := because(ErrInProgress, err.Code, "stream from %s: %s", where, err.Message).
			WithDetail("The slot %q was being read at %s.", o.Slot, at).
			WithHint("it is tried again with transactions in progress left out until they are committed; if it happens again, look into that server's log")
		e.Cause = errors.Join(e.Cause, err)
		return e
	}
	return fmt.Errorf("stream from %s at %s: %w", where, at, err)
}

// connectionLost is the error for a connection that ended by itself.
func connectionLost(server config.Server, err error) error {
	return pgerror.New(pgerror.ConnectionFailure, "lost the replication connection to %s: %w", connect.Place(server), err).
		WithHint("if it happens again, look into the log of that server")
}

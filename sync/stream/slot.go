package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// plugin is the output plugin of all our slots.
const plugin = "pgoutput"

// cleanUpLimit is how long is spent on what a cancelled command leaves behind.
const cleanUpLimit = 10 * time.Second

// Slot is a logical replication slot that was just made.
type Slot struct {
	Name            string
	ConsistentPoint LSN    // changes that commit from here on are streamed
	Snapshot        string // everything before, for SET TRANSACTION SNAPSHOT
}

// SlotOptions say how a slot is made.
type SlotOptions struct {
	Temporary bool // it goes with its Exporter
	Failover  bool // standbys may keep a copy of it, from PostgreSQL 17 on; ignored before
}

// Exporter holds the connection on which a slot was made. As long as it is open
// the slot's snapshot can be used.
type Exporter struct {
	slot Slot
	conn *pgconn.PgConn
}

// Slot gives the slot.
func (e *Exporter) Slot() Slot { return e.slot }

// Close ends the snapshot. A permanent slot stays.
func (e *Exporter) Close(ctx context.Context) { _ = e.conn.Close(ctx) }

// CreateSlot makes a slot for pgoutput and exports its snapshot. It waits for
// every transaction that is writing on the server; the end of ctx ends the wait
// and leaves no slot. The caller closes the Exporter. It is ErrSlotExists if
// the name is taken.
func CreateSlot(ctx context.Context, server config.Server, name string, options SlotOptions) (*Exporter, error) {
	conn, err := connect.OpenReplication(ctx, server, "slot")
	if err != nil {
		return nil, err
	}
	slot, err := createSlot(ctx, server, conn, name, options)
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return &Exporter{slot, conn}, nil
}

func createSlot(ctx context.Context, server config.Server, conn *pgconn.PgConn, name string, options SlotOptions) (Slot, error) {
	// What is there before cannot be taken for what a cancelled command left.
	there, err := conn.Exec(ctx, "SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = "+dump.QuoteLiteral(name)).ReadAll()
	if err != nil {
		return Slot{}, fmt.Errorf("look for replication slot %q on %s: %w", name, connect.Place(server), err)
	}
	if len(there) > 0 && len(there[0].Rows) > 0 {
		return Slot{}, slotExists(server, name)
	}
	made, err := createCancellable(ctx, conn, name, options)
	if err == nil && ctx.Err() == nil {
		at, err := pglogrepl.ParseLSN(made.ConsistentPoint)
		return Slot{Name: made.SlotName, ConsistentPoint: at, Snapshot: made.SnapshotName}, err
	}
	if pgerror.Code(err) == pgerror.DuplicateObject {
		return Slot{}, slotExists(server, name)
	}
	if err == nil || !serverSaid(err) {
		if cleanUp := dropHalfMade(context.WithoutCancel(ctx), server, conn, name); cleanUp != nil {
			err = errors.Join(err, cleanUp)
		}
	}
	if ctx.Err() != nil {
		return Slot{}, fmt.Errorf("create replication slot %q on %s: %w", name, connect.Place(server), context.Cause(ctx))
	}
	return Slot{}, createFailed(server, name, err)
}

// createCancellable runs the command to its end, which comes soon if ctx ends:
// the server is told then. Closing the connection would leave it waiting, and
// making the slot at last.
func createCancellable(ctx context.Context, conn *pgconn.PgConn, name string, options SlotOptions) (pglogrepl.CreateReplicationSlotResult, error) {
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		limited, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanUpLimit)
		defer stop()
		if err := conn.CancelRequest(limited); err != nil {
			cancel()
		}
		timer := time.AfterFunc(cleanUpLimit, cancel)
		defer timer.Stop()
		<-detached.Done() // the command's end, or the timer's
	})
	made, err := create(detached, conn, name, options)
	cancel()
	if !stop() {
		<-told
	}
	return made, err
}

// create runs the command. The form with FAILOVER is unknown to the library.
func create(ctx context.Context, conn *pgconn.PgConn, name string, options SlotOptions) (pglogrepl.CreateReplicationSlotResult, error) {
	if options.Failover && majorOf(conn) >= 17 {
		return pglogrepl.ParseCreateReplicationSlot(conn.Exec(ctx, "CREATE_REPLICATION_SLOT "+dump.QuoteIdent(name)+" LOGICAL "+plugin+" (SNAPSHOT 'export', FAILOVER true)"))
	}
	return pglogrepl.CreateReplicationSlot(ctx, conn, dump.QuoteIdent(name), plugin, pglogrepl.CreateReplicationSlotOptions{
		Temporary: options.Temporary, Mode: pglogrepl.LogicalReplication, SnapshotAction: "EXPORT_SNAPSHOT",
	})
}

// majorOf is the server's major version, 0 if it does not say.
func majorOf(conn *pgconn.PgConn) int {
	version := conn.ParameterStatus("server_version")
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	major, err := strconv.Atoi(version[:end])
	if err != nil {
		return 0
	}
	return major
}

// serverSaid tells whether the command has failed on the server, which then has
// dropped the slot itself.
func serverSaid(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && !pgerror.IsConnectionLost(err)
}

// dropHalfMade makes sure that a command whose end is not known leaves no slot.
func dropHalfMade(ctx context.Context, server config.Server, replication *pgconn.PgConn, name string) error {
	ctx, cancel := context.WithTimeout(ctx, cleanUpLimit)
	defer cancel()
	pid := replication.PID()
	_ = replication.Close(ctx)
	conn, err := connect.Open(ctx, server, "slots")
	if err == nil {
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND application_name LIKE 'pgdrover%'", int32(pid))
	}
	if err == nil {
		err = DropSlot(ctx, conn, name)
	}
	if err != nil {
		return fmt.Errorf("drop what may be left of replication slot %q on %s: %w", name, connect.Place(server), err)
	}
	return nil
}

func slotExists(server config.Server, name string) *pgerror.Error {
	return because(ErrSlotExists, pgerror.DuplicateObject, "replication slot %q exists already on %s", name, connect.Place(server)).
		WithHint("if nobody needs it, on the source: SELECT pg_drop_replication_slot(%s);", dump.QuoteLiteral(name))
}

// createFailed says what to do about what servers refuse.
func createFailed(server config.Server, name string, err error) error {
	e := *pgerror.From(fmt.Errorf("create replication slot %q on %s: %w", name, connect.Place(server), err))
	switch {
	case e.Hint != "":
	case e.Code == pgerror.ObjectNotInPrerequisiteState:
		e.Hint = "on the source: ALTER SYSTEM SET wal_level = logical; then restart it"
	case e.Code == pgerror.ConfigurationLimitExceeded:
		e.Hint = "drop replication slots that nobody needs, or raise max_replication_slots on the source and restart it"
	case e.Code == pgerror.InsufficientPrivilege:
		e.Hint = fmt.Sprintf("on the source: ALTER ROLE %s REPLICATION;", dump.QuoteIdent(server.User))
	}
	return &e
}

// DropSlot drops a slot; one that is not there is no error. If a process of
// ours holds it, which a killed pgdrover can leave behind, that is waited for
// and at last ended; a slot that somebody else reads from is ErrSlotActive.
func DropSlot(ctx context.Context, conn *pgx.Conn, name string) error {
	var patience backoff
	for {
		_, err := conn.Exec(ctx, "SELECT pg_catalog.pg_drop_replication_slot($1)", name)
		switch pgerror.Code(err) {
		case "", pgerror.UndefinedObject:
			return nil
		case pgerror.ObjectInUse:
		default:
			return fmt.Errorf("drop replication slot %q: %w", name, err)
		}
		var h holder
		h, lookErr := slotHolder(ctx, conn, name)
		if lookErr != nil {
			return lookErr
		}
		again, waitErr := patience.wait(ctx, conn, h)
		if waitErr != nil {
			return fmt.Errorf("drop replication slot %q: %w", name, waitErr)
		}
		if !again {
			e := because(ErrSlotActive, pgerror.ObjectInUse, "replication slot %q is in use by the process %d and cannot be dropped", name, h.pid).
				WithDetail("%s", h.detail()).
				WithHint("if nobody needs it: SELECT pg_terminate_backend(%d); SELECT pg_drop_replication_slot(%s);", h.pid, dump.QuoteLiteral(name))
			e.Cause = errors.Join(e.Cause, err)
			return e
		}
	}
}

// slotHolder asks who holds a slot; nobody has the pid 0.
func slotHolder(ctx context.Context, conn *pgx.Conn, name string) (holder, error) {
	var h holder
	err := conn.QueryRow(ctx, `
SELECT s.active_pid, coalesce(a.application_name, '')
FROM pg_catalog.pg_replication_slots s LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
WHERE s.slot_name::text = $1 AND s.active_pid IS NOT NULL`, name).Scan(&h.pid, &h.application)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return h, fmt.Errorf("look who holds replication slot %q: %w", name, err)
	}
	return h, nil
}

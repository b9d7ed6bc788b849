package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// Open starts to read from a slot. The end of ctx ends Open alone; the caller
// closes the Reader. Errors: ErrSlotMissing, ErrSlotLost, ErrSlotActive,
// ErrPublicationMissing, what connect gives, and what the server says.
//
// A slot that a process of ours still holds is waited for, and the process
// ended if it stays: nobody else reads for a mirror whose lease the caller has.
func Open(ctx context.Context, options Options) (*Reader, error) {
	o, err := options.complete()
	if err != nil {
		return nil, err
	}
	dir, err := newSpoolDir(o.SpillDirectory)
	if err != nil {
		return nil, err
	}
	r, err := open(ctx, &o, dir)
	if err != nil {
		return nil, errors.Join(err, dir.remove())
	}
	return r, nil
}

func open(ctx context.Context, o *Options, dir *spoolDir) (*Reader, error) {
	session, err := connect.Open(ctx, o.Server, "stream")
	if err != nil {
		return nil, err
	}
	r, err := start(ctx, o, dir, session)
	if err != nil || o.Heartbeat <= 0 {
		_ = session.Close(context.WithoutCancel(ctx))
	}
	if err != nil {
		return nil, err
	}
	if o.Heartbeat > 0 {
		r.heartbeat = newHeartbeat(o, session, r)
	}
	r.run()
	return r, nil
}

// start looks whether the stream can begin, and begins it.
func start(ctx context.Context, o *Options, dir *spoolDir, session *pgx.Conn) (*Reader, error) {
	if err := checkPublications(ctx, o, session); err != nil {
		return nil, err
	}
	var patience backoff
	for {
		state, err := checkSlot(ctx, o, session)
		if err != nil {
			return nil, err
		}
		if !state.Active {
			r, err := begin(ctx, o, dir)
			if pgerror.Code(err) != pgerror.ObjectInUse {
				return r, startFailed(ctx, o, session, err)
			}
		}
		h := holder{state.ActivePID, state.ActiveApplication}
		again, err := patience.wait(ctx, session, h)
		if err != nil {
			return nil, fmt.Errorf("wait for replication slot %q on %s: %w", o.Slot, connect.Place(o.Server), err)
		}
		if !again {
			return nil, slotActive(o.Server, o.Slot, h)
		}
	}
}

// startFailed tells a slot that was lost in the meantime from other errors.
func startFailed(ctx context.Context, o *Options, session *pgx.Conn, err error) error {
	if err == nil || pgerror.IsConnectionLost(err) || ctx.Err() != nil {
		return err
	}
	if _, why := checkSlot(ctx, o, session); why != nil {
		return why
	}
	return err
}

func checkPublications(ctx context.Context, o *Options, session *pgx.Conn) error {
	rows, err := session.Query(ctx, `
SELECT wanted FROM pg_catalog.unnest($1::text[]) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_publication p WHERE p.pubname::text = wanted)`, o.Publications)
	var missing []string
	if err == nil {
		missing, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return fmt.Errorf("look for the publications on %s: %w", connect.Place(o.Server), err)
	}
	if len(missing) > 0 {
		return publicationMissing(o.Server, missing)
	}
	return nil
}

func checkSlot(ctx context.Context, o *Options, session *pgx.Conn) (SlotState, error) {
	state, ok, err := ReadSlot(ctx, session, o.Slot)
	switch {
	case err != nil:
		return state, err
	case !ok:
		return state, slotMissing(o.Server, o.Slot)
	case state.Plugin != plugin:
		return state, pgerror.New(pgerror.InvalidParameterValue, "replication slot %q on %s has the plugin %q", o.Slot, connect.Place(o.Server), state.Plugin).
			WithHint("a slot is needed whose plugin is pgoutput")
	case state.Database != o.Server.Database:
		return state, pgerror.New(pgerror.InvalidParameterValue, "replication slot %q on %s belongs to the database %q", o.Slot, connect.Place(o.Server), state.Database).
			WithHint("a slot gives the changes of the database it was made in; name one of %q", o.Server.Database)
	case state.Lost != "":
		return state, slotLost(o.Server, state)
	}
	return state, nil
}

// begin connects and starts the replication.
func begin(ctx context.Context, o *Options, dir *spoolDir) (*Reader, error) {
	conn, err := connect.OpenReplication(ctx, o.Server, "stream")
	if err != nil {
		return nil, err
	}
	r, err := replicate(ctx, o, dir, conn)
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return r, nil
}

func replicate(ctx context.Context, o *Options, dir *spoolDir, conn *pgconn.PgConn) (*Reader, error) {
	timeout, err := senderTimeout(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("ask %s for wal_sender_timeout: %w", connect.Place(o.Server), err)
	}
	interval := o.StatusInterval
	if timeout > 0 {
		interval = min(interval, timeout/4)
	}
	major := serverMajor(conn)
	taken, err := connect.Hijack(conn)
	if err != nil {
		return nil, fmt.Errorf("take over the replication connection: %w", err)
	}
	network := taken.Conn
	in := newFrames(network, maxMessage)
	if err := startReplication(ctx, network, in, startSQL(o, major)); err != nil {
		_ = network.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("start replication from slot %q on %s: %w", o.Slot, connect.Place(o.Server), err)
	}
	_ = network.SetDeadline(time.Time{})
	return newReader(o, dir, network, in, interval, streams(o, major)), nil
}

func startSQL(o *Options, major int) string {
	return fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL %s (%s)", dump.QuoteIdent(o.Slot), o.Start, strings.Join(pluginOptions(o, major), ", "))
}

// startReplication has the server begin. pglogrepl's command is not used: it
// reads through a library whose background reader may, when a write takes long,
// have taken the first changes along.
func startReplication(ctx context.Context, network net.Conn, in *frames, sql string) error {
	defer context.AfterFunc(ctx, func() { _ = network.SetDeadline(time.Unix(1, 0)) })()
	query, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := network.Write(query); err != nil {
		return err
	}
	for {
		kind, body, ok, err := in.next()
		if err != nil {
			return err
		}
		if !ok {
			if _, err := in.fill(); err != nil {
				return err
			}
			continue
		}
		switch kind {
		case 'W': // CopyBothResponse
			return nil
		case 'N', 'S': // a notice, a parameter
		case 'E':
			var refusal pgproto3.ErrorResponse
			if err := refusal.Decode(body); err != nil {
				return pgerror.New(pgerror.ProtocolViolation, "an error that cannot be read: %w", err)
			}
			return pgconn.ErrorResponseToPgError(&refusal)
		default:
			return pgerror.New(pgerror.ProtocolViolation, "message %q where the beginning of a stream was expected", kind)
		}
	}
}

// pluginOptions are pgoutput's.
func pluginOptions(o *Options, major int) []string {
	names := make([]string, len(o.Publications))
	for i, name := range o.Publications {
		names[i] = `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	options := []string{"proto_version '1'", "publication_names " + dump.QuoteLiteral(strings.Join(names, ","))}
	if streams(o, major) {
		options[0] = "proto_version '2'"
		options = append(options, "streaming 'on'")
	}
	if major >= 14 {
		options = append(options, "messages 'true'")
		if o.Binary {
			options = append(options, "binary 'true'")
		}
	}
	return options
}

// streams tells whether transactions in progress are asked for.
func streams(o *Options, major int) bool { return o.Streaming && major >= 14 }

// senderTimeout asks for wal_sender_timeout, and makes it stay what it is for
// this session; 0 is none.
func senderTimeout(ctx context.Context, conn *pgconn.PgConn) (time.Duration, error) {
	results, err := conn.Exec(ctx, `
SELECT setting, pg_catalog.set_config(name, setting, false) FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'`).ReadAll()
	if err != nil {
		return 0, err
	}
	if len(results) == 0 || len(results[0].Rows) != 1 {
		return 0, nil
	}
	milliseconds, err := strconv.Atoi(string(results[0].Rows[0][0]))
	return time.Duration(milliseconds) * time.Millisecond, err
}

// serverMajor is the server's major version.
func serverMajor(conn *pgconn.PgConn) int {
	text := conn.ParameterStatus("server_version")
	if i := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		text = text[:i]
	}
	major, _ := strconv.Atoi(text)
	return major
}

// serverError decodes the body of an ErrorResponse.
func serverError(body []byte) *pgconn.PgError {
	var message pgproto3.ErrorResponse
	if err := message.Decode(body); err != nil {
		return &pgconn.PgError{Severity: "ERROR", Code: pgerror.ProtocolViolation, Message: "malformed error message"}
	}
	return pgconn.ErrorResponseToPgError(&message)
}

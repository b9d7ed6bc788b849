package stream

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

const (
	// heartbeatPrefix is that of the logical messages we write, which are not to
	// be read: it lacks the '.' of those that are (messagePrefix).
	heartbeatPrefix = "pgdrover"
	// lookInterval is how often the server's position is asked for at least.
	lookInterval = 5 * time.Second
	// lookTimeout is how long one question may take.
	lookTimeout = 10 * time.Second
)

// heartbeat keeps an SQL session on the source. It asks how far the server is,
// and writes a logical message when nothing else was written for a while, so
// that the slot of an idle database advances too.
//
// The session also tells when the server is being stopped: it is ended then,
// and no new one is let in, while the walsender waits until all that was sent
// is confirmed, which could be never. The reader gives way.
type heartbeat struct {
	options *Options
	reader  *Reader
	session *pgx.Conn // nil if there is none
	warned  bool
}

func newHeartbeat(o *Options, session *pgx.Conn, r *Reader) *heartbeat {
	return &heartbeat{options: o, reader: r, session: session}
}

// run beats until ctx ends.
func (h *heartbeat) run(ctx context.Context) {
	defer h.disconnect(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	seen, since := h.reader.received(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if now := h.reader.received(); now != seen {
			seen, since = now, time.Now()
		}
		err := h.beat(ctx, time.Since(since) >= h.options.Heartbeat)
		if ctx.Err() != nil {
			return
		}
		h.report(ctx, err)
		timer.Reset(min(h.options.Heartbeat/2, lookInterval))
	}
}

// beat asks for the server's position and writes a message if one is due.
func (h *heartbeat) beat(ctx context.Context, due bool) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if h.session == nil {
		session, err := connect.Open(ctx, h.options.Server, "heartbeat")
		if err != nil {
			return err
		}
		h.session = session
	}
	var at LSN
	err := h.session.QueryRow(ctx, `
SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END::text`).Scan(&at)
	if err == nil {
		h.reader.counters.server.Store(uint64(at))
	}
	if err == nil && due {
		_, err = h.session.Exec(ctx, "SELECT pg_catalog.pg_logical_emit_message(false, $1, 'heartbeat')", heartbeatPrefix)
	}
	if err != nil && h.session.IsClosed() {
		h.session = nil
	}
	return err
}

// report warns once, until it works again, and lets a server go that is being
// stopped.
func (h *heartbeat) report(ctx context.Context, err error) {
	if err == nil {
		h.warned = false
		return
	}
	if pgerror.Code(err) == pgerror.CannotConnectNow {
		h.reader.end(err)
		// The server waits for as long as somebody is there who could confirm more.
		_ = h.reader.conn.Close()
		return
	}
	if !h.warned {
		h.warned = true
		e := pgerror.From(err)
		h.options.Logger.WarnContext(ctx, "no heartbeat can be written to the source; the slot of an idle database may hold write-ahead log back",
			"slot", h.options.Slot, "server", connect.Place(h.options.Server), "code", e.Code, "error", e.Message)
	}
}

func (h *heartbeat) disconnect(ctx context.Context) {
	if h.session == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = h.session.Close(ctx)
}

// received is the position that heartbeats compare.
func (r *Reader) received() LSN { return LSN(r.counters.received.Load()) }

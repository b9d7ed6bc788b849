package mirror

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// refuseOtherSlot refuses a named slot when the mirror goes on from another one.
func (j *copyData) refuseOtherSlot(streams []state.Stream) error {
	for _, s := range streams {
		if s.ConsistentLSN == 0 || s.Slot == j.req.Slot || s.Slot == fmt.Sprintf("%s_%d", j.req.Slot, s.Shard) {
			continue
		}
		return pgerror.New(pgerror.InvalidParameterValue, "mirror %q goes on from slot %q, and %q is named", j.pair.mirror, s.Slot, j.req.Slot).
			WithHint("leave the slot's name out. To begin anew with another slot: DROP MIRROR %s; first", dump.QuoteIdent(j.pair.mirror))
	}
	return nil
}

// slotWaitInterval is the pause between two looks at what a new slot waits for.
const slotWaitInterval = 2 * time.Second

// tellWait shows, until what it gives is called, which transaction a slot that is
// being made waits for: the server makes it only when all that were open have
// ended, however long that takes, and does not say so.
func (s *sourceShard) tellWait(ctx context.Context, slot string) (done func()) {
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		told := ""
		for wait(ctx, slotWaitInterval) == nil {
			why, err := s.lookAtWait(ctx, slot)
			if err != nil {
				s.job.manager.log.Debug("what a new slot waits for cannot be read", "slot", slot, "error", err)
				continue
			}
			if why == nil {
				continue
			}
			if s.setSlotWait(why); why.Message != told {
				told = why.Message
				s.job.manager.log.Warn("a new slot waits", "task", s.job.journal.task, "slot", slot, "error", why.Message, "detail", why.Detail, "hint", why.Hint)
			}
		}
		if told != "" {
			s.setSlotWait(nil)
		}
	})
	return func() {
		cancel()
		looking.Wait()
	}
}

func (s *sourceShard) setSlotWait(why *pgerror.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slotWait, s.slotWaited = why, true
}

// lookAtWait says which transaction a slot that is being made waits for, nil if it
// waits for none.
func (s *sourceShard) lookAtWait(ctx context.Context, slot string) (*pgerror.Error, error) {
	conn, err := connect.Open(ctx, s.server, "slots")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var pid *int32
	var gid, role, application, database *string
	var since *time.Time
	err = conn.QueryRow(ctx, `
SELECT a.pid, p.gid, coalesce(p.owner::text, a.usename::text), a.application_name, coalesce(p.database::text, a.datname::text), coalesce(p.prepared, a.xact_start)
FROM pg_replication_slots s
JOIN pg_locks w ON w.pid = s.active_pid AND w.locktype = 'transactionid' AND NOT w.granted
LEFT JOIN pg_locks h ON h.locktype = 'transactionid' AND h.transactionid = w.transactionid AND h.granted
LEFT JOIN pg_stat_activity a ON a.pid = h.pid
LEFT JOIN pg_prepared_xacts p ON p.transaction = w.transactionid
WHERE s.slot_name = $1`, slot).Scan(&pid, &gid, &role, &application, &database, &since)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look what slot %q waits for: %w", slot, err)
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	detail := fmt.Sprintf("It is of role %q in database %q", text(role), text(database))
	if since != nil {
		detail += ", open since " + since.UTC().Format("2006-01-02 15:04:05 MST")
	}
	switch {
	case gid != nil:
		return pgerror.New(pgerror.ObjectInUse, "slot %q of %s cannot be made before prepared transaction %q ends", slot, connect.Place(s.server), *gid).
			WithDetail("%s.", detail).
			WithHint("on the source, in that database: COMMIT PREPARED %[1]s; or ROLLBACK PREPARED %[1]s;", dump.QuoteLiteral(*gid)), nil
	case pid != nil:
		if text(application) != "" {
			detail += fmt.Sprintf(", application %q", *application)
		}
		return pgerror.New(pgerror.ObjectInUse, "slot %q of %s cannot be made before the transaction of process %d ends", slot, connect.Place(s.server), *pid).
			WithDetail("%s.", detail).
			WithHint("wait for it, or end it on the source: SELECT pg_terminate_backend(%d);", *pid), nil
	}
	return nil, nil // it has just ended
}

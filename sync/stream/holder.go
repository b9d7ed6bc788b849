package stream

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// ownApplication begins the application_name of all our sessions.
	ownApplication = "pgdrover"
	// holderPatience is how long a left-over process of ours may hold a slot
	// before it is ended: it goes by itself once it sees its connection closed.
	holderPatience = 2 * time.Second
	// holderLimit is how long a slot is waited for altogether.
	holderLimit = 30 * time.Second
)

// holder is the process that a slot is active for.
type holder struct {
	pid         int32
	application string
}

func (h holder) own() bool { return strings.HasPrefix(h.application, ownApplication) }

func (h holder) detail() string {
	if h.own() {
		return fmt.Sprintf("It is a session of pgdrover (application_name %q) that has not ended, though it was told to.", h.application)
	}
	return fmt.Sprintf("Its application_name is %q.", h.application)
}

// backoff is the wait for a slot that a left-over process of ours holds: the
// caller has the mirror's lease, so it is no live one's.
type backoff struct {
	began time.Time
	delay time.Duration
	ended int32 // the process that was told to end
}

// wait waits a little, and ends h if it has had its time. ok is false if the
// slot is not worth waiting for any longer.
func (b *backoff) wait(ctx context.Context, conn *pgx.Conn, h holder) (ok bool, err error) {
	if b.began.IsZero() {
		b.began, b.delay = time.Now(), 10*time.Millisecond
	}
	waited := time.Since(b.began)
	if h.pid != 0 && !h.own() || waited > holderLimit {
		return false, nil
	}
	if waited > holderPatience && h.pid != 0 && h.pid != b.ended {
		if _, err := conn.Exec(ctx, "SELECT pg_catalog.pg_terminate_backend($1)", h.pid); err != nil {
			return false, fmt.Errorf("end our own process %d that holds the slot: %w", h.pid, err)
		}
		b.ended = h.pid
	}
	timer := time.NewTimer(b.delay)
	defer timer.Stop()
	b.delay = min(2*b.delay, time.Second/2)
	select {
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

package state

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
)

// lockClass is the first key of every advisory lock of pgdrover: "pgDR".
const lockClass = 0x70674452

// channel is where changes of tasks are announced, and stops are asked for.
const channel = "pgdrover"

// ErrStopAsked is the cause with which a task ends after STOP_TASK.
var ErrStopAsked = errors.New("stopped by STOP_TASK")

// ErrRestartAsked is the cause with which a task ends that is to be started anew.
var ErrRestartAsked = errors.New("stopped to be started anew")

// ErrLeaseLost is the cause with which a task ends when another process took
// its mirror while the connection to the destination was broken.
var ErrLeaseLost = errors.New("the mirror was taken by another process")

// Lease is the right to work on a mirror: an advisory lock on a session of its
// own. Hold owns one goroutine; Release stops it and waits for it.
type Lease struct {
	open     func(context.Context) (*pgx.Conn, error)
	mirrorID int32
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

// Acquire takes the lease of a mirror on conn, which the lease then owns. If
// somebody else has it ok is false and conn is left to the caller. A lease that
// no unfinished task goes with is waited for a moment: its task has just ended,
// or its session was cut and the server is about to notice.
func Acquire(ctx context.Context, conn *pgx.Conn, mirrorID int32, open func(context.Context) (*pgx.Conn, error)) (l *Lease, ok bool, err error) {
	if ok, err = tryLock(ctx, conn, mirrorID); err != nil {
		return nil, false, err
	}
	if !ok {
		if _, running, err := RunningTask(ctx, conn, mirrorID); err != nil || running {
			return nil, false, err
		}
		if ok, err = awaitLock(ctx, conn, mirrorID); err != nil || !ok {
			return nil, false, err
		}
	}
	return &Lease{open: open, mirrorID: mirrorID}, true, nil
}

// leasePatience bounds the wait for a lease whose task has ended.
const leasePatience = "10s"

func awaitLock(ctx context.Context, conn *pgx.Conn, mirrorID int32) (ok bool, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT set_config('lock_timeout', $1, true)`, leasePatience); err != nil {
			return err
		}
		// A session's lock: it outlives the transaction.
		_, err := tx.Exec(ctx, `SELECT pg_advisory_lock($1, $2)`, lockClass, mirrorID)
		return err
	})
	switch {
	case err == nil:
		return true, nil
	case pgerror.Code(err) == pgerror.LockNotAvailable:
		return false, nil
	}
	return false, fmt.Errorf("take the mirror: %w", err)
}

func tryLock(ctx context.Context, conn *pgx.Conn, mirrorID int32) (ok bool, err error) {
	if err = conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1, $2)`, lockClass, mirrorID).Scan(&ok); err != nil {
		return false, fmt.Errorf("take the mirror: %w", err)
	}
	return ok, nil
}

// Hold keeps the lease on conn until Release, and calls stop when STOP_TASK
// asks for it or the lease is lost for good. A broken connection is made anew;
// meanwhile the task goes on, unless somebody else has taken the mirror.
func (l *Lease) Hold(ctx context.Context, conn *pgx.Conn, task int64, stop context.CancelCauseFunc) {
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.done.Go(func() {
		err := l.hold(ctx, conn, task, stop)
		if err != nil && ctx.Err() == nil {
			stop(err)
		}
	})
}

// reconnectAttempts and reconnectDelay bound how long a lease waits for its
// server to come back: about a minute.
const (
	reconnectAttempts = 30
	reconnectDelay    = 2 * time.Second
)

func (l *Lease) hold(ctx context.Context, conn *pgx.Conn, task int64, stop context.CancelCauseFunc) error {
	for {
		err := l.listen(ctx, conn, task, stop)
		_ = conn.Close(context.WithoutCancel(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if conn, err = l.again(ctx, err); err != nil {
			return err
		}
	}
}

// listen waits for notifications until the connection breaks or ctx ends.
func (l *Lease) listen(ctx context.Context, conn *pgx.Conn, task int64, stop context.CancelCauseFunc) error {
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	// A stop that was asked for between the task's start and LISTEN.
	var state string
	if err := conn.QueryRow(ctx, `SELECT state FROM pgdrover.tasks WHERE task_id = $1`, task).Scan(&state); err == nil {
		switch state {
		case "cancelling":
			stop(ErrStopAsked)
		case "restarting":
			stop(ErrRestartAsked)
		}
	}
	for {
		notification, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		switch verb, id := parsePayload(notification.Payload); {
		case id != task:
		case verb == "stop":
			stop(ErrStopAsked)
		case verb == "restart":
			stop(ErrRestartAsked)
		}
	}
}

// again opens a new session and takes the lock on it.
func (l *Lease) again(ctx context.Context, lost error) (*pgx.Conn, error) {
	for range reconnectAttempts {
		conn, err := l.open(ctx)
		if err == nil {
			ok, locked := tryLock(ctx, conn, l.mirrorID)
			switch {
			case locked != nil:
				err = locked
			case ok:
				return conn, nil
			default:
				// The server may not have noticed yet that our old session is
				// gone; only a lock that stays taken is somebody else's.
				err = ErrLeaseLost
			}
			_ = conn.Close(context.WithoutCancel(ctx))
		}
		lost = err
		timer := time.NewTimer(reconnectDelay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("the session that holds the mirror was lost: %w", lost)
}

// Release gives the mirror back and waits until the lease's session is closed.
func (l *Lease) Release() {
	if l.cancel != nil {
		l.cancel()
	}
	l.done.Wait()
}

// Holder says who has a mirror's lease, for the message that refuses it to
// somebody else: the server's own words about that session.
func Holder(ctx context.Context, conn *pgx.Conn, mirrorID int32) (string, error) {
	var text string
	err := conn.QueryRow(ctx, `
SELECT format('process id %s on the destination, connected from %s since %s', a.pid, coalesce(a.client_addr::text, 'a local socket'), to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'))
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.classid = $1::int8::oid AND l.objid = $2::int8::oid AND l.objsubid = 2 AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`, int64(lockClass), int64(mirrorID)).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for the session that has the mirror: %w", err)
	}
	return text, nil
}

// notify announces something to every pgdrover that listens on this database.
func notify(ctx context.Context, conn *pgx.Conn, verb string, task int64) error {
	_, err := conn.Exec(ctx, `SELECT pg_notify($1, $2)`, channel, verb+" "+strconv.FormatInt(task, 10))
	if err != nil {
		return fmt.Errorf("announce the task's state: %w", err)
	}
	return nil
}

// parsePayload reads "verb id".
func parsePayload(payload string) (verb string, task int64) {
	verb, id, _ := strings.Cut(payload, " ")
	task, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return "", 0
	}
	return verb, task
}

// Follow waits for the next announcement about a task on conn, which must
// LISTEN already, but no longer than patience: the death of a runner announces
// nothing.
func Follow(ctx context.Context, conn *pgx.Conn, task int64, patience time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		notification, err := conn.WaitForNotification(bounded)
		switch {
		case err == nil:
			if _, id := parsePayload(notification.Payload); id == task {
				return nil
			}
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case bounded.Err() != nil:
			return nil
		default:
			return pgerror.New(pgerror.ConnectionFailure, "wait for task %d: %w", task, err)
		}
	}
}

// Listen subscribes conn to announcements.
func Listen(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listen for changes of tasks: %w", err)
	}
	return nil
}

package resync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
)

// ErrLocked is in the chain of an error that means: somebody else holds a lock,
// nothing was changed, try again. Its DETAIL names who.
var ErrLocked = errors.New("a lock could not be had in time")

// DefaultLockTimeout is how long a transaction waits for all of its locks
// together. It is below PostgreSQL's default deadlock_timeout of a second: who
// meets us crosswise is let through before the server would end one of us.
const DefaultLockTimeout = 500 * time.Millisecond

// Patience says how locks are waited for.
type Patience struct {
	LockTimeout time.Duration // for all locks of one attempt together; 0: DefaultLockTimeout
	Attempts    int           // 0: 10. Swap makes one, whatever is said here
	Delay       time.Duration // before the second attempt; it doubles up to 32 times; 0: 250 ms
}

func (p Patience) withDefaults() Patience {
	if p.LockTimeout <= 0 {
		p.LockTimeout = DefaultLockTimeout
	}
	if p.Attempts <= 0 {
		p.Attempts = 10
	}
	if p.Delay <= 0 {
		p.Delay = 250 * time.Millisecond
	}
	return p
}

// retry calls once until it does not end with ErrLocked any more.
func (p Patience) retry(ctx context.Context, once func() error) error {
	for attempt := 1; ; attempt++ {
		err := once()
		if !errors.Is(err, ErrLocked) || attempt >= p.Attempts {
			return err
		}
		timer := time.NewTimer(p.Delay << min(attempt-1, 5))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// leastWait is how long a statement waits for a lock when the budget is used up: a
// transaction that has nearly everything is not given up for a moment.
const leastWait = 50 * time.Millisecond

// budget is what is left of the time in which a transaction takes its locks.
type budget struct {
	tx    pgx.Tx
	until time.Time
}

func (p Patience) begin(tx pgx.Tx) *budget {
	return &budget{tx: tx, until: time.Now().Add(p.LockTimeout)}
}

// hurry has the server look soon, where it lets us, for whom we wait: autovacuum
// gives way only then, and if it is a deadlock it is we who end.
const hurry = `SELECT set_config('deadlock_timeout', '100', true) FROM pg_roles WHERE rolname = current_user AND rolsuper`

// exec runs a statement that may wait for a lock, as long as the budget allows.
func (b *budget) exec(ctx context.Context, sql string) error {
	left := max(leastWait, time.Until(b.until)).Milliseconds()
	_, err := b.tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d; %s", left, sql), pgx.QueryExecModeSimpleProtocol)
	return err
}

// transaction runs do in a transaction that is durable when it is committed,
// whatever the session or the database says.
func transaction(ctx context.Context, conn *pgx.Conn, do func(pgx.Tx) error) error {
	return transactionWith(ctx, conn, do, nil)
}

// commitTime is how long the answer to a COMMIT is waited for that was agreed upon.
const commitTime = time.Minute

// transactionWith asks agreed, unless it is nil, before it commits. What was agreed
// upon is committed even if ctx ends.
func transactionWith(ctx context.Context, conn *pgx.Conn, do func(pgx.Tx) error, agreed func(context.Context) error) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SET LOCAL synchronous_commit = on; "+hurry, pgx.QueryExecModeSimpleProtocol)
	if err == nil {
		err = do(tx)
	}
	if err == nil && agreed != nil {
		if err = agreed(ctx); err == nil {
			sure, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
			defer cancel()
			ctx = sure
		}
	}
	if err != nil {
		_ = tx.Rollback(ctx) // a connection that cannot is closed, which does it too
		return err
	}
	return tx.Commit(ctx)
}

// locked turns the server's words for a lock that could not be had into
// ErrLocked, and says who holds locks on the relations. Others are given back.
func locked(ctx context.Context, conn *pgx.Conn, err error, relations []uint32) error {
	code := pgerror.Code(err)
	if err == nil || ctx.Err() != nil || code != pgerror.LockNotAvailable && code != deadlockDetected {
		return err
	}
	out := pgerror.New(pgerror.LockNotAvailable, "%w: %w", ErrLocked, err)
	out.Cause = errors.Join(ErrLocked, err)
	holders, asked := lockHolders(ctx, conn, relations)
	if asked == nil && holders != "" {
		out.Detail = holders
		out.Hint = "wait until they end, or end them: SELECT pg_terminate_backend(<pid>);"
	}
	return out
}

// lockHolders describes the sessions that hold locks on relations.
func lockHolders(ctx context.Context, conn *pgx.Conn, relations []uint32) (string, error) {
	rows, err := conn.Query(ctx, `
SELECT format('session %s of %s (%s), %s since %s, holds %s on %s: %s', l.pid, coalesce(a.usename, '?'), coalesce(nullif(a.application_name, ''), 'no application name'),
              coalesce(a.state, a.backend_type), date_trunc('second', now() - coalesce(a.xact_start, a.backend_start)), l.modes, l.relation::regclass, left(coalesce(a.query, ''), 200))
FROM (SELECT pid, relation, string_agg(DISTINCT mode, ', ') AS modes FROM pg_locks
      WHERE granted AND locktype = 'relation' AND relation = ANY($1) AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND pid <> pg_backend_pid() GROUP BY 1, 2) l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
ORDER BY a.xact_start LIMIT 10`, relations)
	if err != nil {
		return "", err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(lines, "\n"), err
}

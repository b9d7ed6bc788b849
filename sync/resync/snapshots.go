package resync

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
)

// snapshot is one that a session holds: of the transaction transaction, with xmin
// oldest.
type snapshot struct{ transaction, oldest, session string }

// readSnapshots gives the snapshots that other sessions of this database hold now.
// They are told apart as CREATE INDEX CONCURRENTLY does, by the virtual transaction;
// one that reads a new snapshot for each statement has another xmin soon.
func readSnapshots(ctx context.Context, q querier) ([]snapshot, error) {
	rows, err := q.Query(ctx, `
SELECT l.virtualxid, a.backend_xmin::text, format('session %s of %s (%s), %s since %s: %s', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no application name'),
       a.state, date_trunc('second', now() - a.xact_start), left(a.query, 200))
FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted
WHERE a.backend_xmin IS NOT NULL AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
  AND a.datid = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	if err != nil {
		return nil, fmt.Errorf("read the snapshots of other sessions: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s snapshot, err error) {
		err = row.Scan(&s.transaction, &s.oldest, &s.session)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the snapshots of other sessions: %w", err)
	}
	return out, nil
}

// snapshotsGone makes sure that no snapshot is left that is older than the rows of
// the shadow table.
func (s *Shadow) snapshotsGone(ctx context.Context, q querier) error {
	if len(s.older) == 0 {
		return nil
	}
	now, err := readSnapshots(ctx, q)
	if err != nil {
		return err
	}
	type key struct{ transaction, oldest string }
	held := map[key]string{}
	for _, snap := range now {
		held[key{snap.transaction, snap.oldest}] = snap.session
	}
	var sessions []string
	for _, snap := range s.older {
		if session, still := held[key{snap.transaction, snap.oldest}]; still {
			sessions = append(sessions, session)
		}
	}
	if len(sessions) == 0 {
		s.older = nil
		return nil
	}
	return pgerror.New(pgerror.LockNotAvailable, "%w: transactions whose snapshots are older than the rows of the new table would see it empty", ErrLocked).
		WithDetail("%s", strings.Join(sessions, "\n")).WithHint("wait until they end, or end them: SELECT pg_terminate_backend(<pid>);")
}

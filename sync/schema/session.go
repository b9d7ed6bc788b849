package schema

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// session is one connection on which statements are run. It is used by one
// worker at a time.
type session struct {
	conn        *pgx.Conn
	lockTimeout int64 // ms
}

func openSession(ctx context.Context, server config.Server, opts RunOptions) (*session, error) {
	conn, err := connect.Open(ctx, server, opts.purpose())
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, lockTimeout: opts.LockTimeout.Milliseconds()}
	settings := []string{fmt.Sprintf("SET lock_timeout = %d", s.lockTimeout)}
	if opts.MaintenanceWorkMem != "" {
		settings = append(settings, "SET maintenance_work_mem = "+dump.QuoteLiteral(opts.MaintenanceWorkMem))
	}
	for _, set := range settings {
		if err := s.exec(ctx, set); err != nil {
			s.close(ctx)
			return nil, fmt.Errorf("%s on %s: %w", set, connect.Place(server), err)
		}
	}
	return s, nil
}

// purpose is what application_name says of a session that runs statements.
func (o RunOptions) purpose() string { return "schema sync " + o.Owner }

// endTime bounds how long the sessions of an earlier run may take to end.
const endTime = 30 * time.Second

// EndLeftOver ends the sessions in which statements of an earlier run still go
// on: the server does not notice that their process was killed, or that their
// connection was cut, before they have something to say. What they would do
// later would collide with what is done instead. The caller holds the lease of
// the mirror, so that nobody else works for it.
func EndLeftOver(ctx context.Context, server config.Server, opts RunOptions) error {
	conn, err := connect.Open(ctx, server, opts.purpose())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for until := time.Now().Add(endTime); ; {
		var left int
		// The server cuts application_name to 63 bytes: its own word for it is compared.
		err := conn.QueryRow(ctx, `
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()
  AND datname = current_database() AND usename = current_user`).Scan(&left)
		switch {
		case err != nil:
			return fmt.Errorf("end the sessions of an earlier run on %s: %w", connect.Place(server), err)
		case left == 0:
			return nil
		case time.Now().After(until):
			return pgerror.New(pgerror.ObjectInUse, "%d sessions of an earlier run on %s do not end", left, connect.Place(server)).
				WithHint("see pg_stat_activity there WHERE application_name = %s, and run the command again when they are gone", dump.QuoteLiteral("pgdrover "+opts.purpose()))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *session) close(ctx context.Context) { _ = s.conn.Close(context.WithoutCancel(ctx)) }

func (s *session) backend() uint32 { return s.conn.PgConn().PID() }

// exec runs one message of the simple protocol: outside a transaction block its
// statements are one transaction.
func (s *session) exec(ctx context.Context, sql string) error {
	_, err := s.conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// transaction runs every query in one transaction, in one write and without
// waiting for the answers in between: a round trip for the whole batch. failed
// is the index of the first query that failed, and err its error; then nothing
// of the batch was done. A failed COMMIT gives len(queries).
func (s *session) transaction(ctx context.Context, queries []string) (failed int, err error) {
	conn := s.conn.PgConn()
	frontend := conn.Frontend()
	frontend.SendQuery(&pgproto3.Query{String: "BEGIN"})
	for _, q := range queries {
		frontend.SendQuery(&pgproto3.Query{String: q})
	}
	frontend.SendQuery(&pgproto3.Query{String: "COMMIT"})
	if err := frontend.Flush(); err != nil {
		return 0, fmt.Errorf("send statements: %w", err)
	}
	failed = -1
	// The answers: those of BEGIN, of every query, of COMMIT, each ended by a
	// ReadyForQuery.
	for answered := -1; answered <= len(queries); {
		message, received := conn.ReceiveMessage(ctx)
		if received != nil {
			return max(answered, 0), received
		}
		switch m := message.(type) {
		case *pgproto3.ErrorResponse:
			if failed < 0 {
				failed, err = answered, pgconn.ErrorResponseToPgError(m)
			}
		case *pgproto3.ReadyForQuery:
			answered++
		}
	}
	// After an error COMMIT answers ROLLBACK, so that the session is clean.
	return max(failed, 0), err
}

// concurrently runs a statement that cannot be inside a transaction block. It
// waits for old transactions as long as they last: its own lock hinders neither
// readers nor writers.
func (s *session) concurrently(ctx context.Context, st *Statement) error {
	before := []string{"SET lock_timeout = 0"}
	if st.Tablespace != "" {
		before = append(before, "SET default_tablespace = "+dump.QuoteIdent(st.Tablespace))
	}
	for _, set := range before {
		if err := s.exec(ctx, set); err != nil {
			return fmt.Errorf("%s: %w", set, err)
		}
	}
	err := s.exec(ctx, st.SQL)
	after := fmt.Sprintf("SET lock_timeout = %d; SET default_tablespace = ''", s.lockTimeout)
	if restored := s.exec(ctx, after); err == nil && restored != nil {
		return fmt.Errorf("%s: %w", after, restored)
	}
	return err
}

// dropInvalid removes what a failed CONCURRENTLY build of st left behind: an
// invalid unique index would still refuse rows.
func (s *session) dropInvalid(ctx context.Context, st *Statement) error {
	var left bool
	err := s.conn.QueryRow(ctx, `
SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = $2 AND NOT i.indisvalid)`, st.Schema, st.Object).Scan(&left)
	if err != nil || !left {
		return err
	}
	if err := s.exec(ctx, "SET lock_timeout = 0"); err != nil {
		return err
	}
	return s.exec(ctx, "DROP INDEX CONCURRENTLY IF EXISTS "+qualified(st.Schema, st.Object))
}

package relay_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

func wantCode(t *testing.T, err error, code, message string) {
	t.Helper()
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, message) {
		t.Errorf("got %v, want %s %q", err, code, message)
	}
}

// What outlasts a transaction keeps its server connection, and not longer than that.
func TestLastingStateKeepsTheServer(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	for _, test := range []struct{ name, make, use, end string }{
		{"temporary table", "CREATE TEMP TABLE a AS SELECT 1 AS x", "SELECT x FROM a", "DROP TABLE a"},
		{"select into", "SELECT 1 AS x INTO TEMPORARY a", "SELECT x FROM a", "DISCARD TEMP"},
		{"statement", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p"},
		{"all statements", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE ALL"},
		{"cursor", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "FETCH c", "CLOSE c"},
		{"lock", "SELECT pg_advisory_lock(1)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", "SELECT pg_advisory_unlock(1)"},
		{"listen", "LISTEN ch", "SELECT count(*) FROM pg_listening_channels()", "UNLISTEN *"},
		{"everything", "LISTEN ch; CREATE TEMP TABLE a (b int); PREPARE p AS SELECT 1; SELECT pg_advisory_lock(1)", "EXECUTE p", "DISCARD ALL"},
		{"in a transaction", "BEGIN; CREATE TEMP TABLE a AS SELECT 1 AS x; COMMIT", "SELECT x FROM a", "DROP TABLE a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := standOn(t, d, setup{general: "default_pool_size = 1\ncheckout_timeout = 60000"})
			conn, other := s.connect(), s.connect()
			run(t, conn, test.make)
			s.cancelledWhileWaiting(other)
			if got := value(t, conn, test.use); got != "1" {
				t.Errorf("%s gives %q", test.use, got)
			}
			run(t, conn, test.end)
			if got := value(t, other, "SELECT 1"); got != "1" {
				t.Errorf("afterwards: %q", got)
			}
			if got := value(t, other, `SELECT (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) + (SELECT count(*) FROM pg_listening_channels())
				+ (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) + (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema())`); got != "0" {
				t.Errorf("%s things are left for the next client", got)
			}
		})
	}
}

func TestWhatDoesNotLastKeepsNothing(t *testing.T) {
	t.Parallel()
	s := newStand(t, setup{general: "default_pool_size = 1\ncheckout_timeout = 30000"})
	conn, other := s.connect(), s.connect()
	for _, sql := range []string{
		"SELECT pg_advisory_xact_lock(1)", "SELECT pg_advisory_lock(1), pg_advisory_unlock(1)", "BEGIN; CREATE TEMP TABLE a (b int) ON COMMIT DROP; COMMIT",
		"BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH c; COMMIT", "BEGIN; LISTEN ch; ROLLBACK", "NOTIFY ch", "BEGIN; CREATE TEMP TABLE a (b int); ROLLBACK",
	} {
		run(t, conn, sql)
		if _, err := tryValue(t, other, "SELECT 1"); err != nil {
			t.Errorf("after %s: %v", sql, err)
		}
	}
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode})
		conn, other := s.connect(), s.connect()
		run(t, conn, "LISTEN ch")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for _, payload := range []string{"one", strings.Repeat("x", 7000)} {
			if _, err := other.Exec(ctx, "SELECT pg_notify('ch', $1)", payload); err != nil {
				t.Fatal(err)
			}
			n, err := conn.WaitForNotification(ctx)
			if err != nil || n.Channel != "ch" || n.Payload != payload {
				t.Fatalf("%v, %v", n, err)
			}
			if got := value(t, conn, "SELECT 5"); got != "5" {
				t.Fatalf("between notifications: %q", got)
			}
		}
		run(t, conn, "UNLISTEN ch")
		run(t, other, "NOTIFY ch")
		if got := value(t, conn, "SELECT 6"); got != "6" {
			t.Fatalf("after UNLISTEN: %q", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	refuse := newStand(t, setup{general: "session_state = \"refuse\""})
	single := newStand(t, setup{mode: config.ModeStatement})
	for _, test := range []struct {
		s       *stand
		sql     string
		message string
	}{
		{refuse, "LISTEN ch", "LISTEN is not allowed"},
		{refuse, "CREATE TEMP TABLE a (b int)", "a temporary table is not allowed"},
		{refuse, "SELECT pg_advisory_lock(1)", "a session-level advisory lock is not allowed"},
		{refuse, "PREPARE p AS SELECT 1", "PREPARE is not allowed"},
		{refuse, "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "DECLARE WITH HOLD is not allowed"},
		{single, "BEGIN", "transaction blocks are not allowed"},
		{single, "LISTEN ch", "LISTEN is not allowed"},
	} {
		conn := test.s.connect()
		_, err := tryValue(t, conn, test.sql)
		wantCode(t, err, "0A000", test.message)
		_, err = conn.Exec(t.Context(), test.sql, pgx.QueryExecModeExec)
		wantCode(t, err, "0A000", test.message)
		_, err = conn.Exec(t.Context(), test.sql, pgx.QueryExecModeCacheStatement)
		wantCode(t, err, "0A000", test.message)
		if got := value(t, conn, "SELECT 1"); got != "1" {
			t.Errorf("after %s: %q", test.sql, got)
		}
	}
	// A refusal fails the transaction it is in.
	conn := refuse.connect()
	run(t, conn, "BEGIN")
	_, err := tryValue(t, conn, "LISTEN ch")
	wantCode(t, err, "0A000", "LISTEN")
	_, err = tryValue(t, conn, "SELECT 1")
	wantCode(t, err, "25P02", "aborted")
	if conn.PgConn().TxStatus() != 'E' {
		t.Errorf("the transaction is %c", conn.PgConn().TxStatus())
	}
	run(t, conn, "ROLLBACK")
}

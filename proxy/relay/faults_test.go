package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	stdsync "sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

// running waits until the server runs so many statements that contain a text.
func (s *stand) running(n int, text string) {
	s.t.Helper()
	s.database.WaitUntil(s.t, "SELECT count(*) = $1 FROM pg_stat_activity WHERE state = 'active' AND datname = current_database() AND query LIKE '%'||$2||'%' AND pid <> pg_backend_pid()", n, text)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	each(t, modes, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode})
		conn := s.connect()
		for _, sql := range []string{"SELECT pg_sleep(300)", "SELECT 'again', pg_sleep(300)"} {
			failed := make(chan error, 1)
			go func() { _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); failed <- err }()
			s.running(1, "pg_sleep(300)")
			if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantCode(t, <-failed, "57014", "canceling statement due to user request")
		}
		// With nothing to cancel nothing happens.
		if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if got := value(t, conn, "SELECT 1"); got != "1" {
				t.Fatal(got)
			}
		}
	})
}

// A client that cancels all the time, in vain and too late, never hits another one
// that uses the same server connections.
func TestCancelHitsNobodyElse(t *testing.T) {
	t.Parallel()
	s := newStand(t, setup{general: "default_pool_size = 1"})
	victim, vandal := s.connect(), s.connect()
	ctx, stop := context.WithCancel(t.Context())
	var vandals stdsync.WaitGroup
	vandals.Go(func() {
		for ctx.Err() == nil {
			_ = vandal.PgConn().CancelRequest(ctx) // may be cut off by the end
		}
	})
	vandals.Go(func() {
		for ctx.Err() == nil {
			_, err := vandal.PgConn().Exec(context.Background(), "SELECT 1").ReadAll()
			var e *pgconn.PgError
			if err != nil && (!errors.As(err, &e) || e.Code != "57014") {
				t.Errorf("the vandal gets %v", err)
				return
			}
		}
	})
	n := 300
	for i := range n {
		if got, err := tryValue(t, victim, fmt.Sprintf("SELECT %d", i)); err != nil || got != fmt.Sprint(i) {
			t.Errorf("query %d: %q, %v", i, got, err)
			break
		}
	}
	stop()
	vandals.Wait()
}

func TestCancelWhileWaiting(t *testing.T) {
	t.Parallel()
	s := newStand(t, setup{general: "default_pool_size = 1\ncheckout_timeout = 60000"})
	holder, conn := s.connect(), s.connect()
	run(t, holder, "BEGIN")
	s.cancelledWhileWaiting(conn)
	run(t, holder, "COMMIT")
	if got := value(t, conn, "SELECT 1"); got != "1" {
		t.Fatal(got)
	}
}

// cancelledWhileWaiting has a client wait for the only server connection, which
// somebody else keeps, and then cancel that.
func (s *stand) cancelledWhileWaiting(conn *pgx.Conn) {
	s.t.Helper()
	answered := make(chan error, 1)
	go func() { _, err := conn.PgConn().Exec(context.Background(), "SELECT 1").ReadAll(); answered <- err }()
	pgtest.Eventually(s.t, "the client waits", func(context.Context) (bool, error) {
		select {
		case err := <-answered:
			return false, fmt.Errorf("it was answered: %w", err)
		default:
		}
		return slices.ContainsFunc(s.pools.Clients(), func(c pool.ClientStatus) bool { return c.State == "waiting" }), nil
	})
	if err := conn.PgConn().CancelRequest(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	wantCode(s.t, <-answered, "57014", "canceling statement due to user request")
}

// What clients leave behind is undone, and the next client finds nothing of it.
func TestClientsThatVanish(t *testing.T) {
	t.Parallel()
	for _, recovery := range []string{"recover", "rollback_only", "drop"} {
		each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
			s := newStand(t, setup{mode: mode, general: fmt.Sprintf("default_pool_size = 1\ncheckout_timeout = 60000\nconnection_recovery = %q", recovery)})
			s.database.Exec(t, "CREATE TABLE item (id int PRIMARY KEY)")
			for i, leave := range []func(*frontend){
				func(f *frontend) { f.say(1, query("BEGIN; INSERT INTO item VALUES (1); SET work_mem = '9MB'")) },
				func(f *frontend) {
					f.say(1, query("CREATE TEMP TABLE left_over (a int); SELECT pg_advisory_lock(1); LISTEN ch; SET work_mem = '9MB'"))
				},
				func(f *frontend) { f.post(query("SELECT pg_sleep(300), 1")); s.running(1, "pg_sleep(300), 1") },
				func(f *frontend) {
					f.post(parse("", "INSERT INTO item VALUES (1)"), bind(""), execute, flush)
					f.until("C[INSERT 0 1]")
				},
				func(f *frontend) {
					f.post(query("COPY item FROM STDIN"))
					f.until("G")
					f.post(&pgproto3.CopyData{Data: []byte("1\n")})
				},
				func(f *frontend) { f.bytes([]byte{'Q', 0, 0, 1, 0, 'S', 'E', 'L'}) },
				func(f *frontend) { f.bytes(append([]byte{'Q', 0, 16, 0, 0}, strings.Repeat("x", 300_000)...)) },
				func(f *frontend) { f.bytes([]byte{'Q', 0, 0}) },
			} {
				f := s.speak()
				leave(f)
				f.conn.Close()
				next := s.connect()
				if got := value(t, next, `SELECT concat_ws(' ', (SELECT count(*) FROM item), (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),
					(SELECT count(*) FROM pg_class WHERE relname = 'left_over'), (SELECT count(*) FROM pg_settings WHERE source = 'session'))`); got != "0 0 0 0 0" {
					t.Errorf("client %d has left rows, channels, locks, tables, settings: %s", i, got)
				}
				closeConn(next.PgConn())
			}
		})
	}
}

// post sends without waiting for answers.
func (f *frontend) post(messages ...pgproto3.FrontendMessage) {
	f.t.Helper()
	for _, m := range messages {
		f.Send(m)
	}
	if err := f.Flush(); err != nil {
		f.t.Fatal(err)
	}
}

// until reads answers up to one.
func (f *frontend) until(want string) {
	f.t.Helper()
	for {
		m, err := f.Receive()
		if err != nil {
			f.t.Fatalf("waiting for %s: %v", want, err)
		}
		if short(m) == want {
			return
		}
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	t.Run("query", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, setup{general: "query_timeout = 200"})
		conn := s.connect()
		_, err := tryValue(t, conn, "SELECT pg_sleep(300)")
		wantCode(t, err, "57014", "canceling statement due to query timeout")
		if got := value(t, conn, "SELECT 1"); got != "1" {
			t.Error(got)
		}
	})
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, setup{general: "client_idle_timeout = 200"})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := s.connect().PgConn().ReceiveMessage(ctx) // it may have come with the end of the login
		var e *pgconn.PgError
		if !errors.As(err, &e) || e.Code != "57P05" || e.Severity != "FATAL" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("idle in transaction", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, setup{general: "client_idle_in_transaction_timeout = 200\ndefault_pool_size = 1"})
		f := s.speak()
		f.say(1, query("BEGIN"))
		m, err := f.Receive()
		if e, ok := m.(*pgproto3.ErrorResponse); err != nil || !ok || e.Code != "25P03" || e.Severity != "FATAL" {
			t.Errorf("got %v, %v", m, err)
		}
		if got := value(t, s.connect(), "SELECT 1"); got != "1" {
			t.Error(got)
		}
	})
}

func TestServersThatAreLost(t *testing.T) {
	t.Parallel()
	t.Run("none at the login", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, setup{host: "127.0.0.1", port: 1, general: "checkout_timeout = 300"})
		conn, err := pgx.Connect(t.Context(), s.dsn(""))
		if err == nil {
			conn.Close(t.Context())
		}
		wantCode(t, err, "57P03", "cannot be connected to")
	})
	each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode})
		for _, begin := range []string{"", "BEGIN"} {
			conn := s.connect()
			if begin != "" {
				run(t, conn, begin)
			}
			_, err := tryValue(t, conn, "SELECT pg_terminate_backend(pg_backend_pid())")
			wantCode(t, err, "57P01", "terminating connection due to administrator command")
			if got := value(t, s.connect(), "SELECT 1"); got != "1" {
				t.Error(got)
			}
		}
		// While the client is idle in a transaction it is told at once.
		f := s.speak()
		f.say(1, query("BEGIN"))
		pid := pgtest.Value[int](t, s.database, "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()")
		s.database.Exec(t, fmt.Sprintf("SELECT pg_terminate_backend(%d)", pid))
		if m, err := f.Receive(); err != nil || short(m) != "E57P01" {
			t.Errorf("got %v, %v", m, err)
		}
	})
	t.Run("the client goes on", func(t *testing.T) {
		t.Parallel()
		cluster := pgtest.Shared(t, 0)
		link := cluster.Proxy(t)
		s := newStand(t, setup{general: "client_connection_recovery = \"recover\"", host: link.Host(), port: link.Port()})
		conn := s.connect()
		run(t, conn, "SET work_mem = '7MB'")
		failed := make(chan error, 1)
		go func() {
			_, err := conn.PgConn().Exec(context.Background(), "SELECT pg_sleep(300)").ReadAll()
			failed <- err
		}()
		s.running(1, "pg_sleep(300)")
		link.Cut()
		wantCode(t, <-failed, "08006", "the connection to the server was lost")
		if got := value(t, conn, "SHOW work_mem"); got != "7MB" {
			t.Errorf("afterwards: %q", got)
		}
	})
}

// bytes sends what is no message.
func (f *frontend) bytes(b []byte) {
	f.t.Helper()
	if _, err := f.conn.Write(b); err != nil {
		f.t.Fatal(err)
	}
}

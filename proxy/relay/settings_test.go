package relay_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// elsewhere has f run on another server connection than the one that conn used
// last: that one is in a transaction of somebody else's. The pool has two.
func elsewhere(t *testing.T, s *stand, conn *pgx.Conn, f func()) {
	t.Helper()
	before := value(t, conn, "SELECT pg_backend_pid()")
	other := s.connect()
	if got := value(t, other, "BEGIN; SELECT pg_backend_pid()"); got != before {
		third := s.connect()
		if got = value(t, third, "BEGIN; SELECT pg_backend_pid()"); got != before {
			t.Fatalf("the server connection %s was not lent again, but %s", before, got)
		}
		run(t, other, "ROLLBACK")
	}
	if now := value(t, conn, "SELECT pg_backend_pid()"); now == before {
		t.Fatal("the server connection did not change")
	}
	f()
	closeConn(other.PgConn())
}

func TestSettingsFollowTheClient(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	for _, test := range []struct {
		name string
		sql  []string
		show string
		want string
	}{
		{"set", []string{"SET work_mem = '7MB'"}, "work_mem", "7MB"},
		{"session", []string{"SET SESSION statement_timeout TO 12345"}, "statement_timeout", "12345ms"},
		{"list", []string{`SET search_path TO "A b", public`}, "search_path", `"A b", public`},
		{"reported", []string{"SET DateStyle TO 'German'"}, "DateStyle", "German, DMY"},
		{"time zone", []string{"SET TIME ZONE 'Asia/Tokyo'"}, "timezone", "Asia/Tokyo"},
		{"custom", []string{"SET app.tenant = 'o''neil \\ x'"}, "app.tenant", `o'neil \ x`},
		{"reset", []string{"SET work_mem = '7MB'", "RESET work_mem"}, "work_mem", "4MB"},
		{"reset to what the client began with", []string{"SET lock_timeout = 5", "RESET lock_timeout"}, "lock_timeout", "4321ms"},
		{"reset all", []string{"SET work_mem = '7MB'", "SET lock_timeout = 5", "RESET ALL"}, "lock_timeout", "4321ms"},
		{"default", []string{"SET work_mem = '7MB'", "SET work_mem TO DEFAULT"}, "work_mem", "4MB"},
		{"local", []string{"BEGIN", "SET LOCAL work_mem = '7MB'", "COMMIT"}, "work_mem", "4MB"},
		{"committed", []string{"BEGIN", "SET work_mem = '7MB'", "COMMIT"}, "work_mem", "7MB"},
		{"rolled back", []string{"BEGIN", "SET work_mem = '7MB'", "ROLLBACK"}, "work_mem", "4MB"},
		{"failed", []string{"BEGIN", "SET work_mem = '7MB'", "-SELECT 1/0", "COMMIT"}, "work_mem", "4MB"},
		{"savepoint kept", []string{"BEGIN", "SET work_mem = '7MB'", "SAVEPOINT a", "SET work_mem = '8MB'", "ROLLBACK TO a", "COMMIT"}, "work_mem", "7MB"},
		{"chained", []string{"BEGIN", "SET work_mem = '7MB'", "COMMIT AND CHAIN", "SET work_mem = '8MB'", "ROLLBACK"}, "work_mem", "7MB"},
		{"several statements", []string{"SET work_mem = '6MB'; SET work_mem = '7MB'; SELECT 1"}, "work_mem", "7MB"},
		{"several that fail", []string{"-SET work_mem = '6MB'; SELECT 1/0"}, "work_mem", "4MB"},
		{"set_config", []string{"SELECT set_config('work_mem', '7MB', false)"}, "work_mem", "7MB"},
		{"set_config local", []string{"SELECT set_config('work_mem', '7MB', true)"}, "work_mem", "4MB"},
		{"in a block", []string{"DO $$ BEGIN SET work_mem = '7MB'; END $$"}, "work_mem", "7MB"},
		{"role", []string{"SET ROLE pg_read_all_data"}, "role", "pg_read_all_data"},
		{"role none", []string{"SET ROLE pg_read_all_data", "RESET ROLE"}, "role", "none"},
		{"session authorization", []string{"SET SESSION AUTHORIZATION pg_monitor"}, "session_authorization", "pg_monitor"},
		{"discarded", []string{"SET work_mem = '7MB'", "DISCARD ALL"}, "work_mem", "4MB"},
		{"wrong", []string{"-SET work_mem = 'much'"}, "work_mem", "4MB"},
		{"characteristics", []string{"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"}, "default_transaction_isolation", "serializable"},
		{"the transaction's own", []string{"BEGIN", "SET TRANSACTION READ ONLY", "COMMIT"}, "default_transaction_read_only", "off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := standOn(t, d, setup{general: "default_pool_size = 2"})
			conn := s.connect("lock_timeout=4321", "options=-c%20idle_session_timeout%3D0")
			for _, sql := range test.sql {
				if sql[0] == '-' {
					if _, err := tryValue(t, conn, sql[1:]); err == nil {
						t.Fatalf("%s succeeded", sql[1:])
					}
					continue
				}
				run(t, conn, sql)
			}
			if got := value(t, conn, "SHOW "+test.show); got != test.want {
				t.Errorf("at once: %q, want %q", got, test.want)
			}
			elsewhere(t, s, conn, func() {
				if got := value(t, conn, "SHOW "+test.show); got != test.want {
					t.Errorf("on another server connection: %q, want %q", got, test.want)
				}
			})
			plain := s.connect()
			for range 3 {
				if got := value(t, plain, `SELECT count(*) FROM pg_settings WHERE source = 'session' AND name NOT LIKE 'transaction\_%'`); got != "0" {
					t.Errorf("another client has %s settings of somebody's", got)
				}
				if got := value(t, plain, "SELECT current_user = 'postgres' AND session_user = 'postgres'"); got != "t" {
					t.Error("another client is somebody else")
				}
			}
		})
	}
}

func TestParametersThatClientsAreTold(t *testing.T) {
	t.Parallel()
	each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode, general: "default_pool_size = 2"})
		for range 2 { // the second is told from memory
			conn := s.connect("application_name=one", "client_encoding=LATIN1", "datestyle=German")
			told := conn.PgConn().ParameterStatus
			for name, want := range map[string]string{
				"application_name": "one", "client_encoding": "LATIN1", "DateStyle": "German, DMY", "integer_datetimes": "on",
				"server_encoding": "UTF8", "standard_conforming_strings": "on", "is_superuser": "on",
				"server_version": value(t, conn, "SHOW server_version"),
			} {
				if got := told(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if got := value(t, conn, "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"); got != "one" {
				t.Errorf("the server knows the application as %q", got)
			}
			run(t, conn, "SET application_name = 'two'")
			if got := told("application_name"); got != "two" {
				t.Errorf("after SET: %q", got)
			}
			if mode == config.ModeTransaction {
				elsewhere(t, s, conn, func() {
					if got := value(t, conn, "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"); got != "two" || told("application_name") != "two" {
						t.Errorf("elsewhere the application is %q", got)
					}
				})
			}
			closeConn(conn.PgConn())
		}
		for _, wrong := range []string{"work_mem=much", "no_such_parameter=1", "options=-x"} {
			c, err := pgx.ParseConfig(s.dsn(wrong))
			if err != nil {
				t.Fatal(err)
			}
			if conn, err := pgx.ConnectConfig(t.Context(), c); err == nil {
				conn.Close(t.Context())
				t.Errorf("a login with %s succeeded", wrong)
			}
		}
	})
}

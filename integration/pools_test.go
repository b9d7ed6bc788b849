package integration

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

// application connects to prod as an application does.
func (r *running) application(tb testing.TB, user, password string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/prod?application_name=shop", user, password, r.port))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) }) // it may be ended on purpose
	return conn
}

// only gives the one row of a table.
func (r *running) only(tb testing.TB, command string) map[string]string {
	tb.Helper()
	rows := r.table(tb, command)
	if len(rows) != 1 {
		tb.Fatalf("%s: %d rows", command, len(rows))
	}
	return rows[0]
}

// shows compares columns of a row.
func shows(tb testing.TB, command string, row map[string]string, want map[string]string) {
	tb.Helper()
	for column, value := range want {
		if row[column] != value {
			tb.Errorf("%s: %s is %q, want %q", command, column, row[column], value)
		}
	}
}

// TestPools looks at what applications do through the port, and stops and ends
// them from the admin database.
func TestPools(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, "")
	s := between(source, destination)
	s.source[0].password, s.destination[0].password = "source-secret", "destination-secret"
	r := serve(t, s)
	app := r.application(t, s.source[0].user, "source-secret")
	tx, err := app.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var pid uint32
	if err := tx.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	shows(t, "SHOW POOLS", r.only(t, "SHOW POOLS"), map[string]string{"database": "prod", "sv_active": "1", "cl_active": "1", "paused": "f", "state": "open", "role": "primary"})
	shows(t, "SHOW CLIENTS", r.only(t, "SHOW CLIENTS"), map[string]string{"database": "prod", "state": "active", "application_name": "shop", "link": fmt.Sprint(pid), "addr": "127.0.0.1"})
	shows(t, "SHOW SERVERS", r.only(t, "SHOW SERVERS"), map[string]string{"database": "prod", "state": "active", "remote_pid": fmt.Sprint(pid), "close_needed": "f"})

	paused := make(chan outcome, 1)
	go func() { paused <- r.psql(t, "-c", "PAUSE prod") }()
	pgtest.Eventually(t, "SHOW STATE has the pause", func(context.Context) (bool, error) {
		for _, row := range r.table(t, "SHOW STATE") {
			if row["key"] == "pause" && row["value"] == "draining" && row["database"] == "prod" && row["owner"] == "admin" {
				return true, nil
			}
		}
		return false, nil
	})
	select {
	case got := <-paused:
		t.Fatalf("PAUSE has not waited: %+v", got)
	default:
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	(<-paused).expect(t, 0, "PAUSE")
	shows(t, "SHOW POOLS", r.only(t, "SHOW POOLS"), map[string]string{"paused": "t", "state": "closed", "sv_total": "0"})
	waited := make(chan error, 1)
	go func() {
		_, err := app.Exec(t.Context(), "SELECT 1")
		waited <- err
	}()
	pgtest.Eventually(t, "it waits", func(context.Context) (bool, error) { return r.only(t, "SHOW POOLS")["cl_waiting"] == "1", nil })
	r.psql(t, "-c", "RESUME prod").expect(t, 0, "RESUME")
	if err := <-waited; err != nil {
		t.Errorf("after RESUME: %v", err)
	}
	r.psql(t, "-c", "RESUME prod").expect(t, 1, "not paused by admin")
	if stats := r.only(t, "SHOW STATS"); stats["total_xact_count"] == "0" || stats["total_query_count"] == "0" || stats["total_sent"] == "0" {
		t.Errorf("SHOW STATS: %v", stats)
	}
	r.psqlAs(t, administrator, nil, "-c", "MAINTENANCE ON", "-c", "MAINTENANCE OFF", "-c", "RECONNECT", "-c", "WAIT_CLOSE", "-c", "HEALTHCHECK", "-c", "DISABLE prod", "-c", "ENABLE prod").
		expect(t, 0, "MAINTENANCE OFF", "WAIT_CLOSE", "ENABLE")

	if _, err := app.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	r.psql(t, "-c", "KILL prod").expect(t, 0, "KILL")
	if _, err := app.Exec(t.Context(), "SELECT 1"); pgerror.Code(err) != pgerror.AdminShutdown {
		t.Errorf("a client after KILL: %v", err)
	}
	r.psql(t, "-c", "RESUME prod").expect(t, 0, "RESUME")
	again := r.application(t, s.source[0].user, "source-secret")
	if _, err := again.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("after KILL and RESUME: %v", err)
	}
}

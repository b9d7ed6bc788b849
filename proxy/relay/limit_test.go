package relay_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// More applications than general.max_client_connections are refused, until one leaves.
func TestApplicationsAreCounted(t *testing.T) {
	t.Parallel()
	s := newStand(t, setup{general: "max_client_connections = 2"})
	first := s.connect()
	s.connect()
	_, err := pgx.Connect(t.Context(), s.dsn(""))
	wantCode(t, err, "53300", "too many clients")
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Severity != "FATAL" {
		t.Errorf("severity %s", e.Severity)
	}
	s.configure(setup{general: "max_client_connections = 3"})
	s.connect()
	_, err = pgx.Connect(t.Context(), s.dsn(""))
	wantCode(t, err, "53300", "too many clients")
	closeConn(first.PgConn())
	eventually(t, "there is a place again", func() bool {
		conn, err := pgx.Connect(t.Context(), s.dsn(""))
		if err != nil {
			wantCode(t, err, "53300", "too many clients")
			return false
		}
		closeConn(conn.PgConn())
		return true
	})
}

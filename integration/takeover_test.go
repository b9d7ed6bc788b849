package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

// visit is the life of a client that connects, asks and leaves.
func visit(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "SELECT 1")
	return errors.Join(err, conn.Close(ctx))
}

// TestTakeover starts a second process at the port of the first, and stops the first:
// clients that connect all the time are neither refused nor disturbed, one that is
// in a transaction ends it, and mirrors and metrics do not keep the second from
// starting.
func TestTakeover(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, "")
	s := between(source, destination)
	s.source[0].password, s.destination[0].password = "source-secret", "destination-secret"
	s.general = fmt.Sprintf("auth_type = \"trust\"\nreuse_port = true\nopenmetrics_host = \"127.0.0.1\"\nopenmetrics_port = %d\n", freePort(t))
	first := serve(t, s)
	url := fmt.Sprintf("postgres://%s:source-secret@127.0.0.1:%d/prod", s.source[0].user, first.port)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var visits atomic.Int64
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if err := visit(t.Context(), url); err != nil {
					t.Errorf("a client during the takeover: %v", err)
					return
				}
				visits.Add(1)
			}
		})
	}
	more := func(when string) {
		t.Helper()
		before := visits.Load()
		pgtest.Eventually(t, "clients come and go, "+when, func(context.Context) (bool, error) { return visits.Load() >= before+20, ctx.Err() })
	}
	app := first.application(t, s.source[0].user, "source-secret")
	tx, err := app.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	more("one process")
	second := first.serveAgain(t)
	more("two processes")
	first.signal(t, syscall.SIGTERM)
	first.logs(t, "mode=WAIT_FOR_CLIENTS")
	more("one process leaves")
	if _, err := tx.Exec(t.Context(), "CREATE TABLE kept (id int)"); err != nil {
		t.Errorf("a transaction in the process that leaves: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	_ = app.Close(t.Context())
	if code := first.exitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	more("the other process")
	stop()
	clients.Wait()
	second.psql(t, "-c", "SHOW CLIENTS").expect(t, 0)
}

// TestImpatientShutdown: the forms of SHUTDOWN, and what a less patient one does to one
// that waits.
func TestImpatientShutdown(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, "")
	s := between(source, destination)
	s.source[0].password, s.destination[0].password = "source-secret", "destination-secret"
	s.general = "shutdown_timeout = 3600000\n"
	r := serve(t, s)
	idle, busy := r.application(t, s.source[0].user, "source-secret"), r.application(t, s.source[0].user, "source-secret")
	tx, err := busy.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	admin := r.connect(t, administrator, "?default_query_exec_mode=simple_protocol")
	r.psql(t, "-c", "SHUTDOWN SOMETIMES").expect(t, 1, "WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS", "IMMEDIATE")
	r.psql(t, "-c", "SHUTDOWN WAIT_FOR_CLIENTS").expect(t, 0, "SHUTDOWN")
	pgtest.Eventually(t, "the port is closed", func(ctx context.Context) (bool, error) {
		conn, err := pgx.Connect(ctx, r.url(administrator))
		if err == nil {
			_ = conn.Close(ctx)
		}
		return err != nil, nil
	})
	if _, err := idle.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("a client that is waited for: %v", err)
	}
	if _, err := admin.Exec(t.Context(), "SHUTDOWN"); err != nil {
		t.Fatal(err)
	}
	err = idle.PgConn().WaitForNotification(t.Context())
	if pgerror.Code(err) != pgerror.AdminShutdown {
		t.Errorf("an idle client after SHUTDOWN: %v", err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("a transaction after SHUTDOWN: %v", err)
	}
	r.signal(t, syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(patience):
		t.Error("a second signal does not end it at once")
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1"); pgerror.Code(err) != pgerror.AdminShutdown {
		t.Errorf("the transaction after a second signal: %v", err)
	}
}

package proxy_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy"
)

// farewell is the error that ends an idle session.
func farewell(t *testing.T, conn *pgconn.PgConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return conn.WaitForNotification(ctx)
}

func TestShutdownOfIdleSessions(t *testing.T) {
	t.Parallel()
	for _, parameters := range []string{"sslmode=disable", "sslmode=require"} {
		s := start(t, withTLS(t, testConfig()))
		conn := s.mustConnect(t, parameters)
		login := s.raw(t)
		write(t, login, startupMessage(t, pgproto3.ProtocolVersion30, "user", "admin", "database", "admin"))
		if _, err := io.CopyN(io.Discard, login, 24); err != nil {
			t.Fatal(err)
		}
		// Neither has to wait for the grace: patience would be over.
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantError(t, farewell(t, conn), "57P01", "terminating connection")
		if e := fatalOf(t, login); e.Code != "57P03" {
			t.Errorf("%+v", e)
		}
		if err := <-s.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := s.connect(t, "sslmode=disable"); err == nil {
			t.Error("the port still answers")
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("a second Shutdown: %v", err)
		}
	}
}

func TestShutdownLetsCommandsFinish(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	conn := s.mustConnect(t, "sslmode=disable")
	type result struct {
		rows []*pgconn.Result
		err  error
	}
	results := make(chan result, 1)
	go func() {
		rows, err := conn.Exec(t.Context(), "stubborn").ReadAll()
		results <- result{rows, err}
	}()
	wait(t, "the start of the command", s.stub.running)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	eventually(t, "the end of accepting", func() bool { _, err := s.connect(t, "sslmode=disable"); return err != nil })
	close(s.stub.release)
	r := <-results
	if len(r.rows) != 1 || len(r.rows[0].Rows) != 1 || !strings.Contains(string(r.rows[0].Rows[0][0]), "user=admin") {
		t.Errorf("the command's result is lost: %v", r)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if r.err == nil {
		r.err = farewell(t, conn)
	}
	wantError(t, r.err, "57P01", "")
}

func TestShutdownEndsCommandsAfterGrace(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Config) context.Context{
		"shutdown_timeout": func(c *config.Config) context.Context {
			c.General.ShutdownTimeout = 10 * time.Millisecond
			return context.Background()
		},
		"context": func(*config.Config) context.Context {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return ctx
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testConfig()
			ctx := change(c)
			s := start(t, c)
			cause := make(chan error, 1)
			s.stub.end = func(ctx context.Context, _ error) { cause <- context.Cause(ctx) }
			conn := s.mustConnect(t, "sslmode=disable")
			ended := make(chan error, 1)
			go func() { _, err := conn.Exec(t.Context(), "wait").ReadAll(); ended <- err }()
			wait(t, "the start of the command", s.stub.running)
			if err := s.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			wantError(t, <-ended, "57P01", "terminating connection due to administrator command")
			if code := pgerror.Code(<-cause); code != "57P01" {
				t.Errorf("the handler sees %s", code)
			}
		})
	}
}

func TestEndOfContextEndsServe(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	conn := s.mustConnect(t, "sslmode=disable")
	s.cancel()
	if err := <-s.served; err != nil {
		t.Error(err)
	}
	wantError(t, farewell(t, conn), "57P01", "")
}

func TestShutdownBeforeServe(t *testing.T) {
	t.Parallel()
	c := testConfig()
	server, err := proxy.New(proxy.Options{Config: func() *config.Config { return c }, Admin: newStub(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(t.Context()); err == nil {
		t.Error("Serve works without Listen")
	}
	if _, err := server.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Listen(t.Context()); err == nil {
		t.Error("Listen works twice")
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := server.Serve(t.Context()); err == nil {
		t.Error("Serve works after Shutdown")
	}
}

func TestListenSaysWhyNot(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	c := testConfig()
	_, port, _ := strings.Cut(s.address, ":")
	for _, digit := range port {
		c.General.Port = 10*c.General.Port + int(digit-'0')
	}
	server, err := proxy.New(proxy.Options{Config: func() *config.Config { return c }, Admin: newStub(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.Listen(t.Context())
	var e *pgerror.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, s.address) || e.Hint == "" {
		t.Errorf("%v", err)
	}
}

func TestKillAndSessions(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	first := s.mustConnect(t, "sslmode=disable&application_name=first")
	second := s.mustConnect(t, "sslmode=disable", as("reader", "admin", readerPassword))
	list := s.Sessions()
	if len(list) != 2 || list[0].ProcessID != first.PID() || list[0].ApplicationName != "first" || list[0].ReadOnly ||
		list[1].ProcessID != second.PID() || list[1].User != "reader" || !list[1].ReadOnly {
		t.Errorf("%+v", list)
	}
	if s.Kill(second.PID() + 1) {
		t.Error("a session that is not there is killed")
	}
	if !s.Kill(second.PID()) {
		t.Error("the session is not found")
	}
	wantError(t, farewell(t, second), "57P01", "")
	session(t, first)
	eventually(t, "the end of the session", func() bool { return len(s.Sessions()) == 1 })
}

// TestHandlersCannotUndoTheEnd: deadlines that a handler sets do not keep a
// session alive.
func TestHandlersCannotUndoTheEnd(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.General.AuthType = config.AuthTrust
	s := start(t, c)
	ready, read := make(chan struct{}), make(chan error, 1)
	s.stub.session = func(session proxy.Session) {
		close(ready)
		<-s.stub.release
		session.Conn.SetDeadline(time.Time{})
		_, err := session.Conn.Read(make([]byte, 1))
		read <- err
	}
	write(t, s.raw(t), startupMessage(t, pgproto3.ProtocolVersion30, "user", "admin", "database", "admin"))
	wait(t, "the session", ready)
	s.Kill(s.Sessions()[0].ProcessID)
	close(s.stub.release)
	select {
	case err := <-read:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the read ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("the read goes on")
	}
}

// TestClientsThatDoNotReadAreCut: a handler that writes to a client which reads
// nothing comes to an end too.
func TestClientsThatDoNotReadAreCut(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.General.AuthType = config.AuthTrust
	s := start(t, c)
	ready, written := make(chan struct{}), make(chan error, 1)
	s.stub.session = func(session proxy.Session) {
		close(ready)
		<-s.stub.release
		session.Conn.SetDeadline(time.Time{})
		for {
			if _, err := session.Conn.Write(make([]byte, 1<<20)); err != nil {
				written <- err
				return
			}
		}
	}
	write(t, s.raw(t), startupMessage(t, pgproto3.ProtocolVersion30, "user", "admin", "database", "admin"))
	wait(t, "the session", ready)
	s.Kill(s.Sessions()[0].ProcessID)
	close(s.stub.release)
	select {
	case err := <-written:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the write ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("the write goes on")
	}
}

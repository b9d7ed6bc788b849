package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

func TestCancelWait(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	waiting := make(chan func(mirror.Task), 1)
	s.engine.watch = func(ctx context.Context, _ mirror.TaskID, tell func(mirror.Task)) (mirror.Task, error) {
		tell(mirror.Task{ID: 7, State: mirror.Running, Done: 3, Total: 10})
		waiting <- tell
		<-ctx.Done()
		return mirror.Task{}, ctx.Err()
	}
	c := s.connect("admin", nil).ready()
	c.send(&pgproto3.Query{String: "WAIT 7"})
	tell := within(t, waiting, "WAIT")
	c.until("NOTICE:00000")
	s.mu.Lock()
	cancel := s.cancels[c.pid]
	s.mu.Unlock()
	cancel()
	m, err := c.Receive()
	e, ok := m.(*pgproto3.ErrorResponse)
	if err != nil || !ok || e.Code != "57014" || e.Message != "canceling statement due to user request" ||
		!strings.Contains(e.Detail, "Task 7 goes on") || !strings.Contains(e.Hint, "STOP_TASK 7") {
		t.Fatalf("got %+v, %v", m, err)
	}
	c.until("Z:I")
	cancel()                                                // nothing runs: nothing happens
	tell(mirror.Task{State: mirror.Running, Inner: "late"}) // likewise
	if got := c.query("SHOW VERSION"); got != "T:version D:pgdrover 0.1.0 C:SHOW Z:I" {
		t.Errorf("after cancel: %s", got)
	}
}

func TestStatementTimeout(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.engine.watch = func(ctx context.Context, _ mirror.TaskID, _ func(mirror.Task)) (mirror.Task, error) {
		<-ctx.Done()
		return mirror.Task{}, ctx.Err()
	}
	c := s.connect("admin", nil).ready()
	c.query("SET statement_timeout TO '1ms'")
	if e := c.refusal("WAIT 7"); e.Code != "57014" || e.Message != "canceling statement due to statement timeout" {
		t.Errorf("got %+v", e)
	}
}

// TestClientLeaves: WAIT ends when the client is gone, also when the client had
// sent more messages before.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	wait := []pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: "WAIT 7"}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{},
	}
	for name, leave := range map[string]func(*rawClient){
		"closes":     func(c *rawClient) { _ = c.conn.Close() },
		"terminates": func(c *rawClient) { c.send(&pgproto3.Terminate{}) },
		"pipelined":  func(c *rawClient) { c.send(&pgproto3.Query{String: "STOP_TASK 7"}); _ = c.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			waiting, released := make(chan struct{}, 1), make(chan error, 1)
			s.engine.watch = func(ctx context.Context, _ mirror.TaskID, _ func(mirror.Task)) (mirror.Task, error) {
				waiting <- struct{}{}
				<-ctx.Done()
				released <- context.Cause(ctx)
				return mirror.Task{}, ctx.Err()
			}
			c := s.connect("admin", nil).ready()
			c.send(wait...)
			within(t, waiting, "WAIT")
			leave(c)
			if cause := within(t, released, "end of WAIT"); !errors.Is(cause, errClientLeft) {
				t.Errorf("WAIT ended by %v", cause)
			}
			within(t, s.ended, "end of session")
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.errs) > 0 {
				t.Errorf("sessions ended with %v", s.errs)
			}
		})
	}
}

// TestEffectsOutliveTheClient: a command that changes something is not broken
// off because nobody waits for its answer.
func TestEffectsOutliveTheClient(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	started, proceed, done := make(chan struct{}, 1), make(chan struct{}), make(chan mirror.TaskID, 1)
	s.engine.stopTask = func(id mirror.TaskID) error {
		started <- struct{}{}
		<-proceed
		done <- id
		return nil
	}
	c := s.connect("admin", nil).ready()
	c.send(&pgproto3.Query{String: "STOP_TASK 9"})
	within(t, started, "STOP_TASK")
	_ = c.conn.Close()
	close(proceed)
	if id := within(t, done, "end of STOP_TASK"); id != 9 {
		t.Errorf("stopped task %d", id)
	}
	within(t, s.ended, "end of session")
}

func TestServerStops(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	waiting := make(chan struct{}, 1)
	s.engine.watch = func(ctx context.Context, _ mirror.TaskID, _ func(mirror.Task)) (mirror.Task, error) {
		waiting <- struct{}{}
		<-ctx.Done()
		return mirror.Task{}, ctx.Err()
	}
	idle, busy := s.connect("admin", nil).ready(), s.connect("admin", nil).ready()
	busy.send(&pgproto3.Query{String: "WAIT 1"})
	within(t, waiting, "WAIT")
	s.stop()
	for _, c := range []*rawClient{idle, busy} {
		c.until("FATAL:57P01")
		c.closed()
	}
}

func TestShutdownAnswersFirst(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("admin", nil).ready()
	if got := c.query("SHUTDOWN"); got != "C:SHUTDOWN Z:I" {
		t.Errorf("got %s", got)
	}
	within(t, s.shutdown, "shutdown")
}

func TestPanicIsContained(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.engine.tasks = func() ([]mirror.Task, []*pgerror.Error, error) { panic("boom") }
	c := s.connect("admin", nil).ready()
	if e := c.refusal("SHOW TASKS"); e.Code != "XX000" || strings.Contains(e.Message, "boom") {
		t.Errorf("got %+v", e)
	}
	if log := s.log.String(); !strings.Contains(log, "boom") || !strings.Contains(log, "show_tasks.go") {
		t.Errorf("log has no panic with stack: %s", log)
	}
	if got := c.query("SHOW VERSION"); !strings.HasSuffix(got, "C:SHOW Z:I") {
		t.Errorf("after panic: %s", got)
	}
}

// TestBrokenProtocol: what cannot be understood is told, and ends the session.
func TestBrokenProtocol(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]string{
		"unknown type":      "!\x00\x00\x00\x04",
		"too long":          "Q\x7f\x00\x00\x00",
		"just too long":     "Q\x00\x10\x00\x05",
		"too short":         "Q\x00\x00\x00\x03",
		"password":          "p\x00\x00\x00\x06x\x00",
		"query without end": "Q\x00\x00\x00\x05x",
		"bind cut off":      "B\x00\x00\x00\x07\x00\x00\x00",
		"parse cut off":     "P\x00\x00\x00\x05x",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			c := s.connect("admin", nil).ready()
			if _, err := c.conn.Write([]byte(bytes)); err != nil {
				t.Fatal(err)
			}
			c.until("FATAL:08P01")
			c.closed()
			within(t, s.ended, "end of session")
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.errs) != 1 || pgerror.Code(s.errs[0]) != "08P01" {
				t.Errorf("ServeSession returned %v", s.errs)
			}
		})
	}
}

func TestOddMessages(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("admin", nil).ready()
	c.send(&pgproto3.CopyData{Data: []byte("x")}, &pgproto3.CopyDone{}, &pgproto3.CopyFail{Message: "x"})
	if got := c.query("SELECT 1"); got != "T:?column? D:1 C:SELECT 1 Z:I" {
		t.Errorf("after COPY messages: %s", got)
	}
	c.send(&pgproto3.FunctionCall{Function: 1})
	if got := strings.Join(c.until("Z:"), " "); got != "ERROR:0A000 Z:I" {
		t.Errorf("function call: %s", got)
	}
	long := strings.Repeat(" ", longestMessage-20) + "SELECT 1"
	if got := c.query(long); got != "T:?column? D:1 C:SELECT 1 Z:I" {
		t.Errorf("long query: %s", got)
	}
}

// TestManyMessagesAhead sends more than the inbox holds before reading any
// answer.
func TestManyMessagesAhead(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	waiting, proceed := make(chan struct{}, 1), make(chan struct{})
	s.engine.watch = func(context.Context, mirror.TaskID, func(mirror.Task)) (mirror.Task, error) {
		waiting <- struct{}{}
		<-proceed
		return mirror.Task{ID: 1, State: mirror.Finished}, nil
	}
	c := s.connect("admin", nil).ready()
	c.send(&pgproto3.Query{String: "WAIT 1"})
	within(t, waiting, "WAIT")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		blank := strings.Repeat(" ", 300<<10)
		for range 10 {
			if _, err := c.conn.Write(mustEncode(&pgproto3.Query{String: "SELECT 1" + blank})); err != nil {
				return
			}
		}
	}()
	close(proceed)
	c.until("Z:I")
	for range 10 {
		if got := strings.Join(c.until("Z:"), " "); got != "T:?column? D:1 C:SELECT 1 Z:I" {
			t.Fatalf("got %s", got)
		}
	}
	within(t, sent, "end of sending")
}

func mustEncode(m pgproto3.FrontendMessage) []byte {
	b, err := m.Encode(nil)
	if err != nil {
		panic(err)
	}
	return b
}

func TestSessionNeedsDeadline(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if err := s.server.ServeSession(t.Context(), Session{Backend: pgproto3.NewBackend(strings.NewReader(""), io.Discard)}); err == nil {
		t.Error("a session that could not be stopped was served")
	}
}

// FuzzSession: whatever bytes a client sends before it leaves, the session ends
// and no command panics.
func FuzzSession(f *testing.F) {
	for _, messages := range [][]pgproto3.FrontendMessage{
		{&pgproto3.Query{String: "SHOW HELP; BEGIN; SET LOCAL x TO 1; SHOV"}, &pgproto3.Query{String: psqlCompletion("", "a")}},
		{&pgproto3.Parse{Name: "s", Query: "WAIT $1", ParameterOIDs: []uint32{20}}, &pgproto3.Describe{ObjectType: 'S', Name: "s"}, &pgproto3.Sync{}},
		{&pgproto3.Parse{Query: "SELECT $1::text, set_config('x', $2, true)"}, &pgproto3.Bind{Parameters: [][]byte{nil, []byte("a")}, ResultFormatCodes: []int16{1}}, &pgproto3.Execute{MaxRows: 1}, &pgproto3.Sync{}},
		{&pgproto3.Query{String: `SELECT name AS "Column", format_type(tp, tpm) FROM (VALUES ('a'::text, '25'::oid, -1)) s(name, tp, tpm)`}},
		{&pgproto3.Close{ObjectType: 'S', Name: "x"}, &pgproto3.Flush{}, &pgproto3.FunctionCall{}, &pgproto3.Terminate{}},
	} {
		var seed []byte
		for _, m := range messages {
			seed = append(seed, mustEncode(m)...)
		}
		f.Add(seed)
	}
	s := startServer(f)
	s.engine.watch = func(context.Context, mirror.TaskID, func(mirror.Task)) (mirror.Task, error) {
		return mirror.Task{State: mirror.Failed}, nil
	}
	s.engine.stopTask = func(mirror.TaskID) error { return nil }
	s.engine.probe = func(string) (time.Duration, error) { return 0, io.EOF }
	s.engine.tasks = threeTasks
	f.Fuzz(func(t *testing.T, sent []byte) {
		var received bytes.Buffer
		_ = s.server.ServeSession(t.Context(), Session{
			Backend: pgproto3.NewBackend(bytes.NewReader(sent), &received), User: "monitoring", ReadOnly: true,
			SetReadDeadline: func(time.Time) error { return nil },
		})
		if bytes.Contains(received.Bytes(), []byte("CXX000")) && !bytes.Contains(received.Bytes(), []byte("is failed")) {
			t.Fatalf("internal error after %q", sent)
		}
	})
}

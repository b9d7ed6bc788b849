package admin

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"go.uber.org/goleak"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engineStub stands for the engine in tests of the language: each method
// answers with a function of the test's, or with nothing.
type engineStub struct {
	schemaSync func(mirror.SchemaSyncRequest) (mirror.Started, error)
	schemaPlan func(mirror.SchemaSyncRequest) ([]schema.Statement, []*pgerror.Error, error)
	schemaDiff func(source, destination string) ([]drift.Difference, []*pgerror.Error, error)
	watch      func(context.Context, mirror.TaskID, func(mirror.Task)) (mirror.Task, error)
	stopTask   func(mirror.TaskID) error
	tasks      func() ([]mirror.Task, []*pgerror.Error, error)
	statements func() ([]mirror.StatementRow, []*pgerror.Error, error)
	probe      func(string) (time.Duration, error)

	copyData     func(mirror.CopyDataRequest) (mirror.Started, error)
	resync       func(name string, request mirror.ResyncRequest) (mirror.Resynced, error)
	dropMirror   func(name string) (mirror.DropMirrorReport, error)
	createMirror func(config.Mirror) error
	alterMirror  func(context.Context, string, func(*config.Mirror) error) (mirror.Started, error)
	pause        func(context.Context, string) error
	resume       func(string) (mirror.Started, error)
	retry        func(string) (mirror.Started, error)
	take         func() []*pgerror.Error
	mirrorLog    func(string, mirror.LogFilter) ([]mirror.MirrorEvent, error)
	mirrors      func() ([]mirror.MirrorRow, []*pgerror.Error, error)
	mirrorTables func(name string) ([]mirror.MirrorTableRow, []*pgerror.Error, error)
	tableCopies  func() ([]mirror.TableCopyRow, []*pgerror.Error, error)
	slots        func() ([]mirror.SlotRow, []*pgerror.Error, error)

	validateSchema func(name string, tables []string) ([]mirror.TableReport, error)
	syncSchema     func(mirror.SyncSchemaRequest) (mirror.SyncSchemaReport, error)
	dropTable      func(name, table string) error
}

func (e *engineStub) SchemaSync(_ context.Context, r mirror.SchemaSyncRequest) (mirror.Started, error) {
	return e.schemaSync(r)
}
func (e *engineStub) SchemaPlan(_ context.Context, r mirror.SchemaSyncRequest) ([]schema.Statement, []*pgerror.Error, error) {
	return e.schemaPlan(r)
}
func (e *engineStub) SchemaDiff(_ context.Context, source, destination string) ([]drift.Difference, []*pgerror.Error, error) {
	return e.schemaDiff(source, destination)
}
func (e *engineStub) Watch(ctx context.Context, id mirror.TaskID, tell func(mirror.Task)) (mirror.Task, error) {
	return e.watch(ctx, id, tell)
}
func (e *engineStub) CopyData(_ context.Context, r mirror.CopyDataRequest) (mirror.Started, error) {
	return e.copyData(r)
}
func (e *engineStub) Resync(_ context.Context, name string, request mirror.ResyncRequest) (mirror.Resynced, error) {
	return e.resync(name, request)
}
func (e *engineStub) DropMirror(_ context.Context, name string) (mirror.DropMirrorReport, error) {
	return e.dropMirror(name)
}
func (e *engineStub) CreateMirror(_ context.Context, definition config.Mirror) error {
	return e.createMirror(definition)
}
func (e *engineStub) AlterMirror(ctx context.Context, name string, change func(*config.Mirror) error) (mirror.Started, error) {
	return e.alterMirror(ctx, name, change)
}
func (e *engineStub) Pause(ctx context.Context, name string) error { return e.pause(ctx, name) }
func (e *engineStub) Resume(_ context.Context, name string) (mirror.Started, error) {
	return e.resume(name)
}
func (e *engineStub) Retry(_ context.Context, name string) (mirror.Started, error) {
	return e.retry(name)
}
func (e *engineStub) TakeConfiguration(context.Context) []*pgerror.Error {
	if e.take == nil {
		return nil
	}
	return e.take()
}
func (e *engineStub) MirrorLog(_ context.Context, name string, filter mirror.LogFilter) ([]mirror.MirrorEvent, error) {
	return e.mirrorLog(name, filter)
}
func (e *engineStub) Mirrors(context.Context) ([]mirror.MirrorRow, []*pgerror.Error, error) {
	return e.mirrors()
}
func (e *engineStub) MirrorTables(_ context.Context, name string) ([]mirror.MirrorTableRow, []*pgerror.Error, error) {
	return e.mirrorTables(name)
}
func (e *engineStub) TableCopies(context.Context) ([]mirror.TableCopyRow, []*pgerror.Error, error) {
	return e.tableCopies()
}
func (e *engineStub) Slots(context.Context) ([]mirror.SlotRow, []*pgerror.Error, error) {
	return e.slots()
}
func (e *engineStub) StopTask(_ context.Context, id mirror.TaskID) error { return e.stopTask(id) }
func (e *engineStub) Tasks(context.Context) ([]mirror.Task, []*pgerror.Error, error) {
	return e.tasks()
}
func (e *engineStub) Statements(context.Context) ([]mirror.StatementRow, []*pgerror.Error, error) {
	return e.statements()
}
func (e *engineStub) Probe(_ context.Context, target string) (time.Duration, error) {
	return e.probe(target)
}

// configuration is a Configuration of the real config package, without files.
type configuration struct {
	mu       sync.Mutex
	current  *config.Config
	changes  config.Changes
	problems []config.Problem
	err      error // of Reload
}

const testConfig = `
[general]
port = 6500
[admin]
password = "admin-secret"
[[databases]]
name = "prod"
host = "10.0.0.1"
password = "database-secret"
[[databases]]
name = "prod_sharded"
host = "10.0.0.2"
port = 5433
shard = 0
[[databases]]
name = "prod_sharded"
host = "10.0.0.3"
shard = 1
pool_size = 7
`

const testUsers = `
[[users]]
name = "app"
database = "prod"
password = "user-secret"
[[users]]
name = "owner"
databases = ["prod", "prod_sharded"]
password = "owner-secret"
schema_admin = true
[[users]]
name = "monitoring"
database = "admin"
password = "reader-secret"
`

func newConfiguration(t testing.TB) *configuration {
	t.Helper()
	c, _, err := config.Parse("pgdog.toml", []byte(testConfig), "users.toml", []byte(testUsers), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatalf("parse configuration: %v", err)
	}
	return &configuration{current: c}
}

func (c *configuration) Config() *config.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

func (c *configuration) Set(name, value string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := c.current.Set(name, value)
	if err == nil {
		c.current = changed
	}
	return err
}

func (c *configuration) Reload(context.Context) (config.Changes, []config.Problem, error) {
	return c.changes, c.problems, c.err
}

// adminServer is a listener that lets everybody in, as "trust" does, and hands
// them to ServeSession.
type adminServer struct {
	pools         poolsStub
	t             testing.TB
	engine        *engineStub
	configuration *configuration
	server        *Server
	listener      net.Listener
	log           *logText
	ctx           context.Context
	stop          context.CancelFunc

	sessions sync.WaitGroup
	mu       sync.Mutex
	cancels  map[uint32]func()
	errs     []error // of ServeSession
	ended    chan struct{}
	shutdown chan ShutdownMode
}

// logText keeps what was logged.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func startServer(t testing.TB) *adminServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	s := &adminServer{
		t: t, engine: &engineStub{}, configuration: newConfiguration(t), listener: listener, log: &logText{},
		cancels: map[uint32]func(){}, ended: make(chan struct{}, 100), shutdown: make(chan ShutdownMode, 1),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.server = NewServer(Options{
		Engine: s.engine, Configuration: s.configuration, Pools: &s.pools, Version: "0.1.0",
		Shutdown: func(mode ShutdownMode) { s.shutdown <- mode },
		Logger:   slog.New(slog.NewTextHandler(s.log, nil)),
	})
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		s.accept()
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-accepting
		s.stop()
		s.sessions.Wait()
	})
	return s
}

func (s *adminServer) accept() {
	for id := uint32(1); ; id++ {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.sessions.Go(func() { s.serve(conn, id) })
	}
}

func (s *adminServer) serve(conn net.Conn, id uint32) {
	defer conn.Close()
	backend := pgproto3.NewBackend(conn, conn)
	for {
		message, err := backend.ReceiveStartupMessage()
		if err != nil {
			return
		}
		switch m := message.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			_, _ = conn.Write([]byte("N"))
		case *pgproto3.CancelRequest:
			s.mu.Lock()
			cancel := s.cancels[m.ProcessID]
			s.mu.Unlock()
			if cancel != nil {
				cancel()
			}
			return
		case *pgproto3.StartupMessage:
			s.session(conn, backend, id, maps.Clone(m.Parameters))
			return
		}
	}
}

func (s *adminServer) session(conn net.Conn, backend *pgproto3.Backend, id uint32, parameters map[string]string) {
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.BackendKeyData{ProcessID: id, SecretKey: binary.BigEndian.AppendUint32(nil, id)})
	err := s.server.ServeSession(s.ctx, Session{
		Backend: backend, User: parameters["user"], Database: parameters["database"],
		ApplicationName: parameters["application_name"], ProcessID: id, Parameters: parameters,
		ReadOnly:        parameters["user"] == "monitoring",
		SetReadDeadline: conn.SetReadDeadline,
		OnCancel: func(cancel func()) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.cancels[id] = cancel
		},
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.errs = append(s.errs, err)
	}
	s.ended <- struct{}{}
}

func (s *adminServer) address() string { return s.listener.Addr().String() }

func (s *adminServer) url(user string) string {
	return "postgres://" + user + "@" + s.address() + "/admin?sslmode=disable"
}

// within bounds a wait for an event that must come.
func within[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// rawClient speaks the protocol message by message.
type rawClient struct {
	*pgproto3.Frontend
	t    testing.TB
	conn net.Conn
	pid  uint32
}

func (s *adminServer) connect(user string, parameters map[string]string) *rawClient {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address())
	if err != nil {
		s.t.Fatalf("connect: %v", err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := &rawClient{Frontend: pgproto3.NewFrontend(conn, conn), t: s.t, conn: conn}
	all := map[string]string{"user": user, "database": "admin"}
	maps.Copy(all, parameters)
	c.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: all})
	return c
}

func (c *rawClient) send(messages ...pgproto3.FrontendMessage) {
	c.t.Helper()
	for _, m := range messages {
		c.Send(m)
	}
	if err := c.Flush(); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// line is a message in short: "Z:I", "C:SHOW", "D:1,2", "E:42601".
func line(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.ReadyForQuery:
		return "Z:" + string(m.TxStatus)
	case *pgproto3.CommandComplete:
		return "C:" + string(m.CommandTag)
	case *pgproto3.ErrorResponse:
		return m.Severity + ":" + m.Code
	case *pgproto3.NoticeResponse:
		return m.Severity + ":" + m.Code
	case *pgproto3.DataRow:
		var cells []string
		for _, v := range m.Values {
			if v == nil {
				cells = append(cells, "NULL")
			} else {
				cells = append(cells, string(v))
			}
		}
		return "D:" + strings.Join(cells, ",")
	case *pgproto3.RowDescription:
		var names []string
		for _, f := range m.Fields {
			names = append(names, string(f.Name))
		}
		return "T:" + strings.Join(names, ",")
	case *pgproto3.ParameterStatus:
		return "S:" + m.Name + "=" + m.Value
	case *pgproto3.EmptyQueryResponse:
		return "I"
	case *pgproto3.ParseComplete:
		return "1"
	case *pgproto3.BindComplete:
		return "2"
	case *pgproto3.CloseComplete:
		return "3"
	case *pgproto3.NoData:
		return "n"
	case *pgproto3.PortalSuspended:
		return "s"
	case *pgproto3.ParameterDescription:
		return "t"
	case *pgproto3.AuthenticationOk:
		return "R"
	case *pgproto3.BackendKeyData:
		return "K"
	}
	return "?"
}

// until reads messages up to and with the first whose line begins with prefix.
func (c *rawClient) until(prefix string) []string {
	c.t.Helper()
	var lines []string
	for {
		m, err := c.Receive()
		if err != nil {
			c.t.Fatalf("receive after %v: %v", lines, err)
		}
		if key, ok := m.(*pgproto3.BackendKeyData); ok {
			c.pid = key.ProcessID
		}
		lines = append(lines, line(m))
		if strings.HasPrefix(lines[len(lines)-1], prefix) {
			return lines
		}
	}
}

// ready reads the greeting.
func (c *rawClient) ready() *rawClient {
	c.t.Helper()
	c.until("Z:")
	return c
}

// query sends a Query and gives the answer's lines, joined by blanks.
func (c *rawClient) query(text string) string {
	c.t.Helper()
	c.send(&pgproto3.Query{String: text})
	return strings.Join(c.until("Z:"), " ")
}

// refusal sends a Query and gives the error.
func (c *rawClient) refusal(text string) *pgproto3.ErrorResponse {
	c.t.Helper()
	c.send(&pgproto3.Query{String: text})
	var found *pgproto3.ErrorResponse
	for {
		m, err := c.Receive()
		if err != nil {
			c.t.Fatalf("receive: %v", err)
		}
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			e := *m
			found = &e
		case *pgproto3.ReadyForQuery:
			if found == nil {
				c.t.Fatalf("%s: no error", text)
			}
			return found
		}
	}
}

// closed tells that the server has closed the connection.
func (c *rawClient) closed() {
	c.t.Helper()
	if m, err := c.Receive(); err == nil {
		c.t.Fatalf("connection is open: received %s", line(m))
	} else if netErr := net.Error(nil); errors.As(err, &netErr) && netErr.Timeout() {
		c.t.Fatalf("connection is open: %v", err)
	}
}

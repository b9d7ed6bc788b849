package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// reportedMajor is the version of PostgreSQL that clients are told: the oldest
// that the product works with, so that neither psql nor a driver takes the
// admin database for something newer than itself.
const reportedMajor = "14.0"

// Options is what a Server is made of. Logger may be nil.
type Options struct {
	Engine        Engine
	Configuration Configuration
	Pools         Pools              // nil where applications are not served
	Shutdown      func(ShutdownMode) // begins a stop of the process and returns at once
	Version       string             // of the product: "0.1.0"
	Logger        *slog.Logger
}

// Server serves the sessions of the admin database. It has no goroutines of
// its own and may be used by many at a time.
type Server struct {
	options Options
	grammar *grammar
	started time.Time
}

// NewServer makes a Server. It panics when Engine, Configuration or Shutdown
// is missing.
func NewServer(options Options) *Server {
	if options.Engine == nil || options.Configuration == nil || options.Shutdown == nil {
		panic("admin: NewServer needs Engine, Configuration and Shutdown")
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	g, err := compile(commandTable())
	if err != nil {
		panic("admin: " + err.Error())
	}
	return &Server{options: options, grammar: g, started: time.Now()}
}

// version is the product's name and version.
func (s *Server) version() string { return "pgdrover " + s.options.Version }

// serverVersion is the parameter server_version.
func (s *Server) serverVersion() string { return fmt.Sprintf("%s (%s)", reportedMajor, s.version()) }

// Session is one authenticated client. The listener has sent AuthenticationOk
// and BackendKeyData; everything after that is ServeSession's.
type Session struct {
	Backend         *pgproto3.Backend
	User            string
	Database        string            // the admin database's name, as the client gave it
	ApplicationName string            //
	ProcessID       uint32            // of BackendKeyData; what pg_backend_pid() gives
	Parameters      map[string]string // of the startup message; may be nil
	ReadOnly        bool              // the role is Reader, not Admin
	TLS             bool              // the connection is encrypted

	// SetReadDeadline is the connection's. ServeSession uses it to stop reading
	// when it ends. Required.
	SetReadDeadline func(time.Time) error

	// OnCancel is given the function that a CancelRequest with the session's
	// key calls. That function never blocks, and does nothing when no command
	// runs or the session has ended. nil if there are no cancel requests.
	OnCancel func(cancel func())
}

// ServeSession talks with a client until it leaves, breaks the protocol, or ctx
// ends, in which case the client is told 57P01. It returns nil but for a broken
// protocol and for a connection that cannot be written to. It does not close
// the connection: the caller does, at once, and also when ctx has ended and a
// client that does not read keeps ServeSession from returning.
func (s *Server) ServeSession(ctx context.Context, client Session) error {
	if client.Backend == nil || client.SetReadDeadline == nil {
		return errors.New("serve admin session: Backend and SetReadDeadline are required")
	}
	client.Backend.SetMaxBodyLen(longestMessage)
	c := newConsole(s, client)
	if client.OnCancel != nil {
		client.OnCancel(c.cancelRunning)
	}

	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		c.inbox.run(client.Backend, stop)
	}()
	defer func() {
		close(stop)
		_ = client.SetReadDeadline(time.Unix(1, 0)) // of a closed connection: its read has ended already
		<-stopped
	}()
	return c.serve(ctx)
}

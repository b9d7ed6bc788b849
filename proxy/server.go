// Package proxy is the port that clients connect to: it accepts connections,
// agrees on encryption, logs clients in and hands their sessions over: those of
// the admin database to a SessionHandler, those of applications to a relay.
//
// A Server owns one goroutine for each connection; Serve and Shutdown return
// when all of them have ended. Nothing that a client sends before it is logged
// in is kept without bound or reaches any server.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/lookup"
	"github.com/pgdrover/pgdrover/proxy/relay"
)

const (
	// DefaultMaxLogins is how many connections may be logging in at a time.
	DefaultMaxLogins = 200

	// farewellTimeout bounds the last words to a client whose session the
	// server ends.
	farewellTimeout = 2 * time.Second
	// stopTimeout is how long Shutdown waits for sessions that were told to
	// end, and again after their connections were closed.
	stopTimeout = 5 * time.Second
)

// Options are what a Server needs.
type Options struct {
	// Config gives the current configuration; it is asked for each connection
	// and gives the same pointer until something changes.
	// Files named in it are read again by Reload only.
	Config func() *config.Config
	// Admin serves the sessions of the admin database.
	Admin SessionHandler
	// Relay serves the sessions of applications; nil refuses them.
	Relay *relay.Relay
	// Logger is slog.Default() if nil.
	Logger *slog.Logger

	// Observer is told of clients that come; nil for nobody.
	Observer Observer

	// Listener is what Listen takes instead of binding the configured port: a
	// socket that the process was started with. Its port stays open when the
	// Server has closed it.
	Listener net.Listener

	// MaxLogins is how many connections may be logging in at a time, half of
	// them from one address; 0 is DefaultMaxLogins.
	MaxLogins int
	// FailedLogins bounds the failed logins of each address; wrong keys of
	// cancel requests are bounded likewise, counted on their own.
	FailedLogins auth.LimiterOptions
}

// state is where a Server stands; see transitions.
type state int

const (
	created state = iota
	listening
	serving
	leaving  // accepts nothing new; sessions go on until their clients end them
	draining // accepts nothing; sessions end
	stopped
)

// transitions is the table of what may follow what.
var transitions = map[state][]state{
	created:   {listening, draining},
	listening: {serving, draining},
	serving:   {leaving, draining},
	leaving:   {draining},
	draining:  {stopped},
}

// Server is the listener of the proxy. Make it with New, then call Listen and
// Serve. All methods are safe for concurrent use.
type Server struct {
	options       Options
	log           *slog.Logger
	authenticator *auth.Authenticator
	directory     *lookup.Directory
	failedLogins  *auth.Limiter
	failedCancels *auth.Limiter
	admission     *admission
	refusals      refusalLog
	certificates  certificates
	sessions      sessions
	current       atomic.Pointer[settings]

	sessionContext context.Context // ends with errSessionEnded
	endSessions    context.CancelCauseFunc

	loginContext context.Context // of questions about users; ends with errShuttingDown
	endLogins    context.CancelCauseFunc
	deriving     sync.WaitGroup

	mu          sync.Mutex
	state       state
	listener    net.Listener
	closing     sync.Once // of listener
	connections map[*guardedConn]struct{}
	admins      map[*guardedConn]struct{} // those of connections that are sessions of the admin database
	left        chan struct{}             // closed when leaving, with the port closed, and no connection but admins is there
	portClosed  bool
	idle        chan struct{} // closed when draining and the last connection is gone
	stopped     chan struct{} // closed when Shutdown is through
	stopErr     error         // its result, read after stopped
}

// New makes a Server; nothing runs yet.
func New(o Options) (*Server, error) {
	if o.Config == nil || o.Admin == nil {
		return nil, errors.New("proxy: Options.Config and Options.Admin are needed")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	if o.MaxLogins <= 0 {
		o.MaxLogins = DefaultMaxLogins
	}
	authenticator := auth.New()
	s := &Server{
		options:       o,
		log:           o.Logger,
		authenticator: authenticator,
		directory:     lookup.New(lookup.Options{Authenticator: authenticator}),
		failedLogins:  auth.NewLimiter(o.FailedLogins),
		failedCancels: auth.NewLimiter(o.FailedLogins),
		admission:     newAdmission(o.MaxLogins),
		sessions:      sessions{byID: make(map[uint32]*liveSession)},
		connections:   make(map[*guardedConn]struct{}),
		admins:        make(map[*guardedConn]struct{}),
		left:          make(chan struct{}),
		idle:          make(chan struct{}),
		stopped:       make(chan struct{}),
	}
	s.sessionContext, s.endSessions = context.WithCancelCause(context.Background())
	s.loginContext, s.endLogins = context.WithCancelCause(context.Background())
	return s, nil
}

// settings are those of the current configuration.
func (s *Server) settings() *settings {
	c := s.options.Config()
	known := s.current.Load()
	if known != nil && known.config == c {
		return known
	}
	fresh := newSettings(c, s.authenticator, known)
	if s.current.CompareAndSwap(known, fresh) {
		s.derive(fresh)
		return fresh
	}
	if other := s.current.Load(); other.config == c {
		return other
	}
	return fresh
}

// derive derives the keys of users in the background; Shutdown waits for that.
func (s *Server) derive(fresh *settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state < draining && fresh.method != auth.Trust {
		s.deriving.Go(func() { fresh.users.derive(s.loginContext) })
	}
}

// move is the one place where the state changes; mu is held.
func (s *Server) move(to state) bool {
	for _, allowed := range transitions[s.state] {
		if allowed == to {
			s.state = to
			return true
		}
	}
	return false
}

// Listen loads the TLS certificate and binds the port; Serve accepts from it.
// It gives the address bound, which matters if the configured port is 0.
func (s *Server) Listen(ctx context.Context) (net.Addr, error) {
	set := s.settings()
	if err := s.certificates.load(set.tls); err != nil {
		return nil, err
	}
	listener, err := s.bind(ctx, set)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.move(listening) {
		listener.Close()
		return nil, errors.New("proxy: Listen was called before, or the server is shut down")
	}
	s.listener = listener
	s.announce(set, listener.Addr())
	return listener.Addr(), nil
}

// announce logs where the port is and what an operator should know of it.
func (s *Server) announce(set *settings, address net.Addr) {
	c := set.config
	s.log.Info("listening", "address", address.String(), "admin_database", c.Admin.Name,
		"auth_type", string(set.method), "tls", s.certificates.offered() != nil)
	if c.Admin.PasswordGenerated {
		s.log.Warn("the admin password was generated at random and is shown nowhere",
			"admin_user", c.Admin.User, "hint", "set [admin].password, or PGDOG_ADMIN_PASSWORD, and reload")
	}
	if local := remoteIP(address); set.method == auth.Trust && !local.IsLoopback() {
		s.log.Warn("everybody who reaches the port may run admin commands without a password",
			"auth_type", string(set.method), "hint", `set general.auth_type = "scram" or general.host = "127.0.0.1"`)
	}
}

// Serve accepts connections and serves them until Shutdown is through, or until
// ctx ends, which shuts down without grace. Its error is nil after an orderly
// end.
func (s *Server) Serve(ctx context.Context) error {
	s.mu.Lock()
	ok, listener := s.move(serving), s.listener
	s.mu.Unlock()
	if !ok {
		return errors.New("proxy: Serve needs Listen before it, once")
	}
	stopWatching := context.AfterFunc(ctx, func() { listener.Close() })
	defer stopWatching()
	if err := s.accept(ctx, listener); err != nil && ctx.Err() == nil && !s.isStopping() {
		return errors.Join(err, s.Shutdown(ctx))
	}
	if ctx.Err() != nil {
		return s.Shutdown(ctx)
	}
	<-s.stopped
	return s.stopErr
}

// accept takes connections until the listener is closed. It waits before it
// goes on after an error such as having no file descriptor left.
func (s *Server) accept(ctx context.Context, listener net.Listener) error {
	const minPause, maxPause = 5 * time.Millisecond, time.Second
	pause := minPause
	for {
		raw, err := listener.Accept()
		switch {
		case err == nil:
			pause = minPause
			s.admit(raw)
			continue
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept connections: %w", err)
		}
		s.log.Error("cannot accept a connection", "error", err, "retry_in", pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		}
	}
}

// admit starts the goroutine of a connection, if there is a place for one more
// that is not logged in.
func (s *Server) admit(raw net.Conn) {
	s.keepAlive(raw)
	conn := &guardedConn{Conn: raw}
	address := remoteIP(raw.RemoteAddr())
	if !s.admission.enter(address) {
		s.refuse(conn)
		return
	}
	s.mu.Lock()
	accepting := s.state == serving || s.state == leaving
	if accepting {
		s.connections[conn] = struct{}{}
	}
	s.mu.Unlock()
	if !accepting {
		s.admission.leave(address)
		conn.Close()
		return
	}
	go func() {
		defer s.forget(conn)
		newConnection(s, conn, address).serve()
	}()
}

// forget is the last thing that a connection's goroutine does.
func (s *Server) forget(conn *guardedConn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.connections, conn)
	delete(s.admins, conn)
	s.checkLeft()
	if s.state == draining && len(s.connections) == 0 {
		close(s.idle)
	}
}

// Reload forgets what servers have said about users, and reads the files of TLS
// again. If they are not usable it returns the error and goes on with what it
// has. Connections that are there keep what they have. Everything else in the
// configuration applies to new connections by itself.
func (s *Server) Reload() error {
	s.directory.Forget()
	return s.certificates.load(s.settings().tls)
}

// Sessions gives the sessions being served, ordered by process id.
func (s *Server) Sessions() []SessionInfo { return s.sessions.list() }

// Kill ends a session with FATAL 57P01; false if there is none with this
// process id. It does not wait for the end.
func (s *Server) Kill(processID uint32) bool { return s.sessions.kill(processID) }

// remoteIP is the address without the port; the zero Addr if it has no IP.
func remoteIP(address net.Addr) netip.Addr {
	if tcp, ok := address.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Package relay carries an application's session: messages of the client go to a
// server of a pool and its answers come back, as bytes and in chunks as they were
// read. Their headers are looked at in place, and only what must be other is
// written anew: names of prepared statements where servers are shared.
//
// The parts, in the way of a message: source reads and scan looks at what the client
// sends, query, extended and copyMessage deal with it; expect notes what will be
// answered; attach checks a server out; answers goes through what the server says
// and restIfDone gives it back; settle looks at what a session holds when its
// transaction has ended; finish ends the session.
package relay

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/statement"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// modeStatement is the pool mode whose transactions are single statements.
const modeStatement = config.PoolerMode("statement")

// Options are what a Relay needs.
type Options struct {
	Config func() *config.Config // the configuration in force; the same pointer until it changes
	Pools  *pool.Pools
	Logger *slog.Logger
}

// Relay serves application sessions. It is safe for concurrent use.
type Relay struct {
	options    Options
	base       time.Time
	clock      atomic.Int64 // nanoseconds since base, of the last sweep
	ids        atomic.Uint64
	statements statements
	current    atomic.Pointer[limits]

	mu       sync.Mutex
	sessions map[*session]struct{}
	welcomes map[welcomeKey]*values
	told     map[string]*values // by their keys
}

// New makes a Relay. Run looks after its sessions.
func New(o Options) *Relay {
	return &Relay{
		options: o, base: time.Now(), sessions: make(map[*session]struct{}), welcomes: make(map[welcomeKey]*values),
		told: make(map[string]*values),
	}
}

// now is an instant: nanoseconds since base.
func (r *Relay) now() int64 { return int64(time.Since(r.base)) }

// Login is a client that is logged in.
type Login struct {
	// Conn is the connection, TLS and all; nothing was read ahead of it. Serve's
	// caller closes it.
	Conn net.Conn

	User, Database  string
	Credentials     auth.Credentials
	Parameters      map[string]string // of the StartupMessage, but user and database
	ApplicationName string            // printable
	TLSVersion      string
	RemoteAddr      net.Addr
	ProcessID       uint32

	// Started is called once the session is there, before the client hears of it:
	// with what a cancel request does, and what asks for the session's end when the
	// client is idle next.
	Started func(cancel func(), onIdle func(end func()))
}

// welcomeKey is what decides on the parameters that a client is told at its login.
type welcomeKey struct{ user, database, startup string }

// maxWelcomes bounds how many of them are kept.
const maxWelcomes = 1000

// Serve serves one session until the client ends it, or the server, or ctx, whose
// cause is a *pgerror.Error. AuthenticationOk and BackendKeyData have been sent. Errors
// have been told to the client.
func (r *Relay) Serve(ctx context.Context, l Login) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := r.newSession(ctx, l)
	err := s.begin()
	if err == nil {
		r.mu.Lock()
		r.sessions[s] = struct{}{}
		r.mu.Unlock()
		stop := context.AfterFunc(ctx, func() { s.endWith(pgerror.From(context.Cause(ctx))) })
		err = s.why(s.serveWhole())
		stop()
		r.mu.Lock()
		delete(r.sessions, s)
		r.mu.Unlock()
	}
	s.finish(err)
	if s.client != nil {
		s.client.Detach()
	}
	return err
}

func (r *Relay) newSession(ctx context.Context, l Login) *session {
	s := &session{
		relay: r, login: l, id: r.ids.Add(1), conn: l.Conn, ctx: ctx, limits: r.limitsNow(), status: wire.Idle,
		names: make(map[string]*entry),
		log:   r.options.Logger.With("user", l.User, "database", l.Database, "pid", l.ProcessID),
	}
	s.changed.L = &s.mu
	s.in.use(l.Conn)
	s.setState(stateIdle)
	return s
}

// begin attaches the session to its pool and tells the client that it may begin.
func (s *session) begin() error {
	l, replication := s.login, s.login.Parameters["replication"]
	if !isReplication(replication) {
		replication = ""
	}
	login := pool.Login{
		User: l.User, Database: l.Database, Credentials: l.Credentials, Replication: replication, ProcessID: l.ProcessID,
		RemoteAddr: l.RemoteAddr.String(), ApplicationName: l.ApplicationName, TLSVersion: l.TLSVersion, End: s.endWith,
	}
	if replication != "" {
		login.Parameters = maps.Clone(l.Parameters)
		delete(login.Parameters, "replication")
	}
	client, err := s.relay.options.Pools.Attach(s.ctx, login)
	if err != nil {
		return err
	}
	s.client, s.mode = client, client.Mode()
	s.shared = s.mode != config.ModeSession
	if s.login.Started != nil {
		s.login.Started(s.cancel, s.onIdle)
	}
	if replication != "" {
		return nil
	}
	if s.startup, err = startupSettings(l.Parameters); err != nil {
		return err
	}
	s.settings = s.startup
	if err := s.welcome(); err != nil {
		return err
	}
	b := s.locals[:0]
	for name, value := range s.told.all() {
		b = wire.AppendParameterStatus(b, name, value)
	}
	s.locals = nil
	return s.toClient(wire.AppendReadyForQuery(b, wire.Idle))
}

func (s *session) serveWhole() error {
	if isReplication(s.login.Parameters["replication"]) {
		return s.replicate()
	}
	return s.serve()
}

// isReplication tells whether a replication parameter asks for a replication
// connection: "database", or a true boolean.
func isReplication(mode string) bool {
	switch strings.ToLower(mode) {
	case "", "false", "off", "no", "0":
		return false
	}
	return true
}

// welcome finds what the client is told of the server. Only the first client of a
// pool that has these startup parameters waits for a server.
func (s *session) welcome() error {
	r := s.relay
	key := welcomeKey{user: s.login.User, database: s.login.Database}
	if s.startup != nil {
		key.startup = s.startup.key
	}
	r.mu.Lock()
	known := r.welcomes[key]
	r.mu.Unlock()
	if s.startup == nil || known != nil {
		reported, err := s.client.Welcome(s.ctx)
		if err != nil {
			return err
		}
		s.told = r.shared(newValues(reported))
		if known != nil {
			for name, value := range known.all() {
				s.told = s.told.with(name, value)
			}
			s.told = r.shared(s.told)
		}
		return nil
	}
	if err := s.checkOut(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = s.slot.reports
	plain := newValues(maps.Clone(s.told.all()))
	if s.shared {
		s.giveBack(pool.Clean)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.welcomes) >= maxWelcomes {
		clear(r.welcomes)
	}
	r.welcomes[key] = plain.only(reportedByStartup(s.startup)...)
	return nil
}

// shared gives the same set for equal ones, so that sessions do not keep one each.
func (r *Relay) shared(v *values) *values {
	if v == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.told[v.key]; ok {
		return known
	}
	if len(r.told) >= maxWelcomes {
		clear(r.told)
	}
	r.told[v.key] = v
	return v
}

// reportedByStartup are the parameters that servers report, of those that the
// startup parameters set.
func reportedByStartup(startup *values) []string {
	var out []string
	for name := range startup.all() {
		if reported, ok := reportedNames[name]; ok {
			out = append(out, reported)
		}
	}
	return out
}

// reportedNames are the parameters that a session can set and that servers report,
// by their names in lower case.
var reportedNames = map[string]string{
	"application_name": "application_name", "client_encoding": "client_encoding", "datestyle": "DateStyle",
	"default_transaction_read_only": "default_transaction_read_only", "intervalstyle": "IntervalStyle", "search_path": "search_path",
	"standard_conforming_strings": "standard_conforming_strings", "timezone": "TimeZone", "role": "is_superuser",
}

// startupSettings are the settings that a StartupMessage asks for.
func startupSettings(parameters map[string]string) (*values, error) {
	of := make(map[string]string)
	for name, value := range parameters {
		lower := lowerName(name)
		switch lower {
		case "replication", "options":
			continue
		}
		of[lower] = statement.SetSQL(name, value)
	}
	options, err := parseOptions(parameters["options"])
	if err != nil {
		return nil, err
	}
	for name, value := range options {
		if _, named := of[lowerName(name)]; !named {
			of[lowerName(name)] = statement.SetSQL(name, value)
		}
	}
	return newValues(of), nil
}

// parseOptions reads the parameter options, as libpq's PGOPTIONS: -c name=value and
// --name=value, with backslashes before spaces that belong to a value.
func parseOptions(options string) (map[string]string, error) {
	var words []string
	var current strings.Builder
	inside := false
	for i := 0; i < len(options); i++ {
		switch c := options[i]; {
		case c == '\\' && i+1 < len(options):
			i++
			current.WriteByte(options[i])
			inside = true
		case c == ' ' || c == '\t' || c == '\n':
			if inside {
				words = append(words, current.String())
				current.Reset()
				inside = false
			}
		default:
			current.WriteByte(c)
			inside = true
		}
	}
	if inside {
		words = append(words, current.String())
	}
	out := make(map[string]string)
	for i := 0; i < len(words); i++ {
		word := words[i]
		var assignment string
		switch {
		case word == "-c" && i+1 < len(words):
			i++
			assignment = words[i]
		case strings.HasPrefix(word, "-c") && len(word) > 2:
			assignment = word[2:]
		case strings.HasPrefix(word, "--"):
			assignment = word[2:]
		default:
			return nil, pgerror.New(pgerror.FeatureNotSupported, "command-line option %q is not supported", word).
				WithHint("Use -c name=value in options.")
		}
		name, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return nil, pgerror.New(pgerror.SyntaxError, "option %q has no value", assignment).WithHint("Use -c name=value in options.")
		}
		out[strings.ReplaceAll(name, "-", "_")] = value
	}
	return out, nil
}

package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

const (
	// maxLoginMessage bounds what a client sends while it logs in, in bytes.
	// Tokens used as passwords have some 2 KiB.
	maxLoginMessage = 16 << 10
	// refusalTimeout bounds the writing of an error to a client that is not
	// logged in.
	refusalTimeout = time.Second
)

// connection is one client, from accept to close. Its steps, each a method:
// negotiate, authenticate, hand over. One goroutine runs all of them.
type connection struct {
	server   *Server
	settings *settings
	guard    *guardedConn // below TLS
	conn     net.Conn     // guard, or what lies over it: TLS, then session
	address  netip.Addr
	since    time.Time

	tlsState *tls.ConnectionState // nil without TLS
	endPoint []byte               // what channel binding binds to; nil if there is none
	startup  wire.Startup
	minor    int               // protocol version agreed on
	session  *sessionConn      // nil before the StartupMessage
	reader   *messageReader    // over session
	backend  *pgproto3.Backend // over reader
	mute     bool              // nothing can be said to the client: TLS failed
	admitted bool              // holds a place of the admission
}

func newConnection(s *Server, guard *guardedConn, address netip.Addr) *connection {
	return &connection{
		server: s, settings: s.settings(), guard: guard, conn: guard, address: address,
		since: time.Now(), admitted: true,
	}
}

// serve is the whole life of the connection. A panic ends the connection, not
// the process, in which other work goes on.
func (c *connection) serve() {
	defer c.leaveAdmission()
	defer func() {
		if p := recover(); p != nil {
			c.server.log.Error("a connection ended by a panic", "client", c.client(),
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			c.tell(pgerror.New(pgerror.InternalError, "internal error").
				WithHint("The server's log has the details; please report it."))
		}
	}()
	if err := c.login(); err != nil {
		err = c.whyRefused(err)
		c.logRefusal(err)
		c.tell(err)
	}
	c.conn.Close() // with TLS, this says goodbye
}

// login takes the client from its first byte to the end of its session. Its
// error is why there was no session.
func (c *connection) login() error {
	if err := c.guard.SetDeadline(c.since.Add(c.settings.loginTimeout)); err != nil {
		return err
	}
	packet, err := c.negotiate()
	if err != nil {
		return err
	}
	if cancel, ok := packet.(wire.CancelRequest); ok {
		c.cancel(cancel)
		return nil
	}
	c.startup = packet.(wire.Startup)
	c.session = &sessionConn{Conn: c.conn}
	c.conn = c.session
	c.reader = &messageReader{r: c.conn}
	c.backend = pgproto3.NewBackend(c.reader, c.conn)
	c.backend.SetMaxBodyLen(maxLoginMessage)
	var answer *pgproto3.NegotiateProtocolVersion
	if c.minor, answer = c.startup.Negotiate(); answer != nil {
		c.backend.Send(answer)
	}
	found, err := c.authenticate()
	if err != nil {
		return err
	}
	if err := c.admitSession(found); err != nil {
		return err
	}
	return c.handOver(found)
}

// negotiate reads packets up to the StartupMessage or CancelRequest and agrees
// on encryption on the way.
func (c *connection) negotiate() (wire.Packet, error) {
	offered := c.server.certificates.offered()
	state := wire.Undecided
	for {
		packet, err := wire.ReadPacket(c.conn)
		if err != nil {
			return nil, err
		}
		next, move, err := state.Next(packet, offered != nil)
		if err != nil {
			return nil, err
		}
		state = next
		switch move {
		case wire.Refuse:
			err = c.answer('N')
		case wire.AcceptTLS:
			if err = c.answer('S'); err == nil {
				err = c.startTLS(offered, nil)
			}
		case wire.AcceptDirectTLS:
			head := packet.(wire.DirectTLS).Head
			if err = c.startTLS(offered, head[:]); err == nil && c.tlsState.NegotiatedProtocol != alpnProtocol {
				err = pgerror.New(pgerror.ProtocolViolation, "direct TLS needs the ALPN protocol %q", alpnProtocol)
			}
		default:
			return packet, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (c *connection) answer(b byte) error {
	_, err := c.conn.Write([]byte{b})
	return err
}

// startTLS shakes hands; head is what was read of the client's part already.
func (c *connection) startTLS(offered *offer, head []byte) error {
	var below net.Conn = c.guard
	if len(head) > 0 {
		below = &headConn{Conn: c.guard, head: head}
	}
	conn := tls.Server(below, offered.config)
	if err := conn.Handshake(); err != nil {
		c.mute = true
		return fmt.Errorf("TLS handshake: %w", err)
	}
	state := conn.ConnectionState()
	c.conn, c.tlsState, c.endPoint = conn, &state, offered.endPoint
	return nil
}

// cancel never answers, as in PostgreSQL. Addresses that guess keys are not
// listened to for a while.
func (c *connection) cancel(r wire.CancelRequest) {
	s := c.server
	if wait := s.failedCancels.Wait(c.address); wait > 0 {
		s.log.Warn("cancel request ignored", "client", c.client(), "error", "too many wrong keys from this address")
		return
	}
	err := s.sessions.cancel(r)
	switch {
	case errors.Is(err, errWrongCancelKey):
		s.failedCancels.Fail(c.address)
		s.log.Warn("cancel request ignored", "client", c.client(), "pid", r.ProcessID, "error", err)
	case err != nil: // the session may have ended just now
		s.log.Debug("cancel request ignored", "client", c.client(), "pid", r.ProcessID, "error", err)
	}
}

// handOver makes the session and runs the handler in it.
func (c *connection) handOver(l login) error {
	s := c.server
	ctx, stop := context.WithCancelCause(s.sessionContext)
	defer stop(nil)
	live := &liveSession{guard: c.guard, conn: c.session, stop: stop, info: c.sessionInfo(l), app: l.place == placeApplication}
	if err := s.sessions.add(live, c.minor, c.settings.maxClients); err != nil {
		return err
	}
	defer s.sessions.remove(live)

	c.backend.Send(&pgproto3.AuthenticationOk{})
	c.backend.Send(&pgproto3.BackendKeyData{ProcessID: live.info.ProcessID, SecretKey: live.key})
	if err := c.backend.Flush(); err != nil {
		return err
	}
	if err := c.guard.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c.leaveAdmission()
	c.logLogin(live.info)
	var err error
	if l.place == placeApplication {
		c.backend, c.reader = nil, nil // all of it was read
		err = c.serveApplication(ctx, l, live)
	} else {
		s.isAdmin(c.guard)
		err = c.serveAdmin(ctx, l, live)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
		linger(c.conn)
	}
	c.logLogout(live.info, err)
	return nil
}

// serveAdmin runs a session of the admin database.
func (c *connection) serveAdmin(ctx context.Context, l login, live *liveSession) error {
	c.reader.free = true
	return c.server.options.Admin.ServeSession(ctx, Session{
		Conn:            c.conn,
		Backend:         c.backend,
		User:            c.startup.User,
		Database:        c.startup.Database,
		ApplicationName: live.info.ApplicationName,
		Parameters:      c.startup.Parameters,
		ReadOnly:        l.readOnly,
		Credentials:     l.credentials,
		RemoteAddr:      c.guard.RemoteAddr(),
		TLSVersion:      live.info.TLSVersion,
		ConnectedAt:     c.since,
		ProcessID:       live.info.ProcessID,
		SecretKey:       live.key,
		ProtocolMinor:   c.minor,
		OnCancel:        func(cancel func()) { c.server.sessions.onCancel(live, cancel) },
	})
}

func (c *connection) sessionInfo(l login) SessionInfo {
	return SessionInfo{
		User:            c.startup.User,
		Database:        c.startup.Database,
		ApplicationName: cleanName(c.startup.Parameters["application_name"]),
		RemoteAddr:      c.client(),
		TLSVersion:      c.tlsVersion(),
		ReadOnly:        l.readOnly,
		ConnectedAt:     c.since,
	}
}

// tell tells the client why the connection ends, if it can still be told.
func (c *connection) tell(err error) {
	var e *pgerror.Error
	if c.mute || !errors.As(err, &e) {
		return
	}
	if c.guard.SetWriteDeadline(time.Now().Add(refusalTimeout)) != nil {
		return
	}
	if c.send(wire.ErrorResponse(wire.Fatal, pgerror.From(err))) == nil {
		linger(c.conn)
	}
}

var errShuttingDown = pgerror.New(pgerror.CannotConnectNow, "the server is shutting down")

// whyRefused gives a timeout its reason.
func (c *connection) whyRefused(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if c.server.isDraining() {
		return errShuttingDown
	}
	return pgerror.New(pgerror.QueryCanceled, "canceling authentication due to timeout").
		WithDetail("The login took longer than general.client_login_timeout, %s.", c.settings.loginTimeout)
}

// send writes a message, behind those that wait to be flushed.
func (c *connection) send(message pgproto3.BackendMessage) error {
	if c.backend != nil {
		c.backend.Send(message)
		return c.backend.Flush()
	}
	encoded, err := message.Encode(nil)
	if err == nil {
		_, err = c.conn.Write(encoded)
	}
	return err
}

func (c *connection) leaveAdmission() {
	if c.admitted {
		c.admitted = false
		c.server.admission.leave(c.address)
	}
}

func (c *connection) client() string { return c.guard.RemoteAddr().String() }

func (c *connection) tlsVersion() string {
	if c.tlsState == nil {
		return ""
	}
	return tls.VersionName(c.tlsState.Version)
}

// isGone tells whether an error is that of a client that left.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

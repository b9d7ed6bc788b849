package proxy

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// logLogin logs that a session begins.
func (c *connection) logLogin(info SessionInfo) {
	c.server.options.Observer.ClientLogin()
	if !c.settings.logConnections {
		return
	}
	c.server.log.Info("client logged in", "client", info.RemoteAddr, "user", info.User, "database", info.Database,
		"application", info.ApplicationName, "tls", info.TLSVersion, "pid", info.ProcessID, "read_only", info.ReadOnly)
}

// logLogout logs that a session ended, and why if not by the client's wish.
func (c *connection) logLogout(info SessionInfo, err error) {
	if !c.settings.logDisconnections {
		return
	}
	attributes := []any{"client", info.RemoteAddr, "user", info.User, "database", info.Database,
		"pid", info.ProcessID, "duration", time.Since(info.ConnectedAt).Round(time.Millisecond)}
	if err != nil && !isGone(err) {
		attributes = append(attributes, "error", err)
	}
	c.server.log.Info("client disconnected", attributes...)
}

// logRefusal logs a connection that did not become a session: failed logins
// always, with the reason that the client was not told; connections that
// were closed without a login, as load balancers and psql's password prompt do,
// only for debugging.
func (c *connection) logRefusal(err error) {
	attributes := []any{"client", c.client(), "error", err}
	if c.startup.User != "" {
		attributes = append(attributes, "user", c.startup.User, "database", c.startup.Database)
	}
	var e *pgerror.Error
	switch {
	case errors.As(err, &e):
		c.server.options.Observer.ClientRefused(e.Code)
		if e.Cause != nil {
			attributes = append(attributes, "reason", e.Cause)
		}
		c.server.log.Warn("login refused", attributes...)
	case isGone(err):
		c.server.log.Debug("client left before it logged in", attributes...)
	default:
		c.server.log.Info("connection failed before it was logged in", attributes...)
	}
}

// refuse turns a connection away at the door, for which there is neither
// goroutine nor much time.
func (s *Server) refuse(conn net.Conn) {
	defer conn.Close()
	s.options.Observer.ClientRefused(pgerror.TooManyConnections)
	if n, ok := s.refusals.count(time.Now()); ok {
		s.log.Warn("too many connections are logging in", "client", conn.RemoteAddr().String(),
			"refused", n, "limit", s.options.MaxLogins)
	}
	response := wire.ErrorResponse(wire.Fatal, pgerror.New(pgerror.TooManyConnections,
		"too many connections are logging in").WithHint("Try again."))
	encoded, err := response.Encode(nil)
	// The buffer of a new connection is empty: writing does not wait.
	if err == nil && conn.SetWriteDeadline(time.Now().Add(100*time.Millisecond)) == nil {
		_, _ = conn.Write(encoded) // a client that left needs no reason
	}
}

// refusalLog thins out the log of refusals: a flood must not fill the disk.
type refusalLog struct {
	mu     sync.Mutex
	logged time.Time
	n      int
}

const refusalLogInterval = 10 * time.Second

// count counts a refusal and tells whether it is time to log, with the number
// since the last time.
func (r *refusalLog) count(now time.Time) (n int, log bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	if now.Sub(r.logged) < refusalLogInterval {
		return 0, false
	}
	n, r.n, r.logged = r.n, 0, now
	return n, true
}

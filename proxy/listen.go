package proxy

import (
	"context"
	"net"
	"syscall"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// handshakeTime is how long connections that were begun with this process may take
// to be accepted, once others go to the process that takes over. What is turned
// away meanwhile is tried again by the client's system after a second, which has to be
// longer.
const handshakeTime = 500 * time.Millisecond

// bind opens the port, or takes the listener that is there.
func (s *Server) bind(ctx context.Context, set *settings) (net.Listener, error) {
	if s.options.Listener != nil {
		return s.options.Listener, nil
	}
	listen := net.ListenConfig{KeepAliveConfig: set.keepAlive}
	if !set.keepAlive.Enable {
		listen.KeepAlive = -1
	}
	if set.reusePort {
		listen.Control = ReusePort
		listen.SetMultipathTCP(false) // whose sockets take no filter
	}
	listener, err := listen.Listen(ctx, "tcp", set.address)
	if err == nil {
		return listener, nil
	}
	return nil, pgerror.New(pgerror.SystemError, "listen on %s: %w", set.address, err).
		WithHint("Another process may have the port; general.host and general.port say where to listen. " +
			"For two at a time, which hand over to each other, both need general.reuse_port = true.")
}

// keepAlive sets what bind could not of a listener that was there.
func (s *Server) keepAlive(raw net.Conn) {
	if tcp, ok := raw.(*net.TCPConn); ok && s.options.Listener != nil {
		_ = tcp.SetKeepAliveConfig(s.settings().keepAlive) // a client that is gone is found by reading
	}
}

// closePort stops accepting. Where another process may listen at the port too, the
// system would reset connections that it has given to this one and that are not
// accepted yet: so it is told to give it no more, and those are accepted first.
func (s *Server) closePort(ctx context.Context) {
	s.closing.Do(func() {
		defer s.listener.Close()
		if s.options.Listener != nil || !s.settings().reusePort {
			return
		}
		if err := refuseNew(s.listener); err != nil {
			s.log.Warn("clients that connect at this moment may be refused", "error", err)
			return
		}
		select {
		case <-time.After(handshakeTime):
		case <-ctx.Done():
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.portClosed = true
	s.checkLeft()
}

// control runs set on the socket below a listener.
func control(listener net.Listener, set func(fd int) error) error {
	socket, ok := listener.(syscall.Conn)
	if !ok {
		return syscall.EINVAL
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = set(int(fd)) }); err != nil {
		return err
	}
	return failed
}

//go:build unix

package pool

import (
	"net"
	"syscall"
)

// rawConn gives the socket below a connection, nil if there is none.
func rawConn(conn net.Conn) syscall.RawConn {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// alive looks at the socket of a connection on which nothing is expected, without
// waiting and without reading. The end of the stream and errors mean that it is
// lost. So do bytes: a server that speaks unasked says goodbye, or that a parameter
// is another one now, and a new connection is cheaper than a wrong guess.
func (s *Server) alive() bool {
	if s.raw == nil {
		return true
	}
	var head [1]byte
	n, err := 0, error(nil)
	if failed := s.raw.Control(func(fd uintptr) {
		n, _, err = syscall.Recvfrom(int(fd), head[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}); failed != nil {
		return false
	}
	return n < 0 && (err == syscall.EAGAIN || err == syscall.EINTR) //nolint:errorlint // errnos are not wrapped
}

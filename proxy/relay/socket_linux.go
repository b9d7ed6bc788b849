package relay

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp tells whether the other end has closed the connection, although there may
// be something unread.
func hungUp(conn net.Conn) bool {
	return polled(conn, unix.POLLRDHUP)&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

// readable tells whether reading would give something, be it the stream's end.
func readable(conn net.Conn) bool {
	return polled(conn, unix.POLLIN)&(unix.POLLIN|unix.POLLHUP|unix.POLLERR) != 0
}

// polled asks the system about the socket below a connection, without waiting.
func polled(conn net.Conn, events int16) (got int16) {
	raw := socketOf(conn)
	if raw == nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { // closed: nothing to find out
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		if n, err := unix.Poll(fds, 0); err == nil && n > 0 {
			got = fds[0].Revents
		}
	})
	return got
}

// socketOf gives access to the socket below a connection, TLS or not.
func socketOf(conn net.Conn) syscall.RawConn {
	for {
		if raw := rawConn(conn); raw != nil {
			return raw
		}
		over, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = over.NetConn()
	}
}

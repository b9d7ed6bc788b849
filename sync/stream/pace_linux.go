package stream

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// roundTrip is the shortest round trip that the kernel has seen on a connection
// so far; false if it does not tell.
func roundTrip(socket syscall.RawConn) (time.Duration, bool) {
	var info *unix.TCPInfo
	var err error
	controlled := socket.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if controlled != nil || err != nil || info.Min_rtt == 0 {
		return 0, false
	}
	return time.Duration(info.Min_rtt) * time.Microsecond, true
}

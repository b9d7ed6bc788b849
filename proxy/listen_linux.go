package proxy

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ReusePort lets other processes of the same user listen at the same port; it is a
// net.ListenConfig's Control.
func ReusePort(_, _ string, c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return failed
}

// noMoreConnections is a filter of packets (linux/Documentation/networking/filter.rst)
// that drops the first one of a connection, SYN without ACK, and lets all others pass.
// It sees packets from their TCP header on, whose byte 13 has the flags.
var noMoreConnections = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x02, Jt: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
}

// refuseNew makes the system ignore new connections to a listener, as if their first
// packet were lost. Those that were begun come to be accepted.
func refuseNew(listener net.Listener) error {
	return control(listener, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(noMoreConnections)), Filter: &noMoreConnections[0]})
	})
}

//go:build !linux

package proxy

import (
	"errors"
	"net"
	"syscall"
)

// ReusePort fails: without Linux's balancing, taking over a port is not what it means.
func ReusePort(_, _ string, _ syscall.RawConn) error {
	return errors.New("general.reuse_port needs Linux")
}

func refuseNew(net.Listener) error { return errors.ErrUnsupported }

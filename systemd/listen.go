package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
)

// firstDescriptor is SD_LISTEN_FDS_START: behind standard input, output and error.
const firstDescriptor = 3

// Listener gives the socket that the process was started with; nil if there is none.
// The service manager keeps it open, so that clients wait instead of being refused while the process is
// restarted.
func Listener(lookup func(string) (string, bool)) (net.Listener, error) {
	if pid, ok := lookup("LISTEN_PID"); !ok || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // meant for another process
	}
	count, _ := lookup("LISTEN_FDS")
	switch n, err := strconv.Atoi(count); {
	case err != nil || n < 0:
		return nil, fmt.Errorf("socket activation: LISTEN_FDS is %q", count)
	case n == 0:
		return nil, nil
	case n > 1:
		return nil, fmt.Errorf("socket activation: %d sockets were passed, one is needed: leave one ListenStream in pgdrover.socket", n)
	}
	return listener(firstDescriptor)
}

// listener makes a listener of a descriptor, which it takes.
func listener(descriptor uintptr) (net.Listener, error) {
	file := os.NewFile(descriptor, "LISTEN_FD")
	if file == nil {
		return nil, fmt.Errorf("socket activation: descriptor %d is none", descriptor)
	}
	defer file.Close()
	l, err := net.FileListener(file) // a duplicate, closed on exec
	if err != nil {
		return nil, fmt.Errorf("socket activation: %w", err)
	}
	if _, ok := l.(*net.TCPListener); !ok {
		l.Close()
		return nil, errors.New("socket activation: the socket is not one of TCP: ListenStream has to be a port")
	}
	return l, nil
}

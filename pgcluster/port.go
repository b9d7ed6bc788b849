package pgcluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// Ports are taken from below the ranges from which systems give ports to
// outgoing connections (Linux 32768–60999, others 49152–65535): one of those
// could take a port while its server is being restarted.
const firstPort, lastPort = 20000, 32000

// freePort finds a TCP port on 127.0.0.1 that nobody listens on. Another may
// take it a moment later; the caller tries again.
func freePort() (int, error) {
	var lastErr error
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, listener.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		lastErr = err
	}
	return 0, fmt.Errorf("find a free port between %d and %d: %w", firstPort, lastPort, lastErr)
}

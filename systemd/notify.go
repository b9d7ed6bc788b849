package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notifier tells the service manager how the process is. A nil Notifier tells
// nobody. Its methods may be called by many goroutines at a time; what cannot be
// sent is lost, as the protocol wants it.
type Notifier struct {
	address  string
	watchdog time.Duration
}

// NewNotifier makes the Notifier that the environment asks for; nil if nobody listens.
func NewNotifier(lookup func(string) (string, bool)) *Notifier {
	address, _ := lookup("NOTIFY_SOCKET")
	if !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "@") {
		return nil
	}
	n := &Notifier{address: address}
	if pid, ok := lookup("WATCHDOG_PID"); ok && pid != strconv.Itoa(os.Getpid()) {
		return n // another process is watched
	}
	if text, ok := lookup("WATCHDOG_USEC"); ok {
		if µs, err := strconv.ParseInt(text, 10, 64); err == nil && µs > 0 && µs < int64(24*time.Hour/time.Microsecond) {
			n.watchdog = time.Duration(µs) * time.Microsecond
		}
	}
	return n
}

// Watchdog is how long the service manager waits for Alive before it takes the process for
// dead; 0 is for ever.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// Ready tells that the process serves, after its start and after Reloading, and how it is
// in words, "" for no others than before.
func (n *Notifier) Ready(status string) {
	if status == "" {
		n.send("READY=1")
		return
	}
	n.send("READY=1\nSTATUS=" + oneLine(status))
}

// Status tells people how the process is.
func (n *Notifier) Status(status string) { n.send("STATUS=" + oneLine(status)) }

// Reloading tells that the configuration is being read; Ready has to follow.
func (n *Notifier) Reloading() { n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic())) }

// Stopping tells that the process is about to end.
func (n *Notifier) Stopping() { n.send("STOPPING=1\nSTATUS=stopping") }

// Alive answers the watchdog.
func (n *Notifier) Alive() { n.send("WATCHDOG=1") }

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// send sends one datagram. An address that begins with @ is abstract, which package net
// knows.
func (n *Notifier) send(state string) {
	if n == nil {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.address, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	if conn.SetWriteDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = conn.Write([]byte(state)) // see Notifier
	}
}

package systemd

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// environment looks names up in a map.
func environment(of map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { value, ok := of[name]; return value, ok }
}

func TestNotifier(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	abstract := "@pgdrover-" + strconv.Itoa(os.Getpid())
	for _, address := range []string{path, abstract} {
		socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n := NewNotifier(environment(map[string]string{"NOTIFY_SOCKET": address}))
		for _, step := range []struct {
			send func()
			want string
		}{
			{func() { n.Ready("serving at\n127.0.0.1:6432\nMAINPID=1") }, "READY=1\nSTATUS=serving at 127.0.0.1:6432 MAINPID=1"},
			{n.Reloading, "RELOADING=1\nMONOTONIC_USEC="},
			{func() { n.Ready("") }, "READY=1"},
			{func() { n.Status("waiting") }, "STATUS=waiting"},
			{n.Alive, "WATCHDOG=1"},
			{n.Stopping, "STOPPING=1\nSTATUS=stopping"},
		} {
			step.send()
			got := make([]byte, 1000)
			length, err := socket.Read(got)
			if err != nil {
				t.Fatal(err)
			}
			text := string(got[:length])
			if reloading, ok := strings.CutPrefix(text, "RELOADING=1\nMONOTONIC_USEC="); ok {
				if µs, err := strconv.ParseInt(reloading, 10, 64); err != nil || µs <= 0 {
					t.Errorf("RELOADING with %q", reloading)
				}
				text = "RELOADING=1\nMONOTONIC_USEC="
			}
			if text != step.want {
				t.Errorf("got %q, want %q", text, step.want)
			}
		}
	}
}

// TestNobodyListens: without a service manager, or when it is gone, nothing happens.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	for _, of := range []map[string]string{{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}, {"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "gone")}} {
		n := NewNotifier(environment(of))
		if len(of["NOTIFY_SOCKET"]) < 10 && n != nil {
			t.Errorf("%v gives a notifier", of)
		}
		n.Ready("x")
		n.Reloading()
		n.Alive()
		n.Stopping()
		if n.Watchdog() != 0 {
			t.Errorf("%v: the watchdog waits %s", of, n.Watchdog())
		}
	}
}

func TestWatchdog(t *testing.T) {
	t.Parallel()
	self := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		µs, pid string
		want    time.Duration
	}{
		{"30000000", self, 30 * time.Second}, {"30000000", "", 30 * time.Second}, {"30000000", "1", 0},
		{"", self, 0}, {"soon", self, 0}, {"-5", self, 0}, {"9223372036854775807", self, 0},
	} {
		of := map[string]string{"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": c.µs, "WATCHDOG_PID": c.pid}
		if c.pid == "" {
			delete(of, "WATCHDOG_PID")
		}
		if got := NewNotifier(environment(of)).Watchdog(); got != c.want {
			t.Errorf("%v: %s, want %s", c, got, c.want)
		}
	}
}

func TestListenerOfTheEnvironment(t *testing.T) {
	t.Parallel()
	self := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		of      map[string]string
		problem string
	}{
		{map[string]string{}, ""},
		{map[string]string{"LISTEN_PID": "1", "LISTEN_FDS": "1"}, ""},
		{map[string]string{"LISTEN_PID": self, "LISTEN_FDS": "0"}, ""},
		{map[string]string{"LISTEN_PID": self, "LISTEN_FDS": "2"}, "2 sockets were passed"},
		{map[string]string{"LISTEN_PID": self, "LISTEN_FDS": "x"}, `LISTEN_FDS is "x"`},
	} {
		l, err := Listener(environment(c.of))
		if l != nil || (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%v: %v, %v", c.of, l, err)
		}
	}
}

func TestListenerOfADescriptor(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	file, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	l, err := listener(detach(t, file))
	if err != nil {
		t.Fatal(err)
	}
	if l.Addr().String() != tcp.Addr().String() {
		t.Errorf("it listens at %s, not %s", l.Addr(), tcp.Addr())
	}
	l.Close()
	// The port is open as long as the manager has it.
	conn, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()

	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "other"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	if file, err = datagrams.File(); err != nil {
		t.Fatal(err)
	}
	if l, err := listener(detach(t, file)); err == nil {
		t.Errorf("a socket of datagrams gives %v", l)
	}
}

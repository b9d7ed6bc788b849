package pgtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// Direction is the way bytes go through a Proxy.
type Direction int

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

// Proxy forwards TCP connections to a server and breaks them on command. It
// knows nothing of the protocol; connections through it must not use TLS if
// bytes are to be matched. Its methods may be called concurrently. One
// goroutine accepts and two forward per connection; Close waits for them.
type Proxy struct {
	target string
	port   int

	mu       sync.Mutex
	listener net.Listener // nil while refusing
	links    map[*link]struct{}
	black    bool
	held     int           // reads that wait in the black hole
	changed  chan struct{} // closed, and replaced, when black changes
	rule     *rule         // nil or what is armed
	closed   bool

	goroutines sync.WaitGroup
}

// NewProxy starts a proxy to target ("127.0.0.1:5432"), closed at the test's end.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	p := &Proxy{target: target, links: map[*link]struct{}{}, changed: make(chan struct{})}
	if err := p.Accept(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

// Proxy starts a proxy to the cluster.
func (c *Cluster) Proxy(tb testing.TB) *Proxy {
	tb.Helper()
	return NewProxy(tb, fmt.Sprintf("%s:%d", c.Host(), c.Port()))
}

// Host is the address the proxy listens on.
func (p *Proxy) Host() string { return "127.0.0.1" }

// Port is the port it listens on, also after Refuse and Accept.
func (p *Proxy) Port() int { return p.port }

// Accept listens again after Refuse.
func (p *Proxy) Accept() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.closed {
		return nil
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", p.Host(), p.port))
	if err != nil {
		return fmt.Errorf("listen for the proxy: %w", err)
	}
	p.listener, p.port = listener, listener.Addr().(*net.TCPAddr).Port
	p.goroutines.Go(func() { p.accept(listener) })
	return nil
}

// Refuse stops listening: new connections get ECONNREFUSED, open ones stay.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
}

// Cut resets all open connections, on both sides.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// Blackhole turned on holds everything back, in both directions, without
// closing anything, as a network that drops packets does. Turned off, what was
// held back goes on.
func (p *Proxy) Blackhole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.black != on {
		p.black = on
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// CutAfter resets the connection on which, counted over all connections from
// now on, the n-th byte in a direction has been forwarded. The channel is closed when it
// has happened. Arming a rule replaces the one before; a rule acts once.
func (p *Proxy) CutAfter(direction Direction, n int64) (fired <-chan struct{}) {
	return p.arm(&rule{direction: direction, budget: n})
}

// CutBefore resets the connection on which a client sends text, before the last
// byte of it has reached the server.
func (p *Proxy) CutBefore(text string) (fired <-chan struct{}) {
	return p.arm(&rule{direction: ToServer, request: []byte(text)})
}

// CutReply lets text reach the server and holds back what the server answers
// from then on; when its answer contains reply ("" for any byte) the connection is reset. So
// CutReply("commit", "COMMIT") makes a commit whose outcome the client cannot know.
// If several connections send text before the first answer, all of them are reset.
func (p *Proxy) CutReply(text, reply string) (fired <-chan struct{}) {
	return p.arm(&rule{direction: ToServer, request: []byte(text), reply: []byte(reply), untilReply: true})
}

func (p *Proxy) arm(r *rule) <-chan struct{} {
	r.fired = make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = r
	return r.fired
}

// Connections is the number of open connections.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Held reports whether anything waits in the black hole.
func (p *Proxy) Held() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held > 0
}

// Close resets everything and waits for the goroutines.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.Cut()
	p.goroutines.Wait()
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // Refuse or Close
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil { // the server is down: so is its address
			_ = client.(*net.TCPConn).SetLinger(0)
			_ = client.Close()
			continue
		}
		p.open(client.(*net.TCPConn), server.(*net.TCPConn))
	}
}

func (p *Proxy) open(client, server *net.TCPConn) {
	l := &link{client: client, server: server, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		l.reset()
		return
	}
	p.links[l] = struct{}{}
	p.goroutines.Go(func() {
		var both sync.WaitGroup
		both.Go(func() { p.forward(l, ToClient, server, client) })
		p.forward(l, ToServer, client, server)
		both.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = client.Close()
		_ = server.Close()
		delete(p.links, l)
	})
}

// forward copies one direction of a connection. It ends at end-of-file, which
// it passes on, or when the connection is reset by either side or by a rule.
func (p *Proxy) forward(l *link, direction Direction, from, to *net.TCPConn) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !p.pass(l) {
				return
			}
			data, cut := p.apply(l, direction, buffer[:n])
			if _, writeErr := to.Write(data); writeErr != nil && err == nil {
				err = writeErr
			}
			if cut != nil {
				l.reset()
				cut.once.Do(func() { close(cut.fired) })
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite()
			return
		default:
			l.reset()
			return
		}
	}
}

// pass waits while the proxy is a black hole; false means the connection was reset.
func (p *Proxy) pass(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held++
	defer func() { p.held-- }()
	for p.black {
		changed := p.changed
		p.mu.Unlock()
		reset := false
		select {
		case <-changed:
		case <-l.done:
			reset = true
		}
		p.mu.Lock()
		if reset {
			return false
		}
	}
	return true
}

// apply gives the part of data that is to be forwarded and, if the connection
// is to be reset after that, the rule that says so.
func (p *Proxy) apply(l *link, direction Direction, data []byte) ([]byte, *rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	forward, fires := l.filter(p.rule, direction, data)
	if fires == nil {
		return forward, nil
	}
	if fires == p.rule {
		p.rule = nil
	}
	return forward, fires
}

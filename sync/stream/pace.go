package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	// gatherBytes is what a read waits for while much is coming.
	gatherBytes = 32 << 10
	// gatherTime is how long it waits at most, and so the latency it may add.
	gatherTime = 2 * time.Millisecond
)

// pacedConn reads from a connection without waking up for each message. A
// walsender hands every change to the kernel by itself, so that at full speed a
// plain reader costs both sides a wake-up for each. While reads follow each
// other closely, the socket's low-water mark (SO_RCVLOWAT) holds them back
// until there is a good deal to read, or a moment has passed.
type pacedConn struct {
	net.Conn
	ctx     context.Context // its end ends a Read
	timeout time.Duration   // of a Read
	socket  syscall.RawConn // nil: reads are not held back
	gather  bool
	last    time.Time // when the last Read ended
}

func newPacedConn(ctx context.Context, conn net.Conn, timeout time.Duration) *pacedConn {
	p := &pacedConn{Conn: conn, ctx: ctx, timeout: timeout}
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok { // Unix sockets have no such mark
		p.socket, _ = tcp.SyscallConn()
	}
	return p
}

// Read is net.Conn's, for one goroutine. It fails with the cause of the
// context's end if that comes first.
func (p *pacedConn) Read(data []byte) (int, error) {
	if p.gather {
		n, err := p.read(data, gatherTime)
		if !errors.Is(err, os.ErrDeadlineExceeded) || p.ctx.Err() != nil {
			p.last = time.Now()
			return n, err
		}
		p.setGather(false)
	}
	n, err := p.read(data, p.timeout)
	now := time.Now()
	if now.Sub(p.last) < gatherTime {
		p.setGather(true)
	}
	p.last = now
	return n, err
}

func (p *pacedConn) read(data []byte, limit time.Duration) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(limit))
	if p.ctx.Err() != nil { // the deadline that says so may have been overwritten
		return 0, context.Cause(p.ctx)
	}
	n, err := p.Conn.Read(data)
	if n == 0 && p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	return n, err
}

func (p *pacedConn) setGather(on bool) {
	if p.socket == nil {
		return
	}
	mark := 1
	if on {
		mark = gatherBytes
	}
	var err error
	controlled := p.socket.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, mark)
	})
	if err != nil || controlled != nil { // not here: every read is a plain one
		p.socket, on = nil, false
	}
	p.gather = on
}

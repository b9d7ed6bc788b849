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
	// gatherTime is how long it waits at most.
	gatherTime = 2 * time.Millisecond

	// nearby is the round trip up to which a server counts as near.
	nearby = 500 * time.Microsecond
	// nearBuffer is the receive buffer towards a near server: it bounds the window
	// that we offer. nearFull is a read that has found it full.
	nearBuffer, nearFull = 128 << 10, 100_000
	// longestPause is the longest between two reads from a near server, and with
	// gatherTime the latency that pacing may add; pauseStep is by how much it
	// changes.
	longestPause, pauseStep = 4 * time.Millisecond, 250 * time.Microsecond
)

// pacedConn reads from a connection without waking up for each message. A
// walsender hands every change to the kernel by itself, so that at full speed a
// plain reader costs both sides a wake-up for each. While reads follow each
// other closely, the socket's low-water mark (SO_RCVLOWAT) holds them back
// until there is a good deal to read, or a moment has passed.
//
// With a server nearby, each of these messages goes all the way through both
// ends' TCP while the window is open, which is half of what a walsender spends;
// while it is closed they gather in the sender's buffer at the price of a copy.
// So the window is kept small, and reads pause just so long that they find it
// full: a little longer after one that did not, a little less after one that
// did. Far away this would cost throughput, and the network gathers by itself.
type pacedConn struct {
	net.Conn
	ctx     context.Context // its end ends a Read
	timeout time.Duration   // of a Read
	socket  syscall.RawConn // nil: reads are not held back
	near    bool
	gather  bool
	pause   time.Duration // before a Read while gathering
	last    time.Time     // when the last Read ended
}

func newPacedConn(ctx context.Context, conn net.Conn, timeout time.Duration) *pacedConn {
	p := &pacedConn{Conn: conn, ctx: ctx, timeout: timeout}
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok { // Unix sockets have no such mark
		p.socket, _ = tcp.SyscallConn()
		if trip, ok := roundTrip(p.socket); ok && trip <= nearby {
			p.near = tcp.SetReadBuffer(nearBuffer) == nil
		}
	}
	return p
}

// Read is net.Conn's, for one goroutine. It fails with the cause of the
// context's end if that comes first.
func (p *pacedConn) Read(data []byte) (int, error) {
	if p.gather {
		p.wait()
		n, err := p.read(data, gatherTime)
		if !errors.Is(err, os.ErrDeadlineExceeded) || p.ctx.Err() != nil {
			p.last = time.Now()
			p.adapt(n, len(data))
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

// wait lets the server's messages gather.
func (p *pacedConn) wait() {
	if p.pause == 0 {
		return
	}
	timer := time.NewTimer(p.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
	}
}

// adapt chooses the next pause by what was read of what there was room for.
func (p *pacedConn) adapt(n, room int) {
	switch {
	case !p.near:
	case n >= nearFull || n == room:
		p.pause = max(p.pause-pauseStep, 0)
	default:
		p.pause = min(p.pause+pauseStep, longestPause)
	}
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
	p.gather, p.pause = on, 0
}

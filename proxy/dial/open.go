package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// channel is a connection to a server on which nobody is logged in yet.
type channel struct {
	net.Conn // TCP or Unix socket, or TLS over TCP
	tls      *tls.ConnectionState
	local    bool // nobody but this machine can listen
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// open connects and agrees on encryption.
func (o Options) open(ctx context.Context, encrypt bool) (*channel, error) {
	network, address := o.endpoint()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &channel{Conn: conn, local: network == "unix" || isLoopback(conn.RemoteAddr())}
	if !encrypt || network == "unix" {
		return c, nil
	}
	if err := c.within(ctx, func() error { return c.startTLS(ctx, o.TLS) }); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// endpoint is where the server listens. A host that begins with a slash, or
// with @ for Linux' abstract names, is the directory of a Unix socket.
func (o Options) endpoint() (network, address string) {
	host, port := o.Server.Host, strconv.Itoa(o.Server.Port)
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") {
		return "unix", filepath.Join(host, ".s.PGSQL."+port)
	}
	if tcp, ok := o.Address.(*net.TCPAddr); ok {
		return "tcp", tcp.String()
	}
	return "tcp", net.JoinHostPort(host, port)
}

func isLoopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip, ok := netip.AddrFromSlice(tcp.IP)
	return ok && ip.Unmap().IsLoopback()
}

// within runs f, whose reads and writes end with ctx. Afterwards there is no
// deadline.
func (c *channel) within(ctx context.Context, f func() error) error {
	below := c.Conn
	if deadline, ok := ctx.Deadline(); ok {
		if err := below.SetDeadline(deadline); err != nil {
			return err
		}
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = below.SetDeadline(longAgo) // fails if it is closed: as well
		close(interrupted)
	})
	err := f()
	if !stop() {
		<-interrupted
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

// errNoTLS is why there is no TLS; errHandshake why it failed.
var (
	errNoTLS     = errors.New("the server does not support TLS")
	errHandshake = errors.New("TLS handshake")
)

// startTLS asks the server for TLS and shakes hands. Of the answer one byte is
// read: what came with it in clear text must fail as a part of the handshake
// instead of being taken for something that came through it.
func (c *channel) startTLS(ctx context.Context, settings *TLS) error {
	request, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err != nil {
		return fmt.Errorf("ask for TLS: %w", err)
	}
	if _, err := c.Write(request); err != nil {
		return fmt.Errorf("ask for TLS: %w", err)
	}
	var answer [1]byte
	if _, err := c.Read(answer[:]); err != nil {
		return fmt.Errorf("ask for TLS: %w", err)
	}
	switch answer[0] {
	case 'S':
		return c.shakeHands(ctx, settings)
	case 'N':
		if settings.mode == config.TLSPrefer {
			return nil
		}
		return errNoTLS
	}
	// An error here is not read: it came from nobody knows whom.
	return pgerror.New(pgerror.ProtocolViolation, "the server did not answer the request for TLS as PostgreSQL does").
		WithDetail("It answered %q instead of S or N.", answer[0])
}

func (c *channel) shakeHands(ctx context.Context, settings *TLS) error {
	conn := tls.Client(c.Conn, settings.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	state := conn.ConnectionState()
	c.Conn, c.tls = conn, &state
	return nil
}

// endPoint is what channel binding binds to; nil if there is none.
func (c *channel) endPoint() []byte {
	if c.tls == nil || len(c.tls.PeerCertificates) == 0 {
		return nil
	}
	return auth.EndPoint(c.tls.PeerCertificates[0])
}

// plainMayDo tells whether what failed with TLS may do without: no handshake
// came about, or pg_hba.conf has no line for connections with TLS.
func plainMayDo(err error) bool {
	return errors.Is(err, errHandshake) || pgerror.Code(err) == pgerror.InvalidAuthorization
}

package pgtest_test

import (
	"context"
	"net"
)

// byteByByte writes each byte by itself; with TCP_NODELAY, Go's default, each
// is a packet of its own.
type byteByByte struct{ net.Conn }

func dialByteByByte(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return byteByByte{conn}, nil
}

func (c byteByByte) Write(data []byte) (int, error) {
	for i := range data {
		if _, err := c.Conn.Write(data[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(data), nil
}

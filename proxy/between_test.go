package proxy_test

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// between listens for one client, shakes hands with it under a certificate of its
// own, and with the server as that client would, and passes on what they say.
func between(t *testing.T, server string, seen *atomic.Int32) *net.TCPAddr {
	t.Helper()
	certificate, key := certificateFiles(t, t.TempDir(), "between")
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // ends with the client's connection
		client, err := listener.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		upstream, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		defer upstream.Close()
		for _, conn := range []net.Conn{client, upstream} {
			_ = conn.SetDeadline(time.Now().Add(patience))
		}
		request := make([]byte, 8)
		if _, err := io.ReadFull(client, request); err != nil {
			return
		}
		_, _ = upstream.Write(request)
		_, _ = io.ReadFull(upstream, request[:1])
		_, _ = client.Write(request[:1])
		inner := tls.Server(client, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"postgresql"}})
		outer := tls.Client(upstream, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}})
		if inner.Handshake() != nil || outer.Handshake() != nil {
			return
		}
		seen.Add(1)
		serving.Go(func() { _, _ = io.Copy(outer, inner); upstream.Close() })
		_, _ = io.Copy(inner, outer)
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	return listener.Addr().(*net.TCPAddr)
}

package dial_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds every wait for something that must happen.
const patience = time.Minute

const secret = "s3cret 'ü\\ \" $1"

// server is how to reach a cluster.
func server(c *pgtest.Cluster) config.Server {
	return config.Server{
		Cluster: "prod", Host: c.Host(), Port: c.Port(), Database: "postgres", User: c.Superuser(),
		TLSVerify: config.TLSDisabled, ConnectTimeout: patience,
	}
}

// use sends a query on a connection, as whoever it was opened for does.
func use(t *testing.T, c *dial.Connection, sql string) []string {
	t.Helper()
	f := pgproto3.NewFrontend(c.Conn, c.Conn)
	f.Send(&pgproto3.Query{String: sql})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	var out []string
	for {
		message, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m := message.(type) {
		case *pgproto3.DataRow:
			for _, v := range m.Values {
				out = append(out, string(v))
			}
		case *pgproto3.ErrorResponse:
			out = append(out, m.Code)
		case *pgproto3.ReadyForQuery:
			return out
		}
	}
}

func mustDial(t *testing.T, o dial.Options) *dial.Connection {
	t.Helper()
	c, err := dial.Dial(t.Context(), o)
	if err != nil {
		e := pgerror.From(err)
		t.Fatalf("dial: %s %s\n%s\n%s", e.Code, e.Message, e.Detail, e.Hint)
	}
	t.Cleanup(func() { c.Conn.Close() })
	return c
}

// wantError checks an error of Dial, and that it tells no secret.
func wantError(t *testing.T, err error, code, text string) *pgerror.Error {
	t.Helper()
	var e *pgerror.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) {
		t.Fatalf("got %v, want %s %q", err, code, text)
	}
	if all := fmt.Sprintf("%v %+v %s %s", err, e, e.Detail, e.Hint); strings.Contains(all, secret) {
		t.Errorf("the error tells the password: %s", all)
	}
	return e
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	file        string
}

func newAuthority(t *testing.T, directory, name string) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(directory, name+".crt")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.key = key
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// issue writes a certificate for a client of this name and its key.
func (a *authority) issue(t *testing.T, directory, commonName string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: commonName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return writePair(t, directory, commonName, der, private)
}

func writePair(t *testing.T, directory, name string, der []byte, private any) (certificate, key string) {
	t.Helper()
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(directory, name+".crt"), filepath.Join(directory, name+".key")
	writePEM(t, certificate, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", keyDER)
	return certificate, key
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// selfSigned writes a certificate of 127.0.0.1 with one kind of signature.
func selfSigned(t *testing.T, directory, name string, algorithm x509.SignatureAlgorithm) (certificate, key string) {
	t.Helper()
	var private crypto.Signer
	var err error
	switch algorithm {
	case x509.PureEd25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.ECDSAWithSHA256:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, SignatureAlgorithm: algorithm,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return writePair(t, directory, name, der, private)
}

// give copies files to a server, which may run as somebody else, and gives
// their names there.
func give(t *testing.T, c *pgtest.Cluster, files ...string) []string {
	t.Helper()
	info, err := os.Stat(c.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		target := filepath.Join(c.DataDir(), name)
		if err := os.WriteFile(target, content, 0o600); err != nil {
			t.Fatal(err)
		}
		owner := info.Sys().(*syscall.Stat_t)
		if err := os.Chown(target, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// set changes settings of a server and waits until it has read them. It goes
// through the Unix socket, whatever the settings make of TLS.
func set(t *testing.T, c *pgtest.Cluster, settings ...string) {
	t.Helper()
	local := server(c)
	local.Host = c.SocketDir()
	conn, err := dial.Dial(t.Context(), dial.Options{Server: local})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Conn.Close()
	before := use(t, conn, "SELECT pg_conf_load_time()")[0]
	for i := 0; i < len(settings); i += 2 {
		use(t, conn, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", settings[i], settings[i+1]))
	}
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "the settings are read", func(ctx context.Context) (bool, error) {
		fresh, err := dial.Dial(ctx, dial.Options{Server: local})
		if err != nil {
			return false, err
		}
		defer fresh.Conn.Close()
		return use(t, fresh, fmt.Sprintf("SELECT pg_conf_load_time() > '%s'", before))[0] == "t", nil
	})
}

// fakeServer answers each connection with script, for what no real server does.
func fakeServer(t *testing.T, script func(net.Conn)) config.Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			script(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	address := listener.Addr().(*net.TCPAddr)
	return config.Server{
		Cluster: "fake", Host: address.IP.String(), Port: address.Port, Database: "d", User: "u",
		Password: secret, TLSVerify: config.TLSDisabled, ConnectTimeout: patience,
	}
}

// readStartup reads a startup packet and gives its bytes.
func readStartup(conn net.Conn) []byte {
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil
	}
	body := make([]byte, int(head[2])<<8|int(head[3])-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil
	}
	return body
}

func encode(messages ...pgproto3.BackendMessage) []byte {
	var out []byte
	for _, m := range messages {
		encoded, err := m.Encode(nil)
		if err != nil {
			panic(err)
		}
		out = append(out, encoded...)
	}
	return out
}

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// forward listens at an address that the server's certificate does not name.
func forward(t *testing.T, target string) (host string, port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skipf("there is no second loopback address: %v", err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // ends with the listener
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{client, upstream}, {upstream, client}} {
				serving.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	address := listener.Addr().(*net.TCPAddr)
	return address.IP.String(), address.Port
}

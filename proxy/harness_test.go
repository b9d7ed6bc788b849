package proxy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"go.uber.org/goleak"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	adminPassword  = "the admin's secret"
	readerPassword = "the reader's secret"
	appPassword    = "the application's secret"
)

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// stubHandler serves queries about the session itself.
type stubHandler struct {
	running chan struct{}                // gets a value when a "wait" or "stubborn" runs
	release chan struct{}                // ends "stubborn"
	session func(proxy.Session)          // called at the start if not nil
	end     func(context.Context, error) // called at the end if not nil
}

func newStub() *stubHandler {
	return &stubHandler{running: make(chan struct{}, 10), release: make(chan struct{})}
}

func (h *stubHandler) ServeSession(ctx context.Context, s proxy.Session) (err error) {
	if h.end != nil {
		defer func() { h.end(ctx, err) }()
	}
	if h.session != nil {
		h.session(s)
	}
	s.Backend.SetMaxBodyLen(1 << 20)
	for k, v := range map[string]string{"server_version": "14.0 (stub)", "server_encoding": "UTF8", "client_encoding": "UTF8"} {
		s.Backend.Send(&pgproto3.ParameterStatus{Name: k, Value: v})
	}
	// Receive is ended with ctx, as a handler has to.
	defer context.AfterFunc(ctx, func() { s.Conn.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		s.Backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if err := s.Backend.Flush(); err != nil {
			return err
		}
		message, err := s.Backend.Receive()
		if ctx.Err() != nil {
			return h.farewell(s, pgerror.From(context.Cause(ctx)))
		}
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pgproto3.Terminate:
			return nil
		case *pgproto3.Query:
			err = h.query(ctx, s, m.String)
		}
		if ctx.Err() != nil {
			err = h.farewell(s, pgerror.From(context.Cause(ctx)))
		}
		if err != nil {
			return err
		}
	}
}

func (h *stubHandler) farewell(s proxy.Session, e *pgerror.Error) error {
	s.Backend.Send(wire.ErrorResponse(wire.Fatal, e))
	s.Backend.Flush()
	return e
}

func (h *stubHandler) query(ctx context.Context, s proxy.Session, sql string) error {
	switch strings.Trim(sql, "; ") {
	case "panic":
		panic("as asked")
	case "stubborn":
		h.running <- struct{}{}
		<-h.release
	case "wait":
		statement, cancel := context.WithCancel(ctx)
		defer cancel()
		s.OnCancel(cancel)
		defer s.OnCancel(nil)
		h.running <- struct{}{}
		<-statement.Done()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.Backend.Send(wire.ErrorResponse(wire.Error, pgerror.New(pgerror.QueryCanceled, "canceled")))
		return nil
	}
	answer := fmt.Sprintf("user=%s database=%s application=%s readonly=%v protocol=3.%d key=%d tls=%v",
		s.User, s.Database, s.ApplicationName, s.ReadOnly, s.ProtocolMinor, len(s.SecretKey), s.TLSVersion != "")
	s.Backend.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("session"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}})
	s.Backend.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(answer)}})
	s.Backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SHOW")})
	return nil
}

// syncBuffer is a log that goroutines write and tests read.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// testServer is a running proxy.
type testServer struct {
	*proxy.Server
	address string
	stub    *stubHandler
	log     *syncBuffer
	served  <-chan error // Serve's result
	cancel  context.CancelFunc
}

// testConfig has an admin, a reader and the user of a cluster.
func testConfig() *config.Config {
	c := config.Default()
	c.General.Host, c.General.Port = "127.0.0.1", 0
	c.General.ClientLoginTimeout = patience
	c.General.ShutdownTimeout = patience
	c.General.LogConnections, c.General.LogDisconnections = true, true
	c.Admin = config.Admin{Name: "admin", User: "admin", Password: adminPassword}
	c.Databases = []config.Database{{Name: "prod", Host: "127.0.0.1", Port: 1, Role: config.RolePrimary}}
	c.Users = []config.User{
		{Name: "reader", Database: "admin", Password: readerPassword},
		{Name: "app", Database: "prod", Password: appPassword},
	}
	return c
}

// start runs a proxy until the test ends.
func start(t *testing.T, c *config.Config, change ...func(*proxy.Options)) *testServer {
	t.Helper()
	stub, log := newStub(), new(syncBuffer)
	options := proxy.Options{
		Config: func() *config.Config { return c },
		Admin:  stub,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&options)
	}
	server, err := proxy.New(options)
	if err != nil {
		t.Fatal(err)
	}
	address, err := server.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx); close(served) }()
	t.Cleanup(func() {
		cancel()
		for err := range served {
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		}
		for _, secret := range []string{adminPassword, readerPassword, appPassword} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("the log has a secret:\n%s", log)
			}
		}
		if t.Failed() {
			t.Logf("the log:\n%s", log)
		}
	})
	return &testServer{Server: server, address: address.String(), stub: stub, log: log, served: served, cancel: cancel}
}

// connect logs in with pgconn as admin; change may say otherwise.
func (s *testServer) connect(t *testing.T, parameters string, change ...func(*pgconn.Config)) (*pgconn.PgConn, error) {
	t.Helper()
	c, err := pgconn.ParseConfig("postgres://" + s.address + "/admin?" + parameters)
	if err != nil {
		t.Fatal(err)
	}
	c.User, c.Password = "admin", adminPassword
	c.ConnectTimeout = patience
	for _, f := range change {
		f(c)
	}
	conn, err := pgconn.ConnectConfig(t.Context(), c)
	if err == nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			conn.Close(ctx)
			select {
			case <-conn.CleanupDone():
			case <-ctx.Done():
			}
		})
	}
	return conn, err
}

func (s *testServer) mustConnect(t *testing.T, parameters string, change ...func(*pgconn.Config)) *pgconn.PgConn {
	t.Helper()
	conn, err := s.connect(t, parameters, change...)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return conn
}

// as logs in as somebody else.
func as(user, database, password string) func(*pgconn.Config) {
	return func(c *pgconn.Config) { c.User, c.Database, c.Password = user, database, password }
}

// session is what the stub says of the connection's session.
func session(t *testing.T, conn *pgconn.PgConn) string {
	t.Helper()
	results, err := conn.Exec(t.Context(), "session").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return string(results[0].Rows[0][0])
}

func wantError(t *testing.T, err error, code, message string) *pgconn.PgError {
	t.Helper()
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, message) || e.Severity == "" || e.SeverityUnlocalized == "" {
		t.Fatalf("got %v, want %s %q", err, code, message)
	}
	return e
}

// raw opens a connection for bytes.
func (s *testServer) raw(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func write(t *testing.T, conn net.Conn, b []byte) {
	t.Helper()
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, message pgproto3.FrontendMessage) []byte {
	t.Helper()
	b, err := message.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func startupMessage(t *testing.T, version uint32, pairs ...string) []byte {
	parameters := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		parameters[pairs[i]] = pairs[i+1]
	}
	return encode(t, &pgproto3.StartupMessage{ProtocolVersion: version, Parameters: parameters})
}

// receive reads the next message, which must be an M.
func receive[M pgproto3.BackendMessage](t *testing.T, f *pgproto3.Frontend) M {
	t.Helper()
	message, err := f.Receive()
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	m, ok := message.(M)
	if !ok {
		t.Fatalf("received %#v", message)
	}
	return m
}

// eventually waits for a condition that has no event.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker, deadline := time.NewTicker(5*time.Millisecond), time.After(patience)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("%s did not happen", what)
		}
	}
}

func wait(t *testing.T, what string, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
	}
}

// certificateFiles writes a self-signed certificate and its key.
func certificateFiles(t *testing.T, directory, commonName string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(directory, commonName+".crt"), filepath.Join(directory, commonName+".key")
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

// withTLS gives the configuration a certificate.
func withTLS(t *testing.T, c *config.Config) *config.Config {
	c.General.TLSCertificate, c.General.TLSPrivateKey = certificateFiles(t, t.TempDir(), "server")
	return c
}

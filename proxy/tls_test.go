package proxy_test

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy"
)

func TestDirectTLS(t *testing.T) {
	t.Parallel()
	s := start(t, withTLS(t, testConfig()))
	if got := session(t, s.mustConnect(t, "sslmode=require&sslnegotiation=direct")); !strings.Contains(got, "tls=true") {
		t.Error(got)
	}
	// Without ALPN it may be any protocol.
	conn := tls.Client(s.raw(t), &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if e := fatalOf(t, conn); e.Code != "08P01" || !strings.Contains(e.Message, "ALPN") {
		t.Errorf("%+v", e)
	}
	other := tls.Client(s.raw(t), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := other.Handshake(); err == nil {
		t.Error("another protocol is accepted")
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, withTLS(t, testConfig()))
	_, err := s.connect(t, "sslmode=require", func(c *pgconn.Config) {
		c.TLSConfig.MinVersion, c.TLSConfig.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	})
	if err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

func TestMinimumVersionOfTLS(t *testing.T) {
	t.Parallel()
	c := withTLS(t, testConfig())
	c.General.TLSClientMinVersion = "1.3"
	s := start(t, c)
	s.mustConnect(t, "sslmode=require")
	_, err := s.connect(t, "sslmode=require", func(c *pgconn.Config) { c.TLSConfig.MaxVersion = tls.VersionTLS12 })
	if err == nil {
		t.Error("TLS 1.2 is accepted")
	}
}

// TestReloadOfAuthorities: clients of a new authority are let in, those of the
// old one are not, and who is there stays.
func TestReloadOfAuthorities(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	c := withTLS(t, testConfig())
	first, firstKey := certificateFiles(t, directory, "first")
	second, secondKey := certificateFiles(t, directory, "second")
	c.General.TLSClientCACertificate = filepath.Join(directory, "authority.crt")
	c.Users = []config.User{{Name: "first", Database: "admin", Identity: "first"}, {Name: "second", Database: "admin", Identity: "second"}}
	authority := func(from string) {
		t.Helper()
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.General.TLSClientCACertificate, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	with := func(certificate, key string) string {
		return "sslmode=require&sslcert=" + certificate + "&sslkey=" + key
	}
	authority(first)
	s := start(t, c)
	before := s.mustConnect(t, with(first, firstKey), as("first", "admin", ""))
	if _, err := s.connect(t, with(second, secondKey), as("second", "admin", "")); err == nil {
		t.Error("the second authority is trusted before the reload")
	}
	authority(second)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	s.mustConnect(t, with(second, secondKey), as("second", "admin", ""))
	if _, err := s.connect(t, with(first, firstKey), as("first", "admin", "")); err == nil {
		t.Error("the first authority is trusted after the reload")
	}
	session(t, before)
}

func TestTLSRequired(t *testing.T) {
	t.Parallel()
	c := withTLS(t, testConfig())
	c.General.TLSClientRequired = true
	s := start(t, c)
	_, err := s.connect(t, "sslmode=disable")
	if e := wantError(t, err, "28000", "without TLS"); !strings.Contains(e.Hint, "sslmode=require") {
		t.Errorf("%+v", e)
	}
	s.mustConnect(t, "sslmode=require")
}

func TestListenNeedsUsableTLS(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	certificate, key := certificateFiles(t, directory, "a")
	_, otherKey := certificateFiles(t, directory, "b")
	tests := map[string]func(*config.General){
		"required without certificate": func(g *config.General) { g.TLSClientRequired = true },
		"certificate without key":      func(g *config.General) { g.TLSCertificate = certificate },
		"no such file":                 func(g *config.General) { g.TLSCertificate, g.TLSPrivateKey = certificate+"x", key },
		"another's key":                func(g *config.General) { g.TLSCertificate, g.TLSPrivateKey = certificate, otherKey },
		"authorities without PEM": func(g *config.General) {
			g.TLSCertificate, g.TLSPrivateKey, g.TLSClientCACertificate = certificate, key, key
		},
	}
	for name, change := range tests {
		c := testConfig()
		change(&c.General)
		server, err := proxy.New(proxy.Options{Config: func() *config.Config { return c }, Admin: newStub(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = server.Listen(t.Context())
		var e *pgerror.Error
		if !errors.As(err, &e) || e.Code != pgerror.ConfigFileError || e.Hint == "" && e.Detail == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// serial is the serial number of the certificate that clients see.
func (s *testServer) serial(t *testing.T) string {
	t.Helper()
	conn := s.mustConnect(t, "sslmode=require")
	return conn.Conn().(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestReloadOfCertificate(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	c := testConfig()
	c.General.TLSCertificate, c.General.TLSPrivateKey = certificateFiles(t, directory, "server")
	s := start(t, c)
	old := s.serial(t)
	before := s.mustConnect(t, "sslmode=require")

	certificateFiles(t, directory, "server")
	if got := s.serial(t); got != old {
		t.Error("the new certificate is used before the reload")
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	renewed := s.serial(t)
	if renewed == old {
		t.Error("the old certificate is used after the reload")
	}
	session(t, before) // goes on with the old one

	if err := os.WriteFile(c.General.TLSPrivateKey, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil || pgerror.Code(err) != pgerror.ConfigFileError {
		t.Errorf("a broken key gives %v", err)
	}
	if got := s.serial(t); got != renewed {
		t.Error("a failed reload changes the certificate")
	}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	c := withTLS(t, testConfig())
	certificate, key := certificateFiles(t, directory, "alice")
	strangerCertificate, strangerKey := certificateFiles(t, directory, "stranger")
	c.General.TLSClientCACertificate = certificate // self-signed: its own authority
	no := false
	c.Users = []config.User{
		{Name: "byname", Database: "admin", Identity: "alice"},
		{Name: "bydns", Database: "admin", Identity: "localhost"},
		{Name: "other", Database: "admin", Identity: "bob", Password: readerPassword},
		{Name: "both", Database: "admin", Password: readerPassword},
		{Name: "password", Database: "admin", Password: readerPassword, TLSClientCertificateRequired: &no},
	}
	s := start(t, c)
	with := "sslmode=require&sslcert=" + certificate + "&sslkey=" + key

	s.mustConnect(t, with, as("byname", "admin", ""))
	s.mustConnect(t, with, as("bydns", "admin", ""))
	s.mustConnect(t, with, as("both", "admin", readerPassword))
	s.mustConnect(t, "sslmode=require", as("password", "admin", readerPassword))
	s.mustConnect(t, "sslmode=require") // the admin user needs none

	_, err := s.connect(t, "sslmode=require", as("byname", "admin", "guess"))
	wantError(t, err, "28P01", "")
	_, err = s.connect(t, with, as("other", "admin", "guess"))
	wantError(t, err, "28P01", "")
	_, err = s.connect(t, with, as("both", "admin", "guess"))
	wantError(t, err, "28P01", "")
	for _, parameters := range []string{"sslmode=require", "sslmode=disable"} {
		_, err = s.connect(t, parameters, as("both", "admin", readerPassword))
		wantError(t, err, "28000", "client certificate")
	}
	stranger, err := tls.LoadX509KeyPair(strangerCertificate, strangerKey)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.connect(t, "sslmode=require", as("password", "admin", readerPassword), func(c *pgconn.Config) {
		// Sent although the server did not ask for one of this authority.
		c.TLSConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil }
	})
	if err == nil {
		t.Error("a certificate of an unknown authority is accepted")
	}
}

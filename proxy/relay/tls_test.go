package relay_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
)

// certificate writes a self-signed certificate and its key, and gives the lines of
// [general] that name them.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"crt": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("tls_certificate = %q\ntls_private_key = %q\n", filepath.Join(dir, "crt"), filepath.Join(dir, "key"))
}

func TestClientsThatUseTLS(t *testing.T) {
	t.Parallel()
	each(t, modes, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode, general: certificate(t)})
		s.database.Exec(t, "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now())")
		c, err := pgx.ParseConfig(strings.Replace(s.dsn(""), "sslmode=disable", "sslmode=require", 1))
		if err != nil {
			t.Fatal(err)
		}
		conn := s.connectConfig(c)
		work(t, conn, "TLS", mode)
		if mode != config.ModeStatement {
			run(t, conn, "LISTEN ch")
			run(t, s.connect(), "NOTIFY ch")
			if n, err := conn.WaitForNotification(t.Context()); err != nil || n.Channel != "ch" {
				t.Errorf("%v, %v", n, err)
			}
		}
	})
}

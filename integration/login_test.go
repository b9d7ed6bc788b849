package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

// certificates are files of an authority, and of a certificate that it signed
// for 127.0.0.1.
type certificates struct{ authority, certificate, key string }

func makeCertificates(tb testing.TB) certificates {
	tb.Helper()
	dir := tb.TempDir()
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority " + filepath.Base(dir) + rand.Text()}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "pgdrover"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	write := func(name, kind string, der []byte, err error) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(err, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)); err != nil {
			tb.Fatal(err)
		}
		return path
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	out := certificates{authority: write("ca.pem", "CERTIFICATE", der, err)}
	der, err = x509.CreateCertificate(rand.Reader, server, authority, serverKey.Public(), authorityKey)
	out.certificate = write("server.pem", "CERTIFICATE", der, err)
	der, err = x509.MarshalPKCS8PrivateKey(serverKey)
	out.key = write("server.key", "PRIVATE KEY", der, err)
	return out
}

func (c certificates) settings() string {
	return fmt.Sprintf("tls_certificate = %q\ntls_private_key = %q\n", c.certificate, c.key)
}

// TestTLS connects with and without encryption.
func TestTLS(t *testing.T) {
	t.Parallel()
	files, others := makeCertificates(t), makeCertificates(t)
	plain, encrypted := serve(t, nowhere("")), serve(t, nowhere(files.settings()))
	required := serve(t, nowhere(files.settings()+"tls_client_required = true\n"))
	root := func(c certificates) []string { return []string{"PGSSLROOTCERT=" + c.authority} }
	for _, test := range []struct {
		name        string
		server      *running
		mode        string
		environment []string
		code        int
		want        string // of psql
	}{
		{"offered", encrypted, "require", nil, 0, "pgdrover"},
		{"verified", encrypted, "verify-ca", root(files), 0, "pgdrover"},
		{"verified with its name", encrypted, "verify-full", root(files), 0, "pgdrover"},
		{"of another authority", encrypted, "verify-ca", root(others), 2, "certificate verify failed"},
		{"not wanted", encrypted, "disable", nil, 0, "pgdrover"},
		{"not offered", plain, "require", nil, 2, "server does not support SSL"},
		{"not offered, preferred", plain, "prefer", nil, 0, "pgdrover"},
		{"required and refused", required, "disable", nil, 2, "connections without TLS are refused"},
		{"required", required, "require", nil, 0, "pgdrover"},
	} {
		t.Run(test.name, func(t *testing.T) {
			environment := append(test.environment, "PGSSLMODE="+test.mode)
			test.server.psqlAs(t, administrator, environment, "-c", "SHOW VERSION").expect(t, test.code, test.want)
			options := "?sslmode=" + test.mode
			if test.environment != nil {
				options += "&sslrootcert=" + strings.TrimPrefix(test.environment[0], "PGSSLROOTCERT=")
			}
			conn, err := pgx.Connect(t.Context(), test.server.url(administrator)+options)
			if (err == nil) != (test.code == 0) {
				t.Errorf("pgx: %v", err)
			}
			if err == nil {
				_ = conn.Close(t.Context()) // nothing is waited for
			}
		})
	}
	o := encrypted.psqlAs(t, administrator, []string{"PGSSLMODE=require"}, "-c", `\conninfo`)
	o.expect(t, 0, "TLSv1.3")
	encrypted.logs(t, `tls="TLS 1.3"`)

	// A certificate that cannot be loaded is refused, with the old one in force.
	edit(t, encrypted.paths.Config, files.key, others.key)
	encrypted.psql(t, "-c", "RELOAD").expect(t, 1, "private key")
	encrypted.psqlAs(t, administrator, append(root(files), "PGSSLMODE=verify-full"), "-c", "SHOW VERSION").expect(t, 0)
	edit(t, encrypted.paths.Config, files.certificate, others.certificate)
	encrypted.psql(t, "-c", "RELOAD").expect(t, 0, "RELOAD")
	encrypted.psqlAs(t, administrator, append(root(others), "PGSSLMODE=verify-full"), "-c", "SHOW VERSION").expect(t, 0)
}

// TestAuthentication logs in by each method, with the right password and with
// wrong ones.
func TestAuthentication(t *testing.T) {
	t.Parallel()
	hash := exec.CommandContext(t.Context(), pgtest.Binary(t), "hash")
	hash.Stdin = strings.NewReader("hashed-secret\n")
	verifier := strings.TrimSpace(outcomeOf(t, hash).expect(t, 0, "SCRAM-SHA-256$4096:").out)
	empty := exec.CommandContext(t.Context(), pgtest.Binary(t), "hash")
	outcomeOf(t, empty).expect(t, 1, "the password is empty")

	hashed := account{"hashed", "hashed-secret"}
	for method, trusts := range map[string]bool{"scram": false, "md5": false, "plain": false, "trust": true} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			conf := nowhere(fmt.Sprintf("auth_type = %q\n", method))
			conf.users += fmt.Sprintf("\n[[users]]\nname = \"hashed\"\ndatabase = \"admin\"\npassword_hash = %q\n", verifier)
			r := serve(t, conf)
			for _, as := range []account{administrator, reader, hashed} {
				r.psqlAs(t, as, nil, "-c", "SHOW VERSION").expect(t, 0, "pgdrover")
				wrong := r.psqlAs(t, account{as.user, "wrong-secret"}, nil, "-c", "SHOW VERSION")
				if trusts {
					wrong.expect(t, 0, "pgdrover")
				} else {
					wrong.expect(t, 2, fmt.Sprintf("FATAL:  password authentication failed for user %q", as.user))
				}
			}
			// Nobody learns which users and databases exist.
			r.psqlAs(t, account{"nobody", "wrong-secret"}, nil, "-c", "SHOW VERSION").expect(t, 2, `FATAL:  password authentication failed for user "nobody"`)
			r.psqlAs(t, administrator, []string{"PGDATABASE=elsewhere"}, "-c", "SHOW VERSION").expect(t, 2, `FATAL:  password authentication failed for user "admin"`)
			r.psqlAs(t, account{"postgres", "server-secret"}, []string{"PGDATABASE=prod"}, "-c", "SELECT 1").expect(t, 2, "cannot be connected to")
		})
	}
}

// TestFailedLogins are refused after many of them, from that address, right or
// wrong; sessions that are there go on.
func TestFailedLogins(t *testing.T) {
	t.Parallel()
	r := serve(t, nowhere(""))
	conn := r.connect(t, administrator, "")
	var last error
	for range 20 {
		_, last = pgx.Connect(t.Context(), r.url(account{"admin", "wrong-secret"}))
		if pgerror.Code(last) != pgerror.InvalidPassword {
			break
		}
	}
	if last == nil || !strings.Contains(last.Error(), "too many failed logins from this address") {
		t.Errorf("after many failures: %v", last)
	}
	r.psql(t, "-c", "SHOW VERSION").expect(t, 2, "too many failed logins from this address", "DETAIL:", "HINT:  Try again in ")
	if _, err := conn.Exec(t.Context(), "SHOW VERSION"); err != nil {
		t.Error(err)
	}
}

// TestStrangers sends what no client would; pgdrover goes on serving.
func TestStrangers(t *testing.T) {
	t.Parallel()
	r := serve(t, nowhere("client_login_timeout = 300\n"))
	uint32s := func(numbers ...uint32) []byte {
		var out []byte
		for _, n := range numbers {
			out = binary.BigEndian.AppendUint32(out, n)
		}
		return out
	}
	const protocol = 3 << 16
	startup := append(uint32s(0, protocol), "user\x00admin\x00database\x00admin\x00\x00"...)
	binary.BigEndian.PutUint32(startup, uint32(len(startup)))
	for name, test := range map[string]struct {
		sent []byte
		want string // in what comes back before the connection is closed
	}{
		"silence":             {nil, "canceling authentication due to timeout"},
		"half a packet":       {startup[:9], "canceling authentication due to timeout"},
		"no password":         {startup, "canceling authentication due to timeout"},
		"oversized packet":    {append(uint32s(1<<30, protocol), bytes.Repeat([]byte("x"), 100)...), "invalid length of startup packet"},
		"packet without end":  {append(uint32s(9, protocol), 'x'), ""},
		"HTTP":                {[]byte("GET / HTTP/1.1\r\nHost: pgdrover\r\n\r\n"), ""},
		"garbage":             {bytes.Repeat([]byte{0xff, 0x13, 0x37, 0x00}, 5000), ""},
		"old protocol":        {uint32s(8, 2<<16), "unsupported frontend protocol 2.0"},
		"query before login":  {append(bytes.Clone(startup), "Q\x00\x00\x00\x11SHOW VERSION\x00"...), ""},
		"oversized password":  {append(bytes.Clone(startup), "p\x7f\xff\xff\xff"...), ""},
		"unknown cancel key":  {uint32s(16, 80877102, 1, 2), ""},
		"SSLRequest and data": {append(uint32s(8, 80877103), startup...), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(test.sent) // it may have been refused before the end
			answer, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection is left open; answer %q", answer)
			}
			if !bytes.Contains(answer, []byte(test.want)) {
				t.Errorf("answer %q has no %q", answer, test.want)
			}
			if bytes.Contains(answer, []byte("server_version")) {
				t.Errorf("a stranger is let in: %q", answer)
			}
			r.psql(t, "-c", "SHOW VERSION").expect(t, 0, "pgdrover")
		})
	}
}

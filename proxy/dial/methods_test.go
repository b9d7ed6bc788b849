package dial_test

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

// withMethods starts a server that has a role for each method of pg_hba.conf.
func withMethods(t *testing.T, major int) *pgtest.Cluster {
	t.Helper()
	options := pgtest.Options{SSL: true, HBA: []string{
		"local all all trust",
		"host all postgres all trust",
		"host all trusted all trust",
		`host all scrammed,"Weird ""Name"" $1" all scram-sha-256`,
		"host all hashed all md5",
		"host all clear all password",
		"hostssl all certified all cert",
		"hostssl all twofold all scram-sha-256 clientcert=verify-full",
		"hostnossl all plain_only all scram-sha-256",
		"hostssl all tls_only all scram-sha-256",
		"host all all all reject",
	}}
	options.Installation.Major = major
	c := pgtest.Start(t, options)
	db := c.Database("postgres")
	quoted := "'" + strings.ReplaceAll(secret, "'", "''") + "'"
	for _, role := range []string{"trusted", "scrammed", `"Weird ""Name"" $1"`, "clear", "certified", "twofold", "plain_only", "tls_only"} {
		db.Exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD %s", role, quoted))
	}
	db.Exec(t, "SET password_encryption = md5; CREATE ROLE hashed LOGIN PASSWORD "+quoted)
	return c
}

func TestEveryMethod(t *testing.T) {
	t.Parallel()
	c := withMethods(t, 0)
	directory := t.TempDir()
	ca, other := newAuthority(t, directory, "client_ca"), newAuthority(t, directory, "other_ca")
	set(t, c, "ssl_ca_file", give(t, c, ca.file)[0])
	db := c.Database("postgres")
	verifier := pgtest.Value[string](t, db, "SELECT rolpassword FROM pg_authid WHERE rolname = 'scrammed'")
	hash := pgtest.Value[string](t, db, "SELECT rolpassword FROM pg_authid WHERE rolname = 'hashed'")

	password := auth.NewCredentials(secret)
	right, wrong := shownKeys(t, verifier, secret), shownKeys(t, elsewhere(t), secret)
	md5, err := auth.Credentials{}.WithMD5Hash(hash)
	if err != nil {
		t.Fatal(err)
	}
	type certificate struct{ file, key string }
	issue := func(a *authority, name string) certificate {
		file, key := a.issue(t, t.TempDir(), name)
		return certificate{file, key}
	}
	ours := issue(ca, "certified")
	const full, prefer, disabled = config.TLSVerifyFull, config.TLSPrefer, config.TLSDisabled
	for _, test := range []struct {
		name        string
		user        string
		credentials auth.Credentials
		tls         config.TLSVerify
		certificate certificate
		code, text  string // "" if it logs in
		encrypted   bool
	}{
		{"trust", "trusted", auth.Credentials{}, disabled, certificate{}, "", "", false},
		{"trust, TLS", "trusted", auth.Credentials{}, full, certificate{}, "", "", true},
		{"trust, a password is not asked for", "trusted", auth.NewCredentials("wrong"), disabled, certificate{}, "", "", false},
		{"scram", "scrammed", password, disabled, certificate{}, "", "", false},
		{"scram, TLS", "scrammed", password, full, certificate{}, "", "", true},
		{"scram, a name to quote", `Weird "Name" $1`, password, full, certificate{}, "", "", true},
		{"scram, wrong", "scrammed", auth.NewCredentials(secret + "x"), disabled, certificate{}, pgerror.InvalidPassword, "password authentication failed", false},
		{"scram, wrong, TLS", "scrammed", auth.NewCredentials(secret + "x"), prefer, certificate{}, pgerror.InvalidPassword, "password authentication failed", false},
		{"scram, second of three", "scrammed", auth.NewCredentials("old", secret, "new"), full, certificate{}, "", "", true},
		{"scram, none of three", "scrammed", auth.NewCredentials("old", "older", "new"), full, certificate{}, pgerror.InvalidPassword, "", false},
		{"scram, no password", "scrammed", auth.Credentials{}, disabled, certificate{}, pgerror.InvalidPassword, "none is known", false},
		{"scram, keys that a client has shown", "scrammed", right, disabled, certificate{}, "", "", false},
		{"scram, keys that a client has shown, TLS", "scrammed", right, full, certificate{}, "", "", true},
		{"scram, keys of another verifier", "scrammed", wrong, disabled, certificate{}, pgerror.InvalidPassword, "do not fit", false},
		{"md5", "hashed", password, disabled, certificate{}, "", "", false},
		{"md5, TLS", "hashed", password, full, certificate{}, "", "", true},
		{"md5, wrong", "hashed", auth.NewCredentials("wrong"), disabled, certificate{}, pgerror.InvalidPassword, "", false},
		{"md5, second", "hashed", auth.NewCredentials("wrong", secret), disabled, certificate{}, "", "", false},
		{"md5, the hash alone", "hashed", md5, disabled, certificate{}, "", "", false},
		{"md5, keys", "hashed", right, disabled, certificate{}, pgerror.InvalidPassword, "none is known", false},
		{"scram, the md5 hash alone", "scrammed", md5, disabled, certificate{}, pgerror.InvalidPassword, "none is known", false},
		{"clear text", "clear", password, disabled, certificate{}, "", "", false},
		{"clear text, TLS", "clear", password, full, certificate{}, "", "", true},
		{"clear text, wrong", "clear", auth.NewCredentials("wrong"), full, certificate{}, pgerror.InvalidPassword, "", false},
		{"clear text, second", "clear", auth.NewCredentials("wrong", secret), full, certificate{}, "", "", true},
		{"clear text, keys", "clear", right, full, certificate{}, pgerror.InvalidPassword, "none is known", false},
		{"certificate", "certified", auth.Credentials{}, full, ours, "", "", true},
		{"certificate, prefer", "certified", auth.Credentials{}, prefer, ours, "", "", true},
		{"certificate of somebody else", "certified", auth.Credentials{}, full, issue(ca, "scrammed"), pgerror.InvalidAuthorization, "certificate", false},
		{"no certificate", "certified", auth.Credentials{}, full, certificate{}, pgerror.InvalidAuthorization, "certificate", false},
		{"certificate of another authority", "certified", auth.Credentials{}, full, issue(other, "certified"), pgerror.InvalidAuthorization, "certificate", false},
		{"certificate and password", "twofold", password, full, issue(ca, "twofold"), "", "", true},
		{"certificate without password", "twofold", auth.Credentials{}, full, issue(ca, "twofold"), pgerror.InvalidPassword, "none is known", false},
		{"password without certificate", "twofold", password, full, certificate{}, pgerror.InvalidAuthorization, "certificate", false},
		{"prefer, TLS is refused by pg_hba.conf", "plain_only", password, prefer, certificate{}, "", "", false},
		{"TLS is refused by pg_hba.conf", "plain_only", password, full, certificate{}, pgerror.InvalidAuthorization, "pg_hba.conf rejects", false},
		{"prefer, TLS is refused, wrong password", "plain_only", auth.NewCredentials("x", secret), prefer, certificate{}, "", "", false},
		{"TLS is asked for by pg_hba.conf", "tls_only", password, disabled, certificate{}, pgerror.InvalidAuthorization, "pg_hba.conf rejects", false},
		{"prefer, TLS is asked for", "tls_only", password, prefer, certificate{}, "", "", true},
		{"nobody", "nobody", password, prefer, certificate{}, pgerror.InvalidAuthorization, "rejects", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := server(c)
			s.TLSVerify, s.CAFile, s.CertFile, s.KeyFile = test.tls, c.CACertificate(), test.certificate.file, test.certificate.key
			o := dial.Options{Server: s, User: test.user, Credentials: test.credentials}
			if test.code != "" {
				conn, err := dial.Dial(t.Context(), o)
				if err == nil {
					conn.Conn.Close()
					t.Fatal("it logs in")
				}
				if e := wantError(t, err, test.code, test.text); !strings.Contains(e.Message, `database "prod"`) || !strings.Contains(e.Detail, test.user) || e.Hint == "" {
					t.Errorf("it does not say where or what to do: %+v", e)
				}
				return
			}
			conn := mustDial(t, o)
			if (conn.TLSVersion != "") != test.encrypted {
				t.Errorf("TLS is %q", conn.TLSVersion)
			}
			if got := use(t, conn, "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got[0] != test.user || (got[1] == "t") != test.encrypted {
				t.Errorf("the server sees %q", got)
			}
		})
	}
}

// shownKeys are the keys that a client shows that logs in by a verifier.
func shownKeys(t *testing.T, verifier, password string) auth.Credentials {
	t.Helper()
	v, err := auth.ParseVerifier(verifier)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := auth.DeriveClientKeys(password, v.Salt, v.Iterations)
	if err != nil {
		t.Fatal(err)
	}
	return auth.Credentials{}.WithClientKeys(keys)
}

// elsewhere is the verifier of the same password with another salt.
func elsewhere(t *testing.T) string {
	t.Helper()
	v, err := auth.NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	return v.Text()
}

// TestUnixSocket: TLS is neither asked for nor missed there.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	for _, mode := range []config.TLSVerify{config.TLSDisabled, config.TLSPrefer, config.TLSVerifyFull} {
		s := server(c)
		s.Host, s.TLSVerify = c.SocketDir(), mode
		conn := mustDial(t, dial.Options{Server: s})
		if _, ok := conn.Conn.(*net.UnixConn); !ok {
			t.Errorf("%s: %T", mode, conn.Conn)
		}
		if got := use(t, conn, "SELECT inet_server_addr() IS NULL"); got[0] != "t" {
			t.Errorf("%s: %q", mode, got)
		}
	}
}

// TestChannelBinding: a server that has a certificate of any kind is bound to,
// where a binding is defined.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	c := withMethods(t, 0)
	for name, algorithm := range map[string]x509.SignatureAlgorithm{
		"ecdsa-256": x509.ECDSAWithSHA256, "ecdsa-384": x509.ECDSAWithSHA384, "ecdsa-512": x509.ECDSAWithSHA512,
		"rsa-256": x509.SHA256WithRSA, "rsa-512": x509.SHA512WithRSA, "rsa-pss-384": x509.SHA384WithRSAPSS, "ed25519": x509.PureEd25519,
	} {
		certificate, key := selfSigned(t, t.TempDir(), name, algorithm)
		files := give(t, c, certificate, key)
		set(t, c, "ssl_cert_file", files[0], "ssl_key_file", files[1])
		s := server(c)
		s.TLSVerify, s.CAFile = config.TLSVerifyFull, certificate
		// The proof of a login with channel binding is right for this certificate
		// alone: the server checks the hash.
		conn := mustDial(t, dial.Options{Server: s, User: "scrammed", Credentials: auth.NewCredentials(secret)})
		if got := use(t, conn, "SELECT 1"); got[0] != "1" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestTLSVerify(t *testing.T) {
	t.Parallel()
	c := withMethods(t, 0)
	plain := pgtest.Shared(t, 0)
	directory := t.TempDir()
	stranger := newAuthority(t, directory, "stranger")
	empty := filepath.Join(directory, "empty.crt")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := c.CACertificate()
	for _, test := range []struct {
		name       string
		cluster    *pgtest.Cluster
		mode       config.TLSVerify
		ca, host   string
		code, text string
		encrypted  bool
	}{
		{"disabled", c, config.TLSDisabled, good, "127.0.0.1", "", "", false},
		{"prefer", c, config.TLSPrefer, "", "127.0.0.1", "", "", true},
		{"prefer, another authority is named", c, config.TLSPrefer, stranger.file, "127.0.0.1", "", "", true},
		{"prefer, no TLS there", plain, config.TLSPrefer, "", "127.0.0.1", "", "", false},
		{"verify_ca", c, config.TLSVerifyCA, good, "127.0.0.1", "", "", true},
		{"verify_ca, another name", c, config.TLSVerifyCA, good, "127.0.0.2", "", "", true},
		{"verify_ca, another authority", c, config.TLSVerifyCA, stranger.file, "127.0.0.1", pgerror.UnableToConnect, "certificate", false},
		{"verify_ca, the system's authorities", c, config.TLSVerifyCA, "", "127.0.0.1", pgerror.UnableToConnect, "certificate", false},
		{"verify_ca, no TLS there", plain, config.TLSVerifyCA, good, "127.0.0.1", pgerror.UnableToConnect, "TLS", false},
		{"verify_full", c, config.TLSVerifyFull, good, "127.0.0.1", "", "", true},
		{"verify_full, a name", c, config.TLSVerifyFull, good, "localhost", "", "", true},
		{"verify_full, another name", c, config.TLSVerifyFull, good, "127.0.0.2", pgerror.UnableToConnect, "127.0.0.2", false},
		{"verify_full, another authority", c, config.TLSVerifyFull, stranger.file, "127.0.0.1", pgerror.UnableToConnect, "certificate", false},
		{"verify_full, no TLS there", plain, config.TLSVerifyFull, good, "127.0.0.1", pgerror.UnableToConnect, "TLS", false},
		{"no such file", c, config.TLSVerifyFull, filepath.Join(directory, "none"), "127.0.0.1", pgerror.ConfigFileError, "none", false},
		{"no certificate in the file", c, config.TLSVerifyFull, empty, "127.0.0.1", pgerror.ConfigFileError, "no PEM certificate", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := server(test.cluster)
			s.TLSVerify, s.CAFile, s.Host = test.mode, test.ca, test.host
			if test.host == "127.0.0.2" {
				s.Host, s.Port = forward(t, server(c).Address())
			}
			conn, err := dial.Dial(t.Context(), dial.Options{Server: s})
			if test.code != "" {
				if err == nil {
					conn.Conn.Close()
					t.Fatal("it connects")
				}
				if e := wantError(t, err, test.code, test.text); e.Hint == "" && test.code != pgerror.ConfigFileError {
					t.Errorf("no hint: %+v", e)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Conn.Close()
			if (conn.TLSVersion != "") != test.encrypted {
				t.Errorf("TLS is %q", conn.TLSVersion)
			}
		})
	}
}

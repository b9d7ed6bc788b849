package connect_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const weird = `Weird "Name" $1 'x' \`

// server is how the configuration would reach a database.
func server(d *pgtest.Database) config.Server {
	return config.Server{
		Cluster: "prod", Host: d.Cluster.Host(), Port: d.Cluster.Port(), Database: d.Name, User: d.Cluster.Superuser(),
		Password: config.Secret(d.Cluster.Password()), TLSVerify: config.TLSDisabled, ConnectTimeout: time.Minute,
	}
}

// openers are the ways to open a connection.
var openers = map[string]func(context.Context, config.Server, string) (*pgx.Conn, error){
	"Open": connect.Open, "OpenListener": connect.OpenListener,
}

func open(t *testing.T, s config.Server) *pgx.Conn {
	t.Helper()
	conn, err := connect.Open(t.Context(), s, "test")
	if err != nil {
		e := pgerror.From(err)
		t.Fatalf("%s: %s\n%s\n%s", e.Code, e.Message, e.Detail, e.Hint)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// TestSettingsAreOurs gives the role and the database other defaults for
// everything that is pinned.
func TestSettingsAreOurs(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"search_path": `""`, "statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
		"standard_conforming_strings": "on", "check_function_bodies": "off", "xmloption": "content", "client_min_messages": "warning",
		"row_security": "off", "default_tablespace": "", "default_table_access_method": "heap", "TimeZone": "UTC", "DateStyle": "ISO, YMD",
		"IntervalStyle": "postgres", "extra_float_digits": "3", "bytea_output": "hex", "quote_all_identifiers": "off", "client_encoding": "UTF8",
	}
	others := map[string]string{
		"search_path": "public, pg_temp", "statement_timeout": "1234s", "lock_timeout": "1234s", "idle_in_transaction_session_timeout": "1234s",
		"standard_conforming_strings": "off", "check_function_bodies": "on", "xmloption": "document", "client_min_messages": "error",
		"row_security": "on", "default_tablespace": "pg_default", "default_table_access_method": "no_such", "TimeZone": "Asia/Kathmandu", "DateStyle": "German, DMY",
		"IntervalStyle": "sql_standard", "extra_float_digits": "-3", "bytea_output": "escape", "quote_all_identifiers": "on", "client_encoding": "LATIN1",
	}
	d := pgtest.Shared(t, 0).CreateNamedDatabase(t, "settings "+weird)
	role := pgtest.Quote("settings " + weird)
	d.Exec(t, "CREATE ROLE "+role+" SUPERUSER LOGIN")
	t.Cleanup(func() { _ = d.Cluster.Database("postgres").TryExec(context.Background(), "DROP ROLE "+role) })
	place := 0
	for name, value := range others {
		target := "ROLE " + role
		if place++; place%2 == 0 { // half of them from the database
			target = "DATABASE " + pgtest.Quote(d.Name)
		}
		if name == "default_table_access_method" {
			d.Exec(t, "CREATE ACCESS METHOD no_such TYPE TABLE HANDLER heap_tableam_handler")
		}
		value = "'" + value + "'"
		if name == "search_path" {
			value = "public, pg_temp"
		}
		d.Exec(t, "ALTER "+target+" SET "+name+" = "+value)
	}
	s := server(d)
	s.User = "settings " + weird
	for way, opener := range openers {
		conn, err := opener(t.Context(), s, "the purpose")
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		for name, value := range want {
			var got string
			if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != value {
				t.Errorf("%s: %s is %q (%v), want %q", way, name, got, err, value)
			}
		}
		var application, user, database string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting('application_name'), current_user::text, current_database()::text").Scan(&application, &user, &database); err != nil {
			t.Error(err)
		}
		if application != "pgdrover the purpose" || user != s.User || database != s.Database {
			t.Errorf("%s: connected as %q, %q to %q", way, application, user, database)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestNewerServersSettings checks what newer servers have besides.
func TestNewerServersSettings(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, pgtest.Newer(t).Major).CreateDatabase(t)
	d.Exec(t, "ALTER DATABASE "+pgtest.Quote(d.Name)+" SET transaction_timeout = '1234s'")
	var got string
	if err := open(t, server(d)).QueryRow(t.Context(), "SELECT current_setting('transaction_timeout')").Scan(&got); err != nil || got != "0" {
		t.Errorf("transaction_timeout is %q, %v", got, err)
	}
}

func TestEnvironmentIsNotLookedAt(t *testing.T) {
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	for name, value := range map[string]string{
		"PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGDATABASE": "nothing", "PGPASSWORD": "x", "PGSSLMODE": "verify-full",
		"PGOPTIONS": "-c search_path=public", "PGAPPNAME": "other", "PGTARGETSESSIONATTRS": "standby", "PGREQUIREAUTH": "scram-sha-256",
		"PGCHANNELBINDING": "require", "PGMINPROTOCOLVERSION": "3.2", "PGSSLCERT": "none", "PGSSLKEY": "none", "PGSSLROOTCERT": "none", "PGPASSFILE": "none",
	} {
		t.Setenv(name, value)
	}
	s := server(d)
	s.TLSVerify = config.TLSPrefer // reads certificates, if any are named
	var path string
	if err := open(t, s).QueryRow(t.Context(), "SELECT current_setting('search_path')").Scan(&path); err != nil || path != `""` {
		t.Errorf("search_path is %q, %v", path, err)
	}
}

// TestCancelReachesTheServer checks that a cancelled context ends the statement
// and not only the wait for it, and that the connection stays.
func TestCancelReachesTheServer(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	conn := open(t, server(d))
	pid := conn.PgConn().PID()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(ctx, "SELECT pg_sleep(3600)")
		ended <- err
	}()
	d.WaitUntil(t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')", pid)
	cancel()
	if err := <-ended; pgerror.Code(err) != pgerror.QueryCanceled {
		t.Errorf("the statement ends with %v", err)
	}
	d.WaitUntil(t, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')", pid)
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("the connection cannot be used after that: %v", err)
	}
}

// wrongAuthority writes the certificate of an authority that has signed nothing.
func wrongAuthority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "somebody else"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "it's a \\ca.crt")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// elsewhere listens at an address that the server's certificate does not name.
func elsewhere(t *testing.T, target string) (host string, port int) {
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
				_ = client.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{client, upstream}, {upstream, client}} {
				serving.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	address := listener.Addr().(*net.TCPAddr)
	return address.IP.String(), address.Port
}

func TestTLS(t *testing.T) {
	t.Parallel()
	secure := pgtest.Start(t, pgtest.Options{SSL: true})
	plain := pgtest.Shared(t, 0)
	good, bad := secure.CACertificate(), wrongAuthority(t)
	for _, test := range []struct {
		name     string
		cluster  *pgtest.Cluster
		mode     config.TLSVerify
		ca       string
		moved    bool // the server's certificate does not name where it is
		want     string
		wantsTLS bool
	}{
		{"disabled", secure, config.TLSDisabled, good, false, "", false},
		{"prefer", secure, config.TLSPrefer, "", false, "", true},
		{"prefer, an authority is named", secure, config.TLSPrefer, bad, false, "", true},
		{"prefer, no TLS there", plain, config.TLSPrefer, "", false, "", false},
		{"verify_ca", secure, config.TLSVerifyCA, good, false, "", true},
		{"verify_ca, another name", secure, config.TLSVerifyCA, good, true, "", true},
		{"verify_ca, another authority", secure, config.TLSVerifyCA, bad, false, "certificate", false},
		{"verify_ca, no TLS there", plain, config.TLSVerifyCA, good, false, "TLS", false},
		{"verify_full", secure, config.TLSVerifyFull, good, false, "", true},
		{"verify_full, another name", secure, config.TLSVerifyFull, good, true, "127.0.0.2", false},
		{"verify_full, another authority", secure, config.TLSVerifyFull, bad, false, "certificate", false},
		{"verify_full, no TLS there", plain, config.TLSVerifyFull, good, false, "TLS", false},
		{"verify_full, no such file", secure, config.TLSVerifyFull, filepath.Join(t.TempDir(), "none"), false, "none", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := server(test.cluster.Database("postgres"))
			s.TLSVerify, s.CAFile = test.mode, test.ca
			if test.moved {
				s.Host, s.Port = elsewhere(t, fmt.Sprintf("%s:%d", s.Host, s.Port))
			}
			conn, err := connect.Open(t.Context(), s, "test")
			if test.want != "" {
				if err == nil {
					_ = conn.Close(t.Context())
					t.Fatal("it connects")
				}
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("the error %q does not tell %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(context.Background()) }()
			var encrypted bool
			if err := conn.QueryRow(t.Context(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encrypted); err != nil || encrypted != test.wantsTLS {
				t.Errorf("encrypted: %t (%v), want %t", encrypted, err, test.wantsTLS)
			}
		})
	}
}

func TestErrorsTellWhatToLookAt(t *testing.T) {
	t.Parallel()
	const password = "hidden-9f2c"
	c := pgtest.Start(t, pgtest.Options{AuthMethod: "scram-sha-256", SuperuserPassword: "right"})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := closed.Addr().(*net.TCPAddr).Port
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	for _, test := range []struct {
		name   string
		change func(*config.Server)
		code   string
		hint   string
	}{
		{"wrong password", func(s *config.Server) { s.Password = password }, pgerror.InvalidPassword, "server_password"},
		{"no password", func(s *config.Server) { s.Password = "" }, "", "prod"},
		{"unknown user", func(s *config.Server) { s.User, s.Password = weird, password }, pgerror.InvalidPassword, "users.toml"},
		{"unknown database", func(s *config.Server) { s.Database = weird }, pgerror.InvalidCatalogName, "database_name"},
		{"refused", func(s *config.Server) { s.Port, s.Password = port, password }, pgerror.UnableToConnect, "host and port"},
		{"unknown host", func(s *config.Server) { s.Host, s.Password = "no-such-host.invalid", password }, pgerror.UnableToConnect, "host and port"},
		{"no answer", func(s *config.Server) {
			s.Port, s.Password, s.ConnectTimeout = silent.Addr().(*net.TCPAddr).Port, password, 50*time.Millisecond
		}, "", "host and port"},
	} {
		for way, opener := range openers {
			s := server(c.Database("postgres"))
			test.change(&s)
			conn, err := opener(t.Context(), s, "test")
			if err == nil {
				_ = conn.Close(t.Context())
				t.Errorf("%s, %s: it connects", test.name, way)
				continue
			}
			e := pgerror.From(err)
			if test.code != "" && e.Code != test.code || !strings.Contains(e.Hint, test.hint) || !strings.Contains(e.Message, `database "prod" shard 0`) || !strings.Contains(e.Message, s.Address()) {
				t.Errorf("%s, %s: %s %q HINT %q", test.name, way, e.Code, e.Message, e.Hint)
			}
			all := fmt.Sprintf("%v %+v %s %s %s %s", err, err, e.Message, e.Detail, e.Hint, e.Where)
			for inner := error(e); inner != nil; inner = errors.Unwrap(inner) {
				all += inner.Error()
			}
			if strings.Contains(all, password) {
				t.Errorf("%s, %s: the password is in the error: %s", test.name, way, all)
			}
		}
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	s := config.Server{Cluster: `prod "x"`, Shard: 2, Host: "::1", Port: 5432, Password: "hidden"}
	if got, want := connect.Place(s), `database "prod \"x\"" shard 2 ([::1]:5432)`; got != want {
		t.Errorf("the place is %s, want %s", got, want)
	}
}

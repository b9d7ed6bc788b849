package dial_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

func TestStartup(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	db := c.CreateNamedDatabase(t, `Weird "Name" $1 dial`)
	o := dial.Options{
		Server: server(c), Database: db.Name, ProtocolMinor: 2,
		Parameters: map[string]string{
			"application_name": "an application", "options": "-c work_mem=77kB -c statement_timeout=4321",
			"user": "nobody", "database": "nowhere", "replication": "true", "_pq_.option": "x",
		},
	}
	conn := mustDial(t, o)
	if conn.ProtocolMinor != 0 { // no server here knows 3.2
		t.Errorf("the version is 3.%d", conn.ProtocolMinor)
	}
	if len(conn.SecretKey) != 4 || conn.ProcessID == 0 {
		t.Errorf("process %d with a key of %d bytes", conn.ProcessID, len(conn.SecretKey))
	}
	if conn.Parameters["application_name"] != "an application" || conn.Parameters["server_encoding"] != "UTF8" || len(conn.Parameters) < 10 {
		t.Errorf("parameters %q", conn.Parameters)
	}
	got := use(t, conn, "SELECT current_database(), current_user, current_setting('work_mem'), current_setting('statement_timeout'), pg_backend_pid()")
	if want := []string{db.Name, c.Superuser(), "77kB", "4321ms", fmt.Sprint(conn.ProcessID)}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the server says %q, want %q", got, want)
	}
	if len(o.Parameters) != 6 || o.Parameters["user"] != "nobody" {
		t.Error("the caller's parameters were changed")
	}
	conn.Conn.Close() // or the database could not be dropped
}

func TestReplicationConnection(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	for _, mode := range []string{"database", "true"} {
		conn := mustDial(t, dial.Options{Server: server(c), Replication: mode})
		if got := use(t, conn, "IDENTIFY_SYSTEM"); len(got) != 4 || (got[3] == "postgres") != (mode == "database") {
			t.Errorf("%s: %q", mode, got)
		}
	}
}

func TestNewerServer(t *testing.T) {
	t.Parallel()
	c := withMethods(t, pgtest.Newer(t).Major)
	for _, user := range []string{"trusted", "scrammed", "hashed", "clear"} {
		for _, mode := range []config.TLSVerify{config.TLSDisabled, config.TLSVerifyFull} {
			s := server(c)
			s.TLSVerify, s.CAFile = mode, c.CACertificate()
			conn := mustDial(t, dial.Options{Server: s, User: user, Credentials: auth.NewCredentials(secret), ProtocolMinor: 2})
			if got := use(t, conn, "SELECT current_user"); got[0] != user {
				t.Errorf("%q", got)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	c := withMethods(t, 0)
	for _, mode := range []config.TLSVerify{config.TLSDisabled, config.TLSPrefer, config.TLSVerifyFull} {
		for _, host := range []string{c.Host(), c.SocketDir()} {
			t.Run(fmt.Sprint(mode, " ", host), func(t *testing.T) {
				t.Parallel()
				s := server(c)
				s.Host, s.TLSVerify, s.CAFile = host, mode, c.CACertificate()
				o := dial.Options{Server: s}
				conn := mustDial(t, o)
				running := make(chan []string)
				go func() { running <- use(t, conn, "SELECT pg_sleep(600)") }()
				c.Database("postgres").WaitUntil(t, fmt.Sprintf("SELECT wait_event IS NOT DISTINCT FROM 'PgSleep' FROM pg_stat_activity WHERE pid = %d", conn.ProcessID))
				wrong := bytes.Clone(conn.SecretKey)
				wrong[0]++
				for _, key := range [][]byte{wrong, conn.SecretKey} {
					if err := dial.Cancel(t.Context(), o, conn.ProcessID, key); err != nil {
						t.Fatal(err)
					}
				}
				if got := <-running; len(got) != 1 || got[0] != pgerror.QueryCanceled {
					t.Errorf("the query ended with %q", got)
				}
				if got := use(t, conn, "SELECT 1"); got[0] != "1" {
					t.Errorf("afterwards: %q", got)
				}
			})
		}
	}
}

// TestLongKeys: a server of protocol 3.2.
func TestLongKeys(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{0, 1, 0xff, 'k'}, 64)
	got := make(chan []byte, 1)
	s := fakeServer(t, func(conn net.Conn) {
		packet := readStartup(conn)
		if bytes.HasPrefix(packet, []byte{0, 3, 0, 2}) {
			_, _ = conn.Write(encode(&pgproto3.AuthenticationOk{}, &pgproto3.BackendKeyData{ProcessID: 1 << 31, SecretKey: key}, &pgproto3.ReadyForQuery{TxStatus: 'I'}))
			return
		}
		got <- packet
	})
	o := dial.Options{Server: s, ProtocolMinor: 2}
	conn := mustDial(t, o)
	if conn.ProtocolMinor != 2 || !bytes.Equal(conn.SecretKey, key) {
		t.Errorf("version 3.%d, a key of %d bytes", conn.ProtocolMinor, len(conn.SecretKey))
	}
	if err := dial.Cancel(t.Context(), o, conn.ProcessID, conn.SecretKey); err != nil {
		t.Fatal(err)
	}
	if want := append([]byte{0x04, 0xd2, 0x16, 0x2e, 0x80, 0, 0, 0}, key...); !bytes.Equal(<-got, want) {
		t.Error("the cancel request has not the whole key")
	}
}

func TestCancelGoesToTheHostOfTheConnection(t *testing.T) {
	t.Parallel()
	got := make(chan []byte, 2)
	s := fakeServer(t, func(conn net.Conn) {
		packet := readStartup(conn)
		if len(packet) != 12 {
			_, _ = conn.Write(ok())
		}
		got <- packet
	})
	conn := mustDial(t, dial.Options{Server: s})
	<-got
	moved := s
	moved.Host, moved.Port = "name.that.is.now.elsewhere.invalid", 1
	if err := dial.Cancel(t.Context(), dial.Options{Server: moved, Address: conn.Conn.RemoteAddr()}, conn.ProcessID, conn.SecretKey); err != nil {
		t.Fatal(err)
	}
	if packet := <-got; len(packet) != 12 {
		t.Errorf("the server got %q", packet)
	}
}

// TestTheServersErrorsKeepTheirFields: those that pgerror does not have are in
// the cause.
func TestTheServersErrorsKeepTheirFields(t *testing.T) {
	t.Parallel()
	sent := &pgproto3.ErrorResponse{
		Severity: "SCHWERWIEGEND", SeverityUnlocalized: "FATAL", Code: "53300", Message: "m", Detail: "d", Hint: "h", Position: 3, InternalPosition: 4,
		InternalQuery: "q", Where: "w", SchemaName: "s", TableName: "t", ColumnName: "c", DataTypeName: "dt", ConstraintName: "con",
		File: "f", Line: 5, Routine: "r",
	}
	s := fakeServer(t, func(conn net.Conn) {
		readStartup(conn)
		_, _ = conn.Write(encode(sent))
		_, _ = io.Copy(io.Discard, conn)
	})
	_, err := dial.Dial(t.Context(), dial.Options{Server: s})
	e := wantError(t, err, "53300", ": m")
	if !strings.HasPrefix(e.Detail, "d\n") || e.Hint != "h" || e.Where != "w" || e.Position != 3 {
		t.Errorf("%+v", e)
	}
	var all *pgconn.PgError
	if !errors.As(err, &all) || *all != *pgconn.ErrorResponseToPgError(sent) {
		t.Errorf("%+v", all)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_connections": "4", "superuser_reserved_connections": "0", "max_wal_senders": "0", "wal_level": "replica"}})
	_, err := dial.Dial(t.Context(), dial.Options{Server: server(c), Database: "nowhere"})
	wantError(t, err, pgerror.InvalidCatalogName, "does not exist")
	_, err = dial.Dial(t.Context(), dial.Options{Server: server(c), Parameters: map[string]string{"no_such_setting": "1"}})
	wantError(t, err, "42704", "unrecognized configuration parameter")
	_, err = dial.Dial(t.Context(), dial.Options{Server: server(c), Parameters: map[string]string{"application_name": strings.Repeat("x", 10_000)}})
	wantError(t, err, pgerror.InvalidParameterValue, "too long")
	_, err = dial.Dial(t.Context(), dial.Options{Server: server(c), Parameters: map[string]string{"application_name": "a\x00user\x00postgres"}})
	wantError(t, err, pgerror.InvalidParameterValue, "cannot be sent")
	pgtest.Eventually(t, "all places are taken", func(context.Context) (bool, error) {
		conn, err := dial.Dial(t.Context(), dial.Options{Server: server(c)})
		if err != nil {
			wantError(t, err, pgerror.TooManyConnections, "too many clients")
			return true, nil
		}
		t.Cleanup(func() { conn.Conn.Close() })
		return false, nil
	})
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err = dial.Dial(t.Context(), dial.Options{Server: server(c)})
	if e := wantError(t, err, pgerror.UnableToConnect, "refused"); !strings.Contains(e.Hint, "running") {
		t.Errorf("hint %q", e.Hint)
	}
	wantError(t, dial.Cancel(t.Context(), dial.Options{Server: server(c)}, 1, []byte{1, 2, 3, 4}), pgerror.UnableToConnect, "refused")
}

func TestCredentialsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	user := config.User{Name: "u", Password: "1", Passwords: []config.Secret{"2", "1", "3"}}
	for _, test := range []struct {
		db   config.Database
		user config.User
		want auth.Credentials
	}{
		{config.Database{}, user, auth.NewCredentials("1", "2", "3")},
		{config.Database{}, config.User{Name: "u", Password: "1", ServerPassword: "s"}, auth.NewCredentials("s")},
		{config.Database{Password: "d"}, config.User{Name: "u", Password: "1", ServerPassword: "s"}, auth.NewCredentials("d")},
		{config.Database{}, config.User{Name: "u", PasswordHash: "SCRAM-SHA-256$…"}, auth.Credentials{}},
	} {
		if got := dial.Credentials(test.db, test.user); !got.Equal(test.want) || got.IsZero() != test.want.IsZero() {
			t.Errorf("of %+v and %+v", test.db, test.user)
		}
	}
}

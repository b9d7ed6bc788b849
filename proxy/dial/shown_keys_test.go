package dial_test

import (
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/dial"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// TestWhatClientsShowLogsInAtServers: a client logs in here by what the server
// keeps of its password, and we log in there with what that has shown. Nobody
// here knows the password.
func TestWhatClientsShowLogsInAtServers(t *testing.T) {
	t.Parallel()
	c := withMethods(t, 0)
	db := c.Database("postgres")
	for _, test := range []struct {
		method auth.Method
		user   string
	}{
		{auth.Scram, "scrammed"}, {auth.Scram, `Weird "Name" $1`}, {auth.MD5, "hashed"}, {auth.MD5, "scrammed"},
		{auth.Plain, "scrammed"}, {auth.Plain, "hashed"}, {auth.Plain, "clear"},
	} {
		t.Run(fmt.Sprint(test.method, " ", test.user), func(t *testing.T) {
			t.Parallel()
			hash := pgtest.Value[string](t, db, "SELECT rolpassword FROM pg_authid WHERE rolname = $1", test.user)
			shown := show(t, test.method, test.user, hash)
			for _, mode := range []config.TLSVerify{config.TLSDisabled, config.TLSVerifyFull} {
				s := server(c)
				s.TLSVerify, s.CAFile = mode, c.CACertificate()
				// Again and again, as a pool does.
				for range 3 {
					conn := mustDial(t, dial.Options{Server: s, User: test.user, Credentials: shown})
					if got := use(t, conn, "SELECT current_user"); got[0] != test.user || !conn.PasswordChecked {
						t.Errorf("%q", got)
					}
				}
			}
		})
	}
}

// show has a client log in and gives what it has shown.
func show(t *testing.T, method auth.Method, user, hash string) auth.Credentials {
	t.Helper()
	a := auth.New()
	account, err := a.NewAccount(user, nil, hash)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan auth.Credentials, 1)
	s := fakeServer(t, func(conn net.Conn) {
		if _, err := wire.ReadPacket(conn); err != nil {
			return
		}
		b := pgproto3.NewBackend(conn, conn)
		credentials, err := a.Login(b, auth.Request{Method: method, User: user, Account: account, Confidential: true})
		if err != nil {
			return
		}
		b.Send(&pgproto3.AuthenticationOk{})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		_ = b.Flush()
		shown <- credentials
		_, _ = io.Copy(io.Discard, conn)
	})
	client, err := pgconn.ParseConfig(fmt.Sprintf("postgres://%s/db?sslmode=disable", s.Address()))
	if err != nil {
		t.Fatal(err)
	}
	client.User, client.Password = user, secret
	conn, err := pgconn.ConnectConfig(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	return <-shown
}

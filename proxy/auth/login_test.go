package auth_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"go.uber.org/goleak"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loginServer serves one login on a loopback port and gives its result.
func loginServer(t *testing.T, a *auth.Authenticator, r auth.Request) (address string, result <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer listener.Close()
		conn, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		done <- serveLogin(conn, a, r)
	}()
	return listener.Addr().String(), done
}

func serveLogin(conn net.Conn, a *auth.Authenticator, r auth.Request) error {
	packet, err := wire.ReadPacket(conn)
	if err != nil {
		return err
	}
	r.User = packet.(wire.Startup).User
	b := pgproto3.NewBackend(conn, conn)
	b.SetMaxBodyLen(1024)
	_, err = a.Login(b, r)
	var e *pgerror.Error
	switch {
	case errors.As(err, &e):
		b.Send(wire.ErrorResponse(wire.Fatal, e))
		b.Flush()
	case err == nil:
		b.Send(&pgproto3.AuthenticationOk{})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		b.Flush()
		io.Copy(io.Discard, conn)
	}
	return err
}

// dial logs in with pgconn.
func dial(t *testing.T, address, user, password string) error {
	t.Helper()
	config, err := pgconn.ParseConfig("postgres://" + address + "/db?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	config.User, config.Password = user, password
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func TestLogin(t *testing.T) {
	t.Parallel()
	a := auth.New()
	weird := `Weird "Name" $1`
	account := func(user, hash string, passwords ...string) *auth.Account {
		account, err := a.NewAccount(user, passwords, hash)
		if err != nil {
			t.Fatal(err)
		}
		return account
	}
	verifier, err := auth.NewVerifier("stored")
	if err != nil {
		t.Fatal(err)
	}
	// md5('stored' || 'u')
	const md5Stored = "md5762a56e49a0cc6c60647309e2a597732"
	tests := []struct {
		name     string
		method   auth.Method
		account  *auth.Account
		user     string
		password string
		want     error
	}{
		{"plain password", auth.Scram, account("u", "", "one"), "u", "one", nil},
		{"wrong password", auth.Scram, account("u", "", "one"), "u", "two", auth.ErrWrongPassword},
		{"first of two", auth.Scram, account("u", "", "one", "two"), "u", "one", nil},
		{"second of two", auth.Scram, account("u", "", "one", "two"), "u", "two", nil},
		{"verifier", auth.Scram, account("u", verifier.Text()), "u", "stored", nil},
		{"verifier, wrong", auth.Scram, account("u", verifier.Text()), "u", "storeD", auth.ErrWrongPassword},
		{"verifier beside a password", auth.Scram, account("u", verifier.Text(), "one"), "u", "stored", nil},
		{"password beside a verifier", auth.Scram, account("u", verifier.Text(), "one"), "u", "one", nil},
		{"unknown user", auth.Scram, nil, "nobody", "one", auth.ErrUnknownUser},
		{"no password at all", auth.Scram, account("u", ""), "u", "one", auth.ErrNoPassword},
		{"only md5", auth.Scram, account("u", md5Stored), "u", "stored", auth.ErrNoPassword},
		{"empty passwords are none", auth.Scram, account("u", "", ""), "u", "x", auth.ErrNoPassword},
		{"a name to quote", auth.Scram, account(weird, "", `sécret "ü" $1`), weird, `sécret "ü" $1`, nil},

		{"md5", auth.MD5, account("u", "", "one"), "u", "one", nil},
		{"md5, second", auth.MD5, account("u", "", "one", "two"), "u", "two", nil},
		{"md5, wrong", auth.MD5, account("u", "", "one"), "u", "two", auth.ErrWrongPassword},
		{"md5, stored", auth.MD5, account("u", md5Stored), "u", "stored", nil},
		{"md5, stored, wrong", auth.MD5, account("u", md5Stored), "u", "x", auth.ErrWrongPassword},
		{"md5, unknown user", auth.MD5, nil, "nobody", "x", auth.ErrUnknownUser},
		{"md5 with a verifier becomes SCRAM", auth.MD5, account("u", verifier.Text()), "u", "stored", nil},
		{"md5, no password", auth.MD5, account("u", ""), "u", "x", auth.ErrNoPassword},

		{"plain", auth.Plain, account("u", "", "one"), "u", "one", nil},
		{"plain, second", auth.Plain, account("u", "", "one", "two"), "u", "two", nil},
		{"plain, wrong", auth.Plain, account("u", "", "one"), "u", "two", auth.ErrWrongPassword},
		{"plain, verifier", auth.Plain, account("u", verifier.Text()), "u", "stored", nil},
		{"plain, md5", auth.Plain, account("u", md5Stored), "u", "stored", nil},
		{"plain, unknown user", auth.Plain, nil, "nobody", "x", auth.ErrUnknownUser},
		{"plain, empty", auth.Plain, account("u", "", ""), "u", "", auth.ErrNoPassword},

		{"trust", auth.Trust, account("u", ""), "u", "", nil},
		{"trust, unknown user", auth.Trust, nil, "nobody", "", auth.ErrUnknownUser},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address, result := loginServer(t, a, auth.Request{Method: test.method, Account: test.account, Confidential: true})
			clientErr, serverErr := dial(t, address, test.user, test.password), <-result
			if !errors.Is(serverErr, test.want) {
				t.Errorf("the server says %v, want %v", serverErr, test.want)
			}
			if test.want == nil {
				if clientErr != nil {
					t.Errorf("the client says %v", clientErr)
				}
				return
			}
			var e *pgconn.PgError
			want := `password authentication failed for user "` + test.user + `"`
			if !errors.As(clientErr, &e) || e.Code != "28P01" || e.Message != want || e.Detail != "" || e.Hint != "" {
				t.Errorf("the client says %v", clientErr)
			}
		})
	}
}

func TestPlainOnlyWhereNobodyListens(t *testing.T) {
	t.Parallel()
	a := auth.New()
	account, err := a.NewAccount("u", []string{"one"}, "")
	if err != nil {
		t.Fatal(err)
	}
	address, result := loginServer(t, a, auth.Request{Method: auth.Plain, Account: account})
	clientErr := dial(t, address, "u", "one")
	<-result
	var e *pgconn.PgError
	if !errors.As(clientErr, &e) || e.Code != "28000" || !strings.Contains(e.Hint, "sslmode=require") {
		t.Errorf("the client says %v", clientErr)
	}
}

// rawLogin runs a SCRAM login as a client that sends what it is told.
func rawLogin(t *testing.T, send ...pgproto3.FrontendMessage) error {
	t.Helper()
	address, result := loginServer(t, auth.New(), auth.Request{Method: auth.Scram})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	startup := &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "u"}}
	for _, message := range append([]pgproto3.FrontendMessage{startup}, send...) {
		encoded, err := message.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(encoded)
	}
	conn.(*net.TCPConn).CloseWrite()
	return <-result
}

func TestLoginRefusesOtherMessages(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		send pgproto3.FrontendMessage
		want string // SQLSTATE, "" for a lost connection
	}{
		"a query":             {&pgproto3.Query{String: "SHOW CLIENTS"}, pgerror.ProtocolViolation},
		"another mechanism":   {&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256-PLUS"}, pgerror.ProtocolViolation},
		"no initial response": {&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256"}, pgerror.ProtocolViolation},
		"a password":          {&pgproto3.PasswordMessage{Password: "x"}, pgerror.ProtocolViolation},
		"too long":            {&pgproto3.PasswordMessage{Password: strings.Repeat("x", 1025)}, pgerror.ProtocolViolation},
		"goodbye":             {&pgproto3.Terminate{}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := rawLogin(t, test.send)
			var e *pgerror.Error
			if found := errors.As(err, &e); found != (test.want != "") || found && e.Code != test.want {
				t.Errorf("got %v, want code %q", err, test.want)
			}
		})
	}
	if err := rawLogin(t); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		t.Errorf("a client that leaves gives %v", err)
	}
}

// serverFirst is the server-first-message that a user gets.
func serverFirst(t *testing.T, a *auth.Authenticator, account *auth.Account, user string) string {
	t.Helper()
	address, result := loginServer(t, a, auth.Request{Method: auth.Scram, Account: account})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { conn.Close(); <-result }()
	f := pgproto3.NewFrontend(conn, conn)
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": user}})
	f.Send(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("n,,n=,r=fixed")})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	for {
		message, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := message.(*pgproto3.AuthenticationSASLContinue); ok {
			return string(m.Data)
		}
	}
}

// TestUnknownUsersLookKnown: the same user gets the same salt each time, each
// user another, another process yet another; known or not.
func TestUnknownUsersLookKnown(t *testing.T) {
	t.Parallel()
	a := auth.New()
	known, err := a.NewAccount("known", []string{"p"}, "")
	if err != nil {
		t.Fatal(err)
	}
	work := func(a *auth.Authenticator, account *auth.Account, user string) string {
		nonce, rest, _ := strings.Cut(serverFirst(t, a, account, user), ",")
		if !strings.HasPrefix(nonce, "r=fixed") || len(nonce) != len("r=fixed")+24 {
			t.Errorf("nonce %q", nonce)
		}
		return rest
	}
	knownWork, unknownWork := work(a, known, "known"), work(a, nil, "unknown")
	if len(knownWork) != len(unknownWork) || !strings.HasSuffix(unknownWork, ",i=4096") {
		t.Errorf("%q, %q", knownWork, unknownWork)
	}
	if again := work(a, nil, "unknown"); again != unknownWork {
		t.Errorf("an unknown user's salt changes: %q, %q", unknownWork, again)
	}
	if removed := work(a, nil, "known"); removed != knownWork {
		t.Errorf("a user's salt changes with its existence: %q, %q", knownWork, removed)
	}
	if knownWork == unknownWork || work(auth.New(), nil, "unknown") == unknownWork {
		t.Error("salts can be guessed")
	}
}

func TestNewAccountRefusesBadHashes(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{"md5", "md5" + strings.Repeat("x", 32), "SCRAM-SHA-256$1hunter2", "hunter2"} {
		if _, err := auth.New().NewAccount("u", nil, hash); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", hash, err)
		}
	}
}

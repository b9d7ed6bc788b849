package proxy_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

func sslRequest(t *testing.T) []byte { return encode(t, &pgproto3.SSLRequest{}) }

// fatalOf reads the one ErrorResponse that a refused client gets, up to the
// end of the connection.
func fatalOf(t *testing.T, conn net.Conn) *pgproto3.ErrorResponse {
	t.Helper()
	f := pgproto3.NewFrontend(conn, conn)
	e := *receive[*pgproto3.ErrorResponse](t, f)
	if e.Severity != "FATAL" || e.SeverityUnlocalized != "FATAL" || len(e.Code) != 5 || e.Message == "" {
		t.Errorf("incomplete: %+v", e)
	}
	if _, err := f.Receive(); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		t.Errorf("after FATAL comes %v", err)
	}
	return &e
}

func TestGarbage(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	user := startupMessage(t, pgproto3.ProtocolVersion30, "user", "admin", "database", "admin")
	message := func(kind byte, length uint32) []byte {
		return binary.BigEndian.AppendUint32(append(bytes.Clone(user), kind), length)
	}
	tests := map[string]struct {
		send []byte
		code string
	}{
		"HTTP":                  {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "08P01"},
		"length 0":              {make([]byte, 8), "08P01"},
		"length 4 GiB":          {[]byte{0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0}, "08P01"},
		"length 10001":          {[]byte{0, 0, 0x27, 0x11, 0, 3, 0, 0}, "08P01"},
		"a lot":                 {bytes.Repeat([]byte("garbage!"), 4<<10), "08P01"},
		"protocol 2":            {[]byte{0, 0, 0, 8, 0, 2, 0, 0}, "0A000"},
		"no user":               {startupMessage(t, pgproto3.ProtocolVersion30, "database", "admin"), "28000"},
		"TLS without TLS":       {[]byte{0x16, 3, 1, 2, 0, 1, 0}, "08P01"},
		"a password of 4 GiB":   {message('p', 0xffffffff), "08P01"},
		"a password of 1 GiB":   {message('p', 1<<30), "08P01"},
		"a password too long":   {message('p', 4+16<<10+1), "08P01"},
		"a message too short":   {message('p', 3), "08P01"},
		"a query for password":  {append(message('Q', 10), "hello\x00"...), "08P01"},
		"a message of no type":  {append(message('?', 10), "hello\x00"...), "08P01"},
		"SASL without contents": {message('p', 4), "08P01"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := s.raw(t)
			write(t, conn, test.send)
			conn.CloseWrite()
			var from net.Conn = conn
			if bytes.HasPrefix(test.send, user) {
				f := pgproto3.NewFrontend(conn, conn)
				receive[*pgproto3.AuthenticationSASL](t, f)
				if e := receive[*pgproto3.ErrorResponse](t, f); e.Code != test.code {
					t.Errorf("got %+v", e)
				}
				return
			}
			if e := fatalOf(t, from); e.Code != test.code {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// TestSlowClients: a login that takes too long is cut, wherever it stands.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	c := withTLS(t, testConfig())
	c.General.ClientLoginTimeout = 500 * time.Millisecond
	s := start(t, c)
	user := startupMessage(t, pgproto3.ProtocolVersion30, "user", "admin", "database", "admin")
	tests := map[string]struct {
		send   []byte
		skip   int  // bytes of answers before the error
		silent bool // TLS has begun: nothing can be said
	}{
		"nothing":          {},
		"one byte":         {send: user[:1]},
		"half a packet":    {send: user[:len(user)/2]},
		"no TLS handshake": {send: sslRequest(t), skip: 1, silent: true},
		"half a handshake": {send: append(sslRequest(t), 0x16, 3, 1, 0, 200, 1), skip: 1, silent: true},
		"half direct TLS":  {send: []byte{0x16, 3, 1, 0, 200, 1}, silent: true},
		"no password":      {send: user, skip: 24},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := s.raw(t)
			write(t, conn, test.send)
			if _, err := io.CopyN(io.Discard, conn, int64(test.skip)); err != nil {
				t.Fatal(err)
			}
			if test.silent {
				if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
					t.Errorf("got %q, %v", rest, err)
				}
				return
			}
			if e := fatalOf(t, conn); e.Code != "57014" || !strings.Contains(e.Detail, "client_login_timeout, 500ms") {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// TestSessionsOutliveTheLoginTimeout waits until the login's deadline is over.
func TestSessionsOutliveTheLoginTimeout(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.General.ClientLoginTimeout = 2 * time.Second
	s := start(t, c)
	conn := s.mustConnect(t, "sslmode=disable")
	over := time.After(time.Until(s.Sessions()[0].ConnectedAt.Add(c.General.ClientLoginTimeout)))
	<-over
	session(t, conn)
}

// TestBytesBeforeTLS: what came before the handshake is not taken for what
// came through it.
func TestBytesBeforeTLS(t *testing.T) {
	t.Parallel()
	c := withTLS(t, testConfig())
	c.General.AuthType = config.AuthTrust // so that a smuggled startup would get in
	s := start(t, c)
	conn := s.raw(t)
	write(t, conn, append(sslRequest(t), startupMessage(t, pgproto3.ProtocolVersion30, "user", "admin", "database", "admin")...))
	answer := make([]byte, 1)
	if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'S' {
		t.Fatalf("%q, %v", answer, err)
	}
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err == nil {
		t.Error("the handshake succeeds")
	}
	eventually(t, "the log line", func() bool { return strings.Contains(s.log.String(), "TLS handshake") })
	if strings.Contains(s.log.String(), "client logged in") {
		t.Error("the smuggled startup got in")
	}
}

func TestSecondEncryptionRequest(t *testing.T) {
	t.Parallel()
	plain, encrypted := start(t, testConfig()), start(t, withTLS(t, testConfig()))

	conn := plain.raw(t)
	write(t, conn, append(encode(t, &pgproto3.GSSEncRequest{}), sslRequest(t)...))
	write(t, conn, sslRequest(t))
	answers := make([]byte, 2)
	if _, err := io.ReadFull(conn, answers); err != nil || string(answers) != "NN" {
		t.Fatalf("%q, %v", answers, err)
	}
	if e := fatalOf(t, conn); e.Code != "08P01" || !strings.Contains(e.Message, "SSLRequest") {
		t.Errorf("%+v", e)
	}

	for _, request := range [][]byte{sslRequest(t), encode(t, &pgproto3.GSSEncRequest{}), {0x16, 3, 1, 0}} {
		conn := encrypted.raw(t)
		write(t, conn, append(encode(t, &pgproto3.GSSEncRequest{}), sslRequest(t)...))
		if _, err := io.ReadFull(conn, answers); err != nil || string(answers) != "NS" {
			t.Fatalf("%q, %v", answers, err)
		}
		client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		write(t, client, request)
		if e := fatalOf(t, client); e.Code != "08P01" {
			t.Errorf("%+v", e)
		}
	}
}

func TestProtocolVersions(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	conn := s.mustConnect(t, "sslmode=disable&max_protocol_version=3.2")
	if got := session(t, conn); !strings.Contains(got, "protocol=3.2 key=32") || len(conn.SecretKey()) != 32 {
		t.Errorf("%s, %d bytes of key", got, len(conn.SecretKey()))
	}
	conn = s.mustConnect(t, "sslmode=disable&max_protocol_version=3.0")
	if got := session(t, conn); !strings.Contains(got, "protocol=3.0 key=4") || len(conn.SecretKey()) != 4 {
		t.Errorf("%s, %d bytes of key", got, len(conn.SecretKey()))
	}
}

func TestProtocolNegotiation(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.General.AuthType = config.AuthTrust
	s := start(t, c)
	tests := []struct {
		version uint32
		option  string
		newest  uint32
		key     int
	}{
		{3<<16 | 9, "", 3<<16 | 2, 32},
		{3<<16 | 9999, "_pq_.test_protocol_negotiation", 3<<16 | 2, 32},
		{3 << 16, "_pq_.x", 3 << 16, 4},
	}
	for _, test := range tests {
		conn := s.raw(t)
		parameters := []string{"user", "admin", "database", "admin"}
		var options []string
		if test.option != "" {
			parameters, options = append(parameters, test.option, "1"), []string{test.option}
		}
		write(t, conn, startupMessage(t, test.version, parameters...))
		f := pgproto3.NewFrontend(conn, conn)
		n := receive[*pgproto3.NegotiateProtocolVersion](t, f)
		if n.NewestMinorProtocol != test.newest || strings.Join(n.UnrecognizedOptions, " ") != strings.Join(options, " ") {
			t.Errorf("%#x: %+v", test.version, n)
		}
		receive[*pgproto3.AuthenticationOk](t, f)
		if key := receive[*pgproto3.BackendKeyData](t, f); len(key.SecretKey) != test.key || key.ProcessID == 0 {
			t.Errorf("%#x: %+v", test.version, key)
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.0", "3.2"} {
		for _, parameters := range []string{"sslmode=disable", "sslmode=require", "sslmode=require&sslnegotiation=direct"} {
			t.Run(version+" "+parameters, func(t *testing.T) {
				t.Parallel()
				s := start(t, withTLS(t, testConfig()))
				conn := s.mustConnect(t, parameters+"&max_protocol_version="+version)
				canceled := make(chan error, 1)
				go func() {
					_, err := conn.Exec(t.Context(), "wait").ReadAll()
					canceled <- err
				}()
				wait(t, "the start of the command", s.stub.running)

				for _, wrong := range [][]byte{
					flip(conn.SecretKey()), append(bytes.Clone(conn.SecretKey()), 0), make([]byte, 4), conn.SecretKey()[:4:4],
				} {
					if bytes.Equal(wrong, conn.SecretKey()) {
						continue
					}
					s.cancelWith(t, conn.PID(), wrong)
				}
				s.cancelWith(t, conn.PID()+1, conn.SecretKey())
				select {
				case err := <-canceled:
					t.Fatalf("a wrong key cancels: %v", err)
				default:
				}
				if err := conn.CancelRequest(t.Context()); err != nil {
					t.Fatal(err)
				}
				wantError(t, <-canceled, "57014", "canceled")
				// Nothing runs any more: a cancel request does nothing.
				s.cancelWith(t, conn.PID(), conn.SecretKey())
				session(t, conn)
			})
		}
	}
}

func flip(key []byte) []byte {
	key = bytes.Clone(key)
	key[len(key)-1] ^= 1
	return key
}

// cancelWith sends a cancel request and waits until it has been treated.
func (s *testServer) cancelWith(t *testing.T, pid uint32, key []byte) {
	t.Helper()
	conn := s.raw(t)
	write(t, conn, encode(t, &pgproto3.CancelRequest{ProcessID: pid, SecretKey: key}))
	if answer, err := io.ReadAll(conn); err != nil || len(answer) != 0 {
		t.Errorf("the answer is %q, %v", answer, err)
	}
}

// TestCancelKeysCannotBeGuessed: after some wrong keys, an address is not
// listened to, not even with the right one.
func TestCancelKeysCannotBeGuessed(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), func(o *proxy.Options) { o.FailedLogins = auth.LimiterOptions{Failures: 2, Window: time.Hour} })
	conn := s.mustConnect(t, "sslmode=disable")
	for range 2 {
		s.cancelWith(t, conn.PID(), flip(conn.SecretKey()))
	}
	s.cancelWith(t, conn.PID(), conn.SecretKey())
	if log := s.log.String(); !strings.Contains(log, "too many wrong keys") {
		t.Errorf("the log is\n%s", log)
	}
	s.mustConnect(t, "sslmode=disable") // logins are counted on their own
}

func TestTooManyLogins(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), func(o *proxy.Options) { o.MaxLogins = 4 })
	first, second := s.raw(t), s.raw(t)
	// Both hold a place once the server has answered them.
	for _, conn := range []net.Conn{first, second} {
		write(t, conn, sslRequest(t))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if e := fatalOf(t, s.raw(t)); e.Code != "53300" {
		t.Errorf("%+v", e)
	}
	first.Close()
	eventually(t, "the place of a client that left", func() bool {
		conn, err := s.connect(t, "sslmode=disable")
		return err == nil && session(t, conn) != ""
	})
	// Sessions do not hold places.
	for range 5 {
		s.mustConnect(t, "sslmode=disable")
	}
}

func TestPanicEndsOneSession(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	other := s.mustConnect(t, "sslmode=disable")
	_, err := s.mustConnect(t, "sslmode=disable").Exec(t.Context(), "panic").ReadAll()
	wantError(t, err, "XX000", "internal error")
	session(t, other)
	if log := s.log.String(); !strings.Contains(log, "as asked") || !strings.Contains(log, "harness_test.go") {
		t.Errorf("the log is\n%s", log)
	}
	eventually(t, "the end of the session", func() bool { return len(s.Sessions()) == 1 })
}

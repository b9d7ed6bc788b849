package dial_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

// ok are the messages of a server that logs in whoever comes.
func ok() []byte {
	return encode(&pgproto3.AuthenticationOk{}, &pgproto3.BackendKeyData{ProcessID: 7, SecretKey: []byte{1, 2, 3, 4}}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
}

// message frames a body by hand.
func message(kind byte, length int, body string) []byte {
	out := append([]byte{kind}, binary.BigEndian.AppendUint32(nil, uint32(length))...)
	return append(out, body...)
}

func TestServersThatAnswerWrong(t *testing.T) {
	t.Parallel()
	const protocol = pgerror.ProtocolViolation
	for _, test := range []struct {
		name       string
		answer     []byte
		code, text string
	}{
		{"nothing at all", nil, pgerror.UnableToConnect, "closed the connection"},
		{"half a message", ok()[:3], pgerror.UnableToConnect, "closed the connection"},
		{"half a body", message('E', 100, "SFATAL"), pgerror.UnableToConnect, "closed the connection"},
		{"another protocol", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), protocol, "unexpected message"},
		{"a message of another state", message('Z', 5, "I"), protocol, "unexpected message"},
		{"rows before the login", message('D', 6, "\x00\x00"), protocol, "unexpected message"},
		{"parameters before the login", encode(&pgproto3.ParameterStatus{Name: "a", Value: "b"}), protocol, "unexpected message"},
		{"notices before the login", encode(&pgproto3.NoticeResponse{Message: "hello"}), protocol, "unexpected message"},
		{"authentication twice", append(encode(&pgproto3.AuthenticationOk{}), encode(&pgproto3.AuthenticationOk{})...), protocol, "unexpected message"},
		{"a length below the least", message('E', 3, ""), protocol, "invalid length"},
		{"a length of 2 GiB", message('E', 1<<31-1, ""), protocol, "invalid length"},
		{"a length of 4 GiB", message('R', -1, ""), protocol, "invalid length"},
		{"no authentication code", message('R', 6, "\x00\x00"), protocol, "malformed"},
		{"md5 without salt", message('R', 8, "\x00\x00\x00\x05"), protocol, "malformed"},
		{"Kerberos", message('R', 8, "\x00\x00\x00\x02"), pgerror.FeatureNotSupported, "not supported"},
		{"GSSAPI", message('R', 8, "\x00\x00\x00\x07"), pgerror.FeatureNotSupported, "not supported"},
		{"SSPI", message('R', 8, "\x00\x00\x00\x09"), pgerror.FeatureNotSupported, "not supported"},
		{"OAUTHBEARER alone", encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"OAUTHBEARER"}}), pgerror.FeatureNotSupported, "no SASL mechanism"},
		{"channel binding without TLS", encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256-PLUS"}}), pgerror.FeatureNotSupported, "no SASL mechanism"},
		{"no mechanism", encode(&pgproto3.AuthenticationSASL{}), pgerror.FeatureNotSupported, "no SASL mechanism"},
		{"SASL goes on before it began", encode(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=x,s=AA==,i=1")}), protocol, "out of order"},
		{"SASL ends before it began", encode(&pgproto3.AuthenticationSASLFinal{Data: []byte("v=")}), protocol, "out of order"},
		{"SASL, then at once the end", encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, &pgproto3.AuthenticationOk{}), protocol, "out of order"},
		{"SASL, then clear text", encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, &pgproto3.AuthenticationCleartextPassword{}), protocol, "out of order"},
		{"md5, then clear text", encode(&pgproto3.AuthenticationMD5Password{}, &pgproto3.AuthenticationCleartextPassword{}), protocol, "out of order"},
		{"a newer version", encode(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3<<16 | 3}), protocol, "was not asked for"},
		{"another major version", encode(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 4 << 16}), protocol, "was not asked for"},
		{"options that nobody asked for", encode(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3 << 16, UnrecognizedOptions: []string{"_pq_.x"}}), protocol, "not asked for"},
		{"a version twice", encode(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3 << 16}, &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3 << 16}), protocol, "unexpected message"},
		{"a version cut off", message('v', 8, "\x00\x03\x00\x00"), protocol, "malformed"},
		{"a long key", encode(&pgproto3.AuthenticationOk{}, &pgproto3.BackendKeyData{SecretKey: make([]byte, 257)}), protocol, "secret key"},
		{"a short key", append(encode(&pgproto3.AuthenticationOk{}), message('K', 10, "\x00\x00\x00\x01\x00\x00")...), protocol, "malformed"},
		{"a transaction is open", encode(&pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'T'}), protocol, "not idle"},
		{"a parameter cut off", append(encode(&pgproto3.AuthenticationOk{}), message('S', 8, "name")...), protocol, "malformed"},
		{"an error cut off", message('E', 10, "Mhello"), protocol, "malformed"},
		{"an error without anything", message('E', 5, "\x00"), pgerror.ConnectionException, "without a message"},
		{"an error without SQLSTATE", message('E', 16, "SFATAL\x00Mno\x00\x00"), pgerror.ConnectionException, "no"},
		{"an error with half a SQLSTATE", encode(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28", Message: "no"}), pgerror.ConnectionException, "no"},
		{"an error of another encoding", encode(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "53300", Message: "\xfc\xe4"}), "53300", "?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := fakeServer(t, func(conn net.Conn) {
				readStartup(conn)
				_, _ = conn.Write(test.answer)
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
			})
			conn, err := dial.Dial(t.Context(), dial.Options{Server: s, ProtocolMinor: 2})
			if err == nil {
				conn.Conn.Close()
				t.Fatal("it logs in")
			}
			if e := wantError(t, err, test.code, test.text); !strings.Contains(e.Message, `database "fake"`) {
				t.Errorf("it does not say where: %+v", e)
			}
		})
	}
}

// TestServersThatSendWithoutEnd: what is kept of them is bounded.
func TestServersThatSendWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, endless := range map[string][]byte{
		"notices":         encode(&pgproto3.NoticeResponse{Message: strings.Repeat("n", 30_000)}),
		"empty notices":   encode(&pgproto3.NoticeResponse{}),
		"parameters":      encode(&pgproto3.ParameterStatus{Name: strings.Repeat("p", 30_000), Value: "v"}),
		"many parameters": encode(&pgproto3.ParameterStatus{Name: "p", Value: "v"}),
		"keys":            encode(&pgproto3.BackendKeyData{SecretKey: []byte{1, 2, 3, 4}}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			s := fakeServer(t, func(conn net.Conn) {
				readStartup(conn)
				n, err := conn.Write(encode(&pgproto3.AuthenticationOk{}))
				for err == nil {
					sent.Add(int64(n))
					n, err = conn.Write(bytes.Repeat(endless, 1+4096/len(endless)))
				}
			})
			_, err := dial.Dial(t.Context(), dial.Options{Server: s})
			wantError(t, err, pgerror.ProtocolViolation, "invalid length")
			if n := sent.Load(); n > 64<<20 { // most of it in the buffers of the two sockets
				t.Errorf("the server could send %d bytes", n)
			}
		})
	}
}

// TestNoticesAreKept: the first of them.
func TestNoticesAreKept(t *testing.T) {
	t.Parallel()
	s := fakeServer(t, func(conn net.Conn) {
		readStartup(conn)
		answer := encode(&pgproto3.AuthenticationOk{})
		for i := range 100 {
			answer = append(answer, encode(&pgproto3.NoticeResponse{Severity: "WARNING", Code: "01000", Message: fmt.Sprint("notice ", i), Hint: "h"})...)
		}
		_, _ = conn.Write(append(append(answer, encode(&pgproto3.ReadyForQuery{TxStatus: 'I'})...), "behind"...))
		_, _ = io.Copy(io.Discard, conn)
	})
	c := mustDial(t, dial.Options{Server: s})
	if len(c.Notices) != 16 || c.Notices[0].Message != "notice 0" || c.Notices[0].Hint != "h" || c.Notices[0].Code != "01000" {
		t.Errorf("%d notices, the first %+v", len(c.Notices), c.Notices[0])
	}
	if c.SecretKey != nil {
		t.Error("there is a key that the server did not send")
	}
	behind := make([]byte, 6)
	if _, err := io.ReadFull(c.Conn, behind); err != nil || string(behind) != "behind" {
		t.Errorf("what came behind ReadyForQuery is %q, %v", behind, err)
	}
	c.Conn.Close()
}

// silences are servers that stop answering at some point.
var silences = map[string]func(net.Conn){
	"accepts and says nothing": func(net.Conn) {},
	"half a message":           func(conn net.Conn) { readStartup(conn); conn.Write(ok()[:7]) },
	"after the password": func(conn net.Conn) {
		readStartup(conn)
		conn.Write(encode(&pgproto3.AuthenticationCleartextPassword{}))
	},
	"before ReadyForQuery": func(conn net.Conn) { readStartup(conn); conn.Write(ok()[:9]) },
	"a byte now and then": func(conn net.Conn) {
		readStartup(conn)
		notice := encode(&pgproto3.AuthenticationOk{}, &pgproto3.NoticeResponse{Message: strings.Repeat("x", 1000)})
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for i := range notice {
			if _, err := conn.Write(notice[i : i+1]); err != nil {
				return
			}
			<-ticker.C
		}
	},
}

func TestSilentServers(t *testing.T) {
	t.Parallel()
	for name, speak := range silences {
		for _, mode := range []config.TLSVerify{config.TLSDisabled, config.TLSPrefer, config.TLSVerifyFull} {
			t.Run(fmt.Sprint(name, ", ", mode), func(t *testing.T) {
				t.Parallel()
				s := fakeServer(t, func(conn net.Conn) { speak(conn); _, _ = io.Copy(io.Discard, conn) })
				s.TLSVerify, s.ConnectTimeout = mode, 300*time.Millisecond
				_, err := dial.Dial(t.Context(), dial.Options{Server: s})
				if mode == config.TLSDisabled {
					wantError(t, err, pgerror.UnableToConnect, "no answer in time")
				} else if err == nil {
					t.Error("it logs in") // what a server says instead of S or N ends the login, too
				}
			})
		}
	}
}

func TestTheCallerGivesUp(t *testing.T) {
	t.Parallel()
	accepted := make(chan struct{}, 2)
	s := fakeServer(t, func(conn net.Conn) { accepted <- struct{}{}; _, _ = io.Copy(io.Discard, conn) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-accepted; cancel() }()
	_, err := dial.Dial(ctx, dial.Options{Server: s})
	wantError(t, err, pgerror.QueryCanceled, "canceled")
	ctx, cancel = context.WithCancel(t.Context())
	go func() { <-accepted; cancel() }()
	wantError(t, dial.Cancel(ctx, dial.Options{Server: s}, 1, []byte{1, 2, 3, 4}), pgerror.QueryCanceled, "canceled")
	wantError(t, dial.Cancel(short(t), dial.Options{Server: s}, 1, []byte{1, 2, 3, 4}), pgerror.UnableToConnect, "no answer in time")
}

// TestTheAnswerToSSLRequest: nothing that came in clear text is taken for
// something that came through TLS, and no error of a stranger is shown.
func TestTheAnswerToSSLRequest(t *testing.T) {
	t.Parallel()
	shown := encode(&pgproto3.ErrorResponse{Code: "XX000", Message: "go to another place"})
	for name, answer := range map[string][]byte{
		"an error":                   shown,
		"S, and what would follow":   append([]byte("S"), ok()...),
		"S, and garbage":             append([]byte("S"), make([]byte, 100)...),
		"a letter that is no answer": []byte("Q"),
	} {
		for _, mode := range []config.TLSVerify{config.TLSVerifyCA, config.TLSVerifyFull} {
			s := fakeServer(t, func(conn net.Conn) {
				readStartup(conn)
				_, _ = conn.Write(answer)
				_, _ = io.Copy(io.Discard, conn)
			})
			s.TLSVerify, s.ConnectTimeout = mode, 500*time.Millisecond
			c, err := dial.Dial(t.Context(), dial.Options{Server: s})
			if err == nil {
				c.Conn.Close()
				t.Errorf("%s: it logs in", name)
			} else if strings.Contains(fmt.Sprintf("%+v", pgerror.From(err)), "another place") {
				t.Errorf("%s: the error is shown: %v", name, err)
			}
		}
	}
}

// TestAServerThatDoesNotKnowThePassword speaks SCRAM with us and lies somewhere.
func TestAServerThatDoesNotKnowThePassword(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		first      func(nonce string) string
		final      string
		code, text string
	}{
		{"a wrong signature", good, "v=" + base64.StdEncoding.EncodeToString(make([]byte, 32)), pgerror.InvalidAuthorization, "does not know the password"},
		{"no signature", good, "v=", pgerror.ProtocolViolation, "malformed"},
		{"an error", good, "e=other-error", pgerror.InvalidPassword, "refused"},
		{"another client's nonce", func(string) string { return "r=abcdefgh,s=AAAA,i=4096" }, "", pgerror.ProtocolViolation, "malformed"},
		{"our nonce alone", func(n string) string { return "r=" + n + ",s=AAAA,i=4096" }, "", pgerror.ProtocolViolation, "malformed"},
		{"a nonce of 3000 characters", func(n string) string { return "r=" + n + strings.Repeat("x", 3000) + ",s=AAAA,i=4096" }, "", pgerror.ProtocolViolation, "malformed"},
		{"work without end", func(n string) string { return "r=" + n + "x,s=AAAA,i=2000000000" }, "", pgerror.ProtocolViolation, "malformed"},
		{"no work", func(n string) string { return "r=" + n + "x,s=AAAA,i=0" }, "", pgerror.ProtocolViolation, "malformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := fakeServer(t, func(conn net.Conn) {
				readStartup(conn)
				_, _ = conn.Write(encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}))
				nonce := readNonce(conn)
				_, _ = conn.Write(encode(&pgproto3.AuthenticationSASLContinue{Data: []byte(test.first(nonce))}))
				if test.final != "" && readMessage(conn) != nil {
					_, _ = conn.Write(encode(&pgproto3.AuthenticationSASLFinal{Data: []byte(test.final)}, &pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}))
				}
				_, _ = io.Copy(io.Discard, conn)
			})
			c, err := dial.Dial(t.Context(), dial.Options{Server: s})
			if err == nil {
				c.Conn.Close()
				t.Fatal("it logs in")
			}
			wantError(t, err, test.code, test.text)
		})
	}
}

func good(nonce string) string { return "r=" + nonce + "x,s=AAAA,i=1" }

func readMessage(conn net.Conn) []byte {
	head := make([]byte, 5)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil
	}
	body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil
	}
	return body
}

// readNonce reads a SASLInitialResponse and gives the client's nonce.
func readNonce(conn net.Conn) string {
	_, nonce, _ := strings.Cut(string(readMessage(conn)), ",r=")
	return nonce
}

// TestScramAgainstAnotherImplementation checks the client's proof with nothing
// but the RFC.
func TestScramAgainstAnotherImplementation(t *testing.T) {
	t.Parallel()
	mac := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	// The salted password of one iteration is U1 (RFC 5802, section 2.2).
	salted := mac([]byte("pencil"), "\x00\x00\x00\x00\x00\x01")
	proven := make(chan bool, 1)
	s := fakeServer(t, func(conn net.Conn) {
		readStartup(conn)
		_, _ = conn.Write(encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}))
		nonce := readNonce(conn)
		first := "r=" + nonce + "server,s=" + base64.StdEncoding.EncodeToString([]byte{0, 0}) + ",i=1"
		_, _ = conn.Write(encode(&pgproto3.AuthenticationSASLContinue{Data: []byte(first)}))
		withoutProof, proof, _ := strings.Cut(string(readMessage(conn)), ",p=")
		whole := "n=,r=" + nonce + "," + first + "," + withoutProof
		clientKey := mac(salted, "Client Key")
		stored := sha256.Sum256(clientKey)
		want := mac(stored[:], whole)
		for i := range want {
			want[i] ^= clientKey[i]
		}
		proven <- proof == base64.StdEncoding.EncodeToString(want)
		signature := mac(mac(salted, "Server Key"), whole)
		_, _ = conn.Write(encode(&pgproto3.AuthenticationSASLFinal{Data: []byte("v=" + base64.StdEncoding.EncodeToString(signature))}))
		_, _ = conn.Write(ok())
		_, _ = io.Copy(io.Discard, conn)
	})
	s.Password = "pencil"
	c := mustDial(t, dial.Options{Server: s})
	if !<-proven || c.ProcessID != 7 {
		t.Errorf("the proof is wrong, or the process id %d", c.ProcessID)
	}
	c.Conn.Close()
}

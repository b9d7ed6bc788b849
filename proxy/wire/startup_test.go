package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"
	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/pgerror"
)

// packet puts the length before a code and a body.
func packet(major, minor uint16, body string) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	out = binary.BigEndian.AppendUint16(out, major)
	out = binary.BigEndian.AppendUint16(out, minor)
	return append(out, body...)
}

// pairs is names and values of a StartupMessage.
func pairs(s ...string) string {
	return strings.Join(s, "\x00") + "\x00\x00"
}

func TestReadPacket(t *testing.T) {
	t.Parallel()
	longName := strings.Repeat("n", 80)
	key32 := strings.Repeat("k", 32)
	weird := `Weird "Name" $1`
	tests := []struct {
		name  string
		bytes []byte
		want  Packet
	}{
		{"SSLRequest", packet(1234, 5679, ""), SSLRequest{}},
		{"GSSENCRequest", packet(1234, 5680, ""), GSSENCRequest{}},
		{"cancel 3.0", packet(1234, 5678, "\x00\x00\x00\x07abcd"), CancelRequest{ProcessID: 7, SecretKey: []byte("abcd")}},
		{"cancel 3.2", packet(1234, 5678, "\x00\x00\x00\x07"+key32), CancelRequest{ProcessID: 7, SecretKey: []byte(key32)}},
		{"direct TLS", []byte{0x16, 3, 1, 2}, DirectTLS{Head: [4]byte{0x16, 3, 1, 2}}},
		{
			"3.0", packet(3, 0, pairs("user", "u", "database", weird, "options", "-c x=1")),
			Startup{User: "u", Database: weird, Parameters: map[string]string{"options": "-c x=1"}},
		},
		{
			"database is the user, last value wins", packet(3, 2, pairs("user", "a", "user", weird)),
			Startup{Minor: 2, User: weird, Database: weird, Parameters: map[string]string{}},
		},
		{
			"protocol options", packet(3, 9, pairs("_pq_.b", "1", "user", "u", "_pq_.a", "")),
			Startup{Minor: 9, User: "u", Database: "u", Parameters: map[string]string{}, ProtocolOptions: []string{"_pq_.b", "_pq_.a"}},
		},
		{
			"long names are cut", packet(3, 0, pairs("user", longName, "database", longName)),
			Startup{User: longName[:63], Database: longName[:63], Parameters: map[string]string{}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const rest = "what follows"
			r := strings.NewReader(string(test.bytes) + rest)
			got, err := ReadPacket(r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if left, _ := io.ReadAll(r); string(left) != rest {
				t.Errorf("ReadPacket left %q, not %q", left, rest)
			}
		})
	}
}

func TestReadPacketRefuses(t *testing.T) {
	t.Parallel()
	manyParameters := []string{"user", "u"}
	for i := range maxParameters {
		manyParameters = append(manyParameters, fmt.Sprint("p", i), "v")
	}
	tests := []struct {
		name  string
		bytes []byte
		code  string
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), pgerror.ProtocolViolation},
		{"length 0", []byte{0, 0, 0, 0, 0, 3, 0, 0}, pgerror.ProtocolViolation},
		{"length 7", []byte{0, 0, 0, 7, 0, 3, 0}, pgerror.ProtocolViolation},
		{"length 10001", []byte{0, 0, 0x27, 0x11, 0, 3, 0, 0}, pgerror.ProtocolViolation},
		{"negative length", []byte{0xff, 0xff, 0xff, 0xff}, pgerror.ProtocolViolation},
		{"protocol 2", packet(2, 0, ""), pgerror.FeatureNotSupported},
		{"protocol 4", packet(4, 0, pairs("user", "u")), pgerror.FeatureNotSupported},
		{"SSLRequest with a tail", packet(1234, 5679, "x"), pgerror.ProtocolViolation},
		{"GSSENCRequest with a tail", packet(1234, 5680, "x"), pgerror.ProtocolViolation},
		{"unknown request", packet(1234, 1, ""), pgerror.FeatureNotSupported},
		{"cancel without key", packet(1234, 5678, "\x00\x00\x00\x07"), pgerror.ProtocolViolation},
		{"cancel with a short key", packet(1234, 5678, "\x00\x00\x00\x07abc"), pgerror.ProtocolViolation},
		{"cancel with a long key", packet(1234, 5678, strings.Repeat("k", 4+257)), pgerror.ProtocolViolation},
		{"no body", packet(3, 0, ""), pgerror.ProtocolViolation},
		{"no user", packet(3, 0, "\x00"), pgerror.InvalidAuthorization},
		{"empty user", packet(3, 0, pairs("user", "", "database", "d")), pgerror.InvalidAuthorization},
		{"no terminator", packet(3, 0, "user\x00u\x00"), pgerror.ProtocolViolation},
		{"no value", packet(3, 0, "user\x00"), pgerror.ProtocolViolation},
		{"bytes behind the terminator", packet(3, 0, "user\x00u\x00\x00x"), pgerror.ProtocolViolation},
		{"too many parameters", packet(3, 0, pairs(manyParameters...)), pgerror.ProtocolViolation},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := ReadPacket(bytes.NewReader(test.bytes))
			var e *pgerror.Error
			if !errors.As(err, &e) || e.Code != test.code {
				t.Errorf("got %#v, %v; want an error with code %s", got, err, test.code)
			}
		})
	}
}

func TestReadPacketCutShort(t *testing.T) {
	t.Parallel()
	whole := packet(3, 0, pairs("user", "u"))
	for n := range whole {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, err := ReadPacket(bytes.NewReader(whole[:n])); !errors.Is(err, want) {
			t.Errorf("%d bytes: got %v, want %v", n, err, want)
		}
	}
}

func TestStartupRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z"$ äö]{1,20}`)
		parameters := rapid.MapOfN(rapid.StringMatching(`x[a-z]{1,20}`), word, 0, 20).Draw(t, "parameters")
		user, database := word.Draw(t, "user"), word.Draw(t, "database")
		message := pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion32, Parameters: map[string]string{"user": user, "database": database}}
		for k, v := range parameters {
			message.Parameters[k] = v
		}
		encoded, err := message.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadPacket(bytes.NewReader(encoded))
		if err != nil {
			t.Fatal(err)
		}
		cut := func(s string) string { return s[:min(len(s), maxNameLength)] }
		want := Startup{Minor: 2, User: cut(user), Database: cut(database), Parameters: parameters}
		if diff := cmp.Diff(Packet(want), got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestNegotiate(t *testing.T) {
	t.Parallel()
	options := []string{"_pq_.a"}
	tests := []struct {
		startup Startup
		minor   int
		answer  *pgproto3.NegotiateProtocolVersion
	}{
		{Startup{Minor: 0}, 0, nil},
		{Startup{Minor: 1}, 1, nil},
		{Startup{Minor: 2}, 2, nil},
		{Startup{Minor: 3}, 2, &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3<<16 | 2}},
		{Startup{Minor: 9999}, 2, &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3<<16 | 2}},
		// Clients take a version above their own for an error.
		{Startup{Minor: 0, ProtocolOptions: options}, 0, &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3 << 16, UnrecognizedOptions: options}},
		{Startup{Minor: 2, ProtocolOptions: options}, 2, &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3<<16 | 2, UnrecognizedOptions: options}},
	}
	for _, test := range tests {
		minor, answer := test.startup.Negotiate()
		if minor != test.minor {
			t.Errorf("3.%d: got minor %d, want %d", test.startup.Minor, minor, test.minor)
		}
		if diff := cmp.Diff(test.answer, answer); diff != "" {
			t.Errorf("3.%d: %s", test.startup.Minor, diff)
		}
	}
}

func FuzzReadPacket(f *testing.F) {
	f.Add(packet(1234, 5679, ""))
	f.Add(packet(1234, 5680, ""))
	f.Add(packet(1234, 5678, "\x00\x00\x00\x07abcd"))
	f.Add(packet(3, 0, pairs("user", "u", "database", "d")))
	f.Add(packet(3, 9999, pairs("user", "u", "_pq_.x", "1")))
	f.Add([]byte{0x16, 3, 1, 2})
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ReadPacket(bytes.NewReader(b))
		var e *pgerror.Error
		switch {
		case err == nil:
			if s, ok := got.(Startup); ok {
				checkStartup(t, s)
			}
		case errors.As(err, &e), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		default:
			t.Errorf("an error without a type: %v", err)
		}
	})
}

func checkStartup(t *testing.T, s Startup) {
	if s.User == "" || s.Database == "" || len(s.User) > maxNameLength || len(s.Database) > maxNameLength {
		t.Errorf("user %q, database %q", s.User, s.Database)
	}
	if len(s.Parameters)+len(s.ProtocolOptions) > maxParameters {
		t.Errorf("%d parameters", len(s.Parameters)+len(s.ProtocolOptions))
	}
	if minor, _ := s.Negotiate(); minor < 0 || minor > min(s.Minor, LatestMinor) {
		t.Errorf("3.%d negotiated to 3.%d", s.Minor, minor)
	}
}

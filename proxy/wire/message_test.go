package wire

import (
	"bytes"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
)

func TestMessagesAreThoseOfTheProtocol(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		got  []byte
		want interface{ Encode([]byte) ([]byte, error) }
	}{
		"Query":           {AppendQuery(nil, "SELECT 1"), &pgproto3.Query{String: "SELECT 1"}},
		"Parse":           {AppendParse(nil, "a", []byte("SELECT 1\x00\x00\x00")), &pgproto3.Parse{Name: "a", Query: "SELECT 1"}},
		"Close":           {AppendNamed(nil, MsgClose, 'S', "a"), &pgproto3.Close{ObjectType: 'S', Name: "a"}},
		"Describe":        {AppendNamed(nil, MsgDescribe, 'P', ""), &pgproto3.Describe{ObjectType: 'P'}},
		"Sync":            {AppendEmpty(nil, MsgSync), &pgproto3.Sync{}},
		"ReadyForQuery":   {AppendReadyForQuery(nil, Failed), &pgproto3.ReadyForQuery{TxStatus: 'E'}},
		"CommandComplete": {AppendCommandComplete(nil, "SELECT 1"), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}},
		"ParameterStatus": {AppendParameterStatus(nil, "a", "b"), &pgproto3.ParameterStatus{Name: "a", Value: "b"}},
	} {
		want, err := test.want.Encode(nil)
		if err != nil || !bytes.Equal(test.got, want) {
			t.Errorf("%s is %q, want %q", name, test.got, want)
		}
		if length, ok := MessageLength(test.got); !ok || length != len(test.got) {
			t.Errorf("%s: the length is %d, %v", name, length, ok)
		}
	}
}

func TestErrorsAreRead(t *testing.T) {
	t.Parallel()
	b := AppendError(nil, Fatal, pgerror.New("57P01", "m").WithDetail("d").WithHint("h"))
	got := ParseError(b[HeaderLength:])
	if !got.Fatal() || got.Code != "57P01" || got.Message != "m" || got.Detail != "d" || got.Hint != "h" {
		t.Errorf("%+v", got)
	}
	for cut := range len(b) - HeaderLength { // of what was cut off, nothing is made up
		if part := ParseError(b[HeaderLength : HeaderLength+cut]); part.Code != "" && part.Code != "57P01" || part.Message != "" && part.Message != "m" {
			t.Errorf("cut at %d: %+v", cut, part)
		}
	}
	for _, length := range []uint32{0, 3, MaxMessageLength + 1, 1<<32 - 1} {
		head := []byte{'Q', byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}
		if n, ok := MessageLength(head); ok {
			t.Errorf("length %d is taken for %d", length, n)
		}
	}
}

func FuzzServerMessages(f *testing.F) {
	f.Add(AppendError(nil, Error, pgerror.New("42601", "m"))[HeaderLength:])
	f.Add([]byte("client_encoding\x00UTF8\x00"))
	f.Add([]byte("S"))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, body []byte) {
		fields := ParseError(body)
		if len(fields.Message)+len(fields.Code)+len(fields.Detail) > len(body) {
			t.Fatal("more was read than there is")
		}
		if name, value, ok := ParameterStatus(body); ok && len(name)+len(value)+2 > len(body) {
			t.Fatal("more was read than there is")
		}
		if len(body) >= HeaderLength {
			if n, ok := MessageLength(body); ok && (n < HeaderLength || n > MaxMessageLength+1) {
				t.Fatalf("length %d", n)
			}
		}
	})
}

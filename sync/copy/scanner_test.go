package copy

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/pgerror"
)

// scanned is what a scanner made of a stream.
type scanned struct {
	copyData []byte
	copied   int64
	messages []string
	boundary bool
	failed   bool
}

// scan feeds a stream to a scanner in pieces of the given lengths, and the rest
// of it at once.
func scan(stream []byte, pieces []int) (out scanned) {
	var s scanner
	for len(stream) > 0 {
		n := len(stream)
		if len(pieces) > 0 {
			n, pieces = min(n, max(1, pieces[0])), pieces[1:]
		}
		data := slices.Clone(stream[:n])
		stream = stream[n:]
		for len(data) > 0 {
			n, err := s.copyData(data)
			if err != nil {
				out.failed = true
				return out
			}
			out.copyData = append(out.copyData, data[:n]...)
			if data = data[n:]; len(data) == 0 {
				break
			}
			m, rest, ok, err := s.next(data)
			if err != nil {
				out.failed = true
				return out
			}
			if ok {
				out.messages = append(out.messages, string(m.kind)+string(m.body))
			}
			data = rest
		}
	}
	out.copied, out.boundary = s.copied, s.boundary()
	return out
}

func framed(kind byte, body []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(out, body...)
}

func TestScanner(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var stream, copyData []byte
		var messages []string
		copied := int64(0)
		for range rapid.IntRange(0, 20).Draw(t, "messages") {
			body := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "body")
			kind := rapid.SampledFrom([]byte("dddddHcCEZNS")).Draw(t, "kind")
			stream = append(stream, framed(kind, body)...)
			if kind == 'd' {
				copyData = append(copyData, framed(kind, body)...)
				copied++
			} else {
				messages = append(messages, string(kind)+string(body))
			}
		}
		cutOff := rapid.IntRange(0, min(3, len(stream))).Draw(t, "missing")
		got := scan(stream, rapid.SliceOf(rapid.IntRange(1, 50)).Draw(t, "pieces"))
		if got.failed || !bytes.Equal(got.copyData, copyData) || got.copied != copied || !slices.Equal(got.messages, messages) || !got.boundary {
			t.Fatalf("%+v, want %q and %q", got, copyData, messages)
		}
		if cutOff > 0 && scan(stream[:len(stream)-cutOff], nil).boundary {
			t.Fatal("a stream that lacks its end is at a boundary")
		}
	})
}

func TestScannerLimits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stream []byte
		fails  bool
	}{
		"largest CopyData":          {[]byte{'d', 0x7f, 0xff, 0xff, 0xff}, false},
		"larger CopyData":           {[]byte{'d', 0x80, 0, 0, 0}, true},
		"shorter than its length":   {[]byte{'d', 0, 0, 0, 3}, true},
		"other":                     {framed('E', make([]byte, longestMessage-4)), false},
		"too long":                  {[]byte{'E', 0, 0x10, 0, 1}, true},
		"other shorter than length": {[]byte{'C', 0, 0, 0, 3}, true},
	} {
		for _, pieces := range [][]int{nil, {1, 1, 1, 1, 1}} {
			if got := scan(test.stream, pieces); got.failed != test.fails {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
	var s scanner
	if _, err := s.copyData([]byte{'d', 0, 0, 0, 0}); pgerror.Code(err) != pgerror.ProtocolViolation {
		t.Error(err)
	}
}

func FuzzScanner(f *testing.F) {
	f.Add(append(framed('d', []byte("row")), framed('Z', []byte("T"))...), 3)
	f.Add([]byte{'d', 0, 0, 0}, 1)
	f.Add(framed('E', []byte("SERROR\x00\x00")), 2)
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		whole := scan(stream, nil)
		pieces := make([]int, len(stream))
		for i := range pieces {
			pieces[i] = piece
		}
		cut := scan(stream, pieces)
		if whole.failed != cut.failed || !slices.Equal(whole.messages, cut.messages) {
			t.Fatalf("%+v in one piece, %+v in pieces of %d", whole, cut, piece)
		}
		if !whole.failed && (whole.copied != cut.copied || whole.boundary != cut.boundary || !bytes.Equal(whole.copyData, cut.copyData)) {
			t.Fatalf("%+v in one piece, %+v in pieces of %d", whole, cut, piece)
		}
	})
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{
		`plain`: "plain", `a\tb\nc\\d\re\bf\fg\vh`: "a\tb\nc\\d\re\bf\fg\vh", `\x\N`: "xN", `end\`: `end\`, ``: "",
	} {
		if got := string(unescape(nil, []byte(field))); got != want {
			t.Errorf("%q is %q, want %q", field, got, want)
		}
	}
}

package copy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// piecewise is a connection on which a stream arrives in pieces.
type piecewise struct {
	net.Conn
	stream []byte
	pieces []int
}

func (p *piecewise) Read(b []byte) (int, error) {
	if len(p.stream) == 0 {
		return 0, io.EOF
	}
	n := len(p.stream)
	if len(p.pieces) > 0 {
		n, p.pieces = max(1, p.pieces[0]), p.pieces[1:]
	}
	n = copy(b, p.stream[:min(n, len(p.stream))])
	p.stream = p.stream[n:]
	return n, nil
}

// route runs routeRows over a stream and gives what each of two shards gets;
// the second one has the range already if skip is set.
func route(tb testing.TB, format Format, stream []byte, pieces []int, skip bool) (out [2][]byte, rows int64, err error) {
	tb.Helper()
	cfg := &config.Config{ShardedTables: []config.ShardedTable{{Database: "d", Column: "k", DataType: "varchar", Mapping: []config.Mapping{{Values: []any{"a\t\\"}, Shard: 0}, {Shard: 1}}}}}
	router, err := shard.NewRouter(cfg, "d", 2)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := router.Table("public", "t", []shard.Column{{Name: "k", Type: 25, TypeName: "text"}, {Name: "v", Type: 25, TypeName: "text"}})
	if err != nil {
		tb.Fatal(err)
	}
	relation := &catalog.Relation{Relkind: 'r', Table: catalog.Name{Schema: "public", Name: "t"}}
	table := &Table{Source: relation, Destination: relation, Columns: []string{"k", "v"}, Format: format, Key: key}
	ctx, stop := context.WithCancelCause(tb.Context())
	defer stop(nil)
	t := &transfer{
		r: &Range{Table: table, Relation: relation}, source: &session{conn: &piecewise{stream: stream, pieces: pieces}, buffer: make([]byte, 100)},
		ctx: ctx, fail: stop, routes: make([]*target, 2),
	}
	done := make(chan struct{}, 2)
	for i := range t.routes {
		if skip && i == 1 {
			continue
		}
		to := &target{shard: i, in: make(chan *block, blocksInFlight), blocks: newRing()}
		t.targets, t.routes[i] = append(t.targets, to), to
		go func() {
			for b := range to.in {
				out[i] = append(out[i], b.data...)
				b.release()
			}
			done <- struct{}{}
		}()
	}
	err = t.routeRows()
	for _, to := range t.targets {
		to.flush()
		close(to.in)
	}
	for range t.targets {
		<-done
	}
	return out, t.rows, err
}

func field(value string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(value))), value...)
}

var textEscapes = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\b", `\b`, "\f", `\f`, "\v", `\v`)

// rowOf is a row as COPY sends it in either format.
func rowOf(format Format, key, value string) []byte {
	if format == Text {
		return []byte(textEscapes.Replace(key) + "\t" + textEscapes.Replace(value) + "\n")
	}
	return slices.Concat([]byte{0, 2}, field(key), field(value))
}

// TestRoute checks that rows get to their shards as they are, wherever the
// stream is cut.
func TestRoute(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		format := rapid.SampledFrom([]Format{Binary, Text}).Draw(r, "format")
		skip := rapid.Bool().Draw(r, "skip")
		stream := framed('H', []byte{0, 0, 0})
		var want [2][]byte
		head := []byte{}
		if format == Binary {
			head = binaryHeader
			want[0], want[1] = framed('d', binaryHeader), framed('d', binaryHeader)
		}
		rows := rapid.IntRange(0, 12).Draw(r, "rows")
		for range rows {
			key := rapid.SampledFrom([]string{"a\t\\", "", "a", "\\N", "tab\t", "\n\\.", "é"}).Draw(r, "key")
			row := rowOf(format, key, strings.Repeat("x\n", rapid.SampledFrom([]int{0, 1, 30, 400_000}).Draw(r, "length")))
			stream = append(stream, framed('d', append(slices.Clone(head), row...))...)
			head = nil
			to := 1
			if key == "a\t\\" {
				to = 0
			}
			want[to] = append(want[to], framed('d', row)...)
			if rapid.IntRange(0, 5).Draw(r, "notice") == 0 {
				stream = append(stream, framed('N', []byte("SNOTICE\x00\x00"))...)
			}
		}
		if format == Binary {
			stream = append(stream, framed('d', append(slices.Clone(head), 0xff, 0xff))...)
			want[0], want[1] = append(want[0], binaryTrailer...), append(want[1], binaryTrailer...)
		}
		if skip {
			want[1] = nil
		}
		stream = slices.Concat(stream, framed('c', nil), framed('C', []byte("COPY "+strconv.Itoa(rows)+"\x00")), framed('Z', []byte("T")))
		got, seen, err := route(t, format, stream, rapid.SliceOf(rapid.IntRange(1, 60)).Draw(r, "pieces"), skip)
		if err != nil || seen != int64(rows) || !bytes.Equal(got[0], want[0]) || !bytes.Equal(got[1], want[1]) {
			r.Fatalf("%d of %d rows, %v; %.200q and %.200q, want %.200q and %.200q", seen, rows, err, got[0], got[1], want[0], want[1])
		}
	})
}

func TestRouteViolations(t *testing.T) {
	t.Parallel()
	end := slices.Concat(framed('c', nil), framed('C', []byte("COPY 1\x00")), framed('Z', []byte("T")))
	row := rowOf(Binary, "a", "b")
	for name, test := range map[string]struct {
		format Format
		stream []byte
		code   string
	}{
		"no header":             {Binary, framed('d', row), "08P01"},
		"no trailer":            {Binary, framed('d', append(slices.Clone(binaryHeader), row...)), "08P01"},
		"behind the trailer":    {Binary, slices.Concat(framed('d', append(slices.Clone(binaryHeader), 0xff, 0xff)), framed('d', row)), "08P01"},
		"other columns":         {Binary, framed('d', append(slices.Clone(binaryHeader), 0, 3)), "08P01"},
		"ends within the count": {Binary, framed('d', append(slices.Clone(binaryHeader), 0)), "08P01"},
		"ends within a length":  {Binary, framed('d', append(slices.Clone(binaryHeader), 0, 2, 0, 0)), "08P01"},
		"ends within the key":   {Binary, framed('d', append(slices.Clone(binaryHeader), 0, 2, 0, 0, 0, 9, 'x')), "08P01"},
		"negative length":       {Binary, framed('d', append(slices.Clone(binaryHeader), 0, 2, 0xff, 0xff, 0xff, 0xfe)), "08P01"},
		"null":                  {Binary, framed('d', append(slices.Clone(binaryHeader), 0, 2, 0xff, 0xff, 0xff, 0xff)), "22004"},
		"null text":             {Text, framed('d', []byte("\\N\tx\n")), "22004"},
		"no end of line":        {Text, framed('d', []byte("x")), "08P01"},
		"endless key":           {Text, append([]byte{'d', 0x7f, 0, 0, 0}, bytes.Repeat([]byte("x"), blockSize)...), "54000"},
		"impossible length":     {Text, []byte{'d', 0, 0, 0, 1}, "08P01"},
		"broken off":            {Text, []byte{'d', 0, 0}, "08006"},
	} {
		stream := test.stream
		if test.code != "08006" && test.code != "54000" {
			stream = append(slices.Clone(stream), end...)
		}
		if _, _, err := route(t, test.format, stream, nil, false); pgerror.Code(err) != test.code {
			t.Errorf("%s: %s, %v", name, pgerror.Code(err), err)
		}
	}
}

func FuzzRoute(f *testing.F) {
	f.Add(slices.Concat(framed('d', append(slices.Clone(binaryHeader), rowOf(Binary, "a", "b")...)), framed('d', []byte{0xff, 0xff}), framed('Z', nil)), false, 1)
	f.Add(slices.Concat(framed('d', rowOf(Text, "a\t\\", "b")), framed('Z', nil)), true, 4)
	f.Fuzz(func(t *testing.T, stream []byte, text bool, piece int) {
		format := Binary
		if text {
			format = Text
		}
		pieces := make([]int, len(stream))
		for i := range pieces {
			pieces[i] = piece
		}
		whole, rows, err := route(t, format, slices.Clone(stream), nil, false)
		cut, cutRows, cutErr := route(t, format, slices.Clone(stream), pieces, false)
		if rows != cutRows || fmt.Sprint(err) != fmt.Sprint(cutErr) || !bytes.Equal(whole[0], cut[0]) || !bytes.Equal(whole[1], cut[1]) {
			t.Fatalf("in one piece %d rows, %v, in pieces of %d %d rows, %v", rows, err, piece, cutRows, cutErr)
		}
	})
}

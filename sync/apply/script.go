package apply

import (
	"encoding/binary"
	"net"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// script is a batch of statements as bytes of the extended protocol, with what
// their answers must be. It ends with one Sync. Values of at least
// byReference bytes are not copied into it: what they are part of must stay
// until the script is done.
type script struct {
	buf     []byte
	pieces  []piece
	ops     []op
	start   int // of the message that is being built
	outside int // bytes of pieces in that message
	copying int // start of the CopyData that is being built, -1 for none
	broken  *failure
}

// piece is a value that goes between buf[:at] and buf[at:].
type piece struct {
	at    int
	value []byte
}

const (
	byReference   = 64 << 10
	largestFrame  = 1<<30 - 1 // PQ_LARGE_MESSAGE_LIMIT
	copyDataBytes = 32 << 10  // of one CopyData, unless a row has more
	keepBuffer    = 32 << 20  // a script's buffer that grew beyond is not kept
)

func (s *script) reset() {
	if cap(s.buf) > keepBuffer {
		s.buf = nil
	}
	clear(s.ops)
	clear(s.pieces)
	*s = script{buf: s.buf[:0], pieces: s.pieces[:0], ops: s.ops[:0], copying: -1}
}

// buffers gives the bytes to write. They are valid until the script is reset.
func (s *script) buffers() net.Buffers {
	if len(s.pieces) == 0 {
		return net.Buffers{s.buf}
	}
	out := make(net.Buffers, 0, 2*len(s.pieces)+1)
	from := 0
	for _, p := range s.pieces {
		out = append(out, s.buf[from:p.at], p.value)
		from = p.at
	}
	return append(out, s.buf[from:])
}

func (s *script) begin(kind byte) {
	s.start, s.outside = len(s.buf), 0
	s.buf = append(s.buf, kind, 0, 0, 0, 0)
}

// end fills in the message's length and tells whether the server can take it.
func (s *script) end() bool {
	n := len(s.buf) - s.start - 1 + s.outside
	binary.BigEndian.PutUint32(s.buf[s.start+1:], uint32(n))
	return n <= largestFrame
}

func (s *script) text(v string)  { s.buf = append(append(s.buf, v...), 0) }
func (s *script) int16(v int)    { s.buf = binary.BigEndian.AppendUint16(s.buf, uint16(v)) }
func (s *script) int32(v int)    { s.buf = binary.BigEndian.AppendUint32(s.buf, uint32(v)) }
func (s *script) bytes(v []byte) { s.buf = append(s.buf, v...) }

// field appends a value with its length word, or NULL.
func (s *script) field(v []byte) {
	switch {
	case v == nil:
		s.int32(-1)
	case len(v) >= byReference:
		s.pieces = append(s.pieces, piece{at: len(s.buf), value: v})
		s.outside += len(v)
	default:
		s.buf = append(s.buf, v...)
	}
}

// parse prepares a statement. Its parameters' types come from casts in sql.
func (s *script) parse(name, sql string) {
	s.begin('P')
	s.text(name)
	s.text(sql)
	s.int16(0)
	s.end()
}

// closeStatement drops a prepared statement, which need not exist.
func (s *script) closeStatement(name string) {
	s.begin('C')
	s.buf = append(s.buf, 'S')
	s.text(name)
	s.end()
}

func (s *script) beginBind(statement string) {
	s.begin('B')
	s.buf = append(s.buf, 0) // the unnamed portal
	s.text(statement)
}

// execute ends a Bind, which has its parameters, and runs it.
func (s *script) execute(o op) {
	s.int16(0) // results as text
	if !s.end() {
		s.tooLarge(o)
	}
	s.begin('E')
	s.buf = append(s.buf, 0)
	s.int32(0)
	s.end()
	s.ops = append(s.ops, o)
}

func (s *script) tooLarge(o op) {
	if s.broken == nil {
		s.broken = &failure{op: o, err: errTooLarge()}
	}
}

// plain runs a prepared statement without parameters.
func (s *script) plain(statement string, o op) {
	s.beginBind(statement)
	s.int16(0)
	s.int16(0)
	s.execute(o)
}

// strings runs a prepared statement whose parameters are given as text.
func (s *script) strings(statement string, o op, params ...string) {
	s.beginBind(statement)
	s.int16(0)
	s.int16(len(params))
	for _, p := range params {
		s.int32(len(p))
		s.buf = append(s.buf, p...)
	}
	s.execute(o)
}

// sync ends the batch.
func (s *script) sync() {
	s.begin('S')
	s.end()
}

// A COPY's rows follow its Execute at once; the server reads them when it gets
// there, or skips them if the statement fails.
func (s *script) copyRow() {
	if s.copying >= 0 && len(s.buf)-s.copying+s.outside >= copyDataBytes {
		s.copyFlush()
	}
	if s.copying < 0 {
		s.begin('d')
		s.copying = s.start
	}
}

func (s *script) copyFlush() {
	if s.copying >= 0 {
		s.end()
		s.copying = -1
	}
}

func (s *script) copyDone() {
	s.copyFlush()
	s.begin('c')
	s.end()
}

// formatCode is the protocol's number of a format.
func formatCode(f stream.Format) int {
	if f == stream.Binary {
		return 1
	}
	return 0
}

package dump

import (
	"bufio"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// SQLSTATE codes of errcodes.txt that only this package uses.
const (
	dataCorrupted        = "XX001"
	programLimitExceeded = "54000"
	outOfMemory          = "53200"
)

// chunk is how much is taken from the archive at once: nothing larger is
// allocated before the bytes for it have arrived.
const chunk = 64 << 10

// maxInternedLength bounds the strings that are kept once: kinds, schemas,
// owners. Names are at most 63 bytes (NAMEDATALEN).
const maxInternedLength = 64

// decoder reads the primitive values of an archive and counts their bytes. The
// first failure sticks: later reads give zero values, and err says what and
// where. So callers read a whole record and look at err once.
type decoder struct {
	in       *bufio.Reader
	limits   Limits
	intSize  int   // bytes of an integer's magnitude
	offset   int64 // bytes read so far
	err      error
	scratch  []byte // chunk bytes
	interned map[string]string
}

func newDecoder(r io.Reader, limits Limits) *decoder {
	return &decoder{
		in:       bufio.NewReaderSize(r, chunk),
		limits:   limits,
		scratch:  make([]byte, chunk),
		interned: make(map[string]string),
	}
}

// fail keeps the first failure, with the byte at which the value began.
func (d *decoder) fail(code, format string, args ...any) {
	if d.err == nil {
		d.err = pgerror.New(code, format, args...).WithDetail("At byte %d.", d.offset)
	}
}

// fill reads exactly len(p) bytes.
func (d *decoder) fill(p []byte) bool {
	if d.err != nil {
		return false
	}
	if d.offset+int64(len(p)) > d.limits.MaxTotal {
		d.fail(programLimitExceeded, "archive's table of contents is larger than %d bytes", d.limits.MaxTotal)
		return false
	}
	n, err := io.ReadFull(d.in, p)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		d.offset += int64(n)
		d.fail(dataCorrupted, "archive ends too early: %w", io.ErrUnexpectedEOF)
	case err != nil:
		d.offset += int64(n)
		d.fail(pgerror.From(err).Code, "cannot read archive: %w", err)
	default:
		d.offset += int64(n)
		return true
	}
	return false
}

func (d *decoder) byte() byte {
	if !d.fill(d.scratch[:1]) {
		return 0
	}
	return d.scratch[0]
}

// int reads an integer: a sign byte and intSize bytes, the lowest first.
func (d *decoder) int() int {
	start := d.offset
	buf := d.scratch[:1+d.intSize]
	if !d.fill(buf) {
		return 0
	}
	var magnitude uint64
	for i := d.intSize; i >= 1; i-- {
		magnitude = magnitude<<8 | uint64(buf[i])
	}
	// pg_dump's integers are C's int, whatever width the archive gives them.
	if buf[0] > 1 || magnitude > math.MaxInt32 {
		d.offset = start
		d.fail(dataCorrupted, "not an integer: sign %d, magnitude %d", buf[0], magnitude)
		return 0
	}
	if buf[0] == 1 {
		return -int(magnitude)
	}
	return int(magnitude)
}

// length reads the length of a string; false for NULL and on failure.
func (d *decoder) length() (int, bool) {
	start := d.offset
	n := d.int()
	switch {
	case d.err != nil || n == -1:
		return 0, false
	case n < 0:
		d.offset = start
		d.fail(dataCorrupted, "string of negative length %d", n)
		return 0, false
	case n > d.limits.MaxString:
		d.offset = start
		d.fail(programLimitExceeded, "string of %d bytes is longer than the limit of %d", n, d.limits.MaxString)
		return 0, false
	}
	return n, true
}

// string reads a string; NULL is "".
func (d *decoder) string() string {
	n, ok := d.length()
	if !ok {
		return ""
	}
	return d.text(n)
}

// text reads n bytes.
func (d *decoder) text(n int) string {
	if n <= chunk {
		if !d.fill(d.scratch[:n]) {
			return ""
		}
		return string(d.scratch[:n])
	}
	var text strings.Builder
	for n > 0 {
		part := d.scratch[:min(n, chunk)]
		if !d.fill(part) {
			return ""
		}
		text.Write(part)
		n -= len(part)
	}
	return text.String()
}

// name reads a string of which an archive has few different ones.
func (d *decoder) name() string {
	n, ok := d.length()
	if !ok || n == 0 {
		return ""
	}
	if n > maxInternedLength {
		return d.text(n)
	}
	if !d.fill(d.scratch[:n]) {
		return ""
	}
	if known, ok := d.interned[string(d.scratch[:n])]; ok {
		return known
	}
	text := string(d.scratch[:n])
	d.interned[text] = text
	return text
}

// oid reads an OID, which is written as a string of digits.
func (d *decoder) oid() uint32 {
	start := d.offset
	digits, ok := d.digits()
	if !ok {
		d.offset = start
		d.fail(dataCorrupted, "an OID is missing")
		return 0
	}
	value, err := strconv.ParseUint(string(digits), 10, 32)
	if err != nil {
		d.offset = start
		d.fail(dataCorrupted, "not an OID: %q", digits)
		return 0
	}
	return uint32(value)
}

// dumpIDs reads a list of dump IDs, written as strings, up to a NULL.
func (d *decoder) dumpIDs(into []int) []int {
	for {
		start := d.offset
		digits, ok := d.digits()
		if !ok {
			return into
		}
		id, err := strconv.ParseInt(string(digits), 10, 32)
		if err != nil {
			d.offset = start
			d.fail(dataCorrupted, "not a dump ID: %q", digits)
			return into
		}
		into = append(into, int(id))
	}
}

// digits reads a short string, which lasts until the next read; false for NULL
// and on failure.
func (d *decoder) digits() ([]byte, bool) {
	start := d.offset
	n, ok := d.length()
	if !ok {
		return nil, false
	}
	if n > 11 { // "-2147483648"
		d.offset = start
		d.fail(dataCorrupted, "a number of %d digits", n)
		return nil, false
	}
	if !d.fill(d.scratch[:n]) {
		return nil, false
	}
	return d.scratch[:n], true
}

// skip reads n bytes and forgets them.
func (d *decoder) skip(n int) {
	for n > 0 && d.err == nil {
		part := min(n, chunk)
		d.fill(d.scratch[:part])
		n -= part
	}
}

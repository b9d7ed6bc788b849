package copy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// binaryHeader begins COPY's binary form: signature, flags, length of an
// extension that does not exist.
var binaryHeader = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// binaryTrailer is a CopyData that ends the binary form.
var binaryTrailer = []byte{'d', 0, 0, 0, 6, 0xff, 0xff}

// routing is where routeRows is in the stream.
type routing struct {
	to     *target // of the message under way; nil: it is dropped
	begun  bool    // the binary header has come
	trails bool    // the binary trailer has come
	null   []byte  // space for unescaped keys
}

// errShort means that a row's key is not all there yet.
var errShort = errors.New("the key is not complete")

// routeRows gives each row to the target of its key. Only the key, which comes
// first, is looked at.
func (t *transfer) routeRows() error {
	if t.r.Table.Format == Binary {
		for _, to := range t.targets {
			if err := t.append(to, binary.BigEndian.AppendUint32([]byte{'d'}, uint32(4+len(binaryHeader)))); err != nil {
				return err
			}
			if err := t.append(to, binaryHeader); err != nil {
				return err
			}
		}
	}
	b := spaces.Get().(*block)
	defer spaces.Put(b)
	kept := 0 // bytes at the start of b.space that are not routed yet
	for !t.answer.ready {
		n, err := t.source.read(b.space[kept:])
		if err != nil {
			t.source.unread = bytes.Clone(b.space[:kept]) // for those who look for the end of the stream
			return t.sourceError(err)
		}
		rows := t.rows
		rest, err := t.routeData(b.space[:kept+n])
		t.count(0, int64(n))
		if t.progress != nil && t.rows > rows {
			t.progress(t.rows-rows, 0)
		}
		if err != nil {
			return err
		}
		if len(rest) == len(b.space) {
			return pgerror.New(tooLarge, "a sharding key of table %s has more than %d bytes", t.r.Table.Source.Table, len(b.space)-5)
		}
		kept = copy(b.space, rest)
	}
	if t.answer.err != nil {
		return t.answer.err
	}
	if t.r.Table.Format == Binary {
		if !t.row.trails {
			return t.violation("ends without the trailer of the binary form")
		}
		for _, to := range t.targets {
			if err := t.append(to, binaryTrailer); err != nil {
				return err
			}
		}
	}
	return nil
}

// routeData routes what data has, and gives what needs more to be routed.
func (t *transfer) routeData(data []byte) (rest []byte, err error) {
	scan := &t.source.scan
	defer func() {
		if err != nil {
			t.source.unread = bytes.Clone(data) // for those who look for the end of the stream
		}
	}()
	for len(data) > 0 {
		switch {
		case scan.left > 0:
			part := data[:min(int64(len(data)), scan.left)]
			if _, err := scan.copyData(part); err != nil {
				return nil, err
			}
			data = data[len(part):]
			if err := t.append(t.row.to, part); err != nil {
				return nil, err
			}
		case data[0] != 'd' || !scan.boundary():
			if data, err = t.other(data); err != nil {
				return nil, err
			}
		default:
			skip, err := t.routeMessage(data)
			if errors.Is(err, errShort) {
				return data, nil
			}
			data = data[skip:]
			if err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// routeMessage decides where the CopyData at the start of data goes and writes
// its header. It gives how many bytes of it are dealt with.
func (t *transfer) routeMessage(data []byte) (int, error) {
	if len(data) < 5 {
		return 0, errShort
	}
	size := int64(binary.BigEndian.Uint32(data[1:5]))
	if size < 4 || size > 1<<31-1 {
		return 0, malformed('d', uint32(size))
	}
	body, all := data[5:], int64(len(data)) > size
	if all {
		body = data[5 : size+1]
	}
	at := 0
	if t.r.Table.Format == Binary && !t.row.begun {
		if !all && len(body) < len(binaryHeader) {
			return 0, errShort
		}
		if !bytes.HasPrefix(body, binaryHeader) {
			return 0, t.violation("does not begin with the header of the binary form")
		}
		at = len(binaryHeader)
	}
	to, row, err := t.decide(body[at:], all)
	if err != nil {
		return 0, err
	}
	t.row.begun, t.row.to = true, nil
	if row {
		t.rows++
		t.row.to = to
	}
	// The scanner follows, so that it knows where the stream is.
	if _, err := t.source.scan.copyData(data[:5+at]); err != nil {
		return 0, err
	}
	if t.row.to != nil {
		to.rows++
		header := [5]byte{'d'}
		binary.BigEndian.PutUint32(header[1:], uint32(size)-uint32(at))
		return 5 + at, t.append(to, header[:])
	}
	return 5 + at, nil
}

// decide finds the target of a row: nil if that shard has the range. all tells
// that body is the whole row. row is false for what is none.
func (t *transfer) decide(body []byte, all bool) (to *target, row bool, err error) {
	var key []byte
	var null bool
	if t.r.Table.Format == Binary {
		key, null, row, err = t.binaryKey(body, all)
	} else {
		key, null, row, err = t.textKey(body, all)
	}
	if err != nil || !row {
		return nil, row, err
	}
	shard, err := t.r.Table.Key.Shard(t.r.Table.Format.value(), key, null)
	if err != nil {
		return nil, false, err
	}
	if shard < 0 || shard >= len(t.routes) {
		return nil, false, pgerror.New(pgerror.InternalError, "rows of %s belong to shard %d, which there is not", t.r.Table.Source.Table, shard)
	}
	return t.routes[shard], true, nil
}

// binaryKey finds the first field of a tuple: a count of fields, then for each
// its length and its value.
func (t *transfer) binaryKey(body []byte, all bool) (key []byte, null, row bool, err error) {
	if len(body) < 2 {
		if all && len(body) == 0 && !t.row.begun {
			return nil, false, false, nil // the header came alone
		}
		return nil, false, false, t.short(all)
	}
	switch count := int16(binary.BigEndian.Uint16(body)); {
	case t.row.trails:
		return nil, false, false, t.violation("goes on behind the trailer of the binary form")
	case count == -1 && all && len(body) == 2:
		t.row.trails = true
		return nil, false, false, nil
	case int(count) != len(t.r.Table.Columns):
		return nil, false, false, t.violation(fmt.Sprintf("has a row of %d columns instead of %d", count, len(t.r.Table.Columns)))
	case len(body) < 6:
		return nil, false, false, t.short(all)
	}
	length := int32(binary.BigEndian.Uint32(body[2:]))
	switch {
	case length == -1:
		return nil, true, true, nil
	case length < 0:
		return nil, false, false, t.violation(fmt.Sprintf("has a value of length %d", length))
	case int64(len(body)) < 6+int64(length):
		return nil, false, false, t.short(all)
	}
	return body[6 : 6+length], false, true, nil
}

// textKey finds the first field of a line: up to a tab, or to its end.
func (t *transfer) textKey(body []byte, all bool) (key []byte, null, row bool, err error) {
	end := bytes.IndexAny(body, "\t\n")
	if end < 0 {
		return nil, false, false, t.short(all)
	}
	key = body[:end]
	if bytes.IndexByte(key, '\\') < 0 {
		return key, false, true, nil
	}
	if string(key) == `\N` {
		return nil, true, true, nil
	}
	t.row.null = unescape(t.row.null[:0], key)
	return t.row.null, false, true, nil
}

// unescape appends a field of COPY's text form to out without its escapes.
// COPY TO writes only those of one letter; any other character behind a
// backslash stands for itself (CopyAttributeOutText).
func unescape(out, field []byte) []byte {
	for i := 0; i < len(field); i++ {
		c := field[i]
		if c == '\\' && i+1 < len(field) {
			i++
			c = field[i]
			if at := bytes.IndexByte([]byte("bfnrtv"), c); at >= 0 {
				c = "\b\f\n\r\t\v"[at]
			}
		}
		out = append(out, c)
	}
	return out
}

// short is the error of a row that ends too early: more may come, unless this
// is all of it.
func (t *transfer) short(all bool) error {
	if all {
		return t.violation("has a row that ends within its first value")
	}
	return errShort
}

func (t *transfer) violation(what string) error {
	return pgerror.New(pgerror.ProtocolViolation, "the copy of %s from %s %s", t.r, connect.Place(t.source.server), what)
}

// append adds data for a target, nil for nobody.
func (t *transfer) append(to *target, data []byte) error {
	if to == nil {
		return nil
	}
	for len(data) > 0 {
		if to.filling == nil {
			b, err := to.blocks.get(t.ctx)
			if err != nil {
				return err
			}
			b.data, to.filling = b.space[:0], b
		}
		b := to.filling
		n := min(len(data), len(b.space)-len(b.data))
		b.data = append(b.data, data[:n]...)
		if data = data[n:]; len(b.data) == len(b.space) {
			to.flush()
		}
	}
	return nil
}

package apply

import (
	"bytes"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// inserts writes b.rows: by COPY if they are many and all of one format, else
// as sets, else one by one.
func (b *builder) inserts(s *script, w *window) {
	t := w.target
	if len(b.rows) == 0 {
		return
	}
	b.left = b.left[:0]
	switch {
	case len(b.rows) >= copyRows && len(t.kept) > 0 && !t.guarded:
		format, ok := b.copyFormat(t)
		if ok {
			b.copy(s, w, format)
			break
		}
		b.insertSets(s, w)
	default:
		b.left = append(b.left, b.rows...)
	}
	left := b.left
	b.left = nil
	for _, r := range left {
		b.insert(s, w, r.image, op{kind: opSet, window: w, want: 1})
	}
	b.left = left[:0]
}

// copyFormat gives the format that the first rows have in all columns; the
// others are compared while they are written.
func (b *builder) copyFormat(t *Target) (stream.Format, bool) {
	if t.casting {
		return 0, false
	}
	var format stream.Format
	for _, r := range b.rows[:min(len(b.rows), 64)] {
		for i, image := 0, r.image; len(image) > 0; i, image = i+1, image[width(image):] {
			f := stream.Format(image[0])
			if f == stream.Null || t.columns[i].skip {
				continue
			}
			if format == 0 {
				format = f
			}
			if f != format {
				return 0, false
			}
		}
	}
	if format == 0 {
		format = stream.Text
	}
	if format == stream.Binary {
		for _, i := range t.kept {
			if !t.columns[i].binary {
				return 0, false
			}
		}
	}
	return format, format == stream.Text || format == stream.Binary
}

// copyHeader begins a COPY in binary form: signature, flags, length of an
// extension.
var copyHeader = []byte("PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000")

func (b *builder) copy(s *script, w *window, format stream.Format) {
	t := w.target
	key, word := statementKey{kind: copyText}, "text"
	if format == stream.Binary {
		key.kind, word = copyBinary, "binary"
	}
	name := b.statement(s, t, key, func() string { return t.copySQL(word) })
	s.plain(name, op{kind: opSet, window: w})
	at := len(s.ops) - 1
	if format == stream.Binary {
		s.copyRow()
		s.bytes(copyHeader)
	}
	rows := 0
	for _, r := range b.rows {
		if len(r.image) > aloneBytes {
			b.left = append(b.left, r)
			continue
		}
		s.copyRow()
		begin := len(s.buf)
		var ok bool
		if format == stream.Binary {
			ok = s.binaryRow(t, r.image)
		} else {
			ok = s.textRow(t, r.image)
		}
		if !ok {
			s.buf = s.buf[:begin]
			b.left = append(b.left, r)
			continue
		}
		rows++
	}
	if format == stream.Binary {
		s.copyRow()
		s.int16(-1)
	}
	s.copyDone()
	s.ops[at].want = int64(rows)
}

// binaryRow appends one row of a COPY in binary form.
func (s *script) binaryRow(t *Target, image stream.Tuple) bool {
	s.int16(len(t.kept))
	for i := range t.columns {
		format, field, rest, ok := next(image)
		if !ok {
			return false
		}
		image = rest
		switch {
		case t.columns[i].skip:
		case format == stream.Null:
			s.int32(-1)
		case format != stream.Binary:
			return false
		case t.columns[i].widen != 0:
			s.widen(field[4:], t.columns[i].widen)
		default:
			s.buf = append(s.buf, field...)
		}
	}
	return true
}

// widen appends a big-endian integer with more bytes.
func (s *script) widen(value []byte, to int) {
	s.int32(to)
	fill := byte(0)
	if len(value) > 0 && value[0]&0x80 != 0 {
		fill = 0xff
	}
	for range to - len(value) {
		s.buf = append(s.buf, fill)
	}
	s.buf = append(s.buf, value...)
}

// textRow appends one row of a COPY in text form.
func (s *script) textRow(t *Target, image stream.Tuple) bool {
	first := true
	for i := range t.columns {
		format, field, rest, ok := next(image)
		if !ok {
			return false
		}
		image = rest
		if t.columns[i].skip {
			continue
		}
		if !first {
			s.buf = append(s.buf, '\t')
		}
		first = false
		switch format {
		case stream.Null:
			s.buf = append(s.buf, '\\', 'N')
		case stream.Text:
			s.escaped(field[4:])
		default:
			return false
		}
	}
	s.buf = append(s.buf, '\n')
	return true
}

// escaped appends a value of a COPY in text form (copyto.c, CopyAttributeOutText).
func (s *script) escaped(v []byte) {
	for {
		i := bytes.IndexAny(v, "\\\n\r\t")
		if i < 0 {
			s.buf = append(s.buf, v...)
			return
		}
		s.buf = append(s.buf, v[:i]...)
		switch v[i] {
		case '\n':
			s.buf = append(s.buf, '\\', 'n')
		case '\r':
			s.buf = append(s.buf, '\\', 'r')
		case '\t':
			s.buf = append(s.buf, '\\', 't')
		default:
			s.buf = append(s.buf, '\\', '\\')
		}
		v = v[i+1:]
	}
}

// insertSets writes INSERTs of arrays.
func (b *builder) insertSets(s *script, w *window) {
	t := w.target
	columns := t.kept
	rows := b.collect(w, columns, true)
	if rows == 0 {
		return
	}
	r := rowSet{columns: columns, byText: b.byText(t, columns)}
	name := b.statement(s, t, statementKey{kind: insertSet, byText: r.byText.key()}, func() string { return t.insertSetSQL(r) })
	b.bindArrays(s, t, name, r, rows, op{kind: opSet, window: w, want: int64(rows)})
}

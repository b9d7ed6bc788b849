package apply

import (
	"encoding/binary"
	"fmt"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// errTuple is a row that does not have its relation's columns. Decoding checks
// that, so that it is a defect, not a table's failure.
func errTuple(r *stream.Relation) error {
	return fmt.Errorf("a row of %s.%s does not have its %d columns", r.Schema, r.Name, len(r.Columns))
}

// next is Tuple.Next that keeps the length word: value has 'length, bytes', as
// an array's elements, COPY's fields and parameters have them, nil for NULL and
// unchanged ones. ok is false at the end of the tuple.
func next(t stream.Tuple) (format stream.Format, field []byte, rest stream.Tuple, ok bool) {
	if len(t) == 0 {
		return 0, nil, nil, false
	}
	format = stream.Format(t[0])
	if format == stream.Null || format == stream.Unchanged {
		return format, nil, t[1:], true
	}
	n := 5 + int(binary.BigEndian.Uint32(t[1:5]))
	return format, t[1:n:n], t[n:], true
}

// width is how many bytes the first value of t takes.
func width(t stream.Tuple) int {
	if t[0] == byte(stream.Null) || t[0] == byte(stream.Unchanged) {
		return 1
	}
	return 5 + int(binary.BigEndian.Uint32(t[1:5]))
}

// countColumns tells how many values t has.
func countColumns(t stream.Tuple) int {
	n := 0
	for len(t) > 0 {
		t = t[width(t):]
		n++
	}
	return n
}

// hasUnchanged tells whether a value of t was left out because it is TOASTed
// and did not change.
func hasUnchanged(t stream.Tuple) bool {
	for len(t) > 0 {
		if t[0] == byte(stream.Unchanged) {
			return true
		}
		t = t[width(t):]
	}
	return false
}

// lacks is hasUnchanged for what the destination has.
func (t *Target) lacks(tuple stream.Tuple) bool {
	if len(t.kept) == len(t.columns) {
		return hasUnchanged(tuple)
	}
	for i := 0; len(tuple) > 0 && i < len(t.columns); i++ {
		if tuple[0] == byte(stream.Unchanged) && !t.columns[i].skip {
			return true
		}
		tuple = tuple[width(tuple):]
	}
	return false
}

// overlay gives newer with its unchanged values taken from older, and whether
// it is complete then: older may have unchanged values itself.
func overlay(newer, older stream.Tuple) (out stream.Tuple, complete bool) {
	complete = true
	if !hasUnchanged(newer) {
		return newer, true
	}
	out = make(stream.Tuple, 0, len(newer)+len(older))
	for len(newer) > 0 && len(older) > 0 {
		n, o := width(newer), width(older)
		value := newer[:n]
		if newer[0] == byte(stream.Unchanged) {
			value = older[:o]
			complete = complete && value[0] != byte(stream.Unchanged)
		}
		out = append(out, value...)
		newer, older = newer[n:], older[o:]
	}
	return out, complete
}

// columnSet is a set of positions in a tuple.
type columnSet []uint64

func newColumnSet(columns int) columnSet { return make(columnSet, (columns+63)/64) }

func (s columnSet) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s columnSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// key is the set as a map's key.
func (s columnSet) key() string {
	b := make([]byte, 0, 8*len(s))
	for _, word := range s {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return string(b)
}

package apply

import (
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// valuesRows is the most rows of an UPDATE from VALUES, which takes what unnest
// cannot: arrays in binary form. Fewer go in powers of two, so that there are
// few statements to prepare.
const valuesRows = 64

// updateValuesSQL is updateSetSQL with one parameter per value.
func (t *Target) updateValuesSQL(r rowSet, set columnSet, rows int) string {
	var p params
	lines, names := make([]string, rows), make([]string, len(r.columns))
	for n, i := range r.columns {
		names[n] = fmt.Sprintf("c%d", i)
	}
	for line := range lines {
		values := make([]string, len(r.columns))
		for n, i := range r.columns {
			values[n] = p.uncast(&t.columns[i]) // value casts it
		}
		lines[line] = "(" + strings.Join(values, ", ") + ")"
	}
	from := fmt.Sprintf("(VALUES %s) AS v (%s)", strings.Join(lines, ", "), strings.Join(names, ", "))
	return t.updateFromSQL(r, set, from)
}

// updateValues writes the UPDATEs of rows that are in b.left, in blocks. Large
// rows stay there.
func (b *builder) updateValues(s *script, w *window, r rowSet, given, set columnSet) {
	t := w.target
	r.byText = newColumnSet(len(t.columns)) // parameters have the type itself in either format
	rows, left := b.left, b.rows[:0]
	n := 0
	for _, row := range rows {
		if len(row.image) > aloneBytes {
			left = append(left, row)
			continue
		}
		rows[n] = row
		n++
	}
	rows = rows[:n]
	for block := valuesRows; block > 1; block /= 2 {
		for len(rows) >= block && block*len(r.columns) <= mostParams {
			b.params = b.params[:0]
			o := op{kind: opSet, window: w, want: int64(block)}
			for _, row := range rows[:block] {
				if !b.valuesRow(s, t, row, r, o) {
					return
				}
			}
			key := statementKey{kind: updateValues, set: given.key(), rows: block}
			name := b.statement(s, t, key, func() string { return t.updateValuesSQL(r, set, block) })
			b.bind(s, name, o)
			rows = rows[block:]
		}
	}
	b.left = append(left, rows...)
}

const mostParams = 1<<16 - 1

// valuesRow adds the parameters of one row.
func (b *builder) valuesRow(s *script, t *Target, row *row, r rowSet, o op) bool {
	key, rest := row.key, row.image
	at := 0
	for i := range t.columns {
		var format stream.Format
		var field []byte
		format, field, rest, _ = next(rest)
		if t.columns[i].identity {
			format, field, key, _ = next(key)
		}
		if at < len(r.columns) && r.columns[at] == i {
			at++
			if !b.param(s, &t.columns[i], format, field, o) {
				return false
			}
		}
	}
	return true
}

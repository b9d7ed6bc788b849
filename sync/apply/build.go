package apply

import (
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// builder writes the statements of a chunk into a script.
type builder struct {
	*prepared
	arrays  [][]byte        // by column: the elements of the array that is being built
	formats []stream.Format // by column, 0 until a value has been seen
	rows    []*row
	left    []*row
	params  []param
}

// param is one value of a single statement, with its length word; nil for NULL.
type param struct {
	format stream.Format
	field  []byte
}

func newBuilder() *builder { return &builder{prepared: newPrepared()} }

const (
	aloneBytes = 256 << 10 // a row of more goes alone, not into a set
	setRows    = 3         // fewer rows go one by one
	copyRows   = 8         // as many INSERTs go by COPY
)

// errTooLarge is a statement that the protocol cannot carry.
func errTooLarge() *pgerror.Error {
	return pgerror.New(limitExceeded, "a change is larger than the 1 GB that one message may have")
}

// window writes what a window amounts to.
func (b *builder) window(s *script, w *window) {
	switch {
	case w.single:
		for i, e := range w.entries {
			b.one(s, w, e)
			if w.checked && (i == len(w.entries)-1 || w.entries[i+1].item != e.item) {
				s.plain(stmtImmediate, op{kind: opConstraints, window: w, entry: e, want: anyCount})
				s.control(stmtDeferred)
			}
		}
	case w.target.mode == runs:
		b.runs(s, w)
	default:
		b.folded(s, w)
	}
}

// runs keeps the order, but writes INSERTs that follow each other together.
func (b *builder) runs(s *script, w *window) {
	rows := make([]row, 0, len(w.entries))
	flush := func() {
		b.rows = b.rows[:0]
		for i := range rows {
			b.rows = append(b.rows, &rows[i])
		}
		b.inserts(s, w)
		rows = rows[:0]
	}
	for _, e := range w.entries {
		if e.change.Kind == stream.Insert {
			rows = append(rows, row{image: e.change.New})
			continue
		}
		flush()
		b.one(s, w, e)
	}
	flush()
}

// folded writes sets: DELETE, ghosts, UPDATE, INSERT.
func (b *builder) folded(s *script, w *window) {
	table := &w.table
	if b.pick(table, deleted, replaced) {
		b.deletes(s, w, false)
	}
	if b.pick(table, ghost, ghost) {
		b.deletes(s, w, true)
	}
	for class := range int32(len(w.classes) + 1) {
		b.rows = b.rows[:0]
		for i := range table.rows {
			if r := &table.rows[i]; r.state == updated && r.class == class {
				b.rows = append(b.rows, r)
			}
		}
		if len(b.rows) > 0 {
			b.updates(s, w, class)
		}
	}
	if b.pick(table, inserted, replaced) {
		b.inserts(s, w)
	}
}

// pick gathers the rows in one of two states.
func (b *builder) pick(table *keyTable, one, other rowState) bool {
	b.rows = b.rows[:0]
	for i := range table.rows {
		if r := &table.rows[i]; r.state == one || r.state == other {
			b.rows = append(b.rows, r)
		}
	}
	return len(b.rows) > 0
}

func (b *builder) deletes(s *script, w *window, ghosts bool) {
	t := w.target
	want := func(rows int) int64 {
		if ghosts {
			return 0
		}
		return int64(rows)
	}
	set := newColumnSet(len(t.columns))
	rows := b.collect(w, t.identity, false)
	if rows > 0 {
		r := rowSet{columns: t.identity, byText: b.byText(t, t.identity)}
		name := b.statement(s, t, statementKey{kind: deleteSet, byText: r.byText.key()}, func() string { return t.deleteSetSQL(r) })
		b.bindArrays(s, t, name, r, rows, op{kind: opSet, window: w, want: want(rows)})
	}
	for _, left := range b.left {
		b.params = b.params[:0]
		if !b.identityParams(s, w, left.key, entry{}) {
			return
		}
		name := b.statement(s, t, statementKey{kind: deleteOne}, func() string { return t.deleteOneSQL(set) })
		b.bind(s, name, op{kind: opSet, window: w, want: want(1)})
	}
}

// updates writes the UPDATEs of rows that give the same columns.
func (b *builder) updates(s *script, w *window, class int32) {
	t := w.target
	given := newColumnSet(len(t.columns))
	if class > 0 {
		given = w.classes[class-1]
	} else {
		for _, i := range t.kept {
			given.add(i)
		}
	}
	// set is what is assigned; the identity, and what no UPDATE can assign, are
	// conditions.
	set := newColumnSet(len(t.columns))
	var columns []int
	for _, i := range t.kept {
		c := &t.columns[i]
		if c.identity || given.has(i) {
			columns = append(columns, i)
			if !c.identity && !c.always {
				set.add(i)
			}
		}
	}
	rows := b.collect(w, columns, true)
	if rows == 0 && len(b.left) >= setRows {
		b.updateValues(s, w, rowSet{columns: columns}, given, set)
	}
	if rows > 0 {
		r := rowSet{columns: columns, byText: b.byText(t, columns)}
		key := statementKey{kind: updateSet, set: given.key(), byText: r.byText.key()}
		name := b.statement(s, t, key, func() string { return t.updateSetSQL(r, set) })
		b.bindArrays(s, t, name, r, rows, op{kind: opSet, window: w, want: int64(rows)})
	}
	for _, left := range b.left {
		b.update(s, w, left.image, left.key, nil, op{kind: opSet, window: w, want: 1})
	}
}

// collect fills the arrays of columns with the values of b.rows and tells how
// many rows they have. The others are in b.left: very large ones, those that
// mix formats in a column, few ones, and all if there is a column that unnest
// cannot give back.
func (b *builder) collect(w *window, columns []int, image bool) int {
	t := w.target
	b.left = b.left[:0]
	if len(b.rows) < setRows {
		b.left = append(b.left, b.rows...)
		return 0
	}
	for len(b.arrays) < len(t.columns) {
		b.arrays, b.formats = append(b.arrays, nil), append(b.formats, 0)
	}
	for _, i := range columns {
		b.arrays[i], b.formats[i] = b.arrays[i][:0], 0
	}
	wanted := newColumnSet(len(t.columns))
	for _, i := range columns {
		wanted.add(i)
	}
	taken := 0
	for _, r := range b.rows {
		if len(r.key) > aloneBytes || image && len(r.image) > aloneBytes {
			b.left = append(b.left, r)
			continue
		}
		switch b.take(t, r, wanted, image) {
		case fits:
			taken++
		case differs:
			b.left = append(b.left, r)
		case never:
			b.left = append(b.left[:0], b.rows...)
			return 0
		}
	}
	return taken
}

// taken is what became of a row that was to go into arrays.
type taken byte

const (
	fits    taken = iota
	differs       // in format: it goes alone
	never         // no row can: all go alone
)

// take appends one row to the arrays. Without image only the key is taken.
func (b *builder) take(t *Target, r *row, wanted columnSet, image bool) taken {
	key, rest := r.key, r.image
	for i := range t.columns {
		c := &t.columns[i]
		var format stream.Format
		var field []byte
		if image {
			format, field, rest, _ = next(rest)
		}
		if c.identity {
			format, field, key, _ = next(key)
		}
		if !wanted.has(i) {
			continue
		}
		if field == nil {
			b.arrays[i] = append(b.arrays[i], 0xff, 0xff, 0xff, 0xff)
			continue
		}
		if b.formats[i] != format {
			if format == stream.Binary && (!c.binary || !c.unnest && !c.label) {
				return never
			}
			if b.formats[i] != 0 {
				b.untake(t, r, wanted, image, i)
				return differs
			}
			b.formats[i] = format
		}
		b.arrays[i] = append(b.arrays[i], field...)
	}
	return fits
}

// untake removes what take appended before column end.
func (b *builder) untake(t *Target, r *row, wanted columnSet, image bool, end int) {
	key, rest := r.key, r.image
	for i := range end {
		var field []byte
		if image {
			_, field, rest, _ = next(rest)
		}
		if t.columns[i].identity {
			_, field, key, _ = next(key)
		}
		if wanted.has(i) {
			b.arrays[i] = b.arrays[i][:len(b.arrays[i])-max(4, len(field))]
		}
	}
}

// byText tells which of the arrays are of text: what came as text, and labels.
func (b *builder) byText(t *Target, columns []int) columnSet {
	set := newColumnSet(len(t.columns))
	for _, i := range columns {
		if c := &t.columns[i]; b.formats[i] == stream.Text || c.label || b.formats[i] == 0 && !c.unnest {
			set.add(i)
		}
	}
	return set
}

// bindArrays binds the arrays in binary form (array_recv, utils/adt/arrayfuncs.c).
func (b *builder) bindArrays(s *script, t *Target, name string, r rowSet, rows int, o op) {
	s.beginBind(name)
	s.int16(1)
	s.int16(1)
	s.int16(len(r.columns))
	for _, i := range r.columns {
		element := t.columns[i].element
		if r.byText.has(i) {
			element = textOID
		}
		s.int32(20 + len(b.arrays[i]))
		s.int32(1) // dimension
		s.int32(0) // flags: whether there are NULLs is found out by the server
		s.int32(int(element))
		s.int32(rows)
		s.int32(1) // lower bound
		s.bytes(b.arrays[i])
	}
	s.execute(o)
}

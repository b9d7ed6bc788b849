package apply

import (
	"bytes"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// one writes the statement of one change, which must affect one row.
func (b *builder) one(s *script, w *window, e entry) {
	c, o := e.change, op{kind: opSingle, window: w, entry: e, want: 1}
	t := w.target
	switch c.Kind {
	case stream.Insert:
		b.insert(s, w, c.New, o)
	case stream.Update:
		key, err := t.keyForOne(c)
		if err != nil {
			b.breaks(s, o, err)
			return
		}
		image := c.New
		if c.OldFull {
			image, _ = overlay(c.New, c.Old)
		}
		b.update(s, w, image, key, c.Old, o)
	case stream.Delete:
		key, err := t.keyForOne(c)
		if err != nil {
			b.breaks(s, o, err)
			return
		}
		b.params = b.params[:0]
		if !b.identityParams(s, w, key, e) {
			return
		}
		kind, nulls := statementKey{kind: deleteOne}, newColumnSet(len(t.columns))
		if t.full() {
			nulls = nullsOf(c.Old, len(t.columns))
			kind.byText = nulls.key()
		}
		b.bind(s, b.statement(s, t, kind, func() string { return t.deleteOneSQL(nulls) }), o)
	}
}

// keyForOne gives what the row is found by: the values of its identity before
// the change, the whole old row where there is none.
func (t *Target) keyForOne(c *stream.Change) (stream.Tuple, *pgerror.Error) {
	if t.full() {
		if !c.OldFull {
			return nil, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s has no replica identity: the row to change is not known", t).
				WithHint("On the source: ALTER TABLE %s REPLICA IDENTITY FULL;", t.quotedSource())
		}
		return c.Old, nil
	}
	tuple := c.Old
	if tuple == nil {
		tuple = c.New
	}
	key, err := t.keyOf(tuple, nil)
	if err != nil {
		return nil, pgerror.From(err)
	}
	return key, nil
}

func (b *builder) breaks(s *script, o op, err *pgerror.Error) {
	if s.broken == nil {
		s.broken = &failure{op: o, err: err}
	}
}

// insert writes one INSERT.
func (b *builder) insert(s *script, w *window, image stream.Tuple, o op) {
	t := w.target
	b.params = b.params[:0]
	for i := range t.columns {
		format, field, rest, ok := next(image)
		if !ok {
			b.breaks(s, o, pgerror.From(errTuple(t.Source)))
			return
		}
		image = rest
		if !t.columns[i].skip && !b.param(s, &t.columns[i], format, field, o) {
			return
		}
	}
	b.bind(s, b.statement(s, t, statementKey{kind: insertOne}, t.insertOneSQL), o)
}

// update writes one UPDATE of the row found by key; old is its old tuple or nil.
func (b *builder) update(s *script, w *window, image, key, old stream.Tuple, o op) {
	t := w.target
	set := newColumnSet(len(t.columns))
	replace := t.watched
	b.params = b.params[:0]
	rest, oldRest := image, old
	for i := range t.columns {
		c := &t.columns[i]
		if len(rest) == 0 {
			b.breaks(s, o, pgerror.From(errTuple(t.Source)))
			return
		}
		n := width(rest)
		changed := rest[0] != byte(stream.Unchanged) && !c.skip
		if len(oldRest) > 0 {
			m := width(oldRest)
			changed = changed && (!c.identity || !bytes.Equal(rest[:n], oldRest[:m]))
			oldRest = oldRest[m:]
		} else if c.identity {
			changed = false
		}
		rest = rest[n:]
		if changed {
			set.add(i)
			replace = replace || c.always
		}
	}
	kind, nulls := updateOne, newColumnSet(len(t.columns))
	if replace {
		kind = replaceOne
	}
	for i := 0; len(image) > 0; i++ {
		format, field, next, _ := next(image)
		image = next
		if set.has(i) && !b.param(s, &t.columns[i], format, field, o) {
			return
		}
	}
	if !b.identityParams(s, w, key, o.entry) {
		return
	}
	what := statementKey{kind: kind, set: set.key()}
	if t.full() {
		nulls = nullsOf(key, len(t.columns))
		what.byText = nulls.key()
	}
	b.bind(s, b.statement(s, t, what, func() string {
		if replace {
			return t.replaceOneSQL(set, nulls)
		}
		return t.updateOneSQL(set, nulls)
	}), o)
}

// identityParams adds the parameters of whereOne.
func (b *builder) identityParams(s *script, w *window, key stream.Tuple, e entry) bool {
	t := w.target
	for i := range t.columns {
		c := &t.columns[i]
		if !t.full() && !c.identity {
			continue
		}
		format, field, rest, ok := next(key)
		o := op{kind: opSingle, window: w, entry: e, want: 1}
		if !ok {
			b.breaks(s, o, pgerror.From(errTuple(t.Source)))
			return false
		}
		key = rest
		if c.skip || t.full() && field == nil {
			continue // IS NULL has no parameter
		}
		if !b.param(s, c, format, field, o) {
			return false
		}
	}
	return true
}

// param adds one parameter.
func (b *builder) param(s *script, c *column, format stream.Format, field []byte, o op) bool {
	if format == stream.Binary && !c.binary {
		b.breaks(s, o, pgerror.New(pgerror.FeatureNotSupported, "column %s arrives in binary form, which the destination's type may not have", c.name).
			WithHint("the stream must be read as text"))
		return false
	}
	b.params = append(b.params, param{format: format, field: field})
	return true
}

// bind binds b.params and runs the statement.
func (b *builder) bind(s *script, name string, o op) {
	s.beginBind(name)
	same := true
	for _, p := range b.params {
		same = same && (p.field == nil || p.format == stream.Binary)
	}
	if same {
		s.int16(1)
		s.int16(1)
	} else {
		s.int16(len(b.params))
		for _, p := range b.params {
			s.int16(formatCode(p.format))
		}
	}
	s.int16(len(b.params))
	for _, p := range b.params {
		s.field(p.field)
	}
	s.execute(o)
}

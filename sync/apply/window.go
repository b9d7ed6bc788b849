package apply

import (
	"bytes"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// window is the changes of one target within a chunk: as they came, and folded.
type window struct {
	target  *Target
	entries []entry // in the order of the source
	counts  Counts
	single  bool // they are applied one by one
	checked bool // and deferred constraints are checked behind each transaction
	table   keyTable
	classes []columnSet // sets of columns that UPDATEs give, most often one
	byClass map[string]int32
}

func newWindow(t *Target) *window {
	return &window{target: t, single: t.mode == ordered}
}

// reset makes the window one for t, keeping its memory. Without t it holds
// nothing any more.
func (w *window) reset(t *Target) {
	clear(w.entries)
	w.table.reset()
	clear(w.byClass)
	*w = window{target: t, entries: w.entries[:0], single: t != nil && t.mode == ordered, table: w.table, classes: w.classes[:0], byClass: w.byClass}
}

// add takes the next change of the target. What cannot be folded makes the
// window single: the changes are all there.
func (w *window) add(e entry) error {
	w.entries = append(w.entries, e)
	if w.single || w.target.mode != folded {
		return nil
	}
	ok, err := w.fold(e.change)
	if err == nil && !ok {
		w.single = true
		w.table.reset()
	}
	return err
}

// fold is false if the change cannot be folded.
func (w *window) fold(c *stream.Change) (bool, error) {
	t := w.target
	switch c.Kind {
	case stream.Insert:
		key, err := t.keyOf(c.New, nil)
		if err != nil {
			return false, err
		}
		return w.event(key, rowInserts, c.New), nil
	case stream.Delete:
		key, err := t.keyOf(c.Old, nil)
		if err != nil {
			return false, err
		}
		return w.event(key, rowDeletes, nil), nil
	case stream.Update:
		return w.update(c)
	}
	return false, nil
}

func (w *window) update(c *stream.Change) (bool, error) {
	t := w.target
	key, err := t.keyOf(c.New, c.Old)
	if err != nil {
		return false, err
	}
	image := c.New
	if c.Old != nil {
		old, err := t.keyOf(c.Old, nil)
		if err != nil {
			return false, err
		}
		if c.OldFull {
			image, _ = overlay(c.New, c.Old)
		}
		if !bytes.Equal(old, key) {
			return w.move(old, key, image), nil
		}
	}
	return w.event(key, rowUpdates, image), nil
}

// move is an UPDATE of the key. The new row must be known completely, and the
// old one must have nothing that only the destination has.
func (w *window) move(old, key, image stream.Tuple) bool {
	if len(w.target.extras) > 0 {
		return false
	}
	from := w.table.find(old)
	complete := !w.target.lacks(image)
	if !complete && from.image != nil {
		image, _ = overlay(image, from.image)
		complete = !w.target.lacks(image)
	}
	if !complete {
		return false
	}
	return w.event(old, rowDeletes, nil) && w.event(key, rowInserts, image)
}

func (w *window) event(key stream.Tuple, e rowEvent, image stream.Tuple) bool {
	r := w.table.find(key)
	before := r.state
	r.state = folds[before][e]
	switch {
	case r.state == conflict:
		return false
	case e == rowUpdates && before != absent:
		image, _ = overlay(image, r.image)
	}
	r.image = image
	if r.state == updated {
		r.class = w.class(image)
	}
	return true
}

// class gives the number of the set of columns that an image has.
func (w *window) class(image stream.Tuple) int32 {
	if !w.target.lacks(image) {
		return 0 // the whole row, in set statements always there
	}
	set := newColumnSet(len(w.target.columns))
	for i := 0; len(image) > 0; i++ {
		if image[0] != byte(stream.Unchanged) {
			set.add(i)
		}
		image = image[width(image):]
	}
	key := set.key()
	n, ok := w.byClass[key]
	if !ok {
		if w.byClass == nil {
			w.byClass = map[string]int32{}
		}
		w.classes = append(w.classes, set)
		n = int32(len(w.classes))
		w.byClass[key] = n
	}
	return n
}

// keyOf gives the values of the identity in t. An unchanged one of an UPDATE is
// the old one. Where the columns lie together the key is a part of the tuple.
func (t *Target) keyOf(tuple, old stream.Tuple) (stream.Tuple, error) {
	if len(tuple) == 0 {
		return nil, errTuple(t.Source)
	}
	first, last := t.identity[0], t.identity[len(t.identity)-1]
	rest := tuple
	for range first {
		if len(rest) == 0 {
			return nil, errTuple(t.Source)
		}
		rest = rest[width(rest):]
	}
	begin, end, unchanged := rest, 0, false
	for range last - first + 1 {
		if len(rest) == 0 {
			return nil, errTuple(t.Source)
		}
		unchanged = unchanged || rest[0] == byte(stream.Unchanged)
		n := width(rest)
		end += n
		rest = rest[n:]
	}
	if last-first+1 == len(t.identity) && !unchanged {
		return begin[:end:end], nil
	}
	return t.gather(tuple, old)
}

// gather builds a key of columns that are apart.
func (t *Target) gather(tuple, old stream.Tuple) (stream.Tuple, error) {
	var key stream.Tuple
	for i := range t.columns {
		if len(tuple) == 0 || old != nil && len(old) == 0 {
			return nil, errTuple(t.Source)
		}
		n := width(tuple)
		value := tuple[:n]
		if old != nil {
			o := width(old)
			if value[0] == byte(stream.Unchanged) {
				value = old[:o]
			}
			old = old[o:]
		}
		if t.columns[i].identity {
			key = append(key, value...)
		}
		tuple = tuple[n:]
	}
	return key, nil
}

package stream

import (
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/pgerror"
)

// drawTuple makes a tuple of a relation's columns.
func drawTuple(t *rapid.T, columns int) Tuple {
	tuple := Tuple{}
	for range columns {
		format := rapid.SampledFrom([]Format{Null, Unchanged, Text, Binary}).Draw(t, "format")
		value := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "value")
		if rapid.IntRange(0, 50).Draw(t, "large") == 0 {
			value = make([]byte, rapid.IntRange(blockSize-40, 2*blockSize).Draw(t, "size"))
		}
		tuple = AppendValue(tuple, format, value)
	}
	return tuple
}

func drawChange(t *rapid.T, relations []*Relation) Change {
	relation := rapid.SampledFrom(relations).Draw(t, "relation")
	columns := len(relation.Columns)
	switch kind := rapid.SampledFrom([]Kind{Insert, Update, Delete, Truncate, Message}).Draw(t, "kind"); kind {
	case Insert:
		return Change{Kind: kind, Relation: relation, New: drawTuple(t, columns)}
	case Delete:
		return Change{Kind: kind, Relation: relation, Old: drawTuple(t, columns), OldFull: rapid.Bool().Draw(t, "full")}
	case Truncate:
		return Change{Kind: kind, Truncated: &Truncated{
			Relations: rapid.SliceOfN(rapid.SampledFrom(relations), 0, 3).Draw(t, "tables"),
			Cascade:   rapid.Bool().Draw(t, "cascade"), RestartIdentity: rapid.Bool().Draw(t, "restart"),
		}}
	case Message:
		return Change{Kind: kind, Logical: &LogicalEvent{
			LSN: LSN(rapid.Uint64().Draw(t, "lsn")), Prefix: rapid.StringMatching(`\w*`).Draw(t, "prefix"), Content: rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "content"),
		}}
	default:
		c := Change{Kind: kind, Relation: relation, New: drawTuple(t, columns)}
		if rapid.Bool().Draw(t, "old") {
			c.Old, c.OldFull = drawTuple(t, columns), rapid.Bool().Draw(t, "full")
		}
		return c
	}
}

// What a spool gives, any number of times, is what was appended and not taken
// back.
func TestSpoolProperty(t *testing.T) {
	t.Parallel()
	dir, err := newSpoolDir(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, dir.remove()) })
	relations := []*Relation{{OID: 1, Name: "none"}, {OID: 2, Name: "one", Columns: make([]RelationColumn, 1)}, {OID: 3, Name: "three", Columns: make([]RelationColumn, 3)}}
	rapid.Check(t, func(t *rapid.T) {
		s, err := newSpool(dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		var want []Change
		var sizes []int64
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			if len(want) > 0 && rapid.IntRange(0, 9).Draw(t, "step") == 0 {
				n := rapid.IntRange(0, len(want)-1).Draw(t, "keep")
				if err := s.truncate(sizes[n]); err != nil {
					t.Fatal(err)
				}
				want, sizes = want[:n], sizes[:n]
				continue
			}
			c := drawChange(t, relations)
			sizes, want = append(sizes, s.size()), append(want, c)
			if err := s.append(&c); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.finish(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			i := 0
			err := s.Each(func(c *Change) error {
				if i >= len(want) || !reflect.DeepEqual(want[i], *c) {
					t.Fatalf("change %d: %v", i, c)
				}
				i++
				return nil
			})
			if err != nil || i != len(want) {
				t.Fatalf("%d changes, want %d: %v", i, len(want), err)
			}
		}
		stop := errors.New("stop")
		if err := s.Each(func(*Change) error { return stop }); len(want) > 0 && !errors.Is(err, stop) {
			t.Fatalf("got %v", err)
		}
	})
}

// A file that was changed behind our back is an error, not a panic.
func TestSpoolDamaged(t *testing.T) {
	t.Parallel()
	dir, err := newSpoolDir(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, dir.remove()) })
	relation := &Relation{OID: 2, Columns: make([]RelationColumn, 1)}
	for at := range int64(60) {
		s, err := newSpool(dir, 1)
		must(t, err)
		for range 3 {
			must(t, s.append(&Change{Kind: Insert, Relation: relation, New: AppendValue(nil, Text, []byte("value"))}))
		}
		must(t, s.finish())
		_, err = s.file.WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, at)
		must(t, err)
		if err := s.Each(func(*Change) error { return nil }); err != nil && pgerror.Code(err) != pgerror.SystemError {
			t.Errorf("damaged at %d: %v", at, err)
		}
		must(t, s.file.Truncate(at))
		if err := s.Each(func(*Change) error { return nil }); pgerror.Code(err) != pgerror.SystemError {
			t.Errorf("cut at %d: %v", at, err)
		}
		must(t, s.Close())
	}
}

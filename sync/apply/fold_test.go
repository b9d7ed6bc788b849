package apply

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// TestFolds walks the table: what a state says of the row before the chunk and
// after it must be what the changes did to it.
func TestFolds(t *testing.T) {
	t.Parallel()
	// before: must the row have been there? after: is it there?
	before := map[rowState]bool{inserted: false, ghost: false, updated: true, deleted: true, replaced: true}
	after := map[rowState]bool{inserted: true, ghost: false, updated: true, deleted: false, replaced: true}
	for state := absent; state <= conflict; state++ {
		for event := rowInserts; event <= rowDeletes; event++ {
			got := folds[state][event]
			var want rowState
			switch {
			case state == conflict:
				want = conflict
			case state == absent:
				want = [...]rowState{inserted, updated, deleted}[event]
			case after[state] == (event == rowInserts):
				want = conflict
			}
			if want != absent {
				if got != want {
					t.Errorf("%s, event %d: %s, want %s", state, event, got, want)
				}
				continue
			}
			if got == conflict || before[got] != before[state] || after[got] != (event != rowDeletes) {
				t.Errorf("%s, event %d: %s", state, event, got)
			}
		}
	}
}

func TestKeyTable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var table keyTable
		for range 2 {
			want := map[string]int32{}
			for i, key := range rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 1, 3)).Draw(t, "keys") {
				r := table.find(stream.Tuple(key))
				before, known := want[string(key)]
				if known && r.class != before || !known && (r.class != 0 || r.state != absent) {
					t.Fatalf("key %x: found %d, want %d", key, r.class, before)
				}
				r.class, r.state = int32(i+1), updated
				want[string(key)] = r.class
			}
			if len(table.rows) != len(want) {
				t.Fatalf("%d rows, want %d", len(table.rows), len(want))
			}
			table.reset()
		}
	})
}

func TestOverlay(t *testing.T) {
	t.Parallel()
	value := func(s string) stream.Tuple { return stream.AppendValue(nil, stream.Text, []byte(s)) }
	u, n := stream.AppendValue(nil, stream.Unchanged, nil), stream.AppendValue(nil, stream.Null, nil)
	join := func(parts ...stream.Tuple) (out stream.Tuple) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	for _, test := range []struct {
		newer, older, want stream.Tuple
		complete           bool
	}{
		{join(value("a"), value("b")), join(u, u), join(value("a"), value("b")), true},
		{join(value("a"), u), join(value("x"), value("y")), join(value("a"), value("y")), true},
		{join(u, u), join(n, value("y")), join(n, value("y")), true},
		{join(u, value("b")), join(u, value("y")), join(u, value("b")), false},
	} {
		got, complete := overlay(test.newer, test.older)
		if !bytes.Equal(got, test.want) || complete != test.complete {
			t.Errorf("%x over %x: %x, %t", test.newer, test.older, got, complete)
		}
	}
}

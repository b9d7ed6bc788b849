package pool

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestServerMoves walks the table of a connection's states: what is in it is done,
// all else panics.
func TestServerMoves(t *testing.T) {
	t.Parallel()
	for from := serverNew; from <= serverClosed; from++ {
		for to := serverNew; to <= serverClosed; to++ {
			s := &Server{state: from}
			allowed := slices.Contains(serverMoves[from], to)
			func() {
				defer func() {
					if panicked := recover() != nil; panicked == allowed {
						t.Errorf("%s to %s: panics %t", from, to, panicked)
					}
				}()
				s.move(to, 7)
			}()
			if allowed && (s.state != to || s.since != 7) {
				t.Errorf("%s to %s: the state is %s since %d", from, to, s.state, s.since)
			}
		}
	}
	if len(serverMoves[serverClosed]) != 0 {
		t.Error("a closed connection can be used again")
	}
}

// TestGateMoves walks the table of a gate's states.
func TestGateMoves(t *testing.T) {
	t.Parallel()
	states := []GateState{GateOpen, GateDraining, GateClosed}
	events := []gateEvent{gateHeld, gateDrained, gateLoosened, gateReleased, gateMoved}
	for _, from := range states {
		for _, event := range events {
			g := &gate{state: from}
			to, can := gateMoves[from][event]
			if moved := g.move(event); moved != can || can && g.state != to || !can && g.state != from {
				t.Errorf("%s in %s: %t, and the state is %s", event, from, moved, g.state)
			}
		}
	}
	for _, from := range states {
		if to, can := gateMoves[from][gateMoved]; can && (from != GateClosed || to != GateClosed) {
			t.Errorf("servers can be replaced in %s", from)
		}
		if to, can := gateMoves[from][gateReleased]; can && to != GateOpen {
			t.Errorf("a gate that nobody holds is %s", to)
		}
	}
}

// TestGateIsClosedWhileHeld holds and releases at random by several owners.
func TestGateIsClosedWhileHeld(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGate()
		held := map[holdKey]bool{}
		kinds := []HoldKind{Pause, Maintenance, Killed, Switch}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			key := holdKey{rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "owner"), rapid.SampledFrom(kinds).Draw(t, "kind")}
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				if _, fresh := g.hold(key, time.Time{}); fresh == held[key] {
					t.Fatalf("hold by %v: fresh %t", key, fresh)
				}
				held[key] = true
			case 1:
				if g.release(key) != held[key] {
					t.Fatalf("release by %v who holds it: %t", key, held[key])
				}
				delete(held, key)
			case 2:
				g.move(gateDrained)
			}
			want := open
			for key := range held {
				want = max(want, levels[key.kind])
			}
			if got := g.level(); got != want || (g.state == GateOpen) != (len(held) == 0) || len(g.owners()) != len(held) {
				t.Fatalf("with %v the level is %d, want %d, the state %s", held, got, want, g.state)
			}
		}
	})
}

// TestQueueKeepsItsOrder pushes and removes at random.
func TestQueueKeepsItsOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var want []*waiter
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(want) == 0 || rapid.Bool().Draw(t, "push") {
				w := &waiter{}
				q.push(w)
				want = append(want, w)
			} else {
				i := rapid.IntRange(0, len(want)-1).Draw(t, "which")
				q.remove(want[i])
				if want[i].queue != nil || want[i].next != nil || want[i].prev != nil {
					t.Fatal("who has left is still linked")
				}
				want = slices.Delete(want, i, i+1)
			}
			var got, back []*waiter
			for w := q.first; w != nil; w = w.next {
				got = append(got, w)
			}
			for w := q.last; w != nil; w = w.prev {
				back = append([]*waiter{w}, back...)
			}
			if !slices.Equal(got, want) || !slices.Equal(back, want) || q.length != len(want) {
				t.Fatalf("%d in the queue forwards, %d backwards, length %d, want %d", len(got), len(back), q.length, len(want))
			}
		}
	})
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	bounds := Bounds()
	for i, bound := range bounds {
		if got := bucketOf(int64(bound) - 1); got != i {
			t.Errorf("just below %s is in bucket %d, want %d", bound, got, i)
		}
		if got := bucketOf(int64(bound)); got != i+1 {
			t.Errorf("%s is in bucket %d, want %d", bound, got, i+1)
		}
	}
	if bucketOf(-1) != 0 || bucketOf(1<<62) != buckets-1 {
		t.Error("what is out of range is in no bucket")
	}
	var all Histogram
	var u Usage
	u.Query(int64(time.Millisecond))
	u.Query(int64(time.Hour))
	all.take(&u.queries)
	all.take(&u.queries)
	n := uint64(0)
	for _, c := range all.Counts {
		n += c
	}
	if n != 2 || all.Counts[buckets-1] != 1 || u.Queries != 2 {
		t.Errorf("two queries are counted as %v", all.Counts)
	}
}

func TestTimelineOrder(t *testing.T) {
	t.Parallel()
	if timeline("000000020000000000000001") <= timeline("0000000100000000000000FF") || timeline("") != "" {
		t.Error("a newer timeline is not greater")
	}
}

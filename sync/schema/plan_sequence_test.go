package schema

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// nextval is PostgreSQL's (nextval_internal in sequence.c): ok is false where
// it raises 2200H.
func nextval(s *catalog.Sequence) (value int64, ok bool) {
	if !s.Called {
		s.Called = true
		return s.Last, true
	}
	next := new(big.Int).Add(big.NewInt(s.Last), big.NewInt(s.Increment))
	switch {
	case s.Increment > 0 && next.Cmp(big.NewInt(s.Max)) > 0:
		if !s.Cycle {
			return 0, false
		}
		s.Last = s.Min
	case s.Increment < 0 && next.Cmp(big.NewInt(s.Min)) < 0:
		if !s.Cycle {
			return 0, false
		}
		s.Last = s.Max
	default:
		s.Last = next.Int64()
	}
	return s.Last, true
}

// weird is a name that needs all quoting there is.
var weird = catalog.Name{Schema: `Weird "Name" $1`, Name: `it's "x" \`}

// apply runs what a plan says on a shard's sequence, and refuses what
// PostgreSQL would.
func apply(t *rapid.T, st *Statement, s *catalog.Sequence) {
	if st.Outcome == Existed {
		return
	}
	const alter, setval = `ALTER SEQUENCE "Weird ""Name"" $1"."it's ""x"" \"`, `SELECT pg_catalog.setval(E'"Weird ""Name"" $1"."it''s ""x"" \\"'`
	step, value, called := s.Increment, int64(0), false
	if _, err := fmt.Sscanf(st.SQL, alter+" INCREMENT BY %d RESTART WITH %d;", &step, &value); err == nil {
		s.Increment, s.Last, s.Called = step, value, false
	} else if _, err := fmt.Sscanf(st.SQL, alter+" INCREMENT BY %d;\n"+setval+", %d, %t);", &step, &value, &called); err == nil {
		s.Increment, s.Last, s.Called = step, value, called
	} else if _, err := fmt.Sscanf(st.SQL, setval+", %d, %t);", &value, &called); err == nil {
		s.Last, s.Called = value, called
	} else {
		t.Fatalf("not understood: %s", st.SQL)
	}
	if s.Last < s.Min || s.Last > s.Max {
		t.Fatalf("%s: out of bounds (%d..%d)", st.SQL, s.Min, s.Max)
	}
	if s.Increment == 0 || (s.Increment > 0) != (step > 0) {
		t.Fatalf("%s: increment %d", st.SQL, step)
	}
}

// anyInt draws numbers of every size, with the extremes.
func anyInt(low, high int64) *rapid.Generator[int64] {
	near := func(x, distance int64) int64 { // x + distance, kept inside
		if sum, ok := catalog.Add(x, distance); ok || distance == 0 {
			return max(low, min(high, sum))
		}
		return x
	}
	return rapid.OneOf(
		rapid.Int64Range(low, high),
		rapid.Custom(func(t *rapid.T) int64 { return near(low, rapid.Int64Range(0, 50).Draw(t, "above")) }),
		rapid.Custom(func(t *rapid.T) int64 { return near(high, -rapid.Int64Range(0, 50).Draw(t, "below")) }),
		rapid.Custom(func(t *rapid.T) int64 { return near(0, rapid.Int64Range(-50, 50).Draw(t, "small")) }),
	)
}

// anySequence draws a sequence that PostgreSQL would take, in a state that it
// could be in.
func anySequence(t *rapid.T, cycle bool) catalog.Sequence {
	low := anyInt(math.MinInt64, math.MaxInt64-1).Draw(t, "min")
	s := catalog.Sequence{Sequence: weird, Type: "bigint", Min: low, Max: anyInt(low+1, math.MaxInt64).Draw(t, "max"), Cycle: cycle}
	s.Start = anyInt(s.Min, s.Max).Draw(t, "start")
	s.Increment = rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(-20, -1), anyInt(1, math.MaxInt64), anyInt(math.MinInt64, -1)).Draw(t, "increment")
	s.Last = rapid.OneOf(rapid.Just(s.Start), anyInt(s.Min, s.Max)).Draw(t, "last")
	s.Called = rapid.Bool().Draw(t, "called")
	return s
}

// created is a sequence as the PRE phase makes it on one of several shards.
func created(source catalog.Sequence) catalog.Sequence {
	source.Last, source.Called = source.Start, false
	return source
}

func sequenceStatement(source, there catalog.Sequence, margin int64, shard, shards int) *Statement {
	b := &builder{
		opts:        PlanOptions{Phase: dump.Cutover, SequenceMargin: margin},
		destination: &Destination{Server: config.Server{Shard: shard}, Shards: shards},
	}
	return b.sequence(source, there)
}

// behind tells whether a is given before b by a sequence of this direction.
func behind(a, b, increment int64) bool {
	if increment > 0 {
		return a < b
	}
	return a > b
}

func TestSequenceOfOneShardGoesOn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source := anySequence(t, false)
		there := created(source)
		for range rapid.IntRange(0, 3).Draw(t, "given there before") {
			nextval(&there)
		}
		before := there
		margin := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1000), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "margin")
		st := sequenceStatement(source, there, margin, 0, 1)
		apply(t, st, &there)
		if again := sequenceStatement(source, there, margin, 0, 1); again.Outcome != Existed {
			t.Fatalf("run again it is not found done: %s", again.SQL)
		}
		onSource, left := nextval(&source)
		value, ok := nextval(&there)
		if ok && left && behind(value, onSource, source.Increment) {
			t.Fatalf("%s: the destination gives %d, the source would give %d", st.SQL, value, onSource)
		}
		if ok && !left {
			t.Fatalf("%s: the source is exhausted, the destination gives %d", st.SQL, value)
		}
		// Of an exhausted source the destination is as exhausted; what was given there stays given.
		if earlier, could := nextval(&before); ok && could && behind(value, earlier, source.Increment) {
			t.Fatalf("%s: the destination goes back from %d to %d", st.SQL, earlier, value)
		}
		if !ok && left {
			if _, could := nextval(&before); could && margin == 0 {
				t.Fatalf("%s: the destination is exhausted, the source gives %d", st.SQL, onSource)
			}
		}
	})
}

func TestSequenceOfOneShardLeavesTheMargin(t *testing.T) {
	t.Parallel()
	source := catalog.Sequence{Sequence: weird, Start: 1, Min: 1, Max: 1000, Increment: 5, Last: 101, Called: true}
	for _, test := range []struct {
		name   string
		change func(*catalog.Sequence)
		margin int64
		want   int64 // of the next nextval, 0 for none
	}{
		{"margin", func(*catalog.Sequence) {}, 10, 156},
		{"none", func(*catalog.Sequence) {}, 0, 106},
		{"negative margin", func(*catalog.Sequence) {}, -3, 106},
		{"never called", func(s *catalog.Sequence) { s.Called = false }, 10, 101},
		{"no room for the margin", func(s *catalog.Sequence) { s.Last = 981 }, 10, 986},
		{"exhausted", func(s *catalog.Sequence) { s.Last = 996 }, 10, 0},
		{"backwards", func(s *catalog.Sequence) { s.Increment, s.Start = -5, 1000 }, 10, 46},
		{"cycle", func(s *catalog.Sequence) { s.Cycle = true }, 10, 106},
		{"whole bigint", func(s *catalog.Sequence) {
			s.Min, s.Max, s.Start, s.Last = math.MinInt64, math.MaxInt64, math.MinInt64, math.MinInt64
		}, 10, math.MinInt64 + 55},
	} {
		s := source
		test.change(&s)
		there := created(s)
		if st := sequenceStatement(s, there, test.margin, 0, 1); st.Outcome != Existed {
			there.Last, there.Called = carried(s, test.margin)
		}
		got, ok := nextval(&there)
		if !ok {
			got = 0
		}
		if got != test.want {
			t.Errorf("%s: the next value is %d, want %d", test.name, got, test.want)
		}
	}
}

// TestSequencesOfShardsNeverCollide lets every shard hand out values at will.
func TestSequencesOfShardsNeverCollide(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source := anySequence(t, false)
		n := rapid.IntRange(2, 5).Draw(t, "shards")
		margin := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1000)).Draw(t, "margin")
		shards := make([]catalog.Sequence, n)
		given := map[int64]string{}
		give := func(i int, when string) {
			value, ok := nextval(&shards[i])
			if !ok {
				return
			}
			at := fmt.Sprintf("shard %d %s", i, when)
			if earlier, twice := given[value]; twice {
				t.Fatalf("%d is given by %s and by %s", value, earlier, at)
			}
			given[value] = at
			state := source
			if next, left := nextval(&state); !left || behind(value, next, source.Increment) {
				t.Fatalf("%s gives %d; the source, which may have given it, would give %d (%t)", at, value, next, left)
			}
		}
		plan := func(when string) {
			for i := range shards {
				st := sequenceStatement(source, shards[i], margin, i, n)
				apply(t, st, &shards[i])
				if again := sequenceStatement(source, shards[i], margin, i, n); again.Outcome != Existed {
					t.Fatalf("%s: run again on shard %d it is not found done: %+v, %s", when, i, shards[i], again.SQL)
				}
			}
		}
		for i := range shards {
			shards[i] = created(source)
		}
		plan("first")
		for range rapid.IntRange(0, 10).Draw(t, "values") {
			give(rapid.IntRange(0, n-1).Draw(t, "of"), "after the first run")
		}
		// The source goes on, the phase is run again.
		for range rapid.IntRange(0, 3*n).Draw(t, "meanwhile on the source") {
			nextval(&source)
		}
		plan("second")
		for range rapid.IntRange(0, 10).Draw(t, "values later") {
			give(rapid.IntRange(0, n-1).Draw(t, "of"), "after the second run")
		}
	})
}

// TestSequencesOfShardsUseTheirShare checks that no value is wasted: shards
// take turns in the values that follow the source's.
func TestSequencesOfShardsUseTheirShare(t *testing.T) {
	t.Parallel()
	source := catalog.Sequence{Sequence: weird, Start: 1, Min: 1, Max: math.MaxInt64, Increment: 1, Last: 41, Called: true}
	got := map[int64]bool{}
	for i := range 3 {
		shard := created(source)
		step, value, _ := interleaved(source, shard, 0, i, 3)
		shard.Increment, shard.Last = step, value
		for range 2 {
			v, _ := nextval(&shard)
			got[v] = true
		}
	}
	for v := int64(42); v < 48; v++ {
		if !got[v] {
			t.Errorf("%d is given by no shard: %v", v, got)
		}
	}
}

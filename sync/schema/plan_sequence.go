package schema

import (
	"fmt"
	"math"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// sequences plans the values of sequences and identity generators, from the
// source's own last_value and is_called. A sequence is never moved back: what
// the destination has handed out stays handed out.
func (b *builder) sequences() {
	there := map[catalog.Name]catalog.Sequence{}
	for _, s := range b.destination.Sequences {
		there[s.Sequence] = s
	}
	for _, s := range b.source.Sequences {
		if b.scope != nil && !b.sequenceInScope(s.Sequence) {
			continue
		}
		b.add(nil, b.sequence(s, there[s.Sequence]))
	}
}

func (b *builder) sequenceInScope(name catalog.Name) bool {
	for id := range b.scope {
		if e := b.byID[id]; e != nil && e.Kind == dump.KindSequence && e.Namespace == name.Schema && e.Tag == name.Name {
			return true
		}
	}
	return false
}

func (b *builder) sequence(source, there catalog.Sequence) *Statement {
	name := qualified(source.Sequence.Schema, source.Sequence.Name)
	s := &Statement{
		Phase: b.opts.Phase, Shard: b.destination.Server.Shard, Kind: KindSequenceSet,
		Schema: source.Sequence.Schema, Object: source.Sequence.Name, Lock: ShareRowExclusive,
		Locks: []RelationLock{{Relation: source.Sequence, Mode: ShareRowExclusive}},
	}
	if b.destination.Shards > 1 {
		step, value := interleaved(source, there, b.opts.SequenceMargin, b.destination.Server.Shard, b.destination.Shards)
		switch {
		case exhausted(source, value):
			// No value is left that no other shard could give: neither is any here.
			bound := source.Max
			if step < 0 {
				bound = source.Min
			}
			s.SQL = fmt.Sprintf("ALTER SEQUENCE %s INCREMENT BY %d;\nSELECT pg_catalog.setval(%s, %d, true);", name, step, dump.QuoteLiteral(name), bound)
			if there.Increment == step && there.Last == bound && there.Called {
				s.Outcome = Existed
			}
		default:
			s.SQL = fmt.Sprintf("ALTER SEQUENCE %s INCREMENT BY %d RESTART WITH %d;", name, step, value)
			if there.Increment == step && reached(there, value, step) && (value-there.Last)%step == 0 {
				s.Outcome = Existed
			}
		}
	} else {
		last, called := carried(source, b.opts.SequenceMargin)
		s.SQL = fmt.Sprintf("SELECT pg_catalog.setval(%s, %d, %t);", dump.QuoteLiteral(name), last, called)
		s.Lock, s.Locks[0].Mode = RowExclusive, RowExclusive
		same := there.Last == last && there.Called == called
		if there.Increment == source.Increment && (same || !source.Cycle && ahead(there, last, called)) {
			s.Outcome = Existed
		}
	}
	s.Display = s.SQL
	return s
}

// carried is the state a sequence gets on an unsharded destination: the
// source's, moved on by margin steps if any value was ever handed out. A
// sequence that would be exhausted by that is left where it is; a cycling one
// repeats its values by its nature and is copied as it is.
func carried(s catalog.Sequence, margin int64) (last int64, called bool) {
	if !s.Called || s.Cycle || margin <= 0 || room(s) <= margin {
		return s.Last, s.Called
	}
	return s.Last + s.Increment*margin, true
}

// exhausted tells whether value lies beyond the sequence's bound.
func exhausted(s catalog.Sequence, value int64) bool { return value > s.Max || value < s.Min }

// room is how many more values the sequence can hand out before its bound.
// The differences are taken as unsigned numbers: they can exceed a bigint.
func room(s catalog.Sequence) int64 {
	distance, step := uint64(s.Max-s.Last), uint64(s.Increment)
	if s.Increment < 0 {
		distance, step = uint64(s.Last-s.Min), uint64(-s.Increment)
	}
	return int64(min(distance/step, math.MaxInt64))
}

// ahead tells whether a sequence has reached (last, called) or gone beyond.
func ahead(there catalog.Sequence, last int64, called bool) bool {
	if there.Last == last {
		return there.Called || !called
	}
	return (there.Last > last) == (there.Increment > 0)
}

// reached tells whether the next value of a sequence is at or beyond value.
func reached(there catalog.Sequence, value, step int64) bool {
	next, ok := there.Next()
	if !ok || next == value {
		return true
	}
	return (next > value) == (step > 0)
}

// interleaved gives shard its own residue class: with n shards each sequence
// steps by n increments, and shard i's values are start + (k·n + i)·increment.
// Two shards can never hand out one value. The first value lies at or beyond
// the one that the source, and this shard, would give next.
func interleaved(source, there catalog.Sequence, margin int64, shard, shards int) (step, value int64) {
	n, i := int64(shards), int64(shard)
	step = source.Increment * n
	first := source.Last
	if source.Called {
		last, _ := carried(source, margin)
		first, _ = catalog.Add(last, source.Increment)
	}
	if next, ok := there.Next(); there.Increment == step && ok && (next > first) == (step > 0) {
		first = next
	}
	k := ceilDiv(first-source.Start, source.Increment)
	k += mod(i-k, n)
	return step, source.Start + k*source.Increment
}

// ceilDiv is a/b rounded away from the values behind it: up for a positive
// step, and up in numbers of steps for a negative one.
func ceilDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a > 0) == (b > 0) {
		q++
	}
	return q
}

func mod(a, n int64) int64 { return ((a % n) + n) % n }

package schema

import (
	"fmt"
	"math"
	"math/big"

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
		step, value, left := interleaved(source, there, b.opts.SequenceMargin, b.destination.Server.Shard, b.destination.Shards)
		switch {
		case !left:
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
			if there.Increment == step && reached(there, value, step) && sameClass(value, there.Last, step) {
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

// room is how many more values the sequence can hand out before its bound.
// The differences are taken as unsigned numbers: they can exceed a bigint.
func room(s catalog.Sequence) int64 {
	distance, step := uint64(s.Max-s.Last), uint64(s.Increment)
	if s.Increment < 0 {
		distance, step = uint64(s.Last-s.Min), uint64(-s.Increment)
	}
	return int64(min(distance/step, math.MaxInt64))
}

// ahead tells whether a sequence would give next what one in the state (last,
// called) would, or what comes after that.
func ahead(there catalog.Sequence, last int64, called bool) bool {
	wanted, ok := catalog.Sequence{Last: last, Called: called, Increment: there.Increment}.Next()
	if !ok { // exhausted, and beyond every bigint
		_, more := there.Next()
		return !more
	}
	return reached(there, wanted, there.Increment)
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
// the one that the source, and this shard, would give next; left is false when
// no such value is within the sequence's bounds. All of a bigint's range is in
// use, so this is reckoned with larger numbers.
func interleaved(source, there catalog.Sequence, margin int64, shard, shards int) (step, value int64, left bool) {
	n, start, increment := big.NewInt(int64(shards)), big.NewInt(source.Start), big.NewInt(source.Increment)
	wide := new(big.Int).Mul(increment, n)
	if step = wide.Int64(); !wide.IsInt64() {
		step = int64(increment.Sign()) * math.MaxInt64
	}
	last, called := carried(source, margin)
	first := following(last, called, source.Increment)
	if there.Increment == step {
		if next := following(there.Last, there.Called, step); next.Cmp(first) == increment.Sign() {
			first = next
		}
	}
	// The steps from start to first, rounded up (Div rounds towards -∞ for a
	// positive divisor), then up to this shard's.
	k := new(big.Int).Sub(first, start)
	if increment.Sign() > 0 {
		k.Neg(k)
	}
	k.Neg(k.Div(k, new(big.Int).Abs(increment)))
	ours := new(big.Int).Sub(big.NewInt(int64(shard)), k)
	k.Add(k, ours.Mod(ours, n))
	exact := k.Add(k.Mul(k, increment), start)
	value = exact.Int64()
	return step, value, wide.IsInt64() && exact.IsInt64() && source.Min <= value && value <= source.Max
}

// following is the value that comes after last, or last itself if it was not
// handed out.
func following(last int64, called bool, increment int64) *big.Int {
	next := big.NewInt(last)
	if called {
		next.Add(next, big.NewInt(increment))
	}
	return next
}

// sameClass tells whether a and b are a whole number of steps apart.
func sameClass(a, b, step int64) bool {
	distance := new(big.Int).Sub(big.NewInt(a), big.NewInt(b))
	return distance.Rem(distance, big.NewInt(step)).Sign() == 0
}

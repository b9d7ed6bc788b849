package drift

import "github.com/pgdrover/pgdrover/dump"

// Pairs says which entry of the destination's dump is the object of which
// entry of the source's.
type Pairs struct {
	other map[int]*dump.Entry // source dump id → destination entry
	Extra []*dump.Entry       // entries of the destination that the source has not
}

// Pair matches the entries of two dumps by key. Keys are unique but for names
// with spaces in them ("a b" on "c" and "b" on "a" "c" make one tag); among
// entries of one key those with equal definitions are paired first, the rest in
// the order of the dumps.
func Pair(source, destination []dump.Entry) Pairs {
	byKey := make(map[dump.Key][]*dump.Entry, len(destination))
	for i := range destination {
		e := &destination[i]
		byKey[e.Key()] = append(byKey[e.Key()], e)
	}
	p := Pairs{other: make(map[int]*dump.Entry, len(source))}
	var ambiguous []*dump.Entry
	for i := range source {
		e := &source[i]
		candidates := byKey[e.Key()]
		switch {
		case len(candidates) == 1 && candidates[0].Definition == e.Definition:
			p.take(e, candidates, 0, byKey)
		case len(candidates) > 0:
			if at := sameDefinition(e, candidates); at >= 0 {
				p.take(e, candidates, at, byKey)
			} else {
				ambiguous = append(ambiguous, e)
			}
		}
	}
	for _, e := range ambiguous {
		if candidates := byKey[e.Key()]; len(candidates) > 0 {
			p.take(e, candidates, 0, byKey)
		}
	}
	for i := range destination {
		e := &destination[i]
		for _, left := range byKey[e.Key()] {
			if left == e {
				p.Extra = append(p.Extra, e)
			}
		}
	}
	return p
}

func (p *Pairs) take(e *dump.Entry, candidates []*dump.Entry, at int, byKey map[dump.Key][]*dump.Entry) {
	p.other[e.DumpID] = candidates[at]
	rest := append(candidates[:at:at], candidates[at+1:]...)
	byKey[e.Key()] = rest
}

func sameDefinition(e *dump.Entry, candidates []*dump.Entry) int {
	for i, c := range candidates {
		if c.Definition == e.Definition {
			return i
		}
	}
	return -1
}

// Of gives the destination's entry for a source entry, nil if it has none.
func (p Pairs) Of(source *dump.Entry) *dump.Entry { return p.other[source.DumpID] }

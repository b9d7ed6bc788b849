package drift

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
)

// Rules say which differences are meant.
type Rules struct {
	IgnoreOwner      bool // ownership was not carried over
	IgnorePrivileges bool // GRANTs were not carried over
	// Expect gives the text that the source's entry must have on this
	// destination, where it is not the source's own: widened keys, a sequence
	// of one of several shards. It may be nil.
	Expect func(*dump.Entry) string
	// Canonical gives the text that the destination's server would write for
	// the source's definition, where it is known: servers of different
	// versions print one and the same view differently. It may be nil.
	Canonical func(*dump.Entry) (string, bool)
}

// Equal tells in which ways an entry of the destination differs from the
// source's.
func (r Rules) Equal(source, destination *dump.Entry) []What {
	var out []What
	if !r.sameDefinition(source, destination) {
		out = append(out, Definition)
	}
	if !r.IgnoreOwner && source.Owner != destination.Owner && owned(source) {
		out = append(out, Owner)
	}
	if source.Tablespace != destination.Tablespace {
		out = append(out, Tablespace)
	}
	if source.AccessMethod != destination.AccessMethod {
		out = append(out, AccessMethod)
	}
	return out
}

// owned tells whether the owner of an entry is its own and not that of the
// object it belongs to, where it would be reported a second time.
func owned(e *dump.Entry) bool {
	_, ok := e.OwnerSQL()
	return ok
}

// Compared tells whether entries of this kind are compared at all.
func (r Rules) Compared(e *dump.Entry) bool {
	phase, err := dump.PhaseOf(e.Kind)
	if err != nil || phase == dump.Session || phase == dump.NoPhase || e.OfDatabase() {
		return false
	}
	if ofSetup(e) {
		return false
	}
	return !r.IgnorePrivileges || (e.Kind != dump.KindACL && e.Kind != dump.KindDefaultACL)
}

// ofSetup tells whether an entry is one of the event triggers that SETUP SCHEMA
// makes, or belongs to one.
func ofSetup(e *dump.Entry) bool {
	return e.Kind == dump.KindEventTrigger && strings.HasPrefix(e.Tag, "pgdrover_") || strings.HasPrefix(e.Tag, "EVENT TRIGGER pgdrover_")
}

func (r Rules) sameDefinition(source, destination *dump.Entry) bool {
	want := source.Definition
	if want == destination.Definition {
		return true
	}
	if r.Expect != nil {
		if want = r.Expect(source); want == destination.Definition {
			return true
		}
	}
	if r.Canonical != nil {
		if text, ok := r.Canonical(source); ok && text == destination.Definition {
			return true
		}
	}
	// The order of an ACL's items is the order in which they were granted; it
	// means nothing.
	if source.Kind == dump.KindACL || source.Kind == dump.KindDefaultACL {
		return slices.Equal(sortedLines(want), sortedLines(destination.Definition))
	}
	return false
}

func sortedLines(text string) []string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return lines
}

// Compare lists every difference between two dumps, in the source's order,
// then what only the destination has.
func Compare(source, destination []dump.Entry, rules Rules) []Difference {
	pairs := Pair(source, destination)
	var out []Difference
	for i := range source {
		e := &source[i]
		if !rules.Compared(e) {
			continue
		}
		other := pairs.Of(e)
		if other == nil {
			out = append(out, difference(e, Missing, e, nil))
			continue
		}
		for _, what := range rules.Equal(e, other) {
			out = append(out, difference(e, what, e, other))
		}
	}
	for _, e := range pairs.Extra {
		if rules.Compared(e) {
			out = append(out, difference(e, Extra, nil, e))
		}
	}
	return out
}

func difference(e *dump.Entry, what What, source, destination *dump.Entry) Difference {
	phase, _ := dump.PhaseOf(e.Kind) // Compared has seen that it has one
	d := Difference{Kind: e.Kind, Schema: e.Namespace, Object: e.Tag, What: what, Phase: phase}
	d.Source, d.Destination = side(source, what), side(destination, what)
	if source != nil {
		d.SourceID = source.DumpID
	}
	return d
}

// side is what one dump says about the thing that differs.
func side(e *dump.Entry, what What) string {
	if e == nil {
		return ""
	}
	switch what {
	case Owner:
		return e.Owner
	case Tablespace:
		return e.Tablespace
	case AccessMethod:
		return e.AccessMethod
	}
	return strings.TrimSpace(e.Display())
}

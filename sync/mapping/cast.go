package mapping

import (
	"fmt"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Cast is how values of a source's column become those of the destination's.
type Cast struct {
	Way  CastWay
	Type string // of ByServer: the destination's type as SQL spells it, with its modifier
	// Exact says that different values stay different, so that rows can be told
	// apart by the column.
	Exact bool
}

// CastWay is who casts.
type CastWay byte

// The ways of a cast.
const (
	// ByServer is PostgreSQL's own cast between two of its own types: by the
	// source for the copy, by the destination for changes.
	ByServer CastWay = iota
	// ByText leaves it to the destination: the text that the source's type
	// prints is what the destination's type reads.
	ByText
)

// String names the way.
func (w CastWay) String() string {
	if w == ByText {
		return "by text"
	}
	return "by server"
}

// CastOf says how a column that the mapping casts to the type declared gets from
// the source to the destination. why is not empty if it cannot: the destination
// has another type, or the copy and the stream could give different values.
func CastOf(declared string, sourceTypes catalog.Types, from uint32, destinationTypes catalog.Types, to catalog.Column) (c Cast, why string) {
	if !sameTypeName(declared, to.TypeText) {
		return c, fmt.Sprintf("the mapping casts it to %s, but the destination has %s", declared, to.TypeText)
	}
	s, ok := base(sourceTypes, from)
	if !ok {
		return c, "the source's type is not known"
	}
	d, ok := base(destinationTypes, to.Type)
	if !ok {
		return c, "the destination's type is not known"
	}
	text := to.TypeText
	if d.OID != to.Type { // a domain: what it is made of, and then what it checks
		text = d.SQL()
	}
	if s.BuiltIn() && d.BuiltIn() {
		exact, why := castBuiltIn(sourceTypes, s, destinationTypes, d, to.Modifier)
		return Cast{Way: ByServer, Type: text, Exact: exact}, why
	}
	return castByText(sourceTypes, s, destinationTypes, d)
}

// base resolves domains.
func base(types catalog.Types, oid uint32) (catalog.Type, bool) {
	t, ok := types[oid]
	for ok && t.Kind == 'd' {
		t, ok = types[t.Base]
	}
	return t, ok
}

// castBuiltIn looks a pair of PostgreSQL's own types up.
func castBuiltIn(sourceTypes catalog.Types, s catalog.Type, destinationTypes catalog.Types, d catalog.Type, modifier int32) (exact bool, why string) {
	if s.Array && d.Array {
		return castBuiltIn(sourceTypes, sourceTypes[s.Element], destinationTypes, destinationTypes[d.Element], modifier)
	}
	element := d
	if d.Array {
		element = destinationTypes[d.Element]
	}
	switch {
	case s.OID == d.OID:
		return modifier == -1, ""
	case changing[s.OID] != "" && s.OID != xmlOID:
		return false, s.Name.Name + ": " + changing[s.OID]
	case changing[element.OID] != "":
		return false, element.Name.Name + ": " + changing[element.OID]
	case prints[d.OID]: // every type has a text
		return modifier == -1 && d.OID != bpcharOID, ""
	case reads[s.OID] && momentary[element.OID]:
		return false, fmt.Sprintf("a text like 'now' would be another %s at each reading", element.Name.Name)
	case reads[s.OID]:
		return false, ""
	}
	exact, known := casts[[2]uint32{s.OID, d.OID}]
	if !known {
		return false, fmt.Sprintf("there is no cast from %s to %s that gives the same on both servers whatever they are set to", s.Name.Name, d.Name.Name)
	}
	return exact && modifier == -1, ""
}

// castByText is for types that are not on both servers: one of the two is text.
func castByText(sourceTypes catalog.Types, s catalog.Type, destinationTypes catalog.Types, d catalog.Type) (c Cast, why string) {
	from, to := s, d
	if s.Array && d.Array {
		from, to = sourceTypes[s.Element], destinationTypes[d.Element]
	}
	label := from.Kind == 'e' || to.Kind == 'e'
	switch {
	case s.Name == d.Name && s.Kind == d.Kind:
		return c, fmt.Sprintf("it is %s on the source already: there is nothing to cast", s.Name.Name)
	case s.Array && d.Array && !label: // the delimiter of other types need not be a comma
	case from.Kind == 'e' && to.Kind == 'e', prints[to.OID] && !from.BuiltIn(), reads[from.OID] && to.Kind == 'e', reads[from.OID] && to.Kind == 'b' && !to.BuiltIn() && !to.Array:
		return Cast{Way: ByText, Exact: label}, ""
	}
	return c, fmt.Sprintf("%s and %s are not types that both servers have: one of the two has to be a text", s.Name.Name, d.Name.Name)
}

package apply

import (
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// column is one value of a tuple and where it goes.
type column struct {
	name     string // quoted
	identity bool   // it is part of what tells rows apart
	always   bool   // GENERATED ALWAYS AS IDENTITY: no UPDATE can set it
	param    string // type of its parameters, as SQL spells it
	element  uint32 // OID of that type, for arrays of it in binary form
	dest     string // the destination's type without domains
	equal    string // operator that tells values of that type apart
	compare  comparison
	narrowed bool // the destination has another modifier: its text may differ

	binary bool // values in binary form may be used
	unnest bool // unnest gives values back that came in binary form: not arrays
	label  bool // the binary form is the text: an enum
	widen  int  // bytes of an integer that is wider at the destination, else 0
}

// newColumn joins a source's column with the destination's. why says how they
// do not fit.
func newColumn(sourceTypes catalog.Types, from stream.RelationColumn, destinationTypes catalog.Types, to catalog.Column, sameTypes bool) (c column, why string) {
	s, ok := base(sourceTypes, from.Type)
	if !ok {
		return c, "the source's type is not known"
	}
	d, ok := base(destinationTypes, to.Type)
	if !ok {
		return c, "the destination's type is not known"
	}
	if why := misfit(sourceTypes, s, from.Modifier, destinationTypes, d, to.Modifier); why != "" {
		return c, why
	}
	c = column{
		name: dump.QuoteIdent(from.Name), always: to.Identity == 'a', param: d.SQL(), element: d.OID, dest: d.SQL(),
		equal: operator(d), compare: comparisonOf(d), narrowed: from.Modifier != to.Modifier,
		binary: catalog.BinaryUnsafe(sourceTypes, from.Type, destinationTypes, to.Type) == "",
	}
	if from, to := integerWidth(s), integerWidth(d); from != 0 && from < to {
		// The parameter is what the source sends; the assignment widens it.
		c.param, c.element, c.widen, c.binary = s.SQL(), s.OID, to, true
	}
	switch {
	case d.Kind == 'e':
		c.label = true
	case d.Array || d.Element != 0 && d.Category == 'A', d.Kind == 'c':
	default:
		c.unnest = d.BuiltIn() || sameTypes
	}
	return c, ""
}

// base resolves domains.
func base(types catalog.Types, oid uint32) (catalog.Type, bool) {
	t, ok := types[oid]
	for ok && t.Kind == 'd' {
		t, ok = types[t.Base]
	}
	return t, ok
}

func integerWidth(t catalog.Type) int {
	switch t.OID {
	case int2OID:
		return 2
	case int4OID:
		return 4
	case int8OID:
		return 8
	}
	return 0
}

// operator gives how = is written. Built-in operators are found on any
// search_path; those of an extension's type are where the type is.
func operator(t catalog.Type) string {
	if t.Kind == 'b' && !t.BuiltIn() && !t.Array {
		return "OPERATOR(" + dump.QuoteIdent(t.Name.Schema) + ".=)"
	}
	return "="
}

package apply

import (
	"fmt"
	"slices"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// column is one value of a tuple and where it goes.
type column struct {
	name     string // quoted
	identity bool   // it is part of what tells rows apart
	always   bool   // GENERATED ALWAYS AS IDENTITY: no UPDATE can set it
	param    string // type of its parameters, as SQL spells it
	element  uint32 // OID of that type, for arrays of it in binary form
	cast     string // "::type" that the destination casts a parameter to, "" for none
	dest     string // the destination's type without domains
	equal    string // operator that tells values of that type apart
	compare  comparison
	narrowed bool // the destination has another modifier: its text may differ
	skip     bool // the destination does not have it
	merges   bool // a cast may make different values equal

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
		name: dump.QuoteIdent(to.Name), always: to.Identity == 'a', param: d.SQL(), element: d.OID, dest: d.SQL(),
		equal: operator(d), compare: comparisonOf(d), narrowed: from.Modifier != to.Modifier,
		binary: catalog.BinaryUnsafe(sourceTypes, from.Type, destinationTypes, to.Type) == "",
	}
	if from, to := integerWidth(s), integerWidth(d); from != 0 && from < to {
		// The parameter is what the source sends; the assignment widens it.
		c.param, c.element, c.widen, c.binary = s.SQL(), s.OID, to, true
	}
	c.label, c.unnest = d.Kind == 'e', unnests(d, sameTypes)
	return c, ""
}

// newCastColumn joins a source's column with one of another type, as the mapping
// casts it.
func newCastColumn(declared string, sourceTypes catalog.Types, from uint32, destinationTypes catalog.Types, to catalog.Column, sameTypes bool) (c column, why string) {
	cast, why := mapping.CastOf(declared, sourceTypes, from, destinationTypes, to)
	if why != "" {
		return c, why
	}
	s, _ := base(sourceTypes, from) // CastOf knows both
	d, _ := base(destinationTypes, to.Type)
	c = column{
		name: dump.QuoteIdent(to.Name), always: to.Identity == 'a', dest: d.SQL(), equal: operator(d), compare: comparisonOf(d), merges: !cast.Exact,
	}
	if cast.Way == mapping.ByServer {
		c.param, c.element, c.cast = s.SQL(), s.OID, "::"+cast.Type
		c.binary, c.unnest = catalog.BinaryUnsafe(sourceTypes, from, sourceTypes, from) == "", unnests(s, true)
		return c, ""
	}
	// The parameter is the destination's: it reads the text that the source prints.
	c.param, c.element, c.narrowed = d.SQL(), d.OID, to.Modifier != -1
	c.binary = sentAsText(s) && sentAsText(d)
	c.label, c.unnest = d.Kind == 'e', unnests(d, sameTypes)
	return c, ""
}

// TextOnly tells why a stream has to be read as text for the sake of a column,
// "" if its values can be applied in binary form, or not at all.
func TextOnly(m mapping.Column, sourceTypes catalog.Types, from catalog.Column, destinationTypes catalog.Types, to catalog.Column) string {
	if m.Cast != "" {
		c, why := newCastColumn(m.Cast, sourceTypes, from.Type, destinationTypes, to, false)
		if why != "" || c.binary {
			return ""
		}
		return fmt.Sprintf("%s is cast to %s", from.TypeText, to.TypeText)
	}
	c, why := newColumn(sourceTypes, stream.RelationColumn{Name: from.Name, Type: from.Type, Modifier: from.Modifier}, destinationTypes, to, false)
	if why != "" || c.binary {
		return ""
	}
	return catalog.BinaryUnsafe(sourceTypes, from.Type, destinationTypes, to.Type)
}

// Fits tells whether every value of a source's column can be written into the
// destination's as it is.
func Fits(sourceTypes catalog.Types, from catalog.Column, destinationTypes catalog.Types, to catalog.Column) bool {
	_, why := newColumn(sourceTypes, stream.RelationColumn{Name: from.Name, Type: from.Type, Modifier: from.Modifier}, destinationTypes, to, false)
	return why == ""
}

// TextOnly tells whether the stream has to be read as text for the sake of one of
// the target's columns.
func (t *Target) TextOnly() bool {
	return slices.ContainsFunc(t.kept, func(i int) bool { return !t.columns[i].binary })
}

// unnests tells whether unnest gives values back that came in binary form.
func unnests(t catalog.Type, sameTypes bool) bool {
	if t.Kind == 'e' || t.Array || t.Element != 0 && t.Category == 'A' || t.Kind == 'c' {
		return false
	}
	return t.BuiltIn() || sameTypes
}

// sentAsText tells whether the binary form of a type is its text.
func sentAsText(t catalog.Type) bool {
	return t.Kind == 'e' || t.OID == textOID || t.OID == varcharOID || t.OID == bpcharOID || t.OID == nameOID
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

package ddl

import (
	"slices"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// conversion is a pair of sets of built-in types between which ALTER COLUMN …
// TYPE without USING gives the same wherever and whenever it is run: the cast
// is immutable, or goes through texts that no setting changes.
type conversion struct{ from, to []string }

var (
	numbers     = []string{"int2", "int4", "int8", "numeric", "float4", "float8"}
	texts       = []string{"text", "varchar", "bpchar"}
	conversions = []conversion{
		{numbers, numbers},
		{texts, texts},
		{[]string{"int2", "int4", "int8", "numeric", "bool", "uuid", "json", "jsonb", "xml", "oid", "inet", "cidr", "macaddr", "bit", "varbit", "name"}, texts},
		{[]string{"timestamp"}, []string{"timestamp", "date", "time"}},
		{[]string{"date"}, []string{"date", "timestamp"}},
		{[]string{"timestamptz"}, []string{"timestamptz"}},
		{[]string{"time"}, []string{"time", "interval"}},
		{[]string{"timetz"}, []string{"timetz", "time"}},
		{[]string{"interval"}, []string{"interval"}},
		{[]string{"bit", "varbit"}, []string{"bit", "varbit"}},
		{[]string{"inet", "cidr"}, []string{"inet", "cidr"}},
		{[]string{"json", "jsonb"}, []string{"json", "jsonb"}},
		{[]string{"oid"}, []string{"oid", "int8"}},
		{[]string{"int4", "int8"}, []string{"oid"}},
	}
)

// sameEverywhere tells whether the destination gets the values that the source
// has got by altering the column's type there as well. What depends on TimeZone,
// DateStyle, lc_monetary and the like does not, nor does what a type of the
// user's decides.
func sameEverywhere(c *Change) bool {
	from, fromElement, ok := plainType(c.Before, c.From.Type)
	if !ok {
		return false
	}
	to, toElement, ok := plainType(c.After, c.To.Type)
	if !ok || fromElement != toElement {
		return false
	}
	if from.Schema != "pg_catalog" {
		t := c.Before.TypeNamed(from)
		return t != nil && t.Kind == "e" && (from == to || !fromElement && to.Schema == "pg_catalog" && slices.Contains(texts, to.Name))
	}
	return to.Schema == "pg_catalog" && slices.ContainsFunc(conversions, func(p conversion) bool {
		return slices.Contains(p.from, from.Name) && slices.Contains(p.to, to.Name)
	})
}

// plainType resolves domains, and gives the element of an array.
func plainType(d *catalog.TableDescription, name catalog.Name) (base catalog.Name, element, ok bool) {
	for range len(d.Types) + 1 {
		t := d.TypeNamed(name)
		switch {
		case t == nil:
			return name, element, false
		case t.Domain != nil:
			name = t.Domain.Base
		case t.Category == "A" && t.Element != nil && !element:
			name, element = *t.Element, true
		default:
			return name, element, true
		}
	}
	return name, element, false
}

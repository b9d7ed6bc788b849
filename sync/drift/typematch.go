package drift

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Type is the type of a column in the description it is in.
type Type struct {
	Name     catalog.Name
	Text     string // format_type: "numeric(10,2)"
	Modifier int32  // typmod, -1 for none
	of       *catalog.TableDescription
}

// TypeOf is the type of a column of a table.
func TypeOf(table *catalog.TableDescription, column *catalog.ColumnDescription) Type {
	return Type{Name: column.Type, Text: column.TypeText, Modifier: column.Modifier, of: table}
}

func (t Type) description() *catalog.TypeDescription {
	if t.of == nil {
		return nil
	}
	return t.of.TypeNamed(t.Name)
}

// class is the name by which TypeRules know a type: that of a type of
// pg_catalog, "citext", "enum"; "" for others.
func (t Type) class() string {
	if t.Name.Schema == "pg_catalog" {
		return t.Name.Name
	}
	d := t.description()
	switch {
	case d == nil:
	case d.Kind == "e":
		return "enum"
	case strings.HasPrefix(d.Extension, "citext "):
		return "citext"
	}
	return ""
}

// element is the type of an array's elements. An array's modifier is theirs.
func (t Type) element() (Type, bool) {
	d := t.description()
	if d == nil || d.Category != "A" || d.Element == nil || d.Kind != "b" {
		return Type{}, false
	}
	return Type{Name: *d.Element, Text: strings.TrimSuffix(t.Text, "[]"), Modifier: t.Modifier, of: t.of}, true
}

// base is what a domain is based on.
func (t Type) base() (Type, bool) {
	d := t.description()
	if d == nil || d.Domain == nil {
		return Type{}, false
	}
	return Type{Name: d.Domain.Base, Text: d.Domain.BaseText, Modifier: d.Domain.Modifier, of: t.of}, true
}

// constrained tells whether a domain, or one it is based on, refuses values.
func (t Type) constrained() bool {
	for {
		d := t.description()
		if d == nil || d.Domain == nil {
			return false
		}
		if d.Domain.NotNull || len(d.Domain.Checks) > 0 {
			return true
		}
		t, _ = t.base()
	}
}

func allLabels(from, to Type) bool {
	source, destination := from.description(), to.description()
	if source == nil || destination == nil {
		return false
	}
	return !slices.ContainsFunc(source.Labels, func(label string) bool { return !slices.Contains(destination.Labels, label) })
}

// Rules of types that are made of others.
var (
	sameType    = TypeRule{From: "a type", To: "the same type", Fit: FitSafe, Reason: "the same type"}
	fromDomain  = TypeRule{From: "a domain", To: "its base type", Fit: FitSafe, Reason: "the destination takes more values than the domain"}
	plainDomain = TypeRule{From: "a type", To: "a domain over it without constraints", Fit: FitSafe, Reason: "the domain takes every value"}
	checkDomain = TypeRule{From: "a type", To: "a domain over it with constraints", Fit: FitRefuses, Reason: "the domain's constraints may refuse rows", Cost: Alter{Rewrite: true, Refuses: true}}
)

// Match is what a rule says of one pair of types.
type Match struct {
	Rule *TypeRule
	Fit  Fit
	// Reason is the rule's.
	Reason string
	Cost   Alter
}

// Same tells whether the types are one and the same.
func (m Match) Same() bool { return m.Rule == &sameType }

func matchOf(r *TypeRule) Match { return Match{Rule: r, Fit: r.Fit, Reason: r.Reason, Cost: r.Cost} }

// MatchTypes finds what becomes of values of the type from in a column of the
// type to, and what an ALTER from the one to the other would cost. sameName
// tells whether a type of one description is the same object as one of the
// other; nil compares schema and name. Whether types of one name are defined
// alike is another question: see CompareTables.
func MatchTypes(from, to Type, sameName func(from, to catalog.Name) bool) Match {
	if sameName == nil {
		sameName = func(from, to catalog.Name) bool { return from == to }
	}
	fromElement, fromArray := from.element()
	toElement, toArray := to.element()
	if fromArray && toArray {
		m := matchArrays(MatchTypes(fromElement, toElement, sameName))
		if toElement.Modifier < 0 && sameName(fromElement.Name, toElement.Name) {
			m.Cost.Rewrite = false // the length is forgotten, nothing is coerced
		}
		return m
	}
	if sameName(from.Name, to.Name) && from.Modifier == to.Modifier {
		return matchOf(&sameType)
	}
	if base, ok := from.base(); ok && !sameName(from.Name, to.Name) {
		return over(MatchTypes(base, to, sameName), &fromDomain)
	}
	if base, ok := to.base(); ok {
		m := over(MatchTypes(from, base, sameName), &plainDomain)
		if to.constrained() {
			m = stricter(m)
		}
		return m
	}
	for i := range TypeRules {
		if TypeRules[i].matches(from, to) {
			return matchOf(&TypeRules[i])
		}
	}
	return matchOf(&TypeRules[len(TypeRules)-1]) // any -> any, which always matches
}

// matchArrays makes the match of two arrays from that of their elements. ALTER
// of an array writes the table anew even where that of its elements does not.
func matchArrays(m Match) Match {
	if m.Same() {
		return m
	}
	m.Cost.Rewrite = true
	if m.Cost.Using != "" {
		m.Cost.Using = "$::pg_catalog.text::@"
	}
	return m
}

// over puts the rule of a domain in the place of that of equal base types.
func over(m Match, rule *TypeRule) Match {
	if m.Same() {
		return matchOf(rule)
	}
	return m
}

// stricter adds the constraints of a domain to a match.
func stricter(m Match) Match {
	m.Cost.Rewrite, m.Cost.Refuses = true, true
	if m.Fit == FitSafe || m.Fit == FitWarn {
		m.Rule, m.Fit, m.Reason = &checkDomain, checkDomain.Fit, checkDomain.Reason
	}
	return m
}

// aliases are the short names of types that configuration files use.
var aliases = map[string]string{
	"int8": "bigint", "int4": "integer", "int": "integer", "int2": "smallint", "float8": "double precision", "float4": "real", "float": "double precision",
	"bool": "boolean", "varchar": "character varying", "char": "character", "bpchar": "character", "decimal": "numeric", "varbit": "bit varying",
	"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone", "time": "time without time zone", "timetz": "time with time zone",
}

// sameTypeText tells whether a type that a person wrote is the one that
// format_type gives: "varchar(20)" is "character varying(20)".
func sameTypeText(written, formatted string) bool {
	return normalType(written) == normalType(formatted)
}

func normalType(text string) string {
	text = strings.TrimPrefix(strings.TrimSpace(text), "pg_catalog.")
	if strings.Contains(text, `"`) {
		return text
	}
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	dimensions := ""
	for strings.HasSuffix(text, "[]") {
		text, dimensions = strings.TrimSpace(strings.TrimSuffix(text, "[]")), "[]"
	}
	name, modifier := text, ""
	if open := strings.IndexByte(text, '('); open > 0 {
		end := strings.IndexByte(text, ')')
		if end < open {
			return text
		}
		name, modifier = strings.TrimSpace(text[:open])+text[end+1:], strings.ReplaceAll(text[open:end+1], " ", "")
	}
	if long, ok := aliases[name]; ok {
		name = long
	}
	if modifier == "(1)" && (name == "character" || name == "bit") || modifier == "" && name == "character" {
		modifier = "(1)"
	}
	return name + modifier + dimensions
}

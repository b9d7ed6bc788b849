package drift

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// types compares the definitions of the types that the copied columns are made
// of and that have one name on both sides, each once.
func (k *comparer) types() {
	k.encoding()
	seen := map[catalog.Name]bool{}
	for _, p := range k.pairs {
		k.definition(p.source.Type, p.target.Type, seen)
	}
}

// definition compares two types if they are one, and what they are made of.
func (k *comparer) definition(source, target catalog.Name, seen map[catalog.Name]bool) {
	s, d := k.Source.TypeNamed(source), k.Destination.TypeNamed(target)
	if s == nil || d == nil || seen[source] {
		return
	}
	if s.Element != nil && d.Element != nil {
		k.definition(*s.Element, *d.Element, seen)
	}
	if !k.sameTypeName(source, target) || s.Element != nil {
		return
	}
	seen[source] = true
	if s.Extension != d.Extension {
		k.add(ExtensionVersion, "", source.String(), s.Extension, d.Extension, s, d)
	}
	switch {
	case s.Kind != d.Kind:
		k.add(TypeDefinition, "", source.String(), "type of kind "+s.Kind, "type of kind "+d.Kind, s, d)
	case s.Kind == "e":
		k.enum(s, d)
	case s.Kind == "d":
		k.definition(s.Domain.Base, d.Domain.Base, seen)
		k.domain(s, d)
	case s.Kind == "c":
		k.composite(s, d, seen)
	case s.Subtype != nil && d.Subtype != nil:
		k.definition(*s.Subtype, *d.Subtype, seen)
		if !k.sameTypeName(*s.Subtype, *d.Subtype) {
			k.add(TypeDefinition, "", source.String(), "range of "+s.Subtype.String(), "range of "+d.Subtype.String(), s, d)
		}
	}
}

// enum compares labels. Labels are never removed from a type, so one that is
// other in the same place of as many was renamed.
func (k *comparer) enum(s, d *catalog.TypeDescription) {
	if slices.Equal(s.Labels, d.Labels) {
		return
	}
	has := func(labels []string) string { return "('" + strings.Join(labels, "', '") + "')" }
	sources, targets := has(s.Labels), has(d.Labels)
	renamed := map[string]bool{}
	for i, label := range s.Labels {
		if len(s.Labels) == len(d.Labels) && label != d.Labels[i] && !slices.Contains(d.Labels, label) && !slices.Contains(s.Labels, d.Labels[i]) {
			renamed[d.Labels[i]] = true
			k.add(EnumLabelRenamed, "", s.Type.String(), label, d.Labels[i], s, d)
		} else if !slices.Contains(d.Labels, label) {
			kind := EnumLabelEnd
			if slices.ContainsFunc(s.Labels[i+1:], func(later string) bool { return slices.Contains(d.Labels, later) }) {
				kind = EnumLabelMiddle
			}
			k.add(kind, "", s.Type.String(), label, "", s, d)
		}
	}
	for _, label := range d.Labels {
		if !slices.Contains(s.Labels, label) && !renamed[label] {
			k.add(EnumLabelExtra, "", s.Type.String(), "", label, s, d)
		}
	}
	if !slices.Equal(common(s.Labels, d.Labels), common(d.Labels, s.Labels)) {
		k.add(EnumOrder, "", s.Type.String(), sources, targets, s, d)
	}
}

// common is what of a is in b, in the order of a.
func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(x string) bool { return !slices.Contains(b, x) })
}

func (k *comparer) domain(s, d *catalog.TypeDescription) {
	a, b := s.Domain, d.Domain
	m := MatchTypes(Type{Name: a.Base, Text: a.BaseText, Modifier: a.Modifier, of: k.Source}, Type{Name: b.Base, Text: b.BaseText, Modifier: b.Modifier, of: k.Destination}, k.sameTypeName)
	if !m.Same() && m.Fit != FitSafe {
		x := k.add(TypeDefinition, "", s.Type.String(), "domain over "+a.BaseText, "domain over "+b.BaseText, s, d)
		x.Reason = m.Reason
		if m.Fit == FitWarn {
			x.Verdict = Warn
		}
	}
	if b.NotNull && !a.NotNull {
		k.add(DomainStricter, "", s.Type.String(), "NULL allowed", "NOT NULL", s, catalog.DomainCheck{})
	}
	if a.NotNull && !b.NotNull {
		k.add(DomainLooser, "", s.Type.String(), "NOT NULL", "NULL allowed", catalog.DomainCheck{}, d)
	}
	definition := func(c catalog.DomainCheck) string { return strings.TrimSuffix(c.Definition, " NOT VALID") }
	for _, x := range b.Checks {
		if !slices.ContainsFunc(a.Checks, func(y catalog.DomainCheck) bool { return k.text.same(definition(y), definition(x)) }) {
			k.add(DomainStricter, "", s.Type.String(), "", x.Name+" "+x.Definition, s, x)
		}
	}
	for _, x := range a.Checks {
		if !slices.ContainsFunc(b.Checks, func(y catalog.DomainCheck) bool { return k.text.same(definition(x), definition(y)) }) {
			k.add(DomainLooser, "", s.Type.String(), x.Name+" "+x.Definition, "", x, d)
		}
	}
}

func (k *comparer) composite(s, d *catalog.TypeDescription, seen map[catalog.Name]bool) {
	fields := func(t *catalog.TypeDescription) string {
		var out []string
		for _, f := range t.Fields {
			out = append(out, f.Name+" "+f.TypeText)
		}
		return "(" + strings.Join(out, ", ") + ")"
	}
	same := len(s.Fields) == len(d.Fields)
	for i := 0; same && i < len(s.Fields); i++ {
		a, b := s.Fields[i], d.Fields[i]
		k.definition(a.Type, b.Type, seen)
		same = a.Name == b.Name && (a.TypeText == b.TypeText || a.Type.Schema != "pg_catalog" && k.sameTypeName(a.Type, b.Type))
	}
	if !same {
		k.add(TypeDefinition, "", s.Type.String(), fields(s), fields(d), s, d)
	}
}

// encoding compares the encodings of the databases, which the default
// collation's description has. UTF8 has every character.
func (k *comparer) encoding() {
	name := catalog.Name{Schema: "pg_catalog", Name: "default"}
	s, d := k.Source.CollationNamed(name), k.Destination.CollationNamed(name)
	if s != nil && d != nil && s.Encoding != d.Encoding && d.Encoding != "UTF8" {
		k.add(EncodingOfDatabase, "", "", s.Encoding, d.Encoding, s, d)
	}
}

// collation compares the collations of a column and how they are defined.
func (k *comparer) collation(p columnPair) {
	s, d := p.source, p.target
	if s.Collation == nil || d.Collation == nil {
		return
	}
	a, b := k.Source.CollationNamed(*s.Collation), k.Destination.CollationNamed(*d.Collation)
	if a == nil || b == nil {
		return
	}
	if b.ActualVersion != "" && b.Version != "" && b.Version != b.ActualVersion {
		k.add(CollationVersion, s.Name, d.Collation.String(), "", fmt.Sprintf("indexes built with %s, the system has %s", b.Version, b.ActualVersion), s, d)
	}
	if a.Provider == b.Provider && a.Locale == b.Locale && a.Deterministic == b.Deterministic {
		if a.Version != "" && b.Version != "" && a.Version != b.Version {
			k.add(CollationVersion, s.Name, d.Collation.String(), "version "+a.Version, "version "+b.Version, s, d)
		}
		return
	}
	kind := CollationDiffers
	if (!a.Deterministic || !b.Deterministic) && (inKey(k.Source, s.Name) || inKey(k.Destination, d.Name)) {
		kind = CollationOfKey
	}
	k.add(kind, s.Name, "", collationText(a), collationText(b), s, d)
}

func collationText(c *catalog.CollationDescription) string {
	text := fmt.Sprintf("%s (%s %s)", c.Collation.Name, map[string]string{"c": "libc", "i": "icu", "b": "builtin"}[c.Provider], c.Locale)
	if !c.Deterministic {
		text += " not deterministic"
	}
	return text
}

// inKey tells whether a unique index or exclusion constraint has a column.
func inKey(table *catalog.TableDescription, column string) bool {
	return slices.ContainsFunc(table.Indexes, func(x catalog.IndexDescription) bool {
		return (x.Unique || x.Constraint != "") && slices.Contains(x.Columns, column)
	})
}

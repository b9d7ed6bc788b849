package drift

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// columns pairs the columns and compares each pair.
func (k *comparer) columns() {
	k.pairColumns()
	k.text = newTexts(k, func(source string) (string, bool) {
		if name, ok := k.names[source]; ok {
			return name, true
		}
		return k.Mapping.Column(source)
	})
	k.loose = slices.ContainsFunc(k.pairs, func(p columnPair) bool {
		return !MatchTypes(TypeOf(k.Source, p.source), TypeOf(k.Destination, p.target), k.sameTypeName).Same()
	})
	for _, p := range k.pairs {
		k.columnType(p)
		k.generated(p)
		k.nullable(p)
		k.defaults(p)
		k.collation(p)
		k.storage(p)
	}
	for _, c := range k.extra {
		k.add(k.extraKind(c), c.Name, "", k.beforeText(c), columnText(c), nil, c)
	}
	k.columnOrder()
}

// pairColumns finds the destination's column of each of the source's: by name
// and mapping, and by attribute number where it was renamed.
func (k *comparer) pairColumns() {
	k.names = map[string]string{}
	taken := map[string]bool{}
	for i := range k.Source.Columns {
		s := &k.Source.Columns[i]
		name, copied := k.Mapping.Column(s.Name)
		if !copied || !k.sent(s) {
			continue
		}
		if old, ok := k.oldName(s, name); ok {
			d := k.Destination.Column(old)
			k.add(RenamedColumn, s.Name, "", name, old, s, d)
			k.names[s.Name], taken[old] = old, true
			k.pairs = append(k.pairs, columnPair{s, d})
			continue
		}
		d := k.Destination.Column(name)
		if d == nil {
			k.add(k.addedKind(s), s.Name, "", columnText(s), "", s, nil)
			continue
		}
		if k.recreated(s) {
			k.add(ColumnRecreated, s.Name, "", columnText(s), columnText(d), s, d)
		}
		k.names[s.Name], taken[name] = name, true
		k.pairs = append(k.pairs, columnPair{s, d})
	}
	for i := range k.Destination.Columns {
		if d := &k.Destination.Columns[i]; !taken[d.Name] {
			k.extra = append(k.extra, d)
		}
	}
}

// sent tells whether the publication's column list lets a column through.
func (k *comparer) sent(s *catalog.ColumnDescription) bool {
	entries := k.published(k.Source)
	return len(entries) == 0 || slices.ContainsFunc(entries, func(p catalog.PublicationDescription) bool {
		return len(p.Columns) == 0 || slices.Contains(p.Columns, s.Name)
	})
}

// oldName gives the name a column has at the destination if the source has
// renamed it since: one that the destination still has, while it lacks the new
// one or that belonged to another column (two names exchanged).
func (k *comparer) oldName(s *catalog.ColumnDescription, name string) (string, bool) {
	if k.Before == nil {
		return "", false
	}
	before := k.Before.ColumnNumbered(s.Number)
	if before == nil || before.Name == s.Name {
		return "", false
	}
	old, copied := k.Mapping.Column(before.Name)
	if !copied || k.Destination.Column(old) == nil {
		return "", false
	}
	exchanged := k.Before.Column(s.Name) != nil
	return old, exchanged || k.Destination.Column(name) == nil
}

// recreated tells whether the source has dropped the column that had this name
// and made another one.
func (k *comparer) recreated(s *catalog.ColumnDescription) bool {
	if k.Before == nil || s.Generated != "" || k.Before.ColumnNumbered(s.Number) != nil {
		return false
	}
	b := k.Before.Column(s.Name)
	return b != nil && b.Number != 0 && k.Source.ColumnNumbered(b.Number) == nil
}

// addedKind says what kind of column the destination lacks.
func (k *comparer) addedKind(c *catalog.ColumnDescription) Kind {
	constant := c.HasMissing || k.Source.Relkind == "p" && c.DefaultVolatility == "i"
	switch {
	case c.Generated != "":
		return AddedGenerated
	case c.Identity != "" || k.ownedSequence(k.Source, c.Name) != nil:
		return AddedIdentity
	case TypeOf(k.Source, c).constrained():
		return AddedDomain
	case constant:
		return AddedConstant
	case c.Default != "":
		return AddedVolatile
	case c.NotNull:
		return AddedNotNull
	}
	return AddedNull
}

func (k *comparer) extraKind(c *catalog.ColumnDescription) Kind {
	removed := false
	if k.Before != nil {
		removed = slices.ContainsFunc(k.Before.Columns, func(b catalog.ColumnDescription) bool {
			name, copied := k.Mapping.Column(b.Name)
			return copied && name == c.Name && k.Source.ColumnNumbered(b.Number) == nil
		})
	}
	required := k.notNull(k.Destination, c) && c.Default == "" && c.Identity == "" && c.Generated == "" && !domainDefault(TypeOf(k.Destination, c))
	switch {
	case removed && required:
		return RemovedRequired
	case removed:
		return RemovedColumn
	case required:
		return ExtraRequired
	}
	return ExtraColumn
}

func (k *comparer) beforeText(c *catalog.ColumnDescription) string {
	if k.Before == nil {
		return ""
	}
	for i := range k.Before.Columns {
		if name, copied := k.Mapping.Column(k.Before.Columns[i].Name); copied && name == c.Name {
			return "dropped " + columnText(&k.Before.Columns[i])
		}
	}
	return ""
}

func domainDefault(t Type) bool {
	for {
		d := t.description()
		if d == nil || d.Domain == nil {
			return false
		}
		if d.Domain.Default != "" {
			return true
		}
		t, _ = t.base()
	}
}

// notNull tells whether a column cannot hold NULL, by whatever says so.
func (k *comparer) notNull(table *catalog.TableDescription, c *catalog.ColumnDescription) bool {
	if c.NotNull && !c.NotNullUnproved {
		return true
	}
	for t := TypeOf(table, c); ; {
		d := t.description()
		if d == nil || d.Domain == nil {
			break
		}
		if d.Domain.NotNull {
			return true
		}
		t, _ = t.base()
	}
	return slices.ContainsFunc(table.Constraints, func(x catalog.ConstraintDescription) bool {
		return x.Type == "c" && x.Validated && !x.NotEnforced && len(x.Columns) == 1 && x.Columns[0] == c.Name &&
			saysNotNull(x.Definition, c.Name)
	})
}

// saysNotNull tells whether a check's definition is that a column is not NULL.
func saysNotNull(definition, column string) bool {
	definition = strings.TrimSuffix(definition, " NOT VALID")
	return definition == "CHECK (("+column+" IS NOT NULL))" || definition == "CHECK (("+dump.QuoteIdent(column)+" IS NOT NULL))"
}

func (k *comparer) sameTypeName(source, destination catalog.Name) bool {
	return k.object(source) == destination
}

func (k *comparer) columnType(p columnPair) {
	m := MatchTypes(TypeOf(k.Source, p.source), TypeOf(k.Destination, p.target), k.sameTypeName)
	if m.Same() {
		return
	}
	kind := TypeSafe
	switch m.Fit {
	case FitWarn:
		kind = TypeWarn
	case FitLoses, FitRefuses:
		kind = TypeUnsafe
	}
	declared := k.Mapping.Cast(p.source.Name)
	if declared != "" && sameTypeText(declared, p.target.TypeText) {
		kind = TypeDeclared
	}
	d := k.add(kind, p.source.Name, "", p.source.TypeText, p.target.TypeText, p.source, p.target)
	d.match = &m
	if kind != TypeDeclared {
		d.Reason = m.Reason
	} else if m.Fit.Verdict() != OK {
		d.Verdict, d.Reason = Warn, d.Reason+"; "+m.Reason
	}
}

func (k *comparer) generated(p columnPair) {
	s, d := p.source, p.target
	switch {
	case s.Generated == "" && d.Generated == "":
	case s.Generated == "":
		k.add(GeneratedDestination, s.Name, "", "a plain column", generatedText(d), s, d)
	case d.Generated == "":
		kind := GeneratedSource
		if s.Generated == "s" && slices.ContainsFunc(k.published(k.Source), func(x catalog.PublicationDescription) bool { return x.Generated == "s" }) {
			kind = GeneratedSent
		}
		k.add(kind, s.Name, "", generatedText(s), "a plain column", s, d)
	case !k.text.same(s.Default, d.Default):
		k.add(GeneratedDiffers, s.Name, "", generatedText(s), generatedText(d), s, d)
	}
}

func (k *comparer) nullable(p columnPair) {
	s, d := k.notNull(k.Source, p.source), k.notNull(k.Destination, p.target)
	switch {
	case p.target.Generated != "":
	case d && !s:
		k.add(NotNullDestination, p.source.Name, "", "NULL allowed", "NOT NULL", p.source, p.target)
	case s && !d && p.source.NotNull:
		k.add(NotNullSource, p.source.Name, "", "NOT NULL", "NULL allowed", p.source, p.target)
	}
}

func (k *comparer) defaults(p columnPair) {
	s, d := p.source, p.target
	if s.Generated != "" || d.Generated != "" {
		return
	}
	if s.Identity != d.Identity {
		k.add(IdentityDiffers, s.Name, "", identityText(s), identityText(d), s, d)
		if s.Identity == "" || d.Identity == "" {
			return // the other side's default is part of that
		}
	}
	if k.ownedSequence(k.Source, s.Name) != nil && k.ownedSequence(k.Destination, d.Name) != nil &&
		strings.HasPrefix(s.Default, "nextval(") && strings.HasPrefix(d.Default, "nextval(") {
		return // each side has a sequence of its own
	}
	if !k.alike(s.Default, d.Default) {
		k.add(DefaultDiffers, s.Name, "", s.Default, d.Default, s, d)
	}
}

// columnOrder reports that the destination has the common columns in another
// order, once.
func (k *comparer) columnOrder() {
	var last int
	for _, p := range k.pairs {
		if p.target.Number < last {
			k.add(ColumnOrder, "", "", "", "", nil, nil)
			return
		}
		last = p.target.Number
	}
}

func (k *comparer) storage(p columnPair) {
	s, d := p.source, p.target
	property := func(name, source, target string) {
		if source != target {
			k.add(ColumnStorage, s.Name, name, source, target, s, d)
		}
	}
	if s.TypeText == d.TypeText {
		property("storage", s.Storage, d.Storage)
	}
	property("compression", s.Compression, d.Compression)
	property("statistics", targetText(s.StatsTarget), targetText(d.StatsTarget))
	property("options", strings.Join(sorted(s.Options), ", "), strings.Join(sorted(d.Options), ", "))
	if s.Comment != d.Comment {
		k.add(Appearance, s.Name, "comment", s.Comment, d.Comment, s, d)
	}
	if acl := strings.Join(sorted(s.ACL), " "); acl != strings.Join(sorted(d.ACL), " ") {
		k.add(Appearance, s.Name, "grants", acl, strings.Join(sorted(d.ACL), " "), s, d)
	}
}

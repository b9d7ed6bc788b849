package ddl

import (
	"regexp"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// columns compares columns by attnum: a number is never used again.
func (c *comparison) columns() {
	c.renamed = map[string]string{}
	for i := range c.before.Columns {
		from := &c.before.Columns[i]
		if to := c.after.ColumnNumbered(from.Number); to == nil {
			c.add(Change{Kind: ColumnDropped, From: from})
		} else if from.Name != to.Name {
			c.renamed[from.Name] = to.Name
		}
	}
	for i := range c.before.Columns {
		from := &c.before.Columns[i]
		if to := c.after.ColumnNumbered(from.Number); to != nil && from.Name != to.Name {
			c.add(Change{Kind: ColumnRenamed, From: from, To: to})
		}
	}
	for i := range c.after.Columns {
		to := &c.after.Columns[i]
		from := c.before.ColumnNumbered(to.Number)
		if from != nil && (from.TypeText != to.TypeText && !c.sameType(from, to) || collation(from) != collation(to)) {
			c.add(Change{Kind: ColumnRetyped, From: from, To: to, Rewritten: c.known.Reason&RewriteColumn != 0, Plain: c.known.Plain})
		}
	}
	for i := range c.after.Columns {
		to := &c.after.Columns[i]
		if c.before.ColumnNumbered(to.Number) == nil {
			old, value := c.old(to)
			c.add(Change{Kind: ColumnAdded, To: to, Old: old, OldValue: value, Rewritten: c.known.Moved})
		}
	}
	for i := range c.after.Columns {
		if from := c.before.ColumnNumbered(c.after.Columns[i].Number); from != nil {
			c.properties(from, &c.after.Columns[i])
		}
	}
}

// sameType tells whether only the name of a type has changed: types that were
// renamed or moved are told by their own changes.
func (c *comparison) sameType(from, to *catalog.ColumnDescription) bool {
	if from.Modifier != to.Modifier {
		return false
	}
	return from.Type == to.Type || c.typeRenamed(from.Type, to.Type)
}

// typeRenamed tells whether one type is the other with a new name. One that is
// still there under the old name is not, nor is any if columns were rewritten.
func (c *comparison) typeRenamed(from, to catalog.Name) bool {
	b, a := c.before.TypeNamed(from), c.after.TypeNamed(to)
	if b == nil || a == nil || c.after.TypeNamed(from) != nil || c.before.TypeNamed(to) != nil || b.Kind != a.Kind || c.known.Reason&RewriteColumn != 0 {
		return false
	}
	if b.Category == "A" && b.Element != nil && a.Element != nil {
		return *b.Element == *a.Element || c.typeRenamed(*b.Element, *a.Element)
	}
	return b.Kind != "b" && typeEqual(b, a)
}

func collation(c *catalog.ColumnDescription) catalog.Name {
	if c.Collation == nil {
		return catalog.Name{}
	}
	return *c.Collation
}

// properties compares what a column is beside its name and type.
func (c *comparison) properties(from, to *catalog.ColumnDescription) {
	switch {
	case from.Generated != to.Generated, from.Generated != "" && from.Default != to.Default && !c.mentionsRenamed():
		c.add(Change{Kind: ColumnGenerated, From: from, To: to})
	case from.Generated == "" && from.Default != to.Default && !c.mentionsRenamed():
		c.add(Change{Kind: ColumnDefault, From: from, To: to})
	}
	if from.NotNull != to.NotNull {
		c.add(Change{Kind: ColumnNotNull, From: from, To: to})
	}
	if from.Identity != to.Identity {
		c.add(Change{Kind: ColumnIdentity, From: from, To: to})
	}
}

// mentionsRenamed tells whether texts of expressions may differ for no other
// reason than that a column has another name.
func (c *comparison) mentionsRenamed() bool { return len(c.renamed) > 0 }

// nullDefault is how the server writes DEFAULT NULL.
var nullDefault = regexp.MustCompile(`^NULL(::.*)?$`)

// old tells what rows hold in a column that they are older than. The catalog
// says it where the server has not rewritten the table; where it has, it is
// known only if the expression gives the same everywhere.
func (c *comparison) old(to *catalog.ColumnDescription) (OldRows, string) {
	switch {
	case to.Generated != "":
		return OldComputed, ""
	case to.HasMissing:
		return OldConstant, to.Missing
	case to.Default == "" && to.Identity == "" && !domainDefault(c.after, to.Type), nullDefault.MatchString(to.Default):
		return OldNull, ""
	}
	if c.after.Relkind != "p" {
		if c.known.Moved || c.known.Reason != 0 {
			return OldUnknown, ""
		}
		return OldNull, "" // it got its default after it was there
	}
	if value, ok := c.known.LeafMissing[to.Name]; ok {
		return OldConstant, value
	}
	if c.known.LeafMissing != nil && (c.known.Moved || c.known.Reason != 0) {
		return OldUnknown, ""
	}
	return OldNull, ""
}

// domainDefault tells whether a type is a domain, perhaps over another one, that
// has a default.
func domainDefault(d *catalog.TableDescription, name catalog.Name) bool {
	for range len(d.Types) {
		t := d.TypeNamed(name)
		if t == nil || t.Domain == nil {
			return false
		}
		if t.Domain.Default != "" {
			return true
		}
		name = t.Domain.Base
	}
	return false
}

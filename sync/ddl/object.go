package ddl

import (
	"slices"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// objects compares constraints and indexes. Indexes of constraints are the
// constraints' business, and what partitions have of their parents is theirs.
func (c *comparison) objects() {
	indexes := pair(c.before.Indexes, c.after.Indexes, func(x catalog.IndexDescription) (string, bool) {
		return x.Name, x.Constraint == "" && !x.Inherited
	}, c.sameIndex)
	constraints := pair(c.before.Constraints, c.after.Constraints, func(x catalog.ConstraintDescription) (string, bool) {
		return x.Name, x.Type != "p" && !x.Inherited
	}, c.sameConstraint)
	for _, name := range indexes.dropped {
		c.add(Change{Kind: IndexDropped, Object: name})
	}
	for _, name := range constraints.dropped {
		c.add(Change{Kind: ConstraintDropped, Object: name})
	}
	for _, r := range indexes.renamed {
		c.add(Change{Kind: IndexRenamed, Object: r[0], NewName: r[1]})
	}
	for _, r := range constraints.renamed {
		c.add(Change{Kind: ConstraintRenamed, Object: r[0], NewName: r[1]})
	}
	for _, name := range indexes.added {
		c.add(Change{Kind: IndexCreated, Object: name})
	}
	c.primaryKey()
	for _, name := range constraints.added {
		c.add(Change{Kind: ConstraintAdded, Object: name})
	}
	for _, before := range c.before.Constraints {
		i := slices.IndexFunc(c.after.Constraints, func(x catalog.ConstraintDescription) bool { return x.Name == before.Name })
		if i < 0 || !c.sameConstraint(before, c.after.Constraints[i]) || before.Inherited {
			continue
		}
		if after := c.after.Constraints[i]; before.Validated != after.Validated || before.Deferrable != after.Deferrable || before.Deferred != after.Deferred ||
			before.NotEnforced != after.NotEnforced {
			c.add(Change{Kind: ConstraintAltered, Object: before.Name})
		}
	}
}

func (c *comparison) primaryKey() {
	before, after := c.before.PrimaryKey(), c.after.PrimaryKey()
	switch {
	case before == nil && after == nil:
	case before == nil:
		c.add(Change{Kind: PrimaryKeyChanged, NewName: after.Name})
	case after == nil:
		c.add(Change{Kind: PrimaryKeyChanged, Object: before.Name})
	case !slices.Equal(c.mapped(before.Columns), after.Columns), before.Deferrable != after.Deferrable:
		c.add(Change{Kind: PrimaryKeyChanged, Object: before.Name, NewName: after.Name})
	case before.Name != after.Name:
		c.add(Change{Kind: ConstraintRenamed, Object: before.Name, NewName: after.Name})
	}
}

// mapped gives the names that columns have after.
func (c *comparison) mapped(columns []string) []string {
	out := slices.Clone(columns)
	for i, name := range out {
		if now, ok := c.renamed[name]; ok {
			out[i] = now
		}
	}
	return out
}

// sameIndex tells whether two indexes are the same but for the name. Where a
// column was renamed, the text of a definition says nothing.
func (c *comparison) sameIndex(b, a catalog.IndexDescription) bool {
	if b.Unique != a.Unique || b.Method != a.Method || b.Nulls != a.Nulls || b.Invalid != a.Invalid ||
		!slices.Equal(c.mapped(b.Columns), a.Columns) || !slices.Equal(c.mapped(b.Include), a.Include) {
		return false
	}
	return b.Using == a.Using || c.mentionsRenamed()
}

func (c *comparison) sameConstraint(b, a catalog.ConstraintDescription) bool {
	if b.Type != a.Type || !slices.Equal(c.mapped(b.Columns), a.Columns) {
		return false
	}
	switch a.Type {
	case "f":
		return b.OnUpdate == a.OnUpdate && b.OnDelete == a.OnDelete && b.Match == a.Match && (b.References == nil) == (a.References == nil)
	case "u":
		return true
	}
	return trimValidity(b.Definition) == trimValidity(a.Definition) || c.mentionsRenamed()
}

// trimValidity leaves out what VALIDATE and ALTER CONSTRAINT change.
func trimValidity(definition string) string {
	for _, suffix := range []string{" NOT VALID", " NOT ENFORCED", " INITIALLY DEFERRED", " DEFERRABLE"} {
		if n := len(definition) - len(suffix); n > 0 && definition[n:] == suffix {
			definition = definition[:n]
		}
	}
	return definition
}

// pairing is what became of named things.
type pairing struct {
	dropped, added []string
	renamed        [][2]string
}

// pair matches things by name, and what is left by being the same. name also
// tells whether a thing is to be looked at.
func pair[T any](before, after []T, name func(T) (string, bool), same func(b, a T) bool) pairing {
	var p pairing
	var gone, fresh []T
	find := func(list []T, wanted string) *T {
		for i := range list {
			if n, ok := name(list[i]); ok && n == wanted {
				return &list[i]
			}
		}
		return nil
	}
	for _, b := range before {
		if n, ok := name(b); ok {
			if a := find(after, n); a == nil || !same(b, *a) {
				gone = append(gone, b)
			}
		}
	}
	for _, a := range after {
		if n, ok := name(a); ok {
			if b := find(before, n); b == nil || !same(*b, a) {
				fresh = append(fresh, a)
			}
		}
	}
	for _, b := range gone {
		from, _ := name(b)
		i := slices.IndexFunc(fresh, func(a T) bool { to, _ := name(a); return from != to && same(b, a) })
		if i < 0 {
			p.dropped = append(p.dropped, from)
			continue
		}
		to, _ := name(fresh[i])
		p.renamed = append(p.renamed, [2]string{from, to})
		fresh = slices.Delete(fresh, i, i+1)
	}
	for _, a := range fresh {
		to, _ := name(a)
		p.added = append(p.added, to)
	}
	return p
}

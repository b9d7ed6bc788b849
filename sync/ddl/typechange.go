package ddl

import (
	"slices"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// types compares the types that both descriptions know: what only one of them
// uses comes with a column.
func (c *comparison) types() {
	for i := range c.before.Types {
		b := &c.before.Types[i]
		for j := range c.after.Types {
			if a := &c.after.Types[j]; b.Kind != "b" && b.Type != a.Type && c.typeRenamed(b.Type, a.Type) {
				c.add(Change{Kind: TypeRenamed, Type: a, FromType: b})
				break
			}
		}
	}
	for i := range c.after.Types {
		if before := c.before.TypeNamed(c.after.Types[i].Type); before != nil {
			for _, change := range TypeChanges(before, &c.after.Types[i]) {
				c.add(change)
			}
		}
	}
}

// TypeChanges compares two descriptions of one type. before may be nil.
func TypeChanges(before, after *catalog.TypeDescription) []Change {
	switch {
	case before == nil:
		return []Change{{Kind: TypeCreated, Type: after}}
	case before.Kind != after.Kind:
		return nil // another type has its name now; columns tell
	case after.Kind == "e":
		return labelChanges(before, after)
	case after.Kind == "c" && !slices.EqualFunc(before.Fields, after.Fields, fieldEqual):
		return []Change{{Kind: CompositeAltered, Type: after, FromType: before}}
	case after.Kind == "d" && !domainEqual(before.Domain, after.Domain):
		return []Change{{Kind: DomainAltered, Type: after, FromType: before}}
	}
	return nil
}

// labelChanges: a label never goes away. With as many as before those that
// differ were renamed; with more, the old ones in their order are among the new.
func labelChanges(before, after *catalog.TypeDescription) []Change {
	var out []Change
	if len(before.Labels) == len(after.Labels) {
		for i, label := range after.Labels {
			if label != before.Labels[i] {
				if slices.Contains(before.Labels, label) { // exchanged: rows in between may mean either
					return []Change{{Kind: EnumLabelsUnclear, Type: after, FromType: before}}
				}
				out = append(out, Change{Kind: EnumLabelRenamed, Type: after, FromType: before, Object: before.Labels[i], NewName: label})
			}
		}
		return out
	}
	known, last := before.Labels, ""
	for _, label := range after.Labels {
		if len(known) > 0 && known[0] == label {
			known = known[1:]
		} else {
			out = append(out, Change{Kind: EnumLabelAdded, Type: after, FromType: before, Object: label, Neighbour: last})
		}
		last = label
	}
	if len(known) > 0 {
		return []Change{{Kind: EnumLabelsUnclear, Type: after, FromType: before}}
	}
	return out
}

func typeEqual(b, a *catalog.TypeDescription) bool {
	return slices.Equal(b.Labels, a.Labels) && slices.EqualFunc(b.Fields, a.Fields, fieldEqual) && domainEqual(b.Domain, a.Domain)
}

func fieldEqual(b, a catalog.FieldDescription) bool {
	return b.Name == a.Name && b.TypeText == a.TypeText && b.Type == a.Type
}

func domainEqual(b, a *catalog.DomainDescription) bool {
	if b == nil || a == nil {
		return b == a
	}
	return b.Base == a.Base && b.BaseText == a.BaseText && b.NotNull == a.NotNull && b.Default == a.Default && slices.Equal(b.Checks, a.Checks)
}

package ddl

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// typeChanged finds what a type was before by the tables that use it, and
// changes it in all of them.
func (r *Registry) typeChanged(e *Event) []Change {
	if e.Type == nil {
		return []Change{{Kind: EverythingUnclear, Failure: e.Failure}}
	}
	var out []Change
	before := r.typeBefore(e)
	switch {
	case before != nil:
		if before.Type != e.Type.Type {
			out = append(out, Change{Kind: TypeRenamed, Type: e.Type, FromType: before})
		}
		out = append(out, TypeChanges(before, e.Type)...)
	case strings.HasPrefix(e.Tag, "CREATE"):
		out = TypeChanges(nil, e.Type)
	default:
		// Nobody uses it: what it was is not known, what it is comes with the
		// first column that does.
		out = []Change{{Kind: TypeAltered, Type: e.Type}}
	}
	r.types[e.OID] = e.Type
	if before != nil && len(out) > 0 {
		for _, d := range r.tables {
			r.replaceType(d, before.Type, e.Type)
		}
	}
	return out
}

// typeBefore finds the recorded description of a type.
func (r *Registry) typeBefore(e *Event) *catalog.TypeDescription {
	if t := r.types[e.OID]; t != nil {
		return t
	}
	for _, d := range r.tables {
		if t := d.TypeNamed(e.Type.Type); t != nil && t.Kind == e.Type.Kind {
			return t
		}
	}
	return nil
}

// replaceType changes a type in what is recorded of a table.
func (r *Registry) replaceType(d *catalog.TableDescription, before catalog.Name, after *catalog.TypeDescription) {
	i := slices.IndexFunc(d.Types, func(t catalog.TypeDescription) bool { return t.Type == before })
	if i < 0 {
		return
	}
	now := *d
	now.Types = slices.Clone(d.Types)
	kept := now.Types[i]
	now.Types[i] = *after
	now.Types[i].Extension, now.Types[i].Hash, now.Types[i].Order, now.Types[i].Category = kept.Extension, kept.Hash, kept.Order, kept.Category
	for t := range now.Types {
		if element := now.Types[t].Element; element != nil && *element == before {
			now.Types[t].Element = &after.Type
		}
	}
	now.Columns = slices.Clone(d.Columns)
	for c := range now.Columns {
		if now.Columns[c].Type == before {
			now.Columns[c].Type = after.Type
		}
	}
	r.set(&now)
}

package dump

import (
	"cmp"
	"slices"
	"strings"
)

// Key is the identity of an entry in every dump of the same schema: two entries
// with the same key are the same object. It can be compared with ==.
type Key struct {
	Kind      Kind
	Namespace string
	Tag       string

	// Detail tells apart what has the same tag: the owner of a DEFAULT ACL,
	// the operand types of an OPERATOR, the access method of an OPERATOR CLASS
	// or FAMILY.
	Detail string

	// Ordinal numbers the entries of one archive that are still alike, from
	// 0: a tag such as "a b c" does not tell table "a b" from constraint
	// "b c". Only Archive.Keys sets it.
	Ordinal int
}

// Key gives the entry's identity, without an ordinal.
func (e Entry) Key() Key {
	key := Key{Kind: e.Kind, Namespace: e.Namespace, Tag: e.Tag}
	switch e.Kind {
	case KindDefaultACL:
		key.Detail = e.Owner
	case KindOperator, KindOperatorClass, KindOperatorFamily:
		key.Detail = e.dropped()
	}
	return key
}

// Keys gives the keys of a.Entries in their order, all different. Entries that
// are alike are numbered in the order of their definitions, which is the same
// in two dumps of the same schema.
func (a *Archive) Keys() []Key {
	keys := make([]Key, len(a.Entries))
	alike := make(map[Key][]int, len(a.Entries))
	for i, entry := range a.Entries {
		keys[i] = entry.Key()
		alike[keys[i]] = append(alike[keys[i]], i)
	}
	for _, places := range alike {
		slices.SortStableFunc(places, func(i, j int) int {
			return cmp.Compare(a.Entries[i].Definition, a.Entries[j].Definition)
		})
		for ordinal, i := range places {
			keys[i].Ordinal = ordinal
		}
	}
	return keys
}

// dropped is what the DROP statement names: `FUNCTION public.f(integer)`.
func (e Entry) dropped() string {
	named, found := strings.CutPrefix(e.Drop, "DROP ")
	if !found {
		return ""
	}
	return strings.TrimRight(named, ";\n")
}

// OfDatabase tells whether an entry is a grant, comment or label of the database
// itself. It names the database that was dumped: pg_restore runs it only when it
// creates that database.
func (e Entry) OfDatabase() bool {
	switch e.Kind {
	case KindACL, KindComment, KindSecurityLabel:
		return e.Namespace == "" && strings.HasPrefix(e.Tag, "DATABASE ")
	}
	return false
}

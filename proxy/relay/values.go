package relay

import (
	"maps"
	"slices"
	"strings"
)

// values is a set of names with their values that does not change: a change
// makes another one. So sessions and servers share them, and most comparisons
// are those of pointers. The nil pointer is the empty set.
type values struct {
	of  map[string]string
	key string // equal for equal sets
}

func newValues(of map[string]string) *values {
	if len(of) == 0 {
		return nil
	}
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(of)) {
		key.WriteString(name)
		key.WriteByte(0)
		key.WriteString(of[name])
		key.WriteByte(0)
	}
	return &values{of: of, key: key.String()}
}

// all gives the map, which must not be changed.
func (v *values) all() map[string]string {
	if v == nil {
		return nil
	}
	return v.of
}

func (v *values) get(name string) (string, bool) {
	value, ok := v.all()[name]
	return value, ok
}

// equal compares two sets.
func (v *values) equal(other *values) bool {
	if v == other {
		return true
	}
	return v != nil && other != nil && v.key == other.key
}

// with gives the set with one value changed; "" takes it out if unset is true.
func (v *values) with(name, value string) *values {
	if old, ok := v.get(name); ok && old == value {
		return v
	}
	of := maps.Clone(v.all())
	if of == nil {
		of = make(map[string]string, 1)
	}
	of[name] = value
	return newValues(of)
}

// without gives the set without a name.
func (v *values) without(name string) *values {
	if _, ok := v.get(name); !ok {
		return v
	}
	of := maps.Clone(v.all())
	delete(of, name)
	return newValues(of)
}

// only gives the part of the set that has these names.
func (v *values) only(names ...string) *values {
	of := make(map[string]string)
	for _, name := range names {
		if value, ok := v.get(name); ok {
			of[name] = value
		}
	}
	return newValues(of)
}

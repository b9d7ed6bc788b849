package schema

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
)

// Without says what of the source's schema a destination is meant not to have.
type Without struct {
	Indexes     bool // but unique ones, which are rules about rows: keys, replica identities and foreign keys rest on them
	ForeignKeys bool
}

// of gives the dump ids of what is left out, and of what is said of it: comments,
// and attachments of indexes to those of partitioned tables.
func (w Without) of(entries []dump.Entry) map[int]bool {
	if w == (Without{}) {
		return nil
	}
	out := map[int]bool{}
	for i := range entries {
		e := &entries[i]
		out[e.DumpID] = w.ForeignKeys && e.Kind == dump.KindForeignKey || w.Indexes && e.Kind == dump.KindIndex && !strings.HasPrefix(e.Definition, "CREATE UNIQUE INDEX ")
	}
	for changed := true; changed; {
		changed = false
		for i := range entries {
			e := &entries[i]
			if !out[e.DumpID] && belongs(e.Kind) && slices.ContainsFunc(e.Dependencies, func(id int) bool { return out[id] }) {
				out[e.DumpID], changed = true, true
			}
		}
	}
	return out
}

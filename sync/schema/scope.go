package schema

import (
	"fmt"
	"slices"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// published gives the dump ids that scope = "publication" takes: the published
// tables, what they need (schemas, types, functions, sequences, partition
// roots) and what is made on them and needs nothing else (indexes,
// constraints, triggers, policies, comments, grants). left names what a
// published table has and does not get, because it needs something outside.
func (s *Source) published(byID map[int]*dump.Entry) (scope map[int]bool, left []string) {
	scope = map[int]bool{}
	need := func(e *dump.Entry) { s.need(e, byID, scope) }
	tables := map[catalog.Name]bool{}
	for _, t := range s.Publication.Tables {
		tables[t.Table] = true
	}
	for i := range s.Archive.Entries {
		e := &s.Archive.Entries[i]
		isTable := e.Kind == dump.KindTable && tables[catalog.Name{Schema: e.Namespace, Name: e.Tag}]
		if isTable || (e.Kind == dump.KindPublication && e.Tag == s.Publication.Name) {
			need(e)
		}
	}
	s.needPartitions(byID, scope)
	// What belongs to the taken, in the archive's order, so that what belongs
	// to an index of a taken table is found as well.
	for i := range s.Archive.Entries {
		e := &s.Archive.Entries[i]
		if scope[e.DumpID] || !belongs(e.Kind) || !partOf(e, byID, scope) {
			continue
		}
		if missing := outside(e, byID, scope); missing != nil {
			left = append(left, fmt.Sprintf("%s %s (needs %s %s)", e.Kind, quoteTag(e), missing.Kind, quoteTag(missing)))
			continue
		}
		need(e)
	}
	return scope, left
}

// publishes makes sure that there is something to take: an empty scope would
// compare nothing with nothing and find it equal.
func (s *Source) publishes() error {
	if len(s.Publication.Tables) > 0 {
		return nil
	}
	const hint = "SCHEMA_SYNC PRE <source> <destination> <publication>; names one, and scope = \"database\" needs none"
	if s.Publication.Name == "" {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "[schema_sync] scope is \"publication\", and no publication is known for %q", s.Server.Cluster).
			WithDetail("The two databases were never synced.").WithHint(hint)
	}
	return pgerror.New(pgerror.UndefinedObject, "publication %q of %q does not exist or lists no tables, and [schema_sync] scope is \"publication\"", s.Publication.Name, s.Server.Cluster).
		WithHint(hint)
}

// need takes an entry and everything it depends on.
func (s *Source) need(e *dump.Entry, byID map[int]*dump.Entry, scope map[int]bool) {
	if scope[e.DumpID] {
		return
	}
	scope[e.DumpID] = true
	for _, id := range e.Dependencies {
		if d := byID[id]; d != nil {
			s.need(d, byID, scope)
		}
	}
}

// needPartitions takes the partitions of taken partitioned tables: rows that
// are published through the root have to go somewhere.
func (s *Source) needPartitions(byID map[int]*dump.Entry, scope map[int]bool) {
	for changed := true; changed; {
		changed = false
		for i := range s.Archive.Entries {
			e := &s.Archive.Entries[i]
			if e.Kind != dump.KindTableAttach || scope[e.DumpID] || !touches(e, scope) {
				continue
			}
			s.need(e, byID, scope)
			changed = true
		}
	}
}

// belongs tells whether entries of a kind are parts of what they depend on.
func belongs(kind dump.Kind) bool {
	return slices.Contains([]dump.Kind{
		dump.KindACL, dump.KindComment, dump.KindSecurityLabel, dump.KindConstraint, dump.KindCheckConstraint,
		dump.KindForeignKey, dump.KindDefault, dump.KindIndex, dump.KindIndexAttach, dump.KindPolicy,
		dump.KindPublicationTable, dump.KindPublicationTablesInSchema, dump.KindRowSecurity, dump.KindRule,
		dump.KindSequence, dump.KindSequenceOwnedBy, dump.KindStatistics, dump.KindTrigger,
	}, kind)
}

// partOf tells whether e belongs to something taken. Being in a schema with it
// is not enough, but for what is said of the schema itself.
func partOf(e *dump.Entry, byID map[int]*dump.Entry, scope map[int]bool) bool {
	said := e.Kind == dump.KindACL || e.Kind == dump.KindComment || e.Kind == dump.KindSecurityLabel
	return slices.ContainsFunc(e.Dependencies, func(id int) bool {
		return scope[id] && (said || byID[id] == nil || byID[id].Kind != dump.KindSchema)
	})
}

func touches(e *dump.Entry, scope map[int]bool) bool {
	return slices.ContainsFunc(e.Dependencies, func(id int) bool { return scope[id] })
}

// outside gives a table, view or publication that e needs and that is not
// taken. Functions and types are taken along; tables are not.
func outside(e *dump.Entry, byID map[int]*dump.Entry, scope map[int]bool) *dump.Entry {
	for _, id := range e.Dependencies {
		d := byID[id]
		if d == nil || scope[id] {
			continue
		}
		switch d.Kind {
		case dump.KindTable, dump.KindForeignTable, dump.KindView, dump.KindMaterializedView,
			dump.KindConstraint, dump.KindIndex, dump.KindPublication:
			return d
		}
		if inner := outside(d, byID, scope); inner != nil {
			return inner
		}
	}
	return nil
}

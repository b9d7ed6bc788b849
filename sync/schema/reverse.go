package schema

import (
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// reverse plans what a shard of the destination needs to publish its changes
// back to the old source: the publication with its tables, and for each of them
// a replica identity. Entries of the publication that an earlier phase has
// made are found equal.
func (b *builder) reverse() {
	for i := range b.source.Archive.Entries {
		e := &b.source.Archive.Entries[i]
		if b.ofPublication(e) && b.rules.Compared(e) {
			b.entry(e)
		}
	}
	identities := map[catalog.Name]string{}
	for i := range b.destination.Archive.Entries {
		if e := &b.destination.Archive.Entries[i]; e.Kind == dump.KindTable {
			identities[catalog.Name{Schema: e.Namespace, Name: e.Tag}] = e.Definition
		}
	}
	for _, t := range b.source.Publication.Tables {
		definition, there := identities[t.Table]
		if !there || t.Identity != 'f' {
			continue // keys are part of the schema that the earlier phases compare
		}
		name := qualified(t.Table.Schema, t.Table.Name)
		s := &Statement{
			Phase: b.opts.Phase, Shard: b.destination.Server.Shard, Kind: KindReverse,
			Schema: t.Table.Schema, Table: t.Table.Name, Object: t.Table.Name, Lock: ShareUpdateExclusive,
			SQL:   fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL;", name),
			Locks: []RelationLock{{Relation: t.Table, Mode: ShareUpdateExclusive}},
		}
		s.Display = s.SQL
		if strings.Contains(definition, " REPLICA IDENTITY FULL;") {
			s.Outcome = Existed
		}
		b.add(nil, s)
	}
}

func (b *builder) ofPublication(e *dump.Entry) bool {
	switch e.Kind {
	case dump.KindPublication:
		return e.Tag == b.source.Publication.Name
	case dump.KindPublicationTable, dump.KindPublicationTablesInSchema:
		for _, id := range e.Dependencies {
			if d := b.byID[id]; d != nil && d.Kind == dump.KindPublication {
				return d.Tag == b.source.Publication.Name
			}
		}
	}
	return false
}

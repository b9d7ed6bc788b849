package ddl

import (
	"maps"
	"slices"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Read takes what a poll has found, and tells the changes. With events, it is
// called when the stream arrives at reading.Fence: a Registry that is further on
// would be set back.
func (r *Registry) Read(reading *Reading) []Change {
	var out []Change
	out = append(out, r.readTypes(reading.Types)...)
	for _, oid := range reading.Gone {
		out = append(out, r.dropped(Dropped{OID: oid, Type: "table"})...)
	}
	out = append(out, r.readTables(reading.Tables)...)
	out = append(out, r.readPublications(reading.Publications)...)
	return out
}

// readTables takes tables so that none gets a name that another still has. Of
// those that have exchanged their names one gets another in between.
func (r *Registry) readTables(waiting []TableReading) []Change {
	var out []Change
	for len(waiting) > 0 {
		var blocked []TableReading
		for _, t := range waiting {
			if r.nameTaken(t.After) {
				blocked = append(blocked, t)
				continue
			}
			t.Known.Polled = true
			out = append(out, r.put(t.After, t.Known)...)
			if r.tables[t.After.OID] != nil {
				r.shapes[t.After.OID] = t.Shape
			}
		}
		if len(blocked) == len(waiting) {
			out = append(out, r.giveWay(blocked[0])...)
		}
		waiting = blocked
	}
	return out
}

// giveWay gives another name to what has the one that a table is to get.
func (r *Registry) giveWay(t TableReading) []Change {
	between := *r.Named(t.After.Table)
	between.Table.Name = aside(int(between.OID), between.Table.Name)
	return r.put(&between, Context{})
}

// nameTaken tells whether another table is recorded under the name that one is
// to get by a rename. A new one may replace it.
func (r *Registry) nameTaken(d *catalog.TableDescription) bool {
	other := r.Named(d.Table)
	return other != nil && other.OID != d.OID && r.tables[d.OID] != nil
}

// readTypes compares all types. Those that are found first are not new.
func (r *Registry) readTypes(now map[uint32]*catalog.TypeDescription) []Change {
	if now == nil {
		return nil
	}
	var out []Change
	first := !r.typesKnown
	r.typesKnown = true
	for _, oid := range slices.Sorted(maps.Keys(now)) {
		t := now[oid]
		switch {
		case r.types[oid] != nil:
			out = append(out, r.typeChanged(&Event{Kind: TypeEvent, OID: oid, Name: t.Type, Type: t, Tag: "ALTER TYPE"})...)
		case first:
			r.types[oid] = t
		default:
			r.types[oid] = t
			out = append(out, TypeChanges(nil, t)...)
		}
	}
	maps.DeleteFunc(r.types, func(oid uint32, _ *catalog.TypeDescription) bool { return now[oid] == nil })
	return out
}

// readPublications notices publications that have another name, or are gone.
// What their other changes mean is in the descriptions of the tables.
func (r *Registry) readPublications(now []*Publication) []Change {
	var out []Change
	seen := map[uint32]bool{}
	for _, p := range now {
		seen[p.OID] = true
		r.definitions[p.OID] = p
	}
	for oid, p := range r.definitions {
		if !seen[oid] && slices.Contains(r.publications, p.Name) {
			delete(r.definitions, oid)
			out = append(out, Change{Kind: PublicationDropped, Object: p.Name})
		}
	}
	return out
}

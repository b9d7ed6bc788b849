package ddl

import (
	"maps"
	"slices"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Registry is what is recorded of a source's schema, at one position of its
// stream. Events and readings move it on, and tell the changes. It knows the
// tables that the given publications publish. It is used by one goroutine, and
// changes no description that it was given or has given.
type Registry struct {
	publications []string
	tables       map[uint32]*catalog.TableDescription
	names        map[catalog.Name]uint32 // of the tables
	definitions  map[uint32]*Publication
	types        map[uint32]*catalog.TypeDescription
	typesKnown   bool
	shapes       map[uint32]Shape // of tables that were polled
	rewrites     map[uint32]Event // of the transaction, whose table's event has not come
}

// NewRegistry makes one without tables.
func NewRegistry(publications []string) *Registry {
	return &Registry{
		publications: slices.Clone(publications), tables: map[uint32]*catalog.TableDescription{}, names: map[catalog.Name]uint32{},
		definitions: map[uint32]*Publication{}, types: map[uint32]*catalog.TypeDescription{}, rewrites: map[uint32]Event{},
		shapes: map[uint32]Shape{},
	}
}

// Clone gives a Registry of its own that knows the same.
func (r *Registry) Clone() *Registry {
	return &Registry{
		publications: r.publications, tables: maps.Clone(r.tables), names: maps.Clone(r.names), definitions: maps.Clone(r.definitions),
		types: maps.Clone(r.types), typesKnown: r.typesKnown, shapes: maps.Clone(r.shapes), rewrites: maps.Clone(r.rewrites),
	}
}

// Types gives the types that are recorded, by OID. The map is the Registry's.
func (r *Registry) Types() map[uint32]*catalog.TypeDescription { return r.types }

// Publications gives the publications that are recorded, by OID. The map is the
// Registry's.
func (r *Registry) Publications() map[uint32]*Publication { return r.definitions }

// Record notes a table as it is where the Registry begins, if one of the
// publications publishes it.
func (r *Registry) Record(d *catalog.TableDescription) {
	if r.publishes(d) {
		r.set(d)
	}
}

// Forget takes a table out.
func (r *Registry) Forget(oid uint32) {
	if d := r.tables[oid]; d != nil && r.names[d.Table] == oid {
		delete(r.names, d.Table)
	}
	delete(r.tables, oid)
	delete(r.shapes, oid)
}

// set records a table as it is now.
func (r *Registry) set(d *catalog.TableDescription) {
	if before := r.tables[d.OID]; before != nil && before.Table != d.Table && r.names[before.Table] == d.OID {
		delete(r.names, before.Table)
	}
	r.tables[d.OID], r.names[d.Table] = d, d.OID
	delete(r.shapes, d.OID) // a poll's; it sets it anew
}

// RecordPublication notes a publication as it is where the Registry begins.
func (r *Registry) RecordPublication(p *Publication) { r.definitions[p.OID] = p }

// RecordShapes notes what a Poller remembers of the shapes of tables that are
// recorded: with it Fits compares types as well.
func (r *Registry) RecordShapes(m Memory) {
	for oid, v := range m.Tables {
		if r.tables[oid] != nil {
			r.shapes[oid] = v.Shape
		}
	}
}

// RecordType notes a type as it is where the Registry begins: of one that was
// renamed an event tells only the new name.
func (r *Registry) RecordType(oid uint32, t *catalog.TypeDescription) {
	r.types[oid], r.typesKnown = t, true
}

// Table gives what is recorded of a table, nil if it is not known.
func (r *Registry) Table(oid uint32) *catalog.TableDescription { return r.tables[oid] }

// Named gives the table that has a name now, nil if there is none.
func (r *Registry) Named(name catalog.Name) *catalog.TableDescription {
	return r.tables[r.names[name]] // no table has the OID 0
}

// Tables gives all that are recorded, by OID.
func (r *Registry) Tables() []*catalog.TableDescription {
	out := make([]*catalog.TableDescription, 0, len(r.tables))
	for _, d := range r.tables {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b *catalog.TableDescription) int { return int(int64(a.OID) - int64(b.OID)) })
	return out
}

// Observe takes the events of a transaction in their order. It sets e.Before.
func (r *Registry) Observe(e *Event) []Change {
	switch e.Kind {
	case TableEvent:
		return r.table(e)
	case RewriteEvent:
		r.rewrites[e.OID] = *e
	case DropEvent:
		var out []Change
		for _, d := range e.Dropped {
			out = append(out, r.dropped(d)...)
		}
		return out
	case TypeEvent:
		return r.typeChanged(e)
	case PublicationEvent:
		return r.publication(e)
	case SchemaEvent:
		return r.schema(e)
	case UnknownEvent:
		return []Change{{Kind: EverythingUnclear, Failure: e.Failure}}
	}
	return nil
}

// EndTransaction tells what is left open when all events of a transaction were
// observed.
func (r *Registry) EndTransaction() []Change {
	var out []Change
	for oid, e := range r.rewrites {
		if d := r.tables[oid]; d != nil && e.Reason&RewriteColumn != 0 {
			out = append(out, Change{Kind: TableUnclear, OID: oid, Table: d.Table, Before: d, Rewritten: true})
		}
	}
	clear(r.rewrites)
	return out
}

func (r *Registry) table(e *Event) []Change {
	before := r.tables[e.OID]
	e.Before = before
	known := Context{Plain: e.Plain, LeafMissing: e.LeafMissing}
	if rewrite, ok := r.rewrites[e.OID]; ok {
		known.Reason, known.Moved, known.Plain = rewrite.Reason, true, rewrite.Plain
		delete(r.rewrites, e.OID)
	}
	if e.Relkind == "p" && len(r.rewrites) > 0 {
		known.Moved = true // its partitions are
	}
	if e.After == nil {
		return []Change{{Kind: TableUnclear, OID: e.OID, Table: e.Name, Before: before, Failure: e.Failure, Rewritten: known.Moved}}
	}
	return r.put(e.After, known)
}

// put moves on to a table's next description.
func (r *Registry) put(after *catalog.TableDescription, known Context) []Change {
	before := r.tables[after.OID]
	wanted := r.publishes(after)
	switch {
	case before == nil && !wanted:
		return nil
	case before == nil:
		if before = r.Named(after.Table); before != nil { // its end was not seen
			r.Forget(before.OID)
		}
	}
	out := r.only(Changes(before, after, known))
	out = append(out, r.lostPartitions(before, after)...)
	if before == nil || before.OID != after.OID {
		out = append(out, r.unknownPartitions(after)...)
	}
	if wanted {
		r.set(after)
	} else {
		r.Forget(after.OID)
	}
	return out
}

// publishes tells whether one of the publications publishes a table.
func (r *Registry) publishes(d *catalog.TableDescription) bool {
	return slices.ContainsFunc(d.Publications, func(p catalog.PublicationDescription) bool { return slices.Contains(r.publications, p.Name) })
}

// only leaves out what happens to publications that are not asked for.
func (r *Registry) only(changes []Change) []Change {
	return slices.DeleteFunc(changes, func(c Change) bool {
		switch c.Kind {
		case Published, Unpublished, PublishedOperations, PublishedFilter, PublishedColumns, PublishedViaRoot:
			return !slices.Contains(r.publications, c.Object)
		}
		return false
	})
}

// lostPartitions finds the partitions that a table no longer has: the command
// that detaches one names only the parent.
func (r *Registry) lostPartitions(before, after *catalog.TableDescription) []Change {
	if before == nil || before.Partitioning == nil || after.Partitioning == nil {
		return nil
	}
	var out []Change
	for _, p := range before.Partitioning.Partitions {
		child := r.tables[p.OID]
		still := slices.ContainsFunc(after.Partitioning.Partitions, func(a catalog.PartitionDescription) bool { return a.OID == p.OID })
		if still || child == nil || child.Partition == nil || child.Partition.OID != after.OID {
			continue
		}
		now := *child
		now.Partition = nil
		now.Publications = slices.DeleteFunc(slices.Clone(child.Publications), func(m catalog.PublicationDescription) bool {
			return m.Via != nil && *m.Via != child.Table
		})
		out = append(out, r.put(&now, Context{})...)
	}
	return out
}

// unknownPartitions are those of a table that is recorded only now: they were
// there before it was published.
func (r *Registry) unknownPartitions(d *catalog.TableDescription) []Change {
	if d.Partitioning == nil {
		return nil
	}
	var out []Change
	for _, p := range d.Partitioning.Partitions {
		if r.tables[p.OID] == nil {
			out = append(out, Change{Kind: TableUnclear, OID: p.OID, Table: p.Table})
		}
	}
	return out
}

func (r *Registry) dropped(d Dropped) []Change {
	switch d.Type {
	case "table":
		table := r.tables[d.OID]
		if table == nil {
			return nil
		}
		r.Forget(d.OID)
		return Changes(table, nil, Context{})
	case "index":
		return r.indexDropped(d.Name())
	case "publication":
		delete(r.definitions, d.OID)
		if name := d.Name().Name; slices.Contains(r.publications, name) {
			return []Change{{Kind: PublicationDropped, Object: name}}
		}
	case "type", "domain":
		delete(r.types, d.OID)
	}
	return nil
}

// indexDropped finds the table of an index: when it is told, it is gone.
func (r *Registry) indexDropped(name catalog.Name) []Change {
	for _, d := range r.tables {
		i := slices.IndexFunc(d.Indexes, func(x catalog.IndexDescription) bool { return d.Table.Schema == name.Schema && x.Name == name.Name })
		if i < 0 {
			continue
		}
		now := *d
		now.Indexes = slices.Delete(slices.Clone(d.Indexes), i, i+1)
		if d.IdentityIndex == name.Name {
			now.IdentityIndex = ""
		}
		return r.put(&now, Context{})
	}
	return nil
}

// schema moves the tables of a schema that has another name now.
func (r *Registry) schema(e *Event) []Change {
	var out []Change
	for _, t := range e.Tables {
		d := r.tables[t.OID]
		if d == nil || d.Table.Schema == e.Name.Name {
			continue
		}
		out = append(out, r.typesMoved(d.Table.Schema, e.Name.Name)...)
		now := *r.tables[t.OID]
		now.Table.Schema = e.Name.Name
		out = append(out, r.put(&now, Context{})...)
	}
	return out
}

// typesMoved renames the types that are recorded in a schema.
func (r *Registry) typesMoved(from, to string) []Change {
	var out []Change
	for _, oid := range slices.Sorted(maps.Keys(r.types)) {
		if t := r.types[oid]; t.Type.Schema == from {
			now := *t
			now.Type.Schema = to
			out = append(out, r.typeChanged(&Event{Kind: TypeEvent, Tag: "ALTER SCHEMA", OID: oid, Type: &now})...)
		}
	}
	return out
}

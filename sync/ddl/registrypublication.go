package ddl

import (
	"slices"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// publication finds what the new definition of a publication means for each
// table that is recorded.
func (r *Registry) publication(e *Event) []Change {
	before := r.definitions[e.OID]
	asked := slices.Contains(r.publications, e.Name.Name) || before != nil && slices.Contains(r.publications, before.Name)
	switch {
	case !asked:
		return nil
	case e.Publication == nil:
		return []Change{{Kind: PublicationUnreadable, Object: e.Name.Name, Failure: e.Failure}}
	}
	after := e.Publication
	r.definitions[e.OID] = after
	if before != nil && before.Name != after.Name {
		return []Change{{Kind: PublicationRenamed, Object: before.Name, NewName: after.Name}}
	}
	var out []Change
	for _, d := range r.Tables() {
		now := *d
		now.Publications = slices.DeleteFunc(slices.Clone(d.Publications), func(m catalog.PublicationDescription) bool { return m.Name == after.Name })
		now.Publications = append(now.Publications, r.members(after, d)...)
		out = append(out, r.put(&now, Context{})...)
	}
	// What else is published now is not among the recorded tables. Tables that
	// were added by name to one that was there come with events of their own.
	if before == nil && len(after.Tables) > 0 || after.AllTables && (before == nil || !before.AllTables) || slices.ContainsFunc(after.Schemas, func(s string) bool {
		return before == nil || !slices.Contains(before.Schemas, s)
	}) {
		out = append(out, Change{Kind: PublicationUnreadable, Object: after.Name})
	}
	return out
}

// members are the ways in which a publication publishes a table.
func (r *Registry) members(p *Publication, d *catalog.TableDescription) []catalog.PublicationDescription {
	base := catalog.PublicationDescription{
		Name: p.Name, Insert: p.Insert, Update: p.Update, Delete: p.Delete, Truncate: p.Truncate, ViaRoot: p.ViaRoot, Generated: p.Generated,
	}
	var out []catalog.PublicationDescription
	if p.AllTables && d.Persistence == "p" {
		m := base
		m.AllTables = true
		out = append(out, m)
	}
	line := r.line(d)
	if slices.ContainsFunc(line, func(t numberedName) bool { return slices.Contains(p.Schemas, t.Table.Schema) }) {
		m := base
		m.InSchema = true
		out = append(out, m)
	}
	for _, listed := range p.Tables {
		if slices.ContainsFunc(line, func(t numberedName) bool { return t.OID == listed.OID }) {
			m := base
			m.Via, m.Columns, m.Filter = &listed.Table, listed.Columns, listed.Filter
			out = append(out, m)
		}
	}
	return out
}

// numberedName is a table by its OID and by its name.
type numberedName struct {
	OID   uint32
	Table catalog.Name
}

// line are a table and the tables it is a partition of.
func (r *Registry) line(d *catalog.TableDescription) []numberedName {
	out := []numberedName{{d.OID, d.Table}}
	for d != nil && d.Partition != nil && len(out) <= len(r.tables) {
		out = append(out, numberedName{d.Partition.OID, d.Partition.Table})
		d = r.tables[d.Partition.OID]
	}
	return out
}

package ddl

import (
	"slices"

	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// Shape is what rows of a table look like: its columns that are not generated,
// in attnum order.
type Shape []ShapeColumn

// ShapeColumn is one column of a Shape.
type ShapeColumn struct {
	Name     string `json:"name"`
	Type     uint32 `json:"type"`
	Modifier int32  `json:"modifier"`
}

// Fits tells whether rows that the stream describes so are those of the table as
// it is recorded.
//
// Who polls asks for it whenever the stream has a new Relation. If it does not
// fit, the table's rows wait for a poll, whose changes are applied before the
// first of them. If it does not fit then either, the table has had another shape
// in between that nobody has seen, and has to be copied again. A row that the
// destination refuses waits for a poll in the same way: what was altered may be
// a constraint, a key or a type, which the stream does not show.
func (r *Registry) Fits(relation *stream.Relation) bool {
	d := r.tables[relation.OID]
	if d == nil || d.Table != (catalog.Name{Schema: relation.Schema, Name: relation.Name}) {
		return false
	}
	shape, known := r.shapes[relation.OID]
	if !known {
		shape = shapeOf(d)
	}
	members := slices.DeleteFunc(slices.Clone(d.Publications), func(p catalog.PublicationDescription) bool { return !slices.Contains(r.publications, p.Name) })
	published := publishedColumns(d, members)
	var wanted Shape
	for _, c := range shape {
		if slices.Contains(published, c.Name) {
			wanted = append(wanted, c)
		}
	}
	sent := slices.DeleteFunc(slices.Clone(relation.Columns), func(c stream.RelationColumn) bool { // PostgreSQL 18 may send them
		column := d.Column(c.Name)
		return column != nil && column.Generated != ""
	})
	return slices.EqualFunc(sent, wanted, func(a stream.RelationColumn, b ShapeColumn) bool {
		return a.Name == b.Name && a.Modifier == b.Modifier && (a.Type == b.Type || b.Type == 0)
	})
}

// shapeOf is the shape as far as a description tells it: types have no OIDs.
func shapeOf(d *catalog.TableDescription) Shape {
	var out Shape
	for _, c := range d.Columns {
		if c.Generated == "" {
			out = append(out, ShapeColumn{Name: c.Name, Modifier: c.Modifier})
		}
	}
	return out
}

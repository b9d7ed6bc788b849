package drift

import (
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mapping"
)

// MappingOf gives what a mirror's mapping says of one table, by its name on
// the source, for a comparison. m may be nil. The error is that the mapping
// has no name for the table at the destination.
func MappingOf(m *mapping.Mapping, table catalog.Name) (Mapping, error) {
	t, err := m.Table(table)
	if err != nil {
		return nil, err
	}
	return tableMapping{m, t}, nil
}

// tableMapping is a mirror's mapping seen from one table.
type tableMapping struct {
	mirror *mapping.Mapping
	table  *mapping.Table
}

// Column implements Mapping.
func (m tableMapping) Column(source string) (string, bool) {
	c, ok := m.table.Column(source)
	return c.Destination, ok
}

// Cast implements Mapping.
func (m tableMapping) Cast(source string) string {
	c, _ := m.table.Column(source)
	return c.Cast
}

// Table implements Mapping.
func (m tableMapping) Table(source catalog.Name) catalog.Name {
	destination, err := m.mirror.Destination(source)
	if err != nil {
		return source // such a table is not mirrored
	}
	return destination
}

// Schema implements Mapping.
func (m tableMapping) Schema(source string) string { return m.mirror.Schema(source) }

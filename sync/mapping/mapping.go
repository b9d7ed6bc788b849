package mapping

import (
	"fmt"
	"maps"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Mapping says what the tables of a mirror's source are at its destination.
type Mapping struct {
	mirror  string
	schemas map[string]string             // renamed ones: at the destination by source
	origins map[string]string             // the other way
	tables  map[catalog.Name]*Table       // those with an entry, by source
	taken   map[catalog.Name]catalog.Name // their sources, by destination
	order   []catalog.Name                // sources, in the order of the configuration
}

// New makes the mapping of a mirror, from [[mirrors]] or CREATE MIRROR. The
// error, F0000, has everything in which the mapping contradicts itself or the
// sharding of the destination, one problem per line of DETAIL.
func New(cfg *config.Config, m config.Mirror) (*Mapping, *pgerror.Error) {
	if conflicts := cfg.MirrorConflicts(m); len(conflicts) > 0 {
		return nil, contradiction(m, conflicts)
	}
	out := &Mapping{
		mirror: m.Name, schemas: maps.Clone(m.Schemas), origins: inverse(m.Schemas),
		tables: map[catalog.Name]*Table{}, taken: map[catalog.Name]catalog.Name{},
	}
	for _, entry := range m.Tables {
		t := out.newTable(entry)
		out.tables[t.Source], out.taken[t.Destination] = t, t.Source
		out.order = append(out.order, t.Source)
	}
	return out, nil
}

func contradiction(m config.Mirror, conflicts []config.Conflict) *pgerror.Error {
	lines := make([]string, len(conflicts))
	for i, c := range conflicts {
		lines[i] = c.Key + ": " + c.Message + "; " + c.Hint
	}
	err := pgerror.New(pgerror.ConfigFileError, "the mapping of mirror %s contradicts itself: %s", dump.QuoteIdent(m.Name), conflicts[0].Message).
		WithDetail("%s", strings.Join(lines, "\n")).WithHint("%s", conflicts[0].Hint)
	if m.File != "" {
		err = err.WithWhere("%s:%d", m.File, m.Line)
	}
	return err
}

// inverse is the map from values to keys.
func inverse(names map[string]string) map[string]string {
	out := make(map[string]string, len(names))
	for from, to := range names {
		out[to] = from
	}
	return out
}

// Destination gives the name at the destination of a table of the source. The
// error, 42710, is that another table has this name there.
func (m *Mapping) Destination(source catalog.Name) (catalog.Name, *pgerror.Error) {
	if m == nil {
		return source, nil
	}
	if t := m.tables[source]; t != nil {
		return t.Destination, nil
	}
	out := source
	if to, renamed := m.schemas[source.Schema]; renamed {
		out.Schema = to
	} else if from, met := m.origins[source.Schema]; met {
		return catalog.Name{}, m.meets(source, out, fmt.Sprintf("Schema %s of the source is called %s there.", dump.QuoteIdent(from), dump.QuoteIdent(source.Schema)))
	}
	if other, met := m.taken[out]; met {
		return catalog.Name{}, m.meets(source, out, fmt.Sprintf("Table %s of the source is called %s there.", quote(other), quote(out)))
	}
	return out, nil
}

func (m *Mapping) meets(source, destination catalog.Name, why string) *pgerror.Error {
	return pgerror.New(pgerror.DuplicateObject, "table %s of the source would meet another as %s at the destination", source, destination).
		WithDetail("%s", why).
		WithHint("give it another name there: [[mirrors.tables]] of mirror %s, schema = %q, name = %q, destination_name = ...", dump.QuoteIdent(m.mirror), source.Schema, source.Name)
}

// Source gives the table of the source that has a name at the destination. ok
// is false if the mapping gives that name to none.
func (m *Mapping) Source(destination catalog.Name) (source catalog.Name, ok bool) {
	if m == nil {
		return destination, true
	}
	if source, ok := m.taken[destination]; ok {
		return source, true
	}
	source = destination
	if from, renamed := m.origins[destination.Schema]; renamed {
		source.Schema = from
	} else if _, gone := m.schemas[destination.Schema]; gone {
		return catalog.Name{}, false
	}
	if m.tables[source] != nil { // it has another name there
		return catalog.Name{}, false
	}
	return source, true
}

// Schema gives the name at the destination of a schema of the source, for
// tables without an entry of their own.
func (m *Mapping) Schema(source string) string {
	if m != nil {
		if to, renamed := m.schemas[source]; renamed {
			return to
		}
	}
	return source
}

// Table gives how a table of the source is at the destination. It is never nil
// without an error, which is that of Destination.
func (m *Mapping) Table(source catalog.Name) (*Table, *pgerror.Error) {
	destination, err := m.Destination(source)
	if err != nil {
		return nil, err
	}
	if m != nil {
		if t := m.tables[source]; t != nil {
			return t, nil
		}
	}
	return &Table{Source: source, Destination: destination}, nil
}

// quote is the SQL of a table's name.
func quote(n catalog.Name) string { return dump.QuoteIdent(n.Schema) + "." + dump.QuoteIdent(n.Name) }

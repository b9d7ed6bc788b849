package drift

import (
	"fmt"
	"slices"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Mapping says what the destination's table is meant to have otherwise.
type Mapping interface {
	// Column gives a source column's name at the destination, and whether it
	// is copied at all.
	Column(source string) (destination string, copied bool)
	// Cast gives the type that a source column is declared to have at the
	// destination, "" if it keeps its own.
	Cast(source string) string
	// Table gives the name of any table at the destination.
	Table(source catalog.Name) catalog.Name
	// Schema gives the name of a schema at the destination: types, collations
	// and sequences keep their names in it.
	Schema(source string) string
}

// sameNames is the mapping that changes nothing.
type sameNames struct{}

// Column implements Mapping.
func (sameNames) Column(source string) (string, bool) { return source, true }

// Cast implements Mapping.
func (sameNames) Cast(string) string { return "" }

// Table implements Mapping.
func (sameNames) Table(source catalog.Name) catalog.Name { return source }

// Schema implements Mapping.
func (sameNames) Schema(source string) string { return source }

// TableDifference is one way in which a destination's table is other than its
// source's.
type TableDifference struct {
	Table       catalog.Name `json:"table"`       // on the source
	Destination catalog.Name `json:"destination"` // where it is, or should be
	Kind        Kind         `json:"kind"`
	Column      string       `json:"column,omitempty"` // by its name on the source, or on the destination if only that has it
	Object      string       `json:"object,omitempty"` // constraint, index, trigger, type, label, property …
	SourceHas   string       `json:"source,omitempty"` // definition, "" if it is not there
	TargetHas   string       `json:"target,omitempty"`
	Verdict     Verdict      `json:"verdict"` // by the tables of rules, without any policy
	Reason      string       `json:"reason"`

	match *Match // of the types, source to destination
	// What Migrate needs to know of it.
	comparison *comparer
	source     any // *catalog.ColumnDescription, *catalog.ConstraintDescription … or nil
	target     any
}

// String says what differs, in one line.
func (d *TableDifference) String() string {
	at := d.Column
	if at == "" {
		at = d.Object
	} else if d.Object != "" {
		at += " (" + d.Object + ")"
	}
	has := func(text string) string {
		if text == "" {
			return "nothing"
		}
		return text
	}
	if at != "" {
		at = " " + at
	}
	return fmt.Sprintf("%s: %s%s: source has %s, destination has %s", d.Table, d.Kind, at, has(d.SourceHas), has(d.TargetHas))
}

// Comparison is what is compared.
type Comparison struct {
	Source      *catalog.TableDescription // nil: the source does not have the table
	Destination *catalog.TableDescription // nil: the destination does not have it
	// Before is the source as it was when the destination was right; nil if
	// that is not known. Without it a renamed column looks like one removed
	// and one added, and a removed column like one that the destination added.
	Before  *catalog.TableDescription
	Mapping Mapping // nil: the same names
	// Publication is the one the table's changes come through; "" if it is not
	// to be looked at.
	Publication string
}

// CompareTables lists every difference between a table of the source and the
// destination's. mapping may be nil. Neither is changed.
func CompareTables(source, destination *catalog.TableDescription, mapping Mapping) []TableDifference {
	return Comparison{Source: source, Destination: destination, Mapping: mapping}.Differences()
}

// Differences lists every difference, columns first.
func (c Comparison) Differences() []TableDifference {
	if c.Mapping == nil {
		c.Mapping = sameNames{}
	}
	k := &comparer{Comparison: c}
	switch {
	case c.Source == nil && c.Destination == nil:
		return nil
	case c.Source == nil:
		k.table, k.destination = k.beforeOrDestination(), c.Destination.Table
		k.add(TableDropped, "", "", "", c.Destination.Table.String(), nil, nil)
		return k.out
	}
	k.table, k.destination = c.Source.Table, c.Mapping.Table(c.Source.Table)
	if c.Destination == nil {
		k.add(TableMissing, "", "", c.Source.Table.String(), "", nil, nil)
		return k.out
	}
	k.destination = c.Destination.Table
	k.sql = newTexts(k, k.Mapping.Column)
	k.compare()
	return k.out
}

// object gives the destination's name of a type, collation or sequence.
func (k *comparer) object(source catalog.Name) catalog.Name {
	if source.Schema == "pg_catalog" {
		return source
	}
	return catalog.Name{Schema: k.Mapping.Schema(source.Schema), Name: source.Name}
}

func (k *comparer) beforeOrDestination() catalog.Name {
	if k.Before != nil {
		return k.Before.Table
	}
	return k.Destination.Table
}

// comparer compares one pair of tables.
type comparer struct {
	Comparison
	table, destination catalog.Name
	pairs              []columnPair
	names              map[string]string // of the destination's columns by the source's, as they are now
	extra              []*catalog.ColumnDescription
	loose              bool  // some pair of columns has two types: casts in texts differ
	text               texts // compares, with the names that the destination has now
	sql                texts // writes statements, with the names that it will have
	out                []TableDifference
}

// columnPair is one column on both sides.
type columnPair struct {
	source, target *catalog.ColumnDescription
}

func (k *comparer) compare() {
	if k.Before != nil && k.Before.OID != 0 && k.Before.OID != k.Source.OID {
		k.add(TableRecreated, "", "", fmt.Sprintf("OID %d", k.Source.OID), fmt.Sprintf("OID %d copied", k.Before.OID), nil, nil)
		k.Before = nil
	}
	k.relation()
	k.publication()
	k.columns()
	k.types()
	k.keys()
	k.constraints()
	k.indexes()
	k.identity()
	k.triggers()
	k.security()
	k.sequences()
	k.partitions()
	k.appearance()
}

func (k *comparer) add(kind Kind, column, object, sourceHas, targetHas string, source, target any) *TableDifference {
	c := CaseOf(kind)
	k.out = append(k.out, TableDifference{
		Table: k.table, Destination: k.destination, Kind: kind, Column: column, Object: object, SourceHas: sourceHas, TargetHas: targetHas,
		Verdict: c.Verdict, Reason: c.Reason, comparison: k, source: source, target: target,
	})
	return &k.out[len(k.out)-1]
}

// relation compares what kind of relation the tables are.
func (k *comparer) relation() {
	s, d := k.Source, k.Destination
	if s.Persistence != "p" {
		k.add(UnloggedSource, "", "", persistence(s), persistence(d), nil, nil)
	}
	if d.Persistence != "p" && s.Persistence == "p" {
		k.add(UnloggedThere, "", "", persistence(s), persistence(d), nil, nil)
	}
	if s.Relkind == d.Relkind {
		return
	}
	kind := RelationKind
	switch {
	case s.Relkind == "p" && d.Relkind == "r" && k.viaRoot():
		kind = RelationKindRoot
	case s.Relkind == "r" && d.Relkind == "p" && hasDefault(d):
		kind = RelationKindRoot
	}
	k.add(kind, "", "", relkind(s), relkind(d), nil, nil)
}

func persistence(d *catalog.TableDescription) string {
	switch d.Persistence {
	case "u":
		return "unlogged table"
	case "t":
		return "temporary table"
	}
	return "logged table"
}

func relkind(d *catalog.TableDescription) string {
	names := map[string]string{"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"}
	if name, ok := names[d.Relkind]; ok {
		return name
	}
	return "relation of kind " + d.Relkind
}

func hasDefault(d *catalog.TableDescription) bool {
	return d.Partitioning != nil && slices.ContainsFunc(d.Partitioning.Partitions, catalog.PartitionDescription.Default)
}

// published gives how a description is part of the publication. A table may be
// in it several times, by itself and through its partitioned tables.
func (k *comparer) published(d *catalog.TableDescription) []catalog.PublicationDescription {
	var out []catalog.PublicationDescription
	for _, p := range d.Publications {
		if p.Name == k.Publication {
			out = append(out, p)
		}
	}
	return out
}

func (k *comparer) viaRoot() bool {
	return slices.ContainsFunc(k.published(k.Source), func(p catalog.PublicationDescription) bool { return p.ViaRoot })
}

func (k *comparer) publication() {
	if k.Publication == "" {
		return
	}
	now := k.published(k.Source)
	if len(now) == 0 {
		k.add(NotPublished, "", k.Publication, "", "", nil, nil)
		return
	}
	p := now[0]
	if !p.Insert || !p.Update || !p.Delete || !p.Truncate {
		k.add(PublishedOperation, "", k.Publication, operations(p), "", nil, nil)
	}
	if k.Before == nil {
		return
	}
	if before := k.published(k.Before); len(before) > 0 && rowsOf(before) != rowsOf(now) {
		k.add(PublicationChanged, "", k.Publication, rowsOf(now), "copied with "+rowsOf(before), nil, nil)
	}
}

func operations(p catalog.PublicationDescription) string {
	text := ""
	for _, o := range []struct {
		name string
		on   bool
	}{{"insert", p.Insert}, {"update", p.Update}, {"delete", p.Delete}, {"truncate", p.Truncate}} {
		if o.on && text != "" {
			text += ", "
		}
		if o.on {
			text += o.name
		}
	}
	return text
}

// rowsOf is what decides which rows a publication carries: several entries
// add up, and one without a filter lets everything through.
func rowsOf(entries []catalog.PublicationDescription) string {
	var filters []string
	for _, p := range entries {
		if p.Filter == "" {
			return operations(entries[0]) + " of all rows"
		}
		filters = append(filters, p.Filter)
	}
	slices.Sort(filters)
	return fmt.Sprintf("%s of rows with %s", operations(entries[0]), dump.QuoteLiteral(fmt.Sprint(filters)))
}

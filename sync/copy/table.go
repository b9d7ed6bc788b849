package copy

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// Format is the form in which COPY writes rows.
type Format byte

// The formats of COPY.
const (
	Binary Format = iota
	Text
)

// String gives the format as COPY spells it.
func (f Format) String() string {
	if f == Text {
		return "text"
	}
	return "binary"
}

// value is the form of one field.
func (f Format) value() shard.Format {
	if f == Text {
		return shard.Text
	}
	return shard.Binary
}

// Table is one table to be copied: what is read, what is written, and how. It
// does not change.
type Table struct {
	Source      *catalog.Relation
	Destination *catalog.Relation
	// Leaves are what is read of a partitioned source, which has no rows itself;
	// all of them are written into Destination. Else nil.
	Leaves []*catalog.Relation
	// Columns are what is copied, by the names they have on the source. A
	// sharding key comes first, so that it is found at the start of each row.
	Columns []string
	Filter  string // the publication's row filter, an SQL expression; "" for none
	Format  Format
	Why     string     // why Format is Text, "" for Binary
	Key     *shard.Key // nil: every row goes to every shard

	into []mappedColumn // of Columns; nil if all are at the destination as they are on the source
}

// mappedColumn is a column that is not the same at the destination.
type mappedColumn struct {
	name   string // there
	cast   string // "::type" that the source casts it to, "" for none
	byText bool   // only its text can be read there
}

// TableOptions are what is known of a table before it is decided how to copy it.
type TableOptions struct {
	Published        catalog.PublishedTable
	Source           *catalog.Relation   // nil if there is none
	Leaves           []*catalog.Relation // of a partitioned Source, see ReadLeaves
	Destination      *catalog.Relation   // nil if there is none
	SourceTypes      catalog.Types       // of all of the columns
	DestinationTypes catalog.Types
	Key              *shard.Key     // by the destination's names
	Text             bool           // binary is not wanted
	Mapping          *mapping.Table // nil if everything is the same at the destination
}

// SQLSTATE codes of tables that cannot be copied; the names are those of
// errcodes.txt.
const (
	wrongObjectType   = "42809"
	datatypeMismatch  = "42804"
	undefinedColumn   = "42703"
	generatedAlways   = "428C9"
	notNullViolation  = "23502"
	readOnly          = "25006"
	tooLarge          = "54000"
	uniqueViolation   = "23505"
	serializationFail = "40001"
	deadlock          = "40P01"
)

// NewTable decides how a table is copied, or says why it cannot be.
func NewTable(o TableOptions) (*Table, *pgerror.Error) {
	if err := checkSource(o); err != nil {
		return nil, err
	}
	if err := checkDestination(o); err != nil {
		return nil, err
	}
	t := &Table{Source: o.Source, Destination: o.Destination, Leaves: o.Leaves, Filter: o.Published.Filter, Key: o.Key}
	if o.Mapping != nil && o.Mapping.Filter != "" && t.Filter == "" {
		return nil, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "table %s is published without a row filter, but the mirror's row_filter is WHERE (%s)", o.Published.Table, o.Mapping.Filter).
			WithDetail("Changes are filtered by PostgreSQL, where it writes the stream: rows that only the copy leaves out would come with their next change.").
			WithHint("give the publication the filter, or take it from the mirror")
	}
	if err := t.chooseColumns(o); err != nil {
		return nil, err
	}
	t.chooseFormat(o)
	return t, nil
}

func checkSource(o TableOptions) *pgerror.Error {
	if o.Source == nil {
		return pgerror.New(pgerror.UndefinedTable, "table %s is published, but it is not there any more", o.Published.Table)
	}
	if o.Source.Relkind != 'r' && o.Source.Relkind != 'p' {
		return pgerror.New(wrongObjectType, "%s cannot be copied: it is a %s, not a table", o.Source.Table, relkind(o.Source.Relkind))
	}
	for _, r := range append([]*catalog.Relation{o.Source}, o.Leaves...) {
		switch {
		case r.Relkind == 'f':
			return pgerror.New(wrongObjectType, "%s cannot be copied: its partition %s is a foreign table", o.Source.Table, r.Table).
				WithDetail("Changes of rows that live on another server are not in the write-ahead log of this one.")
		case r.Persistence == 'u':
			return pgerror.New(pgerror.FeatureNotSupported, "%s cannot be copied: it is unlogged", r.Table).
				WithDetail("Changes of unlogged tables are not in the write-ahead log, so they could not be followed.").
				WithHint("ALTER TABLE %s SET LOGGED;", quote(r.Table))
		case r.Persistence == 't':
			return pgerror.New(pgerror.FeatureNotSupported, "%s cannot be copied: it is temporary", r.Table)
		case r.RowSecurity:
			return pgerror.New(pgerror.InsufficientPrivilege, "%s cannot be copied: row security would hide some of its rows", r.Table).
				WithHint("give the role of the source's schema admin the right to see all rows, as a superuser there: ALTER ROLE ... BYPASSRLS;")
		}
	}
	return nil
}

func checkDestination(o TableOptions) *pgerror.Error {
	d := o.Destination
	switch {
	case d == nil && o.Mapping != nil && o.Mapping.Destination != o.Source.Table:
		return pgerror.New(pgerror.UndefinedTable, "table %s does not exist on the destination", o.Mapping.Destination).
			WithDetail("It is what %s of the source is called there.", o.Source.Table).WithHint("create it there, or correct its name in [[mirrors.tables]] or schemas")
	case d == nil:
		return pgerror.New(pgerror.UndefinedTable, "table %s does not exist on the destination", o.Source.Table).
			WithHint("run SCHEMA_SYNC PRE first, or create it there")
	case d.Relkind != 'r' && d.Relkind != 'p':
		return pgerror.New(wrongObjectType, "%s cannot be copied into: it is a %s on the destination, not a table", d.Table, relkind(d.Relkind))
	case d.RowSecurity:
		return pgerror.New(pgerror.InsufficientPrivilege, "%s cannot be copied into: row security there applies to the role that would write", d.Table).
			WithHint("as a superuser on the destination: ALTER ROLE ... BYPASSRLS;")
	}
	return nil
}

func relkind(kind byte) string {
	name := map[byte]string{'v': "view", 'm': "materialized view", 'f': "foreign table", 'S': "sequence", 'i': "index", 'I': "partitioned index", 'c': "composite type", 't': "TOAST table"}[kind]
	if name == "" {
		return "relation of kind " + string(rune(kind))
	}
	return name
}

// chooseColumns sets t.Columns.
func (t *Table) chooseColumns(o TableOptions) *pgerror.Error {
	columns, err := o.Mapping.Columns(o.Published.Columns)
	if err != nil {
		return err
	}
	for _, c := range columns {
		s, d := t.Source.Position(c.Source), t.Destination.Position(c.Destination)
		if s < 0 {
			return pgerror.New(undefinedColumn, "column %s of table %s is published, but it is not there any more", dump.QuoteIdent(c.Source), t.Source.Table)
		}
		from, name := t.Source.Columns[s], dump.QuoteIdent(c.Destination)
		switch {
		case d < 0:
			return pgerror.New(undefinedColumn, "column %s of table %s does not exist on the destination", name, t.Destination.Table).
				WithHint("there: ALTER TABLE %s ADD COLUMN %s %s;", quote(t.Destination.Table), name, from.TypeText)
		case t.Destination.Columns[d].Generated != 0 && from.Generated != 0:
			continue // the destination makes its own
		case t.Destination.Columns[d].Generated != 0:
			return pgerror.New(generatedAlways, "column %s of table %s is generated on the destination, and an ordinary one on the source", name, t.Destination.Table).
				WithHint("there: ALTER TABLE %s ALTER COLUMN %s DROP EXPRESSION;", quote(t.Destination.Table), name)
		}
		into, err := t.mapColumn(o, c, from, t.Destination.Columns[d])
		if err != nil {
			return err
		}
		t.Columns, t.into = append(t.Columns, c.Source), append(t.into, into)
	}
	if err := t.checkOthers(); err != nil {
		return err
	}
	if err := t.putKeyFirst(); err != nil {
		return err
	}
	if !slices.ContainsFunc(columns, func(c mapping.Column) bool { return !c.Same() }) {
		t.into = nil
	}
	return nil
}

// mapColumn gives how a column is written at the destination.
func (t *Table) mapColumn(o TableOptions, c mapping.Column, from, to catalog.Column) (mappedColumn, *pgerror.Error) {
	out := mappedColumn{name: c.Destination}
	if c.Cast == "" {
		return out, nil
	}
	cast, why := mapping.CastOf(c.Cast, o.SourceTypes, from.Type, o.DestinationTypes, to)
	if why != "" {
		return out, pgerror.New(datatypeMismatch, "column %s of table %s cannot be cast: %s", dump.QuoteIdent(c.Source), t.Source.Table, why).
			WithDetail("The source has %s, the destination %s.", from.TypeText, to.TypeText).
			WithHint("correct cast_columns of [[mirrors.tables]] schema = %q, name = %q, or the type, there: ALTER TABLE %s ALTER COLUMN %s TYPE ...;",
				t.Source.Table.Schema, t.Source.Table.Name, quote(t.Destination.Table), dump.QuoteIdent(c.Destination))
	}
	if cast.Way == mapping.ByText {
		out.byText = true
	} else {
		out.cast = "::" + cast.Type
	}
	return out, nil
}

// putKeyFirst moves the sharding key to the front.
func (t *Table) putKeyFirst() *pgerror.Error {
	if t.Key == nil || t.Key.Column == "" {
		return nil
	}
	at := slices.IndexFunc(t.into, func(c mappedColumn) bool { return c.name == t.Key.Column })
	if at < 0 {
		return pgerror.New(undefinedColumn, "the sharding key %s of table %s is not among the columns that are copied", dump.QuoteIdent(t.Key.Column), t.Source.Table).
			WithHint("add it to the publication's column list")
	}
	key, name := t.into[at], t.Columns[at]
	if key.cast != "" {
		return pgerror.New(datatypeMismatch, "column %s of table %s cannot be cast: it is the sharding key, whose shard is found from the value that the source has", dump.QuoteIdent(name), t.Source.Table).
			WithHint("remove it from cast_columns of [[mirrors.tables]] schema = %q, name = %q", t.Source.Table.Schema, t.Source.Table.Name)
	}
	t.Columns = slices.Insert(slices.Delete(t.Columns, at, at+1), 0, name)
	t.into = slices.Insert(slices.Delete(t.into, at, at+1), 0, key)
	return nil
}

// checkOthers looks at the columns that only the destination has.
func (t *Table) checkOthers() *pgerror.Error {
	for _, c := range t.Destination.Columns {
		if slices.ContainsFunc(t.into, func(m mappedColumn) bool { return m.name == c.Name }) || c.Generated != 0 {
			continue
		}
		if c.NotNull && !c.HasDefault && c.Identity == 0 {
			return pgerror.New(notNullViolation, "column %s of table %s is not copied, and is NOT NULL without a default on the destination", dump.QuoteIdent(c.Name), t.Destination.Table).
				WithHint("there: ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL; or give it a default", quote(t.Destination.Table), dump.QuoteIdent(c.Name))
		}
		if len(t.Columns) == 0 {
			return pgerror.New(pgerror.FeatureNotSupported, "table %s has no columns to copy, and has %s on the destination", t.Source.Table, dump.QuoteIdent(c.Name)).
				WithHint("there: ALTER TABLE %s DROP COLUMN %s;", quote(t.Destination.Table), dump.QuoteIdent(c.Name))
		}
	}
	return nil
}

// chooseFormat sets t.Format and t.Why.
func (t *Table) chooseFormat(o TableOptions) {
	t.Format = Text
	if o.Text {
		t.Why = "text is configured"
		return
	}
	for i, name := range t.Columns {
		if why := t.binaryUnsafe(o, i); why != "" {
			t.Why = "column " + dump.QuoteIdent(name) + ": " + why
			return
		}
	}
	t.Format = Binary
}

// binaryUnsafe tells why column i cannot go in binary form, "" if it can.
func (t *Table) binaryUnsafe(o TableOptions, i int) string {
	from, into := t.Source.Columns[t.Source.Position(t.Columns[i])], t.destinationColumn(i)
	to := t.Destination.Columns[t.Destination.Position(into.name)]
	switch {
	case into.byText:
		return from.TypeText + " is read as " + to.TypeText
	case into.cast != "": // the source sends what the destination has, without its domain
		return catalog.BinaryUnsafe(o.DestinationTypes, to.Type, o.DestinationTypes, to.Type)
	}
	return catalog.BinaryUnsafe(o.SourceTypes, from.Type, o.DestinationTypes, to.Type)
}

// destinationColumn gives what becomes of t.Columns[i].
func (t *Table) destinationColumn(i int) mappedColumn {
	if t.into == nil {
		return mappedColumn{name: t.Columns[i]}
	}
	return t.into[i]
}

// relations are what the rows are read from.
func (t *Table) relations() []*catalog.Relation {
	if t.Source.Relkind == 'p' {
		return t.Leaves
	}
	return []*catalog.Relation{t.Source}
}

// Estimate gives what is known of the size before it is copied: the planner's
// number of rows, 0 where it has none, and the bytes of heap and TOAST.
func (t *Table) Estimate() (rows, bytes int64) {
	for _, r := range t.relations() {
		rows += int64(max(0, r.Tuples))
		bytes += r.Bytes
	}
	return rows, bytes
}

// shards gives the shards that rows of the table can go to.
func (t *Table) shards(all int) []int {
	if t.Key != nil {
		if only, ok := t.Key.Constant(); ok {
			return []int{only}
		}
	}
	out := make([]int, all)
	for i := range out {
		out[i] = i
	}
	return out
}

// routed tells whether each row has to be looked at to find its shard.
func (t *Table) routed() bool {
	if t.Key == nil {
		return false
	}
	_, constant := t.Key.Constant()
	return !constant
}

func quote(n catalog.Name) string { return dump.QuoteIdent(n.Schema) + "." + dump.QuoteIdent(n.Name) }

// sourceList is the columns as the source has them, cast where the destination
// has other types.
func (t *Table) sourceList() string {
	list := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		list[i] = dump.QuoteIdent(c) + t.destinationColumn(i).cast
	}
	return strings.Join(list, ", ")
}

// destinationList is the columns as the destination has them.
func (t *Table) destinationList() string {
	list := make([]string, len(t.Columns))
	for i := range t.Columns {
		list[i] = dump.QuoteIdent(t.destinationColumn(i).name)
	}
	return strings.Join(list, ", ")
}

// casts tells whether the source casts a column.
func (t *Table) casts() bool {
	return slices.ContainsFunc(t.into, func(c mappedColumn) bool { return c.cast != "" })
}

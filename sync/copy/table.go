package copy

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
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
	// Columns are what is copied, by the names they have on both sides. A
	// sharding key comes first, so that it is found at the start of each row.
	Columns []string
	Filter  string // the publication's row filter, an SQL expression; "" for none
	Format  Format
	Why     string     // why Format is Text, "" for Binary
	Key     *shard.Key // nil: every row goes to every shard
}

// TableOptions are what is known of a table before it is decided how to copy it.
type TableOptions struct {
	Published        catalog.PublishedTable
	Source           *catalog.Relation   // nil if there is none
	Leaves           []*catalog.Relation // of a partitioned Source, see ReadLeaves
	Destination      *catalog.Relation   // nil if there is none
	SourceTypes      catalog.Types       // of all of the columns
	DestinationTypes catalog.Types
	Key              *shard.Key
	Text             bool // binary is not wanted
}

// SQLSTATE codes of tables that cannot be copied; the names are those of
// errcodes.txt.
const (
	wrongObjectType   = "42809"
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
	if err := t.chooseColumns(o.Published.Columns); err != nil {
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
func (t *Table) chooseColumns(published []string) *pgerror.Error {
	for _, name := range published {
		s, d := t.Source.Position(name), t.Destination.Position(name)
		if s < 0 {
			return pgerror.New(undefinedColumn, "column %s of table %s is published, but it is not there any more", dump.QuoteIdent(name), t.Source.Table)
		}
		from := t.Source.Columns[s]
		switch {
		case d < 0:
			return pgerror.New(undefinedColumn, "column %s of table %s does not exist on the destination", dump.QuoteIdent(name), t.Source.Table).
				WithHint("there: ALTER TABLE %s ADD COLUMN %s %s;", quote(t.Destination.Table), dump.QuoteIdent(name), from.TypeText)
		case t.Destination.Columns[d].Generated != 0 && from.Generated != 0:
			continue // the destination makes its own
		case t.Destination.Columns[d].Generated != 0:
			return pgerror.New(generatedAlways, "column %s of table %s is generated on the destination, and an ordinary one on the source", dump.QuoteIdent(name), t.Source.Table).
				WithHint("there: ALTER TABLE %s ALTER COLUMN %s DROP EXPRESSION;", quote(t.Destination.Table), dump.QuoteIdent(name))
		}
		t.Columns = append(t.Columns, name)
	}
	if err := t.checkOthers(); err != nil {
		return err
	}
	if t.Key == nil || t.Key.Column == "" {
		return nil
	}
	at := slices.Index(t.Columns, t.Key.Column)
	if at < 0 {
		return pgerror.New(undefinedColumn, "the sharding key %s of table %s is not among the columns that are copied", dump.QuoteIdent(t.Key.Column), t.Source.Table).
			WithHint("add it to the publication's column list")
	}
	t.Columns = slices.Insert(slices.Delete(t.Columns, at, at+1), 0, t.Key.Column)
	return nil
}

// checkOthers looks at the columns that only the destination has.
func (t *Table) checkOthers() *pgerror.Error {
	for _, c := range t.Destination.Columns {
		if slices.Contains(t.Columns, c.Name) || c.Generated != 0 {
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
	for _, name := range t.Columns {
		from, to := t.Source.Columns[t.Source.Position(name)], t.Destination.Columns[t.Destination.Position(name)]
		if why := catalog.BinaryUnsafe(o.SourceTypes, from.Type, o.DestinationTypes, to.Type); why != "" {
			t.Why = "column " + dump.QuoteIdent(name) + ": " + why
			return
		}
	}
	t.Format = Binary
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

// columnList is the columns, quoted.
func (t *Table) columnList() string {
	quoted := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		quoted[i] = dump.QuoteIdent(c)
	}
	return strings.Join(quoted, ", ")
}

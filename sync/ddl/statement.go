package ddl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Statement is one that the destination runs.
type Statement struct {
	SQL string
	Why string
	// Lock is the lock on the table, as the manual calls it; "" for none.
	Lock     string
	Rewrites bool // the table is written anew
	Scans    bool // every row is read
	Lossy    bool // values may be gone
	// Alone says that it cannot be, or must not stay, in a transaction with what
	// comes after it: CREATE INDEX CONCURRENTLY, or a label that rows have next.
	// It may be run again when it is not known whether it was.
	Alone bool
	// Optional says that rows can go on without it: it makes the destination only
	// as strict as the source, or matters after a cutover. A failure is to be
	// reported as drift.
	Optional bool
	// AfterCopy says that it has to wait until the rows were copied again.
	AfterCopy bool
	// Index is the name of the index that it builds, in the schema of its table;
	// "" if it builds none.
	Index string
}

const (
	accessExclusive = "ACCESS EXCLUSIVE"
	shareUpdate     = "SHARE UPDATE EXCLUSIVE"
	shareExclusive  = "SHARE ROW EXCLUSIVE"
)

// Destination says how a table is there, before its changes.
type Destination struct {
	// Name gives the destination's name of a source table; nil: the same.
	Name func(catalog.Name) catalog.Name
	// Column gives the destination's name of a column; nil: the same. A column
	// whose name is another one there keeps it when the source renames its own.
	Column func(string) string
	// Excluded tells whether a column is not mirrored; nil: none.
	Excluded func(string) bool
	// Columns are those that the destination has, nil if that is not known.
	Columns []string
	// HasIndexes are the names of the indexes that the table has there.
	HasIndexes []string
	// DropColumns has columns dropped that the source has dropped. They are
	// kept else.
	DropColumns bool
	// KeepName has tables keep their name and schema when the source's get other
	// ones: the mapping is to follow then.
	KeepName bool
	// Standalone says that the table is no partition or child of another one
	// there: what its columns have of a parent at the source is its own.
	Standalone bool
	// Indexes and ForeignKeys say what the mirror replicates beside keys.
	Indexes, ForeignKeys bool
	// VersionNum is the destination's server_version_num.
	VersionNum int
}

// Statements gives what the destination runs for the changes of one table, or
// of types, in order. They rely on the destination being as the source was
// before, and belong into the transaction that records the position, so that
// each is run once; those that are Alone can be repeated.
//
// What a Keep, Copy, Poll or Stop needs beyond that is not here: tables are
// created from a dump.
func Statements(changes []Change, d Destination) []Statement {
	w := writer{d: d, changes: slices.Clone(changes)}
	if len(changes) > 0 {
		first := changes[0]
		for _, c := range changes {
			if c.Before != nil {
				first = c
				break
			}
		}
		if first.Before != nil {
			w.table = first.Before.Table
		} else {
			w.table = first.Table
		}
	}
	w.names = slices.Clone(d.Columns)
	w.run(droppers)
	w.freeNames()
	w.run(writers)
	return w.out
}

func (w *writer) run(list map[ChangeKind]func(*writer, *Change)) {
	for i := range w.changes {
		if write := list[w.changes[i].Kind]; write != nil {
			write(w, &w.changes[i])
		}
	}
}

// droppers are what comes first: a column that a key or a check needs could not
// be changed.
var droppers = map[ChangeKind]func(*writer, *Change){
	IndexDropped: (*writer).indexDropped, ConstraintDropped: (*writer).constraintDropped, PrimaryKeyChanged: (*writer).primaryKeyDropped,
}

// writers are what is to be done about the changes that have statements.
var writers = map[ChangeKind]func(*writer, *Change){
	TypeCreated: (*writer).typeCreated, TypeRenamed: (*writer).typeRenamed, TypeAltered: (*writer).typeAltered,
	EnumLabelAdded: (*writer).labelAdded, EnumLabelRenamed: (*writer).labelRenamed,
	CompositeAltered: (*writer).compositeAltered, DomainAltered: (*writer).domainAltered,
	ColumnDropped: (*writer).columnDropped, ColumnRenamed: (*writer).columnRenamed, ColumnRetyped: (*writer).columnRetyped,
	ColumnAdded: (*writer).columnAdded, ColumnDefault: (*writer).columnDefault, ColumnNotNull: (*writer).columnNotNull,
	ColumnIdentity: (*writer).columnIdentity, ColumnGenerated: (*writer).columnGenerated,
	IndexRenamed: (*writer).indexRenamed, IndexCreated: (*writer).indexCreated,
	ConstraintRenamed: (*writer).constraintRenamed,
	ConstraintAdded:   (*writer).constraintAdded, ConstraintAltered: (*writer).constraintAltered, PrimaryKeyChanged: (*writer).primaryKeyAdded,
	IdentityChanged: (*writer).identityChanged, PersistenceChanged: (*writer).persistenceChanged,
	PartitionAttached: (*writer).partitionAttached, PartitionDetached: (*writer).partitionDetached,
	TableMoved: (*writer).tableMoved, TableRenamed: (*writer).tableRenamed,
}

// writer collects statements.
type writer struct {
	d       Destination
	changes []Change
	table   catalog.Name // the source's name of the table, as it is at this statement
	names   []string     // columns that the destination has at this statement
	out     []Statement
}

func (w *writer) add(s Statement) { w.out = append(w.out, s) }

// alter adds ALTER TABLE with an action.
func (w *writer) alter(why, lock, format string, args ...any) *Statement {
	w.add(Statement{SQL: "ALTER TABLE " + w.target() + " " + fmt.Sprintf(format, args...), Why: why, Lock: lock})
	return &w.out[len(w.out)-1]
}

// target is the quoted name of the table there.
func (w *writer) target() string { return quoteName(w.there(w.table)) }

func (w *writer) there(source catalog.Name) catalog.Name {
	if w.d.Name == nil {
		return source
	}
	return w.d.Name(source)
}

func quoteName(n catalog.Name) string {
	if n.Schema == "" {
		return dump.QuoteIdent(n.Name)
	}
	return dump.QuoteIdent(n.Schema) + "." + dump.QuoteIdent(n.Name)
}

// column gives the unquoted name of a column there.
func (w *writer) column(source string) string {
	if w.d.Column == nil {
		return source
	}
	return w.d.Column(source)
}

func (w *writer) columns(source []string) string {
	out := make([]string, len(source))
	for i, name := range source {
		out[i] = dump.QuoteIdent(w.column(name))
	}
	return strings.Join(out, ", ")
}

// skips tells whether a column is none of the destination's, or comes from a
// parent, whose own statement reaches it.
func (w *writer) skips(c *catalog.ColumnDescription) bool {
	return c.Inherited && !w.d.Standalone || w.d.Excluded != nil && w.d.Excluded(c.Name)
}

// tableMoved and tableRenamed follow the source's name, unless the mapping has
// a name of its own for the table.
func (w *writer) tableMoved(c *Change) {
	from := w.table
	to := catalog.Name{Schema: c.NewName, Name: from.Name}
	w.rename(from, to)
}

func (w *writer) tableRenamed(c *Change) {
	from := w.table
	to := catalog.Name{Schema: from.Schema, Name: c.NewName}
	w.rename(from, to)
}

func (w *writer) rename(from, to catalog.Name) {
	before, after := w.there(from), w.there(to)
	if w.d.KeepName || before == after {
		return
	}
	if before.Schema != after.Schema {
		w.add(Statement{SQL: "CREATE SCHEMA IF NOT EXISTS " + dump.QuoteIdent(after.Schema), Why: "the source's table is in it now"})
		w.alter("the source's table has moved", accessExclusive, "SET SCHEMA %s", dump.QuoteIdent(after.Schema))
	}
	if before.Name != after.Name {
		w.add(Statement{
			SQL: "ALTER TABLE " + quoteName(catalog.Name{Schema: after.Schema, Name: before.Name}) + " RENAME TO " + dump.QuoteIdent(after.Name),
			Why: "the source's table was renamed", Lock: accessExclusive,
		})
	}
	w.table = to
}

func (w *writer) persistenceChanged(c *Change) {
	action := "SET LOGGED"
	if c.After.Persistence == "u" {
		action = "SET UNLOGGED"
	}
	s := w.alter("the source's table was altered so", accessExclusive, "%s", action)
	s.Rewrites, s.Optional = true, true
}

func (w *writer) partitionAttached(c *Change) {
	w.add(Statement{
		SQL: "ALTER TABLE " + quoteName(w.there(c.After.Partition.Table)) + " ATTACH PARTITION " + w.target() + " " + c.After.Partition.Bound,
		Why: "the source's table was attached", Lock: shareUpdate, Scans: true,
	})
}

func (w *writer) partitionDetached(c *Change) {
	w.add(Statement{
		SQL: "ALTER TABLE " + quoteName(w.there(c.Before.Partition.Table)) + " DETACH PARTITION " + w.target(),
		Why: "the source's table was detached", Lock: accessExclusive,
	})
}

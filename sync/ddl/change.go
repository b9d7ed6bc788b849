package ddl

import (
	"iter"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// ChangeKind is what has changed between two descriptions of a table.
type ChangeKind string

// The kinds of changes, in the order in which Changes gives them: a statement
// for one may rely on those before it.
const (
	// TypeCreated: Type is an enum, composite, domain or range.
	TypeCreated ChangeKind = "type created"
	// TypeRenamed: from FromType's name to Type's.
	TypeRenamed ChangeKind = "type renamed"
	// TypeAltered: what it was before is not known.
	TypeAltered ChangeKind = "type altered"
	// EnumLabelAdded: Object is the label, Place says where.
	EnumLabelAdded ChangeKind = "enum label added"
	// EnumLabelRenamed: from Object to NewName.
	EnumLabelRenamed ChangeKind = "enum label renamed"
	// EnumLabelsUnclear: labels differ, and it cannot be told which became which.
	EnumLabelsUnclear ChangeKind = "enum labels unclear"
	CompositeAltered  ChangeKind = "composite type altered"
	DomainAltered     ChangeKind = "domain altered"

	// TableCreated: a table that was not recorded and is published.
	TableCreated ChangeKind = "table created"
	// TableRecreated: another table has its name now.
	TableRecreated ChangeKind = "table recreated"
	TableDropped   ChangeKind = "table dropped"
	// TableRewritten: every value of every row may be another one.
	TableRewritten ChangeKind = "table rewritten"
	// RowsUnclear: columns were dropped and added between two polls, and the rows
	// in between do not tell which of them they have.
	RowsUnclear ChangeKind = "rows unclear"
	// TableUnclear: it has changed, and there is no image that says how.
	TableUnclear ChangeKind = "table unclear"

	ColumnDropped   ChangeKind = "column dropped"
	ColumnRenamed   ChangeKind = "column renamed"
	ColumnRetyped   ChangeKind = "column retyped"
	ColumnAdded     ChangeKind = "column added"
	ColumnDefault   ChangeKind = "column default"
	ColumnNotNull   ChangeKind = "column not null"
	ColumnIdentity  ChangeKind = "column identity"
	ColumnGenerated ChangeKind = "column generated"

	IndexDropped       ChangeKind = "index dropped"
	ConstraintDropped  ChangeKind = "constraint dropped"
	IndexRenamed       ChangeKind = "index renamed"
	ConstraintRenamed  ChangeKind = "constraint renamed"
	IndexCreated       ChangeKind = "index created"
	PrimaryKeyChanged  ChangeKind = "primary key changed"
	ConstraintAdded    ChangeKind = "constraint added"
	ConstraintAltered  ChangeKind = "constraint altered"
	IdentityChanged    ChangeKind = "replica identity changed"
	PersistenceChanged ChangeKind = "persistence changed"

	PartitionAttached ChangeKind = "partition attached"
	PartitionDetached ChangeKind = "partition detached"

	Published             ChangeKind = "published"
	Unpublished           ChangeKind = "unpublished"
	PublishedOperations   ChangeKind = "published operations changed"
	PublishedFilter       ChangeKind = "row filter changed"
	PublishedColumns      ChangeKind = "published columns changed"
	PublishedViaRoot      ChangeKind = "published via root changed"
	PublicationRenamed    ChangeKind = "publication renamed"
	PublicationDropped    ChangeKind = "publication dropped"
	PublicationUnreadable ChangeKind = "publication unclear"

	TableMoved   ChangeKind = "table moved"
	TableRenamed ChangeKind = "table renamed"
	// EverythingUnclear: something was changed in the database, and only a poll
	// can tell what.
	EverythingUnclear ChangeKind = "everything unclear"
)

// OldRows is what rows that are older than a column hold in it.
type OldRows byte

// What old rows hold.
const (
	OldNull     OldRows = iota // NULL
	OldConstant                // Change.OldValue, all of them
	OldComputed                // what the expression of the generated column gives
	OldUnknown                 // each its own, and nothing tells which
)

// Change is one difference between a table before and after.
type Change struct {
	Kind ChangeKind
	// OID and Table are the source's table; Table is what it is called after the
	// change. They are zero for types, publications and everything.
	OID   uint32
	Table catalog.Name
	// Before and After are the whole table; Before is nil if it was not
	// recorded, After if it is gone or unclear.
	Before, After *catalog.TableDescription

	// From and To are the column before and after.
	From, To *catalog.ColumnDescription
	// Old is what rows hold in a column that was added, OldValue the text of it.
	Old      OldRows
	OldValue string

	// Object is the index, constraint, label, publication or partition; NewName
	// what it is called now.
	Object, NewName string
	// Type, FromType are the type after and before.
	Type, FromType *catalog.TypeDescription
	// Neighbour is the label that a new one is behind of, "" if it is the first.
	Neighbour string

	// Rewritten says that the table was rewritten together with the change.
	Rewritten bool
	// Plain says that a rewrite did what the types tell, and nothing else.
	Plain bool
	// Failure says why something is unclear.
	Failure *Failure
}

// Context is what is known of a change beside the descriptions.
type Context struct {
	// Reason is why the table was rewritten, 0 if it was not.
	Reason RewriteReason
	// Moved says that the rows of the table are in another file, whyever.
	Moved bool
	// Plain is Event.Plain.
	Plain bool
	// Polled says that before and after are two polls, with who knows what
	// between them, and not one command.
	Polled bool
	// LeafMissing are the values that rows in the partitions of a partitioned
	// table hold in columns they are older than.
	LeafMissing map[string]string // nil if there are none that could hold rows
}

// Changes compares two descriptions of one table. Either may be nil. Columns are
// matched by attnum and tables by OID, never by name. What nothing depends on
// in a running mirror (comments, grants, owners, storage parameters, triggers,
// policies, rules, statistics) is not compared: package drift does.
func Changes(before, after *catalog.TableDescription, known Context) []Change {
	switch {
	case before == nil && after == nil:
		return nil
	case before == nil:
		return []Change{{Kind: TableCreated, OID: after.OID, Table: after.Table, After: after}}
	case after == nil:
		return []Change{{Kind: TableDropped, OID: before.OID, Table: before.Table, Before: before}}
	case before.OID != after.OID:
		return []Change{{Kind: TableRecreated, OID: after.OID, Table: after.Table, Before: before, After: after}}
	}
	c := comparison{before: before, after: after, known: known}
	c.types()
	c.columns()
	if known.Polled && c.has(ColumnDropped) && c.has(ColumnAdded) {
		c.add(Change{Kind: RowsUnclear})
	}
	c.rewrite()
	c.objects()
	c.identity()
	c.persistence()
	c.partition()
	c.publications()
	c.name()
	return c.changes
}

// ByTable gives the changes table by table, as far as they follow one another:
// what Statements takes. Those of types, and of everything, come by themselves.
func ByTable(changes []Change) iter.Seq[[]Change] {
	return func(yield func([]Change) bool) {
		for len(changes) > 0 {
			n := 1
			for n < len(changes) && changes[0].OID != 0 && changes[n].OID == changes[0].OID {
				n++
			}
			if !yield(changes[:n:n]) {
				return
			}
			changes = changes[n:]
		}
	}
}

// comparison collects changes.
type comparison struct {
	before, after *catalog.TableDescription
	known         Context
	renamed       map[string]string // columns, from before to after
	changes       []Change
}

func (c *comparison) add(change Change) {
	change.OID, change.Table = c.after.OID, c.after.Table
	change.Before, change.After = c.before, c.after
	c.changes = append(c.changes, change)
}

func (c *comparison) has(kind ChangeKind) bool {
	for i := range c.changes {
		if c.changes[i].Kind == kind {
			return true
		}
	}
	return false
}

// rewrite tells of values that may have changed though no type has: ALTER
// COLUMN … TYPE with USING.
func (c *comparison) rewrite() {
	if c.known.Reason&RewriteColumn == 0 || c.known.Plain {
		return
	}
	c.add(Change{Kind: TableRewritten, Rewritten: true})
}

func (c *comparison) identity() {
	b, a := c.before, c.after
	if b.ReplicaIdentity != a.ReplicaIdentity || b.ReplicaIdentity == "i" && b.IdentityIndex != a.IdentityIndex {
		c.add(Change{Kind: IdentityChanged, Object: b.ReplicaIdentity, NewName: a.ReplicaIdentity})
	}
}

func (c *comparison) persistence() {
	if c.before.Persistence != c.after.Persistence {
		c.add(Change{Kind: PersistenceChanged, Object: c.before.Persistence, NewName: c.after.Persistence})
	}
}

func (c *comparison) partition() {
	b, a := c.before.Partition, c.after.Partition
	switch {
	case a != nil && (b == nil || b.OID != a.OID || b.Bound != a.Bound):
		if b != nil {
			c.add(Change{Kind: PartitionDetached, Object: b.Table.String()})
		}
		c.add(Change{Kind: PartitionAttached, Object: a.Table.String()})
	case a == nil && b != nil:
		c.add(Change{Kind: PartitionDetached, Object: b.Table.String()})
	}
}

func (c *comparison) name() {
	b, a := c.before.Table, c.after.Table
	if b.Schema != a.Schema {
		c.add(Change{Kind: TableMoved, Object: b.Schema, NewName: a.Schema})
	}
	if b.Name != a.Name {
		c.add(Change{Kind: TableRenamed, Object: b.Name, NewName: a.Name})
	}
}

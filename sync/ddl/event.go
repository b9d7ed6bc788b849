package ddl

import "github.com/pgdrover/pgdrover/sync/catalog"

// Prefix is that of the logical messages about schema changes, as
// stream.LogicalEvent has it.
const Prefix = "pgdrover.ddl"

// EventKind is what a message is about.
type EventKind string

// The kinds of events.
const (
	// TableEvent: a table was created or altered. After is its description when
	// the command ended, nil if Failure says why there is none.
	TableEvent EventKind = "table"
	// RewriteEvent: a table is about to be rewritten. Its rows may get other
	// values, of which the stream says nothing. The TableEvent of the same
	// command follows.
	RewriteEvent EventKind = "rewrite"
	// DropEvent: Dropped are gone.
	DropEvent EventKind = "dropped"
	// TypeEvent: an enum, domain, composite or range type was created or altered.
	TypeEvent EventKind = "type"
	// PublicationEvent: a publication was created or altered.
	PublicationEvent EventKind = "publication"
	// SchemaEvent: a schema was altered: Tables are the ones in it and Name.Name
	// is how it is called now. There may be several for one schema, each with
	// other tables.
	SchemaEvent EventKind = "schema"
	// UnknownEvent: something was changed that could not be told. Only a poll
	// can tell what.
	UnknownEvent EventKind = "unknown"
)

// Event is one message of the event triggers: what one command has done to one
// object. One command may give several, one behind the other with no rows of
// its transaction between them.
type Event struct {
	Kind EventKind
	Tag  string // the command: "ALTER TABLE"
	User string // session_user of who ran it
	OID  uint32 // of the table, type, publication or schema
	Name catalog.Name
	// Relkind is 'r' or 'p' for a table.
	Relkind string
	// Plain says that the command was one ALTER TABLE without USING and nothing
	// else: what it did to values follows from the types before and after.
	Plain bool
	// LeafMissing are the values that rows in the partitions of a partitioned
	// table hold in columns they are older than; nil without partitions.
	LeafMissing map[string]string
	// Reason is why a table is rewritten (commands/event_trigger.h).
	Reason RewriteReason

	// Before is what the Registry had recorded. Decode leaves it nil.
	Before *catalog.TableDescription
	// After is the table when the command ended.
	After       *catalog.TableDescription
	Type        *catalog.TypeDescription
	Publication *Publication
	Dropped     []Dropped
	Tables      []NumberedTable
	// Failure says why an image is missing.
	Failure *Failure
}

// RewriteReason is a set of bits.
type RewriteReason int

// The reasons to rewrite a table.
const (
	RewritePersistence  RewriteReason = 1 // SET LOGGED, SET UNLOGGED: values stay
	RewriteDefault      RewriteReason = 2 // a column was added whose value each row gets of its own
	RewriteColumn       RewriteReason = 4 // a column's type was altered
	RewriteAccessMethod RewriteReason = 8 // SET ACCESS METHOD: values stay
)

// Dropped is one object that is gone.
type Dropped struct {
	Class  uint32 // OID of the catalog it was in
	OID    uint32
	Column int    // attnum of a column that was dropped
	Type   string // as pg_event_trigger_dropped_objects has it: "table", "index", "table column", …
	Names  []string
	Args   []string // of a publication's relation or schema: the publication
}

// Name gives the schema and name of what was dropped, of what has no schema
// only the name. Of a part of a table it is the table.
func (d Dropped) Name() catalog.Name {
	switch len(d.Names) {
	case 0:
		return catalog.Name{}
	case 1:
		return catalog.Name{Name: d.Names[0]}
	}
	return catalog.Name{Schema: d.Names[0], Name: d.Names[1]}
}

// NumberedTable is a table of a schema that was altered.
type NumberedTable struct {
	OID  uint32
	Name string
}

// Failure is why an image could not be made.
type Failure struct {
	Code    string // SQLSTATE; "54000" for what is too large
	Message string
}

// Publication is the definition of a publication: what it lists, not what
// follows from that.
type Publication struct {
	OID       uint32         `json:"oid"`
	Name      string         `json:"name"`
	AllTables bool           `json:"all_tables,omitempty"`
	Insert    bool           `json:"insert,omitempty"`
	Update    bool           `json:"update,omitempty"`
	Delete    bool           `json:"delete,omitempty"`
	Truncate  bool           `json:"truncate,omitempty"`
	ViaRoot   bool           `json:"via_root,omitempty"`
	Generated string         `json:"generated,omitempty"` // PostgreSQL 18: 'n', 's'
	Schemas   []string       `json:"schemas,omitempty"`
	Tables    []ListedMember `json:"tables,omitempty"`
}

// ListedMember is a table that a publication lists.
type ListedMember struct {
	OID     uint32       `json:"oid"`
	Table   catalog.Name `json:"table"`
	Columns []string     `json:"columns,omitempty"` // none: all
	Filter  string       `json:"filter,omitempty"`
}

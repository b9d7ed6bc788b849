package catalog

import "slices"

// TableDescription is everything that decides what a table's rows are, what
// it accepts and what depends on it: what is compared between source and
// destination and what a schema change is seen by. It is the JSON that
// DescriptionSQL makes; absent fields are at their zero value.
//
// Texts made by the server (types, expressions, definitions) are those of an
// empty search_path, so that they mean the same everywhere. OIDs and attribute
// numbers hold within one database only.
type TableDescription struct {
	Server           int    `json:"server"` // server_version_num: 150018
	OID              uint32 `json:"oid"`
	Table            Name   `json:"table"`
	Relkind          string `json:"relkind"`     // 'r' table, 'p' partitioned table, others as in pg_class
	Persistence      string `json:"persistence"` // 'p' permanent, 'u' unlogged, 't' temporary
	Owner            string `json:"owner"`
	AccessMethod     string `json:"access_method,omitempty"`
	Tablespace       string `json:"tablespace,omitempty"` // "" for the database's own
	OfType           *Name  `json:"of_type,omitempty"`    // CREATE TABLE … OF
	ReplicaIdentity  string `json:"replica_identity"`     // 'd', 'n', 'f', 'i'
	IdentityIndex    string `json:"identity_index,omitempty"`
	RowSecurity      bool   `json:"row_security,omitempty"`
	ForceRowSecurity bool   `json:"force_row_security,omitempty"`

	Options      []string `json:"options,omitempty"` // fillfactor=70, …
	ToastOptions []string `json:"toast_options,omitempty"`
	ACL          []string `json:"acl,omitempty"` // aclitem texts; none: the owner's defaults
	Comment      string   `json:"comment,omitempty"`

	// Filenode changes whenever the table is rewritten: by ALTER TABLE, but by
	// TRUNCATE, VACUUM FULL and CLUSTER too. 0 for a partitioned table.
	Filenode uint32  `json:"filenode,omitempty"`
	Tuples   float64 `json:"tuples"` // the planner's estimate, -1 if it has none
	Bytes    int64   `json:"bytes"`  // heap and TOAST, as VACUUM or ANALYZE saw them last

	Columns     []ColumnDescription     `json:"columns,omitempty"` // live ones, in attnum order
	Types       []TypeDescription       `json:"types,omitempty"`   // of the columns and all that they are made of, each once
	Collations  []CollationDescription  `json:"collations,omitempty"`
	Constraints []ConstraintDescription `json:"constraints,omitempty"` // NOT NULL ones left out: the columns say it
	Indexes     []IndexDescription      `json:"indexes,omitempty"`
	Triggers    []TriggerDescription    `json:"triggers,omitempty"` // the user's
	Rules       []RuleDescription       `json:"rules,omitempty"`
	Policies    []PolicyDescription     `json:"policies,omitempty"`
	Statistics  []StatisticsDescription `json:"statistics,omitempty"` // CREATE STATISTICS
	Sequences   []SequenceDescription   `json:"sequences,omitempty"`  // owned by its columns
	// ReferencedBy are foreign keys of other tables (and its own) that point here.
	ReferencedBy []ReferenceDescription   `json:"referenced_by,omitempty"`
	Publications []PublicationDescription `json:"publications,omitempty"`

	Partitioning *PartitioningDescription `json:"partitioning,omitempty"` // of a partitioned table
	Partition    *PartitionDescription    `json:"partition,omitempty"`    // of a partition: its parent and bound
	Inherits     []Name                   `json:"inherits,omitempty"`     // parents by plain inheritance, in order
	Children     []Name                   `json:"children,omitempty"`     // children by plain inheritance
}

// ColumnDescription is one live column.
type ColumnDescription struct {
	Number     int    `json:"number"` // attnum: stays when the column is renamed
	Name       string `json:"name"`
	Type       Name   `json:"type"`      // its definition is in TableDescription.Types
	TypeText   string `json:"type_text"` // format_type: "numeric(10,2)"
	Modifier   int32  `json:"modifier"`  // atttypmod, -1 for none
	Dimensions int    `json:"dimensions,omitempty"`
	Collation  *Name  `json:"collation,omitempty"` // nil for a type without
	NotNull    bool   `json:"not_null,omitempty"`
	// NotNullUnproved: NOT NULL is NOT VALID (PostgreSQL 18), old rows may be NULL.
	NotNullUnproved bool   `json:"not_null_unproved,omitempty"`
	Default         string `json:"default,omitempty"` // or the expression of a generated column
	// DefaultVolatility is that of the default's most volatile function: 'i',
	// 's' or 'v'; "" without a default. Identity columns count as 'v'.
	DefaultVolatility string `json:"default_volatility,omitempty"`
	// HasMissing: rows older than the column do not hold it and read as Missing
	// (attmissingval as text). A rewrite of the table ends that.
	HasMissing   bool     `json:"has_missing,omitempty"`
	Missing      string   `json:"missing,omitempty"`
	Identity     string   `json:"identity,omitempty"`  // 'a' ALWAYS, 'd' BY DEFAULT
	Generated    string   `json:"generated,omitempty"` // 's' stored, 'v' virtual
	Storage      string   `json:"storage"`
	Compression  string   `json:"compression,omitempty"`   // 'p', 'l'; "" for the server's default
	StatsTarget  *int     `json:"stats_target,omitempty"`  // SET STATISTICS, nil for the default
	Options      []string `json:"options,omitempty"`       // n_distinct=…
	PartitionKey bool     `json:"partition_key,omitempty"` // used by the partition key, in an expression too
	Inherited    bool     `json:"inherited,omitempty"`     // from a parent, without a definition of its own
	ACL          []string `json:"acl,omitempty"`
	Comment      string   `json:"comment,omitempty"`
}

// TypeDescription is a type that columns are made of.
type TypeDescription struct {
	Type      Name               `json:"type"`
	Kind      string             `json:"kind"`                // typtype: 'b', 'c', 'd', 'e', 'r', 'm', 'p'
	Category  string             `json:"category"`            // typcategory: 'A' array, 'N' number, 'S' string, …
	Extension string             `json:"extension,omitempty"` // "citext 1.6" for a type that belongs to one
	Element   *Name              `json:"element,omitempty"`   // of an array
	Labels    []string           `json:"labels,omitempty"`    // of an enum, in its order
	Fields    []FieldDescription `json:"fields,omitempty"`    // of a composite
	Subtype   *Name              `json:"subtype,omitempty"`   // of a range; the range of a multirange
	Domain    *DomainDescription `json:"domain,omitempty"`    // of a domain
	Hash      bool               `json:"hash,omitempty"`      // has a default hash operator class: rows can be told apart by it
	Order     bool               `json:"order,omitempty"`     // has a default btree operator class
}

// FieldDescription is an attribute of a composite type.
type FieldDescription struct {
	Name      string `json:"name"`
	Type      Name   `json:"type"`
	TypeText  string `json:"type_text"`
	Collation *Name  `json:"collation,omitempty"`
}

// DomainDescription is what a domain adds to the type it is based on.
type DomainDescription struct {
	Base      Name          `json:"base"`
	BaseText  string        `json:"base_text"` // format_type: "character varying(20)"
	Modifier  int32         `json:"modifier"`
	NotNull   bool          `json:"not_null,omitempty"`
	Default   string        `json:"default,omitempty"`
	Collation *Name         `json:"collation,omitempty"`
	Checks    []DomainCheck `json:"checks,omitempty"` // by name
}

// DomainCheck is a CHECK constraint of a domain.
type DomainCheck struct {
	Name       string `json:"name"`
	Definition string `json:"definition"` // pg_get_constraintdef
	Validated  bool   `json:"validated,omitempty"`
}

// CollationDescription is a collation that a column or type uses. "default" has
// the locale of the database.
type CollationDescription struct {
	Collation     Name   `json:"collation"`
	Provider      string `json:"provider"` // 'c' libc, 'i' ICU, 'b' built in
	Locale        string `json:"locale,omitempty"`
	Encoding      string `json:"encoding,omitempty"` // of "default": the database's
	Deterministic bool   `json:"deterministic,omitempty"`
	Version       string `json:"version,omitempty"` // when indexes were built
	// ActualVersion is what the operating system has now. DescribeTables fills
	// it in; an event trigger's description is without.
	ActualVersion string `json:"actual_version,omitempty"`
}

// ConstraintDescription is a primary key, unique, exclusion, check or foreign
// key constraint.
type ConstraintDescription struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"`                // contype: 'p', 'u', 'x', 'c', 'f'
	Columns     []string `json:"columns,omitempty"`   // in the order of the constraint
	Definition  string   `json:"definition"`          // pg_get_constraintdef
	Validated   bool     `json:"validated,omitempty"` //
	NotEnforced bool     `json:"not_enforced,omitempty"`
	Deferrable  bool     `json:"deferrable,omitempty"`
	Deferred    bool     `json:"deferred,omitempty"`
	NoInherit   bool     `json:"no_inherit,omitempty"`
	Inherited   bool     `json:"inherited,omitempty"` // of a parent, without a definition of its own
	Index       string   `json:"index,omitempty"`     // of 'p', 'u', 'x'
	Comment     string   `json:"comment,omitempty"`

	// Of a foreign key.
	References        *Name    `json:"references,omitempty"`
	ReferencedColumns []string `json:"referenced_columns,omitempty"`
	OnUpdate          string   `json:"on_update,omitempty"` // 'a' no action, 'r' restrict, 'c' cascade, 'n' set null, 'd' set default
	OnDelete          string   `json:"on_delete,omitempty"`
	Match             string   `json:"match,omitempty"`       // 's' simple, 'f' full
	SetColumns        []string `json:"set_columns,omitempty"` // ON DELETE SET NULL (…)
}

// ReferenceDescription is a foreign key that points at the described table.
type ReferenceDescription struct {
	Table      Name     `json:"table"`
	Name       string   `json:"name"`
	Columns    []string `json:"columns"` // of the described table
	Definition string   `json:"definition"`
}

// IndexDescription is an index.
type IndexDescription struct {
	Name       string   `json:"name"`
	Definition string   `json:"definition"` // pg_get_indexdef
	Using      string   `json:"using"`      // what follows USING in it: it names neither index nor table
	Method     string   `json:"method"`
	Columns    []string `json:"columns"` // of the key; "" for an expression
	Include    []string `json:"include,omitempty"`
	Predicate  string   `json:"predicate,omitempty"`
	Unique     bool     `json:"unique,omitempty"`
	Primary    bool     `json:"primary,omitempty"`
	Deferrable bool     `json:"deferrable,omitempty"` // of a deferrable constraint
	Nulls      bool     `json:"nulls_not_distinct,omitempty"`
	Invalid    bool     `json:"invalid,omitempty"`
	Identity   bool     `json:"replica_identity,omitempty"`
	Clustered  bool     `json:"clustered,omitempty"`
	Inherited  bool     `json:"inherited,omitempty"`  // a partition's part of an index of its parent
	Constraint string   `json:"constraint,omitempty"` // the constraint it was made by
	Tablespace string   `json:"tablespace,omitempty"`
	Comment    string   `json:"comment,omitempty"`
	// KeyCollations are those of the key's columns, nil where there is none.
	KeyCollations []*Name `json:"key_collations,omitempty"`
}

// TriggerDescription is a trigger that a user made.
type TriggerDescription struct {
	Name       string `json:"name"`
	Definition string `json:"definition"` // pg_get_triggerdef
	Rest       string `json:"rest"`       // the same without the table's name
	Enabled    string `json:"enabled"`    // tgenabled: see Fires
	Function   Name   `json:"function"`
	Inherited  bool   `json:"inherited,omitempty"` // made by a trigger of the parent
	Comment    string `json:"comment,omitempty"`
}

// RuleDescription is a rewrite rule.
type RuleDescription struct {
	Name       string `json:"name"`
	Definition string `json:"definition"` // pg_get_ruledef
	Event      string `json:"event"`      // ev_type: '1' SELECT, '2' UPDATE, '3' INSERT, '4' DELETE
	Instead    bool   `json:"instead,omitempty"`
	Enabled    string `json:"enabled"`
}

// PolicyDescription is a row security policy.
type PolicyDescription struct {
	Name       string   `json:"name"`
	Command    string   `json:"command"` // 'r', 'a', 'w', 'd', '*'
	Permissive bool     `json:"permissive,omitempty"`
	Roles      []string `json:"roles,omitempty"` // "public" for all
	Using      string   `json:"using,omitempty"`
	Check      string   `json:"check,omitempty"`
}

// StatisticsDescription is an extended statistics object.
type StatisticsDescription struct {
	Statistics Name     `json:"statistics"`
	Definition string   `json:"definition"` // pg_get_statisticsobjdef
	Kinds      []string `json:"kinds"`
	Columns    string   `json:"columns"` // columns and expressions as text
	Target     *int     `json:"target,omitempty"`
}

// SequenceDescription is a sequence owned by a column.
type SequenceDescription struct {
	Sequence  Name   `json:"sequence"`
	Column    string `json:"column"`
	Identity  bool   `json:"identity,omitempty"` // of an identity column
	Type      string `json:"type"`
	Start     int64  `json:"start"`
	Increment int64  `json:"increment"`
	Min       int64  `json:"min"`
	Max       int64  `json:"max"`
	Cache     int64  `json:"cache"`
	Cycle     bool   `json:"cycle,omitempty"`
}

// PublicationDescription is a publication that the table's changes are part of.
type PublicationDescription struct {
	Name      string `json:"name"`
	AllTables bool   `json:"all_tables,omitempty"`
	InSchema  bool   `json:"in_schema,omitempty"` // FOR TABLES IN SCHEMA
	// Via is the relation that was added: the table itself or a partitioned
	// table above it; nil for AllTables and InSchema.
	Via       *Name    `json:"via,omitempty"`
	Columns   []string `json:"columns,omitempty"` // none: all
	Filter    string   `json:"filter,omitempty"`
	Insert    bool     `json:"insert,omitempty"`
	Update    bool     `json:"update,omitempty"`
	Delete    bool     `json:"delete,omitempty"`
	Truncate  bool     `json:"truncate,omitempty"`
	ViaRoot   bool     `json:"via_root,omitempty"`  // publish_via_partition_root
	Generated string   `json:"generated,omitempty"` // PostgreSQL 18: 'n' none, 's' stored
}

// PartitioningDescription is how a partitioned table is cut.
type PartitioningDescription struct {
	Strategy   string                 `json:"strategy"` // 'r' range, 'l' list, 'h' hash
	Key        string                 `json:"key"`      // pg_get_partkeydef: "RANGE (at)"
	Columns    []string               `json:"columns"`  // "" for an expression
	Partitions []PartitionDescription `json:"partitions,omitempty"`
}

// PartitionDescription joins a partition and its parent.
type PartitionDescription struct {
	Table         Name   `json:"table"`          // in Partitions the partition, in TableDescription.Partition the parent
	Root          *Name  `json:"root,omitempty"` // in TableDescription.Partition: the topmost parent
	OID           uint32 `json:"oid"`
	Relkind       string `json:"relkind"`
	Bound         string `json:"bound"` // "FOR VALUES …", "DEFAULT"
	DetachPending bool   `json:"detach_pending,omitempty"`
}

// Default tells whether it takes the rows that no other partition takes.
func (p PartitionDescription) Default() bool { return p.Bound == "DEFAULT" }

// Column gives the column of a name, nil if there is none.
func (d *TableDescription) Column(name string) *ColumnDescription {
	i := slices.IndexFunc(d.Columns, func(c ColumnDescription) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &d.Columns[i]
}

// ColumnNumbered gives the column of an attribute number, nil if there is none.
func (d *TableDescription) ColumnNumbered(number int) *ColumnDescription {
	i := slices.IndexFunc(d.Columns, func(c ColumnDescription) bool { return c.Number == number })
	if i < 0 {
		return nil
	}
	return &d.Columns[i]
}

// TypeNamed gives the description of a type, nil if no column is made of it.
func (d *TableDescription) TypeNamed(name Name) *TypeDescription {
	i := slices.IndexFunc(d.Types, func(t TypeDescription) bool { return t.Type == name })
	if i < 0 {
		return nil
	}
	return &d.Types[i]
}

// CollationNamed gives the description of a collation, nil if none is used.
func (d *TableDescription) CollationNamed(name Name) *CollationDescription {
	i := slices.IndexFunc(d.Collations, func(c CollationDescription) bool { return c.Collation == name })
	if i < 0 {
		return nil
	}
	return &d.Collations[i]
}

// PrimaryKey gives the primary key, nil if there is none.
func (d *TableDescription) PrimaryKey() *ConstraintDescription {
	i := slices.IndexFunc(d.Constraints, func(c ConstraintDescription) bool { return c.Type == "p" })
	if i < 0 {
		return nil
	}
	return &d.Constraints[i]
}

// IdentityColumns are the columns that tell rows apart in the stream, by the
// replica identity: none for NOTHING, or DEFAULT without a primary key.
func (d *TableDescription) IdentityColumns() []string {
	switch d.ReplicaIdentity {
	case "d":
		if key := d.PrimaryKey(); key != nil {
			return key.Columns
		}
	case "f":
		var out []string
		for _, c := range d.Columns {
			if c.Generated == "" {
				out = append(out, c.Name)
			}
		}
		return out
	case "i":
		for _, x := range d.Indexes {
			if x.Identity {
				return x.Columns
			}
		}
	}
	return nil
}

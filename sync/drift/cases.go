package drift

// Kind names a difference of structure. Metrics and reports use it.
type Kind string

// Kinds of differences. SOURCE is the column or object of the source,
// DESTINATION that of the destination.
const (
	// Columns that one side lacks. What decides for a column that only the
	// source has is which values its old rows hold.
	AddedNull       Kind = "source_added_column"            // no default: old rows are NULL
	AddedConstant   Kind = "source_added_constant_column"   // old rows have a value that is known
	AddedVolatile   Kind = "source_added_volatile_column"   // each old row has a value of its own
	AddedIdentity   Kind = "source_added_identity_column"   // likewise: identity, serial
	AddedGenerated  Kind = "source_added_generated_column"  // the destination computes it
	AddedNotNull    Kind = "source_added_not_null_column"   // NOT NULL without a default
	AddedDomain     Kind = "source_added_domain_column"     // of a domain with constraints
	ExtraColumn     Kind = "target_added_column"            // nullable, with a default, generated or identity
	ExtraRequired   Kind = "target_added_not_null_column"   // NOT NULL without a default
	RemovedColumn   Kind = "source_removed_column"          // the source had it; nullable or with a default
	RemovedRequired Kind = "source_removed_not_null_column" // the source had it; NOT NULL without a default
	RenamedColumn   Kind = "renamed_column"                 //
	ColumnRecreated Kind = "source_recreated_column"        // dropped, and another one of its name added
	ColumnOrder     Kind = "column_order"                   //

	// Columns that both have.
	TypeSafe             Kind = "safe_cast"
	TypeWarn             Kind = "doubtful_cast"
	TypeUnsafe           Kind = "unsafe_cast"
	TypeDeclared         Kind = "declared_cast" // the mapping says so
	GeneratedDiffers     Kind = "generated_expression"
	GeneratedDestination Kind = "generated_on_destination"
	GeneratedSource      Kind = "generated_on_source"
	GeneratedSent        Kind = "generated_on_source_published"
	IdentityDiffers      Kind = "identity"
	DefaultDiffers       Kind = "default"
	NotNullDestination   Kind = "not_null_on_destination"
	NotNullSource        Kind = "not_null_on_source"
	CollationDiffers     Kind = "collation"
	CollationOfKey       Kind = "collation_of_key" // not deterministic on one side, in a key
	CollationVersion     Kind = "collation_version"
	ColumnStorage        Kind = "column_storage" // storage, compression, statistics target, options

	// Types with a definition of their own.
	EnumLabelEnd       Kind = "enum_label_added"
	EnumLabelMiddle    Kind = "enum_label_inserted"
	EnumLabelRenamed   Kind = "enum_label_renamed"
	EnumLabelExtra     Kind = "enum_label_extra"
	EnumOrder          Kind = "enum_order"
	DomainStricter     Kind = "domain_stricter_on_destination"
	DomainLooser       Kind = "domain_stricter_on_source"
	TypeDefinition     Kind = "type_definition" // composites, ranges
	ExtensionVersion   Kind = "extension_version"
	EncodingOfDatabase Kind = "encoding"

	// Constraints and indexes.
	PrimaryKeyDiffers   Kind = "primary_key"
	PrimaryKeyMissing   Kind = "primary_key_missing"
	UniqueDestination   Kind = "unique_on_destination"
	UniqueSource        Kind = "unique_on_source"
	ExclusionOfOne      Kind = "exclusion_on_destination"
	ExclusionSource     Kind = "exclusion_on_source"
	CheckDestination    Kind = "check_on_destination"
	CheckOfExtra        Kind = "check_of_extra_column"
	CheckSource         Kind = "check_on_source"
	ForeignKeyExtra     Kind = "foreign_key_on_destination"
	ForeignKeyMissing   Kind = "foreign_key_on_source"
	ConstraintAttribute Kind = "constraint_attribute" // NOT VALID, deferrable
	IndexMissing        Kind = "index_on_source"
	IndexExtra          Kind = "index_on_destination"
	IndexInvalid        Kind = "index_invalid"
	IdentityIndex       Kind = "replica_identity"      // differs
	InsertOnly          Kind = "insert_only"           // source rows cannot be told apart: no UPDATE, DELETE
	IdentityNotCopied   Kind = "identity_not_copied"   // the mapping leaves out what tells rows apart
	NoUsableKey         Kind = "no_key_on_destination" // REPLICA IDENTITY FULL without a key

	// What acts on rows.
	TriggerFires     Kind = "trigger_fires_on_destination"
	TriggerExtra     Kind = "trigger_on_destination"
	TriggerMissing   Kind = "trigger_on_source"
	RuleFires        Kind = "rule_fires_on_destination"
	RuleDiffers      Kind = "rule"
	RowSecurityOn    Kind = "row_security_on_source"
	RowSecurityThere Kind = "row_security_on_destination"
	PolicyDiffers    Kind = "policy"
	SequenceDiffers  Kind = "sequence"

	// The table.
	RelationKind     Kind = "relation_kind"
	RelationKindRoot Kind = "relation_kind_via_root"
	UnloggedSource   Kind = "unlogged_on_source"
	UnloggedThere    Kind = "unlogged_on_destination"
	PartitionKey     Kind = "partition_key"
	PartitionMissing Kind = "partition_on_source"
	PartitionCovered Kind = "partition_on_source_covered" // a default partition takes its rows
	PartitionExtra   Kind = "partition_on_destination"
	PartitionGone    Kind = "partition_detached" // the source had it, and detached or dropped it
	PartitionBound   Kind = "partition_bound"    // of the described leaf: stricter on the destination
	PartitionParent  Kind = "partition_parent"
	Inheritance      Kind = "inheritance"
	Appearance       Kind = "appearance" // access method, tablespace, options, comments, grants, owner, statistics

	// What the stream carries.
	NotPublished       Kind = "not_published"
	PublishedOperation Kind = "published_operations"
	PublicationChanged Kind = "publication_changed" // row filter or operations, since the rows were copied
	TableMissing       Kind = "table_missing"
	TableDropped       Kind = "source_dropped_table"
	TableRecreated     Kind = "source_recreated_table"
	SourceShards       Kind = "source_shards" // a shard of the source is other than its first one
)

// Case is one row of the table of structural differences.
type Case struct {
	Kind    Kind
	Verdict Verdict
	Reason  string
	// Refuses: rows that the difference is about are an error of the
	// destination; none is lost or changed without one.
	Refuses bool
	// Fix is what Migrate does about it; "" for nothing.
	Fix string
	// Lock is the strongest lock of the destination's table that the fix
	// takes, Rewrites whether it writes the table anew, Scans whether it reads
	// all of it while rows can be written.
	Lock     Lock
	Rewrites bool
	Scans    bool
	// Migrates is the kind of auto_migrate (config.AutoMigrateKinds) that lets
	// the fix run by itself; "" for never.
	Migrates string
}

// Cases has a row for every Kind. Those whose verdict depends on the types of
// a column (safe_cast …) have the verdict of the type's rule; cost and reason
// are found there.
var Cases = []Case{
	{Kind: AddedNull, Verdict: StopTable, Reason: "the destination has no place for its values", Fix: "ADD COLUMN", Lock: AccessExclusive, Migrates: "add_column"},
	{Kind: AddedConstant, Verdict: StopTable, Reason: "the destination has no place for its values; rows older than the column hold one and the same value", Fix: "ADD COLUMN with that value, then SET DEFAULT", Lock: AccessExclusive, Migrates: "add_column"},
	{Kind: AddedVolatile, Verdict: StopTable, Reason: "each older row got a value of its own when the source wrote the table anew; those are not in the stream", Fix: "ADD COLUMN, copy the table again, then SET NOT NULL", Lock: AccessExclusive, Scans: true, Migrates: "add_column"},
	{Kind: AddedIdentity, Verdict: StopTable, Reason: "each older row got a number of its own when the source wrote the table anew; those are not in the stream", Fix: "ADD COLUMN, copy the table again, then SET NOT NULL and add the identity", Lock: AccessExclusive, Scans: true, Migrates: "add_column"},
	{Kind: AddedGenerated, Verdict: StopTable, Reason: "the destination does not compute it; its values are not in the stream", Fix: "ADD COLUMN, which computes it for every row", Lock: AccessExclusive, Rewrites: true, Migrates: "add_column"},
	{Kind: AddedNotNull, Verdict: StopTable, Reason: "the destination has no place for its values, and none for its older rows", Fix: "ADD COLUMN without NOT NULL, copy the table again, then SET NOT NULL", Lock: AccessExclusive, Scans: true, Migrates: "add_column"},
	{Kind: AddedDomain, Verdict: StopTable, Reason: "the destination has no place for its values; a domain with constraints has it written anew", Fix: "ADD COLUMN", Lock: AccessExclusive, Rewrites: true, Migrates: "add_column"},
	{Kind: ExtraColumn, Verdict: Warn, Reason: "only the destination has it: rows get NULL or its default, and lose its value when the table is copied again"},
	{Kind: ExtraRequired, Verdict: StopTable, Refuses: true, Reason: "only the destination has it, and it needs a value that no row brings", Fix: "DROP NOT NULL", Lock: AccessExclusive, Migrates: "drop_not_null"},
	{Kind: RemovedColumn, Verdict: StopTable, Reason: "the source has dropped it: what becomes of the values the destination still has must be decided", Fix: "DROP COLUMN", Lock: AccessExclusive, Migrates: "drop_column"},
	{Kind: RemovedRequired, Verdict: StopTable, Refuses: true, Reason: "the source has dropped it, and the destination needs a value that no row brings", Fix: "DROP COLUMN", Lock: AccessExclusive, Migrates: "drop_column"},
	{Kind: RenamedColumn, Verdict: StopTable, Reason: "the same column has another name on the destination: its values find no place", Fix: "RENAME COLUMN", Lock: AccessExclusive, Migrates: "rename_column"},
	{Kind: ColumnRecreated, Verdict: StopTable, Reason: "the source has dropped it and made another one of its name: the values of older rows at the destination are those of the old one"},
	{Kind: ColumnOrder, Verdict: OK, Reason: "columns are always named"},

	{Kind: TypeSafe, Verdict: OK, Reason: "by the rule of the types", Fix: "ALTER COLUMN TYPE", Lock: AccessExclusive, Migrates: "widen_type"},
	{Kind: TypeWarn, Verdict: Warn, Reason: "by the rule of the types", Fix: "ALTER COLUMN TYPE", Lock: AccessExclusive, Migrates: "change_type"},
	{Kind: TypeUnsafe, Verdict: StopTable, Reason: "by the rule of the types", Fix: "ALTER COLUMN TYPE", Lock: AccessExclusive, Migrates: "change_type"},
	{Kind: TypeDeclared, Verdict: OK, Reason: "the mapping declares this type"},
	{Kind: GeneratedDiffers, Verdict: StopTable, Reason: "both sides compute it, by different expressions: values differ for ever", Fix: "DROP COLUMN and ADD COLUMN (SET EXPRESSION from PostgreSQL 17)", Lock: AccessExclusive, Rewrites: true},
	{Kind: GeneratedDestination, Verdict: StopTable, Reason: "the destination computes it and takes no value", Fix: "DROP EXPRESSION", Lock: AccessExclusive},
	{Kind: GeneratedSource, Verdict: StopTable, Reason: "the source computes it and does not publish it: the destination would have NULL or its default", Fix: "DROP COLUMN and ADD COLUMN … GENERATED", Lock: AccessExclusive, Rewrites: true},
	{Kind: GeneratedSent, Verdict: OK, Reason: "the source computes it and publishes it (publish_generated_columns)"},
	{Kind: IdentityDiffers, Verdict: Warn, Reason: "values arrive in both cases; new rows after a cutover are numbered otherwise", Fix: "ADD, SET or DROP IDENTITY", Lock: AccessExclusive, Scans: true, Migrates: "set_default"},
	{Kind: DefaultDiffers, Verdict: Warn, Reason: "the stream carries every value; new rows after a cutover would get another one", Fix: "SET DEFAULT", Lock: AccessExclusive, Migrates: "set_default"},
	{Kind: NotNullDestination, Verdict: StopTable, Refuses: true, Reason: "the source allows NULL: the first one would be refused", Fix: "DROP NOT NULL", Lock: AccessExclusive, Migrates: "drop_not_null"},
	{Kind: NotNullSource, Verdict: Warn, Reason: "every row arrives; a cutover needs it", Fix: "a validated CHECK, then SET NOT NULL", Lock: AccessExclusive, Scans: true, Migrates: "add_constraint"},
	{Kind: CollationDiffers, Verdict: Warn, Reason: "values are equal, their order differs; partition bounds and indexes depend on it", Fix: "ALTER COLUMN TYPE … COLLATE", Lock: AccessExclusive, Migrates: "change_type"},
	{Kind: CollationOfKey, Verdict: StopTable, Reason: "one side takes texts for equal that the other does not: a key would refuse or match other rows", Fix: "ALTER COLUMN TYPE … COLLATE", Lock: AccessExclusive, Migrates: "change_type"},
	{Kind: CollationVersion, Verdict: Warn, Reason: "the collation sorts otherwise than when indexes were built: they may not find rows"},
	{Kind: ColumnStorage, Verdict: OK, Reason: "how values are stored does not change them", Fix: "SET STORAGE, COMPRESSION, STATISTICS", Lock: AccessExclusive},

	{Kind: EnumLabelEnd, Verdict: StopTable, Refuses: true, Reason: "the destination's type does not know the label: rows with it are refused", Fix: "ADD VALUE", Migrates: "add_enum_label"},
	{Kind: EnumLabelMiddle, Verdict: StopTable, Refuses: true, Reason: "the destination's type does not know the label: rows with it are refused", Fix: "ADD VALUE … BEFORE", Migrates: "add_enum_label"},
	{Kind: EnumLabelRenamed, Verdict: StopTable, Refuses: true, Reason: "rows carry the new name, which the destination's type does not know", Fix: "RENAME VALUE", Migrates: "rename_enum_label"},
	{Kind: EnumLabelExtra, Verdict: OK, Reason: "only the destination's type knows the label; no row brings it"},
	{Kind: EnumOrder, Verdict: Warn, Reason: "labels sort otherwise: order, indexes and partitions differ"},
	{Kind: DomainStricter, Verdict: StopTable, Refuses: true, Reason: "the destination's domain may refuse rows", Fix: "DROP CONSTRAINT of the domain"},
	{Kind: DomainLooser, Verdict: Warn, Reason: "every row arrives; a cutover needs the domain's constraint", Fix: "ADD CONSTRAINT of the domain, VALIDATE", Lock: ShareLock, Scans: true, Migrates: "add_constraint"},
	{Kind: TypeDefinition, Verdict: StopTable, Reason: "types of one name with different parts: values are refused or read otherwise"},
	{Kind: ExtensionVersion, Verdict: Warn, Reason: "the text of a type may differ between versions of its extension"},
	{Kind: EncodingOfDatabase, Verdict: StopTable, Refuses: true, Reason: "characters that the destination's encoding lacks are refused"},

	{Kind: PrimaryKeyDiffers, Verdict: StopTable, Reason: "rows are told apart by other columns: a wrong row could be changed, or rows refused", Fix: "a new unique index, then the primary key is exchanged", Lock: AccessExclusive, Scans: true},
	{Kind: PrimaryKeyMissing, Verdict: Warn, Reason: "every row arrives, but rows are found slowly and a cutover needs the key", Fix: "CREATE UNIQUE INDEX CONCURRENTLY, ADD PRIMARY KEY USING INDEX", Lock: AccessExclusive, Scans: true, Migrates: "add_constraint"},
	{Kind: UniqueDestination, Verdict: StopTable, Refuses: true, Reason: "rows that are different on the source are refused as duplicates", Fix: "DROP INDEX CONCURRENTLY or DROP CONSTRAINT", Lock: AccessExclusive},
	{Kind: UniqueSource, Verdict: Warn, Reason: "every row arrives; a cutover needs it", Fix: "CREATE UNIQUE INDEX CONCURRENTLY", Lock: AccessExclusive, Scans: true, Migrates: "create_index"},
	{Kind: ExclusionOfOne, Verdict: StopTable, Refuses: true, Reason: "rows that the source allows together are refused", Fix: "DROP CONSTRAINT", Lock: AccessExclusive},
	{Kind: ExclusionSource, Verdict: Warn, Reason: "every row arrives; a cutover needs it", Fix: "ADD CONSTRAINT", Lock: AccessExclusive, Scans: true},
	{Kind: CheckDestination, Verdict: StopTable, Refuses: true, Reason: "checks hold for rows of the stream too: rows that the source allows are refused", Fix: "DROP CONSTRAINT", Lock: AccessExclusive},
	{Kind: CheckOfExtra, Verdict: Warn, Reason: "it concerns columns that only the destination has: rows bring their defaults"},
	{Kind: CheckSource, Verdict: Warn, Reason: "every row arrives; a cutover needs it", Fix: "ADD CONSTRAINT … NOT VALID, VALIDATE", Lock: AccessExclusive, Scans: true, Migrates: "add_constraint"},
	{Kind: ForeignKeyExtra, Verdict: Warn, Reason: "foreign keys are not checked for rows of the stream; a cutover must check them"},
	{Kind: ForeignKeyMissing, Verdict: Warn, Reason: "every row arrives; a cutover needs it", Fix: "ADD CONSTRAINT … NOT VALID, VALIDATE", Lock: ShareRowExclusive, Scans: true, Migrates: "add_constraint"},
	{Kind: ConstraintAttribute, Verdict: Warn, Reason: "every row arrives; a cutover needs it the same", Fix: "VALIDATE CONSTRAINT", Lock: ShareUpdateExclusive, Scans: true, Migrates: "add_constraint"},
	{Kind: IndexMissing, Verdict: Warn, Reason: "every row arrives; a cutover needs it for its speed", Fix: "CREATE INDEX CONCURRENTLY", Lock: ShareUpdateExclusive, Scans: true, Migrates: "create_index"},
	{Kind: IndexExtra, Verdict: OK, Reason: "it costs time only"},
	{Kind: IndexInvalid, Verdict: Warn, Reason: "it was not built to its end: it costs time and is not used", Fix: "DROP INDEX CONCURRENTLY, CREATE INDEX CONCURRENTLY", Lock: ShareUpdateExclusive, Scans: true, Migrates: "create_index"},
	{Kind: IdentityIndex, Verdict: OK, Reason: "the destination's replica identity matters when changes flow back after a cutover", Fix: "REPLICA IDENTITY", Lock: AccessExclusive},
	{Kind: InsertOnly, Verdict: Warn, Reason: "nothing tells the source's rows apart: it refuses UPDATE and DELETE while the table is published with them"},
	{Kind: IdentityNotCopied, Verdict: StopTable, Reason: "the mapping leaves out columns that tell the source's rows apart: changes find no row"},
	{Kind: NoUsableKey, Verdict: Warn, Reason: "rows are found by all their columns, which is slow; of equal rows one is changed"},

	{Kind: TriggerFires, Verdict: StopTable, Reason: "it fires for rows of the stream (ALWAYS or REPLICA) and may change them", Fix: "ENABLE TRIGGER, for ordinary sessions only", Lock: ShareRowExclusive},
	{Kind: TriggerExtra, Verdict: OK, Reason: "it does not fire for rows of the stream"},
	{Kind: TriggerMissing, Verdict: Warn, Reason: "every row arrives; a cutover needs it", Fix: "CREATE TRIGGER", Lock: ShareRowExclusive},
	{Kind: RuleFires, Verdict: StopTable, Reason: "it acts on rows of the stream (ALWAYS or REPLICA) and may take them away", Fix: "ENABLE RULE, for ordinary sessions only", Lock: AccessExclusive},
	{Kind: RuleDiffers, Verdict: Warn, Reason: "rules do not act on rows of the stream; a cutover needs them the same"},
	{Kind: RowSecurityOn, Verdict: Warn, Reason: "the stream ignores policies; a copy by a role that they apply to is refused, so the role must own the table or have BYPASSRLS"},
	{Kind: RowSecurityThere, Verdict: Warn, Reason: "a role that policies apply to writes no row that they refuse: it must own the table or have BYPASSRLS"},
	{Kind: PolicyDiffers, Verdict: Warn, Reason: "every row arrives; a cutover needs the policies the same"},
	{Kind: SequenceDiffers, Verdict: Warn, Reason: "sequences are not in the stream; a cutover needs them the same", Fix: "ALTER SEQUENCE, or ALTER COLUMN … SET for an identity", Lock: AccessExclusive, Migrates: "set_default"},

	{Kind: RelationKind, Verdict: StopTable, Reason: "one side is partitioned and the stream carries the partitions: the other has no tables of their names"},
	{Kind: RelationKindRoot, Verdict: OK, Reason: "the stream carries the table under its own name (publish_via_partition_root)"},
	{Kind: UnloggedSource, Verdict: StopTable, Reason: "what is not in the WAL cannot be streamed"},
	{Kind: UnloggedThere, Verdict: StopTable, Reason: "the destination empties it after a crash, and nothing sends the rows again", Fix: "SET LOGGED", Lock: AccessExclusive, Rewrites: true},
	{Kind: PartitionKey, Verdict: Warn, Reason: "rows go to other partitions; the destination's must take them all"},
	{Kind: PartitionMissing, Verdict: StopTable, Refuses: true, Reason: "no partition of the destination takes its rows", Fix: "CREATE TABLE, ATTACH PARTITION", Lock: ShareUpdateExclusive, Migrates: "attach_partition"},
	{Kind: PartitionCovered, Verdict: Warn, Reason: "its rows go into the default partition of the destination"},
	{Kind: PartitionExtra, Verdict: OK, Reason: "only the destination has it; no row needs it"},
	{Kind: PartitionGone, Verdict: StopTable, Reason: "the source has detached or dropped the partition, which the stream does not tell: its rows are still part of the destination's table", Fix: "DETACH PARTITION, which keeps its rows as a table", Lock: ShareUpdateExclusive},
	{Kind: PartitionBound, Verdict: StopTable, Refuses: true, Reason: "the destination's partition takes only rows within its bound: others are refused"},
	{Kind: PartitionParent, Verdict: Warn, Reason: "every row arrives; queries of the parent differ"},
	{Kind: Inheritance, Verdict: Warn, Reason: "every table is mirrored by itself; queries of a parent differ"},
	{Kind: Appearance, Verdict: OK, Reason: "it changes no row; a cutover may need it the same", Fix: "SET options, COMMENT, FORCE ROW LEVEL SECURITY; owner, grants and places are left alone", Lock: AccessExclusive},

	{Kind: NotPublished, Verdict: StopTable, Reason: "the publication does not carry the table: changes are missed without a sign"},
	{Kind: PublishedOperation, Verdict: Warn, Reason: "the publication leaves out some operations: they are missed by intent"},
	{Kind: PublicationChanged, Verdict: ResyncTable, Reason: "the publication's rows or operations are other than when the table was copied: some were missed or are too many"},
	{Kind: TableMissing, Verdict: StopTable, Reason: "the destination does not have the table", Fix: "SCHEMA_SYNC", Migrates: "create_table"},
	{Kind: TableDropped, Verdict: StopTable, Reason: "the source has dropped the table; the destination keeps it until that is decided", Fix: "DROP TABLE", Lock: AccessExclusive, Migrates: "drop_table"},
	{Kind: TableRecreated, Verdict: ResyncTable, Reason: "the source has dropped the table and made another one of its name"},
	{Kind: SourceShards, Verdict: StopTable, Reason: "the shards of the source differ: the destination cannot be like all of them"},
}

// CaseOf gives the row of a kind.
func CaseOf(kind Kind) *Case {
	for i := range Cases {
		if Cases[i].Kind == kind {
			return &Cases[i]
		}
	}
	return &Case{Kind: kind, Verdict: StopTable, Reason: "a difference without a rule"}
}

package ddl

// Case is one of the schema changes that a mirror is known to meet.
type Case struct {
	Number int
	Name   string
	// Kinds are the changes it is seen as; none where the stream says it all.
	Kinds   []ChangeKind
	Verdict Verdict
	// Does is what happens to the destination.
	Does string
}

// Cases are all of them, by PowerSync's list of what a source may do and what
// becomes of it here. The verdict is that of the case as it is named; Rules
// have the conditions.
var Cases = []Case{
	{1, "DROP TABLE", []ChangeKind{TableDropped}, Keep, "the table stays with its rows"},
	{2, "CREATE TABLE that the publication covers", []ChangeKind{TableCreated}, Copy, "it is created and copied from a slot of its own"},
	{3, "DROP and CREATE under the same name", []ChangeKind{TableDropped, TableCreated}, Copy, "the old one stays until the copy is complete"},
	{4, "RENAME TABLE", []ChangeKind{TableRenamed}, Apply, "it is renamed, no row is copied"},
	{5, "RENAME a to b and b to a", []ChangeKind{TableRenamed}, Apply, "both are renamed, by their OIDs"},
	{6, "ALTER SCHEMA … RENAME, ALTER TABLE … SET SCHEMA", []ChangeKind{TableMoved}, Apply, "it moves, no row is copied"},
	{7, "type of a primary key's column altered", []ChangeKind{ColumnRetyped}, Apply, "the same ALTER; copied again if the values may differ"},
	{8, "primary key dropped or changed", []ChangeKind{PrimaryKeyChanged}, Apply, "the key is rebuilt, no row is copied"},
	{9, "column added, dropped, renamed with REPLICA IDENTITY FULL", []ChangeKind{ColumnAdded, ColumnDropped, ColumnRenamed}, Apply, "as without it"},
	{10, "index of REPLICA IDENTITY USING INDEX dropped or replaced", []ChangeKind{IndexDropped, IdentityChanged}, Metadata, "only inserts come until there is another one"},
	{11, "REPLICA IDENTITY changed", []ChangeKind{IdentityChanged}, Apply, "rows are found by the new one from here on"},
	{12, "REPLICA IDENTITY NOTHING", []ChangeKind{IdentityChanged}, Metadata, "only inserts come"},
	{13, "column added without a default", []ChangeKind{ColumnAdded}, Apply, "the same column, NULL in older rows"},
	{14, "column added with a constant default", []ChangeKind{ColumnAdded}, Apply, "the same column with the value that older rows have at the source"},
	{15, "column added with a default like now()", []ChangeKind{ColumnAdded}, Apply, "the moment of the ALTER in older rows, then the default"},
	{16, "column added with a volatile default, serial, identity", []ChangeKind{ColumnAdded}, Resync, "the column, and its values by a copy"},
	{17, "column dropped", []ChangeKind{ColumnDropped}, Apply, "the column stays, without NOT NULL, or goes, by policy"},
	{18, "column renamed", []ChangeKind{ColumnRenamed}, Apply, "it is renamed"},
	{19, "type of another column altered", []ChangeKind{ColumnRetyped}, Apply, "the same ALTER; copied again if the values may differ"},
	{20, "ALTER PUBLICATION … ADD TABLE", []ChangeKind{TableCreated}, Copy, "it is copied from a slot of its own"},
	{21, "ALTER PUBLICATION … DROP TABLE", []ChangeKind{Unpublished}, Keep, "the table stays with its rows"},
	{22, "operations of the publication changed", []ChangeKind{PublishedOperations}, Stop, "copied again when there are more of them"},
	{23, "row filter changed", []ChangeKind{PublishedFilter}, Resync, "copied again"},
	{24, "column list changed", []ChangeKind{PublishedColumns}, Resync, "copied again when it has more columns, else stopped"},
	{25, "TRUNCATE", nil, Apply, "the stream says it"},
	{26, "slot lost", nil, Resync, "the stream says it"},
	{27, "enum, domain or composite type altered", []ChangeKind{EnumLabelAdded, EnumLabelRenamed, DomainAltered, CompositeAltered}, Apply, "the type is altered in the same way"},
}

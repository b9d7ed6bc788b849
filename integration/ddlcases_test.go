package integration

// schemaCase is one of the schema changes that a source may make while it is
// mirrored: cases.go of package ddl has the numbers. A table of its own is
// written before, in the transaction of the change, and after it.
type schemaCase struct {
	number int
	name   string
	// tables are those that are there from the beginning, filled with rows; the
	// first statement of each creates it. Those that are compared are list.
	tables string
	before string            // written before the change
	change []string          // commands, each a transaction unless it says BEGIN
	after  string            // written after the change
	list   []string          // tables to compare, by their names behind it
	gone   []string          // tables that are to be unpublished
	copied bool              // its rows have to be copied again, or for the first time
	one    bool              // only on one shard: it changes what rows are spread by
	check  map[string]string // of the destination, where events tell
	polled string            // why it is stopped where polls tell
}

// everyChange lets every change be made.
const everyChange = `
[drift]
interval = 500
source_added_columns = "apply"
source_removed_columns = "preserve"
auto_migrate = ["add_column", "widen_type", "rename_column", "drop_not_null", "set_default", "add_enum_label", "rename_enum_label", "create_table", "attach_partition", "create_index", "add_constraint", "change_type", "drop_column"]
`

// table creates a table with a key and rows.
func caseTable(name, columns, values string) string {
	return "CREATE TABLE " + name + " (id bigint PRIMARY KEY, " + columns + "); INSERT INTO " + name + " SELECT i, " + values + " FROM generate_series(1, 40) i; "
}

func schemaCases() []schemaCase {
	return []schemaCase{
		{number: 1, name: "drop table", tables: caseTable("c01", "v text", "'a'"),
			before: "UPDATE c01 SET v = 'b' WHERE id < 5", change: []string{"DROP TABLE c01"}, gone: []string{"c01"}},
		{number: 2, name: "create table",
			change: []string{"BEGIN; " + caseTable("c02", "v text", "'a' || i") + "UPDATE c02 SET v = 'during' WHERE id = 3; COMMIT"},
			after:  "INSERT INTO c02 VALUES (100, 'late'); DELETE FROM c02 WHERE id = 7", list: []string{"c02"}, copied: true},
		{number: 2, name: "create table and alter it at once",
			change: []string{"CREATE TABLE c02b (id bigint PRIMARY KEY, v text)", "INSERT INTO c02b VALUES (1, 'x')", "ALTER TABLE c02b ADD COLUMN w int DEFAULT 5", "INSERT INTO c02b VALUES (2, 'y', 6)", "ALTER TABLE c02b RENAME v TO u"},
			after:  "INSERT INTO c02b VALUES (3, 'z', 7)", list: []string{"c02b"}, copied: true},
		{number: 3, name: "drop and create", tables: caseTable("c03", "v text", "'old'"),
			change: []string{"DROP TABLE c03", caseTable("c03", "n int, w text", "i * 2, 'new'")},
			after:  "UPDATE c03 SET n = 0 WHERE id < 4; INSERT INTO c03 VALUES (200, 1, 'x')", list: []string{"c03"}, copied: true},
		{number: 3, name: "drop and create in one transaction", tables: caseTable("c03b", "v text", "'old'"),
			change: []string{"BEGIN; DROP TABLE c03b; " + caseTable("c03b", "v text", "'new'") + "COMMIT"},
			after:  "UPDATE c03b SET v = 'newer' WHERE id < 4", list: []string{"c03b"}, copied: true},
		{number: 4, name: "rename table", tables: caseTable("c04", "v text", "'a'"),
			before: "UPDATE c04 SET v = 'before' WHERE id = 1",
			change: []string{"BEGIN; UPDATE c04 SET v = 'during' WHERE id = 2; ALTER TABLE c04 RENAME TO c04_renamed; INSERT INTO c04_renamed VALUES (100, 'in'); COMMIT"},
			after:  "UPDATE c04_renamed SET v = 'after' WHERE id = 3", list: []string{"c04_renamed"}},
		{number: 5, name: "exchange names", tables: caseTable("c05a", "v text", "'a'") + caseTable("c05b", "v text", "'b'"),
			change: []string{"BEGIN; UPDATE c05a SET v = 'aa' WHERE id = 1; ALTER TABLE c05a RENAME TO c05_tmp; ALTER TABLE c05b RENAME TO c05a; ALTER TABLE c05_tmp RENAME TO c05b; UPDATE c05b SET v = 'was a' WHERE id = 2; COMMIT"},
			after:  "UPDATE c05a SET v = 'was b' WHERE id = 3; DELETE FROM c05b WHERE id = 9", list: []string{"c05a", "c05b"}},
		{number: 6, name: "set schema", tables: "CREATE SCHEMA c06_from; CREATE SCHEMA c06_to; " + caseTable("c06_from.c06", "v text", "'a'"),
			before: "UPDATE c06_from.c06 SET v = 'b' WHERE id = 1", change: []string{"ALTER TABLE c06_from.c06 SET SCHEMA c06_to"},
			after: "UPDATE c06_to.c06 SET v = 'c' WHERE id = 2; INSERT INTO c06_to.c06 VALUES (101, 'n')", list: []string{"c06_to.c06"}},
		{number: 6, name: "rename schema", tables: "CREATE SCHEMA c06_old; " + caseTable("c06_old.c06x", "v text", "'a'") + caseTable("c06_old.c06y", "v text", "'a'"),
			change: []string{"ALTER SCHEMA c06_old RENAME TO c06_new"},
			after:  "UPDATE c06_new.c06x SET v = 'c' WHERE id = 2; INSERT INTO c06_new.c06y VALUES (101, 'n')", list: []string{"c06_new.c06x", "c06_new.c06y"}},
		{number: 7, name: "type of the key", one: true, tables: "CREATE TABLE c07 (id int PRIMARY KEY, v text); INSERT INTO c07 SELECT i, 'a' FROM generate_series(1, 40) i; ",
			change: []string{"INSERT INTO c07 VALUES (50, 'b')", "ALTER TABLE c07 ALTER COLUMN id TYPE bigint"},
			after:  "INSERT INTO c07 VALUES (5000000000, 'big'); UPDATE c07 SET v = 'u' WHERE id = 50", list: []string{"c07"}},
		{number: 8, name: "another primary key", one: true, tables: caseTable("c08", "k int NOT NULL, v text", "i + 1000, 'a'"),
			change: []string{"BEGIN; UPDATE c08 SET v = 'd' WHERE id = 1; ALTER TABLE c08 DROP CONSTRAINT c08_pkey, ADD PRIMARY KEY (k); UPDATE c08 SET v = 'e' WHERE k = 1002; COMMIT"},
			after:  "UPDATE c08 SET id = 7777 WHERE k = 1003; DELETE FROM c08 WHERE k = 1004", list: []string{"c08"}},
		{number: 9, name: "replica identity full and columns", tables: caseTable("c09", "v text, w int", "'a', i") + "ALTER TABLE c09 REPLICA IDENTITY FULL; ",
			change: []string{"BEGIN; UPDATE c09 SET v = 'd' WHERE id = 1; ALTER TABLE c09 ADD COLUMN x int, DROP COLUMN w; UPDATE c09 SET x = 9 WHERE id < 4; COMMIT", "ALTER TABLE c09 RENAME v TO vv"},
			after:  "UPDATE c09 SET vv = 'z' WHERE id = 5; DELETE FROM c09 WHERE id = 6", list: []string{"c09"}},
		{number: 10, name: "index of the replica identity replaced", tables: caseTable("c10", "k int NOT NULL, v text", "i, 'a'") + "CREATE UNIQUE INDEX c10_k ON c10 (k, id); ALTER TABLE c10 REPLICA IDENTITY USING INDEX c10_k; ",
			change: []string{"BEGIN; CREATE UNIQUE INDEX c10_j ON c10 (id, k); ALTER TABLE c10 REPLICA IDENTITY USING INDEX c10_j; DROP INDEX c10_k; COMMIT"},
			after:  "UPDATE c10 SET v = 'u', k = k + 500 WHERE id < 9; DELETE FROM c10 WHERE id = 20", list: []string{"c10"}},
		{number: 11, name: "replica identity changed", tables: caseTable("c11", "v text", "repeat('long', 2000)"),
			change: []string{"ALTER TABLE c11 REPLICA IDENTITY FULL", "UPDATE c11 SET v = 'x' WHERE id < 5", "ALTER TABLE c11 REPLICA IDENTITY DEFAULT"},
			after:  "UPDATE c11 SET id = id + 100 WHERE id > 30", list: []string{"c11"}},
		{number: 12, name: "replica identity nothing", tables: caseTable("c12", "v text", "'a'"),
			change: []string{"ALTER TABLE c12 REPLICA IDENTITY NOTHING"}, after: "INSERT INTO c12 SELECT i, 'n' FROM generate_series(100, 120) i", list: []string{"c12"}},
		{number: 13, name: "column without default", tables: caseTable("c13", "v text", "'a'"),
			before: "UPDATE c13 SET v = 'before' WHERE id = 1",
			change: []string{"BEGIN; UPDATE c13 SET v = 'during' WHERE id = 2; ALTER TABLE c13 ADD COLUMN n int; UPDATE c13 SET n = 5 WHERE id = 3; COMMIT"},
			after:  "INSERT INTO c13 VALUES (100, 'x', 7)", list: []string{"c13"}},
		{number: 14, name: "column with a constant default", tables: caseTable("c14", "v text", "'a'"),
			change: []string{"BEGIN; INSERT INTO c14 VALUES (50, 'old'); ALTER TABLE c14 ADD COLUMN n int NOT NULL DEFAULT 7; INSERT INTO c14 VALUES (51, 'new', 8); COMMIT", "ALTER TABLE c14 ALTER n SET DEFAULT 9"},
			after:  "INSERT INTO c14 (id, v) VALUES (52, 'x')", list: []string{"c14"}},
		{number: 15, name: "column with a stable default", tables: caseTable("c15", "v text", "'a'"),
			change: []string{"BEGIN; INSERT INTO c15 VALUES (50, 'old'); ALTER TABLE c15 ADD COLUMN at timestamptz DEFAULT now(); INSERT INTO c15 VALUES (51, 'new'); COMMIT"},
			after:  "INSERT INTO c15 (id, v) VALUES (52, 'x')", list: []string{"c15"}},
		{number: 16, name: "column with a volatile default", tables: caseTable("c16", "v text", "'a'"),
			change: []string{"ALTER TABLE c16 ADD COLUMN u uuid NOT NULL DEFAULT gen_random_uuid()"},
			after:  "INSERT INTO c16 (id, v) VALUES (52, 'x'); UPDATE c16 SET v = 'y' WHERE id = 2", list: []string{"c16"}, copied: true},
		{number: 16, name: "serial and identity columns", tables: caseTable("c16b", "v text", "'a'"),
			change: []string{"ALTER TABLE c16b ADD COLUMN s serial", "ALTER TABLE c16b ADD COLUMN i int GENERATED ALWAYS AS IDENTITY"},
			after:  "INSERT INTO c16b (id, v) VALUES (52, 'x')", list: []string{"c16b"}, copied: true},
		{number: 16, name: "generated column", tables: caseTable("c16c", "n int", "i"),
			change: []string{"BEGIN; INSERT INTO c16c VALUES (60, 60); ALTER TABLE c16c ADD COLUMN g int GENERATED ALWAYS AS (n * 2) STORED; UPDATE c16c SET n = 0 WHERE id = 1; COMMIT"},
			after:  "INSERT INTO c16c VALUES (61, 61)", list: []string{"c16c"}},
		{number: 17, name: "column dropped", tables: caseTable("c17", "v text NOT NULL, w int", "'a', i"),
			change: []string{"BEGIN; UPDATE c17 SET v = 'd' WHERE id = 1; ALTER TABLE c17 DROP COLUMN v; UPDATE c17 SET w = 0 WHERE id = 2; COMMIT"},
			after:  "INSERT INTO c17 VALUES (100, 1)", list: []string{"c17"}, check: map[string]string{"SELECT count(*) FROM c17 WHERE v = 'a'": "39"}},
		{number: 17, name: "column dropped and one of its name added", tables: caseTable("c17b", "v text NOT NULL, w int", "'a', i"),
			change: []string{"BEGIN; ALTER TABLE c17b DROP COLUMN w; ALTER TABLE c17b ADD COLUMN w text DEFAULT 'fresh'; UPDATE c17b SET w = 'set' WHERE id = 2; COMMIT"},
			after:  "INSERT INTO c17b VALUES (100, 'x', 'y')", list: []string{"c17b"}, copied: true},
		{number: 18, name: "column renamed", tables: caseTable("c18", "v text, w text", "'a', 'b'"),
			change: []string{"BEGIN; UPDATE c18 SET v = 'd' WHERE id = 1; ALTER TABLE c18 RENAME v TO v2; UPDATE c18 SET v2 = 'e' WHERE id = 2; COMMIT"},
			after:  "INSERT INTO c18 VALUES (100, 'x', 'y')", list: []string{"c18"}},
		{number: 18, name: "columns exchange their names", tables: caseTable("c18b", "v text, w text", "'a', 'b'"),
			change: []string{"BEGIN; ALTER TABLE c18b RENAME v TO t; ALTER TABLE c18b RENAME w TO v; ALTER TABLE c18b RENAME t TO w; UPDATE c18b SET v = 'was w' WHERE id = 2; COMMIT"},
			after:  "INSERT INTO c18b VALUES (100, 'x', 'y')", list: []string{"c18b"}},
		{number: 19, name: "type widened", tables: caseTable("c19", "n int, v varchar(10)", "i, 'a'"),
			change: []string{"UPDATE c19 SET n = 2000000000 WHERE id = 1", "ALTER TABLE c19 ALTER n TYPE bigint, ALTER v TYPE varchar(100)"},
			after:  "UPDATE c19 SET n = 3000000000, v = repeat('x', 90) WHERE id = 2", list: []string{"c19"}},
		{number: 19, name: "type altered by an expression", tables: caseTable("c19b", "n int", "i"),
			change: []string{"BEGIN; UPDATE c19b SET n = 77 WHERE id = 1; ALTER TABLE c19b ALTER n TYPE text USING 'n' || n; UPDATE c19b SET n = 'x' WHERE id = 2; COMMIT"},
			after:  "INSERT INTO c19b VALUES (100, 'y')", list: []string{"c19b"}, copied: true},
		{number: 25, name: "truncate between changes", tables: caseTable("c25", "v text", "'a'"),
			change: []string{"BEGIN; TRUNCATE c25; ALTER TABLE c25 ADD COLUMN n int DEFAULT 3; INSERT INTO c25 VALUES (1, 'x'); COMMIT"},
			after:  "INSERT INTO c25 VALUES (2, 'y', 4)", list: []string{"c25"}},
		{number: 27, name: "labels of an enum", tables: "CREATE TYPE c27_mood AS ENUM ('sad', 'happy'); " + caseTable("c27", "m c27_mood", "'sad'"),
			change: []string{"ALTER TYPE c27_mood ADD VALUE 'ok' BEFORE 'happy'", "UPDATE c27 SET m = 'ok' WHERE id = 1", "ALTER TYPE c27_mood RENAME VALUE 'sad' TO 'blue'", "ALTER TABLE c27 ALTER m SET DEFAULT 'ok'"},
			after:  "INSERT INTO c27 VALUES (100, 'blue'); INSERT INTO c27 (id) VALUES (101)", list: []string{"c27"}, polled: "labels"},
		{number: 27, name: "new type and a column of it", tables: caseTable("c27b", "v text", "'a'"),
			change: []string{"BEGIN; CREATE TYPE c27_kind AS ENUM ('a', 'b'); ALTER TABLE c27b ADD COLUMN k c27_kind DEFAULT 'b'; UPDATE c27b SET k = 'a' WHERE id = 1; COMMIT", "CREATE DOMAIN c27_small AS int CHECK (VALUE < 10)", "ALTER TABLE c27b ADD COLUMN s c27_small"},
			after:  "INSERT INTO c27b VALUES (100, 'x', 'b', 5)", list: []string{"c27b"}},
		{number: 27, name: "domain altered", tables: "CREATE DOMAIN c27_short AS text CHECK (length(VALUE) < 5); " + caseTable("c27c", "v c27_short", "'a'"),
			change: []string{"ALTER DOMAIN c27_short DROP CONSTRAINT c27_short_check", "UPDATE c27c SET v = 'longer' WHERE id = 1", "ALTER DOMAIN c27_short ADD CONSTRAINT shorter CHECK (length(VALUE) < 50)"},
			after:  "INSERT INTO c27c VALUES (100, 'even longer')", list: []string{"c27c"}},
		{number: 27, name: "composite altered", tables: "CREATE TYPE c27_pair AS (a int, b text); " + caseTable("c27d", "p c27_pair", "ROW(i, 'b')::c27_pair"),
			change: []string{"ALTER TYPE c27_pair ADD ATTRIBUTE c int", "UPDATE c27d SET p = ROW(1, 'x', 2) WHERE id = 1"},
			after:  "INSERT INTO c27d VALUES (100, ROW(3, 'y', 4))", list: []string{"c27d"}},
		{number: 0, name: "constraints and not null", tables: caseTable("c30", "n int, v text NOT NULL CONSTRAINT short CHECK (length(v) < 5)", "i, 'a'"),
			change: []string{"ALTER TABLE c30 DROP CONSTRAINT short", "UPDATE c30 SET v = 'longer than five' WHERE id = 1", "ALTER TABLE c30 ALTER v DROP NOT NULL", "UPDATE c30 SET v = NULL WHERE id = 2", "BEGIN; UPDATE c30 SET n = 0 WHERE n IS NULL; ALTER TABLE c30 ALTER n SET NOT NULL; ALTER TABLE c30 ADD CONSTRAINT positive CHECK (n >= 0); COMMIT"},
			after:  "INSERT INTO c30 VALUES (100, 1, NULL)", list: []string{"c30"}},
		{number: 0, name: "partitions", one: true, tables: "CREATE TABLE c31 (id bigint PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE c31_a PARTITION OF c31 FOR VALUES FROM (0) TO (100); INSERT INTO c31 SELECT i, 'a' FROM generate_series(1, 40) i; ",
			change: []string{"CREATE TABLE c31_b PARTITION OF c31 FOR VALUES FROM (100) TO (200)", "INSERT INTO c31 SELECT i, 'b' FROM generate_series(100, 120) i", "ALTER TABLE c31 ADD COLUMN n int DEFAULT 4", "ALTER TABLE c31 DETACH PARTITION c31_a"},
			after:  "INSERT INTO c31 VALUES (150, 'x', 5); UPDATE c31_a SET v = 'detached' WHERE id = 3", list: []string{"c31_a", "c31_b"}, copied: true},
	}
}

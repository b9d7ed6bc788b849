package copy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/copy"
)

// everyType has a column of every built-in type that a table can have values of.
const everyType = `
CREATE TABLE every_type (
    n int, bool_ bool, bytea_ bytea, char_ "char", name_ name, int8_ int8, int2_ int2, int2vector_ int2vector, int4_ int4, text_ text, oid_ oid,
    tid_ tid, xid_ xid, cid_ cid, oidvector_ oidvector, json_ json, xml_ xml, xid8_ xid8, point_ point, lseg_ lseg, path_ path, box_ box, polygon_ polygon,
    line_ line, float4_ float4, float8_ float8, money_ money, macaddr_ macaddr, inet_ inet, cidr_ cidr, macaddr8_ macaddr8, bpchar_ char(5), varchar_ varchar(9),
    date_ date, time_ time(3), timestamp_ timestamp, timestamptz_ timestamptz, interval_ interval, timetz_ timetz, bit_ bit(5), varbit_ varbit, numeric_ numeric,
    uuid_ uuid, pg_lsn_ pg_lsn, tsvector_ tsvector, tsquery_ tsquery, jsonb_ jsonb, jsonpath_ jsonpath, txid_snapshot_ txid_snapshot, pg_snapshot_ pg_snapshot,
    int4range_ int4range, numrange_ numrange, tsrange_ tsrange, tstzrange_ tstzrange, daterange_ daterange, int8range_ int8range, int4multirange_ int4multirange,
    tstzmultirange_ tstzmultirange, a_bool bool[], a_int int[], a_text text[], a_numeric numeric[], a_bytea bytea[], a_date date[], a_json json[], a_point point[], a_box box[],
    a_range int4range[], a_bpchar char(3)[], a_money money[], limited numeric(5, -2), refcursor_ refcursor);
INSERT INTO every_type (n) VALUES (0);
INSERT INTO every_type VALUES (1, true, '\x00ff5c0a09', 'x', repeat('n', 63), 9223372036854775807, 32767, '1 -2 3', 2147483647, E'\\ \b\f\n\r\t\v \\N \\. "'' é 漢字 🐘', 4294967295,
    '(4294967294,65535)', '4294967295', '4294967295', '1 4294967295', '{"a" :  1, "a": null}', '<a>é</a>', '18446744073709551615', '(Infinity,-0)', '[(1e300,2),(NaN,4)]', '[(1,2),(3,4)]', '(1,2),(-3,-4)', '((0,0),(1,1),(1,0))',
    '{1,-1,0}', 'NaN', 'Infinity', '-92233720368547758.08', '08:00:2b:01:02:03', '::ffff:1.2.3.4/128', '2001:db8::/32', '08:00:2b:01:02:03:04:05', 'ab', 'äöü 12345',
    'infinity', '24:00', '294276-12-31 23:59:59.999999', 'infinity', '178000000 years 11 mons -31 days 23:59:59.999999', '24:00+15:59', B'10101', B'', 'NaN',
    'ffffffff-ffff-ffff-ffff-ffffffffffff', 'FFFFFFFF/FFFFFFFF', '''a b'':1A,2B c:16383', '''a'' & !(b:*A | c) <-> d', '{"z": [1, 1.10, "\u00e9", null, true], "": {}}', '$.a[*] ? (@.b > 1 && exists(@.c))', '10:20:10,14,15', '10:20:10,14,15',
    'empty', '[1.10,)', '(,)', '[-infinity,infinity]', '[0001-01-01 BC,)', '[-9223372036854775808,9223372036854775807)', '{[1,2],[5,)}', '{(,infinity)}',
    '{t,NULL,f}', '[-2:0][3:3]={{1},{NULL},{3}}', '{}', ARRAY['Infinity', 'NaN', 1.000]::numeric[], ARRAY['\x', '\x00', NULL]::bytea[], '{infinity,"4713-01-01 BC"}', ARRAY['{"a":1}', 'null']::json[], ARRAY['(1,2)']::point[], '{(1,2),(0,0);(3,3),(2,2)}',
    ARRAY['empty', '[1,2)']::int4range[], ARRAY['a', NULL, 'abc']::char(3)[], ARRAY['1.00', '-0.01']::money[], 9999900, 'cursor');
INSERT INTO every_type (n, bytea_, int8_, int2_, int4_, text_, float4_, float8_, date_, time_, timestamp_, timestamptz_, interval_, timetz_, numeric_, money_, a_int, a_text, json_, numrange_, inet_, bpchar_, varbit_)
VALUES (2, '', -9223372036854775808, -32768, -2147483648, '', '-Infinity', 4.9e-324, '4713-01-01 BC', '00:00', '4714-11-24 00:00:00 BC', '-infinity', '-178000000 years', '00:00-15:59', '-Infinity', '92233720368547758.07',
    ARRAY[[[1, 2], [3, 4]], [[5, 6], [7, 8]]], ARRAY['', 'NULL', NULL, '{', '"', '\', ','], '"\u0000"', '(-Infinity,NaN)', '0.0.0.0/0', '     ', repeat('10', 500)::varbit);
INSERT INTO every_type (n, numeric_, float4_, float8_, timestamp_, timestamptz_, date_, text_, interval_)
VALUES (3, ('1' || repeat('0', 131071) || '.' || repeat('7', 16383))::numeric, 3.4028235e38, 1.7976931348623157e308, '0001-01-01 00:00:00.000001 BC', '294276-12-31 23:59:59.999999+00', '5874897-12-31', repeat(E'\\\t\n', 200000), '-0.000001 s'),
       (4, 1e-16383, '-0', '-0', '-infinity', '4714-11-24 00:00:00+00 BC', '-infinity', E'\x01\x7f', '1 mon -1 day');`

func everyTypeTable() string { return everyType[:strings.Index(everyType, "INSERT")] }
func everyTypeRows() string  { return everyType[strings.Index(everyType, "INSERT"):] }

func TestEveryType(t *testing.T) {
	t.Parallel()
	for _, text := range []bool{false, true} {
		for _, shards := range []int{1, 3} {
			p := newPair(t, shards, everyTypeTable())
			p.text = text
			if shards > 1 {
				p.shardBy(t, "n", "bigint")
			}
			p.source.Exec(t, everyTypeRows())
			if !text { // what is never sent in binary form
				p.both(t, "ALTER TABLE every_type DROP COLUMN int2vector_, DROP COLUMN oidvector_, DROP COLUMN tsquery_")
			}
			tables, _ := p.look(t)
			if want := map[bool]copy.Format{true: copy.Text, false: copy.Binary}[text]; tables[0].Format != want {
				t.Fatalf("the format is %v: %s", tables[0].Format, tables[0].Why)
			}
			p.mustRun(t)
			p.same(t, "SET extra_float_digits = 3; SELECT t FROM every_type t")
			p.same(t, "SELECT n, pg_column_size(t.numeric_), t.float8_::text, encode(textsend(text_), 'hex'), bytea_, array_dims(a_int) FROM every_type t")
		}
	}
}

// TestFormats has values that must not travel in binary form.
func TestFormats(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1)
	// Nothing has the same OID on both sides.
	p.source.Exec(t, `CREATE TABLE shifts_oids (x int); DROP TABLE shifts_oids; CREATE TYPE other AS ENUM ('x'); DROP TYPE other`)
	p.both(t, `
CREATE EXTENSION hstore; CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); CREATE TYPE pairs AS (a int, b mood); CREATE TYPE plain AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE moods AS RANGE (subtype = mood);
CREATE TABLE as_enum (x mood, y positive, z hstore, c citext, r moods);
CREATE TABLE as_enums (x mood[]);
CREATE TABLE as_positives (x positive[]);
CREATE TABLE as_composite (x pairs);
CREATE TABLE as_plain (x plain);
CREATE TABLE as_regclass (x regclass, y regtype[]);
CREATE TABLE as_acl (x aclitem, y money);`)
	p.source.Exec(t, `CREATE TABLE as_int (x int, y varchar(10)); CREATE TABLE as_length (x varchar(10), y numeric(9, 3))`)
	for _, d := range p.targets {
		d.Exec(t, `CREATE TABLE as_int (y text, extra int DEFAULT 7, x bigint); CREATE TABLE as_length (y numeric(9, 2), x varchar(20))`)
	}
	p.source.Exec(t, `
INSERT INTO as_enum VALUES ('sad', 1, 'a=>NULL, "b c"=>""', 'Ab', '[sad,"it''s ok"]'); INSERT INTO as_enum VALUES (NULL); INSERT INTO as_enums VALUES ('{sad,"it''s ok",NULL}');
INSERT INTO as_positives VALUES ('{1,2}'); INSERT INTO as_composite VALUES ('(1,"it''s ok")'); INSERT INTO as_plain VALUES ('(1,"x,y")');
INSERT INTO as_regclass VALUES ('as_enum', '{mood,int}'); INSERT INTO as_int VALUES (1, 'x'); INSERT INTO as_length VALUES ('x', 1.125);
INSERT INTO as_acl SELECT 'postgres=arwdDxt/postgres', 1.5`)
	tables, refused := p.look(t)
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	want := map[string]string{
		"as_enum": "", "as_enums": `column "x": arrays of mood carry its OID`, "as_positives": `column "x": arrays of positive carry its OID`,
		"as_composite": `column "x": pairs carries the OID of mood`, "as_plain": "", "as_regclass": `column "x": regclass is an OID in binary form`,
		"as_acl": `column "x": aclitem has no binary form`, "as_int": `column "x": int4 becomes int8`, "as_length": "",
	}
	for _, table := range tables {
		if name := table.Source.Table.Name; table.Why != want[name] || (table.Why == "") != (table.Format == copy.Binary) {
			t.Errorf("%s: %v, %s", name, table.Format, table.Why)
		}
	}
	p.mustRun(t)
	for name := range want {
		if name != "as_int" && name != "as_length" {
			p.same(t, "SELECT t FROM "+name+" t")
		}
	}
	p.same(t, "SELECT x, y FROM as_int")
	if got := p.targets[0].Rows(t, "SELECT extra, y = 'x' FROM as_int UNION ALL SELECT 0, y = 1.13 FROM as_length"); !slices.Equal(got, []string{"7|t", "0|t"}) {
		t.Error(got)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, quoted(`CREATE SCHEMA @; CREATE TABLE @.@ (x int, @ text, "select" int, "a	b\n" text)`))
	p.shardBy(t, weird, "varchar")
	p.source.Exec(t, quoted(`INSERT INTO @.@ SELECT i, E'k\\\\\t\n' || i, i, E'\\N' FROM generate_series(1, 5000) i`))
	p.mustRun(t)
	p.same(t, quoted(`SELECT t FROM @.@ t`))
	p.text = true
	for _, d := range p.targets {
		d.Exec(t, quoted("TRUNCATE @.@"))
	}
	p.mustRun(t)
	p.same(t, quoted(`SELECT t FROM @.@ t`))
}

// TestColumns has other orders, dropped columns, generated ones, identities.
func TestColumns(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1)
	p.source.Exec(t, `CREATE TABLE t (gone int, id bigint GENERATED ALWAYS AS IDENTITY, a text, twice bigint GENERATED ALWAYS AS (id * 2) STORED, b int);
ALTER TABLE t DROP COLUMN gone; CREATE TABLE only_generated (x int GENERATED ALWAYS AS (42) STORED)`)
	p.targets[0].Exec(t, `CREATE TABLE t (b int, twice bigint GENERATED ALWAYS AS (id * 2) STORED, a text, id bigint GENERATED ALWAYS AS IDENTITY, here int);
CREATE TABLE only_generated (x int GENERATED ALWAYS AS (42) STORED)`)
	p.source.Exec(t, "INSERT INTO t (a, b) SELECT 'a' || i, i FROM generate_series(1, 10000) i; INSERT INTO only_generated SELECT FROM generate_series(1, 10)")
	p.mustRun(t)
	p.same(t, "SELECT id, a, b, twice FROM t")
	p.same(t, "SELECT * FROM only_generated")
}

func TestFiltersAndColumnLists(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, `CREATE TABLE t (id int, name text, secret text, kind int); CREATE TABLE root (id int, kind int) PARTITION BY RANGE (id)`)
	p.source.Exec(t, `CREATE TABLE a PARTITION OF root FOR VALUES FROM (0) TO (1000); CREATE TABLE b (kind int, id int); ALTER TABLE root ATTACH PARTITION b FOR VALUES FROM (1000) TO (100000)`)
	for _, d := range p.targets {
		d.Exec(t, `CREATE TABLE everything PARTITION OF root DEFAULT`)
	}
	p.shardBy(t, "id", "bigint")
	p.source.Exec(t, `DROP PUBLICATION pub; ALTER TABLE t REPLICA IDENTITY FULL;
CREATE PUBLICATION pub FOR TABLE t (id, name, kind) WHERE (kind > 3 OR name = 'it''s' OR kind IS NULL), root WHERE (kind < 2) WITH (publish = 'insert', publish_via_partition_root = true);
INSERT INTO t SELECT i, CASE i % 7 WHEN 0 THEN 'it''s' ELSE 'x' END, 'secret', nullif(i % 6, 5) FROM generate_series(1, 20000) i;
INSERT INTO root SELECT i, i % 4 FROM generate_series(1, 20000) i`)
	p.mustRun(t)
	p.same(t, "SELECT id, name, kind FROM t WHERE kind > 3 OR name = 'it''s' OR kind IS NULL")
	p.same(t, "SELECT id, kind FROM root WHERE kind < 2")
	for _, d := range p.targets {
		if pgtest.Value[int](t, d, "SELECT count(secret) FROM t") != 0 {
			t.Error("a column that is not published was copied")
		}
	}
}

// TestPartitions copies leaf by leaf and through the root.
func TestPartitions(t *testing.T) {
	t.Parallel()
	const parts = `CREATE TABLE root (id int, x text) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF root FOR VALUES FROM (0) TO (1000);
CREATE TABLE high PARTITION OF root FOR VALUES FROM (1000) TO (100000) PARTITION BY LIST (x); CREATE TABLE "High ""a" PARTITION OF high FOR VALUES IN ('a'); CREATE TABLE others PARTITION OF high DEFAULT;
CREATE TABLE empty PARTITION OF root FOR VALUES FROM (200000) TO (300000); CREATE TABLE no_partitions (x int) PARTITION BY LIST (x);`
	const rows = `INSERT INTO root SELECT i, CASE WHEN i % 3 = 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 20000) i`

	p := newPair(t, 1, parts)
	p.source.Exec(t, rows+"; ALTER PUBLICATION pub SET (publish_via_partition_root = false)")
	p.mustRun(t)
	p.same(t, "SELECT tableoid::regclass, * FROM root")
	if slices.Sort(p.done); !slices.Equal(p.done, []string{`High "a`, "empty", "low", "others"}) {
		t.Errorf("done: %q", p.done)
	}

	p = newPair(t, 3)
	p.source.Exec(t, parts+rows)
	for _, d := range p.targets { // cut in other ways
		d.Exec(t, `CREATE TABLE root (x text, id int) PARTITION BY HASH (id); CREATE TABLE h0 PARTITION OF root FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE h1 PARTITION OF root FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE no_partitions (x int) PARTITION BY LIST (x)`)
	}
	p.shardBy(t, "id", "bigint")
	p.mustRun(t)
	p.same(t, "SELECT id, x FROM root")
	if slices.Sort(p.done); !slices.Equal(p.done, []string{"no_partitions", "root"}) {
		t.Errorf("done: %q", p.done)
	}
}

func TestInheritance(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, `CREATE TABLE parent (id int, x text); CREATE TABLE child (y int) INHERITS (parent)`)
	p.source.Exec(t, `INSERT INTO parent SELECT i, 'p' FROM generate_series(1, 9000) i; INSERT INTO child SELECT i, 'c', i FROM generate_series(1, 9000) i`)
	p.mustRun(t)
	p.same(t, "SELECT * FROM ONLY parent")
	p.same(t, "SELECT * FROM child")
}

func TestEmptyTablesAndTablesWithoutColumns(t *testing.T) {
	t.Parallel()
	for _, text := range []bool{false, true} {
		var sql strings.Builder
		for i := range 300 {
			sql.WriteString("CREATE TABLE e" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + " (x int); ")
		}
		p := newPair(t, 2, sql.String(), "CREATE TABLE nothing (); CREATE TABLE filled (x int)")
		p.text = text
		p.source.Exec(t, "INSERT INTO nothing SELECT FROM generate_series(1, 1234)")
		tables, _ := p.look(t)
		// They are not empty any more when they are copied.
		_, exporter := p.snapshot(t)
		if err := exporter.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.source.Exec(t, "INSERT INTO filled SELECT generate_series(1, 10)")
		source, _ := p.snapshot(t)
		p.succeed(t, p.copier(t, source, tables).Run(t.Context()))
		p.sameEverywhere(t, "SELECT count(*) FROM nothing")
		p.sameEverywhere(t, "SELECT * FROM filled")
		if len(p.done) != 302 || len(p.ranges) != 2 {
			t.Errorf("%d tables are done with %d ranges", len(p.done), len(p.ranges))
		}
		for _, d := range p.targets {
			if n := pgtest.Value[int](t, d, "SELECT count(*) FROM pgdrover.copied WHERE range = -1"); n != 302 {
				t.Errorf("%d tables are recorded", n)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1)
	p.source.Exec(t, `CREATE TABLE a_missing (x int); CREATE TABLE b_column (x int, y numeric(5, 2)); CREATE TABLE c_generated (x int); CREATE TABLE d_view (x int);
CREATE TABLE e_required (x int); CREATE TABLE f_nothing (); CREATE TABLE g_fine (x int, g int GENERATED ALWAYS AS (x) STORED); CREATE TABLE h_root (x int) PARTITION BY LIST (x);
DROP PUBLICATION pub; CREATE PUBLICATION pub FOR ALL TABLES WITH (publish_via_partition_root = true)`)
	p.targets[0].Exec(t, `CREATE TABLE b_column (x int); CREATE TABLE c_generated (x int GENERATED ALWAYS AS (1) STORED); CREATE VIEW d_view AS SELECT 1 AS x;
CREATE TABLE e_required (x int, y int NOT NULL); CREATE TABLE f_nothing (x int); CREATE TABLE g_fine (x int, g int, h int NOT NULL DEFAULT 1, i int GENERATED ALWAYS AS IDENTITY); CREATE TABLE h_root (x int)`)
	tables, refused := p.look(t)
	for name, want := range map[string]string{
		"a_missing": "42P01", "b_column": "42703", "c_generated": "428C9", "d_view": "42809", "e_required": "23502", "f_nothing": "0A000",
	} {
		if err := refused[name]; err == nil || err.Code != want || err.Hint == "" && name != "d_view" {
			t.Errorf("%s: %+v", name, err)
		}
		delete(refused, name)
	}
	if len(refused) > 0 || len(tables) != 2 {
		t.Errorf("refused: %v; %d tables", refused, len(tables))
	}
	if hint := `there: ALTER TABLE "public"."b_column" ADD COLUMN "y" numeric(5,2);`; func() bool { _, r := p.look(t); return r["b_column"].Hint != hint }() {
		t.Error("the hint is another one")
	}
}

func TestRowSecurity(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, table)
	p.source.Exec(t, fill(100)+"; ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id < 10)")
	role := "reader of " + p.source.Name
	p.source.Exec(t, "CREATE ROLE "+pgtest.Quote(role)+" LOGIN; GRANT SELECT ON t TO "+pgtest.Quote(role))
	t.Cleanup(func() {
		_ = p.source.TryExec(t.Context(), "DROP OWNED BY "+pgtest.Quote(role))
	})
	reader := server(p.source)
	reader.User = role
	if tables, refused := p.lookAs(t, reader, p.servers[0]); len(tables) > 0 || refused["t"] == nil || refused["t"].Code != "42501" {
		t.Errorf("row security is not seen: %v", refused)
	}
	// If it comes later, no row is left out silently.
	p.from = reader
	if err := p.run(t); err != nil || p.failed["t"] == nil || p.failed["t"].Code != "42501" {
		t.Errorf("%v, %v", err, p.failed)
	}
	p.source.Exec(t, "ALTER ROLE "+pgtest.Quote(role)+" BYPASSRLS")
	if _, refused := p.lookAs(t, reader, p.servers[0]); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
	clear(p.failed)
	p.mustRun(t)
	p.same(t, "SELECT * FROM t")
}

// TestKeys sends rows of each type of key to the shard that PostgreSQL's own
// hash partitioning gives them.
func TestKeys(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ column, dataType, value string }{
		{"bigint", "bigint", "CASE WHEN i % 2 = 0 THEN i ELSE -i::bigint * 4000000000 END"}, {"int", "bigint", "i"}, {"smallint", "bigint", "i"},
		{"uuid", "uuid", "md5(i::text)::uuid"}, {"text", "varchar", `E'k\\\t\n\b' || i`}, {"varchar(20)", "varchar", "'é' || i"}, {"char(8)", "varchar", "'b' || i"},
	} {
		for _, text := range []bool{false, true} {
			p := newPair(t, 3, "CREATE TABLE t (before bytea, k "+test.column+", behind text)")
			p.text = text
			p.shardBy(t, "k", test.dataType)
			p.source.Exec(t, "INSERT INTO t SELECT '', "+test.value+", 'x' FROM generate_series(1, 3000) i")
			p.mustRun(t)
			p.same(t, "SELECT * FROM t")
			for i, d := range p.targets {
				column := test.column
				if strings.Contains(column, "int") {
					column = "bigint"
				}
				d.Exec(t, "CREATE TABLE parted (k "+column+") PARTITION BY HASH (k)")
				got := d.Rows(t, "SELECT count(*) > 700, bool_and(satisfies_hash_partition('parted'::regclass, 3, "+string(rune('0'+i))+", k::"+column+")) FROM t")
				if got[0] != "t|t" {
					t.Errorf("%s, text %t, shard %d: %v", test.column, text, i, got)
				}
			}
		}
	}
}

func TestMappings(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, "CREATE TABLE t (id int PRIMARY KEY, k text)")
	p.shardBy(t, "k", "varchar", config.Mapping{Values: []any{"a", `b\c`}, Shard: 0}, config.Mapping{Shard: 1})
	p.text = true
	p.source.Exec(t, `INSERT INTO t SELECT i, (ARRAY['a', E'b\\c', 'd', E'\t'])[1 + i % 4] FROM generate_series(1, 100) i`)
	p.mustRun(t)
	p.same(t, "SELECT * FROM t")
	if n := pgtest.Value[int](t, p.targets[0], "SELECT count(*) FROM t"); n != 50 {
		t.Errorf("shard 0 has %d rows", n)
	}
}

// TestKeyErrors has rows that belong to no shard: their table fails and the
// error says which row it is; the others go on.
func TestKeyErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []bool{false, true} {
		p := newPair(t, 2, "CREATE TABLE is_null (a int, k bigint, b text, PRIMARY KEY (b, a)); CREATE TABLE unmatched (k bigint); CREATE TABLE fine (k bigint)")
		p.text = text
		p.shardBy(t, "k", "bigint", config.Mapping{Start: int64(-1000), End: int64(5_000_000), Shard: 0}, config.Mapping{Start: int64(5_000_000), End: int64(10_000_000), Shard: 1})
		p.source.Exec(t, `INSERT INTO is_null SELECT i, CASE WHEN i <> 29000 THEN i END, 'b' || i FROM generate_series(1, 30000) i;
INSERT INTO unmatched SELECT 10000003 - i FROM generate_series(3, 9) i; INSERT INTO fine SELECT i FROM generate_series(1, 30000) i`)
		if err := p.run(t); err != nil {
			t.Fatal(err)
		}
		p.same(t, "SELECT * FROM fine")
		if e := p.failed["is_null"]; e == nil || e.Code != "22004" || !strings.Contains(e.Message, `"k"`) || !strings.Contains(e.Detail, `("b", "a") = (b29000, 29000), ctid = (`) {
			t.Errorf("%+v", e)
		}
		if e := p.failed["unmatched"]; e == nil || e.Code != "22023" || !strings.Contains(e.Detail, "10000000") || !strings.Contains(e.Detail, "ctid = (0,1)") {
			t.Errorf("%+v", e)
		}
		if !slices.Equal(p.done, []string{"fine"}) || len(p.failed) != 2 {
			t.Errorf("done %v, failed %v", p.done, p.failed)
		}
	}
}

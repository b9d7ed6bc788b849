package copy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// mappedPair is a pair whose two sides have different tables.
func mappedPair(t *testing.T, shards int, source, destination string) *pair {
	t.Helper()
	p := newPair(t, shards)
	p.source.Exec(t, source)
	for _, d := range p.targets {
		d.Exec(t, destination)
	}
	return p
}

func newMapping(t testing.TB, schemas map[string]string, tables ...config.MirrorTable) *mapping.Mapping {
	t.Helper()
	mirror := config.NewMirror("prod", "dest", "pub")
	mirror.Schemas, mirror.Tables = schemas, tables
	m, err := mapping.New(config.Default(), mirror)
	if err != nil {
		t.Fatalf("%s\n%s", err.Message, err.Detail)
	}
	return m
}

// lookMapped is look by a mapping.
func (p *pair) lookMapped(t testing.TB, m *mapping.Mapping, publication string) (map[string]*copy.Table, map[string]*pgerror.Error) {
	t.Helper()
	source, destination := open(t, server(p.source)), open(t, server(p.targets[0]))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	published, _, err := catalog.ReadPublication(t.Context(), source, publication)
	must(err)
	tables, refused := map[string]*copy.Table{}, map[string]*pgerror.Error{}
	for _, one := range published.Tables {
		mapped, refusal := m.Table(one.Table)
		if refusal != nil {
			t.Fatal(refusal)
		}
		here, err := catalog.ReadRelations(t.Context(), source, []catalog.Name{one.Table})
		must(err)
		there, err := catalog.ReadRelations(t.Context(), destination, []catalog.Name{mapped.Destination})
		must(err)
		leaves, err := copy.ReadLeaves(t.Context(), source, []catalog.Name{one.Table})
		must(err)
		o := copy.TableOptions{Published: one, Source: here[one.Table], Leaves: leaves[one.Table], Destination: there[mapped.Destination], Text: p.text, Mapping: mapped}
		o.SourceTypes, err = catalog.ReadTypes(t.Context(), source, columnTypes(values(here)...))
		must(err)
		o.DestinationTypes, err = catalog.ReadTypes(t.Context(), destination, columnTypes(values(there)...))
		must(err)
		if p.router != nil {
			var columns []shard.Column
			for _, name := range one.Columns {
				if c, ok := mapped.Column(name); ok {
					columns = append(columns, shard.Column{Name: c.Destination, Type: o.Source.Columns[o.Source.Position(name)].Type})
				}
			}
			o.Key, err = p.router.Table(mapped.Destination.Schema, mapped.Destination.Name, columns)
			must(err)
		}
		if table, refusal := copy.NewTable(o); refusal != nil {
			refused[one.Table.Name] = refusal
		} else {
			tables[one.Table.Name] = table
		}
	}
	return tables, refused
}

// allRows gives the rows of all shards.
func (p *pair) allRows(t testing.TB, sql string) []string {
	t.Helper()
	var out []string
	for _, d := range p.targets {
		out = append(out, d.Rows(t, sql)...)
	}
	slices.Sort(out)
	return out
}

const mappedSource = `
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"', 'a,b');
CREATE TABLE t (secret text, id int PRIMARY KEY, k bigint NOT NULL, n numeric, m mood, ms mood[], b bool, ts timestamp, one text, two int, a int[], g int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO t SELECT repeat('s', 50), i, i % 100, i / 7.0, (enum_range(NULL::mood))[1 + i % 3], '{sad,"a,b",NULL}', i % 2 = 0, '2024-03-31 02:30'::timestamp + i * interval '1 s', E'one\t\\ ' || i, i, '{1,NULL}' FROM generate_series(1, 5000) i;
INSERT INTO t (id, k) VALUES (0, 0);
CREATE TABLE same (id int, v text); INSERT INTO same VALUES (1, 'x');
CREATE TABLE parts (id int, k int, v text) PARTITION BY RANGE (id); CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (100); CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (100) TO (1000);
INSERT INTO parts SELECT i, i, 'v' || i FROM generate_series(0, 999) i;`

const mappedDestination = `CREATE SCHEMA @; CREATE TABLE @.@ (extra int DEFAULT 7, two text, one int, "Shard Key" bigint, id text, n numeric(10,2), m text, ms text[], b text, ts timestamptz, a bigint[], g int GENERATED ALWAYS AS (1) STORED);
CREATE TABLE @.same (v text, id int); CREATE TABLE @.whole (v varchar(2), "Shard Key" int, id int);`

func mappedTables() (map[string]string, []config.MirrorTable) {
	return map[string]string{"public": weird}, []config.MirrorTable{
		{
			Schema: "public", Name: "t", DestinationName: weird, ExcludeColumns: []string{"secret"}, RenameColumns: map[string]string{"k": "Shard Key", "one": "two", "two": "one"},
			CastColumns: map[string]string{"id": "text", "n": "decimal(10, 2)", "m": "text", "ms": "text[]", "b": "text", "ts": "timestamptz", "a": "int8[]"},
		},
		{Schema: "public", Name: "parts", DestinationName: "whole", RenameColumns: map[string]string{"k": "Shard Key"}, CastColumns: map[string]string{"v": "varchar(2)"}},
	}
}

// TestMappedCopy copies under other names, without a column and as other types,
// in ranges, to one shard and to three.
func TestMappedCopy(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 3} {
		for _, text := range []bool{false, true} {
			t.Run(fmt.Sprintf("shards=%d,text=%t", shards, text), func(t *testing.T) {
				t.Parallel()
				p := mappedPair(t, shards, mappedSource, quoted(mappedDestination))
				p.text = text
				if shards > 1 {
					p.shardBy(t, "Shard Key", "bigint")
				}
				schemas, entries := mappedTables()
				tables, refused := p.lookMapped(t, newMapping(t, schemas, entries...), "pub")
				if len(refused) > 0 {
					t.Fatal(refused)
				}
				if why := tables["t"].Why; tables["t"].Format != copy.Text || !text && why != `column "m": public.mood is read as text` {
					t.Errorf("t goes as %v: %s", tables["t"].Format, why)
				}
				if !text && (tables["parts"].Format != copy.Binary || tables["same"].Format != copy.Binary) {
					t.Errorf("binary is not used: %s, %s", tables["parts"].Why, tables["same"].Why)
				}
				source, _ := p.snapshot(t)
				p.succeed(t, p.copier(t, source, values(tables)).Run(t.Context()))
				sameRows(t, "t", p.source.Rows(t, `SELECT id::text, k, n::numeric(10,2), m::text, array(SELECT x::text FROM unnest(ms) x), b::text, ts AT TIME ZONE 'UTC', one, two, a, 7, 1 FROM t`),
					p.allRows(t, quoted(`SELECT id, "Shard Key", n, m, coalesce(ms, '{}'), b, ts, two, one, a, extra, g FROM @.@`)))
				sameRows(t, "parts", p.source.Rows(t, `SELECT id, k, v::varchar(2) FROM parts`), p.allRows(t, quoted(`SELECT id, "Shard Key", v FROM @.whole`)))
				for _, d := range p.targets {
					sameRows(t, "same", p.source.Rows(t, `SELECT id, v FROM same`), d.Rows(t, quoted(`SELECT id, v FROM @.same`)))
				}
			})
		}
	}
}

// TestStatementsOfMappings: what is only renamed is read as the table it is, and
// what is cast is cast by the source.
func TestStatementsOfMappings(t *testing.T) {
	t.Parallel()
	p := mappedPair(t, 1, `CREATE TABLE t (id int, v numeric, w text)`, `CREATE TABLE renamed (w text, n numeric, id int); CREATE TABLE casted (id int, v numeric(9,1))`)
	for what, test := range map[string]struct {
		table config.MirrorTable
		want  string
	}{
		"renamed": {config.MirrorTable{DestinationName: "renamed", RenameColumns: map[string]string{"v": "n"}}, `COPY "public"."t" ("id", "v", "w") TO STDOUT (FORMAT binary)`},
		"casted": {config.MirrorTable{DestinationName: "casted", ExcludeColumns: []string{"w"}, CastColumns: map[string]string{"v": "numeric(9,1)"}},
			`COPY (SELECT "id", "v"::numeric(9,1) FROM ONLY "public"."t") TO STDOUT (FORMAT binary)`},
	} {
		test.table.Schema, test.table.Name = "public", "t"
		tables, refused := p.lookMapped(t, newMapping(t, nil, test.table), "pub")
		if len(refused) > 0 {
			t.Fatalf("%s: %v", what, refused)
		}
		if got := copy.Plan(values(tables), p.plan)[0].SQL(); got != test.want {
			t.Errorf("%s: %s", what, got)
		}
	}
}

// TestMappingsThatAreRefused has those that only the tables show to be wrong.
func TestMappingsThatAreRefused(t *testing.T) {
	t.Parallel()
	p := mappedPair(t, 3, `CREATE TABLE t (id int PRIMARY KEY, k bigint, v text, w numeric)`, `CREATE TABLE a (id int, k bigint, v text, w numeric(9,2)); CREATE TABLE b (id int, v text NOT NULL, k text)`)
	p.shardBy(t, "k", "bigint")
	for what, test := range map[string]struct {
		table         config.MirrorTable
		code, message string
	}{
		"no table":        {config.MirrorTable{DestinationName: "none"}, "42P01", "does not exist on the destination"},
		"no column":       {config.MirrorTable{DestinationName: "a", RenameColumns: map[string]string{"v": "x"}}, "42703", `column "x" of table public.a does not exist`},
		"columns meet":    {config.MirrorTable{DestinationName: "a", RenameColumns: map[string]string{"v": "w"}}, "42710", `columns "v" and "w"`},
		"not null":        {config.MirrorTable{DestinationName: "b", ExcludeColumns: []string{"v", "w", "k"}}, "23502", `column "v" of table public.b`},
		"another type":    {config.MirrorTable{DestinationName: "a", CastColumns: map[string]string{"w": "numeric(9,3)"}}, "42804", "the destination has numeric(9,2)"},
		"key is cast":     {config.MirrorTable{DestinationName: "b", ExcludeColumns: []string{"w"}, CastColumns: map[string]string{"k": "text"}}, "42804", "it is the sharding key"},
		"no filter there": {config.MirrorTable{DestinationName: "a", RowFilter: "id > 1"}, "55000", "is published without a row filter"},
	} {
		test.table.Schema, test.table.Name = "public", "t"
		m := newMapping(t, nil, test.table)
		_, refused := p.lookMapped(t, m, "pub")
		err := refused["t"]
		if err == nil || err.Code != test.code || !strings.Contains(err.Message, test.message) || err.Hint == "" {
			t.Errorf("%s: %+v", what, err)
		}
	}
}

// TestCheckFilters compares what a mirror says with what PostgreSQL has made of
// the publication's filter.
func TestCheckFilters(t *testing.T) {
	t.Parallel()
	p := mappedPair(t, 1, quoted(`CREATE TABLE @ (id int PRIMARY KEY, s text, d date); CREATE INDEX ON @ (s); CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id); CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (9);
CREATE PUBLICATION filtered FOR TABLE @ WHERE (id > 5 AND s IN ('a', 'it''s') AND d >= '2024-01-01'), parts WHERE (v <> 'x') WITH (publish_via_partition_root = true, publish = 'insert');
CREATE PUBLICATION unfiltered FOR TABLE @ (id, s) WITH (publish = 'insert')`), "")
	conn := open(t, server(p.source))
	check := func(publication string, tables ...config.MirrorTable) []*pgerror.Error {
		t.Helper()
		published, _, err := catalog.ReadPublication(t.Context(), conn, publication)
		if err != nil {
			t.Fatal(err)
		}
		relations, err := catalog.ReadRelations(t.Context(), conn, []catalog.Name{{Schema: "public", Name: weird}, {Schema: "public", Name: "parts"}})
		if err != nil {
			t.Fatal(err)
		}
		problems, err := copy.CheckFilters(t.Context(), conn, newMapping(t, nil, tables...), published, relations)
		if err != nil {
			t.Fatal(err)
		}
		return problems
	}
	table := func(filter string) config.MirrorTable {
		return config.MirrorTable{Schema: "public", Name: weird, RowFilter: filter}
	}
	for filter, code := range map[string]string{
		"": "", "id > 5 AND s IN ('a', 'it''s') AND d >= '2024-01-01'": "", "(ID>2+3) and (s = ANY ('{a,it''s}')) and d >= date '2024-01-01' -- all": "",
		"id > 6 AND s IN ('a', 'it''s') AND d >= '2024-01-01'": "55000", "id > 5": "55000", "true": "55000",
		"nothing > 5": "42703", "id >": "42601", "id": "42804", "id > 5; DROP TABLE parts": "42601",
	} {
		problems := check("filtered", table(filter))
		if code == "" && len(problems) > 0 || code != "" && (len(problems) != 1 || problems[0].Code != code || problems[0].Hint == "") {
			t.Errorf("%s: %+v", filter, problems)
		}
	}
	if problems := check("filtered", config.MirrorTable{Schema: "public", Name: "parts", RowFilter: "v != 'x'"}); len(problems) > 0 {
		t.Error(problems)
	}
	// What the HINT says makes it right.
	problems := check("unfiltered", table("id > 7"))
	if len(problems) != 1 || !strings.Contains(problems[0].Hint, "BEGIN; ") {
		t.Fatalf("%+v", problems)
	}
	p.source.Exec(t, problems[0].Hint[strings.Index(problems[0].Hint, "BEGIN; "):])
	if problems := check("unfiltered", table("id > 7")); len(problems) > 0 {
		t.Errorf("%+v", problems)
	}
	if got := p.source.Rows(t, "SELECT attnames, rowfilter FROM pg_publication_tables WHERE pubname = 'unfiltered'"); cmp.Diff([]string{"{id,s}|(id > 7)"}, got) != "" {
		t.Error(got)
	}
}

// TestKeysOfRenamedColumns: a row without shard is found by the name that the
// key has on the source.
func TestKeysOfRenamedColumns(t *testing.T) {
	t.Parallel()
	p := mappedPair(t, 3, `CREATE TABLE t (id int PRIMARY KEY, k bigint); INSERT INTO t VALUES (1, 1), (7, NULL)`, `CREATE TABLE t (id int, "Shard Key" bigint)`)
	p.shardBy(t, "Shard Key", "bigint")
	tables, refused := p.lookMapped(t, newMapping(t, nil, config.MirrorTable{Schema: "public", Name: "t", RenameColumns: map[string]string{"k": "Shard Key"}}), "pub")
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	source, _ := p.snapshot(t)
	if err := p.copier(t, source, values(tables)).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.failed["t"]; err == nil || !strings.Contains(err.Detail, `A row that has it: ("id") = (7)`) {
		t.Errorf("%+v", err)
	}
}

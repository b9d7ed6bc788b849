package mapping_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mapping"
)

// weird is a name that needs all quoting there is.
const weird = `Weird "Name" $1 \ '`

func name(schema, table string) catalog.Name { return catalog.Name{Schema: schema, Name: table} }

// mirror gives a mirror between two databases that no configuration knows.
func mirror(schemas map[string]string, tables ...config.MirrorTable) config.Mirror {
	m := config.NewMirror("a", "b", "pub")
	m.Schemas, m.Tables = schemas, tables
	return m
}

func made(t testing.TB, schemas map[string]string, tables ...config.MirrorTable) *mapping.Mapping {
	t.Helper()
	m, err := mapping.New(config.Default(), mirror(schemas, tables...))
	if err != nil {
		t.Fatalf("%s\n%s", err.Message, err.Detail)
	}
	return m
}

func TestNothingMapped(t *testing.T) {
	t.Parallel()
	for what, m := range map[string]*mapping.Mapping{"nil": nil, "empty": made(t, nil)} {
		there, err := m.Destination(name("s", weird))
		back, ok := m.Source(name("s", weird))
		if err != nil || there != name("s", weird) || !ok || back != there || m.Schema("s") != "s" {
			t.Errorf("%s: %v, %v, %v, %v", what, there, err, back, ok)
		}
		table, err := m.Table(name("s", "t"))
		if err != nil || !table.SameColumns() || table.Source != name("s", "t") || table.Destination != table.Source || table.Filter != "" {
			t.Errorf("%s: %+v, %v", what, table, err)
		}
		if problems := m.Check(catalog.Publication{}, nil); problems != nil {
			t.Errorf("%s: %v", what, problems)
		}
	}
	var none *mapping.Table
	columns, err := none.Columns([]string{"a", weird})
	if diff := cmp.Diff([]mapping.Column{{Source: "a", Destination: "a"}, {Source: weird, Destination: weird}}, columns); diff != "" || err != nil || !none.SameColumns() || none.Excludes("a") {
		t.Errorf("%s, %v", diff, err)
	}
	if c, ok := none.Column(weird); !ok || !c.Same() {
		t.Errorf("%+v, %v", c, ok)
	}
	if origin, ok := none.Origin("a"); !ok || origin != "a" {
		t.Errorf("%s, %v", origin, ok)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	m := made(t, map[string]string{"app": weird, "old": "app"},
		config.MirrorTable{Schema: "app", Name: "moved", DestinationSchema: "elsewhere"},
		config.MirrorTable{Schema: "app", Name: "renamed", DestinationName: weird},
		config.MirrorTable{Schema: "public", Name: "x", DestinationName: "y"},
		config.MirrorTable{Schema: "public", Name: "y", DestinationName: "x"},
		config.MirrorTable{Schema: weird, Name: "freed", DestinationSchema: "freed"},
	)
	for source, want := range map[catalog.Name]catalog.Name{
		name("app", "t"): name(weird, "t"), name("old", "t"): name("app", "t"), name("app", "moved"): name("elsewhere", "moved"),
		name("app", "renamed"): name(weird, weird), name("public", "x"): name("public", "y"), name("public", "y"): name("public", "x"),
		name("public", "z"): name("public", "z"), name(weird, "freed"): name("freed", "freed"), name("old", "moved"): name("app", "moved"),
	} {
		got, err := m.Destination(source)
		if err != nil || got != want {
			t.Errorf("%v becomes %v, want %v (%v)", source, got, want, err)
			continue
		}
		if back, ok := m.Source(got); !ok || back != source {
			t.Errorf("%v comes from %v, %v, want %v", got, back, ok, source)
		}
	}
	for _, source := range []catalog.Name{name(weird, "t"), name("elsewhere", "moved"), name("freed", "freed")} {
		if got, err := m.Destination(source); err == nil || err.Code != pgerror.DuplicateObject || err.Hint == "" || err.Detail == "" {
			t.Errorf("%v becomes %v: %v", source, got, err)
		}
	}
	for _, destination := range []catalog.Name{name("old", "t"), name(weird, "moved"), name(weird, "renamed")} {
		if got, ok := m.Source(destination); ok {
			t.Errorf("%v comes from %v", destination, got)
		}
	}
	if m.Schema("app") != weird || m.Schema("public") != "public" {
		t.Error("schemas are not renamed")
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	m := made(t, nil, config.MirrorTable{
		Schema: "s", Name: "t", ExcludeColumns: []string{"x", weird}, RenameColumns: map[string]string{"a": "b", "b": "a", "k": weird},
		CastColumns: map[string]string{"a": "bigint", "n": "text"}, RowFilter: "a > 0",
	})
	table, err := m.Table(name("s", "t"))
	if err != nil || table.SameColumns() || table.Filter != "a > 0" {
		t.Fatalf("%+v, %v", table, err)
	}
	columns, err := table.Columns([]string{"n", "x", "k", "a", "b", weird, "c"})
	want := []mapping.Column{
		{Source: "n", Destination: "n", Cast: "text"}, {Source: "k", Destination: weird}, {Source: "a", Destination: "b", Cast: "bigint"},
		{Source: "b", Destination: "a"}, {Source: "c", Destination: "c"},
	}
	if diff := cmp.Diff(want, columns); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if !table.Excludes("x") || table.Excludes("a") {
		t.Error("what is excluded is not")
	}
	for destination, want := range map[string]string{"b": "a", "a": "b", weird: "k", "c": "c"} {
		if got, ok := table.Origin(destination); !ok || got != want {
			t.Errorf("%q comes from %q, %v", destination, got, ok)
		}
	}
	for _, gone := range []string{"x", "k"} {
		if got, ok := table.Origin(gone); ok {
			t.Errorf("%q comes from %q", gone, got)
		}
	}
	// A column that has the name which another one gets.
	meets, _ := made(t, nil, config.MirrorTable{Schema: "s", Name: "t", RenameColumns: map[string]string{"a": "b"}}).Table(name("s", "t"))
	if _, ok := meets.Column("b"); ok {
		t.Error("two columns are called b")
	}
	if _, err := meets.Columns([]string{"a", "b"}); err == nil || err.Code != pgerror.DuplicateObject || !strings.Contains(err.Message, `"a" and "b"`) {
		t.Errorf("two columns are called b: %v", err)
	}
}

func TestContradictions(t *testing.T) {
	t.Parallel()
	m := mirror(map[string]string{"a": "c", "b": "c"}, config.MirrorTable{Schema: "s", Name: "t", ExcludeColumns: []string{"x"}, CastColumns: map[string]string{"x": "text"}})
	m.File, m.Line = "pgdog.toml", 7
	got, err := mapping.New(config.Default(), m)
	if got != nil || err == nil || err.Code != pgerror.ConfigFileError || err.Where != "pgdog.toml:7" {
		t.Fatalf("%v, %v", got, err)
	}
	if lines := strings.Split(err.Detail, "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "schemas: ") || !strings.HasPrefix(lines[1], "tables[0].cast_columns: ") {
		t.Errorf("DETAIL: %s", err.Detail)
	}
}

// TestChangesOfTheConfiguration: what a caller does to a mirror that it has made
// a mapping of changes nothing.
func TestChangesOfTheConfiguration(t *testing.T) {
	t.Parallel()
	c := mirror(map[string]string{"a": "b"}, config.MirrorTable{Schema: "s", Name: "t", RenameColumns: map[string]string{"x": "y"}, CastColumns: map[string]string{"x": "text"}})
	m, err := mapping.New(config.Default(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Schemas["a"], c.Tables[0].RenameColumns["x"], c.Tables[0].CastColumns["x"] = "other", "other", "other"
	table, _ := m.Table(name("s", "t"))
	column, _ := table.Column("x")
	if m.Schema("a") != "b" || column != (mapping.Column{Source: "x", Destination: "y", Cast: "text"}) {
		t.Errorf("%s, %+v", m.Schema("a"), column)
	}
}

// drawMirror makes mirrors with few names, so that they often meet.
func drawMirror(t *rapid.T) config.Mirror {
	names := rapid.SampledFrom([]string{"a", "b", "c", "d", weird})
	optional := rapid.SampledFrom([]string{"", "a", "b", "c", "d"})
	m := mirror(rapid.MapOfN(names, names, 0, 3).Draw(t, "schemas"))
	for range rapid.IntRange(0, 4).Draw(t, "tables") {
		m.Tables = append(m.Tables, config.MirrorTable{
			Schema: names.Draw(t, "schema"), Name: names.Draw(t, "name"), DestinationSchema: optional.Draw(t, "destination_schema"), DestinationName: optional.Draw(t, "destination_name"),
			ExcludeColumns: rapid.SliceOfN(names, 0, 2).Draw(t, "exclude_columns"), RenameColumns: rapid.MapOfN(names, names, 0, 3).Draw(t, "rename_columns"),
			CastColumns: rapid.MapOfN(names, rapid.Just("text"), 0, 2).Draw(t, "cast_columns"),
		})
	}
	return m
}

var someNames = []string{"a", "b", "c", "d", "e", weird}

// TestInjective: no two tables get one name, and no two columns of a table; the
// way back leads where the way there came from, and nowhere else.
func TestInjective(t *testing.T) {
	t.Parallel()
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		c := drawMirror(t)
		m, refused := mapping.New(config.Default(), c)
		if refused != nil {
			return
		}
		accepted++
		from := map[catalog.Name]catalog.Name{}
		for _, schema := range someNames {
			for _, table := range someNames {
				source := name(schema, table)
				destination, err := m.Destination(source)
				if err != nil {
					continue
				}
				if other, taken := from[destination]; taken {
					t.Fatalf("%v and %v both become %v", other, source, destination)
				}
				from[destination] = source
				if back, ok := m.Source(destination); !ok || back != source {
					t.Fatalf("%v becomes %v, which comes from %v, %v", source, destination, back, ok)
				}
				mapped, err := m.Table(source)
				if err != nil || mapped.Source != source || mapped.Destination != destination {
					t.Fatalf("%v: %+v, %v", source, mapped, err)
				}
				checkColumns(t, mapped)
			}
		}
		for _, schema := range someNames {
			for _, table := range someNames {
				destination := name(schema, table)
				if source, ok := m.Source(destination); ok {
					if there, err := m.Destination(source); err != nil || there != destination {
						t.Fatalf("%v comes from %v, which becomes %v, %v", destination, source, there, err)
					}
				}
			}
		}
	})
	if accepted == 0 {
		t.Error("every mapping was refused: nothing was tested")
	}
}

func checkColumns(t *rapid.T, m *mapping.Table) {
	from := map[string]string{}
	for _, column := range someNames {
		c, ok := m.Column(column)
		if !ok {
			continue
		}
		if other, taken := from[c.Destination]; taken {
			t.Fatalf("columns %s and %s of %v both become %s", other, column, m.Source, c.Destination)
		}
		from[c.Destination] = column
		if back, ok := m.Origin(c.Destination); !ok || back != column || c.Source != column {
			t.Fatalf("column %s becomes %s, which comes from %s, %v", column, c.Destination, back, ok)
		}
		if m.SameColumns() && !c.Same() {
			t.Fatalf("%v has the same columns, but %+v", m.Source, c)
		}
	}
	columns, err := m.Columns(someNames)
	all := !slices.ContainsFunc(someNames, func(column string) bool { _, ok := m.Column(column); return !ok && !m.Excludes(column) })
	if (err == nil) != all {
		t.Fatalf("Columns: %v, though every column has a name: %v", err, all)
	}
	for _, c := range columns {
		if one, ok := m.Column(c.Source); !ok || one != c {
			t.Fatalf("%+v and %+v", one, c)
		}
	}
}

func relation(table catalog.Name, identity byte, keys []catalog.Key, columns ...string) *catalog.Relation {
	r := &catalog.Relation{Table: table, Relkind: 'r', Identity: identity, Keys: keys}
	for i, c := range columns {
		r.Columns = append(r.Columns, catalog.Column{Name: c, Number: i + 1})
	}
	return r
}

func TestCheck(t *testing.T) {
	t.Parallel()
	key := []catalog.Key{{Index: name("s", "t_pkey"), Columns: []int{0, 1}, Primary: true}, {Index: name("s", "t_key"), Columns: []int{2}, Identity: true}}
	published := func(table catalog.Name, filter string, columns ...string) catalog.PublishedTable {
		return catalog.PublishedTable{Table: table, Relkind: 'r', Filter: filter, Columns: columns}
	}
	for what, test := range map[string]struct {
		schemas   map[string]string
		table     config.MirrorTable
		published []catalog.PublishedTable
		identity  byte
		want      []string
	}{
		"all well": {table: config.MirrorTable{ExcludeColumns: []string{"c"}, RenameColumns: map[string]string{"a": "z"}, RowFilter: "a > 1"},
			published: []catalog.PublishedTable{published(name("s", "t"), "(a > 1)", "a", "b", "c")}},
		"no such schema": {schemas: map[string]string{"x": "y"}, published: []catalog.PublishedTable{published(name("s", "t"), "", "a")},
			want: []string{`3F000 mirror "a_to_b" renames schema "x", but publication "pub" has no table of it`}},
		"no such table": {published: []catalog.PublishedTable{published(name("S", "T"), "", "a")}, want: []string{`42P01 mirror "a_to_b" maps table s.t, which publication "pub" does not have`}},
		"no such columns": {table: config.MirrorTable{ExcludeColumns: []string{"x"}, RenameColumns: map[string]string{"y": "yy"}, CastColumns: map[string]string{"z": "text"}},
			published: []catalog.PublishedTable{published(name("s", "t"), "", "a")},
			want: []string{`42703 table s.t has no column "x", which exclude_columns names`, `42703 table s.t has no column "y", which rename_columns names`,
				`42703 table s.t has no column "z", which cast_columns names`}},
		"not published": {table: config.MirrorTable{ExcludeColumns: []string{"d"}, RenameColumns: map[string]string{"c": "cc"}}, published: []catalog.PublishedTable{published(name("s", "t"), "", "a", "b")},
			want: []string{`42703 column "c" of table s.t, which rename_columns names, is not published`}},
		"columns meet": {table: config.MirrorTable{RenameColumns: map[string]string{"a": "b"}}, published: []catalog.PublishedTable{published(name("s", "t"), "", "a", "b")},
			want: []string{`42710 columns "a" and "b" of table s.t would both be called "b" at the destination`}},
		"tables meet": {table: config.MirrorTable{DestinationName: "u"}, published: []catalog.PublishedTable{published(name("s", "t"), "", "a"), published(name("s", "u"), "", "a")},
			want: []string{`42710 table s.u of the source would meet another as s.u at the destination`}},
		"schemas meet": {schemas: map[string]string{"s": "v"}, published: []catalog.PublishedTable{published(name("s", "t"), "", "a"), published(name("v", "t"), "", "a")},
			want: []string{`42710 table v.t of the source would meet another as v.t at the destination`}},
		"primary key": {table: config.MirrorTable{ExcludeColumns: []string{"b", "c"}}, published: []catalog.PublishedTable{published(name("s", "t"), "", "a", "b", "c")}, identity: 'd',
			want: []string{`55000 column "b" of table s.t is excluded, but it is part of the key that tells rows apart`}},
		"replica identity": {table: config.MirrorTable{ExcludeColumns: []string{"b", "c"}}, published: []catalog.PublishedTable{published(name("s", "t"), "", "a", "b", "c")}, identity: 'i',
			want: []string{`55000 column "c" of table s.t is excluded, but it is part of the key that tells rows apart`}},
		"no filter": {table: config.MirrorTable{RowFilter: "a > 1"}, published: []catalog.PublishedTable{published(name("s", "t"), "", "a")},
			want: []string{`55000 publication "pub" publishes other rows of table s.t than the mirror's row_filter says`}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var tables []config.MirrorTable
			if test.schemas == nil {
				test.table.Schema, test.table.Name = "s", "t"
				tables = append(tables, test.table)
			}
			m := made(t, test.schemas, tables...)
			if test.identity == 0 {
				test.identity = 'n'
			}
			keys := key
			if test.identity == 'n' {
				keys = nil
			}
			relations := map[catalog.Name]*catalog.Relation{name("s", "t"): relation(name("s", "t"), test.identity, keys, "a", "b", "c", "d")}
			var got []string
			for _, err := range m.Check(catalog.Publication{Name: "pub", Tables: test.published}, relations) {
				got = append(got, err.Code+" "+err.Message)
				if err.Hint == "" {
					t.Errorf("%s: there is no HINT", err.Message)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilterProblem(t *testing.T) {
	t.Parallel()
	m := made(t, nil, config.MirrorTable{Schema: weird, Name: "t", RowFilter: "a > 1 -- all"})
	table, _ := m.Table(name(weird, "t"))
	quoted := `"` + strings.ReplaceAll(weird, `"`, `""`) + `"`
	r := relation(name(weird, "t"), 'd', nil, "a", `b"`, "c")
	for what, test := range map[string]struct {
		publication catalog.Publication
		published   catalog.PublishedTable
		hint        string
	}{
		"listed": {catalog.Publication{Name: "p"}, catalog.PublishedTable{Columns: []string{"a", `b"`, "c"}},
			fmt.Sprintf(`BEGIN; ALTER PUBLICATION "p" DROP TABLE %[1]s."t"; ALTER PUBLICATION "p" ADD TABLE %[1]s."t" WHERE (%[2]s); COMMIT;`, quoted, "a > 1 -- all\n")},
		"with columns": {catalog.Publication{Name: "p"}, catalog.PublishedTable{Columns: []string{"a", `b"`}, Filter: "(a > 2)"}, fmt.Sprintf(`ADD TABLE %s."t" ("a", "b""") WHERE (`, quoted)},
		"all tables":   {catalog.Publication{Name: "p", AllTables: true}, catalog.PublishedTable{Columns: []string{"a", `b"`, "c"}}, "CREATE PUBLICATION ... FOR TABLE"},
		"by schema":    {catalog.Publication{Name: "p"}, catalog.PublishedTable{Columns: []string{"a", `b"`, "c"}, Members: []string{"schema 1"}}, "CREATE PUBLICATION ... FOR TABLE"},
	} {
		err := mapping.FilterProblem(table, test.publication, test.published, r)
		if !strings.Contains(err.Hint, test.hint) {
			t.Errorf("%s: HINT: %s", what, err.Hint)
		}
		if has := test.published.Filter; has != "" && !strings.Contains(err.Detail, has) {
			t.Errorf("%s: DETAIL: %s", what, err.Detail)
		}
	}
}

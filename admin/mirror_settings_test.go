package admin

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// changed gives a new mirror with a list applied, or the error of either step.
func changed(t testing.TB, text string) (config.Mirror, error) {
	t.Helper()
	m := config.NewMirror("prod", "prod_sharded", "p")
	settings, err := ParseMirrorSettings(text)
	if err == nil {
		err = settings.Apply(config.Default(), &m)
	}
	return m, err
}

// TestMirrorSettings is what lists make of a mirror.
func TestMirrorSettings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		want func(*config.Mirror)
	}{
		{`workers=4`, func(m *config.Mirror) { m.Workers = pointer(4) }},
		{`"WORKERS" = '4', Group_Bytes = (2048), resync_strategy = SWAP`, func(m *config.Mirror) {
			m.Workers, m.GroupBytes, m.ResyncStrategy = pointer(4), pointer(int64(2048)), "swap"
		}},
		{`workers = DEFAULT, autostart = on, replicate_indexes = 0, replicate_foreign_keys = ('no'::text)`, func(m *config.Mirror) {
			m.Autostart, m.ReplicateIndexes, m.ReplicateForeignKeys = true, false, false
		}},
		{`drift.warn_only = true, drift.type_mismatches = 'cast-if-safe', drift.auto_migrate = (add_column, widen_type)`, func(m *config.Mirror) {
			m.Drift.WarnOnly, m.Drift.TypeMismatches, m.Drift.AutoMigrate = pointer(true), "cast_if_safe", []string{"add_column", "widen_type"}
		}},
		{`drift.auto_migrate = 'add_column, drop_column', drift.validation = "default"`, func(m *config.Mirror) {
			m.Drift.AutoMigrate = []string{"add_column", "drop_column"}
		}},
		{`drift.auto_migrate = ()`, func(*config.Mirror) {}},
		{`SCHEMA public AS app, schema "Weird ""Name"" $1" as 'x y'`, func(m *config.Mirror) {
			m.Schemas = map[string]string{"public": "app", `Weird "Name" $1`: "x y"}
		}},
		{`TABLE orders AS sales`, func(m *config.Mirror) {
			m.Tables = []config.MirrorTable{{Schema: "public", Name: "orders", DestinationName: "sales"}}
		}},
		{`TABLE shop.orders AS sales.orders, TABLE "a.b" AS "S"."T" (EXCLUDE (x))`, func(m *config.Mirror) {
			m.Tables = []config.MirrorTable{
				{Schema: "shop", Name: "orders", DestinationSchema: "sales", DestinationName: "orders"},
				{Schema: "public", Name: "a.b", DestinationSchema: "S", DestinationName: "T", ExcludeColumns: []string{"x"}},
			}
		}},
		{`TABLE t (EXCLUDE (a, "B ""b"" $1"), RENAME (c TO d, "e" TO 'f'), -- the types
			CAST (price AS numeric(12, 2), at AS timestamp with time zone, z AS 'text'), WHERE (region = 'eu' AND (id > 1 OR x)),
			drift.skip_columns = (note), drift.interval = 5000)`, func(m *config.Mirror) {
			table := config.MirrorTable{
				Schema: "public", Name: "t", ExcludeColumns: []string{"a", `B "b" $1`}, RenameColumns: map[string]string{"c": "d", "e": "f"},
				CastColumns: map[string]string{"price": "numeric(12, 2)", "at": "timestamp with time zone", "z": "text"},
				RowFilter:   "region = 'eu' AND (id > 1 OR x)",
			}
			table.Drift.SkipColumns, table.Drift.Interval = []string{"note"}, pointer(5*time.Second)
			m.Tables = []config.MirrorTable{table}
		}},
		{`TABLE t (WHERE 'region = ''eu''')`, func(m *config.Mirror) {
			m.Tables = []config.MirrorTable{{Schema: "public", Name: "t", RowFilter: "region = 'eu'"}}
		}},
	} {
		want := config.NewMirror("prod", "prod_sharded", "p")
		test.want(&want)
		got, err := changed(t, test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.text, diff)
		}
	}
}

// TestMirrorSettingErrors: what is wrong is told with its place and a way out.
func TestMirrorSettingErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text     string
		code     string
		position int
		message  string // a part of it
		hint     string // a part of it
	}{
		{`worker = 4`, "42704", 1, `unrecognized setting "worker" of a mirror`, `Perhaps you meant workers. They are resync_strategy`},
		{`größe = 4, workers = 4`, "42704", 1, `"größe"`, `They are`},
		{`autostart = on, drift.validatoin = strict`, "42704", 17, `"drift.validatoin"`, `Perhaps you meant drift.validation.`},
		{`validation = strict`, "42704", 1, `"validation"`, `drift.validation`},
		{`workers = 0`, "22023", 11, `invalid value for setting "workers": must be between 1 and 10000, found 0`, ``},
		{`workers = 'größer', x = 1`, "22023", 11, `expected an integer or "default", found a string`, ``},
		{`autostart = on, workers = 99999999999999999999999`, "22023", 27, `out of range`, ``},
		{`resync_strategy = swop`, "22023", 19, `expected "truncate", "swap" or "reconcile", found "swop"`, ``},
		{`autostart = perhaps`, "22023", 13, `expected true or false`, ``},
		{`workers = (1, 2)`, "22023", 11, `one value`, ``},
		{`drift.auto_migrate = (add_column, sing)`, "22023", 22, `element 2 of the list: expected "add_column"`, ``},
		{`workers = 4, WORKERS = 5`, "22023", 14, `"workers" is there twice`, `Remove one.`},
		{`TABLE a, TABLE public.a`, "22023", 10, `"TABLE public.a" is there twice`, ``},
		{`name = x`, "22023", 1, `"name" is not set here`, `DROP MIRROR`},
		{`source = x`, "22023", 1, `"source" is not set here`, `FROM`},
		{`schemas = x`, "22023", 1, `"schemas" is not set here`, `Write SCHEMA`},
		{`tables = x`, "22023", 1, `"tables" is not set here`, `Write TABLE`},
		{`drift = x`, "22023", 1, `"drift" is not set here`, `drift.validation`},
		{``, "42601", 1, `syntax error at the end of the list`, ``},
		{`workers`, "42601", 8, `syntax error at the end of the list`, `<setting> = <value>`},
		{`workers 4`, "42601", 9, `syntax error at or near "4"`, ``},
		{`workers = 4 autostart = on`, "42601", 13, `syntax error at or near "autostart"`, ``},
		{`workers = 4,`, "42601", 13, `syntax error at the end of the list`, ``},
		{`workers = (4`, "42601", 13, `syntax error at the end of the list`, ``},
		{`'workers' = 4`, "42601", 1, `syntax error at or near "'workers'"`, ``},
		{`workers = $1`, "42P02", 11, `there is no parameter $1`, ``},
		{`SCHEMA a b`, "42601", 10, `syntax error at or near "b"`, ``},
		{`SCHEMA a AS ''`, "22023", 1, `must not be empty`, ``},
		{`TABLE a.b.c`, "42601", 7, `"a.b.c" has more than one point`, `between "double quotes"`},
		{`TABLE a.b."C"`, "42601", 7, `has more than one point`, ``},
		{`TABLE a (DROP (b))`, "42601", 10, `syntax error at or near "DROP"`, ``},
		{`TABLE a (EXCLUDE b)`, "42601", 18, `syntax error at or near "b"`, ``},
		{`TABLE a (RENAME (b AS c))`, "42601", 20, `syntax error at or near "AS"`, ``},
		{`TABLE a (RENAME (b TO c, b TO d))`, "22023", 26, `"b" is there twice`, ``},
		{`TABLE a (CAST (b AS ))`, "42601", 21, `syntax error at or near ")"`, ``},
		{`TABLE a (WHERE x > 1)`, "42601", 16, `syntax error at or near "x"`, ``},
		{`TABLE a (WHERE (x > (1))`, "42601", 25, `syntax error at the end of the list`, ``},
		{`TABLE a (drift.skip_column = (b))`, "42704", 10, `"drift.skip_column" of a table`, `Perhaps you meant drift.skip_columns.`},
		{`TABLE a (drift.interval = soon)`, "22023", 27, `expected an integer`, ``},
		{`TABLE a (EXCLUDE (x), RENAME (x TO y))`, "22023", 0, `the mapping contradicts itself: column "x" is renamed, and excluded`, `do one of the two`},
		{`TABLE a AS c, TABLE b AS c`, "22023", 0, `both become "public.c"`, ``},
		{`SCHEMA pgdrover AS x`, "22023", 0, `pgdrover's own`, ``},
		{`workers = 'x`, "42601", 11, `unterminated quoted string`, ``},
	} {
		_, err := changed(t, test.text)
		e := pgerror.From(err)
		if e == nil || e.Code != test.code || e.Position != test.position || !strings.Contains(e.Message, test.message) || !strings.Contains(e.Hint, test.hint) {
			t.Errorf("%s:\n got %+v\nwant %+v", test.text, e, test)
		}
	}
}

// TestMirrorReset takes back all that can be said.
func TestMirrorReset(t *testing.T) {
	t.Parallel()
	m, err := changed(t, `workers = 4, drift.validation = disabled, SCHEMA a AS b, SCHEMA c AS d, TABLE t AS u, TABLE x.y (EXCLUDE (z))`)
	if err != nil {
		t.Fatal(err)
	}
	before := m
	settings, err := ParseMirrorReset(`WORKERS, drift.validation, SCHEMA a, TABLE public.t, TABLE nobody`)
	if err != nil {
		t.Fatal(err)
	}
	if err := settings.Apply(config.Default(), &m); err != nil {
		t.Fatal(err)
	}
	want, err := changed(t, `SCHEMA c AS d, TABLE x.y (EXCLUDE (z))`)
	if diff := cmp.Diff(want, m); err != nil || diff != "" {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	if len(before.Schemas) != 2 || len(before.Tables) != 2 {
		t.Errorf("what the mirror was has changed: %+v", before)
	}
	for text, code := range map[string]string{`workers = 4`: "42601", `worker`: "42704", `source`: "22023", `SCHEMA a AS b`: "42601", `TABLE a (EXCLUDE (b))`: "42601", ``: "42601"} {
		if _, err := ParseMirrorReset(text); pgerror.Code(err) != code {
			t.Errorf("RESET (%s): %v", text, err)
		}
	}
}

// TestContradictionsOfBefore: a mirror whose mapping is wrong already can be
// changed, above all to be put right.
func TestContradictionsOfBefore(t *testing.T) {
	t.Parallel()
	m := config.NewMirror("a", "b", "p")
	m.Tables = []config.MirrorTable{{Schema: "public", Name: "t", DestinationName: "u"}, {Schema: "public", Name: "u"}}
	settings, err := ParseMirrorSettings("workers = 3")
	if err != nil {
		t.Fatal(err)
	}
	if err := settings.Apply(config.Default(), &m); err != nil || *m.Workers != 3 {
		t.Errorf("%v, %+v", err, m)
	}
}

// TestEverySetting: each setting of the key table that has one value or a list
// can be set, to what the table says that it may be, and reset.
func TestEverySetting(t *testing.T) {
	t.Parallel()
	values := map[string]string{"boolean": "false", "integer": "5000", "list of strings": "(a)"}
	for _, table := range []mirrorTable{wholeMirror, oneTable} {
		names := table.settingNames()
		if len(names) < 9 || slices.Contains(names, "name") || slices.Contains(names, "source") || slices.Contains(names, "tables") {
			t.Errorf("settings of %s are %v", table.what, names)
		}
		for _, name := range names {
			_, key, err := table.key(name)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			value := values[key.Type]
			if len(key.Values) > 0 {
				value = key.Values[len(key.Values)-1]
			}
			list := name + " = " + value
			if table.what == oneTable.what {
				list = "TABLE t (" + list + ")"
			}
			m, err := changed(t, list)
			if fresh := config.NewMirror(m.Source, m.Destination, m.Publication); err != nil || cmp.Equal(fresh, m) && name != "autostart" {
				t.Errorf("%s: %v, and nothing is changed", list, err)
			}
			if table.what == wholeMirror.what {
				reset, err := ParseMirrorReset(name)
				if err == nil {
					err = reset.Apply(config.Default(), &m)
				}
				if fresh := config.NewMirror(m.Source, m.Destination, m.Publication); err != nil || !cmp.Equal(fresh, m) {
					t.Errorf("RESET (%s): %v, %s", name, err, cmp.Diff(fresh, m))
				}
			}
		}
	}
}

// TestNamesInSettings: whatever a name is, between quotes it arrives.
func TestNamesInSettings(t *testing.T) {
	t.Parallel()
	quoted := func(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
	rapid.Check(t, func(t *rapid.T) {
		name := func(label string) string {
			return rapid.StringN(1, 20, 60).Filter(func(s string) bool { return utf8.ValidString(s) && s != "pgdrover" }).Draw(t, label)
		}
		schema, table, to, column, renamed := name("schema"), name("table"), name("to"), name("column"), name("renamed")
		settings, err := ParseMirrorSettings("TABLE " + quoted(schema) + "." + quoted(table) + " AS " + quoted(to) +
			"/**/(RENAME (" + quoted(column) + " TO " + quoted(renamed) + "))")
		m := config.Mirror{}
		if err == nil {
			err = settings.Apply(config.Default(), &m)
		}
		want := []config.MirrorTable{{Schema: schema, Name: table, DestinationName: to, RenameColumns: map[string]string{column: renamed}}}
		if diff := cmp.Diff(want, m.Tables); err != nil || diff != "" {
			t.Fatalf("%v, %s", err, diff)
		}
	})
}

// FuzzMirrorSettings: no text panics, and errors point into the text.
func FuzzMirrorSettings(f *testing.F) {
	for _, seed := range []string{
		`workers = 4, drift.validation = strict`, `drift.auto_migrate = (add_column, 'b')`, `SCHEMA public AS app`,
		`TABLE public.a AS sales.b (EXCLUDE (x), RENAME (a TO b), CAST (c AS numeric(1,2)), WHERE (x > 1), drift.skip_columns = (y))`,
		`TABLE "Weird ""Name"" $1"."b" (WHERE 'a')`, `workers = $1`, `TABLE a (`, `TABLE a (CAST (b AS (`, `,`, `()`, `a = ((`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (MirrorSettings, error){ParseMirrorSettings, ParseMirrorReset} {
			settings, err := parse(text)
			if err == nil {
				_ = settings.Apply(config.Default(), &config.Mirror{})
				continue
			}
			e := pgerror.From(err)
			if e.Code == pgerror.InternalError || utf8.ValidString(text) && (e.Position < 1 || e.Position > utf8.RuneCountInString(text)+1) {
				t.Fatalf("parse %q: %+v", text, e)
			}
		}
	})
}

package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// twoDatabases are prod, unsharded, and shards, with two; 10 lines.
const twoDatabases = oneDatabase + "[[databases]]\nname = \"shards\"\nhost = \"h0\"\n[[databases]]\nname = \"shards\"\nhost = \"h1\"\nshard = 1\n"

func TestMirrors(t *testing.T) {
	t.Parallel()
	c := mustParse(t, twoDatabases+`
[drift]
validation = "permissive"
auto_migrate = ["add_column", "widen_type"]
[[mirrors]]
source = "prod"
destination = "shards"
publication = "pub"
[[mirrors]]
name = "other"
source = "shards"
destination = "prod"
publication = "Pub"
resync_strategy = "reconcile"
replicate_indexes = false
replicate_foreign_keys = false
workers = 3
group_rows = 7
group_bytes = 2048
autostart = true
schemas = { a = "b", b = "a" }
[[mirrors.tables]]
name = "orders"
destination_name = "sales"
[[mirrors.tables]]
schema = "a"
name = "T"
destination_schema = "c"
exclude_columns = ["x", "y"]
rename_columns = { k = "l", l = "k" }
cast_columns = { k = "bigint" }
row_filter = "k > 0"
[mirrors.tables.drift]
validation = "disabled"
auto_migrate = ["none"]
skip_columns = ["s"]
[mirrors.drift]
warn_only = true
interval = 5000
source_removed_columns = "null"
`, oneUser)
	first := NewMirror("prod", "shards", "pub")
	first.File, first.Line = configFile, 15
	if diff := cmp.Diff(first, c.Mirrors[0]); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if first.Name != "prod_to_shards" || first.ResyncStrategy != "truncate" || !first.ReplicateIndexes || !first.ReplicateForeignKeys || first.Autostart {
		t.Errorf("defaults: %+v", first)
	}
	if m, ok := c.Mirror("prod_to_shards"); !ok || m.Line != 15 {
		t.Errorf("found %v on line %d", ok, m.Line)
	}
	if c.WorkersOf(first) != c.General.ReshardingParallelCopies || c.DataSyncOf(first).GroupRows != c.DataSync.GroupRows {
		t.Error("what a mirror does not say is not what [general] and [data_sync] say")
	}
	yes, interval := true, 5*time.Second
	workers, rows, bytes := 3, 7, int64(2048)
	want := Mirror{
		Name: "other", Source: "shards", Destination: "prod", Publication: "Pub", ResyncStrategy: "reconcile", Workers: &workers, GroupRows: &rows, GroupBytes: &bytes,
		Autostart: true, Schemas: map[string]string{"a": "b", "b": "a"}, File: configFile, Line: 19,
		Tables: []MirrorTable{
			{Schema: "public", Name: "orders", DestinationName: "sales"},
			{
				Schema: "a", Name: "T", DestinationSchema: "c", ExcludeColumns: []string{"x", "y"}, RenameColumns: map[string]string{"k": "l", "l": "k"},
				CastColumns: map[string]string{"k": "bigint"}, RowFilter: "k > 0",
				Drift: TableDrift{MirrorDrift{Validation: "disabled", AutoMigrate: []string{"none"}}, ColumnDrift{SkipColumns: []string{"s"}}},
			},
		},
		Drift: MirrorDrift{WarnOnly: &yes, Interval: &interval, SourceRemovedColumns: "null"},
	}
	m, _ := c.Mirror("other")
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("mirror (-want +got):\n%s", diff)
	}
	if d := c.DataSyncOf(m); c.WorkersOf(m) != 3 || d.GroupRows != 7 || d.GroupBytes != 2048 || d.SpillMemory != c.DataSync.SpillMemory {
		t.Errorf("workers %d, %+v", c.WorkersOf(m), d)
	}
}

func TestDriftOf(t *testing.T) {
	t.Parallel()
	c := mustParse(t, twoDatabases+`
[drift]
source_added_columns = "apply"
auto_migrate = ["add_column"]
[[mirrors]]
source = "prod"
destination = "shards"
publication = "pub"
[mirrors.drift]
warn_only = true
interval = 0
auto_migrate = ["widen_type"]
[[mirrors.tables]]
name = "t"
[mirrors.tables.drift]
warn_only = false
type_mismatches = "cast_always"
auto_migrate = ["none"]
null_columns = ["n"]
`, oneUser)
	want := Drift{Validation: "strict", Interval: time.Minute, SourceAddedColumns: "apply", TargetAddedColumns: "allow", SourceRemovedColumns: "stop", TypeMismatches: "cast_if_safe", HeldWAL: 16 << 30,
		AutoMigrate: []string{"add_column"}}
	if diff := cmp.Diff(want, c.Drift); diff != "" {
		t.Errorf("[drift] (-want +got):\n%s", diff)
	}
	m := c.Mirrors[0]
	want.WarnOnly, want.Interval, want.AutoMigrate = true, 0, []string{"widen_type"}
	got, columns := c.TableDriftOf(m, "public", "other")
	if diff := cmp.Diff(want, got) + cmp.Diff(want, c.DriftOf(m)) + cmp.Diff(ColumnDrift{}, columns); diff != "" {
		t.Errorf("of a mirror (-want +got):\n%s", diff)
	}
	want.WarnOnly, want.TypeMismatches, want.AutoMigrate = false, "cast_always", []string{}
	got, columns = c.TableDriftOf(m, "public", "t")
	if diff := cmp.Diff(want, got) + cmp.Diff(ColumnDrift{NullColumns: []string{"n"}}, columns); diff != "" {
		t.Errorf("of a table (-want +got):\n%s", diff)
	}
}

// TestWrongMirrors: everything that can be wrong is found at once, each at its
// line.
func TestWrongMirrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 64)
	_, _, err := parse(twoDatabases+`[[sharded_tables]]
database = "shards"
column = "tenant"
[[sharded_tables]]
database = "shards"
name = "own"
column = "k"
[[omnisharded_tables]]
database = "shards"
tables = ["whole"]
[[mirrors]]
source = "prod"
destination = "shards"
publication = "pub"
schemas = { a = "x", b = "x", pgdrover = "y" }
[[mirrors.tables]]
name = "t"
exclude_columns = ["c", "c", "tenant"]
rename_columns = { c = "d", e = "f", g = "f", h = "i" }
cast_columns = { c = "int", i = "int", j = "" }
[[mirrors.tables]]
name = "t"
[[mirrors.tables]]
name = "u"
destination_name = "own"
cast_columns = { k = "text" }
rename_columns = { tenant = "is no key here" }
[[mirrors.tables]]
schema = "a"
name = "v"
destination_name = "`+long+`"
rename_columns = { tenant = "customer" }
[[mirrors.tables]]
schema = "x"
name = "own"
destination_schema = "public"
exclude_column = ["k"]
[[mirrors.tables]]
name = "whole"
exclude_columns = ["tenant"]
[mirrors.tables.drift]
source_added_columns = "aply"
target_addded_columns = "stop"
[mirrors.drift]
interval = -1
auto_migrate = ["add_column", "add_row"]
[[mirrors]]
name = "prod_to_shards"
source = "prod"
destination = "prod"
publication = ""
drift = 1
`, oneUser)
	want := `pgdog.toml:25: mirrors.schemas: schemas "a" and "b" both become "x"; give one of them another name, or put its tables into the schema one by one, by [[mirrors.tables]] with destination_schema
pgdog.toml:25: mirrors.schemas: schema "pgdrover" is pgdrover's own; use another schema
pgdog.toml:28: mirrors.tables.exclude_columns: column "c" is there twice; remove one
pgdog.toml:28: mirrors.tables.exclude_columns: column "tenant" is the sharding key of "public.t" at the destination; keep it, or list the table in [[omnisharded_tables]]
pgdog.toml:29: mirrors.tables.rename_columns: column "c" is renamed, and excluded; do one of the two
pgdog.toml:29: mirrors.tables.rename_columns: columns "e" and "g" both become "f"; give one of them another name
pgdog.toml:29: mirrors.tables.rename_columns: column "h" becomes "i", which is another column; give it another name
pgdog.toml:30: mirrors.tables.cast_columns: column "c" is cast, and excluded; do one of the two
pgdog.toml:30: mirrors.tables.cast_columns: column "j" is cast to no type; write the type that it has at the destination, as "bigint"
pgdog.toml:32: mirrors.tables.name: table "public.t" is there already, as entry 1 of tables; make one entry of the two
pgdog.toml:36: mirrors.tables.cast_columns: column "k" is the sharding key: its shard is found from the value that the source has; keep its type
pgdog.toml:41: mirrors.tables.destination_name: "` + long + `" is longer than the 63 bytes that a name has in PostgreSQL; shorten it
pgdog.toml:42: mirrors.tables.rename_columns: "x.` + long + `" is to be sharded by column "tenant", which is called "customer" there; [[sharded_tables]] has the names of the destination: write column = "customer" there
pgdog.toml:43: mirrors.tables.destination_name: "public.u" and "x.own" both become "public.own"; give one of them another destination_name or destination_schema
pgdog.toml:47: mirrors.tables.exclude_column: unknown key; did you mean "exclude_columns"?
pgdog.toml:52: mirrors.tables.drift.source_added_columns: expected "stop", "apply", "skip" or "default", found "aply"
pgdog.toml:53: mirrors.tables.drift.target_addded_columns: unknown key; did you mean "target_added_columns"?
pgdog.toml:55: mirrors.drift.interval: must be between 0 and 86400000, found -1
pgdog.toml:56: mirrors.drift.auto_migrate: element 2 of the list: expected "add_column", "widen_type", "rename_column", "drop_not_null", "set_default", "add_enum_label", "rename_enum_label", "create_table", "attach_partition", "create_index", "add_constraint", "change_type", "drop_column", "drop_table" or "none", found "add_row"
pgdog.toml:58: mirrors.name: the mirror on line 21 is called "prod_to_shards" too; give one of them another name
pgdog.toml:60: mirrors.destination: "prod" is the source as well; name the database that is written
pgdog.toml:61: mirrors.publication: must not be empty
pgdog.toml:62: mirrors.drift: expected a table, found an integer; write [mirrors.drift]`
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(detail(err), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestShardingGoesByTheDestination: an entry with a name that only the source
// has would be for no table, and the table would be whole on every shard.
func TestShardingGoesByTheDestination(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		sharding, mapping string
		want              []string
	}{
		"table renamed": {"[[sharded_tables]]\ndatabase = \"shards\"\nname = \"orders\"\ncolumn = \"k\"\n", "[[mirrors.tables]]\nname = \"orders\"\ndestination_name = \"sales\"\n",
			[]string{`[[sharded_tables]] has an entry for "*.orders", which is called "public.sales" there`}},
		"schema renamed": {"[[sharded_tables]]\ndatabase = \"shards\"\nschema = \"public\"\ncolumn = \"k\"\n[[sharded_schemas]]\ndatabase = \"shards\"\nname = \"public\"\n", "schemas = { public = \"app\" }\n",
			[]string{`[[sharded_tables]] has an entry for schema "public", which is called "app" there`, `[[sharded_schemas]] has an entry for schema "public", which is called "app" there`}},
		"both named":   {"[[sharded_tables]]\ndatabase = \"shards\"\nname = \"orders\"\ncolumn = \"k\"\n[[sharded_tables]]\ndatabase = \"shards\"\nname = \"sales\"\ncolumn = \"k\"\n", "[[mirrors.tables]]\nname = \"orders\"\ndestination_name = \"sales\"\n[[mirrors.tables]]\nname = \"o\"\ndestination_name = \"orders\"\n", nil},
		"whole":        {"[[sharded_tables]]\ndatabase = \"shards\"\nname = \"orders\"\ncolumn = \"k\"\n[[omnisharded_tables]]\ndatabase = \"shards\"\ntables = [\"sales\"]\n", "[[mirrors.tables]]\nname = \"orders\"\ndestination_name = \"sales\"\n", nil},
		"of another":   {"[[sharded_tables]]\ndatabase = \"prod\"\nname = \"orders\"\ncolumn = \"k\"\n", "[[mirrors.tables]]\nname = \"orders\"\ndestination_name = \"sales\"\n", nil},
		"filled again": {"[[sharded_schemas]]\ndatabase = \"shards\"\nname = \"public\"\n", "schemas = { public = \"app\", old = \"public\" }\n", nil},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, _, err := parse(twoDatabases+test.sharding+"[[mirrors]]\nsource = \"prod\"\ndestination = \"shards\"\npublication = \"pub\"\n"+test.mapping, oneUser)
			var got []string
			for _, p := range problemsOf(err) {
				got = append(got, p.Message)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDiffOfMirrors(t *testing.T) {
	t.Parallel()
	mirror := "[[mirrors]]\nsource = \"prod\"\ndestination = \"shards\"\npublication = \"pub\"\n"
	old := mustParse(t, twoDatabases+mirror, oneUser)
	updated := mustParse(t, twoDatabases+mirror+"schemas = { a = \"b\" }\n[[mirrors.tables]]\nname = \"t\"\nexclude_columns = [\"c\"]\n[mirrors.drift]\nwarn_only = true\n"+
		mirror+"name = \"m\"\n[drift]\ninterval = 1000\n", oneUser)
	want := []Change{
		{"drift.interval", "60000", "1000"},
		{`mirrors "prod_to_shards": schemas`, "{}", `{"a":"b"}`},
		{`mirrors "prod_to_shards": tables`, "[]", `[{"schema":"public","name":"t","exclude_columns":["c"]}]`},
		{`mirrors "prod_to_shards": drift`, "{}", `{"warn_only":true}`},
		{`mirrors "m"`, "", "name=m source=prod destination=shards publication=pub"},
	}
	if diff := cmp.Diff(want, Diff(old, updated).Applied); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

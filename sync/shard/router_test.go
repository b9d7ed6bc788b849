package shard_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// whereOf says in words where the rows of a table go.
func whereOf(key *shard.Key) string {
	switch {
	case key == nil:
		return "every shard"
	case key.Column == "":
		return key.String()
	}
	return key.String() + " by " + key.Entry()
}

// TestWhichEntry has every entry of one configuration compete for tables.
func TestWhichEntry(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{
		ShardedTables: []config.ShardedTable{
			{Database: "prod", Column: "tenant"},
			{Database: "prod", Column: "region", Schema: "geo"},
			{Database: "prod", Column: "customer", Name: "orders"},
			{Database: "prod", Column: "id", Name: "orders", Schema: "archive", Hasher: "sha1"},
			{Database: "prod", Column: "id", Name: "twice"},
			{Database: "prod", Column: "id", Name: "twice"}, // says the same
			{Database: "prod", Column: "id", Name: "countries"},
			{Database: "other", Column: "tenant", Name: "orders"},
			{Database: "prod", Column: "id", Name: `we"ird $1`, Mapping: []config.Mapping{{Shard: 2}}},
			{Database: "prod", Column: "a", Name: "half"},
			{Database: "prod", Column: "b", Name: "half"},
		},
		OmnishardedTables: []config.OmnishardedTable{{Database: "other", Tables: []string{"orders"}}, {Database: "prod", Tables: []string{"x", "countries"}}},
		ShardedSchemas: []config.ShardedSchema{
			{Database: "prod", Name: "second", Shard: 2},
			{Database: "prod", Name: "all", Shard: 7, All: true},
			{Database: "other", Shard: 1},
		},
	}
	router, err := shard.NewRouter(cfg, "prod", 3)
	if err != nil {
		t.Fatal(err)
	}
	other, err := shard.NewRouter(cfg, "other", 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name          string
		router        *shard.Router
		schema, table string
		columns       string
		want          string
	}{
		{"column only", router, "public", "users", "id tenant", `hash of "tenant" by [[sharded_tables]] entry 1 (column "tenant")`},
		{"no column", router, "public", "users", "id name", "every shard"},
		{"case counts", router, "public", "users", "id Tenant", "every shard"},
		{"schema before column", router, "geo", "places", "tenant region", `hash of "region" by [[sharded_tables]] entry 2 (schema "geo", column "region")`},
		{"schema without its column", router, "geo", "places", "tenant", `hash of "tenant" by [[sharded_tables]] entry 1 (column "tenant")`},
		{"table before schema", router, "geo", "orders", "tenant region customer id", `hash of "customer" by [[sharded_tables]] entry 3 (table "orders", column "customer")`},
		{"table and schema before table", router, "archive", "orders", "tenant customer id", `sha1 of "id" by [[sharded_tables]] entry 4 (schema "archive", table "orders", column "id")`},
		{"same entry twice", router, "public", "twice", "id", `hash of "id" by [[sharded_tables]] entry 5 (table "twice", column "id")`},
		{"one of two columns", router, "public", "half", "b", `hash of "b" by [[sharded_tables]] entry 11 (table "half", column "b")`},
		{"omnisharded first", router, "second", "countries", "id tenant", "every shard"},
		{"weird name", router, `S "1"`, `we"ird $1`, "id", `mapping of "id" by [[sharded_tables]] entry 9 (table "we""ird $1", column "id")`},
		{"schema's shard", router, "second", "users", "id", "shard 2"},
		{"key before schema's shard", router, "second", "users", "id tenant", `hash of "tenant" by [[sharded_tables]] entry 1 (column "tenant")`},
		{"schema on all shards", router, "all", "users", "id", "every shard"},
		{"omnisharded before any schema's shard", other, "public", "orders", "tenant", "every shard"},
		{"any schema's shard", other, "public", "users", "tenant", "shard 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			key, err := test.router.Table(test.schema, test.table, columnsOf(test.columns))
			if err != nil {
				t.Fatal(err)
			}
			if got := whereOf(key); got != test.want {
				t.Errorf("rows go to %s, want %s", got, test.want)
			}
		})
	}
}

// columnsOf are bigint columns with the given names.
func columnsOf(names string) []shard.Column {
	var out []shard.Column
	for name := range strings.FieldsSeq(names) {
		out = append(out, shard.Column{Name: name, Type: int8, TypeName: "bigint"})
	}
	return out
}

// TestConstantKey needs no value, not even a well-formed one.
func TestConstantKey(t *testing.T) {
	t.Parallel()
	router, err := shard.NewRouter(&config.Config{ShardedSchemas: []config.ShardedSchema{{Database: "prod", Shard: 1}}}, "prod", 2)
	if err != nil {
		t.Fatal(err)
	}
	key, err := router.Table("public", "t", nil)
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := key.Constant(); at != 1 || !ok || key.Position != -1 || key.Column != "" {
		t.Errorf("constant %d, %v; position %d, column %q", at, ok, key.Position, key.Column)
	}
	for _, null := range []bool{false, true} {
		if got, err := key.Shard(shard.Binary, nil, null); got != 1 || err != nil {
			t.Errorf("shard %d, %v", got, err)
		}
	}
	if _, ok := keyFor(t, config.ShardedTable{}, int8, 2).Constant(); ok {
		t.Error("a hash is no constant")
	}
}

// TestOneShard needs no key at all, so nothing that is not supported is met.
func TestOneShard(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{
		ShardedTables: []config.ShardedTable{
			{Database: "prod", Name: "t", Column: "missing"},
			{Database: "prod", Column: "v", DataType: "vector", Centroids: [][]float64{{1}}},
			{Database: "prod", Column: "l", LookupQuery: "SELECT 1"},
		},
		ShardedSchemas: []config.ShardedSchema{{Database: "prod"}},
	}
	router, err := shard.NewRouter(cfg, "prod", 1)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := router.Table("public", "t", columnsOf("v l")); key != nil || err != nil {
		t.Errorf("%v, %v", key, err)
	}
}

// TestTableErrors has tables that the configuration does not fit.
func TestTableErrors(t *testing.T) {
	t.Parallel()
	router, err := shard.NewRouter(&config.Config{ShardedTables: []config.ShardedTable{
		{Database: "prod", Column: "tenant"},
		{Database: "prod", Column: "owner"},
		{Database: "prod", Column: "tenant", DataType: "uuid", Schema: "geo"},
		{Database: "prod", Column: "tenant", DataType: "bigint", Schema: "geo"},
		{Database: "prod", Column: "custmer", Name: "orders"},
		{Database: "prod", Column: "code", DataType: "varchar", Name: "codes"},
		{Database: "prod", Column: "id", DataType: "uuid", Name: "things"},
	}}, "prod", 2)
	if err != nil {
		t.Fatal(err)
	}
	const supported = `Keys may be smallint, integer and bigint (data_type = "bigint"), uuid, and text, varchar, character and name (data_type = "varchar").`
	const another = "Shard the table by another column, or list it in [[omnisharded_tables]] if every shard needs it whole."
	for _, test := range []struct {
		name          string
		schema, table string
		columns       []shard.Column
		want          pgerror.Error
	}{
		{"two columns", "public", "t", columnsOf("owner tenant"), pgerror.Error{
			Code:    "F0000",
			Message: `table "public"."t" is sharded in two ways: by [[sharded_tables]] entry 1 (column "tenant") and by [[sharded_tables]] entry 2 (column "owner")`,
			Hint:    `Say which column is its key: add name = "t" and schema = "public" to that entry, or list the table in [[omnisharded_tables]].`,
		}},
		{"same column", "geo", "t", columnsOf("tenant"), pgerror.Error{
			Code: "F0000",
			Message: `table "geo"."t" is sharded in two ways: by [[sharded_tables]] entry 3 (schema "geo", column "tenant") ` +
				`and by [[sharded_tables]] entry 4 (schema "geo", column "tenant")`,
			Hint: `Remove one of the entries.`,
		}},
		{"column misspelt", "public", "orders", columnsOf("id customer tenant"), pgerror.Error{
			Code:    "42703",
			Message: `table "public"."orders" has no column "custmer", by which [[sharded_tables]] entry 5 (table "orders", column "custmer") shards it`,
			Detail:  `Only columns that the publication has count.`,
			Hint: `Correct the entry's column, give it the schema of the table that is meant, ` +
				`or list the table in [[omnisharded_tables]] if every shard needs it whole.`,
		}},
		{"uuid as the default bigint", "public", "t", []shard.Column{{Name: "tenant", Type: uuid, TypeName: "uuid"}}, pgerror.Error{
			Code:    "42804",
			Message: `sharding key "tenant" of table "public"."t" is of type uuid, but [[sharded_tables]] entry 1 (column "tenant") has data_type = "bigint"`,
			Hint:    `Set data_type = "uuid" in an entry for this table.`,
		}},
		{"integer as varchar", "public", "codes", []shard.Column{{Name: "code", Type: int4, TypeName: "integer"}}, pgerror.Error{
			Code:    "42804",
			Message: `sharding key "code" of table "public"."codes" is of type integer, but [[sharded_tables]] entry 6 (table "codes", column "code") has data_type = "varchar"`,
			Hint:    `Set data_type = "bigint" in an entry for this table.`,
		}},
		{"text as uuid", "public", "things", []shard.Column{{Name: "id", Type: text, TypeName: "text"}}, pgerror.Error{
			Code:    "42804",
			Message: `sharding key "id" of table "public"."things" is of type text, but [[sharded_tables]] entry 7 (table "things", column "id") has data_type = "uuid"`,
			Hint:    `Set data_type = "varchar" in an entry for this table.`,
		}},
		{"numeric", "public", "t", []shard.Column{{Name: "tenant", Type: pgtype.NumericOID, TypeName: "numeric(10,0)"}}, pgerror.Error{
			Code:    "42804",
			Message: `sharding key "tenant" of table "public"."t" is of type numeric(10,0), but [[sharded_tables]] entry 1 (column "tenant") has data_type = "bigint"`,
			Detail:  supported, Hint: another,
		}},
		{"a type of an extension", "public", "codes", []shard.Column{{Name: "code", Type: 16999, TypeName: "citext"}}, pgerror.Error{
			Code:    "42804",
			Message: `sharding key "code" of table "public"."codes" is of type citext, but [[sharded_tables]] entry 6 (table "codes", column "code") has data_type = "varchar"`,
			Detail:  supported, Hint: another,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			key, err := router.Table(test.schema, test.table, test.columns)
			if err == nil {
				t.Fatalf("rows go to %s", whereOf(key))
			}
			if diff := cmp.Diff(test.want, *pgerror.From(err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRouterErrors has entries that NewRouter refuses.
func TestRouterErrors(t *testing.T) {
	t.Parallel()
	tables := func(entries ...config.ShardedTable) config.Config {
		for i := range entries {
			entries[i].Database = "prod"
		}
		return config.Config{ShardedTables: entries}
	}
	mapped := func(dataType string, rules ...config.Mapping) config.Config {
		return tables(config.ShardedTable{Column: "id", DataType: dataType, Mapping: rules})
	}
	schemas := func(entries ...config.ShardedSchema) config.Config {
		for i := range entries {
			entries[i].Database = "prod"
		}
		return config.Config{ShardedSchemas: entries}
	}
	older := func(entries ...config.ShardedMapping) config.Config {
		out := tables(config.ShardedTable{Column: "id"}, config.ShardedTable{Column: "id", Name: "t", Schema: "s"})
		for i := range entries {
			entries[i].Database = "prod"
		}
		out.ShardedMappings = entries
		return out
	}
	both := older(config.ShardedMapping{Column: "id", Kind: "default"})
	both.ShardedTables[0].Mapping = []config.Mapping{{Shard: 1}}
	const entry1 = `[[sharded_tables]] entry 1 (column "id"): `
	one, two := int64(1), int64(2)
	for _, test := range []struct {
		name string
		cfg  config.Config
		code string
		want string
	}{
		{"no column", tables(config.ShardedTable{Name: "t"}), "F0000", `[[sharded_tables]] entry 1 (table "t"): it needs a column, the sharding key`},
		{"vector", tables(config.ShardedTable{Column: "v", DataType: "vector"}), "0A000", `[[sharded_tables]] entry 1 (column "v"): sharding by vectors and their centroids is not supported`},
		{"centroids", tables(config.ShardedTable{Column: "v", Centroids: [][]float64{{1}}}), "0A000", `[[sharded_tables]] entry 1 (column "v"): sharding by vectors and their centroids is not supported`},
		{"centroids_path", tables(config.ShardedTable{Column: "v", CentroidsPath: "f"}), "0A000", `[[sharded_tables]] entry 1 (column "v"): sharding by vectors and their centroids is not supported`},
		{"lookup_query", tables(config.ShardedTable{Column: "id", LookupQuery: "SELECT 1"}), "0A000", entry1 + `lookup_query is not supported`},
		{"data_type", tables(config.ShardedTable{Column: "id", DataType: "numeric"}), "F0000", entry1 + `there is no data_type "numeric"; it is bigint, uuid or varchar`},
		{"hasher", tables(config.ShardedTable{Column: "id", Hasher: "md5"}), "F0000", entry1 + `there is no hasher "md5"; it is postgres or sha1`},

		{"shard beyond the cluster", mapped("", config.Mapping{Shard: 2}), "F0000", entry1 + `mapping rule 1: there is no shard 2; the cluster has shards 0 to 1`},
		{"negative shard", mapped("", config.Mapping{Shard: -1}), "F0000", entry1 + `mapping rule 1: there is no shard -1; the cluster has shards 0 to 1`},
		{"list and range", mapped("", config.Mapping{Values: []any{one}, Start: two}), "F0000", entry1 + `mapping rule 1: it has values and a range; make two rules of it`},
		{"value twice", mapped("", config.Mapping{Values: []any{one}}, config.Mapping{Values: []any{two, one}, Shard: 1}), "F0000", entry1 + `mapping rule 2: value 1 goes to shard 0 already`},
		{"rest twice", mapped("", config.Mapping{}, config.Mapping{Shard: 1}), "F0000", entry1 + `mapping rule 2: what is left goes to shard 0 already`},
		{"empty range", mapped("", config.Mapping{Start: two, End: two}), "F0000", entry1 + `mapping rule 1: the range from 2 to 2 is empty: the end is not part of it`},
		{"ranges overlap", mapped("", config.Mapping{Start: two}, config.Mapping{Start: one, End: int64(3)}), "F0000", entry1 + `mapping rule 2 and mapping rule 1 overlap`},
		{"ranges without a start", mapped("", config.Mapping{End: two}, config.Mapping{End: one}), "F0000", entry1 + `mapping rule 1 and mapping rule 2 overlap`},
		{"ranges without an end", mapped("", config.Mapping{Start: two}, config.Mapping{Start: int64(5)}), "F0000", entry1 + `mapping rule 1 and mapping rule 2 overlap`},
		{"string as bigint", mapped("bigint", config.Mapping{Values: []any{"1"}}), "F0000", entry1 + `mapping rule 1: "1" is not an integer, as data_type = "bigint" needs`},
		{"float as bigint", mapped("bigint", config.Mapping{Start: 1.5}), "F0000", entry1 + `mapping rule 1: start: 1.5 is not an integer, as data_type = "bigint" needs`},
		{"integer as varchar", mapped("varchar", config.Mapping{End: one}), "F0000", entry1 + `mapping rule 1: end: 1 is not a string, as data_type = "varchar" needs; put it in quotes`},
		{"no uuid", mapped("uuid", config.Mapping{Values: []any{"x"}}), "F0000", entry1 + `mapping rule 1: "x" is not a uuid such as "0190163d-8694-739b-aea5-966c26f8ad91"`},
		{"integer as uuid", mapped("uuid", config.Mapping{Values: []any{one}}), "F0000", entry1 + `mapping rule 1: 1 is not a uuid such as "0190163d-8694-739b-aea5-966c26f8ad91"`},

		{"older, for no entry", older(config.ShardedMapping{Column: "id", Table: "orders", Kind: "default"}), "F0000",
			`[[sharded_mappings]] entry 1 (table "orders", column "id") is for no entry of [[sharded_tables]]`},
		{"older, of another schema", older(config.ShardedMapping{Column: "id", Table: "t", Schema: "x", Kind: "default"}), "F0000",
			`[[sharded_mappings]] entry 1 (schema "x", table "t", column "id") is for no entry of [[sharded_tables]]`},
		{"older and newer", both, "F0000", entry1 + `it has a mapping, and [[sharded_mappings]] entry 1 (column "id") is for it too; keep one of them`},
		{"older list without values", older(config.ShardedMapping{Column: "id", Kind: "list"}), "F0000", `[[sharded_mappings]] entry 1 (column "id"): kind = "list" has values, and neither start nor end`},
		{"older range with values", older(config.ShardedMapping{Column: "id", Kind: "range", Start: one, Values: []any{one}}), "F0000", `[[sharded_mappings]] entry 1 (column "id"): kind = "range" has start, end or both, and no values`},
		{"older default with start", older(config.ShardedMapping{Column: "id", Kind: "default", Start: one}), "F0000", `[[sharded_mappings]] entry 1 (column "id"): kind = "default" has neither values nor start nor end`},
		{"older of no kind", older(config.ShardedMapping{Column: "id"}), "F0000", `[[sharded_mappings]] entry 1 (column "id"): there is no kind ""; it is list, range or default`},
		{"older beyond the cluster", older(config.ShardedMapping{Column: "id", Kind: "default", Shard: 9}), "F0000",
			entry1 + `[[sharded_mappings]] entry 1 (column "id"): there is no shard 9; the cluster has shards 0 to 1`},

		{"schema beyond the cluster", schemas(config.ShardedSchema{Name: "a", Shard: 2}), "F0000", `[[sharded_schemas]] entry 1 (schema "a"): there is no shard 2; the cluster has shards 0 to 1`},
		{"schema twice", schemas(config.ShardedSchema{Shard: 1}, config.ShardedSchema{}), "F0000",
			`[[sharded_schemas]] entry 2 (schemas without an entry): [[sharded_schemas]] entry 1 (schemas without an entry) says otherwise`},
		{"schema both", schemas(config.ShardedSchema{Name: "a"}, config.ShardedSchema{Name: "a", All: true}), "F0000",
			`[[sharded_schemas]] entry 2 (schema "a"): [[sharded_schemas]] entry 1 (schema "a") says otherwise`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := shard.NewRouter(&test.cfg, "prod", 2)
			if err == nil || err.Error() != test.want || pgerror.Code(err) != test.code {
				t.Errorf("%v (%s), want %s (%s)", err, pgerror.Code(err), test.want, test.code)
			}
			if test.code == "0A000" && pgerror.From(err).Hint == "" {
				t.Error("there is no hint")
			}
			if _, err := shard.NewRouter(&test.cfg, "elsewhere", 2); err != nil {
				t.Errorf("another database has the error, too: %v", err)
			}
		})
	}
}

// TestShardsOfOne bounds them where nothing else is looked at.
func TestShardsOfOne(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{ShardedTables: []config.ShardedTable{{Database: "prod", Column: "id", Mapping: []config.Mapping{{Shard: 1}}}}}
	_, err := shard.NewRouter(cfg, "prod", 1)
	if want := `[[sharded_tables]] entry 1 (column "id"): mapping rule 1: there is no shard 1; the cluster has shard 0 alone`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := shard.NewRouter(&config.Config{}, "prod", 0); pgerror.Code(err) != "22023" {
		t.Errorf("no shards: %v", err)
	}
}

// TestAllErrors are told at once.
func TestAllErrors(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{
		ShardedTables:  []config.ShardedTable{{Database: "prod", Column: "a", Hasher: "x"}, {Database: "prod", Column: "b", DataType: "x"}},
		ShardedSchemas: []config.ShardedSchema{{Database: "prod", Shard: 5}},
	}
	_, err := shard.NewRouter(cfg, "prod", 2)
	got := pgerror.From(err)
	if want := `[[sharded_tables]] entry 2 (column "b"): there is no data_type "x"; it is bigint, uuid or varchar` + "\n" +
		`[[sharded_schemas]] entry 1 (schemas without an entry): there is no shard 5; the cluster has shards 0 to 1`; got.Detail != want {
		t.Errorf("DETAIL is %s, want %s", got.Detail, want)
	}
}

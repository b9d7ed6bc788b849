package catalog_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

const moreTypes = `
CREATE EXTENSION citext SCHEMA @; CREATE TYPE @.@ AS ENUM ('a'); CREATE TYPE @.plain AS (x int, y text[]); CREATE TYPE @.mixed AS (x int, y @.@);
CREATE DOMAIN @.inner_domain AS int; CREATE DOMAIN @.outer_domain AS @.inner_domain; CREATE DOMAIN @.enum_domain AS @.@[]; CREATE TYPE @.enum_range AS RANGE (subtype = @.@, multirange_type_name = @.enum_ranges);
CREATE TYPE @.nested AS (p @.plain); CREATE TYPE @.dated AS (x timestamptz); CREATE TYPE @.with_name AS (x regrole)`

// typeOID finds a type by its name in either database.
func typeOID(t *testing.T, d *pgtest.Database, name string) uint32 {
	t.Helper()
	return pgtest.Value[uint32](t, d, "SELECT '"+strings.ReplaceAll(strings.ReplaceAll(name, "@", q), "'", "''")+"'::regtype::oid")
}

func TestTypes(t *testing.T) {
	t.Parallel()
	d, conn := sample(t, moreTypes)
	read := func(name string) (catalog.Type, catalog.Types) {
		t.Helper()
		id := typeOID(t, d, name)
		types := must[catalog.Types](t)(catalog.ReadTypes(t.Context(), conn, []uint32{id, id}))
		return types[id], types
	}
	outer, types := read("@.outer_domain")
	inner := types[outer.Base]
	if len(types) != 3 || outer.Kind != 'd' || inner.Name.Name != "inner_domain" || inner.Base != 23 || !types[23].BuiltIn() || outer.BuiltIn() {
		t.Errorf("%+v", types)
	}
	if outer.SQL() != q+`."outer_domain"` {
		t.Error(outer.SQL())
	}
	array, types := read("@.enum_domain")
	if array = types[array.Base]; !array.Array || types[array.Element].Name.Name != weird || types[array.Element].Kind != 'e' || types[array.Element].ArrayOID != array.OID {
		t.Errorf("%+v", types)
	}
	ranges, types := read("@.enum_ranges")
	if ranges.Kind != 'm' || types[ranges.Subtype].Kind != 'r' || types[types[ranges.Subtype].Subtype].Kind != 'e' {
		t.Errorf("%+v", types)
	}
	composite, types := read("@.nested")
	if composite.Kind != 'c' || len(composite.Fields) != 1 || composite.Fields[0].Name != "p" || len(types[composite.Fields[0].Type].Fields) != 2 || types[25].Name.Name != "text" {
		t.Errorf("%+v", types)
	}
	if citext, _ := read("@.citext"); !strings.HasPrefix(citext.Extension, "citext ") || !citext.Binary {
		t.Errorf("%+v", citext)
	}
	if acl, _ := read("aclitem"); acl.Binary {
		t.Error("aclitem has a binary form")
	}
	if none := must[catalog.Types](t)(catalog.ReadTypes(t.Context(), conn, []uint32{1})); len(none) != 0 {
		t.Errorf("%+v", none)
	}
}

func TestBinaryUnsafe(t *testing.T) {
	t.Parallel()
	first, here := sample(t, moreTypes)
	second := first.Cluster.CreateDatabase(t)
	second.Exec(t, "CREATE SCHEMA "+q+"; CREATE TYPE shifts AS ENUM (); CREATE TYPE "+q+".plain_before AS (x int)")
	second.Exec(t, strings.ReplaceAll(moreTypes, "@", q))
	there := asRole(t, second, second.Cluster.Superuser())
	read := func(d *pgtest.Database, conn *pgx.Conn, name string) (catalog.Types, uint32) {
		t.Helper()
		id := typeOID(t, d, name)
		return must[catalog.Types](t)(catalog.ReadTypes(t.Context(), conn, []uint32{id})), id
	}
	for _, test := range []struct{ from, to, want string }{
		{"int", "int", ""}, {"int[]", "int[]", ""}, {"@.@", "@.@", ""}, {"@.outer_domain", "int", ""}, {"int", "@.outer_domain", ""}, {"@.citext", "@.citext", ""},
		{"@.enum_range", "@.enum_range", ""}, {"@.enum_ranges", "@.enum_ranges", ""}, {"@.plain", "@.plain", ""}, {"@.dated", "@.dated", ""}, {"oidvector", "oidvector", "oidvector cannot be read in binary form when it is empty"}, {"int4multirange", "int4multirange", ""},
		{"int", "bigint", "int4 becomes int8"}, {"text", "varchar", "text becomes varchar"}, {"int[]", "bigint[]", "_int4 becomes _int8"}, {"@.@", "text", weird + " becomes text"},
		{"@.@[]", "@.@[]", "arrays of " + weird + " carry its OID"}, {"@.enum_domain", "@.enum_domain", "arrays of " + weird + " carry its OID"}, {"@.outer_domain[]", "@.outer_domain[]", "arrays of outer_domain carry its OID"},
		{"@.mixed", "@.mixed", "mixed carries the OID of " + weird}, {"@.nested", "@.nested", "nested carries the OID of plain"}, {"aclitem", "aclitem", "aclitem has no binary form"}, {"aclitem[]", "aclitem[]", "aclitem has no binary form"},
		{"regclass", "regclass", "regclass is an OID in binary form"}, {"regtype[]", "regtype[]", "regtype is an OID in binary form"}, {"@.with_name", "@.with_name", "regrole is an OID in binary form"}, {"oid", "oid", ""},
	} {
		fromTypes, from := read(first, here, test.from)
		toTypes, to := read(second, there, test.to)
		if got := catalog.BinaryUnsafe(fromTypes, from, toTypes, to); got != test.want {
			t.Errorf("%s to %s: %q, want %q", test.from, test.to, got, test.want)
		}
	}
	// Every type whose values are names of objects.
	names := pgtest.Column[string](t, first, `SELECT typname::text FROM pg_type WHERE typname ~ '^reg' AND typtype = 'b' AND typnamespace = 'pg_catalog'::regnamespace`)
	if len(names) < 11 {
		t.Errorf("only %v", names)
	}
	for _, name := range names {
		types, id := read(first, here, name)
		if catalog.BinaryUnsafe(types, id, types, id) == "" {
			t.Errorf("%s is sent as an OID", name)
		}
	}
	if catalog.BinaryUnsafe(catalog.Types{}, 23, catalog.Types{}, 23) == "" {
		t.Error("an unknown type is safe")
	}
}

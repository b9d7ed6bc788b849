package mapping

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// TestSpellings has PostgreSQL print what people write.
func TestSpellings(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	d.Exec(t, `CREATE SCHEMA "Weird ""Name"" $1"; CREATE TYPE "Weird ""Name"" $1"."a.b" AS ENUM ('x'); CREATE TYPE public.mood AS ENUM ('x'); CREATE DOMAIN public.positive AS int`)
	conn := d.Connect(t)
	if _, err := conn.Exec(t.Context(), "SET search_path = ''"); err != nil {
		t.Fatal(err)
	}
	printed := map[string]bool{}
	for _, declared := range []string{
		"int", "INT4", "integer", "pg_catalog.int4", "smallint", "int2", "bigint", "int8", "real", "float4", "float", "float8", "double  precision", "float(1)", "float(24)", "float(25)", "float(53)",
		"bool", "BOOLEAN", "text", `"text"`, "varchar", "varchar(10)", "character varying ( 10 )", "char varying(10)", "char", "char(3)", "character(3)", "nchar(3)", "national character(3)", "bpchar", "bpchar(3)", `"char"`, "name",
		"numeric", "numeric(10)", "numeric(10,0)", "numeric(10, 2)", "decimal(10,2)", "dec(10,2)", "numeric(3,-2)", "timestamp", "timestamp(3)", "timestamp without time zone", "timestamp (3) without time zone",
		"timestamptz", "timestamptz(3)", "timestamp with time zone", "timestamp(3) with  time zone", "TIMESTAMP WITH TIME ZONE", "time", "time(0)", "timetz", "timetz(2)", "time(2) with time zone", "date",
		"interval", "interval(3)", "interval year to month", "interval day to second(3)", "bit", "bit(8)", `"bit"`, "varbit", "varbit(8)", "bit varying(8)", "uuid", "json", "jsonb", "inet", "bytea", "xml", "money",
		"int[]", "int4[][]", "integer[3]", "text[]", "varchar(5)[]", "numeric(7,2)[]", "timestamptz(3)[]", `"char"[]`, "int4range", "public.mood", "PUBLIC.mood", `"public"."mood"`, "public.mood[]", "public.positive",
		`"Weird ""Name"" $1"."a.b"`, `"Weird ""Name"" $1" . "a.b"`, `"Weird ""Name"" $1"."a.b"[]`,
	} {
		if _, err := conn.Exec(t.Context(), "CREATE TEMP TABLE spelled (c "+declared+")", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", declared, err)
		}
		var text string
		if err := conn.QueryRow(t.Context(), "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'pg_temp.spelled'::regclass AND attnum = 1").Scan(&text); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "DROP TABLE pg_temp.spelled"); err != nil {
			t.Fatal(err)
		}
		printed[text] = true
		for other := range printed {
			if same := sameTypeName(declared, other); same != (other == text) {
				t.Errorf("%s, which is printed as %s, is the same as %s: %v (%s, %s)", declared, text, other, same, canonical(declared), canonical(other))
			}
		}
	}
}

func TestTypeNamesOfAnyKind(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", `"`, `""`, `"""`, "(", "int(", "int)", "[]", "float()", "float(99999999999999999999)", "numeric(,)", `a"b"c`, "  ", "int []"} {
		if !sameTypeName(text, text) {
			t.Errorf("%q is not itself", text)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"numeric(10, 2)[]", `"a""b" . "c"`, "timestamp (3) with time zone", `"`, "float(24)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, `"`)%2 == 0 && !sameTypeName(text, " "+text+"\n") {
			t.Errorf("%q is not itself with blanks around: %q", text, canonical(text))
		}
	})
}

// column describes a column of a type as the catalog of a server does.
func column(t testing.TB, conn *pgx.Conn, types catalog.Types, declared string) catalog.Column {
	t.Helper()
	c := catalog.Column{Name: "c"}
	if _, err := conn.Exec(t.Context(), "CREATE TEMP TABLE pg_temp.described (c "+declared+")"); err != nil {
		t.Fatalf("%s: %v", declared, err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT atttypid, atttypmod, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'pg_temp.described'::regclass AND attnum = 1").
		Scan(&c.Type, &c.Modifier, &c.TypeText); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "DROP TABLE pg_temp.described"); err != nil {
		t.Fatal(err)
	}
	read, err := catalog.ReadTypes(t.Context(), conn, []uint32{c.Type})
	if err != nil {
		t.Fatal(err)
	}
	for oid, one := range read {
		types[oid] = one
	}
	return c
}

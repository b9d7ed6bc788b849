package apply_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// everyType lists built-in types with values that are hard on a way between two
// servers.
var everyType = []struct {
	name   string
	values []string
}{
	{"bool", []string{"t", "f"}},
	{"int2", []string{"-32768", "32767"}},
	{"int4", []string{"-2147483648", "2147483647"}},
	{"int8", []string{"-9223372036854775808", "9223372036854775807"}},
	{"oid", []string{"4294967295"}},
	{"float4", []string{"NaN", "-Infinity", "3.4028235e+38", "-0", "1e-45"}},
	{"float8", []string{"NaN", "Infinity", "1.7976931348623157e+308", "-0", "5e-324", "0.1"}},
	{"numeric", []string{"NaN", "Infinity", "-Infinity", "1.00", "1e1000", "-0.000000000000000000000000001"}},
	{"numeric(20,5)", []string{"123456789012345.12345"}},
	{"money", []string{"-92233720368547758.08"}},
	{"text", []string{"", "\\N", "tab\there\nand\r\\x", "ünï©ødé 🐘", "'\"", strings.Repeat("long", 3000)}},
	{"varchar(7)", []string{"seven77", "     "}},
	{"char(5)", []string{"ab", ""}},
	{`"char"`, []string{"x", ""}},
	{"name", []string{"n"}},
	{"bytea", []string{"\\x", "\\x00ff5c", "\\x" + strings.Repeat("00", 5000)}},
	{"date", []string{"infinity", "-infinity", "4713-01-01 BC", "5874897-12-31"}},
	{"time", []string{"24:00:00", "00:00:00.000001"}},
	{"timetz", []string{"24:00:00-15:59:59", "12:00+05:30"}},
	{"timestamp", []string{"infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"}},
	{"timestamptz", []string{"-infinity", "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"}},
	{"interval", []string{"-178000000 years", "1 year -2 mons 3 days -04:05:06.789", "00:00:00"}},
	{"uuid", []string{"ffffffff-ffff-ffff-ffff-ffffffffffff"}},
	{"json", []string{`{"a" :  1, "a": 2}`, "null"}},
	{"jsonb", []string{`{"a": [1, {"b": null}]}`, `"x"`}},
	{"xml", []string{"<a b='c'>d</a>"}},
	{"inet", []string{"::ffff:1.2.3.4/128", "10.1.2.3/8"}},
	{"cidr", []string{"10.0.0.0/8"}},
	{"macaddr", []string{"08:00:2b:01:02:03"}},
	{"macaddr8", []string{"08:00:2b:01:02:03:04:05"}},
	{"bit(3)", []string{"101"}},
	{"varbit", []string{"", "1010101010101"}},
	{"point", []string{"(1,-0)", "(NaN,Infinity)"}},
	{"line", []string{"{1,2,3}"}},
	{"lseg", []string{"[(1,2),(3,4)]"}},
	{"box", []string{"(3,4),(1,2)"}},
	{"path", []string{"[(1,2),(3,4)]", "((1,2),(3,4))"}},
	{"polygon", []string{"((1,2),(3,4),(5,6))"}},
	{"circle", []string{"<(1,2),3>"}},
	{"tsvector", []string{"'a':1A 'b''c':2,3B"}},
	{"tsquery", []string{"'a' & !'b':*"}},
	{"pg_lsn", []string{"FFFFFFFF/FFFFFFFF"}},
	{"txid_snapshot", []string{"10:20:10,14"}},
	{"int4range", []string{"empty", "(,)", "[1,5)"}},
	{"tstzrange", []string{`["2020-01-01 00:00:00+00",infinity)`}},
	{"nummultirange", []string{"{}", "{[1.0,2.00),(3,)}"}},
	{"int2vector", []string{"1 2 3", ""}},
	{"oidvector", []string{"1 2 3"}},
	{"int4[]", []string{"{}", "{{1,NULL},{3,4}}", "[0:1]={7,8}"}},
	{"text[]", []string{`{"",NULL,"NULL","a,b","\"\\"}`, "{{{x}}}"}},
	{"bytea[]", []string{`{"\\x00","\\x"}`}},
	{"jsonb[]", []string{`{"{\"a\": 1}",NULL}`}},
	{"numeric(5,2)[]", []string{"{1.25,NaN}"}},
	{"int4range[]", []string{`{"[1,2)",empty}`}},
	{"point[]", []string{`{"(1,2)","(3,4)"}`}},
	{"box[]", []string{"{(3,4),(1,2);(1,1),(0,0)}"}},
}

// userTypes may only come as text.
const userTypes = `
CREATE TYPE colour AS ENUM ('red', 'gr''een', 'blue "x"');
CREATE TYPE inner_t AS (c colour, n numeric(5,2));
CREATE TYPE outer_t AS (i inner_t, a colour[], t text);
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE DOMAIN colours AS colour[] CHECK (cardinality(value) < 10);
CREATE TYPE textrange AS RANGE (subtype = text, collation = "C");
CREATE TABLE mine (id int PRIMARY KEY, k text, c colour, o outer_t, ca colour[], oa outer_t[], d posint, ds posint[], dc colours, r textrange, m textmultirange, i inner_t);
`

func typesDDL(binary bool) (ddl, fill string, names []string) {
	var d, f strings.Builder
	for i, ty := range everyType {
		name := fmt.Sprintf("t%d", i)
		if binary && (ty.name == "int2vector" || ty.name == "oidvector" || ty.name == "tsquery") {
			continue // never sent in binary form: see catalog.BinaryUnsafe
		}
		names = append(names, name)
		fmt.Fprintf(&d, "CREATE TABLE %s (id int PRIMARY KEY, v %s, n int);\n", name, ty.name)
		fmt.Fprintf(&f, "INSERT INTO %s VALUES (-1, NULL, 0);\n", name)
		for j, v := range ty.values {
			quoted := "'" + strings.ReplaceAll(v, "'", "''") + "'"
			// A row alone, and many in a set.
			fmt.Fprintf(&f, "INSERT INTO %s VALUES (%d, %s, 1);\n", name, j, quoted)
			fmt.Fprintf(&f, "INSERT INTO %s SELECT 100 * %d + i, %s, 2 FROM generate_series(1, 20) i;\n", name, j+1, quoted)
		}
	}
	return d.String(), f.String(), names
}

func TestEveryType(t *testing.T) {
	t.Parallel()
	for _, binary := range []bool{false, true} {
		for _, newer := range []bool{false, true} {
			t.Run(fmt.Sprintf("binary=%t,newer=%t", binary, newer), func(t *testing.T) {
				t.Parallel()
				c := pgtest.Shared(t, 0)
				to := c
				if newer {
					to = pgtest.Shared(t, pgtest.Newer(t).Major)
				}
				ddl, fill, names := typesDDL(binary)
				if !binary {
					ddl += userTypes
					names = append(names, "mine")
					fill += `INSERT INTO mine SELECT i, 'k' || i, 'gr''een', '("(red,1.25)","{red,NULL}","a""b\\\\c,")', '{{red},{"blue \"x\""}}', ARRAY['("(red,)",{},)'::outer_t, NULL],
  i, ARRAY[i]::posint[], '{red}', '[a,b)', '{[a,b),[c,d)}', '("blue ""x""",3)' FROM generate_series(1, 30) i;`
				}
				src := c.CreateDatabase(t)
				src.Exec(t, ddl)
				dst := destination(t, to, ddl)
				p := newPair(t, src, binary)
				p.to(dst)
				l := p.start()
				src.Exec(t, fill)
				p.catchesUp(l)
				compareRows(t, src, dst, names...)
				var b strings.Builder
				for _, n := range names {
					if n == "mine" {
						const v = "c, o, ca, oa, d, ds, dc, r, m, i"
						fmt.Fprintf(&b, "UPDATE mine SET (%s, k) = (SELECT %s, 'new' FROM mine m WHERE m.id = 31 - mine.id);\n", v, v)
						continue
					}
					// Values go to other rows: in a set, then alone; then to NULL.
					fmt.Fprintf(&b, "UPDATE %s SET n = 3, v = (SELECT v FROM %s m WHERE m.id = 0) WHERE id > 100;\n", n, n)
					fmt.Fprintf(&b, "UPDATE %s SET n = 4 WHERE id = 1;\nUPDATE %s SET v = NULL WHERE id > 110;\nUPDATE %s SET id = -id WHERE id %% 7 = 3;\nDELETE FROM %s WHERE id %% 5 = 4;\n", n, n, n, n)
				}
				src.Exec(t, b.String())
				p.catchesUp(l)
				l.stop()
				for name, s := range p.tables.stopped {
					t.Errorf("%s is stopped: %s\nDETAIL: %s", name, s.err.Message, s.err.Detail)
				}
				compareRows(t, src, dst, names...)
				if st := l.a.Stats()[0]; st.ExactGroups != 0 {
					t.Errorf("%d groups were exact", st.ExactGroups)
				}
			})
		}
	}
}

// TestEveryTypeWithoutKey finds rows again by all of their values.
func TestEveryTypeWithoutKey(t *testing.T) {
	t.Parallel()
	for _, binary := range []bool{false, true} {
		t.Run(fmt.Sprintf("binary=%t", binary), func(t *testing.T) {
			t.Parallel()
			c := pgtest.Shared(t, 0)
			ddl, fill, names := typesDDL(binary)
			for _, n := range names {
				ddl += fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s_pkey, ALTER id DROP NOT NULL, REPLICA IDENTITY FULL;\n", n, n)
			}
			src := c.CreateDatabase(t)
			src.Exec(t, ddl)
			dst := destination(t, c, ddl)
			p := newPair(t, src, binary)
			p.to(dst)
			l := p.start()
			src.Exec(t, fill)
			var b strings.Builder
			for _, n := range names {
				fmt.Fprintf(&b, "DELETE FROM %s WHERE id BETWEEN 103 AND 190 OR id >= 203; UPDATE %s SET id = NULL; UPDATE %s SET n = n + 10 WHERE n = 2 OR v IS NULL; DELETE FROM %s WHERE ctid = (SELECT max(ctid) FROM %s);\n", n, n, n, n, n)
			}
			src.Exec(t, b.String())
			p.catchesUp(l)
			l.stop()
			for name, s := range p.tables.stopped {
				t.Errorf("%s is stopped: %s\nDETAIL: %s", name, s.err.Message, s.err.Detail)
			}
			compareRows(t, src, dst, names...)
		})
	}
}

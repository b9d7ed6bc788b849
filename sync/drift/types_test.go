package drift

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// open gives a connection with the settings that the engine has.
func open(t *testing.T, d *pgtest.Database) *pgx.Conn {
	t.Helper()
	conn, err := connect.Open(t.Context(), config.Server{Host: d.Cluster.Host(), Port: d.Cluster.Port(), Database: d.Name, User: d.Cluster.Superuser(), TLSVerify: config.TLSDisabled}, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// typeSample is a pair of types with values of the first that show what its
// rule says. zone is the TimeZone of the session that writes the destination.
type typeSample struct {
	from, to string
	values   []string // literals of from
	zone     string
	back     string // casts v back to from, where no cast of one step does
	says     string // is true of the source's value; where it is not of the destination's, the value was changed
}

// samples has the values that show every rule of TypeRules to be right, by its ID.
var samples = map[string][]typeSample{
	"int2 -> int4 int8": {{from: "int2", to: "int4", values: []string{"-32768", "32767"}}, {from: "int2", to: "int8", values: []string{"-32768", "32767"}}},
	"int4 -> int8":      {{from: "int4", to: "int8", values: []string{"-2147483648", "2147483647"}}},
	"int4 -> int2":      {{from: "int4", to: "int2", values: []string{"7", "32768"}}},
	"int8 -> int2 int4": {{from: "int8", to: "int4", values: []string{"7", "2147483648"}}, {from: "int8", to: "int2", values: []string{"32768"}}},
	"int2 int4 int8 -> numeric, without precision": {{from: "int8", to: "numeric", values: []string{"-9223372036854775808", "9223372036854775807"}}},
	"int2 int4 int8 -> numeric, with room for all digits": {
		{from: "int8", to: "numeric(19,0)", values: []string{"-9223372036854775808"}}, {from: "int4", to: "numeric(12,2)", values: []string{"-2147483648"}}, {from: "int2", to: "numeric(5,0)", values: []string{"-32768"}}},
	"int2 int4 int8 -> numeric, too small":                   {{from: "int8", to: "numeric(18,0)", values: []string{"1", "-9223372036854775808"}}, {from: "int4", to: "numeric(10,1)", values: []string{"2147483647"}}},
	"int2 -> float4 float8":                                  {{from: "int2", to: "float4", values: []string{"-32768", "32767"}}, {from: "int2", to: "float8", values: []string{"-32768"}}},
	"int4 -> float8":                                         {{from: "int4", to: "float8", values: []string{"-2147483648", "2147483647"}}},
	"int4 int8 -> float4":                                    {{from: "int4", to: "float4", values: []string{"1", "16777217"}}, {from: "int8", to: "float4", values: []string{"16777217"}}},
	"int8 -> float8":                                         {{from: "int8", to: "float8", values: []string{"1", "9007199254740993"}}},
	"int4 -> oid":                                            {{from: "int4", to: "oid", values: []string{"1"}}, {from: "int4", to: "oid", values: []string{"-1"}, says: "v::int8 = -1"}},
	"int2 int8 -> oid":                                       {{from: "int2", to: "oid", values: []string{"-1"}}, {from: "int8", to: "oid", values: []string{"1", "4294967296", "-1"}}},
	"oid -> int8":                                            {{from: "oid", to: "int8", values: []string{"1", "4294967295"}}},
	"oid -> int4":                                            {{from: "oid", to: "int4", values: []string{"1"}}, {from: "oid", to: "int4", values: []string{"4294967295"}, says: "v::int8 = 4294967295"}},
	"int4 -> bool":                                           {{from: "int4", to: "bool", values: []string{"0", "1", "2"}}},
	"int2 int8 -> bool":                                      {{from: "int8", to: "bool", values: []string{"0", "2", "4294967296"}, back: "v::int4::int8"}},
	"bool -> int4":                                           {{from: "bool", to: "int4", values: []string{"t", "f"}}},
	"bool -> int2 int8 numeric":                              {{from: "bool", to: "int8", values: []string{"t"}}, {from: "bool", to: "int2", values: []string{"t"}}, {from: "bool", to: "numeric", values: []string{"t"}}},
	"int2 -> money":                                          {{from: "int2", to: "money", values: []string{"5"}}},
	"int4 int8 numeric -> money":                             {{from: "int4", to: "money", values: []string{"5"}}, {from: "numeric", to: "money", values: []string{"1.005", "1e30"}}},
	"money -> numeric":                                       {{from: "money", to: "numeric", values: []string{"$1,000.50"}}},
	"money -> int2 int4 int8 float4 float8":                  {{from: "money", to: "int4", values: []string{"5.50", "99999999999"}}},
	"numeric -> numeric, without precision":                  {{from: "numeric(10,2)", to: "numeric", values: []string{"12345678.90", "NaN"}}},
	"numeric -> numeric, of a larger precision":              {{from: "numeric(10,2)", to: "numeric(12,2)", values: []string{"12345678.90", "NaN"}}},
	"numeric -> numeric, of a larger scale":                  {{from: "numeric(10,2)", to: "numeric(12,4)", values: []string{"12345678.90"}}},
	"numeric -> numeric, narrower":                           {{from: "numeric", to: "numeric(10,2)", values: []string{"19.999", "1e20"}}, {from: "numeric(10,3)", to: "numeric(10,2)", values: []string{"19.999"}}},
	"numeric -> int2 int4 int8, whole and small enough":      {{from: "numeric(9,0)", to: "int4", values: []string{"999999999", "NaN"}}, {from: "numeric(4,0)", to: "int2", values: []string{"-9999"}}},
	"numeric -> int2 int4 int8, with fractions or too large": {{from: "numeric(10,2)", to: "int4", values: []string{"19.99", "20", "99999999.00"}}, {from: "numeric", to: "int8", values: []string{"1e30"}}},
	"numeric -> float4 float8":                               {{from: "numeric", to: "float8", values: []string{"0.5", "12345678901234567.89", "1e400"}}, {from: "numeric", to: "float4", values: []string{"1.23456789"}}},
	"float4 -> float8":                                       {{from: "float4", to: "float8", values: []string{"0.1", "Infinity"}}},
	"float8 -> float4":                                       {{from: "float8", to: "float4", values: []string{"0.5", "0.123456789012345", "1e100"}}},
	"float4 float8 -> numeric, without precision":            {{from: "float8", to: "numeric", values: []string{"0.12345678901234567", "Infinity"}}},
	"float4 float8 -> numeric, with precision":               {{from: "float8", to: "numeric(10,2)", values: []string{"1.5", "1.999", "1e20"}}},
	"float4 float8 -> int2 int4 int8":                        {{from: "float8", to: "int4", values: []string{"2", "1.5", "1e10"}}},

	"varchar -> varchar, not shorter":      {{from: "varchar(5)", to: "varchar(10)", values: []string{"abcde", ""}}, {from: "varchar(5)", to: "varchar", values: []string{"abcde"}}},
	"varchar -> varchar, shorter":          {{from: "varchar(5)", to: "varchar(3)", values: []string{"abc", "ab   ", "abcd"}}},
	"varchar -> text":                      {{from: "varchar(5)", to: "text", values: []string{"abcde", "a  "}}},
	"text -> varchar, without length":      {{from: "text", to: "varchar", values: []string{"abcde", "a  "}}},
	"text -> varchar, with length":         {{from: "text", to: "varchar(3)", values: []string{"abc", "ab   ", "abcd"}}},
	"bpchar -> bpchar, without length":     {{from: "char(5)", to: "bpchar", values: []string{"ab"}}},
	"bpchar -> bpchar, not shorter":        {{from: "char(5)", to: "char(8)", values: []string{"ab"}}},
	"bpchar -> bpchar, shorter":            {{from: "char(5)", to: "char(3)", values: []string{"ab", "abcd"}}},
	"bpchar -> text varchar":               {{from: "char(5)", to: "text", values: []string{"ab"}, says: "v = 'ab'"}, {from: "char(5)", to: "varchar", values: []string{"ab"}, says: "v = 'ab'"}},
	"text varchar -> bpchar":               {{from: "text", to: "char(3)", values: []string{"ab", "ab  ", "abcd"}}},
	"text varchar -> citext":               {{from: "text", to: "public.citext", values: []string{"Ab"}}, {from: "varchar", to: "public.citext", values: []string{"Ab"}}},
	"citext -> text":                       {{from: "public.citext", to: "text", values: []string{"Ab"}}},
	"citext -> varchar, without length":    {{from: "public.citext", to: "varchar", values: []string{"Ab"}}},
	"name -> text varchar, without length": {{from: "name", to: "text", values: []string{"Ab"}}, {from: "name", to: "varchar", values: []string{"Ab"}}},
	"text varchar -> name":                 {{from: "text", to: "name", values: []string{"a", strings.Repeat("x", 70)}}},
	"char -> text":                         {{from: `"char"`, to: "text", values: []string{"a"}}},
	"text varchar -> char":                 {{from: "text", to: `"char"`, values: []string{"a", "ab"}}},
	"bytea -> text varchar":                {{from: "bytea", to: "text", values: []string{`\x6162`}, says: "length(v) = 2"}},
	"text varchar -> bytea":                {{from: "text", to: "bytea", values: []string{`\\a`, `\1`}}},
	"bool -> text varchar":                 {{from: "bool", to: "text", values: []string{"t"}, says: "v::text = 'true'"}},

	"timestamp -> timestamp, not coarser":     {{from: "timestamp(3)", to: "timestamp", values: []string{"2024-02-29 12:00:00.123"}}, {from: "timestamp", to: "timestamp(6)", values: []string{"2024-02-29 12:00:00.123456"}}},
	"timestamptz -> timestamptz, not coarser": {{from: "timestamptz(3)", to: "timestamptz(4)", values: []string{"2024-02-29 12:00:00.123+02"}}},
	"time -> time, not coarser":               {{from: "time(0)", to: "time(3)", values: []string{"12:00:01"}}},
	"timetz -> timetz, not coarser":           {{from: "timetz(0)", to: "timetz", values: []string{"12:00:01+05"}}},
	"timestamp timestamptz time timetz -> timestamp timestamptz time timetz, coarser": {
		{from: "timestamp", to: "timestamp(0)", values: []string{"2024-02-29 12:00:00.6"}}, {from: "timestamptz(3)", to: "timestamptz(1)", values: []string{"2024-02-29 12:00:00.16+00"}},
		{from: "time", to: "time(0)", values: []string{"12:00:00.6"}}, {from: "timetz", to: "timetz(0)", values: []string{"12:00:00.6+00"}}},
	"timestamp -> timestamptz":                             {{from: "timestamp", to: "timestamptz", values: []string{"2024-02-29 12:00:00"}, zone: "Asia/Tokyo"}},
	"timestamptz -> timestamp":                             {{from: "timestamptz", to: "timestamp", values: []string{"2024-02-29 12:00:00+09"}, zone: "Asia/Tokyo"}},
	"timestamp timestamptz -> date":                        {{from: "timestamp", to: "date", values: []string{"2024-02-29 12:00:00"}}, {from: "timestamptz", to: "date", values: []string{"2024-02-29 12:00:00+00"}}},
	"timestamp timestamptz -> time":                        {{from: "timestamp", to: "time", values: []string{"2024-02-29 12:00:00"}}, {from: "timestamptz", to: "time", values: []string{"2024-02-29 12:00:00+00"}}},
	"timestamptz -> timetz":                                {{from: "timestamptz", to: "timetz", values: []string{"2024-02-29 12:00:00+00"}}},
	"timestamp -> timetz":                                  {{from: "timestamp", to: "timetz", values: []string{"2024-02-29 12:00:00"}}},
	"date -> timestamp":                                    {{from: "date", to: "timestamp", values: []string{"2024-02-29", "300000-01-01"}}},
	"date -> timestamptz":                                  {{from: "date", to: "timestamptz", values: []string{"2024-02-29", "300000-01-01"}, zone: "Asia/Tokyo"}},
	"time -> timetz":                                       {{from: "time", to: "timetz", values: []string{"12:00:00"}, zone: "Asia/Tokyo", says: "v::text IN ('12:00:00', '12:00:00+00')"}},
	"timetz -> time":                                       {{from: "timetz", to: "time", values: []string{"12:00:00+09"}}},
	"time -> interval, of all fields and digits":           {{from: "time", to: "interval", values: []string{"12:00:00.123456"}}},
	"interval -> time":                                     {{from: "interval", to: "time", values: []string{"12:00:00", "1 day 02:00:00"}}},
	"interval -> interval, with all its fields and digits": {{from: "interval(3)", to: "interval", values: []string{"1 day 00:00:01.123"}}, {from: "interval(3)", to: "interval(5)", values: []string{"1 day 00:00:01.123"}}, {from: "interval day to second", to: "interval", values: []string{"1 day 00:00:01"}}},
	"interval -> interval, with fewer fields or digits":    {{from: "interval", to: "interval(0)", values: []string{"00:00:01.6"}}, {from: "interval", to: "interval day", values: []string{"1 day 02:00:00"}}},

	"json -> jsonb":      {{from: "json", to: "jsonb", values: []string{`{"b": 1, "a": 2, "a": 3}`, `"\u0000"`}}},
	"jsonb -> json":      {{from: "jsonb", to: "json", values: []string{`{"a": 3, "b": 1}`}}},
	"json jsonb -> text": {{from: "json", to: "text", values: []string{`{"b": 1,  "a": 2}`}}, {from: "jsonb", to: "text", values: []string{`{"b": 1,  "a": 2}`}}},
	"xml -> text":        {{from: "xml", to: "text", values: []string{`<a>1</a>`}}},

	"cidr -> inet":                     {{from: "cidr", to: "inet", values: []string{"10.0.0.0/8", "::/0"}}},
	"inet -> cidr":                     {{from: "inet", to: "cidr", values: []string{"10.0.0.0/8", "10.0.0.1/8"}}},
	"macaddr -> macaddr8":              {{from: "macaddr", to: "macaddr8", values: []string{"08:00:2b:01:02:03"}, says: "v::text = '08:00:2b:01:02:03'"}},
	"macaddr8 -> macaddr":              {{from: "macaddr8", to: "macaddr", values: []string{"08:00:2b:ff:fe:01:02:03", "08:00:2b:01:02:03:04:05"}}},
	"bit -> bit":                       {{from: "bit(3)", to: "bit(4)", values: []string{"101"}}},
	"varbit -> varbit, not shorter":    {{from: "varbit(3)", to: "varbit(5)", values: []string{"101"}}, {from: "varbit(3)", to: "varbit", values: []string{"101"}}},
	"varbit -> varbit, shorter":        {{from: "varbit(3)", to: "varbit(2)", values: []string{"10", "101"}}},
	"bit -> varbit, without length":    {{from: "bit(3)", to: "varbit", values: []string{"101"}}},
	"bit -> varbit, not shorter":       {{from: "bit(3)", to: "varbit(3)", values: []string{"101"}}, {from: "bit(3)", to: "varbit(5)", values: []string{"101"}}},
	"varbit -> bit":                    {{from: "varbit(3)", to: "bit(3)", values: []string{"101", "10"}}},
	"int4range -> int8range":           {{from: "int4range", to: "int8range", values: []string{"[1,5)", "empty", "(,)"}}},
	"int4multirange -> int8multirange": {{from: "int4multirange", to: "int8multirange", values: []string{"{[1,5),[7,9)}"}}},
	"tsrange -> tstzrange":             {{from: "tsrange", to: "tstzrange", values: []string{"[2024-01-01 00:00,2024-01-02 00:00)"}, zone: "Asia/Tokyo"}},

	"enum -> text":                      {{from: "public.mood", to: "text", values: []string{"sad", "happy"}}},
	"enum -> varchar, without length":   {{from: "public.mood", to: "varchar", values: []string{"sad"}}},
	"enum -> enum, with all labels":     {{from: "public.mood", to: "public.moods", values: []string{"sad", "happy"}}},
	"any -> enum":                       {{from: "text", to: "public.mood", values: []string{"sad", "angry"}}, {from: "public.moods", to: "public.mood", values: []string{"angry"}}},
	"any -> text":                       {{from: "uuid", to: "text", values: []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}}, {from: "timestamptz", to: "text", values: []string{"2024-02-29 12:00:00+09"}}, {from: "int4[]", to: "text", values: []string{"{1,2}"}}, {from: "float8", to: "text", values: []string{"0.1"}}},
	"any -> varchar, without length":    {{from: "uuid", to: "varchar", values: []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}}},
	"any -> varchar bpchar":             {{from: "int4", to: "varchar(2)", values: []string{"12", "123"}}, {from: "int4", to: "char(4)", values: []string{"12", "12345"}}, {from: "public.citext", to: "varchar(3)", values: []string{"ab   "}}},
	"text varchar bpchar citext -> any": {{from: "text", to: "int4", values: []string{"12", " 12", "x"}}, {from: "text", to: "uuid", values: []string{"x"}}, {from: "varchar", to: "json", values: []string{"{"}}, {from: "text", to: "int4[]", values: []string{"x"}}},
	"any -> any":                        {{from: "int4", to: "interval", values: []string{"1"}}, {from: "int4", to: "date", values: []string{"1"}}, {from: "date", to: "int4", values: []string{"2024-01-01"}}, {from: "uuid", to: "int8", values: []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}}, {from: "int4[]", to: "int4", values: []string{"{1}"}}, {from: "point", to: "box", values: []string{"(1,2)"}}},

	fromDomain.ID():  {{from: "public.plain", to: "int4", values: []string{"1"}}, {from: "public.positive", to: "int4", values: []string{"1"}}},
	plainDomain.ID(): {{from: "int4", to: "public.plain", values: []string{"1"}}, {from: "public.positive", to: "public.plain", values: []string{"1"}}},
	checkDomain.ID(): {{from: "int4", to: "public.positive", values: []string{"1", "-1"}}, {from: "int2", to: "public.positive", values: []string{"-1"}}},
}

// arrays are pairs of arrays: they fit as their elements, and cost more.
var arrays = []typeSample{
	{from: "int4[]", to: "int8[]", values: []string{"{1,NULL}"}},
	{from: "varchar(5)[]", to: "varchar(10)[]", values: []string{"{abcde}"}},
	{from: "text[]", to: "varchar(2)[]", values: []string{"{abc}", `{"a   "}`}},
	{from: "varchar(5)[]", to: "varchar[]", values: []string{"{abcde}"}},
	{from: "varchar(5)[]", to: "text[]", values: []string{"{abcde}"}},
	{from: "public.mood[]", to: "text[]", values: []string{"{sad}"}},
	{from: "text[]", to: "public.mood[]", values: []string{"{sad}", "{angry}"}},
	{from: "numeric(10,2)[]", to: "numeric[]", values: []string{"{1.50}"}},
}

func allRules() []*TypeRule {
	rules := []*TypeRule{&fromDomain, &plainDomain, &checkDomain}
	for i := range TypeRules {
		rules = append(rules, &TypeRules[i])
	}
	return rules
}

// TestTypeRules shows on a real server that every rule is right: what it says
// becomes of values, and what it says an ALTER costs and does.
func TestTypeRules(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range allRules() {
		if seen[r.ID()] {
			t.Errorf("two rules are called %q", r.ID())
		}
		if seen[r.ID()] = true; len(samples[r.ID()]) == 0 {
			t.Errorf("nothing shows the rule %q to be right", r.ID())
		}
	}
	for id := range samples {
		if !seen[id] {
			t.Errorf("there is no rule %q", id)
		}
	}
	for i, inst := range pgtest.Majors(t) {
		t.Run(fmt.Sprint(inst.Major), func(t *testing.T) {
			if i > 0 {
				pgtest.Long(t)
			}
			t.Parallel()
			e := newTypeTest(t, inst.Major)
			for _, r := range allRules() {
				var all []outcome
				for _, s := range samples[r.ID()] {
					all = append(all, e.try(t, s, r)...)
				}
				checkRule(t, r.ID(), r.Fit, r.Cost, all)
			}
			for _, s := range arrays {
				m := e.match(t, s)
				checkRule(t, s.from+" -> "+s.to, m.Fit, m.Cost, e.try(t, s, m.Rule))
			}
		})
	}
}

// outcome is what became of one value, or of an ALTER with it.
type outcome struct {
	about    string
	fit      Fit  // of the stream: FitSafe, FitLoses or FitRefuses
	altered  bool // ALTER succeeded
	rewrote  bool
	reindex  bool
	indexed  bool // an index survived, so that it could be built anew
	differs  bool // what ALTER makes is other than what the stream brings, or than the value was
	alterErr error
}

// checkRule compares what a rule says with what happened.
func checkRule(t *testing.T, id string, fit Fit, cost Alter, all []outcome) {
	t.Helper()
	count := func(f func(o outcome) bool) int {
		return len(slices.DeleteFunc(slices.Clone(all), func(o outcome) bool { return !f(o) }))
	}
	lost := count(func(o outcome) bool { return o.fit == FitLoses })
	refused := count(func(o outcome) bool { return o.fit == FitRefuses })
	switch fit {
	case FitSafe:
		if lost+refused > 0 {
			t.Errorf("%s is said to be safe: %+v", id, all)
		}
	case FitLoses:
		if lost == 0 {
			t.Errorf("%s is said to lose values, none was: %+v", id, all)
		}
	case FitRefuses:
		if refused == 0 || lost > 0 {
			t.Errorf("%s is said to refuse values and to lose none: %+v", id, all)
		}
	}
	if failed := count(func(o outcome) bool { return !o.altered }); (failed > 0) != cost.Refuses {
		t.Errorf("%s: ALTER refuses %t, %d failed: %+v", id, cost.Refuses, failed, all)
	}
	if differ := count(func(o outcome) bool { return o.differs }); (differ > 0) != cost.Changes {
		t.Errorf("%s: ALTER changes %t, %d differ: %+v", id, cost.Changes, differ, all)
	}
	for _, o := range all {
		if o.altered && (o.rewrote != cost.Rewrite || o.reindex != (cost.Reindex && o.indexed)) {
			t.Errorf("%s: said to rewrite %t, reindex %t: %+v", id, cost.Rewrite, cost.Reindex, o)
		}
	}
}

type typeTest struct {
	conn *pgx.Conn
	n    int
}

func newTypeTest(t *testing.T, major int) *typeTest {
	d := pgtest.Shared(t, major).CreateDatabase(t)
	d.Exec(t, `CREATE EXTENSION citext SCHEMA public; CREATE TYPE public.mood AS ENUM ('sad', 'happy'); CREATE TYPE public.moods AS ENUM ('happy', 'angry', 'sad');
		CREATE DOMAIN public.plain AS int4; CREATE DOMAIN public.positive AS int4 CHECK (VALUE > 0)`)
	return &typeTest{conn: open(t, d)}
}

// tables makes a table for each type of a sample and matches their columns.
func (e *typeTest) tables(t *testing.T, s typeSample) (source, destination string, m Match) {
	t.Helper()
	e.n++
	from, to := catalog.Name{Schema: "public", Name: fmt.Sprintf("s%d", e.n)}, catalog.Name{Schema: "public", Name: fmt.Sprintf("d%d", e.n)}
	exec(t, e.conn, fmt.Sprintf("CREATE TABLE %s (v %s); CREATE TABLE %s (v %s)", quoteName(from), s.from, quoteName(to), s.to))
	found, err := catalog.DescribeTables(t.Context(), e.conn, []catalog.Name{from, to})
	if err != nil {
		t.Fatal(err)
	}
	return quoteName(from), quoteName(to), MatchTypes(TypeOf(found[from], &found[from].Columns[0]), TypeOf(found[to], &found[to].Columns[0]), nil)
}

func (e *typeTest) match(t *testing.T, s typeSample) Match {
	_, _, m := e.tables(t, s)
	return m
}

func (e *typeTest) text(ctx context.Context, sql string) (string, error) {
	results, err := e.conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	return string(results[len(results)-1].Rows[0][0]), nil
}

// try streams each value of a sample, and alters a table that has it.
func (e *typeTest) try(t *testing.T, s typeSample, want *TypeRule) []outcome {
	t.Helper()
	source, destination, m := e.tables(t, s)
	if m.Rule != want {
		t.Errorf("%s -> %s is matched by %q, want %q", s.from, s.to, m.Rule.ID(), want.ID())
	}
	var out []outcome
	for _, value := range s.values {
		o := outcome{about: fmt.Sprintf("%s -> %s: %s", s.from, s.to, value)}
		exec(t, e.conn, fmt.Sprintf("TRUNCATE %s, %s; INSERT INTO %s VALUES (%s)", source, destination, source, dump.QuoteLiteral(value)))
		before, err := e.text(t.Context(), "SELECT v::pg_catalog.text FROM "+source)
		if err != nil {
			t.Fatal(err)
		}
		streamed := e.stream(t, s, source, destination, before, &o)
		e.alter(t, s, m.Cost, source, before, streamed, &o)
		out = append(out, o)
	}
	return out
}

// stream copies the row as the engine does, in text, and says what arrived.
func (e *typeTest) stream(t *testing.T, s typeSample, source, destination, before string, o *outcome) string {
	var row bytes.Buffer
	if s.from == "timestamptz" && s.zone != "" { // the source prints in its own zone
		exec(t, e.conn, "SET TimeZone = "+dump.QuoteLiteral(s.zone))
	}
	if _, err := e.conn.PgConn().CopyTo(t.Context(), &row, fmt.Sprintf("COPY %s TO STDOUT", source)); err != nil {
		t.Fatal(err)
	}
	if s.zone != "" {
		exec(t, e.conn, "SET TimeZone = "+dump.QuoteLiteral(s.zone))
	}
	_, err := e.conn.PgConn().CopyFrom(t.Context(), &row, fmt.Sprintf("COPY %s FROM STDIN", destination))
	exec(t, e.conn, "SET TimeZone = 'UTC'")
	if err != nil {
		o.fit = FitRefuses
		return ""
	}
	streamed, err := e.text(t.Context(), "SELECT v::pg_catalog.text FROM "+destination)
	if err != nil {
		t.Fatal(err)
	}
	o.fit = FitLoses
	if e.comesBack(t, s, destination, before) {
		o.fit = FitSafe
	}
	return streamed
}

// comesBack tells whether a value of the destination's type is still the one
// that the source had, by text or by cast. A failed cast ends no transaction.
func (e *typeTest) comesBack(t *testing.T, s typeSample, table, before string) bool {
	if s.says != "" {
		is, err := e.text(t.Context(), fmt.Sprintf("SELECT %s FROM %s", s.says, table))
		if err != nil {
			t.Fatal(err)
		}
		return is == "t"
	}
	casts := []string{"v::pg_catalog.text", fmt.Sprintf("v::pg_catalog.text::%s::pg_catalog.text", s.from), fmt.Sprintf("v::%s::pg_catalog.text", s.from)}
	if s.back != "" {
		casts = append(casts, "("+s.back+")::pg_catalog.text")
	}
	block := e.conn.PgConn().TxStatus() == 'T'
	for _, cast := range casts {
		if block {
			exec(t, e.conn, "SAVEPOINT casts")
		}
		after, err := e.text(t.Context(), "SELECT "+cast+" FROM "+table)
		if err != nil && block {
			exec(t, e.conn, "ROLLBACK TO casts")
		}
		if err == nil && after == before {
			return true
		}
	}
	return false
}

// alter changes the type of a table with that value in it, in a transaction
// that is rolled back.
func (e *typeTest) alter(t *testing.T, s typeSample, cost Alter, source, before, streamed string, o *outcome) {
	using := ""
	if cost.Using != "" {
		using = " USING " + strings.NewReplacer("$", `"v"`, "@", s.to).Replace(cost.Using)
	}
	exec(t, e.conn, "BEGIN")
	defer exec(t, e.conn, "ROLLBACK")
	index := ""
	exec(t, e.conn, "SAVEPOINT before_index")
	if _, err := e.conn.Exec(t.Context(), fmt.Sprintf("CREATE INDEX the_index ON %s (v)", source)); err != nil {
		exec(t, e.conn, "ROLLBACK TO before_index") // a type without an order
	} else {
		index = "public.the_index"
	}
	files := func() (string, string) {
		table, err := e.text(t.Context(), fmt.Sprintf("SELECT pg_relation_filenode(%s)", dump.QuoteLiteral(source)))
		if err != nil {
			t.Fatal(err)
		}
		if index == "" {
			return table, ""
		}
		file, err := e.text(t.Context(), fmt.Sprintf("SELECT coalesce(pg_relation_filenode(to_regclass(%s))::text, 'gone')", dump.QuoteLiteral(index)))
		if err != nil {
			t.Fatal(err)
		}
		return table, file
	}
	table, indexFile := files()
	exec(t, e.conn, "SAVEPOINT before_alter")
	if _, o.alterErr = e.conn.Exec(t.Context(), fmt.Sprintf("ALTER TABLE %s ALTER COLUMN v TYPE %s%s", source, s.to, using)); o.alterErr != nil {
		if index == "" {
			exec(t, e.conn, "ROLLBACK TO before_alter")
			return
		}
		// It may be the index that the new type cannot have.
		exec(t, e.conn, "ROLLBACK TO before_alter; DROP INDEX public.the_index; SAVEPOINT before_alter")
		index = ""
		if _, o.alterErr = e.conn.Exec(t.Context(), fmt.Sprintf("ALTER TABLE %s ALTER COLUMN v TYPE %s%s", source, s.to, using)); o.alterErr != nil {
			exec(t, e.conn, "ROLLBACK TO before_alter")
			return
		}
	}
	newTable, newIndex := files()
	o.altered, o.rewrote = true, newTable != table
	o.indexed = index != ""
	o.reindex = !o.rewrote && index != "" && newIndex != indexFile
	altered, err := e.text(t.Context(), "SELECT v::pg_catalog.text FROM "+source)
	if err != nil {
		t.Fatal(err)
	}
	o.differs = o.fit != FitRefuses && altered != streamed || !e.comesBack(t, s, source, before)
	locks, err := e.text(t.Context(), fmt.Sprintf("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = %s::regclass AND mode = 'AccessExclusiveLock'", dump.QuoteLiteral(source)))
	if err != nil || locks != "1" {
		t.Errorf("%s: ALTER took no ACCESS EXCLUSIVE lock: %s %v", o.about, locks, err)
	}
}

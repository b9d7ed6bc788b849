package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// samples are values of types between which there are casts; those that a cast
// refuses are refused on both sides.
var samples = map[string][]string{
	"bool": {"true", "false"}, `"char"`: {"a", ""}, "name": {"x", "1"}, "int8": {"0", "-1", "9007199254740993", "9223372036854775807"}, "int2": {"0", "-32768"}, "int4": {"0", "-2147483648", "16777217"},
	"text":    {"", " x ", "1", "true", "t", "1.50", "{1,2}", `{"a": 1, "a": 2}`, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "101", "1.2.3.4/8", "1 day", "NaN", "(1,2)", "[1,5)", "0/1", "-0"},
	"varchar": {"1", " x "}, "bpchar": {"x  ", "1 "}, "oid": {"0", "4294967295"}, "json": {`{"b": 1.10, "a": [null], "b": 2}`, "null"}, "xml": {"<a>1</a>"},
	"point": {"(1.5,-0)"}, "lseg": {"[(1,2),(3,4)]"}, "path": {"((0,0),(1,1),(1,0))", "[(0,0),(1,1)]"}, "box": {"(3,4),(1,2)"}, "polygon": {"((0,0),(1,1),(1,0))"}, "circle": {"<(1,2),3>"},
	"cidr": {"10.0.0.0/8"}, "inet": {"10.1.2.3/8", "1.2.3.4", "::1"}, "float4": {"0.1", "NaN", "-0", "16777216", "1e10"}, "float8": {"0.1", "1e300", "Infinity", "2.5", "1e15"},
	"macaddr": {"08:00:2b:01:02:03"}, "macaddr8": {"08:00:2b:ff:fe:01:02:03"}, "date": {"2024-02-29", "infinity", "0044-03-15 BC"}, "time": {"23:59:59.999999", "00:00"}, "timestamp": {"2024-03-31 02:30:00.123456", "-infinity"},
	"timestamptz": {"2024-03-31 02:30:00.123456+09", "infinity"}, "interval": {"1 mon -1 day 25:00:00.5", "-0.000001 s"}, "timetz": {"12:00:00+09"}, "bit(4)": {"1010"}, "varbit": {"", "10101"},
	"numeric": {"1.50", "-0.005", "NaN", "2.5", "1e40"}, "jsonb": {`{"b": 1.10, "a": [null]}`, "1", "1.5", "true"}, "uuid": {"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}, "bytea": {`\x00ff`},
	"int4range": {"[1,5)", "empty"}, "numrange": {"(,1.50]"}, "int8range": {"[1,)"}, "tsrange": {"[2024-01-01,)"}, "tstzrange": {"[2024-01-01 00:00+09,)"}, "daterange": {"[2024-01-01,2024-01-02)"}, "xid8": {"4294967297"},
	"int4[]": {"{1,NULL}", "[-1:0]={1,2}"}, "numeric[]": {"{1.50,NULL}"}, "text[]": {`{a,NULL,"NULL",","}`, "{1}"}, "pg_lsn": {"FF/1"}, "tsvector": {"'a':1A"}, "tsquery": {"'a' & 'b'"}, "jsonpath": {"$.a"},
}

// targets are types that casts go to beside those of samples.
var targets = []string{"varchar(3)", "char(5)", "numeric(5,1)", "timestamp(0)", "timestamptz(3)", "time(2)", "interval(0)", "bit(8)", "varbit(3)", "int8[]", "numeric(4,1)[]", "varchar(2)[]", "int4multirange", "nummultirange",
	"int8multirange", "tsmultirange", "tstzmultirange", "datemultirange", "xid", "money", "regclass", "aclitem"}

func open(t testing.TB, d *pgtest.Database) *pgx.Conn {
	t.Helper()
	conn, err := connect.Open(t.Context(), config.Server{
		Cluster: "prod", Host: d.Cluster.Host(), Port: d.Cluster.Port(), Database: d.Name, User: d.Cluster.Superuser(),
		Password: config.Secret(d.Cluster.Password()), TLSVerify: config.TLSDisabled, ConnectTimeout: time.Minute,
	}, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

// TestCastsGiveTheSame takes every pair of types. One that is allowed gives the
// same when the source casts, and when the destination casts what the source
// prints, although the two databases have other defaults for everything that has
// to do with values.
func TestCastsGiveTheSame(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Shared(t, 0)
	here, there := cluster.CreateDatabase(t), cluster.CreateDatabase(t)
	for setting, value := range map[string]string{
		"TimeZone": "Asia/Tokyo", "DateStyle": "German, DMY", "IntervalStyle": "sql_standard", "extra_float_digits": "-10", "bytea_output": "escape", "xmloption": "document",
	} {
		there.Exec(t, fmt.Sprintf(`ALTER DATABASE %s SET "%s" = '%s'`, pgtest.Quote(there.Name), setting, value))
	}
	source, destination := open(t, here), open(t, there)
	types := catalog.Types{}
	all := append(slices.Sorted(maps.Keys(samples)), targets...)
	columns := map[string]catalog.Column{}
	for _, name := range all {
		columns[name] = column(t, source, types, name)
	}
	allowed, values := 0, 0
	for _, from := range slices.Sorted(maps.Keys(samples)) {
		for _, to := range all {
			cast, why := CastOf(to, types, columns[from].Type, types, columns[to])
			if why != "" {
				continue
			}
			if cast.Way != ByServer {
				t.Errorf("%s to %s goes by text", from, to)
			}
			allowed++
			for _, value := range samples[from] {
				values += sameCast(t, source, destination, value, from, types[columns[from].Type].SQL(), cast)
			}
		}
	}
	if allowed < 500 || values < 1000 {
		t.Errorf("%d casts are allowed, %d values were cast: the test has lost its subject", allowed, values)
	}
	t.Logf("%d casts, %d values", allowed, values)
}

// sameCast gives 1 if both sides have cast the value, 0 if both have refused it.
func sameCast(t *testing.T, source, destination *pgx.Conn, value, from, parameter string, cast Cast) int {
	t.Helper()
	ctx := t.Context()
	var printed string
	var copied *string
	// OFFSET 0: what is cast is a value of the type, as in a column.
	read := fmt.Sprintf("SELECT v::text, (v::%s)::text FROM (SELECT %s::%s AS v OFFSET 0) AS s", cast.Type, quoteLiteral(value), from)
	failed := source.QueryRow(ctx, read, pgx.QueryExecModeSimpleProtocol).Scan(&printed, &copied)
	if failed != nil {
		if err := source.QueryRow(ctx, fmt.Sprintf("SELECT v::text FROM (SELECT %s::%s AS v OFFSET 0) AS s", quoteLiteral(value), from), pgx.QueryExecModeSimpleProtocol).Scan(&printed); err != nil {
			t.Fatalf("%s is no %s: %v", value, from, err)
		}
	}
	// As a parameter in text form, which is what the stream has: the text of the
	// output function, not that of a cast to text.
	out := source.PgConn().ExecParams(ctx, fmt.Sprintf("SELECT %s::%s", quoteLiteral(value), from), nil, nil, nil, nil).Read()
	if out.Err != nil {
		t.Fatal(out.Err)
	}
	result := destination.PgConn().ExecParams(ctx, fmt.Sprintf("SELECT ($1::%s::%s)::text", parameter, cast.Type), [][]byte{out.Rows[0][0]}, nil, nil, nil).Read()
	if (result.Err != nil) != (failed != nil) {
		t.Errorf("%s of %s as %s: the source says %v, the destination %v", value, from, cast.Type, failed, result.Err)
		return 0
	}
	if failed != nil {
		return 0
	}
	if applied := result.Rows[0][0]; (applied == nil) != (copied == nil) || copied != nil && *copied != string(applied) {
		t.Errorf("%s of %s as %s: the copy gives %v, the stream %q", value, from, cast.Type, copied, applied)
	}
	return 1
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// TestCastsAreThoseOfTheServer: what the table has is a cast of PostgreSQL that
// no setting but TimeZone changes, and what it has not is left out for a reason.
func TestCastsAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	for _, installation := range pgtest.Majors(t) {
		conn := open(t, pgtest.Shared(t, installation.Major).CreateDatabase(t))
		rows, err := conn.Query(t.Context(), `
SELECT c.castsource, c.casttarget, coalesce(p.provolatile, 'i')::text, c.castsource::regtype || ' to ' || c.casttarget::regtype
FROM pg_cast c LEFT JOIN pg_proc p ON p.oid = c.castfunc WHERE c.castsource <> c.casttarget AND c.oid < 16384`)
		if err != nil {
			t.Fatal(err)
		}
		zoned := map[uint32]bool{timestamptzOID: true, timetzOID: true}
		found := map[[2]uint32]bool{}
		var from, to uint32
		var volatility, name string
		_, err = pgx.ForEachRow(rows, []any{&from, &to, &volatility, &name}, func() error {
			pair := [2]uint32{from, to}
			found[pair] = true
			_, listed := casts[pair]
			switch {
			case listed && volatility != "i" && !zoned[from] && !zoned[to]:
				t.Errorf("version %d: %s depends on settings", installation.Major, name)
			case listed, changing[from] != "", changing[to] != "", reads[from], prints[to]:
			case to == byteaOID, from == byteaOID, from == circleOID && to == polygonOID: // statistics; sine and cosine
			default:
				t.Errorf("version %d: %s is not in the table", installation.Major, name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for pair := range casts {
			if !found[pair] {
				t.Errorf("version %d: there is no cast from %d to %d", installation.Major, pair[0], pair[1])
			}
		}
	}
}

const byteaOID = 17

func TestCastsThatAreRefused(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	d.Exec(t, `CREATE TYPE public.mood AS ENUM ('sad'); CREATE TYPE public.pair AS (a int, b text); CREATE DOMAIN public.positive AS int CHECK (VALUE > 0); CREATE DOMAIN public.short AS varchar(3);
CREATE TYPE public.moods AS RANGE (subtype = mood)`)
	conn := open(t, d)
	types := catalog.Types{}
	for _, test := range []struct{ from, to, declared, why string }{
		{"int", "bigint", "int8", ""},
		{"int", "bigint", "integer", "the mapping casts it to integer, but the destination has bigint"},
		{"numeric(10,4)", "numeric(10,2)", "numeric(10,2)", ""},
		{"numeric(10,4)", "numeric(10,2)", "numeric", "but the destination has numeric(10,2)"},
		{"text", "timestamptz", "timestamptz", "a text like 'now' would be another timestamptz at each reading"},
		{"text", "date[]", "date[]", "a text like 'now' would be another date at each reading"},
		{"text[]", "date[]", "date[]", "a text like 'now' would be another date at each reading"},
		{"varchar", "tstzrange", "tstzrange", "a text like 'now'"},
		{"money", "numeric", "numeric", "money: its casts depend on lc_monetary"},
		{"text", "money", "money", "lc_monetary"},
		{"regclass", "text", "text", "regclass: it means an object of one database"},
		{"text", "xml", "xml", "libxml"},
		{"xml", "text", "text", ""},
		{"bool", "bigint", "bigint", "there is no cast from bool to int8"},
		{"circle", "polygon", "polygon", "there is no cast from circle to polygon that gives the same"},
		{"public.mood", "text", "text", ""},
		{"public.mood", "varchar(9)", "varchar(9)", ""},
		{"public.mood[]", "text[]", "text[]", ""},
		{"public.mood[]", "text", "text", ""},
		{"text", "public.mood", "public.mood", ""},
		{"text[]", "public.mood[]", "public.mood[]", ""},
		{"int", "public.mood", "public.mood", "int4 and mood are not types that both servers have"},
		{"public.mood", "int", "int", "mood and int4 are not types that both servers have"},
		{"public.mood", "public.mood", "public.mood", "it is mood on the source already"},
		{"public.pair", "text", "text", ""},
		{"text", "public.pair", "public.pair", "text and pair are not types that both servers have"},
		{"text", "public.moods", "public.moods", "not types that both servers have"},
		{"public.pair[]", "text[]", "text[]", "not types that both servers have"},
		{"public.positive", "bigint", "bigint", ""},
		{"bigint", "public.positive", "public.positive", ""},
		{"text", "public.short", "public.short", ""},
	} {
		from, to := column(t, conn, types, test.from), column(t, conn, types, test.to)
		cast, why := CastOf(test.declared, types, from.Type, types, to)
		if (why == "") != (test.why == "") || !strings.Contains(why, test.why) {
			t.Errorf("%s to %s: %+v, %q", test.from, test.to, cast, why)
		}
	}
	if _, why := CastOf("text", types, 1, types, column(t, conn, types, "text")); why == "" {
		t.Error("a type that nobody knows can be cast")
	}
	// What is said to be Exact keeps keys apart.
	for _, test := range []struct {
		from, to string
		exact    bool
	}{
		{"int", "bigint", true}, {"bigint", "numeric", true}, {"bigint", "numeric(20)", false}, {"bigint", "float8", false}, {"uuid", "text", true}, {"text", "uuid", false}, {"int", "varchar(3)", false},
		{"int", "bpchar", false}, {"numeric", "int", false}, {"public.mood", "text", true}, {"text", "public.mood", true}, {"date", "timestamp", true}, {"timestamp", "date", false}, {"public.pair", "text", false},
	} {
		cast, why := CastOf(test.to, types, column(t, conn, types, test.from).Type, types, column(t, conn, types, test.to))
		if why != "" || cast.Exact != test.exact {
			t.Errorf("%s to %s: %+v, %q", test.from, test.to, cast, why)
		}
	}
}

// TestNowIsAnotherMoment shows why texts are not cast to times.
func TestNowIsAnotherMoment(t *testing.T) {
	t.Parallel()
	conn := open(t, pgtest.Shared(t, 0).CreateDatabase(t))
	read := func() (at time.Time) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT v::timestamptz FROM (SELECT 'now'::text AS v OFFSET 0) AS s").Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	if first := read(); read().Equal(first) {
		t.Error("'now' is the same at each reading")
	}
}

package admin

import (
	"strings"
	"testing"
	"time"
)

// TestDriverQuestions has what clients ask by themselves, as they ask it.
func TestDriverQuestions(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for query, want := range map[string]string{
		"SELECT 1 AS ok":                        "T:ok D:1 C:SELECT 1 Z:I",
		"select 'x' y, null, true, -3000000000": "T:y,?column?,bool,?column? D:x,NULL,t,-3000000000 C:SELECT 1 Z:I",
		"SELECT version()":                      "T:version D:PostgreSQL 14.0 (pgdrover 0.1.0) C:SELECT 1 Z:I",
		"select pg_catalog.version()":           "T:version D:PostgreSQL 14.0 (pgdrover 0.1.0) C:SELECT 1 Z:I",
		"select current_schema()":               "T:current_schema D:public C:SELECT 1 Z:I",
		"SELECT current_user, session_user, current_database(), current_catalog": "T:current_user,session_user,current_database,current_catalog D:admin,admin,admin,admin C:SELECT 1 Z:I",
		"SELECT pg_is_in_recovery()":                                         "T:pg_is_in_recovery D:f C:SELECT 1 Z:I",
		"SELECT current_setting('server_version_num')::int AS v":             "T:v D:140000 C:SELECT 1 Z:I",
		"SELECT current_setting('port')":                                     "T:current_setting D:6500 C:SELECT 1 Z:I",
		"SELECT current_setting('nobody', true)":                             "T:current_setting D:NULL C:SELECT 1 Z:I",
		"SELECT current_setting('nobody')":                                   "ERROR:42704 Z:I",
		"SELECT set_config('application_name', 'x', false)":                  "S:application_name=x T:set_config D:x C:SELECT 1 Z:I",
		"SELECT '1'::bool, 'on'::boolean, 7::text":                           "T:bool,bool,text D:t,t,7 C:SELECT 1 Z:I",
		"SELECT 'x'::int":                                                    "ERROR:22P02 Z:I",
		"SHOW transaction_isolation":                                         "T:transaction_isolation D:read committed C:SHOW Z:I",
		"show standard_conforming_strings":                                   "T:standard_conforming_strings D:on C:SHOW Z:I",
		"SHOW search_path":                                                   `T:search_path D:"$user", public C:SHOW Z:I`,
		"SHOW max_identifier_length":                                         "T:max_identifier_length D:63 C:SHOW Z:I",
		"SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;": "T:pg_advisory_unlock_all D: C:SELECT 1 C:CLOSE CURSOR ALL C:UNLISTEN C:RESET Z:I",
		// psycopg 3
		`SELECT typname AS name, oid, typarray AS array_oid, oid::regtype::text AS regtype, typdelim AS delimiter
		   FROM pg_type t WHERE t.oid = to_regtype('hstore') ORDER BY t.oid`: "T:name,oid,array_oid,regtype,delimiter C:SELECT 0 Z:I",
		// psycopg 2, hstore
		`SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'`: "T:oid,typarray C:SELECT 0 Z:I",
		// npgsql
		`SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid
		   FROM (SELECT typ.oid, typ.typnamespace FROM pg_type AS typ) AS t JOIN pg_namespace AS ns ON (ns.oid = typnamespace)
		  ORDER BY CASE WHEN typtype IN ('b', 'e') THEN 0 END`: "T:nspname,oid,typname,typtype,typnotnull,elemtypoid C:SELECT 0 Z:I",
		// JDBC metadata
		`SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, CASE n.nspname ~ '^pg_' WHEN true THEN 1 ELSE 2 END AS TABLE_TYPE
		   FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c`: "T:TABLE_CAT,TABLE_SCHEM,TABLE_TYPE C:SELECT 0 Z:I",
		"SELECT DISTINCT t.oid, lower(x) FROM pg_catalog.pg_type t": "T:oid,lower C:SELECT 0 Z:I",
		"SELECT name, setting FROM pg_settings":                     "T:name,setting C:SELECT 0 Z:I",
		"SELECT setting FROM pg_settings WHERE name = 'port'":       "T:setting D:6500 C:SELECT 1 Z:I",
		"SELECT datname FROM pg_database WHERE datallowconn":        "T:datname C:SELECT 0 Z:I",
		"SELECT table_name FROM information_schema.tables":          "T:table_name C:SELECT 0 Z:I",

		"SELECT * FROM pg_type":       "ERROR:0A000 Z:I",
		"SELECT * FROM orders":        "ERROR:0A000 Z:I",
		"SELECT 1 + 1":                "ERROR:0A000 Z:I",
		"SELECT":                      "ERROR:0A000 Z:I",
		"SELECT ,":                    "ERROR:0A000 Z:I",
		"SELECT version(":             "ERROR:0A000 Z:I",
		"SELECT version(1)":           "ERROR:0A000 Z:I",
		"SELECT pg_sleep(1)":          "ERROR:0A000 Z:I",
		"SELECT 1 AS":                 "ERROR:0A000 Z:I",
		"SELECT 1 FROM":               "ERROR:0A000 Z:I",
		"WITH x AS (SELECT 1) SELECT": "ERROR:0A000 Z:I",
	} {
		got := s.connect("admin", nil).ready().query(query)
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", query, got, want)
		}
	}
}

// psqlCompletion is what psql 15 sends for Tab.
func psqlCompletion(condition, prefix string) string {
	return "SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings  WHERE " + condition +
		"pg_catalog.lower(name) LIKE pg_catalog.lower('" + prefix + "%')\nLIMIT 1000"
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	const settable = "context IN ('user', 'superuser')    AND "
	s := startServer(t)
	for _, test := range []struct{ user, query, want string }{
		{"admin", psqlCompletion("", `schema\_`), "schema_diff schema_sync schema_sync.exclude_schemas schema_sync.index_concurrently schema_sync.index_jobs"},
		{"admin", psqlCompletion("", "TAS"), "tasks"},
		{"admin", psqlCompletion("", "timez"), "timezone"},
		{"monitoring", psqlCompletion("", `MIRROR\_L`), "mirror_log"},
		{"admin", psqlCompletion("", "nobody"), ""},
		{"admin", psqlCompletion(settable, "schema_sync.index"), "schema_sync.index_concurrently schema_sync.index_jobs"},
		{"admin", psqlCompletion(settable, "task"), ""},
		{"admin", psqlCompletion(settable, "application"), "application_name"},
		{"admin", psqlCompletion(settable, "server_v"), ""},
		{"monitoring", psqlCompletion(settable, "schema_sync.index"), ""},
		{"monitoring", psqlCompletion("", "schema_d"), "schema_diff"},
		{"admin", psqlCompletion("context != 'internal'    AND ", "schema_sync"), ""},
		{"admin", "SELECT vartype FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) = pg_catalog.lower('port')", ""},
		{"admin", " SELECT val FROM (    SELECT name, pg_catalog.unnest(enumvals) AS val      FROM pg_catalog.pg_settings     ) ss   WHERE val LIKE 'a%'        and pg_catalog.lower(name)=pg_catalog.lower('x')", ""},
	} {
		lines := strings.Split(s.connect(test.user, nil).ready().query(test.query), " ")
		var got []string
		for _, l := range lines {
			if name, isRow := strings.CutPrefix(l, "D:"); isRow {
				got = append(got, name)
			}
			if strings.HasPrefix(l, "ERROR") {
				t.Errorf("%s: %s", test.query, l)
			}
		}
		if !strings.HasPrefix(strings.Join(got, " "), test.want) || test.want == "" && len(got) > 0 {
			t.Errorf("%s:\n got %v\nwant %s", test.query, got, test.want)
		}
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 80_000_000, time.FixedZone("", 3600))
	for _, test := range []struct {
		kind         ColumnType
		value        any
		text, binary string
	}{
		{Text, "a\x00b\xff", "ab\uFFFD", "ab\uFFFD"},
		{Int8, int64(-2), "-2", "\xff\xff\xff\xff\xff\xff\xff\xfe"},
		{int4Type, int32(258), "258", "\x00\x00\x01\x02"},
		{Bool, true, "t", "\x01"},
		{Bool, false, "f", "\x00"},
		{Float8, 12.5, "12.5", "\x40\x29\x00\x00\x00\x00\x00\x00"},
		{Float8, 1e15, "1000000000000000", "\x43\x0c\x6b\xf5\x26\x34\x00\x00"},
		{Timestamptz, at, "2026-03-04 04:06:07.08+00", "\x00\x02\xef\x29\xb5\x41\x62\x40"},
		{Timestamptz, time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC), "1999-12-31 23:59:59+00", "\xff\xff\xff\xff\xff\xf0\xbd\xc0"},
	} {
		text, err := encodeText(test.value)
		if err != nil || string(text) != test.text {
			t.Errorf("%v as text: %q, %v, want %q", test.value, text, err, test.text)
		}
		binary, err := encodeBinary(test.kind, test.value)
		if err != nil || string(binary) != test.binary {
			t.Errorf("%v in binary: %q, %v, want %q", test.value, binary, err, test.binary)
		}
	}
	if _, err := encodeBinary(Text, int64(1)); err == nil {
		t.Error("a number passes for text")
	}
	if _, err := encodeRow(versionColumns, []any{"a", "b"}, nil); err == nil {
		t.Error("a row with too many values passes")
	}
}

package statement_test

import (
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/proxy/statement"
)

func TestScan(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sql        string
		statements int
		flags      statement.Flags
	}{
		{"", 0, 0},
		{" ;; -- nothing\n/* SET /* x */ ; */", 0, 0},
		{"SELECT 1", 1, 0},
		{"SELECT 1;", 1, 0},
		{"(SELECT 1) UNION (VALUES (2))", 1, 0},
		{"SELECT ';SET x=1' , $$;LISTEN a$$, $a$ ; $$ ; $a$, \"a;b\"\"\", E'\\';' ; SHOW x", 2, 0},
		{"set x = 1", 1, statement.Sets},
		{"SELECT 1; SET x = 1; RESET ALL", 3, statement.Sets},
		{"BEGIN", 1, statement.Opens},
		{"begin read only", 1, statement.Opens | statement.ReadOnly},
		{"START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", 1, statement.Opens | statement.ReadOnly},
		{"BEGIN; COMMIT", 2, statement.Opens | statement.Transactions},
		{"LISTEN a", 1, statement.Listens},
		{"UNLISTEN *", 1, statement.Unlistens},
		{"PREPARE p AS SELECT 1", 1, statement.Prepares | statement.Writes},
		{"PREPARE TRANSACTION 'x'", 1, statement.Prepares | statement.Writes | statement.Transactions},
		{"EXECUTE p", 1, statement.Executes | statement.Writes},
		{"DEALLOCATE p", 1, statement.Deallocates},
		{"DISCARD ALL", 1, statement.Discards},
		{"DO $$ BEGIN PERFORM 1; END $$", 1, statement.Blocks | statement.Writes},
		{"DECLARE c CURSOR WITH HOLD FOR SELECT 1", 1, statement.Holds | statement.Writes},
		{"DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1", 1, statement.Writes},
		{"CREATE TEMP TABLE a (b int)", 1, statement.Temporary | statement.Writes},
		{"create local temporary table a as select 1", 1, statement.Temporary | statement.Writes},
		{"SELECT 1 INTO TEMP a", 1, statement.Temporary | statement.Writes},
		{"SELECT temp FROM weather", 1, statement.Temporary}, // asked of the server, then
		{"INSERT INTO t VALUES ('temp')", 1, statement.Writes},
		{"SELECT pg_advisory_lock(1)", 1, statement.Locks | statement.Writes},
		{"SELECT pg_catalog.pg_try_advisory_lock(1, 2)", 1, statement.Locks | statement.Writes},
		{"SELECT pg_advisory_xact_lock(1)", 1, 0},
		{"SELECT pg_advisory_unlock_all()", 1, statement.Unlocks | statement.Writes},
		{"SELECT set_config('a.b', 'c', false)", 1, statement.Configures | statement.Writes},
		{"SELECT set_config('a.b', 'c', true)", 1, statement.Writes},
		{"SELECT set_config('a.b', coalesce(x, (1,2)::text), TRUE), 1", 1, statement.Writes},
		{"SELECT set_config('a.b', 'c', true AND false)", 1, statement.Configures | statement.Writes},
		{"SELECT * FROM t FOR UPDATE", 1, statement.Writes},
		{"WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", 1, statement.Writes},
		{"SELECT nextval('s')", 1, statement.Writes},
		{"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", 1, statement.Writes},
		{"SELECT 'open", 1, 0},
		{"SELECT $1, $2", 1, 0},
	} {
		if got := statement.Scan([]byte(test.sql)); got.Statements != test.statements || got.Flags != test.flags {
			t.Errorf("%q: %d statements, flags %b; want %d, %b", test.sql, got.Statements, got.Flags, test.statements, test.flags)
		}
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"SELECT 1": true, "SHOW x": true, "": false, "BEGIN": false, "BEGIN READ ONLY": true, "INSERT INTO t VALUES (1)": false,
		"SELECT 1; SELECT 2": true, "SELECT 1; UPDATE t SET a = 1": false, "EXPLAIN ANALYZE SELECT 1": false, "VALUES (1)": true, "COPY t TO STDOUT": false,
	} {
		if got := statement.Scan([]byte(sql)).Reads(); got != want {
			t.Errorf("%q: %v", sql, got)
		}
	}
}

func TestParseSet(t *testing.T) {
	t.Parallel()
	one := func(name, sql string) statement.Change {
		return statement.Change{Scope: statement.ChangesOne, Name: name, SQL: sql}
	}
	local, unclear := statement.Change{Scope: statement.Local}, statement.Change{}
	for sql, want := range map[string]statement.Change{
		"SET x = 1":                                    one("x", `SET "x" TO 1`),
		"set session Work_Mem to '4MB' ;":              one("work_mem", `SET "work_mem" TO '4MB'`),
		"/* a */ SET search_path TO a, \"B c\" -- end": one("search_path", `SET "search_path" TO a, "B c"`),
		"SET app.\"User\" = 'x;y'":                     one("app.user", `SET "app"."user" TO 'x;y'`),
		"SET x TO DEFAULT":                             one("x", ""),
		"SET LOCAL x = 1":                              local,
		"SET TIME ZONE 'UTC'":                          one("timezone", "SET TIME ZONE 'UTC'"),
		"SET SESSION TIME ZONE local":                  one("timezone", ""),
		"SET TIME ZONE INTERVAL '1' HOUR TO MINUTE":    one("timezone", "SET TIME ZONE INTERVAL '1' HOUR TO MINUTE"),
		"SET NAMES 'utf8'":                             one("client_encoding", "SET NAMES 'utf8'"),
		"SET NAMES":                                    one("client_encoding", ""),
		"SET names = 1":                                one("names", `SET "names" TO 1`),
		"SET SCHEMA 's'":                               one("search_path", "SET SCHEMA 's'"),
		"SET ROLE none":                                one("role", "SET ROLE none"),
		"SET role TO 'a'":                              one("role", `SET "role" TO 'a'`),
		"SET SESSION AUTHORIZATION 'a'":                unclear,
		"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY": unclear,
		"SET TRANSACTION READ ONLY":                            local,
		"SET CONSTRAINTS ALL DEFERRED":                         local,
		"SET transaction_isolation = 'serializable'":           local,
		"SET XML OPTION DOCUMENT":                              unclear,
		"RESET x":                                              one("x", ""),
		"RESET ALL":                                            {Scope: statement.ChangesAll},
		"RESET TIME ZONE":                                      one("timezone", ""),
		"RESET SESSION AUTHORIZATION":                          unclear,
		"RESET ROLE":                                           one("role", ""),
		"SET x":                                                unclear,
		"SET":                                                  unclear,
		"SET 'x' TO 1":                                         unclear,
		"SELECT 1":                                             unclear,
		"":                                                     unclear,
	} {
		if got := statement.ParseSet([]byte(sql)); got != want {
			t.Errorf("%q: %+v, want %+v", sql, got, want)
		}
	}
}

func TestParseDeallocate(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"DEALLOCATE a": "a", "deallocate PREPARE \"A b\";": "A b", "DEALLOCATE all": "ALL", "DEALLOCATE PREPARE ALL": "ALL",
		"DEALLOCATE \"all\"": "all", "DEALLOCATE prepare": "prepare", "DEALLOCATE": "-", "DEALLOCATE a b": "-", "DEALLOCATE a; SELECT 1": "-",
	} {
		name, all, ok := statement.ParseDeallocate([]byte(sql))
		switch {
		case !ok:
			name = "-"
		case all:
			name = "ALL"
		}
		if name != want {
			t.Errorf("%q: %q, want %q", sql, name, want)
		}
	}
	if !statement.IsDiscardAll([]byte("discard ALL ;")) || statement.IsDiscardAll([]byte("DISCARD ALL; SELECT 1")) || statement.IsDiscardAll([]byte("DISCARD TEMP")) {
		t.Error("DISCARD ALL is not told from others")
	}
}

func FuzzScan(f *testing.F) {
	for _, sql := range []string{"SELECT 1", "SET a.b TO 'c' ; RESET ALL", "E'\\", "$a$", "/*", "\"", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "SELECT set_config(a,(b),true)", "DEALLOCATE PREPARE \"x", "EXECUTE \"", "--"} {
		f.Add([]byte(sql))
	}
	f.Fuzz(func(t *testing.T, sql []byte) {
		s := statement.Scan(sql)
		if s.Statements > len(sql) {
			t.Fatalf("%d statements in %d bytes", s.Statements, len(sql))
		}
		change := statement.ParseSet(sql)
		if change.SQL != "" && strings.Count(change.SQL, "") > len(sql)+strings.Count(string(sql), "\"")+64 {
			t.Fatalf("%q became %q", sql, change.SQL)
		}
		statement.ParseDeallocate(sql)
		statement.IsDiscardAll(sql)
		statement.ParseExecute(sql)
	})
}

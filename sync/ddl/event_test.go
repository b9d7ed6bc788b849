package ddl

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// Each command comes where it was run: between the rows before and behind it,
// in their transaction; what is rolled back does not come.
func TestPositions(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		s := newSource(t, c, true, `
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TYPE mood AS ENUM ('sad');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN few AS int CHECK (VALUE < 10);
CREATE TABLE parent (id int, at int) PARTITION BY RANGE (at);
CREATE TABLE first PARTITION OF parent FOR VALUES FROM (0) TO (10);
CREATE TABLE base (i int); CREATE TABLE heir () INHERITS (base);
CREATE TABLE of_pair OF pair;
CREATE SCHEMA other;
CREATE PUBLICATION p2;
`, "")
		tests := []struct {
			sql  string
			want []string
		}{
			{`BEGIN; INSERT INTO t VALUES (1); ALTER TABLE t ADD w int DEFAULT 7; INSERT INTO t VALUES (2); ALTER TABLE t DROP COLUMN w; INSERT INTO t VALUES (3); COMMIT`,
				[]string{"I t(id,v)", "table ALTER TABLE public.t(id,v,w) plain?", "I t(id,v,w)",
					`dropped ALTER TABLE table column ["public" "t" "w"] default value ["public" "t" "w"]`, "table ALTER TABLE public.t(id,v)", "table ALTER TABLE public.t(id,v) plain?", "I t(id,v)"}},
			{`BEGIN; INSERT INTO t VALUES (4); SAVEPOINT s; ALTER TABLE t ADD gone int; ROLLBACK TO s; INSERT INTO t VALUES (5); COMMIT`, []string{"I t(id,v)", "I t(id,v)"}},
			{`ALTER TABLE t RENAME COLUMN v TO "V ""x"" $1"`, []string{`table ALTER TABLE public.t(id,V "x" $1) plain`}},
			{`ALTER TABLE t RENAME COLUMN "V ""x"" $1" TO v`, []string{`table ALTER TABLE public.t(id,v) plain`}},
			{`ALTER TABLE t RENAME TO "T ""x"" $1"`, []string{`table ALTER TABLE public.T "x" $1(id,v) plain`}},
			{`ALTER TABLE "T ""x"" $1" SET SCHEMA other`, []string{`table ALTER TABLE other.T "x" $1(id,v) plain`}},
			{`ALTER SCHEMA other RENAME TO "o ""x"" $1"`, []string{`schema ALTER SCHEMA o "x" $1 T "x" $1`}},
			{`ALTER TABLE "o ""x"" $1"."T ""x"" $1" SET SCHEMA public`, []string{`table ALTER TABLE public.T "x" $1(id,v) plain`}},
			{`ALTER TABLE "T ""x"" $1" RENAME TO t`, []string{`table ALTER TABLE public.t(id,v) plain`}},
			{`ALTER TABLE t ALTER v TYPE varchar(20)`, []string{"rewrite ALTER TABLE public.t reason 4 plain", "table ALTER TABLE public.t(id,v) plain"}},
			{`ALTER TABLE t ALTER v TYPE text USING v || '!'`, []string{"rewrite ALTER TABLE public.t reason 4", "table ALTER TABLE public.t(id,v)"}},
			{`DO $$ BEGIN ALTER TABLE t ALTER id TYPE bigint; END $$`, []string{"rewrite ALTER TABLE public.t reason 4", "table ALTER TABLE public.t(id,v)"}},
			{`ALTER TABLE t ADD u uuid DEFAULT gen_random_uuid()`, []string{"rewrite ALTER TABLE public.t reason 2 plain", "table ALTER TABLE public.t(id,v,u) plain"}},
			{`ALTER TABLE t SET UNLOGGED`, []string{"rewrite ALTER TABLE public.t reason 1 plain", "table ALTER TABLE public.t(id,v,u) plain"}},
			{`ALTER TABLE t SET LOGGED`, []string{"rewrite ALTER TABLE public.t reason 1 plain", "table ALTER TABLE public.t(id,v,u) plain"}},
			{`ALTER TABLE t REPLICA IDENTITY FULL`, []string{"table ALTER TABLE public.t(id,v,u) plain"}},
			{`CREATE UNIQUE INDEX "x ""y""" ON t (v)`, []string{"table CREATE INDEX public.t(id,v,u)"}},
			{`CREATE INDEX CONCURRENTLY slow ON t (u)`, []string{"table CREATE INDEX public.t(id,v,u)"}},
			{`ALTER INDEX slow RENAME TO slower`, []string{"table ALTER INDEX public.t(id,v,u)"}},
			{`DROP INDEX slower`, []string{`dropped DROP INDEX index ["public" "slower"]`}},
			{`DROP INDEX CONCURRENTLY "x ""y"""`, []string{`dropped DROP INDEX index ["public" "x \"y\""]`}},
			{`ALTER TABLE t ADD CONSTRAINT c CHECK (v <> '') NOT VALID`, []string{"table ALTER TABLE public.t(id,v,u) plain"}},
			{`ALTER TABLE t VALIDATE CONSTRAINT c`, []string{"table ALTER TABLE public.t(id,v,u) plain"}},
			{`ALTER TABLE t RENAME CONSTRAINT c TO d`, []string{"table ALTER TABLE public.t(id,v,u) plain"}},
			{`ALTER TYPE mood ADD VALUE 'glad ''x'''`, []string{`type ALTER TYPE public.mood e ["sad" "glad 'x'"]`}},
			{`ALTER TYPE mood RENAME VALUE 'sad' TO 'low'`, []string{`type ALTER TYPE public.mood e ["low" "glad 'x'"]`}},
			{`ALTER TYPE pair RENAME ATTRIBUTE a TO "A" CASCADE`, []string{`type ALTER TYPE public.pair c []`, "table ALTER TYPE public.of_pair(A,b)"}},
			{`ALTER DOMAIN few ADD CHECK (VALUE > 0)`, []string{`type ALTER DOMAIN public.few d []`}},
			{`CREATE TABLE fresh (id serial PRIMARY KEY, m mood REFERENCES pg_enum_none)`, nil},
			{`CREATE TABLE fresh (id serial PRIMARY KEY, m mood)`, []string{"table CREATE TABLE public.fresh(id,m)"}},
			{`BEGIN; CREATE TABLE cta AS SELECT 1 AS i; INSERT INTO cta VALUES (2); COMMIT`, []string{"I cta(i)", "table CREATE TABLE AS public.cta(i)", "I cta(i)"}},
			{`SELECT 1 AS i INTO sel`, []string{"I sel(i)", "table SELECT INTO public.sel(i)"}},
			{`CREATE SCHEMA made CREATE TABLE inside (i int)`, []string{"table CREATE SCHEMA made.inside(i)"}},
			{`ALTER TABLE parent ADD w int DEFAULT 1`, []string{"table ALTER TABLE public.parent(id,at,w) plain", "table ALTER TABLE public.first(id,at,w) plain"}},
			{`CREATE TABLE second PARTITION OF parent FOR VALUES FROM (10) TO (20)`, []string{"table CREATE TABLE public.second(id,at,w)"}},
			{`ALTER TABLE parent DETACH PARTITION second`, []string{"table ALTER TABLE public.parent(id,at,w) plain"}},
			{`ALTER TABLE parent ATTACH PARTITION second FOR VALUES FROM (10) TO (30)`, []string{"table ALTER TABLE public.parent(id,at,w) plain", "table ALTER TABLE public.second(id,at,w) plain"}},
			{`ALTER TABLE second ADD CHECK (id > 0)`, []string{"table ALTER TABLE public.second(id,at,w) plain"}},
			{`ALTER TABLE base RENAME COLUMN i TO j`, []string{"table ALTER TABLE public.base(j) plain", "table ALTER TABLE public.heir(j) plain"}},
			{`ALTER TABLE base SET (fillfactor = 70)`, []string{"table ALTER TABLE public.base(j) plain"}},
			{`ALTER PUBLICATION p2 ADD TABLE t`, []string{"publication ALTER PUBLICATION p2 [public.t]", "table ALTER PUBLICATION public.t(id,v,u)"}},
			{`ALTER PUBLICATION p2 SET TABLE t (id, v) WHERE (id > 1)`, []string{`dropped ALTER PUBLICATION publication relation ["public" "t"]`, "table ALTER PUBLICATION public.t(id,v,u)", "publication ALTER PUBLICATION p2 [public.tid,v(id > 1)]",
				"publication ALTER PUBLICATION p2 [public.tid,v(id > 1)]", "table ALTER PUBLICATION public.t(id,v,u)"}},
			{`ALTER PUBLICATION p2 SET (publish = 'insert')`, []string{"publication ALTER PUBLICATION p2 [public.tid,v(id > 1)]"}},
			{`ALTER PUBLICATION p2 DROP TABLE t`, []string{`dropped ALTER PUBLICATION publication relation ["public" "t"]`, "table ALTER PUBLICATION public.t(id,v,u)", "publication ALTER PUBLICATION p2"}},
			{`ALTER PUBLICATION p2 ADD TABLES IN SCHEMA made`, []string{"publication ALTER PUBLICATION p2"}},
			{`DROP PUBLICATION p2`, []string{`dropped DROP PUBLICATION publication ["p2"]`}},
			{`CREATE PUBLICATION p3 FOR TABLE t`, []string{"publication CREATE PUBLICATION p3 [public.t]"}},
			{`DROP PUBLICATION p3`, []string{`dropped DROP PUBLICATION publication ["p3"]`}},
			{`DROP TYPE mood CASCADE`, []string{`dropped DROP TYPE type ["public" "mood"] table column ["public" "fresh" "m"]`, "table DROP TYPE public.fresh(id)"}},
			{`DROP TABLE fresh, cta`, []string{`dropped DROP TABLE table ["public" "cta"] table ["public" "fresh"]`}},
			{`DROP SCHEMA made CASCADE`, []string{`dropped DROP SCHEMA schema ["made"] table ["made" "inside"]`}},
			{`DROP TABLE parent`, []string{`dropped DROP TABLE table ["public" "parent"] table ["public" "first"] table ["public" "second"]`}},
			// Nothing that matters.
			{`CREATE TEMP TABLE tt (i int); ALTER TABLE tt ADD j int DEFAULT random(); CREATE INDEX ON tt (j); ALTER TABLE tt DROP COLUMN i; CREATE TEMP TABLE tu AS SELECT 1; DROP TABLE tt`, nil},
			{`CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; DROP FUNCTION f(); CREATE VIEW v AS SELECT 1 AS i; ALTER VIEW v RENAME TO vv; ALTER TABLE vv RENAME TO v; DROP VIEW v`, nil},
			{`COMMENT ON TABLE t IS 'x'; GRANT SELECT ON t TO PUBLIC; ANALYZE t; VACUUM FULL t`, nil},
			{`CREATE TABLE pgdrover.own (i int); ALTER TABLE pgdrover.own ADD j int DEFAULT random(); DROP TABLE pgdrover.own`, nil},
			{`CREATE SEQUENCE sq; DROP SEQUENCE sq; CREATE MATERIALIZED VIEW mv AS SELECT 1 AS i; CREATE INDEX ON mv (i); DROP MATERIALIZED VIEW mv`, nil},
		}
		conn := s.d.Connect(t)
		for _, test := range tests {
			if strings.Contains(test.sql, "pg_enum_none") {
				if _, err := conn.PgConn().Exec(t.Context(), test.sql).ReadAll(); err == nil {
					t.Fatal("it works")
				}
			} else {
				for _, sql := range separate(test.sql) {
					if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
						t.Fatalf("%s: %v", sql, err)
					}
				}
			}
			var got []string
			for _, text := range lines(s.steps()) {
				if text != "" {
					got = append(got, text)
				}
			}
			for i, w := range test.want { // commands of one string come by themselves
				test.want[i] = strings.TrimSuffix(w, "?")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s\n%s", test.sql, diff)
			}
		}
	})
}

// separate cuts a script into its commands, but for those with a body.
func separate(sql string) []string {
	if strings.Contains(sql, "$$") {
		return []string{sql}
	}
	return strings.Split(sql, "; ")
}

// The triggers do not depend on who runs a command and how the session is set:
// not on rights, nor on search_path, nor on what a user puts in the way.
func TestHostileSession(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		s := newSource(t, c, true, `CREATE SCHEMA "Own ""S"""; CREATE TYPE "Own ""S""".mood AS ENUM ('sad')`, "")
		role := "plain_" + s.d.Name
		makeRole(t, s.d, role, "")
		s.d.Exec(t, fmt.Sprintf(`GRANT ALL ON SCHEMA "Own ""S""" TO %s; REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, bytea%s) FROM PUBLIC`,
			pgtest.Quote(role), flushArgument(c)))
		conn := s.d.Connect(t)
		for _, sql := range []string{
			"SET ROLE " + pgtest.Quote(role),
			// Whatever of these were called would run as a superuser.
			`CREATE FUNCTION "Own ""S""".evil(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''called as %'', current_user; END'`,
			`CREATE DOMAIN pg_temp.int4 AS pg_catalog.int4 CHECK ("Own ""S""".evil(VALUE))`,
			`CREATE DOMAIN pg_temp.int8 AS pg_catalog.int8 CHECK ("Own ""S""".evil(1))`,
			`CREATE DOMAIN pg_temp.bytea AS pg_catalog.bytea CHECK ("Own ""S""".evil(1))`,
			`CREATE TEMP TABLE pg_class (oid pg_catalog.oid)`,
			`CREATE FUNCTION "Own ""S""".age(xid) RETURNS pg_catalog.int4 LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''called''; END'`,
			`SET search_path = pg_temp, "Own ""S""", pg_catalog`,
			`SET "DateStyle" = 'German, DMY'; SET "TimeZone" = 'Asia/Kathmandu'; SET quote_all_identifiers = on; SET standard_conforming_strings = off; SET bytea_output = escape`,
			`CREATE TABLE "Own ""S""".t (id pg_catalog.int4 PRIMARY KEY)`,
			`ALTER TABLE "Own ""S""".t ADD "at ""x"" $1" timestamptz DEFAULT '2020-02-03 04:05:06+00', ADD b pg_catalog.bytea DEFAULT '\\x00ff', ADD m mood DEFAULT 'sad'`,
			`DROP TABLE "Own ""S""".t`,
		} {
			if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		steps := s.steps()
		var got []string
		for _, step := range steps {
			if step.event != nil {
				got = append(got, step.text)
			}
		}
		want := []string{
			`table CREATE TABLE Own "S".t(id)`,
			`table ALTER TABLE Own "S".t(id,at "x" $1,b,m) plain`,
			`dropped DROP TABLE table ["Own \"S\"" "t"]`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		for _, step := range steps {
			if step.event == nil || step.event.After == nil || len(step.event.After.Columns) < 4 {
				continue
			}
			columns := step.event.After.Columns
			if columns[1].Missing != "2020-02-03 04:05:06+00" || columns[2].Missing != `\x00ff` || columns[3].Missing != "sad" || columns[3].TypeText != `"Own ""S""".mood` {
				t.Errorf("columns %+v", columns[1:])
			}
			if step.event.User != "postgres" {
				t.Errorf("user %q", step.event.User)
			}
		}
	})
}

// flushArgument is what the function has more since version 17.
func flushArgument(c *pgtest.Cluster) string {
	if c.Installation().Major >= 17 {
		return ", boolean"
	}
	return ""
}

// Whatever fails in the triggers, the command does not, and the stream says
// that something is missing.
func TestFailures(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		s := newSource(t, c, true, `CREATE TABLE t (id int PRIMARY KEY, v text)`, "")
		makeRole(t, s.d, "less_"+s.d.Name, "SUPERUSER")
		for _, test := range []struct {
			name, before, sql string
			want              []string
		}{
			{"an image fails", `CREATE OR REPLACE FUNCTION pgdrover.ddl_describe(relation oid) RETURNS json LANGUAGE plpgsql AS 'BEGIN RETURN 1 / 0; END'`,
				`ALTER TABLE t ADD a int`, []string{"table ALTER TABLE public.t plain failure 22012"}},
			{"an image is too large", `CREATE OR REPLACE FUNCTION pgdrover.ddl_describe(relation oid) RETURNS json LANGUAGE plpgsql AS 'BEGIN RETURN pg_catalog.json_build_object(''x'', pg_catalog.repeat(''x'', 2000000)); END'`,
				`ALTER TABLE t ADD b int`, []string{"table ALTER TABLE public.t plain failure 54000"}},
			{"a function is gone", `DROP FUNCTION pgdrover.ddl_of_users(text)`,
				`ALTER TABLE t ALTER a TYPE bigint, DROP COLUMN b`, []string{"rewrite", "unknown ALTER TABLE failure 42883", "unknown ALTER TABLE failure 42883", "unknown ALTER TABLE failure 42883"}},
			{"the functions are out of reach", fmt.Sprintf(`ALTER FUNCTION pgdrover.ddl_end() OWNER TO %[1]s; ALTER FUNCTION pgdrover.ddl_drop() OWNER TO %[1]s; ALTER ROLE %[1]s NOSUPERUSER`, pgtest.Quote("less_"+s.d.Name)),
				`ALTER TABLE t DROP a`, []string{"unknown ALTER TABLE failure 42501", "unknown ALTER TABLE failure 42501"}},
			{"the right is gone", fmt.Sprintf(`ALTER ROLE %[1]s SUPERUSER; ALTER FUNCTION pgdrover.ddl_end() OWNER TO %[1]s; ALTER FUNCTION pgdrover.ddl_drop() OWNER TO %[1]s; ALTER FUNCTION pgdrover.ddl_rewrite() OWNER TO %[1]s; ALTER ROLE %[1]s NOSUPERUSER;
				REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, bytea%[2]s) FROM PUBLIC`, pgtest.Quote("less_"+s.d.Name), flushArgument(c)),
				`ALTER TABLE t ADD c int`, nil},
		} {
			t.Run(test.name, func(t *testing.T) {
				s.d.Exec(t, test.before)
				s.d.Exec(t, test.sql)
				got := []string{}
				for _, step := range s.steps() {
					if step.event != nil {
						got = append(got, step.text)
					}
				}
				if len(test.want) > 0 && test.want[0] == "rewrite" {
					test.want = test.want[1:]
				}
				if diff := cmp.Diff(test.want, got); diff != "" && len(test.want)+len(got) > 0 {
					t.Error(diff)
				}
			})
		}
	})
}

// A transaction with one snapshot for all its queries may not see what others
// have done: then there is no image rather than a wrong one.
func TestOldSnapshot(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		s := newSource(t, c, true, `CREATE TABLE t (id int PRIMARY KEY)`, "")
		conn := s.d.Connect(t)
		exec := func(sql string) {
			t.Helper()
			if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
		s.d.Exec(t, "ALTER TABLE t ADD a int; CREATE TABLE u (i int)")
		exec("ALTER TABLE t ADD b int DEFAULT random()")
		exec("ALTER TABLE u RENAME COLUMN i TO j; ALTER TABLE t DROP COLUMN a; CREATE TEMP TABLE tt (i int)")
		exec("COMMIT")
		var got []string
		for _, step := range s.steps() {
			if step.event != nil {
				got = append(got, step.text)
			}
		}
		want := []string{
			"table ALTER TABLE public.t(id,a)", "table CREATE TABLE public.u(i)",
			"rewrite ALTER TABLE public.t reason 2 plain", "unknown ALTER TABLE failure 25001", "unknown ALTER TABLE failure 25001",
			`dropped ALTER TABLE table column ["public" "t" "a"]`, "unknown ALTER TABLE failure 25001", "unknown ALTER TABLE failure 25001",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Commands in sessions of the replica role are told: their rows are in the
// stream as well.
func TestReplicaRole(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		s := newSource(t, c, true, `CREATE TABLE t (id int PRIMARY KEY)`, "")
		conn := s.d.Connect(t)
		for _, sql := range []string{"SET session_replication_role = replica", "ALTER TABLE t ADD a int", "INSERT INTO t VALUES (1, 2)"} {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"table ALTER TABLE public.t(id,a) plain", "", "I t(id,a)", ""}
		if diff := cmp.Diff(want, lines(s.steps())); diff != "" {
			t.Error(diff)
		}
	})
}

// What touches very much is told in bounded messages: images of some, the names
// of all.
func TestManyTables(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		s := newSource(t, c, true, `CREATE TABLE p (i int) PARTITION BY LIST (i)`, "")
		const partitions = 3 * commandImages
		s.d.Exec(t, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP EXECUTE format('CREATE TABLE part_%%s PARTITION OF p FOR VALUES IN (%%s)', i, i); END LOOP; END $$`, partitions))
		s.steps()
		s.d.Exec(t, `ALTER TABLE p ADD v text DEFAULT 'x'`)
		images, named := 0, 0
		for _, step := range s.steps() {
			switch {
			case step.event == nil:
			case step.event.After != nil:
				images++
			case step.event.Failure != nil && step.event.Failure.Code == "54000" && step.event.OID != 0:
				named++
			}
		}
		if images == 0 || images > commandImages || images+named != partitions+1 {
			t.Errorf("%d images, %d names", images, named)
		}
		s.d.Exec(t, `DROP TABLE p`)
		dropped, messages := 0, 0
		for _, step := range s.steps() {
			if step.event != nil {
				messages++
				dropped += len(step.event.Dropped)
			}
		}
		if dropped != partitions+1 || messages > 2 {
			t.Errorf("%d dropped in %d messages", dropped, messages)
		}
	})
}

// A database in another encoding sends UTF-8.
func TestEncoding(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d := c.CreateDatabase(t, "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
		s := newSourceIn(t, d, true, "", "")
		for _, sql := range []string{`CREATE TABLE public."tä" ("sö" int)`, `ALTER TABLE public."tä" ADD "ü" text DEFAULT 'ß'`} {
			_, err := s.conn.Exec(t.Context(), sql) // with client_encoding UTF8
			must(t, err)
		}
		steps := s.steps()
		if len(steps) != 4 || steps[2].text != "table ALTER TABLE public.tä(sö,ü) plain" || steps[2].event.After.Columns[1].Missing != "ß" {
			t.Errorf("%q", lines(steps))
		}
	})
}

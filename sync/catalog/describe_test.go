package catalog_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// everything makes a table that has one of each thing a description tells.
var everything = []string{
	`CREATE EXTENSION citext SCHEMA public`,
	`CREATE TYPE @.mood AS ENUM ('sad', 'it''s "ok"', 'happy')`,
	`CREATE TYPE @.pair AS (a numeric(8,2), "b ""B""" text COLLATE "C")`,
	`CREATE DOMAIN @.short AS varchar(20) DEFAULT 'x' NOT NULL CONSTRAINT "not ""empty""" CHECK (VALUE <> '')`,
	`CREATE DOMAIN @.shorter AS @.short CHECK (length(VALUE) < 10)`,
	`CREATE TYPE @.span AS RANGE (SUBTYPE = numeric)`,
	`CREATE COLLATION @.blind (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false)`,
	`CREATE TABLE @.other (id bigint PRIMARY KEY, code text UNIQUE)`,
	`CREATE TABLE @.@ (
		id bigint GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 7 CACHE 3) PRIMARY KEY,
		dropped int,
		at timestamptz(3) NOT NULL DEFAULT now(),
		r float8 DEFAULT random(),
		n numeric(10,2) DEFAULT 1.5 CONSTRAINT positive CHECK (n > 0),
		day date DEFAULT current_date,
		twice numeric GENERATED ALWAYS AS (n * 2) STORED,
		m @.mood[], p @.pair, s @.shorter, sp @.span, ci public.citext, bl text COLLATE @.blind,
		ser serial, o bigint CONSTRAINT fk REFERENCES @.other ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
		$x$ text,
		EXCLUDE USING gist (numrange(n, n) WITH &&)
	) WITH (fillfactor = 71, toast.autovacuum_enabled = off)`,
	`ALTER TABLE @.@ DROP COLUMN dropped`,
	`INSERT INTO @.@ (s) VALUES ('one')`,
	`ALTER TABLE @.@ ADD added text DEFAULT 'it''s, {"a"} \ ', ADD box box DEFAULT '(1,1),(0,0)', ADD arr int[] DEFAULT '{1,2}', ADD empty text DEFAULT ''`,
	`ALTER TABLE @.@ ALTER n SET STATISTICS 77, ALTER $x$ SET STORAGE EXTERNAL`,
	`CREATE UNIQUE INDEX "u USING x" ON @.@ (lower($x$) DESC NULLS LAST, n) INCLUDE (o) WHERE n > 1`,
	`CREATE UNIQUE INDEX ident ON @.@ (at)`,
	`ALTER TABLE @.@ REPLICA IDENTITY USING INDEX ident`,
	`CREATE FUNCTION @.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`,
	`CREATE TRIGGER tr BEFORE UPDATE OF n ON @.@ FOR EACH ROW WHEN (NEW.n > 1) EXECUTE FUNCTION @.f('a ON b')`,
	`ALTER TABLE @.@ ENABLE ALWAYS TRIGGER tr`,
	`CREATE RULE ru AS ON DELETE TO @.@ WHERE OLD.n = 7 DO INSTEAD NOTHING`,
	`CREATE POLICY po ON @.@ AS RESTRICTIVE FOR UPDATE USING (n > 1) WITH CHECK (n > 2)`,
	`ALTER TABLE @.@ FORCE ROW LEVEL SECURITY`,
	`CREATE STATISTICS @.st (dependencies) ON n, at FROM @.@`,
	`CREATE TABLE @.refers (x bigint CONSTRAINT points REFERENCES @.@)`,
	`CREATE PUBLICATION pub FOR TABLE @.@ (id, at, n) WHERE (id > 1) WITH (publish = 'insert')`,
	`CREATE PUBLICATION every FOR ALL TABLES WITH (publish_via_partition_root)`,
	`CREATE PUBLICATION inschema FOR TABLES IN SCHEMA @`,
	`GRANT SELECT ON @.@ TO PUBLIC`, `GRANT UPDATE (n) ON @.@ TO PUBLIC`,
	`COMMENT ON TABLE @.@ IS 'a "table"'`, `COMMENT ON COLUMN @.@.n IS 'how many'`,
}

func describeEverything(t *testing.T, d *pgtest.Database, conn *pgx.Conn) *catalog.TableDescription {
	t.Helper()
	for _, sql := range everything {
		sql = strings.ReplaceAll(strings.ReplaceAll(sql, "@", q), "$x$", q)
		d.Exec(t, sql)
	}
	found := must[map[catalog.Name]*catalog.TableDescription](t)(catalog.DescribeTables(t.Context(), conn, []catalog.Name{name(weird), name("missing")}))
	if len(found) != 1 || found[name(weird)] == nil {
		t.Fatalf("described: %v", found)
	}
	return found[name(weird)]
}

// portable leaves out what another server or run would say otherwise.
func portable(d *catalog.TableDescription) *catalog.TableDescription {
	d.Server, d.OID, d.Filenode, d.Tuples, d.Bytes = 0, 0, 0, 0, 0
	for i, item := range d.ACL {
		if strings.HasPrefix(item, "postgres=") {
			d.ACL[i] = "postgres=all/postgres" // PostgreSQL 17 has one privilege more
		}
	}
	for i := range d.Collations {
		c := &d.Collations[i]
		if c.Collation.Name == "default" {
			c.Provider, c.Locale, c.Deterministic = "", "", false
		}
		c.Version, c.ActualVersion = "", ""
	}
	if d.Partition != nil {
		d.Partition.OID = 0
	}
	if d.Partitioning != nil {
		for i := range d.Partitioning.Partitions {
			d.Partitioning.Partitions[i].OID = 0
		}
	}
	return d
}

// asText is a description as the golden files have it.
func asText(t *testing.T, d *catalog.TableDescription) string {
	t.Helper()
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(d); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

var update = flag.Bool("update", false, "write what is described to testdata")

// golden compares descriptions with a file that was read by a person.
func golden(t *testing.T, file string, descriptions ...*catalog.TableDescription) {
	t.Helper()
	var got strings.Builder
	for _, d := range descriptions {
		got.WriteString(asText(t, portable(d)))
	}
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// onEveryMajor runs a test on one database of each installed version.
func onEveryMajor(t *testing.T, test func(t *testing.T, d *pgtest.Database, conn *pgx.Conn)) {
	for _, inst := range pgtest.Majors(t) {
		t.Run(fmt.Sprint(inst.Major), func(t *testing.T) {
			t.Parallel()
			d := pgtest.Shared(t, inst.Major).CreateNamedDatabase(t, fmt.Sprintf("%.40s %s", t.Name(), weird))
			d.Exec(t, "CREATE SCHEMA "+q)
			test(t, d, asRole(t, d, d.Cluster.Superuser()))
		})
	}
}

func TestDescribeEverything(t *testing.T) {
	t.Parallel()
	onEveryMajor(t, func(t *testing.T, d *pgtest.Database, conn *pgx.Conn) {
		got := describeEverything(t, d, conn)
		if got.OID == 0 || got.Filenode == 0 || got.Server/10000 != d.Cluster.Installation().Major {
			t.Errorf("OID %d, filenode %d, server %d", got.OID, got.Filenode, got.Server)
		}
		byOID := must[*catalog.TableDescription](t)(catalog.DescribeTable(t.Context(), conn, got.OID))
		for i := range got.Collations {
			if got.Collations[i].Version != got.Collations[i].ActualVersion {
				t.Errorf("collation %+v", got.Collations[i])
			}
			got.Collations[i].ActualVersion = ""
		}
		if diff := cmp.Diff(got, byOID); diff != "" {
			t.Errorf("by name and by OID (-name +oid):\n%s", diff)
		}
		golden(t, "everything.json", got)
		if none := must[*catalog.TableDescription](t)(catalog.DescribeTable(t.Context(), conn, 1)); none != nil {
			t.Errorf("the relation 1 is %+v", none)
		}
	})
}

// TestDescribeOlder runs the texts for older servers, which ask for nothing
// that later ones have lost.
func TestDescribeOlder(t *testing.T) {
	t.Parallel()
	onEveryMajor(t, func(t *testing.T, d *pgtest.Database, conn *pgx.Conn) {
		now := describeEverything(t, d, conn)
		for _, version := range []int{130000, 140000} {
			var text []byte
			if err := conn.QueryRow(t.Context(), catalog.DescriptionSQL(version, "$1::pg_catalog.oid"), now.OID).Scan(&text); err != nil {
				t.Fatalf("as on %d: %v", version, err)
			}
			then := must[*catalog.TableDescription](t)(catalog.ParseDescription(text))
			if diff := cmp.Diff(now.Columns, then.Columns); diff != "" {
				t.Errorf("as on %d (-now +then):\n%s", version, diff)
			}
			if len(then.Publications) != 2 || then.Publications[0].Columns != nil {
				t.Errorf("as on %d: publications %+v", version, then.Publications)
			}
		}
	})
}

func TestDescribePartitions(t *testing.T) {
	t.Parallel()
	onEveryMajor(t, func(t *testing.T, d *pgtest.Database, conn *pgx.Conn) {
		for _, sql := range []string{
			`CREATE TABLE @.root (id bigint, at date, x int CHECK (x > 0)) PARTITION BY RANGE (at)`,
			`CREATE TABLE @.y25 PARTITION OF @.root FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY HASH ((id + x), at)`,
			`CREATE TABLE @.@ PARTITION OF @.y25 FOR VALUES WITH (MODULUS 2, REMAINDER 0)`,
			`CREATE TABLE @.rest PARTITION OF @.root DEFAULT`,
			`CREATE INDEX ON @.root (x)`,
			`CREATE TABLE @.parent (a int)`, `CREATE TABLE @.child (b int) INHERITS (@.parent)`,
			`CREATE UNLOGGED TABLE @.fast (a int)`,
			`CREATE PUBLICATION pub FOR TABLE @.root WHERE (id > 1) WITH (publish_via_partition_root)`,
		} {
			d.Exec(t, strings.ReplaceAll(sql, "@", q))
		}
		names := []catalog.Name{name("root"), name("y25"), name(weird), name("rest"), name("parent"), name("child"), name("fast")}
		found := must[map[catalog.Name]*catalog.TableDescription](t)(catalog.DescribeTables(t.Context(), conn, names))
		var all []*catalog.TableDescription
		for _, n := range names {
			all = append(all, found[n])
		}
		golden(t, "partitions.json", all...)
	})
}

// TestDescribeInEventTrigger checks that the text works inside PL/pgSQL while
// the DDL it reports is being run, and sees what that made.
func TestDescribeInEventTrigger(t *testing.T) {
	t.Parallel()
	onEveryMajor(t, func(t *testing.T, d *pgtest.Database, conn *pgx.Conn) {
		d.Exec(t, `CREATE TABLE public.seen (tag text, description json)`)
		d.Exec(t, `CREATE FUNCTION public.describe(oid) RETURNS json LANGUAGE plpgsql SET search_path = '' SET jit = off AS $f$
			BEGIN RETURN (`+catalog.DescriptionSQL(d.Cluster.Installation().Major*10000, "$1")+`); END $f$`)
		d.Exec(t, `CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS $f$
			BEGIN INSERT INTO public.seen SELECT command_tag, public.describe(objid) FROM pg_event_trigger_ddl_commands() WHERE object_type LIKE 'table%'; END $f$`)
		d.Exec(t, `CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION public.note()`)
		d.Exec(t, strings.ReplaceAll(`SET search_path = @; CREATE TYPE e AS ENUM ('a'); CREATE TABLE @ (id int PRIMARY KEY, e e[]);
			BEGIN; ALTER TABLE @ ADD c timestamptz DEFAULT now(), DROP COLUMN e; ALTER TABLE @ RENAME c TO d; COMMIT`, "@", q))
		var got []string
		for _, text := range pgtest.Column[string](t, d, `SELECT description::text FROM public.seen`) {
			description := must[*catalog.TableDescription](t)(catalog.ParseDescription([]byte(text)))
			line := ""
			for _, c := range description.Columns {
				line += fmt.Sprintf("%d %s %s %v;", c.Number, c.Name, c.TypeText, c.HasMissing)
			}
			got = append(got, line)
		}
		want := []string{"1 id integer false;2 e " + q + ".e[] false;", "1 id integer false;3 c timestamp with time zone true;", "1 id integer false;3 d timestamp with time zone true;"}
		if diff := cmp.Diff(want, got); diff != "" { // an empty table has missing values all the same
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

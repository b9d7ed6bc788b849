package catalog_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// TestStamps checks that whatever changes a table's description changes its
// stamp, and that writing and maintenance do not.
func TestStamps(t *testing.T) {
	t.Parallel()
	onEveryMajor(t, func(t *testing.T, d *pgtest.Database, conn *pgx.Conn) {
		in := func(sql string) string { return strings.ReplaceAll(sql, "@", q) }
		d.Exec(t, in(`CREATE TYPE @.e AS ENUM ('a'); CREATE TYPE @.c AS (a int); CREATE DOMAIN @.d AS int; CREATE TABLE @.r (id bigint PRIMARY KEY);
			CREATE TABLE @.@ (id serial PRIMARY KEY, a int, e @.e, c @.c, d @.d); CREATE PUBLICATION pub FOR TABLE @.@;
			CREATE TABLE @.root (id int) PARTITION BY LIST (id); CREATE TABLE @.leaf PARTITION OF @.root DEFAULT;
			CREATE FUNCTION @.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`))
		look := func(table string) (string, *catalog.TableDescription) {
			stamps := must[map[catalog.Name]string](t)(catalog.ReadStamps(t.Context(), conn, []catalog.Name{name(table), name("missing")}))
			found := must[map[catalog.Name]*catalog.TableDescription](t)(catalog.DescribeTables(t.Context(), conn, []catalog.Name{name(table)}))
			if len(stamps) != 1 {
				t.Fatalf("stamps: %v", stamps)
			}
			description := found[name(table)]
			description.Tuples, description.Bytes = 0, 0
			return stamps[name(table)], description
		}
		for _, test := range []struct{ table, sql string }{
			{"", `ALTER TABLE @.@ ADD n int DEFAULT 7`}, {"", `ALTER TABLE @.@ ALTER n DROP DEFAULT`}, {"", `ALTER TABLE @.@ ALTER n SET DEFAULT 8`}, {"", `ALTER TABLE @.@ DROP n`},
			{"", `ALTER TABLE @.@ RENAME a TO b`}, {"", `ALTER TABLE @.@ ALTER b TYPE bigint`}, {"", `ALTER TABLE @.@ ALTER b SET NOT NULL`}, {"", `ALTER TABLE @.@ ADD CONSTRAINT k CHECK (b > 0) NOT VALID`},
			{"", `ALTER TABLE @.@ VALIDATE CONSTRAINT k`}, {"", `ALTER TABLE @.@ ADD FOREIGN KEY (b) REFERENCES @.r`}, {"r", `ALTER TABLE @.@ ADD FOREIGN KEY (id) REFERENCES @.r`},
			{"", `CREATE INDEX i ON @.@ (b)`}, {"", `ALTER INDEX @.i RENAME TO j`}, {"", `ALTER TABLE @.@ CLUSTER ON j`}, {"", `DROP INDEX @.j`}, {"", `CREATE TRIGGER tr BEFORE INSERT ON @.@ EXECUTE FUNCTION @.f()`},
			{"", `ALTER TABLE @.@ DISABLE TRIGGER tr`}, {"", `CREATE RULE ru AS ON DELETE TO @.@ DO INSTEAD NOTHING`}, {"", `CREATE POLICY po ON @.@`}, {"", `ALTER TABLE @.@ ENABLE ROW LEVEL SECURITY`},
			{"", `CREATE STATISTICS @.st ON id, b FROM @.@`}, {"", `ALTER SEQUENCE @.$ INCREMENT BY 5`}, {"", `ALTER TABLE @.@ REPLICA IDENTITY FULL`}, {"", `ALTER TABLE @.@ SET (fillfactor = 70)`},
			{"", `GRANT SELECT ON @.@ TO PUBLIC`}, {"", `COMMENT ON COLUMN @.@.b IS 'x'`}, {"", `ALTER TYPE @.e ADD VALUE 'b'`}, {"", `ALTER TYPE @.e RENAME VALUE 'b' TO 'c'`}, {"", `ALTER TYPE @.c ADD ATTRIBUTE b int`},
			{"", `ALTER DOMAIN @.d ADD CHECK (VALUE > 0)`}, {"", `ALTER PUBLICATION pub SET TABLE @.@ WHERE (b > 1)`}, {"", `ALTER PUBLICATION pub SET (publish = 'insert')`}, {"", `CREATE PUBLICATION inschema FOR TABLES IN SCHEMA @`},
			{"", `TRUNCATE @.@`}, {"", `VACUUM FULL @.@`}, {"root", `CREATE TABLE @.one PARTITION OF @.root FOR VALUES IN (1)`}, {"root", `ALTER TABLE @.one RENAME TO two`}, {"root", `ALTER TABLE @.root DETACH PARTITION @.two`},
			{"leaf", `ALTER TABLE @.root RENAME TO rooted`},
		} {
			table := test.table
			if table == "" {
				table = weird
			}
			stamp, before := look(table)
			d.Exec(t, strings.ReplaceAll(in(strings.ReplaceAll(test.sql, "$", "#")), "#", pgtest.Quote(weird+"_id_seq")))
			after, description := look(table)
			if cmp.Equal(before, description) {
				t.Errorf("%s does not change the description", test.sql)
			}
			if stamp == after {
				t.Errorf("%s leaves the stamp as it is", test.sql)
			}
		}
		stamp, _ := look("leaf")
		d.Exec(t, in(`INSERT INTO @.leaf SELECT g FROM generate_series(1, 1000) g`))
		for _, sql := range []string{`ANALYZE @.leaf`, `VACUUM (FREEZE) @.leaf`, `VACUUM pg_class`, `VACUUM (FREEZE) pg_attribute`} {
			d.Exec(t, in(sql))
		}
		if now, _ := look("leaf"); now != stamp {
			t.Error("writing rows and maintenance changed the stamp")
		}
	})
}

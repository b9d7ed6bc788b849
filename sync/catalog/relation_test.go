package catalog_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

func TestRelations(t *testing.T) {
	t.Parallel()
	d, conn := sample(t,
		`CREATE TABLE @.@ (gone int, "id ""x""" bigint GENERATED ALWAYS AS IDENTITY, name varchar(20) NOT NULL DEFAULT '', twice int GENERATED ALWAYS AS (2) STORED, b text, PRIMARY KEY ("id ""x""", name) DEFERRABLE)`,
		`ALTER TABLE @.@ DROP COLUMN gone`, `ALTER TABLE @.@ ALTER b SET STORAGE EXTERNAL`, `CREATE UNIQUE INDEX by_name ON @.@ (name) INCLUDE (twice)`, `CREATE UNIQUE INDEX nullable ON @.@ (twice, name)`, `CREATE UNIQUE INDEX partial ON @.@ (name) WHERE b = ''`,
		`CREATE UNIQUE INDEX expression ON @.@ (lower(name))`, `ALTER TABLE @.@ REPLICA IDENTITY USING INDEX by_name`,
		`INSERT INTO @.@ (name, b) SELECT i, repeat('x', 5000) FROM generate_series(1, 100) i`, `ANALYZE @.@`,
		`CREATE UNLOGGED TABLE @.child () INHERITS (@.@)`, `CREATE TABLE @.root (id int) PARTITION BY LIST (id)`, `CREATE TABLE @.part PARTITION OF @.root DEFAULT`,
		`CREATE VIEW @.v AS SELECT 1 AS x`, `CREATE TABLE @.nothing ()`)
	all := must[map[catalog.Name]*catalog.Relation](t)(catalog.ReadRelations(t.Context(), conn,
		[]catalog.Name{name(weird), name("child"), name("root"), name("part"), name("v"), name("nothing"), name("missing")}))
	if len(all) != 6 {
		t.Errorf("%d relations", len(all))
	}
	got := all[name(weird)]
	if got.Pages < 1 || got.Bytes < 100*5000 || got.Tuples != 100 || got.OID != oid(t, d, `SELECT '@.@'::regclass::oid`) {
		t.Errorf("%+v", got)
	}
	want := &catalog.Relation{
		Table: name(weird), Relkind: 'r', Persistence: 'p', AccessMethod: "heap", Identity: 'i',
		Columns: []catalog.Column{
			{Name: `id "x"`, Number: 2, Type: 20, Modifier: -1, TypeText: "bigint", NotNull: true, Identity: 'a', Storage: 'p'},
			{Name: "name", Number: 3, Type: 1043, Modifier: 24, TypeText: "character varying(20)", NotNull: true, HasDefault: true, Storage: 'x'},
			{Name: "twice", Number: 4, Type: 23, Modifier: -1, TypeText: "integer", HasDefault: true, Generated: 's', Storage: 'p'},
			{Name: "b", Number: 5, Type: 25, Modifier: -1, TypeText: "text", Storage: 'e'},
		},
		Keys: []catalog.Key{
			{Index: name(`Weird "Name" $1_pkey`), Columns: []int{0, 1}, Primary: true, Deferrable: true},
			{Index: name("by_name"), Columns: []int{1}, Identity: true},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(catalog.Relation{}, "OID", "Pages", "Bytes", "Tuples")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Position("b") != 3 || got.Position("gone") != -1 {
		t.Error("columns are found at other places")
	}
	if c := all[name("child")]; c.Persistence != 'u' || len(c.Parents) != 1 || c.Parents[0] != name(weird) || c.Pages != 0 || c.Partition {
		t.Errorf("%+v", c)
	}
	if p := all[name("part")]; !p.Partition || len(p.Parents) != 0 || p.Relkind != 'r' {
		t.Errorf("%+v", p)
	}
	if r := all[name("root")]; r.Relkind != 'p' || r.Bytes != 0 {
		t.Errorf("%+v", r)
	}
	if all[name("v")].Relkind != 'v' || len(all[name("nothing")].Columns) != 0 {
		t.Errorf("%+v, %+v", all[name("v")], all[name("nothing")])
	}
	if none := must[map[catalog.Name]*catalog.Relation](t)(catalog.ReadRelations(t.Context(), conn, nil)); len(none) != 0 {
		t.Errorf("%+v", none)
	}
}

// TestRowSecurityOfARole looks as a superuser, an owner and another role.
func TestRowSecurityOfARole(t *testing.T) {
	t.Parallel()
	d, conn := sample(t, `CREATE TABLE @.plain (x int)`, `CREATE TABLE @.secured (x int)`, `CREATE TABLE @.forced (x int)`,
		`ALTER TABLE @.secured ENABLE ROW LEVEL SECURITY`, `ALTER TABLE @.forced ENABLE ROW LEVEL SECURITY`, `ALTER TABLE @.forced FORCE ROW LEVEL SECURITY`)
	owner, other := "owner of "+d.Name, "other of "+d.Name
	for _, r := range []string{owner, other} {
		d.Exec(t, "GRANT USAGE ON SCHEMA "+q+" TO "+role(t, d, r, "LOGIN"))
	}
	for _, table := range []string{"plain", "secured", "forced"} {
		d.Exec(t, "ALTER TABLE "+q+"."+table+" OWNER TO "+pgtest.Quote(owner))
	}
	tables := []catalog.Name{name("plain"), name("secured"), name("forced")}
	for _, test := range []struct {
		conn *pgx.Conn
		want [3]bool
	}{{conn, [3]bool{}}, {asRole(t, d, owner), [3]bool{false, false, true}}, {asRole(t, d, other), [3]bool{false, true, true}}} {
		all := must[map[catalog.Name]*catalog.Relation](t)(catalog.ReadRelations(t.Context(), test.conn, tables))
		var got [3]bool
		for i, table := range tables {
			got[i] = all[table].RowSecurity
		}
		if got != test.want {
			t.Errorf("as %s: %v, want %v", test.conn.Config().User, got, test.want)
		}
	}
}

package catalog_test

import (
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

func TestUnbroken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		before, after catalog.Membership
		want          bool
	}{
		{"nothing changed", catalog.Membership{OID: 1, Members: []string{"table 2"}}, catalog.Membership{OID: 1, Members: []string{"table 2"}}, true},
		{"another relation", catalog.Membership{OID: 1, Members: []string{"all 2"}}, catalog.Membership{OID: 3, Members: []string{"all 2"}}, false},
		{"taken out and put in", catalog.Membership{OID: 1, Members: []string{"table 2"}}, catalog.Membership{OID: 1, Members: []string{"table 3"}}, false},
		{"also by its schema", catalog.Membership{OID: 1, Members: []string{"table 2"}}, catalog.Membership{OID: 1, Members: []string{"schema 4", "table 2"}}, true},
		{"no longer by its schema", catalog.Membership{OID: 1, Members: []string{"schema 4", "table 2"}}, catalog.Membership{OID: 1, Members: []string{"table 2"}}, true},
		{"the schema lifts the filter", catalog.Membership{OID: 1, Members: []string{"table 2 filtered"}}, catalog.Membership{OID: 1, Members: []string{"schema 4", "table 2 filtered"}}, false},
		{"the filter counts again", catalog.Membership{OID: 1, Members: []string{"schema 4", "table 2 filtered"}}, catalog.Membership{OID: 1, Members: []string{"table 2 filtered"}}, false},
		{"a filter that stays", catalog.Membership{OID: 1, Members: []string{"table 2 filtered"}}, catalog.Membership{OID: 1, Members: []string{"table 2 filtered"}}, true},
		{"not published any more", catalog.Membership{OID: 1, Members: []string{"table 2"}}, catalog.Membership{OID: 1}, false},
	} {
		if got := c.before.Unbroken(c.after); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

// TestMemberships changes what publishes a table, and looks at each change
// whether it is told from the state before.
func TestMemberships(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, setup, change string
		unbroken            bool
	}{
		{"nothing", "CREATE PUBLICATION p FOR TABLE t", "SELECT", true},
		{"a column more", "CREATE PUBLICATION p FOR TABLE t", "ALTER TABLE t ADD COLUMN more int", true},
		{"another table more", "CREATE PUBLICATION p FOR TABLE t", "ALTER PUBLICATION p ADD TABLE parts", true},
		{"the same list again", "CREATE PUBLICATION p FOR TABLE t", "ALTER PUBLICATION p SET TABLE t, parts", true},
		{"rewritten", "CREATE PUBLICATION p FOR ALL TABLES", "ALTER TABLE t ALTER a TYPE bigint", true},
		{"dropped and made anew, all tables", "CREATE PUBLICATION p FOR ALL TABLES", "DROP TABLE t; CREATE TABLE t (a int PRIMARY KEY, b text)", false},
		{"dropped and made anew, schema", "CREATE PUBLICATION p FOR TABLES IN SCHEMA public", "DROP TABLE t; CREATE TABLE t (a int PRIMARY KEY, b text)", false},
		{"publication made anew", "CREATE PUBLICATION p FOR ALL TABLES", "DROP PUBLICATION p; CREATE PUBLICATION p FOR ALL TABLES", false},
		{"taken out and put in", "CREATE PUBLICATION p FOR TABLE t", "ALTER PUBLICATION p DROP TABLE t; ALTER PUBLICATION p ADD TABLE t", false},
		{"other filter", "CREATE PUBLICATION p FOR TABLE t WHERE (a > 1)", "ALTER PUBLICATION p SET TABLE t WHERE (a > 2)", false},
		{"no filter", "CREATE PUBLICATION p FOR TABLE t WHERE (a > 1)", "ALTER PUBLICATION p SET TABLE t", false},
		{"other columns", "CREATE PUBLICATION p FOR TABLE t (a)", "ALTER PUBLICATION p SET TABLE t (a, b)", false},
		{"schema taken out and put in", "CREATE PUBLICATION p FOR TABLES IN SCHEMA public", "ALTER PUBLICATION p DROP TABLES IN SCHEMA public; ALTER PUBLICATION p ADD TABLES IN SCHEMA public", false},
		{"partition attached again", "CREATE PUBLICATION p FOR TABLE parts", "ALTER TABLE parts DETACH PARTITION part; ALTER TABLE parts ATTACH PARTITION part FOR VALUES IN (1)", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := pgtest.Shared(t, 0).CreateDatabase(t)
			d.Exec(t, "CREATE TABLE t (a int PRIMARY KEY, b text); CREATE TABLE parts (a int PRIMARY KEY) PARTITION BY LIST (a); CREATE TABLE part PARTITION OF parts FOR VALUES IN (1)")
			d.Exec(t, c.setup)
			conn, name := d.Connect(t), "t"
			if c.name == "partition attached again" {
				name = "part"
			}
			look := func() catalog.Membership {
				p, ok, err := catalog.ReadPublication(t.Context(), conn, "p")
				if err != nil || !ok {
					t.Fatal(ok, err)
				}
				for _, table := range p.Tables {
					if table.Table.Name == name {
						return table.Membership()
					}
				}
				t.Fatalf("%s is not published", name)
				return catalog.Membership{}
			}
			before := look()
			if before.OID == 0 || len(before.Members) == 0 {
				t.Fatalf("nothing publishes it: %+v", before)
			}
			d.Exec(t, c.change)
			if after := look(); before.Unbroken(after) != c.unbroken {
				t.Errorf("%+v, then %+v: unbroken is %t", before, after, !c.unbroken)
			}
		})
	}
}

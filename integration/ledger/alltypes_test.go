package ledger_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// TestAllTypes has native replication carry rows of all types.
func TestAllTypes(t *testing.T) {
	t.Parallel()
	source := pgtest.Shared(t, 0).CreateDatabase(t)
	majors := pgtest.Majors(t)
	destination := pgtest.Shared(t, majors[len(majors)-1].Major).CreateDatabase(t)
	from, to := source.Connect(t), destination.Connect(t)
	for _, conn := range []*pgx.Conn{from, to} {
		if err := ledger.LoadAllTypes(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	}
	tables, err := ledger.AllTypes(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		destination.Exec(t, "TRUNCATE "+table.String())
	}
	source.Exec(t, "CREATE PUBLICATION types FOR TABLES IN SCHEMA alltypes")
	applied := subscribe(t, source, destination, "types", true)
	destination.WaitUntil(t, "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")
	compare := func() {
		t.Helper()
		ledger.CaughtUp(t, source, applied)
		report, err := ledger.Same(t.Context(), from, []*pgx.Conn{to}, tables, ledger.CompareOptions{Most: 3})
		if err != nil {
			t.Error(err)
		}
		if report.Tables < 20 || report.Rows < 100 {
			t.Errorf("compared %+v", report)
		}
	}
	compare()
	if err := ledger.ChangeAllTypes(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	compare()
}

// TestEveryType looks for built-in types that the tables do not have.
func TestEveryType(t *testing.T) {
	t.Parallel()
	without := []string{ // input functions that only raise an error
		"gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary", "pg_dependencies", "pg_mcv_list", "pg_ndistinct", "pg_node_tree",
	}
	for _, installation := range pgtest.Majors(t) {
		t.Run(installation.String(), func(t *testing.T) {
			t.Parallel()
			d := pgtest.Shared(t, installation.Major).CreateDatabase(t)
			if err := ledger.LoadAllTypes(t.Context(), d.Connect(t)); err != nil {
				t.Fatal(err)
			}
			missing := func() []string {
				return pgtest.Column[string](t, d, `SELECT typname::text FROM pg_type t
					WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm', 'e', 'd') AND typcategory <> 'Z' AND typname <> ALL ($1)
					AND (typelem = 0 OR typsubscript::text <> 'array_subscript_handler' OR EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typtype NOT IN ('c', 'p') AND e.typname <> ALL ($1)))
					AND NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'alltypes'::regnamespace AND relkind = 'r' AND atttypid = t.oid)
					ORDER BY 1`, without)
			}
			if types := missing(); len(types) > 0 {
				t.Errorf("no table has a column of the types %v", types)
			}
			empty := d.Rows(t, `SELECT relname FROM pg_class c WHERE relnamespace = 'alltypes'::regnamespace AND relkind = 'r'
				AND (xpath('/row/n/text()', query_to_xml('SELECT count(*) AS n FROM alltypes.' || quote_ident(relname), false, true, '')))[1]::text::integer < 3`)
			if len(empty) > 0 {
				t.Errorf("there are hardly any rows in %v", empty)
			}
			d.Exec(t, "ALTER TABLE alltypes.networks DROP macaddr; ALTER TABLE alltypes.shapes_arrays DROP box")
			if types := missing(); !slices.Equal(types, []string{"_box", "macaddr"}) {
				t.Errorf("without box[] and macaddr, %v are missing", types)
			}
		})
	}
}

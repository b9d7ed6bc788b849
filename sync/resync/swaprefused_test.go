package resync_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

func TestSwapRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, sql, detail string }{
		{"function of the row type", `CREATE FUNCTION f(t) RETURNS int LANGUAGE sql AS 'SELECT $1.id'`, "function public.f(public.t) uses the table's row type"},
		{"column of the row type", `CREATE TABLE u (x t)`, "column x of table public.u uses the table's row type"},
		{"default from the identity's sequence", `CREATE TABLE u (x int DEFAULT nextval('t_id_seq'))`, "default value for column x of table public.u depends on it"},
		{"constraint trigger", `CREATE TABLE u (x int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end';
CREATE CONSTRAINT TRIGGER c AFTER INSERT ON u FROM t FOR EACH ROW EXECUTE FUNCTION f()`, "trigger c on table public.u depends on it"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t, 0, `CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)`, c.sql)
			_, err := resync.NewShadow(t.Context(), d.open(t), resync.ShadowOptions{Mirror: "m", Table: public("t"), Archive: d.archive(t, true)})
			if !errors.Is(err, resync.ErrRefused) || !strings.Contains(pgerror.From(err).Detail, c.detail) {
				t.Errorf("error %v, detail %q, want %q", err, pgerror.From(err).Detail, c.detail)
			}
		})
	}
}

func TestSwapWarns(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, major int) {
		d := newDatabase(t, major, `CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (10); CREATE TABLE t2 PARTITION OF t DEFAULT;
INSERT INTO t VALUES (5), (50); CREATE MATERIALIZED VIEW mv AS SELECT * FROM t1; CREATE PUBLICATION everything FOR ALL TABLES; CREATE PUBLICATION certain FOR TABLE t1`)
		s, err := resync.NewShadow(t.Context(), d.open(t), resync.ShadowOptions{Mirror: "m", Table: public("t1"), Archive: d.archive(t, true)})
		noError(t, err)
		want := []string{"materialized view public.mv is built anew", "publication everything is FOR ALL TABLES", "subscribers of publication certain keep", "the default partition public.t2 ("}
		for i, warning := range s.Warnings() {
			if i >= len(want) || !strings.HasPrefix(warning, want[i]) {
				t.Errorf("warning %d: %s", i, warning)
			}
		}
		if len(s.Warnings()) != len(want) {
			t.Errorf("%d warnings, want %d", len(s.Warnings()), len(want))
		}
	})
}

// TestSwapRefusesWhatChanged alters the table after its shadow was made.
func TestSwapRefusesWhatChanged(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, sql, difference string }{
		{"index", `CREATE INDEX added ON t (n)`, "index added"},
		{"column", `ALTER TABLE t ADD c int`, "column c"},
		{"default", `ALTER TABLE t ALTER n SET DEFAULT 4`, "column n"},
		{"not null", `ALTER TABLE t ALTER n SET NOT NULL`, "column n"},
		{"check", `ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0)`, "constraint c"},
		{"grant", `GRANT SELECT ON t TO PUBLIC`, "table"},
		{"column grant", `GRANT UPDATE (n) ON t TO PUBLIC`, "column n"},
		{"trigger", `CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()`, "trigger x"},
		{"policy", `CREATE POLICY x ON t USING (n = 1)`, "policy x"},
		{"comment", `COMMENT ON COLUMN t.n IS 'x'`, "column n"},
		{"identity", `ALTER TABLE t REPLICA IDENTITY FULL`, "table"},
		{"options", `ALTER TABLE t SET (fillfactor = 50)`, "table"},
		{"publication", `CREATE PUBLICATION x FOR TABLE t`, "publication x"},
		{"statistics", `CREATE STATISTICS x ON id, n FROM t`, "statistics"},
		{"rule", `CREATE RULE x AS ON DELETE TO t DO INSTEAD NOTHING`, "rule x"},
		{"drop index", `DROP INDEX t_n_idx`, "index t_n_idx"},
		{"row type", `CREATE FUNCTION g() RETURNS t LANGUAGE sql AS 'SELECT NULL::public.t'`, "row type"},
		{"gone", `ALTER TABLE t RENAME TO u`, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t, 0, `CREATE TABLE t (id int PRIMARY KEY, n int); CREATE INDEX ON t (n); INSERT INTO t VALUES (1, 1);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end'`)
			conn := d.open(t)
			s := d.built(t, conn, public("t"))
			d.Exec(t, c.sql)
			before := d.schema(t)
			_, err := s.Swap(t.Context(), conn, patient)
			if err == nil {
				t.Fatal("swapped")
			}
			if detail := pgerror.From(err).Detail; c.difference != "" && (!errors.Is(err, resync.ErrRefused) || !strings.Contains(detail, c.difference)) {
				t.Errorf("error %v, detail %q, want %q", err, detail, c.difference)
			}
			same(t, "the schema", before, d.schema(t))
			noError(t, s.Drop(t.Context(), conn, patient))
			d.clean(t)
		})
	}
}

// TestCompareFinds damages a shadow table: pg_dump shows it.
func TestCompareFinds(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 0, `CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 3, CHECK (n > 1)); CREATE INDEX i ON t (n); COMMENT ON INDEX i IS 'x';
CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); GRANT SELECT ON t TO PUBLIC`)
	conn := d.open(t)
	s := d.built(t, conn, public("t"))
	shadow := quoted(s.Target())
	d.Exec(t, fmt.Sprintf(`DROP INDEX %[2]s.i; DROP TRIGGER tr ON %[1]s; ALTER TABLE %[1]s ALTER n DROP DEFAULT; REVOKE SELECT ON %[1]s FROM PUBLIC; CREATE INDEX more ON %[1]s (n, id)`, shadow, s.Schema()))
	differences, err := s.Compare(t.Context(), conn, d.archive(t, true))
	noError(t, err)
	found := map[string]bool{}
	for _, diff := range differences {
		found[diff.Kind+" "+diff.Name] = true
	}
	want := []string{"ACL TABLE t", "COMMENT INDEX i", "INDEX i", "INDEX more", "TABLE t", "TRIGGER t tr"}
	same(t, "differences", want, slices.Sorted(maps.Keys(found)))
	noError(t, s.Drop(t.Context(), conn, patient))
}

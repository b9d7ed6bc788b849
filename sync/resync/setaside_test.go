package resync_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// keyed are tables in the mirror and outside of it that reference one another.
const keyed = `
CREATE TABLE a (id int PRIMARY KEY, b int, self int REFERENCES a, code text UNIQUE);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE a ADD CONSTRAINT "Cycle ""1""" FOREIGN KEY (b) REFERENCES b ON DELETE SET NULL;
CREATE SCHEMA outside;
CREATE TABLE outside."Other ""t""" (x int CONSTRAINT "Out ""fk""" REFERENCES a ON UPDATE CASCADE, c text REFERENCES a (code));
COMMENT ON CONSTRAINT "Out ""fk""" ON outside."Other ""t""" IS 'it''s';
CREATE TABLE unchecked (x int); INSERT INTO unchecked VALUES (777); ALTER TABLE unchecked ADD CONSTRAINT unchecked_fk FOREIGN KEY (x) REFERENCES a NOT VALID;
CREATE TABLE parts (x int, y int) PARTITION BY LIST (y);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2) PARTITION BY LIST (x);
CREATE TABLE parts_2a PARTITION OF parts_2 DEFAULT;
ALTER TABLE parts ADD CONSTRAINT parts_fk FOREIGN KEY (x) REFERENCES a;
CREATE TABLE pa (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE pa_1 PARTITION OF pa FOR VALUES FROM (0) TO (100);
CREATE TABLE to_pa (x int REFERENCES pa);
INSERT INTO a SELECT i, NULL, CASE WHEN i > 1 THEN 1 END, 'c' || i FROM generate_series(1, 50) i;
INSERT INTO b SELECT i, i FROM generate_series(1, 50) i; UPDATE a SET b = id;
INSERT INTO outside."Other ""t""" SELECT i, 'c' || i FROM generate_series(1, 50) i;
INSERT INTO parts SELECT i, 1 + i % 2 FROM generate_series(1, 50) i;
INSERT INTO pa SELECT generate_series(1, 50); INSERT INTO to_pa SELECT id FROM pa;
`

func described(keys []resync.ForeignKey) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.String())
	}
	slices.Sort(out)
	return out
}

func TestSetAsideAndPutBack(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, major int) {
		cases := []struct {
			name   string
			tables []catalog.Name
			keys   []string
		}{
			{"one", []catalog.Name{public("a")}, []string{`"Out ""fk""" of outside.Other "t"`, `"Other ""t""_c_fkey" of outside.Other "t"`, `"b_a_fkey" of public.b`, `"parts_fk" of public.parts`, `"unchecked_fk" of public.unchecked`}},
			{"together", []catalog.Name{public("a"), public("b"), public("parts")}, []string{`"Out ""fk""" of outside.Other "t"`, `"Other ""t""_c_fkey" of outside.Other "t"`, `"unchecked_fk" of public.unchecked`}},
			{"the other of a circle", []catalog.Name{public("b")}, []string{`"Cycle ""1""" of public.a`}},
			{"partitioned", []catalog.Name{public("pa")}, []string{`"to_pa_x_fkey" of public.to_pa`}},
			{"partition", []catalog.Name{public("pa_1")}, []string{`"to_pa_x_fkey" of public.to_pa`}},
			{"referenced by nobody", []catalog.Name{public("to_pa"), public("not there")}, nil},
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				d := newDatabase(t, major, keyed)
				conn := d.open(t)
				before := d.schema(t)
				plan, err := resync.ReferencingKeys(t.Context(), conn, c.tables)
				noError(t, err)
				done, err := resync.SetAside(t.Context(), conn, "m", c.tables, patient)
				noError(t, err)
				slices.Sort(c.keys)
				same(t, "planned", c.keys, described(plan))
				same(t, "set aside", c.keys, described(done))
				again, err := resync.SetAside(t.Context(), conn, "m", c.tables, patient)
				noError(t, err)
				same(t, "set aside again", []string(nil), described(again))
				var emptied []string
				for _, table := range c.tables {
					if table.Name != "not there" {
						emptied = append(emptied, quoted(table))
					}
				}
				d.Exec(t, `BEGIN; TRUNCATE `+strings.Join(emptied, ", ")+`; ROLLBACK`)
				others, err := resync.PutBack(t.Context(), conn, "another", nil, patient, nil)
				noError(t, err)
				if len(others) > 0 {
					t.Errorf("another mirror has put back %v", others)
				}
				told := 0
				results, err := resync.PutBack(t.Context(), conn, "m", c.tables, patient, func(resync.PutBackResult) { told++ })
				noError(t, err)
				for _, r := range results {
					if r.Outcome != resync.KeyRestored {
						t.Errorf("%s: %s %v", r.ForeignKey, r.Outcome, r.Err)
					}
				}
				if len(results) != len(c.keys) || told != len(c.keys) {
					t.Errorf("put back %d, told %d, want %d", len(results), told, len(c.keys))
				}
				same(t, "the schema", before, d.schema(t))
				d.clean(t)
			})
		}
	})
}

func TestPutBackReportsViolations(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, major int) {
		d := newDatabase(t, major, keyed)
		conn := d.open(t)
		before := d.schema(t)
		_, err := resync.SetAside(t.Context(), conn, "m", []catalog.Name{public("a")}, patient)
		noError(t, err)
		d.Exec(t, `SET session_replication_role = replica; DELETE FROM a WHERE id IN (7, 8)`)
		results, err := resync.PutBack(t.Context(), conn, "m", nil, patient, nil)
		noError(t, err)
		want := map[string][][]string{
			`"Out ""fk""" of outside.Other "t"`: {{"7"}, {"8"}}, `"Other ""t""_c_fkey" of outside.Other "t"`: {{"c7"}, {"c8"}},
			`"b_a_fkey" of public.b`: {{"7", "7"}, {"8", "8"}}, `"parts_fk" of public.parts`: {{"7"}, {"8"}}, `"unchecked_fk" of public.unchecked`: nil,
		}
		for _, r := range results {
			rows, known := want[r.String()]
			switch {
			case !known:
				t.Errorf("unexpected key %s", r)
			case rows == nil && r.Outcome != resync.KeyRestored:
				t.Errorf("%s: %s %v", r, r.Outcome, r.Err)
			case rows != nil && (r.Outcome != resync.KeyViolated || r.Violation == nil):
				t.Errorf("%s: %s %v", r, r.Outcome, r.Err)
			case rows != nil:
				slices.SortFunc(r.Violation.Rows, slices.Compare)
				same(t, r.String(), rows, r.Violation.Rows)
				if got := len(d.Rows(t, r.Violation.SQL)); got != len(rows) {
					t.Errorf("%s: %s gives %d rows, want %d", r, r.Violation.SQL, got, len(rows))
				}
				if !strings.Contains(r.Err.Hint, r.Violation.SQL) {
					t.Errorf("hint: %s", r.Err.Hint)
				}
			}
		}
		// New rows are checked nevertheless.
		if err := d.TryExec(t.Context(), `INSERT INTO b VALUES (1000, 999)`); pgerror.Code(err) != "23503" {
			t.Errorf("a row without its parent: %v", err)
		}
		recorded, err := resync.RecordedKeys(t.Context(), conn, "m")
		noError(t, err)
		if len(recorded) != 4 || recorded[0].Error == "" {
			t.Errorf("recorded: %+v", recorded)
		}
		d.Exec(t, `SET session_replication_role = replica; INSERT INTO a SELECT i, i, 1, 'c' || i FROM generate_series(7, 8) i`)
		results, err = resync.PutBack(t.Context(), conn, "m", nil, patient, nil)
		noError(t, err)
		if len(results) != 4 {
			t.Errorf("%d keys the second time", len(results))
		}
		same(t, "the schema", before, d.schema(t))
		d.clean(t)
	})
}

func TestPutBackOfWhatIsGone(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 0, keyed)
	conn := d.open(t)
	_, err := resync.SetAside(t.Context(), conn, "m", []catalog.Name{public("a")}, patient)
	noError(t, err)
	d.Exec(t, `DROP TABLE b CASCADE; DROP TABLE parts_1; ALTER TABLE unchecked ADD CONSTRAINT unchecked_fk CHECK (x > 0)`)
	results, err := resync.PutBack(t.Context(), conn, "m", nil, patient, nil)
	noError(t, err)
	got := map[string]resync.Outcome{}
	for _, r := range results {
		got[r.Name] = r.Outcome
		if r.Outcome == resync.KeyFailed && (r.Err.Code != pgerror.DuplicateObject || r.Err.Hint == "") {
			t.Errorf("%s: %v", r, r.Err)
		}
	}
	same(t, "outcomes", map[string]resync.Outcome{
		`Out "fk"`: resync.KeyRestored, `Other "t"_c_fkey`: resync.KeyRestored, "b_a_fkey": resync.KeyGone, "parts_fk": resync.KeyRestored, "unchecked_fk": resync.KeyFailed,
	}, got)
}

func TestSetAsideKilled(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 0, keyed, `DROP TABLE outside."Other ""t""", unchecked`)
	before := d.relations(t)
	tables := []catalog.Name{public("a"), public("pa_1")}
	d.killing(t, 200, func(conn *pgx.Conn) error {
		if _, err := resync.SetAside(t.Context(), conn, "m", tables, patient); err != nil {
			return err
		}
		_, err := resync.PutBack(t.Context(), conn, "m", nil, patient, nil)
		return err
	}, func(int) {
		conn := d.open(t)
		_, err := resync.PutBack(t.Context(), conn, "m", nil, patient, nil)
		noError(t, err)
		_ = conn.Close(t.Context())
		same(t, "the relations", before, d.relations(t))
		d.clean(t)
	})
}

func TestSetAsideMeetsAWriter(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 0, keyed)
	writer, err := d.Connect(t).Begin(t.Context())
	noError(t, err)
	_, err = writer.Exec(t.Context(), `INSERT INTO b VALUES (99, 1)`)
	noError(t, err)
	conn := d.open(t)
	before := d.schema(t)
	_, err = resync.SetAside(t.Context(), conn, "m", []catalog.Name{public("a")}, resync.Patience{LockTimeout: 20 * time.Millisecond, Attempts: 2, Delay: time.Millisecond})
	if !errors.Is(err, resync.ErrLocked) || !strings.Contains(pgerror.From(err).Detail, "public.b") {
		t.Errorf("beside a writer: %v", err)
	}
	same(t, "the schema", before, d.schema(t))
	d.clean(t)
	noError(t, writer.Rollback(t.Context()))
}

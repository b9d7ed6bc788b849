package stream

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

const kindsDDL = `
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TABLE "Weird ""T"" $1" (id int PRIMARY KEY, v text, big text, m mood);
ALTER TABLE "Weird ""T"" $1" ALTER big SET STORAGE EXTERNAL;
CREATE TABLE f (a int, b text); ALTER TABLE f REPLICA IDENTITY FULL;
CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id serial PRIMARY KEY, p int REFERENCES p);
CREATE TABLE e ();
`

// Every kind of change, with everything it may have.
func TestKinds(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, kindsDDL)
		r := openReader(t, options(t, d, slot))
		d.Exec(t, `BEGIN;
INSERT INTO "Weird ""T"" $1" VALUES (1, 'one', repeat('x', 10000), 'sad'), (2, NULL, '', 'glad');
UPDATE "Weird ""T"" $1" SET v = 'eins' WHERE id = 1;
UPDATE "Weird ""T"" $1" SET id = 3 WHERE id = 2;
DELETE FROM "Weird ""T"" $1" WHERE id = 3;
INSERT INTO f VALUES (1, NULL); UPDATE f SET b = 'x'; DELETE FROM f;
SELECT pg_logical_emit_message(true, 'pgdrover.own', 'hello'), pg_logical_emit_message(true, 'pgdrover', 'not seen'), pg_logical_emit_message(false, 'foreign', 'not seen');
INSERT INTO e DEFAULT VALUES;
TRUNCATE p, c RESTART IDENTITY; TRUNCATE p CASCADE;
COMMIT`)
		tx := next(t, r)
		defer tx.Release()
		want := []string{
			`I Weird "T" $1 N(1,one,xxxxxxxxxx…10000,sad)`,
			`I Weird "T" $1 N(2,NULL,,glad)`,
			`U Weird "T" $1 N(1,eins,unchanged,sad)`,
			`U Weird "T" $1 K(2,NULL,NULL,NULL) N(3,NULL,,glad)`,
			`D Weird "T" $1 K(3,NULL,NULL,NULL)`,
			`I f N(1,NULL)`,
			`U f O(1,NULL) N(1,x)`,
			`D f O(1,x)`,
			`M pgdrover.own hello`,
			`I e N()`,
			`T p,c cascade=false restart=true`,
			`T p,c cascade=true restart=false`,
		}
		if diff := cmp.Diff(want, lines(t, tx)); diff != "" {
			t.Error(diff)
		}
		if tx.Rows != 9 || tx.XID == 0 || tx.FinalLSN == 0 || tx.EndLSN <= tx.FinalLSN || tx.CommitTime.IsZero() || tx.Received.IsZero() {
			t.Errorf("transaction %+v", tx)
		}
		first := tx.Changes[0].Relation
		if first.Schema != "public" || first.Identity != 'd' || !first.Columns[0].Key || first.Columns[1].Key || first.Columns[1].Type != 25 || first.Columns[1].Modifier != -1 {
			t.Errorf("relation %+v", first)
		}

		// What is described again in the same words is the same relation; a new
		// shape is a new one, and the old one stays as it was.
		d.Exec(t, `ANALYZE p; INSERT INTO p VALUES (1)`)
		again := next(t, r)
		d.Exec(t, `ANALYZE p; INSERT INTO p VALUES (2)`)
		same := next(t, r)
		d.Exec(t, `BEGIN; ALTER TABLE p ADD v int DEFAULT 7; INSERT INTO p VALUES (3); COMMIT`)
		other := next(t, r)
		if a, b := again.Changes[0].Relation, same.Changes[0].Relation; a != b {
			t.Error("the same description gave another relation")
		}
		if a, b := same.Changes[0].Relation, other.Changes[0].Relation; a == b || len(a.Columns) != 1 || len(b.Columns) != 2 {
			t.Errorf("the new shape: %v after %v", b, a)
		}
		for _, tx := range []*Transaction{again, same, other} {
			tx.Release()
		}
	})
}

// Values in binary, and text for those that have no send function.
func TestBinary(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY, a aclitem)`)
		o := options(t, d, slot)
		o.Binary = true
		r := openReader(t, o)
		d.Exec(t, `INSERT INTO t VALUES (258, 'postgres=r/postgres')`)
		tx := next(t, r)
		defer tx.Release()
		if got, want := lines(t, tx), []string{`I t N(\x00000102,postgres=r/postgres)`}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

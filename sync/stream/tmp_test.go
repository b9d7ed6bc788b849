package stream

import (
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

func TestTmp(t *testing.T) {
	c := pgtest.Start(t, pgtest.Options{})
	d, slot := source(t, c, `CREATE TABLE t (id int PRIMARY KEY, v text);  CREATE TABLE w (id int PRIMARY KEY, v text); CREATE TABLE done (i int PRIMARY KEY)`)
	d.Exec(t, "ALTER DATABASE "+pgtest.Quote(d.Name)+" SET logical_decoding_work_mem = '64kB'")
	t.Log(d.Rows(t, "select relname, oid, relfilenode from pg_class where oid > 16000"))
	for _, script := range [][][2]string{
		{{"f", "BEGIN"}, {"f", many(80000, 3000)}, {"f", "TRUNCATE t"}, {"f", many(90000, 5)}, {"f", "COMMIT"}},
		{{"e", "BEGIN"}, {"e", "SAVEPOINT s1"}, {"e", "ALTER TABLE w ADD gone int DEFAULT 1"}, {"e", "INSERT INTO w SELECT i, 'three columns' FROM generate_series(1000, 3000) i"},
			{"e", "ROLLBACK TO s1"}, {"e", "INSERT INTO w SELECT i, 'two columns' FROM generate_series(4000, 6000) i"}, {"e", "COMMIT"}},
		{{"e", "BEGIN"}, {"e", "SAVEPOINT s1"},  {"e", "INSERT INTO w SELECT i, 'three columns' FROM generate_series(1000, 3000) i"},
			{"e", "ROLLBACK TO s1"}, {"e", "ALTER TABLE w ADD gone int DEFAULT 1"},{"e", "INSERT INTO w SELECT i, 'two columns' FROM generate_series(14000, 16000) i"}, {"e", "COMMIT"}},
	} {
		steps(t, d, script)
		for i := range 2 {
			o := options(t, d, slot)
			o.Streaming = i == 1
			r := openReader(t, o)
			tx, err := r.Next(t.Context())
			for err == nil && tx.Mark() {
				tx, err = r.Next(t.Context())
			}
			t.Log(i, err)
			if err == nil && i == 1 || true {
				if tx != nil {
				r.Confirm(tx.EndLSN)
				}
			}
			r.Close()
		}
		d.Exec(t, "SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())", slot)
	}
	t.Log(d.Rows(t, "select relname, oid, relfilenode from pg_class where oid > 16000"))
}

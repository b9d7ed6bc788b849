package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// oddTables are kinds of tables that are not copied like any other.
const oddTables = `
CREATE SCHEMA odd;
CREATE TABLE odd.parts (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE odd.parts_eu PARTITION OF odd.parts FOR VALUES IN ('eu') PARTITION BY RANGE (id);
CREATE TABLE odd.parts_eu_low PARTITION OF odd.parts_eu FOR VALUES FROM (0) TO (500);
CREATE TABLE odd.parts_eu_high PARTITION OF odd.parts_eu FOR VALUES FROM (500) TO (MAXVALUE);
CREATE TABLE odd.parts_other PARTITION OF odd.parts DEFAULT;
CREATE TABLE odd.parent (id int PRIMARY KEY, v text);
CREATE TABLE odd.child (extra int, PRIMARY KEY (id)) INHERITS (odd.parent);
CREATE TABLE odd.made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, "b ""c""" text DEFAULT 'd');
CREATE TABLE odd.nothing (); ALTER TABLE odd.nothing REPLICA IDENTITY FULL;
CREATE TABLE odd.empty (id int PRIMARY KEY, t text);
CREATE TABLE odd.referred (id serial PRIMARY KEY);
CREATE TABLE odd.refers (id int PRIMARY KEY REFERENCES odd.referred, self int REFERENCES odd.refers);
CREATE TABLE odd.filtered (id int, region text, secret text, v text, PRIMARY KEY (id, region));
CREATE TABLE odd.some_columns (id int PRIMARY KEY, secret text DEFAULT 'secret', v text);
INSERT INTO odd.parts SELECT i, (ARRAY['eu', 'us', 'asia'])[i % 3 + 1], 'v' || i FROM generate_series(1, 900) i;
INSERT INTO odd.parent SELECT i, 'p' || i FROM generate_series(1, 100) i;
INSERT INTO odd.child SELECT i, 'c' || i, i FROM generate_series(101, 200) i;
INSERT INTO odd.made (a) SELECT generate_series(1, 100);
INSERT INTO odd.nothing DEFAULT VALUES; INSERT INTO odd.nothing DEFAULT VALUES; INSERT INTO odd.nothing DEFAULT VALUES;
INSERT INTO odd.referred SELECT FROM generate_series(1, 50);
INSERT INTO odd.refers SELECT i, i FROM generate_series(1, 50) i;
INSERT INTO odd.filtered SELECT i, (ARRAY['eu', 'us'])[i % 2 + 1], 's' || i, 'v' || i FROM generate_series(1, 100) i;
INSERT INTO odd.some_columns SELECT i, 's' || i, 'v' || i FROM generate_series(1, 100) i;
`

// oddChanges are written while all tables stream; each line is a message of its own.
const oddChanges = `
UPDATE odd.parts SET region = 'us', v = 'moved' WHERE id % 30 = 0
UPDATE odd.parts SET id = id + 1000 WHERE id % 50 = 7
UPDATE odd.parts_eu_low SET v = 'by its name'
DELETE FROM odd.parts WHERE id % 9 = 4
BEGIN; INSERT INTO odd.parts VALUES (5000, 'eu', 'new'), (5001, 'africa', 'new'); UPDATE odd.parts SET region = 'eu' WHERE id = 5001; COMMIT
UPDATE odd.parent SET v = v || '!' WHERE id % 10 = 0
UPDATE ONLY odd.parent SET v = v || '?' WHERE id % 10 = 1
DELETE FROM odd.parent WHERE id IN (5, 105)
INSERT INTO odd.child VALUES (300, 'new', 1)
INSERT INTO odd.made (a) VALUES (7); UPDATE odd.made SET a = a + 1 WHERE id < 10; DELETE FROM odd.made WHERE id = 50
INSERT INTO odd.made (id, a) OVERRIDING SYSTEM VALUE VALUES (1000, 1000)
INSERT INTO odd.nothing DEFAULT VALUES
INSERT INTO odd.empty VALUES (1, 'not any more')
INSERT INTO odd.filtered VALUES (200, 'eu', 's', 'in'), (201, 'us', 's', 'out')
UPDATE odd.filtered SET region = 'us' WHERE id = 3; UPDATE odd.filtered SET region = 'eu' WHERE id = 4; UPDATE odd.filtered SET v = 'x' WHERE id < 20
DELETE FROM odd.filtered WHERE id BETWEEN 30 AND 40
UPDATE odd.some_columns SET secret = 'other' WHERE id < 50; UPDATE odd.some_columns SET v = 'seen' WHERE id < 20
`

// truncations are TRUNCATEs in all their forms, with rows before and behind.
var truncations = []string{
	"TRUNCATE odd.empty; INSERT INTO odd.empty VALUES (2, 'after')",
	"BEGIN; INSERT INTO odd.empty VALUES (3, 'gone'); TRUNCATE odd.empty, odd.made; INSERT INTO odd.made (a) VALUES (1); INSERT INTO odd.empty VALUES (3, 'stays'); COMMIT",
	"TRUNCATE odd.made RESTART IDENTITY; INSERT INTO odd.made (a) VALUES (5)",
	"TRUNCATE odd.referred CASCADE; INSERT INTO odd.referred VALUES (1); INSERT INTO odd.refers VALUES (1, NULL)",
	"TRUNCATE odd.referred, odd.refers RESTART IDENTITY CASCADE; INSERT INTO odd.referred DEFAULT VALUES",
	"TRUNCATE ONLY odd.parent; INSERT INTO odd.parent VALUES (1, 'new')",
	"TRUNCATE odd.parent; INSERT INTO odd.child VALUES (2, 'new', 2)",
	"TRUNCATE odd.parts_eu; INSERT INTO odd.parts VALUES (1, 'eu', 'new')",
	"TRUNCATE odd.parts; INSERT INTO odd.parts VALUES (2, 'eu', 'new'), (3, 'us', 'new')",
	"BEGIN; SAVEPOINT a; TRUNCATE odd.some_columns; ROLLBACK TO a; INSERT INTO odd.some_columns VALUES (1000, 's', 'v'); COMMIT",
	"TRUNCATE odd.nothing; INSERT INTO odd.nothing DEFAULT VALUES",
}

// TestDataKindsOfTables carries kinds of tables over, published as partitions
// and as what they are partitions of.
func TestDataKindsOfTables(t *testing.T) {
	t.Parallel()
	for _, root := range []bool{false, true} {
		t.Run(fmt.Sprintf("publish_via_partition_root=%t", root), func(t *testing.T) {
			if root {
				pgtest.Long(t)
			}
			t.Parallel()
			source, destination := fresh(t, oddTables)
			source.Exec(t, fmt.Sprintf(`DROP PUBLICATION all_tables; CREATE PUBLICATION all_tables FOR TABLE odd.parts, odd.parent, odd.made, odd.nothing, odd.empty, odd.referred, odd.refers,
				odd.filtered (id, region, v) WHERE (region = 'eu'), odd.some_columns (id, v) WITH (publish_via_partition_root = %t)`, root))
			m := between(source, destination).manager(t)
			id := copyData(t, m, copyRequest())
			streaming(t, m, id)
			sameRows(t, source, destination)
			if names := pgtest.Column[string](t, destination, "SELECT table_name FROM pgdrover.tables"); contains(names, "parts") != root || contains(names, "parts_eu_low") == root {
				t.Errorf("the tables are %v", names)
			}
			for _, sql := range strings.Split(strings.TrimSpace(oddChanges), "\n") {
				source.Exec(t, sql)
			}
			arrived(t, m, source, destination)
			rowsOf(t, destination, "SELECT count(*) FROM odd.filtered WHERE secret IS NOT NULL OR region <> 'eu'", "0")
			// What is not published has its default.
			rowsOf(t, destination, "SELECT DISTINCT secret FROM odd.some_columns", "secret")
			for _, sql := range truncations {
				source.Exec(t, sql)
				ledger.CaughtUp(t, source, applied(m))
				for _, row := range tables(t, m) {
					if row.State != mirror.TableStreaming {
						t.Fatalf("after %s: %s is %s: %s", sql, row.Table, row.State, full(row.Error))
					}
				}
			}
			arrived(t, m, source, destination)
			stopTask(t, m, id)
			same(t, m)
		})
	}
}

// TestDataPartitionsDiffer publishes a table as one and has it partitioned in
// another way on the destination, and the other way round.
func TestDataPartitionsDiffer(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, `
CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (500); CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
CREATE TABLE plain (id int PRIMARY KEY, v text);
INSERT INTO parted SELECT i, 'v' FROM generate_series(1, 1000) i; INSERT INTO plain SELECT i, 'v' FROM generate_series(1, 1000) i`)
	source.Exec(t, "ALTER PUBLICATION all_tables SET (publish_via_partition_root = true)")
	destination.Exec(t, `
CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
CREATE TABLE a PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 0); CREATE TABLE b PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE c PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 2);
CREATE TABLE plain (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE d PARTITION OF plain DEFAULT`)
	m := between(source, destination).manager(t)
	req := copyRequest()
	req.SkipSchema = true
	id := copyData(t, m, req)
	streaming(t, m, id)
	source.Exec(t, "UPDATE parted SET id = id + 10000 WHERE id % 3 = 0; DELETE FROM parted WHERE id % 7 = 1; INSERT INTO parted VALUES (-1, 'new')")
	source.Exec(t, "UPDATE plain SET id = id + 10000 WHERE id % 3 = 0; UPDATE plain SET v = 'x' WHERE id < 100; DELETE FROM plain WHERE id % 7 = 1")
	arrived(t, m, source, destination)
	source.Exec(t, "TRUNCATE parted, plain; INSERT INTO parted VALUES (1, 'after')")
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

// TestDataPublicationChanges adds and removes tables, columns and filters while
// the stream goes on.
func TestDataPublicationChanges(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows+`CREATE TABLE later (id int PRIMARY KEY, v text); INSERT INTO later SELECT i, 'v' FROM generate_series(1, 100) i`)
	source.Exec(t, "DROP PUBLICATION all_tables; CREATE PUBLICATION all_tables FOR TABLE items, notes")
	m := between(source, destination).manager(t)
	id := follow(t, m)
	source.Exec(t, "ALTER PUBLICATION all_tables ADD TABLE later")
	source.Exec(t, "UPDATE later SET v = 'early' WHERE id < 10")
	becomes(t, m, "public.later", mirror.TableStreaming)
	source.Exec(t, "UPDATE later SET v = 'late' WHERE id > 90")
	arrived(t, m, source, destination)

	source.Exec(t, "ALTER PUBLICATION all_tables DROP TABLE later")
	becomes(t, m, "public.later", mirror.TableUnpublished)
	source.Exec(t, "DELETE FROM later WHERE id > 50")
	changed(t, source, 1)
	arrived(t, m, source, destination)
	rowsOf(t, destination, "SELECT count(*) FROM later", "100") // what was there stays
	stopTask(t, m, id)

	// It comes back with other rows: copied anew, as the word of RESYNC is not
	// needed for what pgdrover has put there.
	source.Exec(t, "ALTER PUBLICATION all_tables ADD TABLE later")
	id = copyData(t, m, copyRequest())
	row := oneOf(t, m, "public.later", mirror.TableStreaming, mirror.TableStopped)
	if row.State == mirror.TableStopped {
		says(t, row.Error, "55000", "holds rows already", "RESYNC")
		if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"later"}}); err != nil {
			t.Fatal(full(err))
		}
		becomes(t, m, "public.later", mirror.TableStreaming)
	}
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

// TestDataTableIsAnother changes what a name or a publication means between two
// looks at it, so that changes were not sent: the table is copied again, or
// stopped; it does not go on as if nothing had been.
func TestDataTableIsAnother(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"made anew":         "DROP TABLE other; CREATE TABLE other (id int PRIMARY KEY, v text); INSERT INTO other SELECT i, 'another' FROM generate_series(50, 150) i; ALTER PUBLICATION all_tables ADD TABLE other",
		"removed and added": "ALTER PUBLICATION all_tables DROP TABLE other; UPDATE other SET v = 'unseen' WHERE id < 50; DELETE FROM other WHERE id > 90; ALTER PUBLICATION all_tables ADD TABLE other",
		"other filter":      "ALTER PUBLICATION all_tables SET TABLE items, notes, other WHERE (id < 50)",
		"other columns":     "UPDATE other SET v = 'unseen'; ALTER PUBLICATION all_tables SET TABLE items, notes, other (id, v, w)",
	} {
		for _, while := range []string{"streaming", "stopped"} {
			t.Run(name+", "+while, func(t *testing.T) {
				if name != "removed and added" || while != "streaming" {
					pgtest.Long(t)
				}
				t.Parallel()
				source, destination := fresh(t, pairRows+"CREATE TABLE other (id int PRIMARY KEY, v text, w text DEFAULT 'w'); INSERT INTO other SELECT i, 'v' FROM generate_series(1, 100) i")
				columns := ""
				if name == "other columns" {
					columns = " (id, w)"
				}
				source.Exec(t, "DROP PUBLICATION all_tables; CREATE PUBLICATION all_tables FOR TABLE items, notes, other"+columns)
				m := between(source, destination).manager(t)
				id := follow(t, m)
				if while == "stopped" {
					stopTask(t, m, id)
				}
				for _, one := range strings.Split(sql, "; ") {
					source.Exec(t, one)
				}
				source.Exec(t, "UPDATE other SET v = v || '!' WHERE id < 10")
				if while == "stopped" {
					id = copyData(t, m, copyRequest())
				}
				ledger.CaughtUp(t, source, applied(m))
				tables, err := ledger.PublishedTables(t.Context(), source.Connect(t), "all_tables")
				if err != nil {
					t.Fatal(err)
				}
				from, to := source.Connect(t), connections(t, destination)
				var differ error
				pgtest.Eventually(t, "the table is as the source's, or stopped", func(ctx context.Context) (bool, error) {
					for _, row := range mirrorTables(t, m) {
						if row.Table == "other" && row.State == mirror.TableStopped {
							return true, nil
						}
					}
					_, differ = ledger.Same(ctx, from, to, tables, ledger.CompareOptions{})
					if differ != nil {
						pause(t, time.Second/2)
					}
					return differ == nil, nil
				})
				if row := tableRow(t, m, "public.other"); row.State == mirror.TableStopped {
					says(t, row.Error, row.Error.Code, "RESYNC")
				}
				stopTask(t, m, id)
			})
		}
	}
}

// TestDataJoinCut cuts connections while a table joins a stream: it joins
// nevertheless, once.
func TestDataJoinCut(t *testing.T) {
	t.Parallel()
	type ways struct{ source, destination *pgtest.Proxy }
	for name, arm := range map[string]func(w ways, slot string) <-chan struct{}{
		"its slot is made": func(w ways, slot string) <-chan struct{} {
			return w.source.CutReply(`CREATE_REPLICATION_SLOT "`+slot+"_p", "")
		},
		"its stream begins": func(w ways, slot string) <-chan struct{} {
			return w.source.CutBefore(`START_REPLICATION SLOT "` + slot + "_p")
		},
		"its stream has begun": func(w ways, slot string) <-chan struct{} {
			return w.source.CutReply(`START_REPLICATION SLOT "`+slot+"_p", "")
		},
		"its rows are recorded": func(w ways, _ string) <-chan struct{} { return w.destination.CutBefore("INSERT INTO pgdrover.copied") },
		"its rows are committed": func(w ways, _ string) <-chan struct{} {
			return w.destination.CutReply("INSERT INTO pgdrover.copied", "COMMIT")
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "its rows are committed" {
				pgtest.Long(t)
			}
			t.Parallel()
			source, destination := fresh(t, pairRows)
			w := ways{source.Cluster.Proxy(t), destination.Cluster.Proxy(t)}
			s := setup{source: []endpoint{through(w.source, source)}, destination: []endpoint{through(w.destination, destination)}, general: quick}
			m := s.manager(t)
			id := follow(t, m)
			fired := arm(w, slots(t, source)[0])
			source.Exec(t, "CREATE TABLE joins (n int); ALTER TABLE joins REPLICA IDENTITY FULL; INSERT INTO joins SELECT generate_series(1, 1000)")
			await(t, fired)
			changed(t, source, 1)
			source.Exec(t, "INSERT INTO joins VALUES (1001); DELETE FROM joins WHERE n < 10")
			becomes(t, m, "public.joins", mirror.TableStreaming)
			arrived(t, m, source, destination)
			if s := slots(t, source); len(s) != 1 {
				t.Errorf("the slots are %v", s)
			}
			rowsOf(t, destination, "SELECT mirror FROM pgdrover.progress", theMirror)
			stopTask(t, m, id)
			same(t, m)
		})
	}
}

// mirrorTables gives the mirror's tables, whatever cannot be asked.
func mirrorTables(tb testing.TB, m *mirror.Manager) []mirror.MirrorTableRow {
	tb.Helper()
	rows, _, _ := m.MirrorTables(tb.Context(), theMirror)
	return rows
}

// oneOf waits until a table is in one of some states.
func oneOf(tb testing.TB, m *mirror.Manager, name string, states ...mirror.TableState) mirror.MirrorTableRow {
	tb.Helper()
	var found mirror.MirrorTableRow
	pgtest.Eventually(tb, fmt.Sprintf("table %s is one of %v", name, states), func(ctx context.Context) (bool, error) {
		rows, _, err := m.MirrorTables(ctx, theMirror)
		for _, row := range rows {
			for _, state := range states {
				if row.Schema+"."+row.Table == name && row.State == state {
					found = row
					return true, err
				}
			}
		}
		return false, err
	})
	return found
}

// TestDataNotCarried tells what is not copied and cannot be published.
func TestDataNotCarried(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows+"CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY); INSERT INTO fleeting VALUES (1); SELECT lo_from_bytea(0, 'large')")
	m := between(source, destination).manager(t)
	started, err := m.CopyData(t.Context(), copyRequest())
	if err != nil {
		t.Fatal(full(err))
	}
	var told strings.Builder
	for _, w := range started.Warnings {
		told.WriteString(full(w))
	}
	for _, word := range []string{"large object", "unlogged", "public.fleeting"} {
		if !strings.Contains(told.String(), word) {
			t.Errorf("nothing warns of %s: %q", word, told.String())
		}
	}
	streaming(t, m, started.Task)
	arrived(t, m, source, destination)
	stopTask(t, m, started.Task)
}

// TestDataWideRow copies, inserts and updates a row of 120 MB.
func TestDataWideRow(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, "CREATE TABLE wide (id int PRIMARY KEY, t text, n int); ALTER TABLE wide ALTER t SET STORAGE EXTERNAL; INSERT INTO wide VALUES (1, repeat('x', 120000000), 1)")
	m := between(source, destination).manager(t)
	id := follow(t, m)
	source.Exec(t, "UPDATE wide SET n = 2 WHERE id = 1") // t is not sent
	source.Exec(t, "INSERT INTO wide VALUES (2, repeat('y', 120000000), 1)")
	source.Exec(t, "UPDATE wide SET id = 3 WHERE id = 2") // nor here, under a new key
	ledger.CaughtUp(t, source, applied(m))
	const sums = "SELECT id, n, length(t), md5(t) FROM wide ORDER BY id"
	rowsOf(t, destination, sums, source.Rows(t, sums)...)
	stopTask(t, m, id)
}

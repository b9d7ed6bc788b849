package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// TestResyncMapped copies a table again that has another name and other columns at
// the destination, on one and on two shards, by each strategy.
func TestResyncMapped(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	for shards := 1; shards <= 2; shards++ {
		t.Run(fmt.Sprintf("to %d", shards), func(t *testing.T) {
			if shards > 1 {
				pgtest.Long(t)
			}
			t.Parallel()
			source, first := fresh(t, pairRows+"ALTER TABLE items ADD COLUMN amount int; UPDATE items SET amount = id % 1000 WHERE id < 5000;")
			destinations := []*pgtest.Database{first}
			for len(destinations) < shards {
				destinations = append(destinations, first.Cluster.CreateDatabase(t))
			}
			for _, d := range destinations {
				d.Exec(t, mappedTables)
			}
			s := between(source, destinations...)
			s.extra = "[[sharded_tables]]\ndatabase = \"prod_new\"\nschema = \"shop\"\nname = 'Articles \"sold\"'\ncolumn = \"id\"\ndata_type = \"bigint\"\n"
			m := s.manager(t)
			if err := m.CreateMirror(t.Context(), mappedDefinition()); err != nil {
				t.Fatal(full(err))
			}
			if _, err := m.Resume(t.Context(), weirdMirror); err != nil {
				t.Fatal(full(err))
			}
			wanted(t, m, weirdMirror, mirror.MirrorRunning)
			ledger.CaughtUp(t, source, appliedOf(m, weirdMirror))
			b := &bankAt{m: m, mirror: weirdMirror}
			for round, strategy := range resync.Strategies {
				for _, d := range destinations {
					d.Exec(t, `DELETE FROM shop."Articles ""sold""" WHERE id % 7 = 1; UPDATE shop."Articles ""sold""" SET amount = -1, own = 'kept' WHERE id % 7 = 2; UPDATE "The ""App""".notes SET note = 'wrong'`)
				}
				asked, err := m.Resync(t.Context(), weirdMirror, mirror.ResyncRequest{Strategy: strategy})
				if err != nil {
					t.Fatal(full(err))
				}
				source.Exec(t, fmt.Sprintf("UPDATE items SET amount = %d WHERE id %% 9 = 0; INSERT INTO notes VALUES ('round %[1]d', now())", round))
				succeeded(t, b.over(t, asked))
				ledger.CaughtUp(t, source, appliedOf(m, weirdMirror))
				var articles []string
				for _, d := range destinations {
					articles = append(articles, d.Rows(t, `SELECT id, title, amount FROM shop."Articles ""sold"""`)...)
					equalSets(t, source.Rows(t, "SELECT note, at FROM notes"), d.Rows(t, `SELECT note, at FROM "The ""App""".notes`))
					// A column that is not copied keeps what it has in place alone.
					rowsOf(t, d, `SELECT count(*) > 0 FROM shop."Articles ""sold""" WHERE own = 'kept'`, map[bool]string{true: "t", false: "f"}[strategy == resync.Reconcile])
				}
				equalSets(t, source.Rows(t, "SELECT id, name, amount FROM items"), articles)
			}
		})
	}
}

// TestResyncPartitions copies partitions again that are published by themselves, and
// a partitioned table that is published as one.
func TestResyncPartitions(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	const days = `
CREATE TABLE days (day int, id int, v text, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (10);
CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id);
CREATE TABLE days_2a PARTITION OF days_2 DEFAULT;
CREATE INDEX ON days (v);
CREATE TABLE marks (day int, id int, FOREIGN KEY (day, id) REFERENCES days);
ALTER TABLE marks REPLICA IDENTITY FULL;
INSERT INTO days SELECT i % 20, i, 'v' || i FROM generate_series(1, 2000) i;
INSERT INTO marks SELECT day, id FROM days WHERE id % 100 = 0;`
	for _, root := range []bool{false, true} {
		t.Run(fmt.Sprintf("as one %t", root), func(t *testing.T) {
			if !root {
				pgtest.Long(t)
			}
			t.Parallel()
			source, destination := fresh(t, days)
			source.Exec(t, fmt.Sprintf("ALTER PUBLICATION all_tables SET (publish_via_partition_root = %t)", root))
			s := between(source, destination)
			s.general = quick
			b := &bankAt{source: source, shards: []*pgtest.Database{destination}, m: s.manager(t)}
			follow(t, b.m)
			before := schemaOf(t, destination)
			for round, strategy := range resync.Strategies {
				destination.Exec(t, "SET session_replication_role = replica; UPDATE days SET v = 'wrong' WHERE id % 3 = 0; DELETE FROM days WHERE id % 50 = 1")
				tables := []string{"days_1", "days_2a"}
				if root {
					tables = []string{"days"}
				}
				asked, err := b.m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: tables, Strategy: strategy})
				if err != nil {
					t.Fatal(full(err))
				}
				source.Exec(t, fmt.Sprintf("UPDATE days SET v = v || ' %d' WHERE id %% 7 = 0; UPDATE days SET day = 19 - day WHERE id %% 70 = 5; INSERT INTO days VALUES (%[1]d, 5000, 'new')", round))
				succeeded(t, b.over(t, asked))
				arrived(t, b.m, source, destination)
				b.clean(t)
				if after := schemaOf(t, destination); strings.Join(after, "\n") != strings.Join(before, "\n") {
					t.Errorf("after %s the schema is\n%s\nand was\n%s", strategy, strings.Join(after, "\n"), strings.Join(before, "\n"))
				}
			}
		})
	}
}

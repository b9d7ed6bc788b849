package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// spread are tables that are spread over three shards, each in another way.
const spread = `
CREATE TABLE numbers (id bigint PRIMARY KEY, v text);
CREATE TABLE small (id smallint PRIMARY KEY, v text);
CREATE TABLE ids (id uuid PRIMARY KEY, v text);
CREATE TABLE texts (id varchar(40) PRIMARY KEY, v text);
CREATE TABLE lists (id bigint PRIMARY KEY, v text);
CREATE TABLE ranges (id int PRIMARY KEY, v text);
CREATE TABLE words (id text, n int, PRIMARY KEY (id, n));
CREATE TABLE everywhere (id int PRIMARY KEY, v text);
INSERT INTO numbers SELECT i * 7919 - 5000000, 'v' || i FROM generate_series(1, 1500) i;
INSERT INTO small SELECT i - 200, 'v' || i FROM generate_series(1, 400) i;
INSERT INTO ids SELECT md5(i::text)::uuid, 'v' || i FROM generate_series(1, 600) i;
INSERT INTO texts SELECT 'käse ' || i, 'v' || i FROM generate_series(1, 600) i;
INSERT INTO lists SELECT i, 'v' || i FROM generate_series(1, 60) i;
INSERT INTO ranges SELECT i, 'v' || i FROM generate_series(-100, 300) i;
INSERT INTO words SELECT (ARRAY['red', 'green', 'blue', 'grey'])[i % 4 + 1], i FROM generate_series(1, 100) i;
INSERT INTO everywhere SELECT i, 'v' || i FROM generate_series(1, 100) i;
`

// spreading is its configuration.
func spreading() string {
	var b strings.Builder
	for _, e := range []struct{ name, kind, mapping string }{
		{"numbers", "bigint", ""}, {"small", "bigint", ""}, {"ids", "uuid", ""}, {"texts", "varchar", ""},
		{"lists", "bigint", "{ values = [1, 2, 3], shard = 2 }, { values = [4], shard = 1 }, { shard = 0 }"},
		{"ranges", "bigint", "{ end = 0, shard = 0 }, { start = 0, end = 100, shard = 1 }, { start = 100, shard = 2 }"},
		{"words", "varchar", "{ values = [\"red\", \"green\"], shard = 1 }, { values = [\"blue\"], shard = 2 }, { shard = 0 }"},
	} {
		fmt.Fprintf(&b, "[[sharded_tables]]\ndatabase = \"prod_new\"\nschema = \"public\"\nname = %q\ncolumn = \"id\"\ndata_type = %q\n", e.name, e.kind)
		if e.mapping != "" {
			fmt.Fprintf(&b, "mapping = [%s]\n", e.mapping)
		}
	}
	return b.String()
}

// places are where the rows belong, told by PostgreSQL itself.
func places() []ledger.Table {
	hash := func(name, kind string) ledger.Table {
		return ledger.Table{Schema: "public", Name: name, Placement: &ledger.Placement{Column: "id", Expression: ledger.ShardExpression("id", kind, 3)}}
	}
	by := func(name, expression string) ledger.Table {
		return ledger.Table{Schema: "public", Name: name, Placement: &ledger.Placement{Column: "id", Expression: expression}}
	}
	return []ledger.Table{
		hash("numbers", "bigint"), by("small", ledger.ShardExpression("id::bigint", "bigint", 3)), hash("ids", "uuid"), by("texts", ledger.ShardExpression("id::text", "text", 3)),
		by("lists", "CASE WHEN id IN (1, 2, 3) THEN 2 WHEN id = 4 THEN 1 ELSE 0 END"),
		by("ranges", "CASE WHEN id < 0 THEN 0 WHEN id < 100 THEN 1 ELSE 2 END"),
		by("words", "CASE WHEN id IN ('red', 'green') THEN 1 WHEN id = 'blue' THEN 2 ELSE 0 END"),
		{Schema: "public", Name: "everywhere"},
	}
}

// placed checks that every row is on its shard alone.
func placed(tb testing.TB, m *mirror.Manager, source *pgtest.Database, shards []*pgtest.Database) {
	tb.Helper()
	ledger.CaughtUp(tb, source, applied(m))
	report, err := ledger.Same(tb.Context(), source.Connect(tb), connections(tb, shards...), places(), ledger.CompareOptions{})
	if err != nil {
		tb.Error(err)
	}
	tb.Logf("%+v", report)
}

// TestDataToShards spreads tables over three shards by hash, list, range and
// default, and moves rows between them.
func TestDataToShards(t *testing.T) {
	t.Parallel()
	source, first := fresh(t, spread)
	to := []*pgtest.Database{first, first.Cluster.CreateDatabase(t), first.Cluster.CreateDatabase(t)}
	s := between(source, to...)
	s.extra = spreading()
	m := s.manager(t)
	id := follow(t, m)
	placed(t, m, source, to)
	source.Exec(t, "UPDATE numbers SET id = id + 1, v = v || 'moved' WHERE id % 5 = 0; DELETE FROM numbers WHERE id % 11 = 3; INSERT INTO numbers VALUES (9223372036854775807, 'max'), (-9223372036854775808, 'min')")
	source.Exec(t, "UPDATE small SET id = id + 1000; UPDATE ids SET id = md5(v)::uuid WHERE v LIKE '%7'; UPDATE texts SET id = id || ' ñ' WHERE v LIKE '%3'")
	source.Exec(t, "BEGIN; UPDATE lists SET id = id + 100 WHERE id < 5; UPDATE lists SET id = id - 9 WHERE id BETWEEN 10 AND 12; INSERT INTO lists VALUES (4, 'again'); COMMIT")
	source.Exec(t, "UPDATE ranges SET id = 1000 - id WHERE id % 10 = 0; DELETE FROM ranges WHERE id = 99; UPDATE words SET id = 'blue' WHERE n % 7 = 0; INSERT INTO words VALUES ('white', 1)")
	source.Exec(t, "UPDATE everywhere SET v = 'all' WHERE id < 10; DELETE FROM everywhere WHERE id = 50")
	placed(t, m, source, to)
	source.Exec(t, "TRUNCATE lists, words; INSERT INTO lists VALUES (2, 'after')")
	placed(t, m, source, to)

	// One shard is copied again with the others: RESYNC is of all.
	to[1].Exec(t, "DELETE FROM ranges; DELETE FROM everywhere")
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"ranges", "public.everywhere"}}); err != nil {
		t.Fatal(full(err))
	}
	pgtest.Eventually(t, "they are copied again", func(ctx context.Context) (bool, error) {
		rows, _, err := m.TableCopies(ctx)
		n := 0
		for _, row := range rows {
			if row.Attempt == 2 {
				n++
			}
		}
		return n == 2, err
	})
	streaming(t, m, id)
	placed(t, m, source, to)
	stopTask(t, m, id)
}

// TestDataKeyWithoutShard has rows whose key no shard takes: their table stops
// and names the row; it is never copied to all.
func TestDataKeyWithoutShard(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	const made = `
CREATE TABLE nulls (id int PRIMARY KEY, tenant bigint); ALTER TABLE nulls REPLICA IDENTITY FULL;
CREATE TABLE unmatched (id int PRIMARY KEY, tenant bigint); ALTER TABLE unmatched REPLICA IDENTITY FULL;
CREATE TABLE good (id bigint PRIMARY KEY);
INSERT INTO good SELECT generate_series(1, 100);
INSERT INTO nulls SELECT i, i FROM generate_series(1, 100) i; INSERT INTO unmatched SELECT i, i % 3 FROM generate_series(1, 100) i;`
	const bad = "INSERT INTO nulls VALUES (4711, NULL); INSERT INTO unmatched VALUES (4712, 99)"
	configured := `
[[sharded_tables]]
database = "prod_new"
name = "nulls"
column = "tenant"
[[sharded_tables]]
database = "prod_new"
name = "unmatched"
column = "tenant"
mapping = [{ values = [0, 1], shard = 0 }, { start = 2, end = 5, shard = 1 }]
[[sharded_tables]]
database = "prod_new"
name = "good"
column = "id"
`
	for _, while := range []string{"copying", "streaming"} {
		t.Run(while, func(t *testing.T) {
			t.Parallel()
			source, first := fresh(t, made)
			second := first.Cluster.CreateDatabase(t)
			s := between(source, first, second)
			s.extra = configured
			m := s.manager(t)
			if while == "copying" {
				source.Exec(t, bad)
			}
			id := copyData(t, m, copyRequest())
			if while == "streaming" {
				streaming(t, m, id)
				source.Exec(t, bad)
			}
			for table, words := range map[string][]string{"public.nulls": {"22004", "4711", "tenant"}, "public.unmatched": {"22023", "4712", "99"}} {
				row := becomes(t, m, table, mirror.TableStopped)
				says(t, row.Error, words[0], append(words[1:], "RESYNC")...)
			}
			streaming(t, m, id, "public.nulls", "public.unmatched")
			source.Exec(t, "INSERT INTO good VALUES (1000)")
			ledger.CaughtUp(t, source, applied(m))
			for _, d := range []*pgtest.Database{first, second} {
				rowsOf(t, d, "SELECT FROM nulls WHERE tenant IS NULL UNION ALL SELECT FROM unmatched WHERE tenant = 99")
			}
			source.Exec(t, "DELETE FROM nulls WHERE tenant IS NULL; UPDATE unmatched SET tenant = 4 WHERE tenant = 99")
			if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Stopped: true}); err != nil {
				t.Fatal(full(err))
			}
			becomes(t, m, "public.nulls", mirror.TableStreaming)
			becomes(t, m, "public.unmatched", mirror.TableStreaming)
			ledger.CaughtUp(t, source, applied(m))
			const all = "SELECT id, tenant FROM nulls UNION ALL SELECT id, tenant FROM unmatched ORDER BY 1, 2"
			rowsOf(t, source, all, merged(t, all, first, second)...)
			stopTask(t, m, id)
		})
	}
}

// merged gives the rows of all shards in the order that a query of one gives.
func merged(tb testing.TB, sql string, shards ...*pgtest.Database) []string {
	tb.Helper()
	var values []string
	for _, d := range shards {
		for _, row := range d.Rows(tb, sql) {
			id, tenant, _ := strings.Cut(row, "|")
			values = append(values, fmt.Sprintf("(%s, %s)", id, tenant))
		}
	}
	return shards[0].Rows(tb, "SELECT * FROM (VALUES "+strings.Join(values, ", ")+") v ORDER BY 1, 2")
}

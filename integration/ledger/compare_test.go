package ledger_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// TestSame covers what the ledger's own tables do not.
func TestSame(t *testing.T) {
	t.Parallel()
	var databases []*pgtest.Database
	var conns []*pgx.Conn
	for i := range 3 {
		databases = append(databases, pgtest.Shared(t, 0).CreateDatabase(t))
		conns = append(conns, databases[i].Connect(t))
	}
	conn := func(i int, sql string) {
		t.Helper()
		if _, err := conns[i].Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	const create = "CREATE TABLE t (k int, v text); INSERT INTO t VALUES "
	conn(0, create+"(1, 'a'), (1, 'a'), (2, NULL), (3, ''), (4, '(,\")')")
	conn(1, create+"(1, 'a'), (1, 'a'), (3, '')")
	conn(2, create+"(4, '(,\")'), (2, NULL)")
	conn(0, "SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = -5") // what a session prints is pinned
	oddEven := &ledger.Placement{Column: "k", Shard: func(key *string) (int, error) {
		if key == nil {
			return 0, errors.New("no key")
		}
		n, err := strconv.Atoi(*key)
		return (n + 1) % 2, err
	}}
	inSQL := &ledger.Placement{Column: "k", Expression: "(k + 1) % 2"}
	same := func(sides []int, table ledger.Table) (string, error) {
		var destinations []*pgx.Conn
		for _, i := range sides {
			destinations = append(destinations, databases[i].Connect(t))
		}
		table.Schema, table.Name = "public", "t"
		_, err := ledger.Same(t.Context(), conns[0], destinations, []ledger.Table{table}, ledger.CompareOptions{Most: 2})
		var different *ledger.Different
		if errors.As(err, &different) {
			return fmt.Sprint(different.Tables[0].Count), err
		}
		return "", err
	}
	for name, c := range map[string]struct {
		sides []int
		table ledger.Table
		count string // of differences
		fails string
	}{
		"itself":                   {sides: []int{0}},
		"every shard":              {sides: []int{0, 0}},
		"sharded":                  {sides: []int{1, 2}, table: ledger.Table{Placement: oddEven}},
		"sharded, in SQL":          {sides: []int{1, 2}, table: ledger.Table{Placement: inSQL}},
		"shards exchanged":         {sides: []int{2, 1}, table: ledger.Table{Placement: oddEven}, count: "4"},
		"whole where sharded":      {sides: []int{0, 0}, table: ledger.Table{Placement: inSQL}, count: "4"},
		"a part where every shard": {sides: []int{0, 1}, count: "2"},
		"a part":                   {sides: []int{1}, count: "2"},
		"a row filter":             {sides: []int{1}, table: ledger.Table{Where: "k % 2 = 1"}},
		"a column list":            {sides: []int{1}, table: ledger.Table{Where: "k % 2 = 1", Columns: []string{"v"}}},
		"columns that do not show": {sides: []int{2}, table: ledger.Table{Columns: []string{"k"}, Where: "k > 1"}, count: "1"},
		"no destination":           {fails: "nothing to compare"},
		"a column is not there":    {sides: []int{1}, table: ledger.Table{Columns: []string{"no"}}, fails: "no"},
		"an impossible shard":      {sides: []int{1}, table: ledger.Table{Placement: inSQL}, fails: "shard 1 of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			count, err := same(c.sides, c.table)
			switch {
			case c.fails != "":
				if err == nil || count != "" || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("got %q, %v; want %q", count, err, c.fails)
				}
			case count != c.count || (err != nil) != (c.count != ""):
				t.Errorf("got %q, %v; want %q", count, err, c.count)
			}
		})
	}
	conn(1, "UPDATE t SET v = 'x' WHERE ctid = (SELECT min(ctid) FROM t)")
	_, err := same([]int{1, 2}, ledger.Table{Placement: oddEven})
	for _, want := range []string{`source 2, destinations [1 0], belongs on 0: (1,a)`, `source 0, destinations [1 0], belongs on 0: (1,x)`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	conn(0, "INSERT INTO t VALUES (NULL, '')")
	for _, p := range []*ledger.Placement{oddEven, inSQL} {
		if _, err := same([]int{1, 2}, ledger.Table{Placement: p}); err == nil || errors.As(err, new(*ledger.Different)) {
			t.Errorf("a key that is NULL: %v", err)
		}
	}
}

// TestShardExpression compares with what hash partitioning itself does.
func TestShardExpression(t *testing.T) {
	t.Parallel()
	for _, installation := range pgtest.Majors(t) {
		d := pgtest.Shared(t, installation.Major).CreateDatabase(t)
		for keyType, keys := range map[string]string{
			"bigint": "SELECT n * 1234567890123 - 600000000000000 AS k FROM generate_series(1, 1000) n UNION ALL VALUES (0), (-1), (9223372036854775807), (-9223372036854775808)",
			"uuid":   "SELECT md5(n::text)::uuid AS k FROM generate_series(1, 1000) n",
			"text":   "SELECT repeat('ü', n % 40) || n AS k FROM generate_series(1, 1000) n UNION ALL VALUES ('')",
		} {
			for _, shards := range []int{1, 2, 3, 16} {
				parent := fmt.Sprintf("%s_%d", keyType, shards)
				d.Exec(t, fmt.Sprintf("CREATE TABLE %s (k %s) PARTITION BY HASH (k)", parent, keyType))
				wrong := d.Rows(t, fmt.Sprintf("SELECT k FROM (%s) AS keys WHERE satisfies_hash_partition('%s'::regclass, %d, %s, k) IS NOT TRUE",
					keys, parent, shards, ledger.ShardExpression("k", keyType, shards)))
				if len(wrong) > 0 {
					t.Errorf("%s, %s over %d shards: %d keys are on others than PostgreSQL's, such as %s", installation, keyType, shards, len(wrong), wrong[0])
				}
			}
		}
	}
}

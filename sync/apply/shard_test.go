package apply_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/shard"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// three is a destination of three shards; t and full are sharded by k, all is not.
type three struct {
	*one
	dbs []*pgtest.Database
}

const shardDDL = `CREATE TABLE t (k bigint NOT NULL, id int, v text, PRIMARY KEY (k, id)); CREATE TABLE "all" (id int PRIMARY KEY, v text);
CREATE TABLE "full" (k bigint, v text, big text); ALTER TABLE "full" REPLICA IDENTITY FULL;
CREATE TABLE moved (k bigint, id int, v text, b bytea, d numeric, PRIMARY KEY (k, id));`

func sharded(t *testing.T) *three {
	t.Helper()
	c := pgtest.Shared(t, 0)
	s := &three{one: &one{t: t, rel: map[string]*stream.Relation{}, source: newSource()}}
	for range 3 {
		s.dbs = append(s.dbs, destination(t, c, shardDDL))
	}
	s.db = s.dbs[0]
	relations, types := shapes(t, s.db, "t", "all", "full", "moved")
	for name, r := range relations {
		s.rel[name] = published(r, r.Identity)
	}
	s.tables = &tables{find: finder(t, s.db, s.db, types, shardKeys(t, "t", "full", "moved"))}
	s.opts = options(s.tables, server(s.dbs[0], 0), server(s.dbs[1], 1), server(s.dbs[2], 2))
	s.opts.Logger = testLogger(t)
	return s
}

// where gives the shards' numbers of rows that a condition holds for.
func (s *three) where(table, condition string) string {
	var out []string
	for _, db := range s.dbs {
		out = append(out, fmt.Sprint(pgtest.Value[int64](s.t, db, fmt.Sprintf(`SELECT count(*) FROM %s WHERE %s`, pgtest.Quote(table), condition))))
	}
	return strings.Join(out, " ")
}

func TestRowsMoveBetweenShards(t *testing.T) {
	t.Parallel()
	for _, spool := range []bool{false, true} {
		t.Run(fmt.Sprintf("spool=%t", spool), func(t *testing.T) {
			t.Parallel()
			s := sharded(t)
			tab, full, all := s.rel["t"], s.rel["full"], s.rel["all"]
			var changes []stream.Change
			for i := range 60 {
				changes = append(changes, ins(tab, num(i), num(i), text("v")), ins(full, num(i), text("f"), text("big")), ins(all, num(i), text("a")))
			}
			for i := range 60 { // every key becomes another one
				changes = append(changes, updOld(tab, []val{num(i), num(i), null}, num(i+100), num(i), text("w")))
				changes = append(changes, updOld(full, []val{num(i), text("f"), text("big")}, num(i+100), text("g"), same))
				if i%2 == 0 {
					changes = append(changes, upd(all, num(i), text("b")), del(tab, num(i+100), num(i), null))
				}
			}
			if spool {
				s.opts.GroupRows = 50
				s.apply(s.clock.spool(len(changes), func(i int) stream.Change { return changes[i] }))
			} else {
				s.apply(s.clock.tx(changes...))
			}
			s.wantNoStop()
			if got := s.where("all", "v = CASE id % 2 WHEN 0 THEN 'b' ELSE 'a' END"); got != "60 60 60" {
				t.Errorf("rows of a table that is not sharded: %s", got)
			}
			total := map[string]int{}
			for _, table := range []string{"t", "full"} {
				for i, db := range s.dbs {
					n := 0
					for _, k := range pgtest.Column[int64](t, db, "SELECT k FROM "+pgtest.Quote(table)+" WHERE v IN ('w', 'g')") {
						if want := shardOf(t, k); want != i {
							t.Errorf("k = %d of %s is on shard %d, not %d", k, table, i, want)
						}
						n++
					}
					total[table] += n
					if n == 0 {
						t.Errorf("shard %d has no rows of %s", i, table)
					}
				}
			}
			if total["t"] != 30 || total["full"] != 60 {
				t.Errorf("%v rows", total)
			}
			if got := s.where("full", "big <> 'big'"); got != "0 0 0" {
				t.Errorf("TOASTed values were lost: %s", got)
			}
		})
	}
}

func TestRowsWithoutShardStopTheirTable(t *testing.T) {
	t.Parallel()
	for _, spool := range []bool{false, true} {
		for name, bad := range map[string]func(s *three) []stream.Change{
			"null": func(s *three) []stream.Change { return []stream.Change{ins(s.rel["full"], null, text("x"), null)} },
			"many keys": func(s *three) (steps []stream.Change) { // they are followed in memory only
				for i := range 20 {
					steps = append(steps, updOld(s.rel["t"], []val{num(1), num(1 + i), null}, num(1), num(2+i), same))
				}
				return append(steps, updOld(s.rel["t"], []val{num(1), num(21), null}, num(movedTo(s.t, 1)), num(21), same))
			},
		} {
			if name == "many keys" && !spool {
				continue
			}
			t.Run(fmt.Sprintf("%s,spool=%t", name, spool), func(t *testing.T) {
				t.Parallel()
				s := sharded(t)
				changes := []stream.Change{ins(s.rel["all"], num(1), null), ins(s.rel["full"], num(3), null, null), ins(s.rel["t"], num(3), num(3), null)}
				changes = append(append(changes, bad(s)...), ins(s.rel["all"], num(2), null))
				tx := s.clock.tx(ins(s.rel["t"], num(1), num(1), null), ins(s.rel["full"], num(1), null, null))
				if spool {
					s.opts.GroupRows = 2
					s.apply(tx, onDisk(s.clock.tx(changes...)), s.clock.tx(ins(s.rel["all"], num(9), null)))
				} else {
					s.apply(tx, s.clock.tx(changes...), s.clock.tx(ins(s.rel["all"], num(9), null)))
				}
				table, other := "full", "t"
				if name == "many keys" {
					table, other = other, table
				}
				st, ok := s.tables.stop(table)
				if !ok || st.at != 200 || st.err.Hint == "" {
					t.Fatalf("%s is stopped: %t %+v", table, ok, st)
				}
				if got := s.where("all", "true"); got != "3 3 3" {
					t.Errorf("the other table has %s rows", got)
				}
				sum := func(table string) (n int) {
					for _, c := range strings.Fields(s.where(table, "true")) {
						n += int(c[0] - '0')
					}
					return n
				}
				if sum(table) != 1 || sum(other) != 2 {
					t.Errorf("%d rows of the stopped table, %d of the other", sum(table), sum(other))
				}
			})
		}
	}
}

// TestShardsAtDifferentPositions: each shard leaves out what it has.
func TestShardsAtDifferentPositions(t *testing.T) {
	t.Parallel()
	s := sharded(t)
	for _, db := range s.dbs {
		db.Exec(t, "CREATE TABLE log (n int)")
	}
	relations, _ := shapes(t, s.db, "log")
	log := published(relations["log"], 'd')
	var txs []*stream.Transaction
	for i := range 30 {
		txs = append(txs, s.clock.tx(ins(log, num(i))))
	}
	for i, db := range s.dbs {
		conn, err := pgx.Connect(t.Context(), db.DSN())
		if err != nil {
			t.Fatal(err)
		}
		if err := apply.SetProgress(t.Context(), conn, mirror, 0, txs[10*i].EndLSN); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close(context.Background())
	}
	s.apply(txs...)
	for i, want := range []string{"29|1", "19|11", "9|21"} {
		s.db = s.dbs[i]
		s.wantRows("SELECT count(*), min(n) FROM log", want)
	}
	if got := s.source.lastConfirmed(); got != behind(s.clock.lsn) {
		t.Errorf("%s is confirmed", got)
	}
}

// TestSlowestShardDecides: only what every shard has is confirmed.
func TestSlowestShardDecides(t *testing.T) {
	t.Parallel()
	s := sharded(t)
	p := s.dbs[2].Cluster.Proxy(t)
	s.opts.Destinations[2] = through(s.dbs[2], 2, p)
	a := apply.New(s.opts)
	r := start(t, a, s.source)
	s.source.add(s.clock.tx(ins(s.rel["all"], num(1), null)))
	r.reaches(behind(s.clock.lsn))
	first := behind(s.clock.lsn)
	p.Refuse()
	p.Cut()
	s.source.add(s.clock.tx(ins(s.rel["all"], num(2), null)))
	pgtest.Eventually(t, "two shards go on", func(context.Context) (bool, error) {
		st := a.Stats()
		return st[0].FlushedLSN > first && st[1].FlushedLSN > first && st[2].Waiting != nil, nil
	})
	if got := s.source.lastConfirmed(); got > first {
		t.Errorf("%s is confirmed, but one shard is at %s", got, first)
	}
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	r.reaches(behind(s.clock.lsn))
	r.stop()
	if got := s.where("all", "true"); got != "2 2 2" {
		t.Errorf("rows: %s", got)
	}
	if got := s.source.lastConfirmed(); got != behind(s.clock.lsn) {
		t.Errorf("%s is confirmed", got)
	}
}

// bigintKey routes a bigint column k of a table over three shards.
func bigintKey(t testing.TB, table string) *shard.Key {
	t.Helper()
	router, err := shard.NewRouter(&config.Config{ShardedTables: []config.ShardedTable{{Database: "prod", Name: table, Column: "k", DataType: "bigint"}}}, "prod", 3)
	if err != nil {
		t.Fatal(err)
	}
	key, err := router.Table("public", table, []shard.Column{{Name: "k", Type: 20, TypeName: "bigint"}})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func shardKeys(t testing.TB, names ...string) map[string]*shard.Key {
	keys := map[string]*shard.Key{}
	for _, n := range names {
		keys[n] = bigintKey(t, n)
	}
	return keys
}

func shardOf(t testing.TB, k int64) int {
	t.Helper()
	n, err := bigintKey(t, "t").Shard(shard.Text, []byte(fmt.Sprint(k)), false)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// movedTo is a key on another shard than k.
func movedTo(t testing.TB, k int64) int {
	for i := k + 1; ; i++ {
		if shardOf(t, i) != shardOf(t, k) {
			return int(i)
		}
	}
}

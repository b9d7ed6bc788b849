package copy_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/copy"
)

// through gives a server as it is reached through a proxy.
func through(p *pgtest.Proxy, s config.Server) config.Server {
	s.Host, s.Port = p.Host(), p.Port()
	return s
}

// noStatements checks that nothing of a copy runs on any server, or is left.
func (p *pair) noStatements(t *testing.T) {
	t.Helper()
	for _, d := range append([]*pgtest.Database{p.source}, p.targets...) {
		d.WaitUntil(t, "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgdrover copy'")
	}
}

// TestSnapshotUnderWrites copies while rows are inserted, updated, moved and
// deleted: the copy is what the snapshot has.
func TestSnapshotUnderWrites(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, "CREATE TABLE t (id bigint, v int, pad text)")
	p.shardBy(t, "id", "bigint")
	p.source.Exec(t, "INSERT INTO t SELECT i, 1, repeat('x', 200) FROM generate_series(1, 20000) i; DELETE FROM t WHERE id % 5 = 0")
	p.source.Exec(t, "VACUUM t")
	source, exporter := p.snapshot(t)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	var written atomic.Int64
	wrote := make(chan struct{})
	for i := range 2 {
		conn := p.source.Connect(t)
		random := rand.New(rand.NewPCG(1, uint64(i)))
		writers.Go(func() {
			for ctx.Err() == nil {
				sql := fmt.Sprintf("UPDATE t SET v = v + 1, pad = pad || 'y' WHERE id = %d", random.IntN(20000))
				switch random.IntN(4) {
				case 0:
					sql = fmt.Sprintf("INSERT INTO t SELECT %d + i, 0, repeat('z', 500) FROM generate_series(1, 50) i", random.IntN(1<<30))
				case 1:
					sql = fmt.Sprintf("DELETE FROM t WHERE id = %d", random.IntN(20000))
				}
				if _, err := conn.Exec(context.WithoutCancel(ctx), sql); err != nil {
					t.Error(err)
					return
				}
				if written.Add(1) == 200 {
					close(wrote)
				}
			}
		})
	}
	<-wrote
	p.succeed(t, p.runIn(t, source))
	stop()
	writers.Wait()
	rows, err := exporter.Query(t.Context(), "SELECT t::text FROM public.t")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			t.Fatal(err)
		}
		want = append(want, row)
	}
	for _, d := range p.targets {
		got = append(got, d.Rows(t, "SELECT t FROM t")...)
	}
	sameRows(t, "the snapshot", want, got)
	if len(p.ranges) < 4 {
		t.Errorf("only %d ranges", len(p.ranges))
	}
}

// TestTOAST has a table of few pages with much behind them.
func TestTOAST(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, "CREATE TABLE t (id int, v bytea); ALTER TABLE t ALTER v SET STORAGE EXTERNAL; CREATE TABLE plain (id int, v text)")
	p.source.Exec(t, `INSERT INTO t SELECT i, decode(repeat(md5(i::text), 2000), 'hex') FROM generate_series(1, 200) i; INSERT INTO plain SELECT i, repeat('x', 1000) FROM generate_series(1, 3000) i;
UPDATE t SET v = NULL WHERE id = 7`)
	tables, _ := p.look(t)
	ranges := map[string]int{}
	for _, r := range copy.Plan(tables, p.plan) {
		ranges[r.Table.Source.Table.Name]++
	}
	if pages := pgtest.Value[int](t, p.source, "SELECT (pg_relation_size('t') / 8192)::int"); ranges["t"] != pages || ranges["plain"] < 10 {
		t.Errorf("ranges are %v; t has %d pages", ranges, pages)
	}
	p.mustRun(t)
	p.same(t, "SELECT id, md5(v) FROM t")
	p.same(t, "SELECT * FROM plain")
}

// TestCuts breaks connections at many places: nothing is lost or there twice.
func TestCuts(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 3} {
		for _, side := range []string{"source", "destination"} {
			arms := map[string]func(*pgtest.Proxy) <-chan struct{}{
				"at once":      func(x *pgtest.Proxy) <-chan struct{} { return x.CutAfter(pgtest.ToServer, 1) },
				"rows":         func(x *pgtest.Proxy) <-chan struct{} { return x.CutAfter(pgtest.ToServer, 300_000) },
				"before copy":  func(x *pgtest.Proxy) <-chan struct{} { return x.CutBefore("BEGIN; COPY") },
				"before end":   func(x *pgtest.Proxy) <-chan struct{} { return x.CutBefore("COMMIT") },
				"after end":    func(x *pgtest.Proxy) <-chan struct{} { return x.CutReply("; COMMIT", "COMMIT") },
				"record":       func(x *pgtest.Proxy) <-chan struct{} { return x.CutBefore("WITH wanted") },
				"after record": func(x *pgtest.Proxy) <-chan struct{} { return x.CutReply("WITH wanted", "SELECT") },
			}
			if side == "source" {
				arms = map[string]func(*pgtest.Proxy) <-chan struct{}{
					"at once":     func(x *pgtest.Proxy) <-chan struct{} { return x.CutAfter(pgtest.ToServer, 1) },
					"rows":        func(x *pgtest.Proxy) <-chan struct{} { return x.CutAfter(pgtest.ToClient, 300_000) },
					"before copy": func(x *pgtest.Proxy) <-chan struct{} { return x.CutBefore("COPY (SELECT") },
					"snapshot":    func(x *pgtest.Proxy) <-chan struct{} { return x.CutBefore("SET TRANSACTION") },
				}
			}
			for name, arm := range arms {
				t.Run(fmt.Sprintf("%d shards/%s/%s", shards, side, name), func(t *testing.T) {
					t.Parallel()
					p := newPair(t, shards, table)
					p.shardBy(t, "id", "bigint")
					p.source.Exec(t, fill(15_000))
					proxy := p.source.Cluster.Proxy(t)
					if side == "source" {
						p.from = through(proxy, p.from)
					} else {
						p.servers[shards-1] = through(proxy, p.servers[shards-1])
					}
					source, _ := p.snapshot(t)
					if strings.HasPrefix(name, "after") {
						source.Workers = 1 // the rule is for one connection
					}
					tables, _ := p.look(t)
					fired := arm(proxy)
					p.succeed(t, p.copier(t, source, tables).Run(t.Context()))
					<-fired
					p.same(t, "SELECT * FROM t")
					if p.rows != 15_000 {
						t.Errorf("the progress is %d rows", p.rows)
					}
					p.noStatements(t)
				})
			}
		}
	}
}

// TestResume stops a copy and goes on with what is missing.
func TestResume(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, table, "CREATE TABLE other (x int)")
	p.shardBy(t, "id", "bigint")
	p.source.Exec(t, fill(30_000)+"; INSERT INTO other VALUES (1)")
	source, _ := p.snapshot(t)
	tables, _ := p.look(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	tell := p.options.RangeDone
	var ranges atomic.Int64
	p.options.RangeDone = func(r *copy.Range) {
		tell(r)
		if ranges.Add(1) == 4 {
			stop()
		}
	}
	if err := p.copier(t, source, tables).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p.noStatements(t)
	done := len(p.ranges)
	all := len(copy.Plan(tables, p.plan))
	if done >= all {
		t.Fatalf("it was not stopped: %d ranges", done)
	}
	for _, s := range p.servers {
		records, err := copy.Recorded(t.Context(), open(t, s), p.options.Mirror, p.options.SourceShard)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) < done || records[0].Snapshot != source.LSN {
			t.Errorf("records are %+v after %d ranges", records, done)
		}
		p.options.Done = append(p.options.Done, records)
	}
	p.ranges = nil
	p.options.RangeDone = tell
	p.succeed(t, p.copier(t, source, tables).Run(t.Context()))
	p.same(t, "SELECT * FROM t")
	p.sameEverywhere(t, "SELECT * FROM other")
	if len(p.ranges) > all-done {
		t.Errorf("%d ranges of %d were copied again, after %d", len(p.ranges), all, done)
	}
	// What is complete is not read again.
	p.done, p.ranges, p.options.Done = nil, nil, nil
	for _, s := range p.servers {
		records, err := copy.Recorded(t.Context(), open(t, s), p.options.Mirror, p.options.SourceShard)
		if err != nil {
			t.Fatal(err)
		}
		p.options.Done = append(p.options.Done, records)
	}
	p.succeed(t, p.copier(t, source, tables).Run(t.Context()))
	if len(p.done) != 2 || len(p.ranges) != 0 {
		t.Errorf("%v are done with %d ranges", p.done, len(p.ranges))
	}
}

// TestBadTables has tables that cannot be copied, each in its own way.
func TestBadTables(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 2} {
		p := newPair(t, shards)
		p.source.Exec(t, `CREATE TABLE a_check (id int); CREATE TABLE b_unique (id int); CREATE TABLE c_type (id int, x text); CREATE TABLE d_trigger (id int); CREATE TABLE e_dropped (id int, x int); CREATE TABLE f_fine (id int, x text); CREATE TABLE g_gone (id int)`)
		for _, d := range p.targets {
			d.Exec(t, `CREATE TABLE a_check (id int CHECK (id < 19000)); CREATE TABLE b_unique (id int UNIQUE); CREATE TABLE c_type (id int, x int); CREATE TABLE d_trigger (id int); CREATE TABLE e_dropped (id int, x int); CREATE TABLE f_fine (id int CHECK (id > 0), x text); CREATE TABLE g_gone (id int);
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.id % 1000 = 0 THEN RETURN NULL; END IF; RETURN NEW; END';
CREATE TRIGGER skip BEFORE INSERT ON d_trigger FOR EACH ROW EXECUTE FUNCTION skip(); ALTER TABLE d_trigger ENABLE ALWAYS TRIGGER skip;
CREATE TRIGGER skip BEFORE INSERT ON f_fine FOR EACH ROW EXECUTE FUNCTION skip()`)
		}
		p.shardBy(t, "id", "bigint")
		p.source.Exec(t, `INSERT INTO a_check SELECT generate_series(1, 20000); INSERT INTO b_unique SELECT 5 FROM generate_series(1, 20000); INSERT INTO c_type SELECT i, 'x' FROM generate_series(1, 20000) i;
INSERT INTO d_trigger SELECT generate_series(1, 20000); INSERT INTO e_dropped VALUES (1); INSERT INTO f_fine SELECT i, repeat('x', 300) FROM generate_series(1, 20000) i; INSERT INTO g_gone VALUES (1)`)
		tables, _ := p.look(t)
		source, _ := p.snapshot(t)
		p.source.Exec(t, "ALTER TABLE e_dropped DROP COLUMN x; DROP TABLE g_gone")
		if err := p.copier(t, source, tables).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"a_check": "23514", "b_unique": "23505", "c_type": "22P02", "d_trigger": "XX000", "e_dropped": "42703", "g_gone": "42P01"} {
			if e := p.failed[name]; e == nil || e.Code != want {
				t.Errorf("%s: %+v", name, e)
			}
			for _, d := range p.targets {
				if n := d.Rows(t, "SELECT count(*) FROM pgdrover.copied WHERE range = -1 AND table_name = '"+name+"'"); n[0] != "0" {
					t.Errorf("%s is recorded as complete", name)
				}
			}
		}
		if len(p.failed) != 6 || !slices.Equal(p.done, []string{"f_fine"}) {
			t.Errorf("failed: %v; done: %v", p.failed, p.done)
		}
		p.same(t, "SELECT * FROM f_fine")
		p.noStatements(t)
	}
}

// TestTransientErrors has errors that pass.
func TestTransientErrors(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, table)
	p.targets[0].Exec(t, `CREATE SEQUENCE tries; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NEW.id = 700 AND nextval('public.tries') < 3 THEN RAISE 'try again' USING ERRCODE = '40P01'; END IF; RETURN NEW; END $$;
CREATE TRIGGER fail BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fail(); ALTER TABLE t ENABLE ALWAYS TRIGGER fail`)
	p.source.Exec(t, fill(10_000))
	p.mustRun(t)
	p.same(t, "SELECT * FROM t")
	// Too often.
	p.targets[0].Exec(t, "TRUNCATE t; ALTER SEQUENCE tries RESTART")
	p.options.Attempts = 2
	if err := p.run(t); err != nil || p.failed["t"] == nil || p.failed["t"].Code != "40P01" {
		t.Errorf("%v, %v", err, p.failed)
	}
}

// TestLostCommits has a destination that forgets what it has committed, as one
// that crashes with synchronous_commit = off may.
func TestLostCommits(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, table)
	p.shardBy(t, "id", "bigint")
	p.plan.MinBytes, p.plan.MaxBytes = 1<<30, 1<<30
	p.source.Exec(t, fill(10_000))
	tell, once := p.options.RangeDone, sync.Once{}
	p.options.RangeDone = func(r *copy.Range) {
		tell(r)
		once.Do(func() { p.targets[1].Exec(t, "TRUNCATE t, pgdrover.copied") })
	}
	p.mustRun(t)
	p.same(t, "SELECT * FROM t")
	if len(p.ranges) != 2 || p.rows != 10_000 || !slices.Equal(p.done, []string{"t"}) {
		t.Errorf("%d ranges, progress %d rows, done %v", len(p.ranges), p.rows, p.done)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"source", "destination"} {
		p := newPair(t, 1, table)
		p.source.Exec(t, fill(30_000))
		// The COPY on one side waits for a lock.
		locked := map[string]*pgtest.Database{"source": p.source, "destination": p.targets[0]}[where]
		conn := locked.Connect(t)
		source, _ := p.snapshot(t)
		tables, _ := p.look(t)
		if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE t"); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.copier(t, source, tables).Run(ctx) }()
		locked.WaitUntil(t, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgdrover copy' AND wait_event_type = 'Lock'")
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", where, err)
		}
		p.noStatements(t)
	}
}

func TestSnapshotLost(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, table)
	p.source.Exec(t, fill(10_000))
	source, exporter := p.snapshot(t)
	tables, _ := p.look(t)
	if err := exporter.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.copier(t, source, tables).Run(t.Context()); !errors.Is(err, copy.ErrSnapshotLost) {
		t.Errorf("%v", err)
	}
	// Sessions that have it go on without the one that exported it; one that loses
	// its connection cannot have it again.
	source, exporter = p.snapshot(t)
	proxy := p.source.Cluster.Proxy(t)
	source.Server, source.Workers = through(proxy, source.Server), 1
	tell, once := p.options.RangeDone, sync.Once{}
	p.options.RangeDone = func(r *copy.Range) {
		tell(r)
		once.Do(func() {
			pid := exporter.PgConn().PID()
			if err := exporter.Close(context.Background()); err != nil {
				t.Error(err)
			}
			p.source.WaitUntil(t, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1", pid)
			proxy.Cut()
		})
	}
	if err := p.copier(t, source, tables).Run(t.Context()); !errors.Is(err, copy.ErrSnapshotLost) || len(p.failed) > 0 {
		t.Errorf("%v, %v", err, p.failed)
	}
	if len(p.ranges) == 0 || len(p.done) > 0 {
		t.Errorf("%d ranges, %v done", len(p.ranges), p.done)
	}
	// All of it again.
	p.options.RangeDone, p.ranges = tell, nil
	names := []catalog.Name{{Schema: "public", Name: "t"}}
	if err := copy.Clear(t.Context(), open(t, p.servers[0]), p.options.Mirror, p.options.SourceShard, names); err != nil {
		t.Fatal(err)
	}
	p.mustRun(t)
	p.same(t, "SELECT * FROM t")
}

// TestRewritten changes tables between the snapshot and their copy, in ways that
// snapshots do not see.
func TestRewritten(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1)
	for i, name := range []string{"altered", "added", "truncated", "emptied", "vacuumed", "swapped", "same"} {
		p.both(t, fmt.Sprintf("CREATE TABLE %s (id int, x int)", name))
		p.source.Exec(t, fmt.Sprintf("INSERT INTO %s SELECT i, %d FROM generate_series(1, 1000) i", name, i))
	}
	source, _ := p.snapshot(t)
	p.source.Exec(t, "TRUNCATE emptied") // has no page when it is looked at
	tables, _ := p.look(t)
	p.source.Exec(t, `ALTER TABLE altered ALTER x TYPE int USING x + 1; ALTER TABLE added ADD y int DEFAULT (random() * 10)::int; TRUNCATE truncated; INSERT INTO truncated VALUES (1, 1);
ALTER TABLE swapped RENAME TO before; CREATE TABLE swapped (id int, x int); INSERT INTO swapped VALUES (1, 1); DELETE FROM vacuumed WHERE id < 500; INSERT INTO same VALUES (0, 0)`)
	p.source.Exec(t, "VACUUM FULL vacuumed")
	if err := p.copier(t, source, tables).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"altered", "added", "truncated", "emptied", "vacuumed", "swapped"} {
		if e := p.failed[name]; e == nil || !errors.Is(e, copy.ErrRewritten) || e.Code != "55000" {
			t.Errorf("%s: %v", name, e)
		}
		delete(p.failed, name)
	}
	if slices.Sort(p.done); len(p.failed) > 0 || !slices.Equal(p.done, []string{"same"}) {
		t.Errorf("failed %v, done %v", p.failed, p.done)
	}
	if got := p.targets[0].Rows(t, "SELECT (SELECT count(*) FROM same), (SELECT count(*) FROM altered), (SELECT count(*) FROM truncated)"); got[0] != "1000|0|0" {
		t.Error(got)
	}
}

func TestClear(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, quoted(`CREATE SCHEMA @; CREATE TABLE @.parent (id int PRIMARY KEY); CREATE TABLE @.child (id int REFERENCES @.parent); CREATE TABLE @.heir () INHERITS (@.parent);
CREATE TABLE @.root (id int) PARTITION BY LIST (id); CREATE TABLE @.part PARTITION OF @.root DEFAULT; CREATE TABLE @.loop (id int PRIMARY KEY REFERENCES @.loop)`))
	const rows = `INSERT INTO @.parent VALUES (1); INSERT INTO @.child VALUES (1); INSERT INTO @.heir VALUES (2); INSERT INTO @.root VALUES (3); INSERT INTO @.loop VALUES (4);`
	records := func(name string) string {
		return quoted("INSERT INTO pgdrover.copied VALUES ('m', 0, '" + strings.ReplaceAll(weird, "'", "''") + "', '" + name + "', '0/1', 0, 1, 1), ('m', 1, '" + strings.ReplaceAll(weird, "'", "''") + "', '" + name + "', '0/1', 0, 1, 1);")
	}
	count := quoted("SELECT (SELECT count(*) FROM @.parent), (SELECT count(*) FROM ONLY @.parent), (SELECT count(*) FROM @.child), (SELECT count(*) FROM @.root), (SELECT count(*) FROM @.loop), (SELECT count(*) FROM pgdrover.copied)")
	for _, test := range []struct {
		clear []string
		want  string
	}{
		{[]string{"parent"}, "1|0|1|1|1|9"}, {[]string{"parent", "child", "missing"}, "1|0|0|1|1|8"}, {[]string{"root"}, "2|1|1|0|1|9"}, {[]string{"loop", "parent"}, "1|0|1|1|0|8"}, {nil, "2|1|1|1|1|10"},
	} {
		d := p.targets[0]
		d.Exec(t, quoted("TRUNCATE @.parent, @.child, @.root, @.loop, pgdrover.copied; "+rows)+records("parent")+records("child")+records("heir")+records("root")+records("loop"))
		var names []catalog.Name
		for _, name := range test.clear {
			names = append(names, catalog.Name{Schema: weird, Name: name})
		}
		if err := copy.Clear(t.Context(), open(t, p.servers[0]), "m", 0, names); err != nil {
			t.Fatal(err)
		}
		if got := d.Rows(t, count); got[0] != test.want {
			t.Errorf("%v: %v, want %s", test.clear, got, test.want)
		}
	}
}

// TestUnfitDestinations has destinations that cannot be written to at all.
func TestUnfitDestinations(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, table)
	p.source.Exec(t, fill(10))
	tables, _ := p.look(t)
	source, _ := p.snapshot(t)
	role := "writer to " + p.targets[0].Name
	p.targets[0].Exec(t, "CREATE ROLE "+pgtest.Quote(role)+" LOGIN")
	t.Cleanup(func() { _ = p.targets[0].TryExec(context.Background(), "DROP ROLE "+pgtest.Quote(role)) })
	good := p.servers[0]
	p.servers[0].User = role
	err := p.copier(t, source, tables).Run(t.Context())
	if e := pgerror.From(err); e == nil || e.Code != "42501" || !strings.Contains(e.Hint, "session_replication_role") {
		t.Errorf("%+v", e)
	}
	p.servers[0] = good
	p.targets[0].Exec(t, "DROP TABLE pgdrover.copied")
	if err := p.copier(t, source, tables).Run(t.Context()); pgerror.Code(err) != "42P01" || len(p.failed) > 0 {
		t.Errorf("%v, %v", err, p.failed)
	}
}

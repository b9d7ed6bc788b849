package ddl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// caseTest is one of the Cases as it happens. Rows are written before, during
// and after; where the verdict lets rows go on, both sides have to be equal then.
type caseTest struct {
	number  int
	name    string
	schema  string   // on both sides
	clause  string   // of the publication, "" for all tables
	change  []string // at the source
	verdict Verdict
	// kinds are the changes that the events tell; polled those of a poll, if
	// they are others.
	kinds, polled []string
	tables        []string // to compare; "t" if nil
	// differs says that without a copy rows really are different.
	differs bool
	// polledVerdict is what a poll can tell at best, if that is less.
	polledVerdict Verdict
}

const tableT = `CREATE TABLE t (id int PRIMARY KEY, v text, n numeric(10,3)); INSERT INTO t SELECT i, 'v' || i, i + 0.125 FROM generate_series(1, 3) i;`

var caseTests = []caseTest{
	{1, "drop", tableT, "", []string{`DROP TABLE t`}, Keep, []string{"table dropped t: keep"}, nil, []string{}, false, ""},
	{2, "create", tableT, "", []string{`CREATE TABLE u (i int PRIMARY KEY)`, `INSERT INTO u VALUES (1)`}, Copy, []string{"table created u: copy"}, nil, nil, false, ""},
	{3, "recreate", tableT, "", []string{`DROP TABLE t`, `CREATE TABLE t (id int PRIMARY KEY, x int)`, `INSERT INTO t VALUES (1, 2)`}, Copy,
		[]string{"table dropped t: keep", "table created t: copy"}, nil, []string{}, false, ""},
	{4, "rename", tableT, "FOR TABLE t, done", []string{`ALTER TABLE t RENAME TO "T ""x"" $1"`, `INSERT INTO "T ""x"" $1" VALUES (10)`}, Apply, []string{`table renamed T "x" $1 t T "x" $1: apply`}, nil, []string{`T "x" $1`}, false, ""},
	{5, "exchange names", tableT + `CREATE TABLE u (i int PRIMARY KEY); INSERT INTO u VALUES (7);`, "", []string{`BEGIN; ALTER TABLE t RENAME TO between; ALTER TABLE u RENAME TO t; ALTER TABLE between RENAME TO u; INSERT INTO t VALUES (8); INSERT INTO u VALUES (8); COMMIT`}, Apply,
		[]string{"table renamed between t between: apply", "table renamed t u t: apply", "table renamed u between u: apply"},
		[]string{"table renamed pgdrover_u u pgdrover_u: apply", "table renamed u t u: apply", "table renamed t pgdrover_u t: apply"}, []string{"t", "u"}, false, ""},
	{6, "set schema", tableT + `CREATE SCHEMA s;`, "", []string{`ALTER TABLE t SET SCHEMA s`, `INSERT INTO s.t VALUES (10)`}, Apply, []string{"table moved t public s: apply"}, nil, []string{"s.t"}, false, ""},
	{6, "rename schema", `CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('sad'); CREATE TABLE s.t (id int PRIMARY KEY, m s.mood); INSERT INTO s.t VALUES (1, 'sad'); CREATE TABLE s.u (m s.mood[]);`, "",
		[]string{`ALTER SCHEMA s RENAME TO r`, `INSERT INTO r.t VALUES (10, 'sad')`, `INSERT INTO r.u VALUES ('{sad}')`}, Apply,
		[]string{"type renamed mood: apply", "table moved t s r: apply", "table moved u s r: apply"}, nil, []string{"r.t", "r.u"}, false, ""},
	{7, "type of a key", tableT, "", []string{`ALTER TABLE t ALTER id TYPE bigint`, `INSERT INTO t VALUES (5000000000)`}, Apply, []string{"column retyped t.id: apply"},
		[]string{"column retyped t.id: resync", "table rewritten t: resync"}, nil, false, Resync},
	{7, "type of a key, values changed", tableT, "", []string{`ALTER TABLE t ALTER id TYPE bigint USING id * 10`}, Resync, []string{"column retyped t.id: resync", "table rewritten t: resync"}, nil, nil, true, ""},
	{8, "primary key changed", tableT, "", []string{`ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT "K ""x""" PRIMARY KEY (id, n)`, `INSERT INTO t VALUES (1, 'same id', 5)`}, Apply,
		[]string{"column not null t.n: apply", `primary key changed t t_pkey K "x": apply`}, nil, nil, false, ""},
	{8, "primary key dropped", tableT, "", []string{`ALTER TABLE t DROP CONSTRAINT t_pkey`, `INSERT INTO t VALUES (1, 'same id')`}, Apply, []string{"primary key changed t t_pkey: apply"}, nil, nil, false, ""},
	{9, "full, column added", tableT + `ALTER TABLE t REPLICA IDENTITY FULL;`, "", []string{`ALTER TABLE t ADD w int`, `INSERT INTO t VALUES (10, 'x', 1, 2)`, `ALTER TABLE t RENAME v TO vv`, `INSERT INTO t VALUES (11)`}, Apply,
		[]string{"column added t.w: apply", "column renamed t.vv: apply"}, []string{"column renamed t.vv: apply", "column added t.w: apply"}, nil, false, Resync},
	{10, "identity index dropped", tableT + `ALTER TABLE t ALTER v SET NOT NULL; CREATE UNIQUE INDEX x ON t (v); ALTER TABLE t REPLICA IDENTITY USING INDEX x;`, "", []string{`DROP INDEX x`, `INSERT INTO t VALUES (10, 'v1')`}, Apply,
		[]string{"index dropped t x: apply", "replica identity changed t i i: metadata"}, nil, nil, false, ""},
	{10, "identity index replaced", tableT + `ALTER TABLE t ALTER v SET NOT NULL; CREATE UNIQUE INDEX x ON t (v); ALTER TABLE t REPLICA IDENTITY USING INDEX x;`, "",
		[]string{`BEGIN; DROP INDEX x; CREATE UNIQUE INDEX y ON t (v); ALTER TABLE t REPLICA IDENTITY USING INDEX y; COMMIT`}, Apply,
		[]string{"index dropped t x: apply", "replica identity changed t i i: metadata", "index created t y: apply", "replica identity changed t i i: apply"},
		[]string{"index renamed t x y: apply"}, nil, false, ""},
	{11, "identity full", tableT, "", []string{`ALTER TABLE t REPLICA IDENTITY FULL`, `INSERT INTO t VALUES (10)`}, Apply, []string{"replica identity changed t d f: apply"}, nil, nil, false, ""},
	{12, "identity nothing", tableT, "", []string{`ALTER TABLE t REPLICA IDENTITY NOTHING`, `INSERT INTO t VALUES (10)`}, Metadata, []string{"replica identity changed t d n: metadata"}, nil, nil, false, ""},
	{13, "column without default", tableT, "", []string{`BEGIN; INSERT INTO t VALUES (10); ALTER TABLE t ADD "W ""x"" $1" text COLLATE "C"; INSERT INTO t VALUES (11, 'x', 1, 'w'); COMMIT`}, Apply, []string{`column added t.W "x" $1: apply`}, nil, nil, false, ""},
	{13, "column without default, default afterwards", tableT, "", []string{`ALTER TABLE t ADD w int, ALTER w SET DEFAULT 7`, `INSERT INTO t VALUES (10)`}, Apply, []string{"column added t.w: apply"}, nil, nil, false, ""},
	{13, "domain with a default", tableT + `CREATE DOMAIN seven AS int DEFAULT 7;`, "", []string{`ALTER TABLE t ADD w seven`, `INSERT INTO t VALUES (10)`}, Apply, []string{"column added t.w: apply"}, nil, nil, false, ""},
	{14, "constant default", tableT, "", []string{`ALTER TABLE t ADD w text NOT NULL DEFAULT 'it''s \ "x"', ADD a int[] DEFAULT '{1,NULL}', ADD b bytea DEFAULT '\x00ff'`, `INSERT INTO t VALUES (10)`, `ALTER TABLE t ALTER w SET DEFAULT 'other'`, `INSERT INTO t VALUES (11)`}, Apply,
		[]string{"column added t.w: apply", "column added t.a: apply", "column added t.b: apply", "column default t.w: apply"}, []string{"column added t.w: apply", "column added t.a: apply", "column added t.b: apply"}, nil, false, ""},
	{14, "constant default of a partitioned table", `CREATE TABLE t (id int, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (5); CREATE TABLE t2 PARTITION OF t DEFAULT; INSERT INTO t VALUES (1), (7);`, "",
		[]string{`ALTER TABLE t ADD w timestamptz DEFAULT now()`, `INSERT INTO t VALUES (8)`}, Apply, []string{"column added t.w: apply", "column added t1.w: apply", "column added t2.w: apply"}, nil, []string{"t", "t1", "t2"}, false, ""},
	{15, "default now()", tableT, "", []string{`ALTER TABLE t ADD w timestamptz NOT NULL DEFAULT now()`, `INSERT INTO t VALUES (10)`}, Apply, []string{"column added t.w: apply"}, nil, nil, false, ""},
	{16, "volatile default", tableT, "", []string{`ALTER TABLE t ADD w uuid DEFAULT gen_random_uuid()`, `INSERT INTO t VALUES (10)`}, Resync, []string{"column added t.w: resync"}, nil, nil, true, ""},
	{16, "serial", tableT, "", []string{`ALTER TABLE t ADD w serial`, `INSERT INTO t VALUES (10)`}, Resync, []string{"column added t.w: resync"}, nil, nil, true, ""},
	{16, "identity", tableT, "", []string{`ALTER TABLE t ADD w bigint GENERATED ALWAYS AS IDENTITY`, `INSERT INTO t VALUES (10)`}, Resync, []string{"column added t.w: resync"}, nil, nil, true, ""},
	{16, "generated", tableT, "", []string{`ALTER TABLE t ADD w numeric GENERATED ALWAYS AS (n * 2) STORED`, `INSERT INTO t VALUES (10, 'x', 4)`}, Apply, []string{"column added t.w: apply"}, nil, nil, false, ""},
	{17, "column dropped", tableT + `ALTER TABLE t ALTER v SET NOT NULL;`, "", []string{`ALTER TABLE t DROP v`, `INSERT INTO t VALUES (10, 1)`}, Apply, []string{"column dropped t.v: apply"}, nil, nil, false, ""},
	{17, "column dropped and another added under its name", tableT, "", []string{`ALTER TABLE t DROP v, ADD v int DEFAULT 3`, `INSERT INTO t VALUES (10, 1, 2)`}, Apply, []string{"column dropped t.v: apply", "column added t.v: apply"},
		[]string{"column dropped t.v: apply", "column added t.v: apply", "rows unclear t: resync"}, nil, false, Resync},
	{17, "key's column dropped", tableT, "", []string{`ALTER TABLE t DROP id`, `INSERT INTO t VALUES ('x', 1)`}, Apply, []string{"column dropped t.id: apply", "primary key changed t t_pkey: apply"}, nil, nil, false, ""},
	{18, "column renamed", tableT, "", []string{`BEGIN; INSERT INTO t VALUES (10, 'old'); ALTER TABLE t RENAME v TO "V ""x"" $1"; INSERT INTO t VALUES (11, 'new'); COMMIT`}, Apply, []string{`column renamed t.V "x" $1: apply`}, nil, nil, false, ""},
	{18, "columns exchange names", tableT + `ALTER TABLE t ADD w text DEFAULT 'w';`, "", []string{`BEGIN; ALTER TABLE t RENAME v TO x; ALTER TABLE t RENAME w TO v; ALTER TABLE t RENAME x TO w; COMMIT`, `INSERT INTO t (id, v, w) VALUES (11, 'v', 'w')`}, Apply,
		[]string{"column renamed t.x: apply", "column renamed t.v: apply", "column renamed t.w: apply"}, []string{"column renamed t.w: apply", "column renamed t.v: apply"}, nil, false, ""},
	{19, "wider", tableT + `ALTER TABLE t ALTER v TYPE varchar(5);`, "", []string{`ALTER TABLE t ALTER v TYPE varchar(10)`, `INSERT INTO t VALUES (10, 'longer')`}, Apply, []string{"column retyped t.v: apply"}, nil, nil, false, ""},
	{19, "narrower", tableT, "", []string{`ALTER TABLE t ALTER n TYPE int`, `INSERT INTO t VALUES (10, 'x', 5)`}, Apply, []string{"column retyped t.n: apply"}, []string{"column retyped t.n: resync", "table rewritten t: resync"}, nil, false, Resync},
	{19, "with a default", tableT + `ALTER TABLE t ALTER n SET DEFAULT 1.5;`, "", []string{`ALTER TABLE t ALTER n TYPE numeric(12,3)`, `INSERT INTO t VALUES (10, 'x')`}, Apply, []string{"column retyped t.n: apply"}, nil, nil, false, ""},
	{19, "by a setting", `CREATE TABLE t (id int PRIMARY KEY, at timestamp); INSERT INTO t VALUES (1, '2020-01-01 00:00');`, "", []string{`SET TimeZone = 'Asia/Tokyo'; ALTER TABLE t ALTER at TYPE timestamptz`}, Resync, []string{"column retyped t.at: resync", "table rewritten t: resync"}, nil, nil, true, ""},
	{19, "by a setting, sent alone", `CREATE TABLE t (id int PRIMARY KEY, at timestamp); INSERT INTO t VALUES (1, '2020-01-01 00:00'); ALTER DATABASE $db SET TimeZone = 'Asia/Tokyo';`, "", []string{`ALTER TABLE t ALTER at TYPE timestamptz`}, Resync,
		[]string{"column retyped t.at: resync"}, []string{"column retyped t.at: resync", "table rewritten t: resync"}, nil, false, ""},
	{19, "values only", tableT, "", []string{`ALTER TABLE t ALTER v TYPE text USING upper(v)`}, Resync, []string{"table rewritten t: resync"}, nil, nil, true, ""},
	{20, "added to the publication", tableT + `CREATE TABLE u (i int PRIMARY KEY);`, "FOR TABLE t, done", []string{"ALTER PUBLICATION " + pgtest.Quote(publication) + " ADD TABLE u"}, Copy, []string{"table created u: copy"}, nil, nil, false, ""},
	{21, "dropped from the publication", tableT, "FOR TABLE t, done", []string{"ALTER PUBLICATION " + pgtest.Quote(publication) + " DROP TABLE t"}, Keep, []string{`unpublished t ` + publication + `: keep`}, nil, []string{}, false, ""},
	{22, "operations taken away", tableT, "FOR TABLE t, done", []string{"ALTER PUBLICATION " + pgtest.Quote(publication) + " SET (publish = 'insert')"}, Stop,
		[]string{"published operations changed done " + publication + ": stop", "published operations changed t " + publication + ": stop"}, nil, nil, false, ""},
	{22, "operations added", tableT, "FOR TABLE t, done WITH (publish = 'insert')", []string{"ALTER PUBLICATION " + pgtest.Quote(publication) + " SET (publish = 'insert, update')"}, Resync,
		[]string{"published operations changed done " + publication + ": resync", "published operations changed t " + publication + ": resync"}, nil, nil, false, ""},
	{23, "row filter", tableT, "FOR TABLE t, done", []string{"ALTER PUBLICATION " + pgtest.Quote(publication) + " SET TABLE done, t WHERE (id > 2)"}, Resync, []string{"row filter changed t " + publication + ": resync"}, nil, []string{}, false, ""},
	{24, "column list, wider", tableT, "FOR TABLE t (id, v), done", []string{"ALTER PUBLICATION " + pgtest.Quote(publication) + " SET TABLE done, t (id, v, n)"}, Resync, []string{"published columns changed t " + publication + ": resync"}, nil, []string{}, false, ""},
	{24, "column list, narrower", tableT, "FOR TABLE t, done", []string{"ALTER PUBLICATION " + pgtest.Quote(publication) + " SET TABLE done, t (id, v)"}, Stop, []string{"published columns changed t " + publication + ": stop"}, nil, []string{}, false, ""},
	{27, "enum labels", `CREATE TYPE mood AS ENUM ('b', 'd'); CREATE TABLE t (id int PRIMARY KEY, m mood, ms mood[]); INSERT INTO t VALUES (1, 'b', '{d}');`, "",
		[]string{`ALTER TYPE mood ADD VALUE 'c ''x''' AFTER 'b'`, `INSERT INTO t VALUES (10, 'c ''x''', '{b,"c ''x''"}')`, `ALTER TYPE mood ADD VALUE 'a' BEFORE 'b'`, `ALTER TYPE mood ADD VALUE 'e'`, `INSERT INTO t VALUES (11, 'a'), (12, 'e')`}, Apply,
		[]string{"enum label added c 'x': apply", "enum label added a: apply", "enum label added e: apply"}, []string{"enum label added a: apply", "enum label added c 'x': apply", "enum label added e: apply"}, nil, false, ""},
	{27, "enum label renamed", `CREATE TYPE mood AS ENUM ('b', 'd'); CREATE TABLE t (id int PRIMARY KEY, m mood); INSERT INTO t VALUES (1, 'b');`, "",
		[]string{`BEGIN; INSERT INTO t VALUES (2, 'b'); ALTER TYPE mood RENAME VALUE 'b' TO 'x'; INSERT INTO t VALUES (10, 'x'); COMMIT`}, Apply, []string{"enum label renamed b x: apply"}, nil, nil, false, ""},
	{27, "domain", `CREATE DOMAIN few AS int CHECK (VALUE < 100); CREATE TABLE t (id int PRIMARY KEY, f few); INSERT INTO t VALUES (1, 1);`, "",
		[]string{`ALTER DOMAIN few DROP CONSTRAINT few_check`, `INSERT INTO t VALUES (10, 1000)`, `ALTER DOMAIN few ADD CONSTRAINT "more ""x""" CHECK (VALUE > 0)`}, Apply,
		[]string{"domain altered few: apply", "domain altered few: apply"}, []string{"domain altered few: apply"}, nil, false, ""},
	{27, "composite", `CREATE TYPE pair AS (a int, b text); CREATE TABLE t (id int PRIMARY KEY, p pair); INSERT INTO t VALUES (1, '(1,x)');`, "",
		[]string{`ALTER TYPE pair ADD ATTRIBUTE "C ""x""" int`, `INSERT INTO t VALUES (10, '(1,x,3)')`}, Apply, []string{"composite type altered pair: apply"}, nil, nil, false, ""},
	{27, "new type", tableT, "", []string{`CREATE TYPE mood AS ENUM ('a', 'it''s')`, `ALTER TABLE t ADD m mood DEFAULT 'a'`, `INSERT INTO t (id, m) VALUES (10, 'it''s')`}, Apply, []string{"type created mood: apply", "column added t.m: apply"}, nil, nil, false, ""},
	{27, "type renamed", `CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (id int PRIMARY KEY, m mood, ms mood[]); INSERT INTO t VALUES (1, 'a', '{a}');`, "",
		[]string{`ALTER TYPE mood RENAME TO state`, `ALTER TABLE t ADD s state DEFAULT 'a'`, `INSERT INTO t VALUES (10, 'a')`}, Apply, []string{"type renamed state: apply", "column added t.s: apply"}, nil, nil, false, ""},

	{0, "not null, defaults, checks, indexes", tableT, "",
		[]string{`ALTER TABLE t ALTER v SET NOT NULL, ALTER v SET DEFAULT 'x', ADD CONSTRAINT c CHECK (id > 0)`, `CREATE INDEX i ON t (v, lower(v))`, `CREATE UNIQUE INDEX j ON t (n) WHERE n > 5`, `INSERT INTO t VALUES (10)`, `ALTER TABLE t ALTER v DROP NOT NULL, DROP CONSTRAINT c`, `DROP INDEX j`, `INSERT INTO t VALUES (-1, NULL, 7), (-2, NULL, 7)`}, Apply,
		[]string{"column default t.v: apply", "column not null t.v: apply", "constraint added t c: apply", "index created t i: apply", "index created t j: apply", "column not null t.v: apply", "constraint dropped t c: apply", "index dropped t j: apply"},
		[]string{"column default t.v: apply", "index created t i: apply"}, nil, false, ""},
	{0, "detach and attach", `CREATE TABLE t (id int, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (5); CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (5) TO (10); INSERT INTO t VALUES (1), (7);`, "",
		[]string{`ALTER TABLE t DETACH PARTITION t1`, `INSERT INTO t1 VALUES (2)`, `ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (-5) TO (5)`, `INSERT INTO t VALUES (-1)`}, Apply,
		[]string{"partition detached t1 public.t: apply", "partition attached t1 public.t: apply"}, nil, []string{"t", "t1", "t2"}, false, ""},
	{0, "unlogged", tableT, "", []string{`ALTER TABLE t SET UNLOGGED`}, Stop, []string{"persistence changed t p u: stop", "unpublished t " + publication + ": keep"}, nil, []string{}, false, ""},
	{0, "rewritten as it is", tableT, "", []string{`VACUUM FULL t`, `TRUNCATE t`, `INSERT INTO t VALUES (10)`}, Metadata, nil, nil, []string{}, false, ""},
}

// Every case is met in both ways: by event triggers and by polls.
func TestCases(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		if c != pgtest.Shared(t, 0) {
			pgtest.Long(t)
		}
		for _, way := range []string{"events", "poll"} {
			t.Run(way, func(t *testing.T) {
				t.Parallel()
				d, destination := c.CreateDatabase(t), c.CreateDatabase(t)
				for _, test := range caseTests {
					empty(t, d)
					empty(t, destination)
					t.Run(fmt.Sprintf("%d %s", test.number, test.name), func(t *testing.T) { test.run(t, d, destination, way == "events") })
				}
			})
		}
	})
}

// empty makes a database as it was created: that takes less time than another one.
func empty(t *testing.T, d *pgtest.Database) {
	t.Helper()
	d.Exec(t, "ALTER DATABASE "+pgtest.Quote(d.Name)+" RESET ALL")
	d.Exec(t, "DROP PUBLICATION IF EXISTS "+pgtest.Quote(publication))
	for _, schema := range pgtest.Column[string](t, d, `SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'`) {
		d.Exec(t, "DROP SCHEMA "+pgtest.Quote(schema)+" CASCADE")
	}
	d.Exec(t, "CREATE SCHEMA public")
}

// Every case has a row in the list, a test, and a verdict that a test meets.
func TestCasesAreAllThere(t *testing.T) {
	t.Parallel()
	if len(Cases) != 27 {
		t.Errorf("%d cases", len(Cases))
	}
	for i, c := range Cases {
		if c.Number != i+1 || c.Does == "" || c.Name == "" {
			t.Errorf("case %+v", c)
		}
		if len(c.Kinds) == 0 {
			continue // the stream says it
		}
		if !slices.ContainsFunc(caseTests, func(test caseTest) bool { return test.number == c.Number && test.verdict == c.Verdict }) {
			if c.Number != 10 { // its heaviest change is another one
				t.Errorf("case %d (%s): no test has the verdict %s", c.Number, c.Name, c.Verdict)
			}
		}
	}
	for _, r := range Rules {
		if r.Reason == "" || !slices.Contains(verdicts, r.Verdict) {
			t.Errorf("rule %+v", r)
		}
	}
}

func (test *caseTest) run(t *testing.T, d, destination *pgtest.Database, triggers bool) {
	wanted, wantedVerdict := test.kinds, test.verdict
	if !triggers {
		if test.polled != nil {
			wanted = test.polled
		}
		if test.polledVerdict != "" {
			wantedVerdict = test.polledVerdict
		}
	}
	s := newSourceIn(t, d, triggers, strings.ReplaceAll(test.schema, "$db", pgtest.Quote(d.Name)), test.clause)
	destination.Exec(t, strings.ReplaceAll(test.schema, "$db", pgtest.Quote(destination.Name)))
	m := &miniature{t: t, s: s, there: open(t, destination), destination: destination, triggers: triggers}
	poller := NewPoller([]string{publication}, Memory{})
	first, err := poller.Poll(t.Context(), s.conn)
	must(t, err)
	if changes := s.registry.Read(first); len(changes) > 0 {
		t.Errorf("nothing has changed: %q", kinds(changes))
	}
	for _, sql := range test.change {
		s.d.Exec(t, sql)
	}
	if !triggers {
		m.reading, err = poller.Poll(t.Context(), s.conn)
		must(t, err)
		if len(m.reading.Busy) > 0 {
			t.Errorf("busy: %v", m.reading.Busy)
		}
	}
	m.follow()
	if diff := cmp.Diff(wanted, kinds(m.changes)); diff != "" && len(wanted)+len(m.changes) > 0 {
		t.Errorf("changes:\n%s", diff)
	}
	verdict := Metadata
	for i := range m.changes {
		v, _ := Judge(&m.changes[i])
		verdict = verdict.Heavier(v)
	}
	if len(m.passed) > 0 {
		verdict = verdict.Heavier(Resync)
	}
	if verdict != wantedVerdict {
		t.Errorf("verdict %s, want %s", verdict, wantedVerdict)
	}
	m.compare(test, verdict)
	// Nothing is left to be said, and the registry is as the catalog.
	if again, err := poller.Poll(t.Context(), s.conn); err != nil || len(kinds(s.registry.Read(again))) > 0 && !triggers {
		t.Errorf("once more: %v", err)
	}
	if left := kinds(s.registry.Read(must2(t)(NewPoller([]string{publication}, Memory{}).Poll(t.Context(), s.conn)))); len(left) > 0 {
		t.Errorf("the registry is not as the catalog: %q", left)
	}
}

func must2(t *testing.T) func(*Reading, error) *Reading {
	return func(r *Reading, err error) *Reading {
		t.Helper()
		must(t, err)
		return r
	}
}

// miniature replicates inserts and schema changes, one by one.
type miniature struct {
	t           *testing.T
	s           *source
	there       *pgx.Conn
	destination *pgtest.Database
	reading     *Reading // of a poll, nil with events and when it was used
	changes     []Change
	stopped     map[uint32]bool // tables that do not go on
	triggers    bool
	passed      []string // tables with a shape that no poll has seen
}

func (m *miniature) follow() {
	m.t.Helper()
	m.stopped = map[uint32]bool{}
	m.s.d.Exec(m.t, "INSERT INTO done VALUES (1)")
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	for ended := false; !ended; {
		tx, err := m.s.reader.Next(ctx)
		must(m.t, err)
		if m.reading != nil && tx.FinalLSN >= m.reading.Fence {
			m.polled()
		}
		must(m.t, tx.Each(func(c *stream.Change) error {
			switch {
			case c.Kind == stream.Message && c.Logical.Prefix == Prefix:
				e, err := Decode(c.Logical.Content)
				must(m.t, err)
				m.apply(m.s.registry.Observe(&e))
			case c.Relation != nil && c.Relation.Name == "done":
				ended = true
			case c.Kind == stream.Insert:
				m.insert(c)
			}
			return nil
		}))
		if !tx.Mark() {
			m.apply(m.s.registry.EndTransaction())
		}
		tx.Release()
	}
	if m.reading != nil {
		m.polled()
	}
}

func (m *miniature) polled() {
	reading := m.reading
	m.reading = nil
	m.apply(m.s.registry.Read(reading))
}

// apply runs what the changes of each table need.
func (m *miniature) apply(changes []Change) {
	m.t.Helper()
	m.changes = append(m.changes, changes...)
	for some := range ByTable(changes) {
		m.applyTable(some)
	}
}

func (m *miniature) applyTable(changes []Change) {
	m.t.Helper()
	for i := range changes {
		if v, _ := Judge(&changes[i]); v == Stop || v == Keep || v == Copy || v == Poll {
			m.stopped[changes[i].OID] = true
			return
		}
	}
	there := Destination{Indexes: true, ForeignKeys: true, VersionNum: 1e4 * m.destination.Cluster.Installation().Major}
	if b := changes[0].Before; b != nil {
		there.Columns = pgtest.Column[string](m.t, m.destination, `SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, quoteName(b.Table))
	}
	for _, s := range Statements(changes, there) {
		if s.AfterCopy {
			continue
		}
		if s.Why == "" || strings.HasPrefix(s.SQL, "ALTER TABLE") && s.Lock == "" {
			m.t.Errorf("statement %+v", s)
		}
		if _, err := m.there.Exec(m.t.Context(), s.SQL); err != nil {
			m.t.Errorf("%s: %v", s.SQL, err)
		}
	}
}

// insert writes a row. In a poll the changes come before the first row that
// does not fit otherwise.
func (m *miniature) insert(c *stream.Change) {
	m.t.Helper()
	if m.stopped[c.Relation.OID] {
		return
	}
	if !m.triggers && !m.s.registry.Fits(c.Relation) {
		if m.reading != nil {
			m.polled()
		}
		if !m.stopped[c.Relation.OID] && !m.s.registry.Fits(c.Relation) && m.s.registry.Table(c.Relation.OID) != nil {
			m.passed = append(m.passed, c.Relation.Name)
			m.stopped[c.Relation.OID] = true
		}
	}
	if m.stopped[c.Relation.OID] || m.s.registry.Table(c.Relation.OID) == nil {
		return
	}
	err := m.try(c)
	if err != nil && m.reading != nil {
		m.polled()
		err = m.try(c)
	}
	if err != nil {
		m.t.Errorf("insert into %s(%s): %v", c.Relation.Name, columnsOf(c.Relation), err)
	}
}

func (m *miniature) try(c *stream.Change) error {
	var columns, values []string
	tuple := c.New
	for _, column := range c.Relation.Columns {
		format, value, rest := tuple.Next()
		tuple = rest
		columns = append(columns, dump.QuoteIdent(column.Name))
		if format == stream.Null {
			values = append(values, "NULL")
		} else {
			values = append(values, dump.QuoteLiteral(string(value)))
		}
	}
	_, err := m.there.Exec(m.t.Context(), "INSERT INTO "+quoteName(catalog.Name{Schema: c.Relation.Schema, Name: c.Relation.Name})+
		" ("+strings.Join(columns, ", ")+") OVERRIDING SYSTEM VALUE VALUES ("+strings.Join(values, ", ")+")")
	return err
}

// compare looks whether rows are equal where they have to be.
func (m *miniature) compare(test *caseTest, verdict Verdict) {
	m.t.Helper()
	tables := test.tables
	if tables == nil {
		tables = []string{"t"}
	}
	for _, table := range tables {
		name := "public." + pgtest.Quote(table)
		if schema, t, ok := strings.Cut(table, "."); ok {
			name = pgtest.Quote(schema, t)
		}
		columns := pgtest.Value[string](m.t, m.s.d, `SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, name)
		sql := "SELECT " + columns + " FROM " + name + " ORDER BY " + columns
		if err := m.destination.TryExec(m.t.Context(), sql); err != nil {
			m.t.Errorf("%s: %v", sql, err)
			continue
		}
		diff := cmp.Diff(m.s.d.Rows(m.t, sql), m.destination.Rows(m.t, sql))
		if diff != "" && verdict != Resync {
			m.t.Errorf("%s differs (-source +destination):\n%s", table, diff)
		}
		if diff == "" && test.differs {
			m.t.Errorf("%s does not differ: the verdict %s is too hard", table, test.verdict)
		}
	}
}

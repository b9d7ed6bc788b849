package apply_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/shard"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// The source's and the destination's tables of the tests of mappings. Columns
// have another order, swap their names, are missing, and have other types.
const mappedSource = `
CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad', 'it''s "ok"', 'a,b');
CREATE TABLE app.keyed (skipped text, id int, secret text, k bigint, big text, n numeric, m app.mood, ms app.mood[], b bool, ts timestamp, one varchar(20), two text, a int[], j jsonb, PRIMARY KEY (id, k));
ALTER TABLE app.keyed ALTER COLUMN skipped SET STORAGE EXTERNAL; ALTER TABLE app.keyed ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE TABLE app.nokey (x int, hidden int, f float8, n numeric, t text);
ALTER TABLE app.nokey REPLICA IDENTITY FULL;
CREATE TABLE app.plain (id int PRIMARY KEY, v text);
CREATE TABLE app.casted (id int PRIMARY KEY, hidden text, big jsonb, v int); ALTER TABLE app.casted ALTER COLUMN big SET STORAGE EXTERNAL; ALTER TABLE app.casted ALTER COLUMN hidden SET STORAGE EXTERNAL;
CREATE TABLE app.narrow (hidden text, id int PRIMARY KEY, v text, m app.mood, n int, last int); ALTER TABLE app.narrow REPLICA IDENTITY FULL;`

const mappedDestination = `
CREATE SCHEMA "Dst ""2""";
CREATE TABLE "Dst ""2"""."Keyed $1" (m text, extra int DEFAULT 7, "Shard Key" bigint, id text, big text, n numeric(10,2), ms text[], b text, ts timestamptz, two varchar(20), one text, a bigint[], j text, PRIMARY KEY (id, "Shard Key"));
CREATE TABLE "Dst ""2""".nokey (t text, n numeric(8,1), f numeric, x bigint);
CREATE TABLE "Dst ""2""".plain (id int PRIMARY KEY, v text);
CREATE TABLE "Dst ""2""".casted (id text PRIMARY KEY, v numeric, big text);
CREATE TABLE "Dst ""2""".narrow (n bigint, m text, w text, id int PRIMARY KEY);`

// asMapped are queries that give the source's rows as the destination should
// have them, and the destination's.
var asMapped = map[string][2]string{
	"keyed": {
		`SELECT id::text, k, big, n::numeric(10,2), m::text, array(SELECT x::text FROM unnest(ms) x), b::text, ts AT TIME ZONE 'UTC', one, two, a, j::text, 7 FROM app.keyed`,
		`SELECT id, "Shard Key", big, n, m, coalesce(ms, '{}'), b, ts, two, one, a, j, extra FROM "Dst ""2"""."Keyed $1"`,
	},
	"nokey":  {`SELECT x, f::numeric, n::numeric(8,1), t FROM app.nokey`, `SELECT x, f, n, t FROM "Dst ""2""".nokey`},
	"plain":  {`SELECT * FROM app.plain`, `SELECT * FROM "Dst ""2""".plain`},
	"narrow": {`SELECT id, v, m, n FROM app.narrow`, `SELECT id, w, m, n FROM "Dst ""2""".narrow`},
	"casted": {`SELECT id::text, v, big::text FROM app.casted`, `SELECT id, v, big FROM "Dst ""2""".casted`},
}

func mappingOfTest(t testing.TB) *mapping.Mapping {
	t.Helper()
	mirror := config.NewMirror("src", "dst", "p")
	mirror.Schemas = map[string]string{"app": `Dst "2"`}
	mirror.Tables = []config.MirrorTable{
		{
			Schema: "app", Name: "keyed", DestinationName: "Keyed $1", ExcludeColumns: []string{"skipped", "secret"},
			RenameColumns: map[string]string{"k": "Shard Key", "one": "two", "two": "one"},
			CastColumns:   map[string]string{"id": "text", "n": "numeric(10,2)", "m": "text", "ms": "text[]", "b": "text", "ts": "timestamptz", "a": "bigint[]", "j": "text"},
		},
		{Schema: "app", Name: "nokey", ExcludeColumns: []string{"hidden"}, CastColumns: map[string]string{"n": "numeric(8,1)", "f": "numeric"}},
		{Schema: "app", Name: "narrow", ExcludeColumns: []string{"hidden", "last"}, RenameColumns: map[string]string{"v": "w"}, CastColumns: map[string]string{"m": "text"}},
		{Schema: "app", Name: "casted", ExcludeColumns: []string{"hidden"}, CastColumns: map[string]string{"id": "text", "big": "text", "v": "numeric"}},
	}
	m, err := mapping.New(config.Default(), mirror)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mappedFinder is a find that goes by a mapping. On several shards, keyed is
// sharded by the name that its column has there, and the others are whole.
func mappedFinder(t testing.TB, source *pgtest.Database, destinations []*pgtest.Database) func(*stream.Relation) (*apply.Target, error) {
	t.Helper()
	m := mappingOfTest(t)
	router, err := shard.NewRouter(&config.Config{ShardedTables: []config.ShardedTable{{Database: "dst", Name: "Keyed $1", Column: "Shard Key"}}}, "dst", len(destinations))
	if err != nil {
		t.Fatal(err)
	}
	return func(r *stream.Relation) (*apply.Target, error) {
		table, refused := m.Table(catalog.Name{Schema: r.Schema, Name: r.Name})
		if refused != nil {
			return nil, refused
		}
		here, there := source.Connect(t), destinations[0].Connect(t)
		relations, err := catalog.ReadRelations(t.Context(), there, []catalog.Name{table.Destination})
		if err != nil {
			return nil, err
		}
		var from, to []uint32
		var columns []shard.Column
		for _, c := range r.Columns {
			from = append(from, c.Type)
			if mapped, ok := table.Column(c.Name); ok {
				columns = append(columns, shard.Column{Name: mapped.Destination, Type: c.Type})
			}
		}
		for _, c := range relations[table.Destination].Columns {
			to = append(to, c.Type)
		}
		sourceTypes, err := catalog.ReadTypes(t.Context(), here, from)
		if err != nil {
			return nil, err
		}
		destinationTypes, err := catalog.ReadTypes(t.Context(), there, to)
		if err != nil {
			return nil, err
		}
		key, err := router.Table(table.Destination.Schema, table.Destination.Name, columns)
		if err != nil {
			return nil, err
		}
		target, refused := apply.NewTarget(r, sourceTypes, relations[table.Destination], destinationTypes,
			apply.TargetOptions{Key: key, SameTypes: len(destinations) == 1, Mapping: table})
		if refused != nil {
			return nil, refused
		}
		return target, nil
	}
}

// mappedPair streams the mapped tables to so many shards.
func mappedPair(t testing.TB, shards int, binary bool) (*pair, []*pgtest.Database) {
	t.Helper()
	c := pgtest.Shared(t, 0)
	src := c.CreateDatabase(t)
	src.Exec(t, mappedSource)
	var dbs []*pgtest.Database
	for range shards {
		dbs = append(dbs, destination(t, c, mappedDestination))
	}
	p := newPair(t, src, binary)
	p.tables = &tables{find: mappedFinder(t, src, dbs)}
	servers := make([]config.Server, shards)
	for i, d := range dbs {
		servers[i] = server(d, i)
	}
	p.opts = options(p.tables, servers...)
	p.opts.Logger = testLogger(t)
	return p, dbs
}

// compareMapped compares what all shards have with what the source has. Tables
// but keyed are whole on each of them.
func compareMapped(t testing.TB, source *pgtest.Database, destinations []*pgtest.Database, names ...string) {
	t.Helper()
	for _, n := range names {
		want := source.Rows(t, asMapped[n][0])
		slices.Sort(want)
		var got []string
		for i, d := range destinations {
			rows := d.Rows(t, asMapped[n][1])
			if got = append(got, rows...); n != "keyed" {
				if got = rows; i < len(destinations)-1 {
					slices.Sort(got)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s of shard %d differs (-source +destination):\n%.4000s", n, i, diff)
					}
				}
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s differs (-source +destination):\n%.4000s", n, diff)
		}
	}
}

func noneStopped(t testing.TB, p *pair) {
	t.Helper()
	p.tables.mu.Lock()
	defer p.tables.mu.Unlock()
	for name, s := range p.tables.stopped {
		t.Errorf("%s is stopped: %s\nDETAIL: %s\nHINT: %s", name, s.err.Message, s.err.Detail, s.err.Hint)
	}
}

// mappedStatement is one statement of a random workload on the mapped tables.
func mappedStatement(r *rand.Rand) string {
	id, other, k := r.IntN(30), r.IntN(30), r.IntN(6)
	big := fmt.Sprintf("repeat('%c', %d)", 'a'+r.IntN(26), 3000*r.IntN(2)+r.IntN(50))
	values := fmt.Sprintf(`%s, %d, 's', %d, %s, %d.005, 'it''s "ok"', '{sad,"a,b",NULL}', %t, '2024-03-31 02:30:00.%d', E'one\t\\', NULL, '{1,NULL,-3}', '{"a": [1, 1.50]}'`, big, id, k, big, r.IntN(9), r.IntN(2) == 0, r.IntN(99))
	list := []string{
		"INSERT INTO app.keyed VALUES (" + values + ") ON CONFLICT DO NOTHING",
		fmt.Sprintf("INSERT INTO app.keyed (id, k, skipped, n, b, two) SELECT i, %d, 'x', i / 8.0, NULL, 'two' FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING", k, id, id+25),
		fmt.Sprintf("UPDATE app.keyed SET n = n + 0.125 WHERE id = %d", id),
		fmt.Sprintf("UPDATE app.keyed SET n = 1.5, b = NOT b, m = 'a,b', ms = array_append(ms, 'sad') WHERE id < %d", id),
		fmt.Sprintf("UPDATE app.keyed SET skipped = %s, secret = 'other' WHERE id = %d", big, id),
		fmt.Sprintf("UPDATE app.keyed SET big = %s WHERE id = %d", big, id),
		fmt.Sprintf("UPDATE app.keyed SET one = two, two = left(one, 3) WHERE k = %d", k),
		fmt.Sprintf("UPDATE app.keyed SET id = %d, k = %d WHERE id = %d AND k = %d", other, (k+1)%6, id, k),
		fmt.Sprintf("UPDATE app.keyed x SET k = %d WHERE id = %d AND NOT EXISTS (SELECT FROM app.keyed y WHERE y.id = x.id AND y.k = %d)", k, id, k),
		fmt.Sprintf("DELETE FROM app.keyed WHERE id = %d", id),
		fmt.Sprintf("DELETE FROM app.keyed WHERE id BETWEEN %d AND %d", id, other),
		fmt.Sprintf("INSERT INTO app.nokey VALUES (%d, %d, 0.1, 1.25, 'a'), (%d, 2, 'NaN', NULL, NULL), (NULL, NULL, NULL, NULL, NULL)", id%3, other, id%3),
		fmt.Sprintf("DELETE FROM app.nokey WHERE ctid IN (SELECT ctid FROM app.nokey WHERE x = %d LIMIT 1)", id%3),
		fmt.Sprintf("UPDATE app.nokey SET hidden = %d WHERE ctid IN (SELECT ctid FROM app.nokey ORDER BY random() LIMIT 2)", other),
		"UPDATE app.nokey SET n = n + 0.1, t = 'b' WHERE ctid IN (SELECT ctid FROM app.nokey ORDER BY random() LIMIT 2)",
		fmt.Sprintf("INSERT INTO app.plain VALUES (%d, 'v') ON CONFLICT (id) DO UPDATE SET v = excluded.v || plain.v", id),
		fmt.Sprintf("INSERT INTO app.casted VALUES (%d, %s, to_jsonb(%s), 1) ON CONFLICT (id) DO UPDATE SET v = casted.v + 1", id, big, big),
		fmt.Sprintf("UPDATE app.casted SET big = to_jsonb(%s) WHERE id = %d", big, id),
		fmt.Sprintf("UPDATE app.casted SET id = %d WHERE id = %d", other, id),
		fmt.Sprintf("DELETE FROM app.casted WHERE id = %d", id),
		fmt.Sprintf("INSERT INTO app.narrow SELECT 'h', i, 'a\tb', 'a,b', -i, 1 FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING", id, id+15),
		fmt.Sprintf("UPDATE app.narrow SET hidden = v, last = %d WHERE id < %d", other, id),
		fmt.Sprintf("UPDATE app.narrow SET v = NULL, m = 'sad' WHERE id < %d", id),
		fmt.Sprintf("DELETE FROM app.narrow WHERE id BETWEEN %d AND %d", id, other),
	}
	if r.IntN(150) == 0 {
		return "TRUNCATE app.keyed, app.plain"
	}
	return list[r.IntN(len(list))]
}

func mappedWork(t testing.TB, d *pgtest.Database, seed uint64, n int) {
	r := rand.New(rand.NewPCG(seed, 2))
	conn := d.Connect(t)
	for range n {
		var b strings.Builder
		b.WriteString("BEGIN;")
		for range 1 + r.IntN(5) {
			b.WriteString(mappedStatement(r) + ";")
		}
		b.WriteString("COMMIT")
		_, err := conn.PgConn().Exec(t.Context(), b.String()).ReadAll()
		var server *pgconn.PgError
		if err == nil {
			continue
		}
		if !errors.As(err, &server) || server.Code[:2] != "23" {
			t.Fatalf("%s: %v", b.String(), err)
		}
		if _, err := conn.PgConn().Exec(t.Context(), "ROLLBACK").ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMappedWorkload has random changes arrive under other names, without some
// columns and as other types, in sets and one by one, in text and in binary
// form, on one shard and on three.
func TestMappedWorkload(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 3} {
		for _, binary := range []bool{false, true} {
			if binary && shards > 1 {
				continue
			}
			for _, rows := range []int{10_000, 7} {
				t.Run(fmt.Sprintf("shards=%d,binary=%t,group=%d", shards, binary, rows), func(t *testing.T) {
					t.Parallel()
					p, dbs := mappedPair(t, shards, binary)
					if binary {
						// Arrays of enums carry the OID of their type: such a stream is read as text.
						p.source.Exec(t, "ALTER TABLE app.keyed ALTER COLUMN ms TYPE text[] USING ms::text[]")
						p.tables.find = mappedFinder(t, p.source, dbs)
					}
					p.opts.GroupRows = rows
					l := p.start()
					mappedWork(t, p.source, uint64(10*shards+rows), 300)
					p.catchesUp(l)
					l.stop()
					noneStopped(t, p)
					compareMapped(t, p.source, dbs, "keyed", "nokey", "plain", "narrow", "casted")
				})
			}
		}
	}
}

// TestMappedChanges has each kind of change once, in one transaction and in many.
func TestMappedChanges(t *testing.T) {
	t.Parallel()
	changes := []string{
		`INSERT INTO app.keyed SELECT repeat('s', 5000), i, 'secret', i % 6, repeat('b', 5000), i / 7.0, 'sad', '{sad}', true, '2024-01-01', 'one', 'two', '{1}', '{}' FROM generate_series(1, 20) i`,
		`UPDATE app.keyed SET n = 1.005 WHERE id < 8`,                       // a set; what is TOASTed is unchanged
		`UPDATE app.keyed SET secret = 'other', skipped = 'x' WHERE id < 8`, // nothing that the destination has
		`UPDATE app.keyed SET id = id + 100 WHERE id = 3`,                   // the key, which is cast
		`UPDATE app.keyed SET k = k + 1 WHERE id IN (1, 2, 4, 5, 6, 9)`,     // the sharding key, without what is TOASTed
		`UPDATE app.keyed SET big = 'small', b = NULL WHERE id = 5`,
		`DELETE FROM app.keyed WHERE id IN (7, 8, 9, 10)`,
		`DELETE FROM app.keyed WHERE id = 11`,
		`INSERT INTO app.nokey SELECT 1, i, 0.1, 1.25, 'a' FROM generate_series(1, 4) i`,
		`UPDATE app.nokey SET t = 'b' WHERE hidden = 2`, // only what is hidden tells the rows apart
		`DELETE FROM app.nokey WHERE hidden = 1`,
		`INSERT INTO app.casted SELECT i, 'h', to_jsonb(repeat('j', 5000)), i FROM generate_series(1, 10) i`,
		`UPDATE app.casted SET v = v + 1`, // what is TOASTed, excluded and cast is unchanged
		`INSERT INTO app.narrow SELECT 'h', i, 'v', 'sad', -i, 1 FROM generate_series(1, 20) i`,
		`UPDATE app.narrow SET id = id + 50, hidden = 'x' WHERE id < 5`,
		`DELETE FROM app.narrow WHERE id > 10 AND id < 15`,
		`INSERT INTO app.plain VALUES (1, 'x')`,
		`TRUNCATE app.plain`,
		`INSERT INTO app.plain VALUES (1, 'y')`,
	}
	for _, shards := range []int{1, 3} {
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprintf("shards=%d,whole=%t", shards, whole), func(t *testing.T) {
				t.Parallel()
				p, dbs := mappedPair(t, shards, false)
				l := p.start()
				if whole {
					p.source.Exec(t, "BEGIN; "+strings.Join(changes, "; ")+"; COMMIT")
				} else {
					for _, sql := range changes {
						p.source.Exec(t, sql)
						p.catchesUp(l)
						noneStopped(t, p)
						if t.Failed() {
							t.Fatal(sql)
						}
					}
				}
				p.catchesUp(l)
				noneStopped(t, p)
				compareMapped(t, p.source, dbs, "keyed", "nokey", "plain", "narrow", "casted")
				if got := pgtest.Value[int64](t, p.source, "SELECT count(*) FROM app.keyed"); got != 15 {
					t.Errorf("the source has %d rows", got)
				}
				p.source.Exec(t, "TRUNCATE app.keyed")
				p.catchesUp(l)
				l.stop()
				noneStopped(t, p)
				compareMapped(t, p.source, dbs, "keyed")
			})
		}
	}
}

// TestMappedSets: changes of mapped tables go in sets as others do; what a set
// statement gets wrong would be put right one by one, and slowly.
func TestMappedSets(t *testing.T) {
	t.Parallel()
	for _, binary := range []bool{false, true} {
		t.Run(fmt.Sprintf("binary=%t", binary), func(t *testing.T) {
			t.Parallel()
			p, dbs := mappedPair(t, 1, binary)
			p.source.Exec(t, "ALTER TABLE app.keyed DROP COLUMN ms") // arrays of enums cannot be binary
			l := p.start()
			for _, sql := range []string{
				`INSERT INTO app.narrow SELECT 'h', i, 'v', 'sad', -i, 1 FROM generate_series(1, 50) i`,
				`UPDATE app.narrow SET v = 'w', m = 'a,b' WHERE id < 40`,
				`UPDATE app.narrow SET hidden = 'x', last = 2`,
				`UPDATE app.narrow SET id = id + 100 WHERE id > 30`,
				`DELETE FROM app.narrow WHERE id < 10`,
				`INSERT INTO app.casted SELECT i, repeat('h', 5000), to_jsonb(repeat('j', 5000)), i FROM generate_series(1, 30) i`,
				`UPDATE app.casted SET v = v + 1 WHERE id < 20`,
				`UPDATE app.casted SET hidden = 'h', v = 0 WHERE id > 20`,
				`DELETE FROM app.casted WHERE id < 10`,
				`INSERT INTO app.keyed (skipped, id, k, big, n, m, b, ts) SELECT repeat('s', 5000), i, i % 6, repeat('b', 5000), i / 7.0, 'sad', true, '2024-01-01' FROM generate_series(1, 30) i`,
				`UPDATE app.keyed SET n = n + 0.125, b = NOT b WHERE id < 20`,
				`UPDATE app.keyed SET skipped = '', ts = NULL WHERE id > 20`,
				`DELETE FROM app.keyed WHERE id < 10`,
			} {
				p.source.Exec(t, sql)
				p.catchesUp(l)
				if s := l.a.Stats()[0]; s.ExactGroups > 0 {
					t.Fatalf("one by one: %s", sql)
				}
			}
			l.stop()
			noneStopped(t, p)
			p.source.Exec(t, "ALTER TABLE app.keyed ADD COLUMN ms text[]") // for the query
			compareMapped(t, p.source, dbs, "keyed", "narrow", "casted")
		})
	}
}

// TestCastedValuesThatMove: a value that is cast and that the stream leaves out
// cannot be taken from the shard that has it, so the table stops.
func TestCastedValuesThatMove(t *testing.T) {
	t.Parallel()
	p, dbs := mappedPair(t, 3, false)
	p.source.Exec(t, "ALTER TABLE app.keyed ALTER COLUMN j SET STORAGE EXTERNAL")
	l := p.start()
	p.source.Exec(t, `INSERT INTO app.keyed (id, k, j) VALUES (1, 1, to_jsonb(repeat('j', 5000)))`)
	p.catchesUp(l)
	noneStopped(t, p)
	p.source.Exec(t, fmt.Sprintf("UPDATE app.keyed SET k = %d", movedTo(t, 1)))
	p.catchesUp(l)
	l.stop()
	s, stopped := p.tables.stopped[catalog.Name{Schema: "app", Name: "keyed"}]
	if !stopped || !strings.Contains(s.err.Detail, `column "j" is cast`) || !strings.Contains(s.err.Hint, "REPLICA IDENTITY FULL") {
		t.Errorf("it is not stopped, or not for that: %+v", s.err)
	}
	var rows []string
	for _, d := range dbs {
		rows = append(rows, d.Rows(t, `SELECT id, "Shard Key" FROM "Dst ""2"""."Keyed $1"`)...)
	}
	if !slices.Equal(rows, []string{"1|1"}) {
		t.Errorf("rows: %v", rows)
	}
}

// TestMappingsThatDoNotFit has those that only the shapes show to be wrong.
func TestMappingsThatDoNotFit(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	src, dst := c.CreateDatabase(t), c.CreateDatabase(t)
	src.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text, w numeric)")
	from, fromTypes := shapes(t, src, "t")
	for i, test := range []struct {
		name, destination string
		table             config.MirrorTable
		identity          byte
		key               bool
		code, message     string // "" if it fits
	}{
		{"renamed", "(x int PRIMARY KEY, v text, w numeric)", config.MirrorTable{RenameColumns: map[string]string{"id": "x"}}, 'd', false, "", ""},
		{"missing", "(id int PRIMARY KEY, v text, w numeric)", config.MirrorTable{RenameColumns: map[string]string{"v": "x"}}, 'd', false, "42703", `column "x" of`},
		{"left", "(id int PRIMARY KEY, v text NOT NULL, x text, w numeric)", config.MirrorTable{RenameColumns: map[string]string{"v": "x"}}, 'd', false, "23502", `column "v" of`},
		{"meets", "(id int PRIMARY KEY, w text)", config.MirrorTable{RenameColumns: map[string]string{"v": "w"}}, 'd', false, "42710", `columns "v" and "w"`},
		{"key excluded", "(v text, w numeric)", config.MirrorTable{ExcludeColumns: []string{"id"}}, 'd', false, "55000", `column "id" of "public"."t" is excluded`},
		{"all of it is the identity", "(v text, w numeric)", config.MirrorTable{ExcludeColumns: []string{"id"}}, 'f', false, "", ""},
		{"key cast", "(id text PRIMARY KEY, v text, w numeric)", config.MirrorTable{CastColumns: map[string]string{"id": "text"}}, 'd', false, "", ""},
		{"key cast to less", "(id smallint PRIMARY KEY, v text, w numeric)", config.MirrorTable{CastColumns: map[string]string{"id": "smallint"}}, 'd', false, "", ""},
		{"keys become one", "(id varchar(3) PRIMARY KEY, v text, w numeric)", config.MirrorTable{CastColumns: map[string]string{"id": "varchar(3)"}}, 'd', false, "42804", "could make two values one"},
		{"another type", "(id int PRIMARY KEY, v text, w numeric(9,2))", config.MirrorTable{CastColumns: map[string]string{"w": "numeric(9,3)"}}, 'd', false, "42804", "the destination has numeric(9,2)"},
		{"no cast", "(id int PRIMARY KEY, v text, w uuid)", config.MirrorTable{CastColumns: map[string]string{"w": "uuid"}}, 'd', false, "42804", "there is no cast from numeric to uuid"},
		{"without the cast", "(id int PRIMARY KEY, v text, w numeric(9,2))", config.MirrorTable{ExcludeColumns: []string{"v"}}, 'd', false, "42804", "narrower"},
		{"sharding key excluded", "(id int PRIMARY KEY, v text)", config.MirrorTable{ExcludeColumns: []string{"w"}}, 'd', true, "42703", `the sharding column "k" of`},
		{"sharding key renamed", "(k int PRIMARY KEY, v text, w numeric)", config.MirrorTable{RenameColumns: map[string]string{"id": "k"}}, 'd', true, "", ""},
		{"sharding key cast", "(k bigint PRIMARY KEY, v text, w numeric)", config.MirrorTable{RenameColumns: map[string]string{"id": "k"}, CastColumns: map[string]string{"id": "bigint"}}, 'd', true, "42804", "it is the sharding key"},
	} {
		table := fmt.Sprintf("t%d", i)
		dst.Exec(t, "CREATE TABLE "+table+" "+test.destination)
		mirror := config.NewMirror("src", "dst", "p")
		test.table.Schema, test.table.Name, test.table.DestinationName = "public", "t", table
		mirror.Tables = []config.MirrorTable{test.table}
		m, refused := mapping.New(config.Default(), mirror)
		if refused != nil {
			t.Fatalf("%s: %v", test.name, refused)
		}
		mapped, _ := m.Table(catalog.Name{Schema: "public", Name: "t"})
		to, toTypes := shapes(t, dst, table)
		var key *shard.Key
		if test.key {
			key = bigintKey(t, table)
		}
		target, err := apply.NewTarget(published(from["t"], test.identity), fromTypes, to[table], toTypes, apply.TargetOptions{Key: key, Mapping: mapped})
		switch {
		case err == nil && test.code != "":
			t.Errorf("%s: it fits", test.name)
		case err == nil:
			if want := (catalog.Name{Schema: "public", Name: table}); target.String() != "public.t" || target.Table != want {
				t.Errorf("%s: %s at %s", test.name, target, target.Table)
			}
		case err.Code != test.code || !strings.Contains(err.Message, test.message) && !strings.Contains(err.Detail, test.message) || err.Hint == "":
			t.Errorf("%s: %s %s\n%s\n%s", test.name, err.Code, err.Message, err.Detail, err.Hint)
		}
	}
}

// TestTextOnly: what the applier cannot take in binary form has to be said
// before the stream is read.
func TestTextOnly(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	src, dst := c.CreateDatabase(t), c.CreateDatabase(t)
	dst.Exec(t, "CREATE TYPE other AS ENUM ('x')") // nothing has the same OID on both sides
	for _, d := range []*pgtest.Database{src, dst} {
		d.Exec(t, "CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE pair AS (a int, b text)")
	}
	for i, test := range []struct{ from, to, cast, want string }{
		{"int", "int", "", ""}, {"int", "bigint", "", ""}, {"mood", "mood", "", ""}, {"regclass", "regclass", "", "regclass is an OID in binary form"}, {"mood[]", "mood[]", "", "arrays of mood carry its OID"},
		{"numeric", "numeric(5,2)", "numeric(5,2)", ""}, {"int[]", "bigint[]", "bigint[]", ""}, {"mood", "text", "text", ""}, {"text", "mood", "public.mood", ""},
		{"mood[]", "text[]", "text[]", "mood[] is cast to text[]"}, {"pair", "text", "text", "pair is cast to text"}, {"int", "uuid", "", ""}, {"int", "uuid", "uuid", ""},
	} {
		name := fmt.Sprintf("t%d", i)
		src.Exec(t, "CREATE TABLE "+name+" (c "+test.from+")")
		dst.Exec(t, "CREATE TABLE "+name+" (c "+test.to+")")
		from, fromTypes := shapes(t, src, name)
		to, toTypes := shapes(t, dst, name)
		got := apply.TextOnly(mapping.Column{Source: "c", Destination: "c", Cast: test.cast}, fromTypes, from[name].Columns[0], toTypes, to[name].Columns[0])
		if got != test.want {
			t.Errorf("%s to %s: %q", test.from, test.to, got)
		}
	}
}

package apply_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// pair is a source database that is streamed to destinations.
type pair struct {
	t      testing.TB
	source *pgtest.Database
	slot   string
	reader stream.Options
	tables *tables
	opts   apply.Options
}

func newPair(t testing.TB, source *pgtest.Database, binary bool) *pair {
	t.Helper()
	source.Exec(t, "CREATE PUBLICATION p FOR ALL TABLES")
	slot := "slot_" + strings.TrimLeft(source.Name[max(0, len(source.Name)-40):], "_")
	e, err := stream.CreateSlot(t.Context(), server(source, 0), slot, stream.SlotOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.Close(t.Context())
	return &pair{t: t, source: source, slot: slot, reader: stream.Options{
		Server: server(source, 0), Slot: slot, Publications: []string{"p"}, Binary: binary, Streaming: true,
		SpillDirectory: t.TempDir(), StatusInterval: 50 * time.Millisecond,
	}}
}

// to applies to a destination until stopped.
func (p *pair) to(d *pgtest.Database) {
	p.tables = &tables{find: finder(p.t, p.source, d, nil, nil)}
	p.opts = options(p.tables, server(d, 0))
	p.opts.Logger = testLogger(p.t)
}

// live is a stream that is applied.
type live struct {
	*running
	reader *stream.Reader
}

func (p *pair) start() *live {
	p.t.Helper()
	r, err := stream.Open(p.t.Context(), p.reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = r.Close() })
	return &live{running: start(p.t, apply.New(p.opts), r), reader: r}
}

func (l *live) stop() {
	l.running.stop()
	if err := l.reader.Close(); err != nil {
		l.t.Fatal(err)
	}
}

// catchesUp waits until everything that is committed at the source is applied.
func (p *pair) catchesUp(l *live) {
	p.t.Helper()
	p.source.Exec(p.t, "SELECT pg_logical_emit_message(true, 'end', '')")
	text := pgtest.Value[string](p.t, p.source, "SELECT pg_current_wal_insert_lsn()::text")
	var hi, lo uint32
	if _, err := fmt.Sscanf(text, "%X/%X", &hi, &lo); err != nil {
		p.t.Fatal(err)
	}
	p.source.Exec(p.t, "SELECT pg_logical_emit_message(true, 'end', '')")
	l.reaches(stream.LSN(uint64(hi)<<32 | uint64(lo)))
}

// same compares tables row by row.
func compareRows(t testing.TB, source, destination *pgtest.Database, names ...string) {
	t.Helper()
	for _, n := range names {
		sql := "SELECT t::text FROM " + pgtest.Quote(n) + " AS t ORDER BY t::text COLLATE \"C\""
		if diff := cmp.Diff(source.Rows(t, sql), destination.Rows(t, sql)); diff != "" {
			if len(diff) > 4000 {
				diff = diff[:4000]
			}
			t.Errorf("%s differs (-source +destination):\n%s", n, diff)
		}
	}
}

const workloadDDL = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pairs AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TABLE keyed (id int PRIMARY KEY, u int UNIQUE, big text, n numeric, a int[], m mood, p pairs, d positive, g int GENERATED ALWAYS AS (u + 1) STORED, r int4range, j jsonb);
ALTER TABLE keyed ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE TABLE always (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
CREATE TABLE two (b text, v int, a int, PRIMARY KEY (a, b));
CREATE TABLE nokey (a int, f float8, j json, pt point, n numeric);
ALTER TABLE nokey REPLICA IDENTITY FULL;
CREATE TABLE fullkey (id int PRIMARY KEY, v text, big text);
ALTER TABLE fullkey REPLICA IDENTITY FULL;
ALTER TABLE fullkey ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE TABLE excl (id int PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&));
CREATE TABLE defer (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE parts (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (5);
CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (5) TO (10);
`

var workloadTables = []string{"keyed", "always", "two", "nokey", "fullkey", "excl", "defer", "parts"}

// randomStatement is one statement of the workload; it may fail.
func randomStatement(r *rand.Rand) string {
	id, other, u := r.IntN(30), r.IntN(30), r.IntN(40)
	big := fmt.Sprintf("repeat('%c', %d)", 'a'+r.IntN(26), 3000*r.IntN(2)+r.IntN(50))
	list := []string{
		fmt.Sprintf("INSERT INTO keyed VALUES (%d, %d, %s, %d.%d0, ARRAY[[1,2],[3,NULL]], 'ok', (1, 'x,\"y\"'), 5, DEFAULT, '[1,5)', '{\"a\": [1, null]}') ON CONFLICT DO NOTHING", id, u, big, r.IntN(9), r.IntN(9)),
		fmt.Sprintf("INSERT INTO keyed (id, u, big, n, a, m, r) SELECT i, i + 100, 'b', 'NaN', '{}', 'sad', 'empty' FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING", id, id+20),
		fmt.Sprintf("UPDATE keyed SET n = n + 1 WHERE id = %d", id),
		fmt.Sprintf("UPDATE keyed SET big = %s, m = 'happy' WHERE id = %d", big, id),
		fmt.Sprintf("UPDATE keyed SET a = CASE array_ndims(a) WHEN 2 THEN '{}' ELSE a || 7 END, p = (2, NULL) WHERE id < %d", id),
		fmt.Sprintf("UPDATE keyed SET id = %d WHERE id = %d", other, id),
		fmt.Sprintf("UPDATE keyed SET u = CASE id WHEN %d THEN -1 ELSE u END", id),
		// A swap of unique values between two rows.
		fmt.Sprintf("UPDATE keyed SET u = NULL WHERE id = %d; UPDATE keyed k SET u = %d WHERE id = %d AND NOT EXISTS (SELECT FROM keyed x WHERE x.u = %d); UPDATE keyed SET u = %d WHERE id = %d", id, u, other, u, u+1000+id, id),
		fmt.Sprintf("DELETE FROM keyed WHERE id = %d", id),
		fmt.Sprintf("DELETE FROM keyed WHERE id BETWEEN %d AND %d", id, other),
		fmt.Sprintf("INSERT INTO always (v) VALUES ('%d')", id),
		fmt.Sprintf("UPDATE always SET v = 'x%d' WHERE id %% 7 = %d", u, id%7),
		"UPDATE always SET id = DEFAULT WHERE id = (SELECT min(id) FROM always)",
		fmt.Sprintf("DELETE FROM always WHERE id %% 11 = %d", id%11),
		fmt.Sprintf("INSERT INTO two VALUES ('%d', 1, %d) ON CONFLICT (a, b) DO UPDATE SET v = two.v + 1", id%5, other%5),
		fmt.Sprintf("UPDATE two SET a = a + 100 WHERE a = %d AND NOT EXISTS (SELECT FROM two x WHERE x.a = %d)", other%5, other%5+100),
		fmt.Sprintf("DELETE FROM two WHERE a = %d", other%5),
		fmt.Sprintf("INSERT INTO nokey VALUES (%d, 'NaN', '{\"a\":1}', '(1,2)', 1.0), (%d, -0.0, NULL, NULL, 1.00), (NULL, NULL, NULL, NULL, NULL)", id%3, id%3),
		fmt.Sprintf("DELETE FROM nokey WHERE ctid IN (SELECT ctid FROM nokey WHERE a = %d LIMIT 1)", id%3),
		"UPDATE nokey SET n = n + 1 WHERE ctid IN (SELECT ctid FROM nokey ORDER BY random() LIMIT 2)",
		fmt.Sprintf("INSERT INTO fullkey VALUES (%d, 'v', %s) ON CONFLICT DO NOTHING", id, big),
		fmt.Sprintf("UPDATE fullkey SET v = v || 'y', id = %d WHERE id = %d", other, id),
		fmt.Sprintf("UPDATE fullkey SET v = '%d' WHERE id %% 4 = %d", u, id%4),
		fmt.Sprintf("DELETE FROM fullkey WHERE id = %d", id),
		fmt.Sprintf("INSERT INTO excl VALUES (%d, '[%d,%d)') ON CONFLICT DO NOTHING", id, u, u+2),
		fmt.Sprintf("DELETE FROM excl WHERE id = %d; INSERT INTO excl VALUES (%d, '[%d,%d)') ON CONFLICT DO NOTHING", id, other, u, u+3),
		fmt.Sprintf("UPDATE excl SET r = NULL WHERE id = %d; UPDATE excl SET r = '[%d,%d)' WHERE id = %d AND NOT EXISTS (SELECT FROM excl e WHERE e.r && '[%d,%d)')", id, u, u+4, other, u, u+4),
		fmt.Sprintf("INSERT INTO defer VALUES (%d, %d) ON CONFLICT (id) DO UPDATE SET u = excluded.u", id, 1000+id),
		"UPDATE defer SET u = 2039 - u",
		fmt.Sprintf("INSERT INTO parts VALUES (%d, %d, 'p') ON CONFLICT DO NOTHING", id, u%10),
		fmt.Sprintf("UPDATE parts SET k = %d WHERE id = %d AND NOT EXISTS (SELECT FROM parts x WHERE x.id = %d AND x.k = %d)", other%10, id, id, other%10),
		fmt.Sprintf("DELETE FROM parts WHERE k = %d", u%10),
		"SAVEPOINT s; DELETE FROM keyed; ROLLBACK TO s",
	}
	if r.IntN(200) == 0 {
		return "TRUNCATE two, excl"
	}
	return list[r.IntN(len(list))]
}

// work runs random transactions at a source until ctx ends or n are done. The
// transactions are those of one session, so that they do not wait for each other.
func work(t testing.TB, d *pgtest.Database, seed uint64, n int) {
	r := rand.New(rand.NewPCG(seed, 1))
	conn := d.Connect(t)
	for i := range n {
		var b strings.Builder
		b.WriteString("BEGIN;")
		for range 1 + r.IntN(6) {
			b.WriteString(randomStatement(r))
			b.WriteString(";")
		}
		if r.IntN(10) == 0 {
			b.WriteString("ROLLBACK")
		} else {
			b.WriteString("COMMIT")
		}
		_, err := conn.PgConn().Exec(t.Context(), b.String()).ReadAll()
		var server *pgconn.PgError
		if err != nil && !errors.As(err, &server) {
			t.Errorf("transaction %d: %v", i, err)
			return
		}
		if err != nil {
			if class := server.Code[:2]; class != "23" && class != "40" {
				t.Fatalf("%s: %v", b.String(), err)
			}
			_, _ = conn.PgConn().Exec(t.Context(), "ROLLBACK").ReadAll()
		}
	}
}

// TestRandomWorkloadCut is the same through a connection that is cut all the
// time, to another version.
func TestRandomWorkloadCut(t *testing.T) {
	t.Parallel()
	to := pgtest.Shared(t, pgtest.Newer(t).Major)
	src := pgtest.Shared(t, 0).CreateDatabase(t)
	src.Exec(t, workloadDDL)
	dst := destination(t, to, workloadDDL)
	p := newPair(t, src, false)
	p.to(dst)
	proxy := to.Proxy(t)
	p.opts.Destinations[0] = through(dst, 0, proxy)
	p.opts.GroupRows = 50
	l := p.start()
	r := rand.New(rand.NewPCG(3, 3))
	for seed := range uint64(12) {
		proxy.CutAfter(pgtest.Direction(r.IntN(2)), 1+r.Int64N(8000))
		work(t, src, seed, 25)
	}
	p.catchesUp(l)
	l.stop()
	for name, s := range p.tables.stopped {
		t.Errorf("%s is stopped: %s\nDETAIL: %s", name, s.err.Message, s.err.Detail)
	}
	compareRows(t, src, dst, workloadTables...)
}

func TestRandomWorkload(t *testing.T) {
	t.Parallel()
	for _, binary := range []bool{false, true} {
		for _, rows := range []int{10_000, 7} {
			t.Run(fmt.Sprintf("binary=%t,group=%d", binary, rows), func(t *testing.T) {
				t.Parallel()
				c := pgtest.Shared(t, 0)
				src := c.CreateDatabase(t)
				src.Exec(t, workloadDDL)
				dst := destination(t, c, workloadDDL)
				p := newPair(t, src, binary)
				p.to(dst)
				p.opts.GroupRows = rows
				l := p.start()
				work(t, src, uint64(rows), 400)
				p.catchesUp(l)
				l.stop()
				for name, s := range p.tables.stopped {
					t.Errorf("%s is stopped: %s\nDETAIL: %s", name, s.err.Message, s.err.Detail)
				}
				compareRows(t, src, dst, workloadTables...)
				t.Logf("%+v", l.a.Stats())
			})
		}
	}
}

package resync_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/resync"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// weird is a name that needs all quoting there is.
const weird = `Weird "Name" $1 \ '`

var weirdQuoted = pgtest.Quote(weird)

// patient waits for locks as long as a busy machine may need.
var patient = resync.Patience{LockTimeout: 20 * time.Second}

// database is a shard of a destination.
type database struct {
	*pgtest.Database
	server config.Server
}

// everywhere runs a test on the oldest and the newest server there is.
func everywhere(t *testing.T, test func(t *testing.T, major int)) {
	majors := pgtest.Majors(t)
	for i, m := range majors {
		if i == 0 || i == len(majors)-1 {
			t.Run(fmt.Sprint(m.Major), func(t *testing.T) {
				t.Parallel()
				test(t, m.Major)
			})
		}
	}
}

func newDatabase(t testing.TB, major int, sql ...string) *database {
	t.Helper()
	return prepare(t, pgtest.Shared(t, major).CreateDatabase(t), sql...)
}

func prepare(t testing.TB, d *pgtest.Database, sql ...string) *database {
	t.Helper()
	d.Exec(t, "CREATE SCHEMA pgdrover;"+resync.ForeignKeysTable)
	for _, s := range sql {
		d.Exec(t, s)
	}
	return &database{d, config.Server{
		Cluster: "dest", Host: d.Cluster.Host(), Port: d.Cluster.Port(), Database: d.Name, User: d.Cluster.Superuser(),
		Password: config.Secret(d.Cluster.Password()), TLSVerify: config.TLSDisabled, ConnectTimeout: time.Minute,
	}}
}

func (d *database) open(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := connect.Open(t.Context(), d.server, "resync")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // it may be broken on purpose
	return conn
}

var pgDump struct {
	sync.Mutex
	of map[int]dump.Binary
}

// archive dumps the database, without what resyncs have made unless all is wanted.
func (d *database) archive(t testing.TB, all bool) *dump.Archive {
	t.Helper()
	major := d.Cluster.Installation().Major
	pgDump.Lock()
	binary, found := pgDump.of[major]
	if !found {
		path, err := d.Cluster.Installation().Tool("pg_dump")
		if err != nil {
			t.Fatal(err)
		}
		finding, err := dump.Find(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if binary, err = dump.Choose(finding, []dump.Need{{Major: major, Of: "the test"}}); err != nil {
			t.Fatal(err)
		}
		if pgDump.of == nil {
			pgDump.of = map[int]dump.Binary{}
		}
		pgDump.of[major] = binary
	}
	pgDump.Unlock()
	o := dump.Options{Server: d.server, ExcludeSchemas: []string{"pgdrover"}}
	if !all {
		conn := d.open(t)
		left, err := resync.Leftovers(t.Context(), conn)
		_ = conn.Close(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range left {
			o.ExcludeSchemas = append(o.ExcludeSchemas, l.Schema)
		}
	}
	archive, err := binary.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// schema is everything that pg_dump tells of the database.
func (d *database) schema(t testing.TB) map[string]string {
	t.Helper()
	archive := d.archive(t, false)
	out := map[string]string{}
	for i, key := range archive.Keys() {
		e := archive.Entries[i]
		if e.Kind == dump.KindSchema && strings.HasPrefix(e.Tag, "pgdrover_") {
			continue
		}
		out[fmt.Sprintf("%s %s %s %s %d", key.Kind, key.Namespace, key.Tag, key.Detail, key.Ordinal)] =
			fmt.Sprintf("%s\nowner %s tablespace %s method %s", e.Definition, e.Owner, e.Tablespace, e.AccessMethod)
	}
	return out
}

func same(t testing.TB, what string, before, after any) {
	t.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("%s (-before +after):\n%s", what, diff)
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		e := pgerror.From(err)
		t.Fatalf("%s\nDETAIL: %s\nHINT: %s", e.Message, e.Detail, e.Hint)
	}
}

func name(schema, table string) catalog.Name { return catalog.Name{Schema: schema, Name: table} }

func public(table string) catalog.Name { return name("public", table) }

func quoted(n catalog.Name) string { return pgtest.Quote(n.Schema, n.Name) }

// columns gives the columns of a table that are written, quoted.
func (d *database) columns(t testing.TB, table catalog.Name) string {
	t.Helper()
	return pgtest.Value[string](t, d.Database, `SELECT coalesce(string_agg(quote_ident(attname), ', ' ORDER BY attnum), '') FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''`, quoted(table))
}

// fill copies the rows of one table into another, as sync/copy would.
func (d *database) fill(t testing.TB, from, to catalog.Name) {
	t.Helper()
	columns := d.columns(t, from)
	into := "(" + columns + ") OVERRIDING SYSTEM VALUE"
	if columns == "" {
		into = ""
	}
	only := "ONLY "
	if pgtest.Value[string](t, d.Database, `SELECT relkind::text FROM pg_class WHERE oid = $1::regclass`, quoted(from)) == "p" {
		only = ""
	}
	d.Exec(t, fmt.Sprintf("SET session_replication_role = replica; SET row_security = off; INSERT INTO %s %s SELECT %s FROM %s%s", quoted(to), into, columns, only, quoted(from)))
}

// rowsOf gives all rows of a table as text, sorted.
func (d *database) rowsOf(t testing.TB, table catalog.Name) []string {
	t.Helper()
	return d.Rows(t, fmt.Sprintf(`SELECT x::text FROM %s x ORDER BY x::text COLLATE "C"`, quoted(table)))
}

// breaker cuts a connection when it is about to send its n-th message, or just
// after its n-th COMMIT was answered: what a killed process looks like to the server.
type breaker struct {
	at      int64
	commits bool
	seen    atomic.Int64
	commit  bool
	cut     bool
}

func (b *breaker) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	b.commit = data.SQL == "commit"
	if !b.commits && b.seen.Add(1) == b.at {
		b.breakNow(conn)
	}
	return ctx
}

func (b *breaker) TraceQueryEnd(_ context.Context, conn *pgx.Conn, _ pgx.TraceQueryEndData) {
	if b.commits && b.commit && b.seen.Add(1) == b.at {
		b.breakNow(conn)
	}
}

func (b *breaker) breakNow(conn *pgx.Conn) {
	b.cut = true
	_ = conn.PgConn().Conn().Close()
}

// openBreaking is open for a connection that breaks at its n-th statement.
func (d *database) openBreaking(t testing.TB, at int, commits bool) (*pgx.Conn, *breaker) {
	t.Helper()
	cfg, err := connect.Config(d.server, "killed")
	if err != nil {
		t.Fatal(err)
	}
	b := &breaker{at: int64(at), commits: commits}
	cfg.Tracer = b
	cfg.RuntimeParams["search_path"] = ""
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn, b
}

// quiet waits until no session of a cut connection works any more.
func (d *database) quiet(t testing.TB) {
	t.Helper()
	d.WaitUntil(t, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pgdrover killed' AND datname = current_database())`)
}

// killing runs do with connections that break at the first message, the second and so
// on, until one runs through, and then with ones that break after each COMMIT. check
// is called after every break, and makes things as they were before.
func (d *database) killing(t *testing.T, most int, do func(conn *pgx.Conn) error, check func(step int)) {
	t.Helper()
	for _, commits := range []bool{false, true} {
		for step := 1; ; step++ {
			if step > most {
				t.Fatalf("still not through after %d messages", most)
			}
			conn, b := d.openBreaking(t, step, commits)
			err := do(conn)
			_ = conn.Close(context.Background())
			d.quiet(t)
			if err == nil && !b.cut {
				break
			}
			if err == nil && !commits {
				t.Fatalf("message %d could not be sent, and there was no error", step)
			}
			check(step)
			if t.Failed() {
				t.Fatalf("broken at message %d", step)
			}
		}
	}
}

// relations is what the catalogs say of tables, views and what hangs on them: less
// than schema, and faster.
func (d *database) relations(t testing.TB) []string {
	t.Helper()
	return d.Rows(t, `SET search_path = '';
SELECT * FROM (SELECT c.oid::regclass AS rel, a.attnum - (SELECT count(*) FROM pg_catalog.pg_attribute g WHERE g.attrelid = c.oid AND g.attnum > 0 AND g.attnum < a.attnum AND g.attisdropped) AS place, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, pg_get_expr(e.adbin, e.adrelid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef e ON e.adrelid = c.oid AND e.adnum = a.attnum
WHERE n.nspname NOT LIKE 'pg%' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
UNION ALL SELECT k.conrelid::regclass, 0, k.conname, pg_get_constraintdef(k.oid), k.convalidated, '', '' FROM pg_constraint k LEFT JOIN pg_constraint p ON p.oid = k.conparentid
WHERE k.conrelid <> 0 AND p.conrelid IS DISTINCT FROM k.conrelid
UNION ALL SELECT i.indrelid::regclass, 0, i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), i.indisvalid, '', '' FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace::regnamespace::text NOT LIKE 'pg%'
UNION ALL SELECT v.oid::regclass, 0, '', pg_get_viewdef(v.oid), true, '', '' FROM pg_class v WHERE v.relkind IN ('v', 'm') AND v.relnamespace::regnamespace::text NOT LIKE 'pg%' AND v.relnamespace::regnamespace::text <> 'information_schema'
UNION ALL SELECT r.prrelid::regclass, 0, p.pubname, 'published', true, '', '' FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL SELECT d.refobjid::regclass, d.refobjsubid, d.objid::regclass::text, 'owns', true, d.deptype, '' FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid WHERE d.refclassid = 'pg_catalog.pg_class'::regclass) x
ORDER BY rel::text, 2, 3, 4`)
}

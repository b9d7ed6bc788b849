package copy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/shard"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// weird is a name that needs all quoting there is.
const weird = `Weird "Name" $1 \ '`

const state = `
CREATE SCHEMA pgdrover;
CREATE TABLE pgdrover.copied (mirror text NOT NULL, shard integer NOT NULL, schema_name text NOT NULL, table_name text NOT NULL, snapshot pg_lsn NOT NULL,
    range integer NOT NULL, rows bigint NOT NULL, bytes bigint NOT NULL, PRIMARY KEY (mirror, shard, schema_name, table_name, snapshot, range));`

// pair is a source and the shards of a destination, with the publication pub
// of all tables and what a mirror needs.
type pair struct {
	source  *pgtest.Database
	targets []*pgtest.Database
	servers []config.Server // of targets
	from    config.Server
	plan    copy.PlanOptions
	router  *shard.Router
	text    bool
	options copy.Options

	mu     sync.Mutex
	done   []string
	failed map[string]*pgerror.Error
	ranges []*copy.Range // done
	rows   int64         // told as progress
	bytes  int64
}

func server(d *pgtest.Database) config.Server {
	return config.Server{
		Cluster: "prod", Host: d.Cluster.Host(), Port: d.Cluster.Port(), Database: d.Name, User: d.Cluster.Superuser(),
		Password: config.Secret(d.Cluster.Password()), TLSVerify: config.TLSDisabled, ConnectTimeout: time.Minute,
	}
}

// newPair makes the databases and runs sql on all of them.
func newPair(t testing.TB, shards int, sql ...string) *pair {
	t.Helper()
	cluster := pgtest.Shared(t, 0)
	targets := make([]*pgtest.Database, shards)
	for i := range targets {
		targets[i] = cluster.CreateDatabase(t)
	}
	return pairOf(t, cluster.CreateDatabase(t), targets, sql...)
}

func pairOf(t testing.TB, source *pgtest.Database, targets []*pgtest.Database, sql ...string) *pair {
	t.Helper()
	p := &pair{source: source, targets: targets, from: server(source), failed: map[string]*pgerror.Error{}}
	p.plan = copy.PlanOptions{Workers: 2, VersionNum: pgtest.Value[int](t, source, "SELECT current_setting('server_version_num')::int"), MinBytes: 64 << 10, MaxBytes: 256 << 10}
	p.source.Exec(t, "CREATE PUBLICATION pub FOR ALL TABLES WITH (publish = 'insert', publish_via_partition_root = true)")
	for i, d := range targets {
		d.Exec(t, state)
		p.servers = append(p.servers, server(d))
		p.servers[i].Shard = i
	}
	for _, s := range sql {
		p.both(t, s)
	}
	p.options = copy.Options{
		Mirror: "a mirror's " + weird, SourceShard: 3, MinDelay: time.Millisecond,
		Progress: func(r *copy.Range, rows, bytes int64) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.rows += rows
			p.bytes += bytes
		},
		RangeDone: func(r *copy.Range) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.ranges = append(p.ranges, r)
		},
		TableDone:   func(table *copy.Table, _ copy.LSN) { p.done = append(p.done, table.Source.Table.Name) },
		TableFailed: func(table *copy.Table, err *pgerror.Error) { p.failed[table.Source.Table.Name] = err },
	}
	return p
}

// both runs sql on the source and on every shard.
func (p *pair) both(t testing.TB, sql string) {
	t.Helper()
	for _, d := range append([]*pgtest.Database{p.source}, p.targets...) {
		d.Exec(t, sql)
	}
}

// shardBy makes the router of one entry of [[sharded_tables]] and more.
func (p *pair) shardBy(t testing.TB, column, dataType string, mapping ...config.Mapping) {
	t.Helper()
	cfg := &config.Config{ShardedTables: []config.ShardedTable{{Database: "dest", Column: column, DataType: dataType, Mapping: mapping}}}
	router, err := shard.NewRouter(cfg, "dest", len(p.targets))
	if err != nil {
		t.Fatal(err)
	}
	p.router = router
}

func open(t testing.TB, s config.Server) *pgx.Conn {
	t.Helper()
	conn, err := connect.Open(t.Context(), s, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// snapshot exports one, which lives until the test ends or its connection is closed.
func (p *pair) snapshot(t testing.TB) (copy.Source, *pgx.Conn) {
	t.Helper()
	conn := open(t, server(p.source))
	s := copy.Source{Server: p.from, Workers: 2}
	if _, err := conn.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ"); err != nil {
		t.Fatal(err)
	}
	var lsn string
	if err := conn.QueryRow(t.Context(), "SELECT pg_export_snapshot(), pg_current_wal_insert_lsn()::text").Scan(&s.Snapshot, &lsn); err != nil {
		t.Fatal(err)
	}
	if err := s.LSN.Scan(lsn); err != nil {
		t.Fatal(err)
	}
	return s, conn
}

func columnTypes(relations ...*catalog.Relation) []uint32 {
	var oids []uint32
	for _, r := range relations {
		for _, c := range r.Columns {
			oids = append(oids, c.Type)
		}
	}
	return oids
}

// look reads the catalogs and decides how each published table is copied.
func (p *pair) look(t testing.TB) ([]*copy.Table, map[string]*pgerror.Error) {
	t.Helper()
	return p.lookAs(t, server(p.source), server(p.targets[0]))
}

func (p *pair) lookAs(t testing.TB, from, to config.Server) ([]*copy.Table, map[string]*pgerror.Error) {
	t.Helper()
	source, destination := open(t, from), open(t, to)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	publication, ok, err := catalog.ReadPublication(t.Context(), source, "pub")
	must(err)
	if !ok {
		t.Fatal("there is no publication")
	}
	var names []catalog.Name
	for _, table := range publication.Tables {
		names = append(names, table.Table)
	}
	here, err := catalog.ReadRelations(t.Context(), source, names)
	must(err)
	there, err := catalog.ReadRelations(t.Context(), destination, names)
	must(err)
	leaves, err := copy.ReadLeaves(t.Context(), source, names)
	must(err)
	fromTypes, err := catalog.ReadTypes(t.Context(), source, columnTypes(values(here)...))
	must(err)
	toTypes, err := catalog.ReadTypes(t.Context(), destination, columnTypes(values(there)...))
	must(err)
	var tables []*copy.Table
	refused := map[string]*pgerror.Error{}
	for _, published := range publication.Tables {
		table, refusal := copy.NewTable(copy.TableOptions{
			Published: published, Source: here[published.Table], Leaves: leaves[published.Table], Destination: there[published.Table],
			SourceTypes: fromTypes, DestinationTypes: toTypes, Key: p.key(t, here[published.Table], published, fromTypes), Text: p.text,
		})
		if refusal != nil {
			refused[published.Table.Name] = refusal
			continue
		}
		tables = append(tables, table)
	}
	return tables, refused
}

func (p *pair) key(t testing.TB, r *catalog.Relation, published catalog.PublishedTable, types catalog.Types) *shard.Key {
	t.Helper()
	if p.router == nil || r == nil {
		return nil
	}
	var columns []shard.Column
	for _, name := range published.Columns {
		c := r.Columns[r.Position(name)]
		base := c.Type
		for types[base].Kind == 'd' {
			base = types[base].Base
		}
		columns = append(columns, shard.Column{Name: name, Type: base, TypeName: c.TypeText})
	}
	key, err := p.router.Table(r.Table.Schema, r.Table.Name, columns)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func values[K comparable, V any](m map[K]V) []V {
	var out []V
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// copier makes a copier of everything, which reads in a snapshot.
func (p *pair) copier(t testing.TB, source copy.Source, tables []*copy.Table) *copy.Copier {
	t.Helper()
	p.options.Sources, p.options.Destinations = []copy.Source{source}, p.servers
	return copy.New(tables, copy.Plan(tables, p.plan), p.options)
}

// run copies everything in a new snapshot; what is refused ends the test.
func (p *pair) run(t testing.TB) error {
	t.Helper()
	source, _ := p.snapshot(t)
	return p.runIn(t, source)
}

func (p *pair) runIn(t testing.TB, source copy.Source) error {
	t.Helper()
	tables, refused := p.look(t)
	for name, err := range refused {
		t.Fatalf("%s: %s: %s", name, err.Code, err.Message)
	}
	return p.copier(t, source, tables).Run(t.Context())
}

// mustRun is run when nothing may fail.
func (p *pair) mustRun(t testing.TB) {
	t.Helper()
	p.succeed(t, p.run(t))
}

func (p *pair) succeed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, pgerror.From(err).Detail)
	}
	for name, err := range p.failed {
		t.Errorf("%s: %s: %s\n%s\n%s", name, err.Code, err.Message, err.Detail, err.Hint)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// same checks that a query gives the same rows, in any order, on the source and
// on all shards together.
func (p *pair) same(t testing.TB, sql string) {
	t.Helper()
	want := p.source.Rows(t, sql)
	var got []string
	for _, d := range p.targets {
		got = append(got, d.Rows(t, sql)...)
	}
	sameRows(t, sql, want, got)
}

// sameEverywhere checks that a query gives the same rows on each shard.
func (p *pair) sameEverywhere(t testing.TB, sql string) {
	t.Helper()
	want := p.source.Rows(t, sql)
	for _, d := range p.targets {
		sameRows(t, sql, slices.Clone(want), d.Rows(t, sql))
	}
}

func sameRows(t testing.TB, sql string, want, got []string) {
	t.Helper()
	slices.Sort(want)
	slices.Sort(got)
	if slices.Equal(want, got) {
		return
	}
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Fatalf("%s: %d rows, want %d; the first that differs is\n%.500s\nwant\n%.500s", sql, len(got), len(want), got[i], want[i])
		}
	}
	t.Fatalf("%s: %d rows, want %d", sql, len(got), len(want))
}

func quoted(sql string) string { return strings.ReplaceAll(sql, "@", pgtest.Quote(weird)) }

func fill(rows int) string {
	return fmt.Sprintf("INSERT INTO t SELECT i, 'row ' || i, md5(i::text) FROM generate_series(1, %d) AS i", rows)
}

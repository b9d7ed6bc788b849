package pgtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestDatabasesAreSeparateAndDropped(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	var names []string
	outer := t // sessions opened for it are still open when the databases are dropped
	t.Run("use", func(t *testing.T) {
		for _, d := range []*pgtest.Database{
			c.CreateDatabase(t),
			c.CreateDatabase(t, "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"),
			c.CreateNamedDatabase(t, `Weird "Name" $1`),
		} {
			names = append(names, d.Name)
			d.Exec(t, "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE PUBLICATION p FOR TABLE t")
			d.Exec(t, "INSERT INTO t VALUES ($1)", 3)
			if got := pgtest.Value[string](t, d, "SELECT current_database()"); got != d.Name {
				t.Errorf("connected to %q, want %q", got, d.Name)
			}
			if got := pgtest.Column[int](t, d, "SELECT i FROM t ORDER BY i"); !slices.Equal(got, []int{1, 2, 3}) {
				t.Errorf("column: %v", got)
			}
			if got := d.Rows(t, "SELECT i, NULL, 'x' FROM t ORDER BY i"); !slices.Equal(got, []string{"1||x", "2||x", "3||x"}) {
				t.Errorf("rows: %q", got)
			}
			d.WaitUntil(t, "SELECT count(*) = 3 FROM t")
			// What would forbid dropping it: a slot, a session, a subscription.
			d.Exec(t, fmt.Sprintf("SELECT pg_create_logical_replication_slot('slot_%[1]d', 'pgoutput'), pg_create_logical_replication_slot('idle_%[1]d', 'pgoutput')", len(names)))
			stream(outer, d, fmt.Sprintf("slot_%d", len(names)))
			d.Exec(t, fmt.Sprintf(`CREATE SUBSCRIPTION "Sub %d" CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false)`, len(names)))
			d.Connect(outer)
		}
	})
	left := pgtest.Value[int](t, c.Database("postgres"), "SELECT count(*) FROM pg_database WHERE datname = ANY($1)", names)
	if left != 0 {
		t.Errorf("%d of %q are left", left, names)
	}
}

func TestLoadFile(t *testing.T) {
	t.Parallel()
	for _, inst := range pgtest.Majors(t) {
		d := pgtest.Shared(t, inst.Major).CreateDatabase(t)
		path := filepath.Join(t.TempDir(), "a b.sql")
		if err := os.WriteFile(path, []byte("\\set n 4\nCREATE TABLE t AS SELECT :n AS i;\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d.LoadFile(t, path)
		if got := pgtest.Value[int](t, d, "SELECT i FROM t"); got != 4 {
			t.Errorf("PostgreSQL %d: i = %d, want 4", inst.Major, got)
		}
	}
}

func TestNewer(t *testing.T) {
	t.Parallel()
	base, newer := pgtest.Base(t), pgtest.Newer(t)
	if base.Major >= newer.Major {
		t.Errorf("base %d, newer %d", base.Major, newer.Major)
	}
	source, destination := pgtest.Start(t, pgtest.Options{Installation: base}), pgtest.Start(t, pgtest.Options{Installation: newer})
	for _, c := range []*pgtest.Cluster{source, destination} {
		if got := pgtest.Value[int](t, c.Database("postgres"), "SELECT current_setting('server_version_num')::int / 10000"); got != c.Installation().Major {
			t.Errorf("server %d, want %d", got, c.Installation().Major)
		}
	}
}

func TestSmallTablespaceFillsUp(t *testing.T) {
	t.Parallel()
	for _, inst := range pgtest.Majors(t) {
		t.Run(fmt.Sprint(inst.Major), func(t *testing.T) {
			c := pgtest.Start(t, pgtest.Options{Installation: inst})
			d := c.CreateDatabase(t, "TABLESPACE", c.SmallTablespace(t, 24<<20))
			d.Exec(t, "CREATE TABLE t (text text)")
			err := d.TryExec(t.Context(), "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 50000)")
			if code := pgerror.From(err).Code; code != pgerror.DiskFull {
				t.Errorf("SQLSTATE %s (%v), want %s", code, err, pgerror.DiskFull)
			}
			if c.State() != pgcluster.Running || pgtest.Value[int](t, d, "SELECT count(*) FROM t") != 0 {
				t.Error("the server did not survive the full disk")
			}
		})
	}
}

// stream reads from a slot until its connection is ended.
func stream(t *testing.T, d *pgtest.Database, slot string) {
	t.Helper()
	config, err := pgconn.ParseConfig(d.DSN())
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	conn.Frontend().SendQuery(&pgproto3.Query{String: fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names 'p')", slot)})
	if err := conn.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	message, err := conn.ReceiveMessage(t.Context())
	if _, ok := message.(*pgproto3.CopyBothResponse); !ok || err != nil {
		t.Fatalf("start replication: %T, %v", message, err)
	}
}

// connectThrough opens a session through the proxy.
func connectThrough(t *testing.T, p *pgtest.Proxy, d *pgtest.Database) (*pgconn.PgConn, error) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=postgres sslmode=disable dbname='%s' connect_timeout=30", p.Host(), p.Port(), d.Name))
	if err == nil {
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	return conn, err
}

func mustConnect(t *testing.T, p *pgtest.Proxy, d *pgtest.Database) *pgconn.PgConn {
	t.Helper()
	conn, err := connectThrough(t, p, d)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func exec(t *testing.T, conn *pgconn.PgConn, sql string) error {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql).ReadAll()
	return err
}

func TestProxyCutAndRefuse(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	p := d.Cluster.Proxy(t)
	first, second := mustConnect(t, p, d), mustConnect(t, p, d)
	p.Refuse()
	if err := exec(t, first, "SELECT 1"); err != nil {
		t.Errorf("an open connection after Refuse: %v", err)
	}
	if _, err := connectThrough(t, p, d); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect after Refuse: %v", err)
	}
	p.Cut()
	for _, conn := range []*pgconn.PgConn{first, second} {
		if err := exec(t, conn, "SELECT 1"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("after Cut: %v", err)
		}
	}
	port := p.Port()
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	if p.Port() != port {
		t.Errorf("port %d, was %d", p.Port(), port)
	}
	if err := exec(t, mustConnect(t, p, d), "SELECT 1"); err != nil {
		t.Errorf("after Accept: %v", err)
	}
	pgtest.Eventually(t, "one connection is left", func(context.Context) (bool, error) { return p.Connections() == 1, nil })
}

func TestProxyBlackhole(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	d.Exec(t, "CREATE TABLE t (i int)")
	p := d.Cluster.Proxy(t)
	conn := mustConnect(t, p, d)
	p.Blackhole(true)
	answered := make(chan error, 1)
	go func() { answered <- exec(t, conn, "INSERT INTO t VALUES (1)") }()
	held := func(context.Context) (bool, error) { return p.Held(), nil }
	pgtest.Eventually(t, "the statement is in the black hole", held)
	select {
	case err := <-answered:
		t.Fatalf("an answer came out of the black hole: %v", err)
	default:
	}
	if n := pgtest.Value[int](t, d, "SELECT count(*) FROM t"); n != 0 {
		t.Fatal("a statement passed the black hole")
	}
	p.Blackhole(false)
	if err := <-answered; err != nil {
		t.Fatalf("after the black hole: %v", err)
	}
	if n := pgtest.Value[int](t, d, "SELECT count(*) FROM t"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	p.Blackhole(true)
	go func() { answered <- exec(t, conn, "SELECT 1") }()
	pgtest.Eventually(t, "the statement is in the black hole", held)
	p.Cut()
	if err := <-answered; err == nil {
		t.Error("Cut in a black hole: no error")
	}
}

func TestProxyRules(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		arm  func(*pgtest.Proxy) <-chan struct{}
		want int // rows in the table afterwards
	}{
		"before commit":   {func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore("COMMIT") }, 0},
		"commit's reply":  {func(p *pgtest.Proxy) <-chan struct{} { return p.CutReply("COMMIT", "COMMIT") }, 1},
		"any reply":       {func(p *pgtest.Proxy) <-chan struct{} { return p.CutReply("COMMIT", "") }, 1},
		"bytes to server": {func(p *pgtest.Proxy) <-chan struct{} { return p.CutAfter(pgtest.ToServer, 45) }, 0},
		"bytes to client": {func(p *pgtest.Proxy) <-chan struct{} { return p.CutAfter(pgtest.ToClient, 1) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := pgtest.Shared(t, 0).CreateDatabase(t)
			d.Exec(t, "CREATE TABLE t (i int)")
			p := d.Cluster.Proxy(t)
			conn := mustConnect(t, p, d)
			pid := conn.PID()
			fired := test.arm(p)
			var err error
			for _, sql := range []string{"BEGIN", "INSERT INTO t VALUES (1)", "COMMIT"} {
				if err = exec(t, conn, sql); err != nil {
					break
				}
			}
			if err == nil {
				t.Fatal("no error")
			}
			<-fired
			d.WaitUntil(t, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1", pid)
			if n := pgtest.Value[int](t, d, "SELECT count(*) FROM t"); n != test.want {
				t.Errorf("%d rows, want %d (%v)", n, test.want, err)
			}
			if err := exec(t, mustConnect(t, p, d), "COMMIT"); err != nil {
				t.Errorf("a rule acted twice: %v", err)
			}
		})
	}
}

// A text is found although it arrives byte by byte.
func TestProxyMatchesAcrossReads(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	behind := d.Cluster.Proxy(t)
	fired := behind.CutBefore("needle")
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=postgres sslmode=disable dbname='%s'", behind.Host(), behind.Port(), d.Name))
	if err != nil {
		t.Fatal(err)
	}
	config.DialFunc = dialByteByByte
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 'haystack'"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 'needle'"); err == nil {
		t.Error("the needle passed")
	}
	<-fired
}

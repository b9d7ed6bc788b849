package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/proxy"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/relay"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds every wait for something that must happen.
const patience = 3 * time.Minute

// modes are the pool modes.
var modes = []config.PoolerMode{config.ModeTransaction, config.ModeSession, config.ModeStatement}

// noAdmin serves no admin database.
type noAdmin struct{}

func (noAdmin) ServeSession(context.Context, proxy.Session) error { return nil }

// lockedBuffer is a log that tests read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// stand is a proxy before a real server.
type stand struct {
	t        *testing.T
	proxy    *proxy.Server
	relay    *relay.Relay
	pools    *pool.Pools
	database *pgtest.Database
	address  *net.TCPAddr
	current  atomic.Pointer[config.Config]
	log      *lockedBuffer
}

// setup is what a stand is made of.
type setup struct {
	mode    config.PoolerMode
	general string // further lines of [general]
	user    string // further lines of the user's entry
	host    string // instead of the server's
	port    int
}

// newStand runs a proxy to a database of its own until the test ends. The user is
// postgres, trusted; the database is app.
func newStand(t *testing.T, o setup) *stand {
	t.Helper()
	cluster := pgtest.Shared(t, 0)
	return standOn(t, cluster.CreateDatabase(t), o)
}

func standOn(t *testing.T, d *pgtest.Database, o setup) *stand {
	t.Helper()
	s := &stand{t: t, database: d, log: &lockedBuffer{}}
	s.configure(o)
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.pools = pool.New(pool.Options{Config: s.current.Load, Logger: log})
	r := relay.New(relay.Options{Config: s.current.Load, Pools: s.pools, Logger: log})
	server, err := proxy.New(proxy.Options{Config: s.current.Load, Admin: noAdmin{}, Relay: r, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	s.proxy, s.relay = server, r
	address, err := server.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.address = address.(*net.TCPAddr)
	ctx, stop := context.WithCancel(context.Background())
	serving, stopServing := context.WithCancel(context.Background())
	var running, listening sync.WaitGroup
	running.Go(func() {
		if err := s.pools.Run(ctx); err != nil {
			t.Errorf("run pools: %v", err)
		}
	})
	running.Go(func() { r.Run(ctx) })
	listening.Go(func() {
		if err := server.Serve(serving); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		stopServing()
		listening.Wait()
		stop()
		running.Wait()
		if strings.Contains(s.log.String(), "panic") {
			t.Error("something has panicked")
		}
		if t.Failed() {
			t.Log(s.log.String())
		}
	})
	return s
}

// configure puts a configuration in force.
func (s *stand) configure(o setup) {
	s.t.Helper()
	host, port := s.database.Cluster.Host(), s.database.Cluster.Port()
	if o.host != "" {
		host, port = o.host, o.port
	}
	if o.mode == "" {
		o.mode = config.ModeTransaction
	}
	main := fmt.Sprintf("[general]\nhost = \"127.0.0.1\"\nauth_type = \"trust\"\nshutdown_timeout = 1000\npooler_mode = %q\n%s\n[admin]\npassword = \"x\"\n"+
		"[[databases]]\nname = \"app\"\nhost = %q\nport = %d\ndatabase_name = %q\n", o.mode, o.general, host, port, s.database.Name)
	users := "[[users]]\nname = \"postgres\"\nall_databases = true\n" + o.user
	cfg, _, err := config.Parse("pgdog.toml", []byte(main), "users.toml", []byte(users), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.General.Port = 0
	s.current.Store(cfg)
}

// dsn is where to connect to; parameters are further ones of a URL.
func (s *stand) dsn(parameters string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/app?sslmode=disable&%s", s.address.Port, parameters)
}

// connect opens a connection that is closed at the end of the test.
func (s *stand) connect(parameters ...string) *pgx.Conn {
	s.t.Helper()
	c, err := pgx.ParseConfig(s.dsn(strings.Join(parameters, "&")))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.connectConfig(c)
}

func (s *stand) connectConfig(c *pgx.ConnConfig) *pgx.Conn {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		s.t.Fatalf("connect: %v", err)
	}
	s.t.Cleanup(func() { closeConn(conn.PgConn()) })
	return conn
}

func closeConn(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = conn.Close(ctx)
	select {
	case <-conn.CleanupDone():
	case <-ctx.Done():
	}
}

// value runs a query and gives the first column of its only row as text.
func value(t *testing.T, c *pgx.Conn, sql string) string {
	t.Helper()
	out, err := tryValue(t, c, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

func tryValue(t *testing.T, c *pgx.Conn, sql string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	results, err := c.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	for _, r := range results {
		if len(r.Rows) > 0 {
			return string(r.Rows[0][0]), nil
		}
	}
	return "", nil
}

// run runs SQL by the simple protocol.
func run(t *testing.T, c *pgx.Conn, sql string) {
	t.Helper()
	if _, err := tryValue(t, c, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// each runs a test in each of the modes.
func each(t *testing.T, modes []config.PoolerMode, f func(t *testing.T, mode config.PoolerMode)) {
	t.Helper()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			f(t, mode)
		})
	}
}

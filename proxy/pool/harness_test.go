package pool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// stand is pools over real servers, and the configuration that they follow.
type stand struct {
	t       testing.TB
	pools   *pool.Pools
	current atomic.Pointer[config.Config]
	log     *lockedBuffer
	ids     atomic.Uint32
}

// lockedBuffer is a log that tests read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// files are the two files of a configuration: the body of [general], and whole
// tables.
type files struct{ general, databases, users string }

// entry writes an entry of [[databases]].
func entry(name, host string, port int, database string, more ...string) string {
	return fmt.Sprintf("[[databases]]\nname = %q\nhost = %q\nport = %d\ndatabase_name = %q\n%s\n", name, host, port, database, strings.Join(more, "\n"))
}

// user writes an entry of [[users]] who may use every database.
func user(name string, more ...string) string {
	return fmt.Sprintf("[[users]]\nname = %q\nall_databases = true\nserver_user = \"postgres\"\n%s\n", name, strings.Join(more, "\n"))
}

func (f files) load(t testing.TB) *config.Config {
	t.Helper()
	main := "[general]\n" + f.general + "\n[admin]\npassword = \"x\"\n" + f.databases
	cfg, _, err := config.Parse("pgdog.toml", []byte(main), "users.toml", []byte(f.users), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// newStand makes pools and runs them until the test ends.
func newStand(t testing.TB, f files, options ...func(*pool.Options)) *stand {
	t.Helper()
	s := &stand{t: t, log: &lockedBuffer{}}
	s.current.Store(f.load(t))
	o := pool.Options{Config: s.current.Load, Logger: slog.New(slog.NewTextHandler(s.log, nil))}
	for _, change := range options {
		change(&o)
	}
	s.pools = pool.New(o)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.pools.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
		if t.Failed() {
			t.Log(s.log.String())
		}
	})
	return s
}

// single is a stand with one database, "app", and one user, "alice".
func single(t *testing.T, general string, options ...func(*pool.Options)) (*stand, *pgtest.Database) {
	t.Helper()
	c := pgtest.Shared(t, 0)
	d := c.CreateDatabase(t)
	return newStand(t, files{general, entry("app", c.Host(), c.Port(), d.Name), user("alice")}, options...), d
}

// reload puts other files in force.
func (s *stand) reload(f files) {
	s.t.Helper()
	s.current.Store(f.load(s.t))
	if err := s.pools.Reload(); err != nil {
		s.t.Fatal(err)
	}
}

// client attaches a client, which is detached at the end of the test.
func (s *stand) client(l pool.Login) *pool.Client {
	s.t.Helper()
	l.ProcessID = s.ids.Add(1)
	c, err := s.pools.Attach(s.t.Context(), l)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Detach)
	return c
}

// alice attaches a client of the user alice and the database app.
func (s *stand) alice() *pool.Client { return s.client(pool.Login{User: "alice", Database: "app"}) }

// lent checks a server out.
func lent(t *testing.T, c *pool.Client, want ...pool.Want) *pool.Server {
	t.Helper()
	s, err := c.Checkout(t.Context(), append(want, pool.Want{})[0])
	if err != nil {
		t.Fatalf("check out: %v", err)
	}
	return s
}

// ask runs a simple query and gives the first column of each row.
func ask(s *pool.Server, sql string) (values []string, err error) {
	frontend := pgproto3.NewFrontend(s.Conn(), s.Conn())
	frontend.Send(&pgproto3.Query{String: sql})
	if err := frontend.Flush(); err != nil {
		return nil, err
	}
	for {
		message, receiveErr := frontend.Receive()
		if receiveErr != nil {
			return nil, errors.Join(err, receiveErr)
		}
		switch m := message.(type) {
		case *pgproto3.DataRow:
			values = append(values, string(m.Values[0]))
		case *pgproto3.ParameterStatus:
			s.SetParameter(m.Name, m.Value)
		case *pgproto3.ErrorResponse:
			err = pgerror.New(m.Code, "%s", m.Message)
		case *pgproto3.ReadyForQuery:
			s.Usage.Query(int64(time.Millisecond))
			return values, err
		}
	}
}

// value is ask for one value; an error ends the test.
func value(t *testing.T, s *pool.Server, sql string) string {
	t.Helper()
	values, err := ask(s, sql)
	if err != nil || len(values) == 0 {
		t.Fatalf("%s: %v, %v", sql, values, err)
	}
	return values[0]
}

// run checks a server out, runs a query and releases it.
func run(t *testing.T, c *pool.Client, sql string, want ...pool.Want) string {
	t.Helper()
	s := lent(t, c, want...)
	v := value(t, s, sql)
	s.Release(pool.Clean)
	return v
}

// wantCode tells whether an error has a SQLSTATE.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if pgerror.Code(err) != code {
		t.Errorf("the error is %s %v, want %s", pgerror.Code(err), err, code)
	}
}

// status gives the targets of a database in SHOW POOLS.
func (s *stand) status(database string) (out []pool.Status) {
	for _, p := range s.pools.Pools() {
		if p.Database == database {
			out = append(out, p)
		}
	}
	return out
}

// until waits until the first target of app is as wanted.
func (s *stand) until(what string, is func(pool.Status) bool) {
	s.t.Helper()
	pgtest.Eventually(s.t, what, func(context.Context) (bool, error) {
		all := s.status("app")
		return len(all) > 0 && is(all[0]), nil
	})
}

// after runs f and gives a channel that has its result.
func after[T any](f func() T) <-chan T {
	out := make(chan T, 1)
	go func() { out <- f() }()
	return out
}

// pending fails if something has happened already.
func pending[T any](t *testing.T, c <-chan T, what string) {
	t.Helper()
	select {
	case v := <-c:
		t.Fatalf("%s: %v", what, v)
	default:
	}
}

var _ io.Writer = (*lockedBuffer)(nil)

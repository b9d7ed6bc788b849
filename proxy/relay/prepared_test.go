package relay_test

import (
	"fmt"
	"maps"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
)

// frontend speaks the protocol message by message.
type frontend struct {
	t *testing.T
	*pgproto3.Frontend
	conn net.Conn
}

// speak logs a client in whose messages are the test's own.
func (s *stand) speak() *frontend { return speakTo(s.t, s.dsn("")) }

// speakTo logs in where nothing is asked for. A connection of pgx does not do: when
// one of its writes takes long it reads ahead in a goroutine of its own, which would
// take answers away.
func speakTo(t *testing.T, dsn string) *frontend {
	t.Helper()
	c, err := pgconn.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	f := &frontend{t, pgproto3.NewFrontend(conn, conn), conn}
	parameters := maps.Clone(c.RuntimeParams)
	parameters["user"], parameters["database"] = c.User, c.Database
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: parameters})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if said := f.hear(1); strings.HasPrefix(said, "E") {
		t.Fatalf("log in: %s", said)
	}
	return f
}

// say sends messages and gives the answers up to so many ReadyForQuery, in short.
func (f *frontend) say(ready int, messages ...pgproto3.FrontendMessage) string {
	f.t.Helper()
	for _, m := range messages {
		f.Send(m)
	}
	if err := f.Flush(); err != nil {
		f.t.Fatal(err)
	}
	return f.hear(ready)
}

func (f *frontend) hear(ready int) string {
	f.t.Helper()
	var out []string
	for ready > 0 {
		m, err := f.Receive()
		if err != nil {
			stacks := make([]byte, 1<<20)
			f.t.Fatalf("after %q: %v\n%s", out, err, stacks[:runtime.Stack(stacks, true)])
		}
		out = append(out, short(m))
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			ready--
		}
	}
	return strings.Join(out, " ")
}

// short gives a message in short.
func short(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.ReadyForQuery:
		return strings.TrimSuffix("Z"+string(m.TxStatus), "I")
	case *pgproto3.ErrorResponse:
		return "E" + m.Code
	case *pgproto3.CommandComplete:
		return fmt.Sprintf("C[%s]", m.CommandTag)
	case *pgproto3.DataRow:
		return fmt.Sprintf("D%s", m.Values)
	case *pgproto3.ParseComplete:
		return "1"
	case *pgproto3.BindComplete:
		return "2"
	case *pgproto3.CloseComplete:
		return "3"
	case *pgproto3.NoData:
		return "n"
	case *pgproto3.ParameterDescription:
		return "t"
	case *pgproto3.RowDescription:
		return "T"
	case *pgproto3.EmptyQueryResponse:
		return "I"
	case *pgproto3.PortalSuspended:
		return "s"
	case *pgproto3.CopyInResponse:
		return "G"
	case *pgproto3.NoticeResponse:
		return "N" + m.Code
	case *pgproto3.ParameterStatus:
		return "S[" + m.Name + "]"
	}
	return fmt.Sprintf("%T", m)
}

func parse(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }
func bind(name string) *pgproto3.Bind        { return &pgproto3.Bind{PreparedStatement: name} }
func describe(name string) *pgproto3.Describe {
	return &pgproto3.Describe{ObjectType: 'S', Name: name}
}
func closing(name string) *pgproto3.Close { return &pgproto3.Close{ObjectType: 'S', Name: name} }
func query(sql string) *pgproto3.Query    { return &pgproto3.Query{String: sql} }

var (
	execute = &pgproto3.Execute{}
	syncing = &pgproto3.Sync{}
	flush   = &pgproto3.Flush{}
)

// rotate has the next transaction run on another server connection than the last: two
// others hold one in turns. It needs a pool of three.
func (s *stand) rotate() func() {
	first, second := s.connect(), s.connect()
	return func() {
		s.t.Helper()
		run(s.t, second, "BEGIN")
		run(s.t, first, "ROLLBACK")
		first, second = second, first
	}
}

// Everything here is what PostgreSQL itself answers.
func checkPrepared(t *testing.T, f *frontend, elsewhere func()) {
	say := func(want string, ready int, messages ...pgproto3.FrontendMessage) {
		t.Helper()
		if got := f.say(ready, messages...); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		elsewhere()
	}
	say("1 Z", 1, parse("zero", "SELECT 1/(random()*0)::int"), syncing)
	say("1 Z", 1, parse("a", "SELECT 'a'::text"), syncing)
	say("2 D[a] C[SELECT 1] Z", 1, bind("a"), execute, syncing)
	say("t T Z", 1, describe("a"), syncing)
	say("E42P05 Z", 1, parse("a", "SELECT 2"), syncing)
	say("3 1 2 D[b] C[SELECT 1] Z", 1, closing("a"), parse("a", "SELECT 'b'::text"), bind("a"), execute, syncing)
	say("E26000 Z", 1, bind("nobody's"), execute, syncing)
	say("E26000 Z", 1, describe("nobody's"), syncing)
	say("3 Z", 1, closing("nobody's"), syncing)
	// The statement without a name lasts until the next, or a simple query.
	say("1 Z", 1, parse("", "SELECT 'u'::text"), syncing)
	say("2 D[u] C[SELECT 1] Z", 1, bind(""), execute, syncing)
	say("2 D[u] C[SELECT 1] Z", 1, bind(""), execute, syncing)
	say("T D[1] C[SELECT 1] Z", 1, query("SELECT 1"))
	say("E26000 Z", 1, bind(""), execute, syncing)
	// What comes behind an error did not happen.
	say("E42601 Z", 1, parse("c", "SELEC"), parse("d", "SELECT 'd'::text"), syncing)
	say("E26000 Z", 1, bind("d"), execute, syncing)
	say("1 Z", 1, parse("d", "SELECT 'd'::text"), syncing)
	say("2 E22012 Z 2 D[d] C[SELECT 1] Z", 2, bind("zero"), execute, syncing, bind("d"), execute, syncing)
	say("3 Z", 1, closing("d"), syncing)
	say("E26000 Z", 1, bind("d"), syncing)
	say("1 2 D[x] C[SELECT 1] 3 1 2 D[y] C[SELECT 1] Z", 1,
		parse("x", "SELECT 'x'::text"), bind("x"), execute, closing("x"), parse("x", "SELECT 'y'::text"), bind("x"), execute, syncing)
	// In a transaction.
	say("C[BEGIN] ZT", 1, query("BEGIN"))
	say("2 D[y] C[SELECT 1] ZT", 1, bind("x"), execute, syncing)
	say("E42P05 ZE", 1, parse("x", "SELECT 2"), syncing)
	say("E25P02 ZE", 1, query("SELECT 1"))
	say("C[ROLLBACK] Z", 1, query("ROLLBACK"))
	say("2 D[y] C[SELECT 1] Z", 1, bind("x"), execute, syncing)
	// SQL's commands know them as well.
	say("C[DEALLOCATE] Z", 1, query("DEALLOCATE x"))
	say("E26000 Z", 1, bind("x"), execute, syncing)
	say("E26000 Z", 1, query("DEALLOCATE x"))
	say("1 Z", 1, parse("x", "SELECT 1"), syncing)
	say("C[DEALLOCATE ALL] Z", 1, query("DEALLOCATE ALL"))
	say("E26000 Z", 1, bind("a"), syncing)
	say("1 Z", 1, parse("x", "SELECT 1"), syncing)
	say("C[DISCARD ALL] Z", 1, query("DISCARD ALL"))
	say("1 2 D[1] C[SELECT 1] Z", 1, parse("x", "SELECT 1"), bind("x"), execute, syncing)
	say("C[BEGIN] C[DEALLOCATE ALL] C[COMMIT] Z", 1, query("BEGIN; DEALLOCATE ALL; COMMIT"))
	say("E26000 Z", 1, bind("x"), syncing)
	// Nothing but what the proxy could answer alone.
	say("Z Z 3 Z", 3, syncing, syncing, closing("q"), syncing)
	say("I Z", 1, query(""))
	say("1 2 n I Z", 1, parse("e", ""), bind("e"), &pgproto3.Describe{ObjectType: 'P'}, execute, syncing)
}

func TestPreparedStatements(t *testing.T) {
	t.Parallel()
	t.Run("direct", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, setup{})
		checkPrepared(t, speakTo(t, s.database.DSN()), func() {})
	})
	each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode, general: "default_pool_size = 3"})
		checkPrepared(t, s.speak(), func() {})
	})
	for name, general := range map[string]string{
		"changing servers": "", "one statement on a server": "prepared_statements_limit = 1",
		"names for all": "prepared_statements = \"extended_anonymous\"",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, setup{general: "default_pool_size = 3\n" + general})
			checkPrepared(t, s.speak(), s.rotate())
		})
	}
}

// What is too old on a server connection, and what nobody has, is closed there; clients
// do not notice.
func TestPreparedStatementsGoAway(t *testing.T) {
	t.Parallel()
	t.Run("of age", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, setup{general: "default_pool_size = 1\nprepared_statements_ttl = 1\nprepared_statements_ttl_jitter = 0"})
		f := s.speak()
		f.say(1, parse("a", "SELECT 'a'::text"), parse("b", "SELECT 'b'::text"), syncing)
		eventually(t, "old statements are closed", func() bool {
			if got := f.say(1, bind("a"), execute, bind("b"), execute, bind("a"), execute, syncing); got != "2 D[a] C[SELECT 1] 2 D[b] C[SELECT 1] 2 D[a] C[SELECT 1] Z" {
				t.Fatalf("got %q", got)
			}
			return s.pools.Stats()[0].Totals.Closes >= 4
		})
	})
	t.Run("of no client", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, setup{general: "default_pool_size = 1"})
		f := s.speak()
		f.say(1, parse("a", "SELECT 'a'::text"), parse("b", "SELECT 'b'::text"), closing("a"), syncing)
		s.relay.ResetPrepared()
		if left := s.relay.Prepared(); len(left) != 1 || left[0].Statement != "SELECT 'b'::text" {
			t.Errorf("left: %v", left)
		}
		f.say(1, parse("c", "SELECT 'c'::text"), syncing)
		if got := value(t, s.connect(), "SELECT string_agg(statement, ', ' ORDER BY statement) FROM pg_prepared_statements"); got != "SELECT 'b'::text, SELECT 'c'::text" {
			t.Errorf("on the server: %s", got)
		}
	})
	t.Run("in a pipeline that fails", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, setup{general: "default_pool_size = 1\nprepared_statements_limit = 1"})
		f := s.speak()
		f.say(1, parse("a", "SELECT 'a'::text"), syncing)
		for range 3 {
			if got := f.say(1, parse("", "SELEC"), parse("b", "SELECT 'b'::text"), bind("a"), execute, bind("b"), execute, syncing); got != "E42601 Z" {
				t.Errorf("got %q", got)
			}
			if got := f.say(1, bind("a"), execute, syncing); got != "2 D[a] C[SELECT 1] Z" {
				t.Errorf("afterwards: %q", got)
			}
		}
	})
}

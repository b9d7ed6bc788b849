package relay_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

// moved waits until a session that is idle runs on another server connection.
func (s *stand) moved(f *frontend, before string) {
	s.t.Helper()
	pgtest.Eventually(s.t, "the session is moved", func(context.Context) (bool, error) {
		return f.say(1, query("SELECT pg_backend_pid()")) != before, nil
	})
}

func TestSessionsMoveWithAllTheyHave(t *testing.T) {
	t.Parallel()
	s := newStand(t, setup{mode: config.ModeSession})
	f := s.speak()
	f.say(1, query("SET work_mem = '7MB'; SET search_path TO \"A b\", public; SET ROLE pg_monitor"))
	f.say(1, query("PREPARE sql AS SELECT 'by SQL'"))
	f.say(1, parse("extended", "SELECT 'by the protocol'"), parse("", "SELECT 'without a name'"), syncing)
	f.say(1, query("LISTEN \"Ch 1\""))
	before := f.say(1, query("SELECT pg_backend_pid()"))
	if err := s.pools.Reconnect(pool.Selector{Database: "app"}); err != nil {
		t.Fatal(err)
	}
	s.moved(f, before)
	for _, test := range []struct {
		want string
		send []pgproto3.FrontendMessage
	}{
		{"T D[7MB] C[SHOW] Z", []pgproto3.FrontendMessage{query("SHOW work_mem")}},
		{`T D["A b", public] C[SHOW] Z`, []pgproto3.FrontendMessage{query("SHOW search_path")}},
		{"T D[pg_monitor] C[SELECT 1] Z", []pgproto3.FrontendMessage{query("SELECT current_user")}},
		{"T D[by SQL] C[SELECT 1] Z", []pgproto3.FrontendMessage{query("EXECUTE sql")}},
		{"2 D[by the protocol] C[SELECT 1] Z", []pgproto3.FrontendMessage{bind("extended"), execute, syncing}},
		{"T D[Ch 1] C[SELECT 1] Z", []pgproto3.FrontendMessage{query("SELECT pg_listening_channels()")}},
	} {
		if got := f.say(1, test.send...); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	// A transaction is waited for, and what cannot be moved stays.
	for _, keep := range []struct{ begin, end string }{
		{"BEGIN", "COMMIT"}, {"CREATE TEMP TABLE a (b int)", "DROP TABLE a"}, {"SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"},
		{"DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c"},
	} {
		f.say(1, query(keep.begin))
		before = f.say(1, query("SELECT pg_backend_pid()"))
		if err := s.pools.Reconnect(pool.Selector{Database: "app"}); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if now := f.say(1, query("SELECT pg_backend_pid()")); now != before {
				t.Errorf("%s: moved", keep.begin)
			}
		}
		f.say(1, query(keep.end))
		before = strings.Replace(before, "ZT", "Z", 1)
		s.moved(f, before)
	}
}

func TestPauseIsKept(t *testing.T) {
	t.Parallel()
	s := newStand(t, setup{})
	conn, other := s.connect(), s.connect()
	run(t, conn, "BEGIN")
	paused := make(chan error, 1)
	go func() { paused <- s.pools.Pause(t.Context(), "test", pool.Selector{Database: "app"}) }()
	pgtest.Eventually(t, "the pause begins", func(context.Context) (bool, error) {
		for _, g := range s.pools.Gates() {
			if g.State != pool.GateOpen {
				return true, nil
			}
		}
		return false, nil
	})
	if got := value(t, conn, "SELECT 1"); got != "1" {
		t.Error(got)
	}
	waiting := make(chan error, 1)
	go func() { _, err := other.PgConn().Exec(context.Background(), "SELECT 1").ReadAll(); waiting <- err }()
	run(t, conn, "COMMIT")
	if err := <-paused; err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-waiting:
		t.Fatalf("a query ran while its database was paused: %v", err)
	default:
	}
	if err := s.pools.Resume("test", pool.Selector{Database: "app"}); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
}

func TestReplicationConnections(t *testing.T) {
	t.Parallel()
	s := newStand(t, setup{mode: config.ModeSession})
	s.database.Exec(t, "CREATE TABLE item (id int PRIMARY KEY); CREATE PUBLICATION pub FOR TABLE item")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, s.dsn("replication=database"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(conn) })
	system, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil || system.DBName != s.database.Name {
		t.Fatalf("%+v, %v", system, err)
	}
	if _, err := pglogrepl.CreateReplicationSlot(ctx, conn, "relay_slot", "pgoutput", pglogrepl.CreateReplicationSlotOptions{Temporary: true}); err != nil {
		t.Fatal(err)
	}
	if err := pglogrepl.StartReplication(ctx, conn, "relay_slot", system.XLogPos, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names 'pub'"},
	}); err != nil {
		t.Fatal(err)
	}
	s.database.Exec(t, "INSERT INTO item SELECT generate_series(1, 1000)")
	for inserts := 0; inserts < 1000; {
		m, err := conn.ReceiveMessage(ctx)
		if err != nil {
			t.Fatalf("after %d rows: %v", inserts, err)
		}
		if data, ok := m.(*pgproto3.CopyData); ok && len(data.Data) > 25 && data.Data[0] == pglogrepl.XLogDataByteID && data.Data[25] == 'I' {
			inserts++
		}
	}
	if err := pglogrepl.SendStandbyStatusUpdate(ctx, conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: system.XLogPos}); err != nil {
		t.Fatal(err)
	}
	refusing := newStand(t, setup{})
	other, err := pgconn.Connect(ctx, refusing.dsn("replication=database"))
	if err == nil {
		closeConn(other)
	}
	wantCode(t, err, "0A000", "replication connections need pooler_mode = \"session\"")
}

// A database is re-pointed while its clients work: those of transaction mode notice
// a wait, those of session mode are moved, and who does not end its transaction is
// ended.
func TestSwitchToAnotherDatabase(t *testing.T) {
	t.Parallel()
	each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode})
		target := s.database.Cluster.CreateDatabase(t)
		for _, d := range []*pgtest.Database{s.database, target} {
			d.Exec(t, "CREATE TABLE place AS SELECT current_database()::text AS name")
		}
		idle, stubborn, busy := s.speak(), s.speak(), s.connect()
		idle.say(1, query("SET work_mem = '7MB'"))
		idle.say(1, parse("where", "SELECT name FROM place"), syncing)
		stubborn.say(1, query("BEGIN; SELECT 1"))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := s.pools.Hold(ctx, pool.HoldRequest{Token: "t", Database: "app", Deadline: 3 * time.Second, Code: "57P04", Sessions: pool.MoveSessions}); err != nil {
			t.Fatal(err)
		}
		if m, err := stubborn.Receive(); err != nil || short(m) != "E57P04" {
			t.Errorf("who did not end its transaction got %v, %v", m, err)
		}
		answered := make(chan string, 1)
		go func() {
			var name string
			if err := busy.QueryRow(context.Background(), "SELECT name FROM place WHERE name <> $1", "x").Scan(&name); err != nil {
				name = err.Error()
			}
			answered <- name
		}()
		servers := slices.Clone(s.current.Load().Databases)
		servers[0].DatabaseName = target.Name
		if err := s.pools.Repoint("t", "app", servers); err != nil {
			t.Fatal(err)
		}
		select {
		case name := <-answered:
			t.Errorf("a query was answered %q while its database was held", name)
		default:
		}
		if err := s.pools.Release("t", "app"); err != nil {
			t.Fatal(err)
		}
		if name := <-answered; name != target.Name {
			t.Errorf("who waited was answered %q, want %q", name, target.Name)
		}
		if got := idle.say(1, bind("where"), execute, syncing); got != "2 D["+target.Name+"] C[SELECT 1] Z" {
			t.Errorf("who was idle is answered %q, want %q", got, target.Name)
		}
		if got := idle.say(1, query("SHOW work_mem")); got != "T D[7MB] C[SHOW] Z" {
			t.Errorf("its settings: %q", got)
		}
	})
}

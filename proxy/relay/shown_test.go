package relay_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

// eventually waits for what the next sweeps bring.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

// client gives the only client, and server the only server connection.
func (s *stand) onlyClient() pool.ClientStatus {
	if all := s.pools.Clients(); len(all) == 1 {
		return all[0]
	}
	return pool.ClientStatus{}
}

func (s *stand) onlyServer() pool.ServerStatus {
	if all := s.pools.Servers(); len(all) == 1 {
		return all[0]
	}
	return pool.ServerStatus{}
}

// What operators see of a session follows it, also while it keeps its server
// connection.
func TestWhatOperatorsSee(t *testing.T) {
	t.Parallel()
	each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode, general: "default_pool_size = 1"})
		s.database.Exec(t, "CREATE TABLE item (id int)")
		session := mode == config.ModeSession
		f := speakTo(t, s.dsn("application_name=first"))
		f.say(1, parse("a", "SELECT 1"), parse("b", "SELECT 2"), syncing)
		eventually(t, "two prepared statements are seen", func() bool {
			c, server := s.onlyClient(), s.onlyServer()
			return c.ApplicationName == "first" && c.Prepared == 2 && c.Locked == session && server.Shown.Prepared == 2 &&
				server.Shown.ApplicationName == "first" && server.Shown.LastSent == 'S' && server.Shown.LastReceived == 'Z' && !server.Shown.IdleInTransaction
		})
		f.say(1, query("BEGIN; SET application_name TO 'second'; INSERT INTO item SELECT generate_series(1, 5); UPDATE item SET id = 0 WHERE id < 3; DELETE FROM item WHERE id = 0"))
		eventually(t, "the open transaction is seen", func() bool {
			c, server, p := s.onlyClient(), s.onlyServer(), s.pools.Pools()
			return c.ApplicationName == "second" && server.Shown.IdleInTransaction && server.Shown.LastSent == 'Q' && len(p) == 1 && p[0].IdleInTransaction == 1
		})
		f.say(1, query("COMMIT"))
		f.say(2, &pgproto3.Close{ObjectType: 'S', Name: "a"}, syncing, query("SELECT pg_advisory_lock(1)"))
		eventually(t, "the lock is seen", func() bool {
			c := s.onlyClient()
			return c.Locked && c.Prepared == 1 && s.pools.Pools()[0].IdleInTransaction == 0
		})
		f.say(1, query("SELECT pg_advisory_unlock_all()"))
		eventually(t, "the lock is gone", func() bool { return s.onlyClient().Locked == session })
		// All of this is counted before the session ends.
		eventually(t, "all queries are counted", func() bool { return s.pools.Stats()[0].Totals.Queries >= 5 })
		total := s.pools.Stats()[0].Totals
		if total.Transactions < 4 || total.Sent == 0 || total.Received == 0 || total.IdleTime == 0 {
			t.Errorf("counted: %+v", total)
		}
		if total.Inserted != 5 || total.Updated != 2 || total.Deleted != 2 {
			t.Errorf("counted %d, %d, %d rows, not 5, 2, 2", total.Inserted, total.Updated, total.Deleted)
		}
	})
}

// Bytes are counted once, however they come.
func TestBytesAreCountedOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t, setup{})
	f := s.speak()
	before := s.pools.Stats()[0].Totals
	const rows, width = 200, 10_000
	f.say(1, query("SELECT repeat('x', 10000) FROM generate_series(1, 200)"))
	got := s.pools.Stats()[0].Totals
	if n := got.Received - before.Received; n < rows*width || n > rows*(width+20)+1000 {
		t.Errorf("%d bytes were received of the server, %d in rows", n, rows*width)
	}
	if n := got.Sent - before.Sent; n < 50 || n > 100 {
		t.Errorf("%d bytes were sent", n)
	}
}

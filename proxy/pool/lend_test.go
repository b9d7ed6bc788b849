package pool_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

func TestConnectionIsUsedAgain(t *testing.T) {
	t.Parallel()
	s, d := single(t, "")
	c := s.alice()
	if c.Mode() != config.ModeTransaction {
		t.Errorf("the mode is %s", c.Mode())
	}
	first := run(t, c, "SELECT pg_backend_pid()")
	if second := run(t, s.alice(), "SELECT pg_backend_pid()"); second != first {
		t.Errorf("the second client got process %s, the first %s", second, first)
	}
	if name := run(t, c, "SELECT current_database()"); name != d.Name {
		t.Errorf("the database is %s", name)
	}
	welcome, err := s.alice().Welcome(t.Context())
	if err != nil || welcome["server_encoding"] != "UTF8" || welcome["server_version"] == "" {
		t.Errorf("the server reported %v, %v", welcome, err)
	}
}

// TestOrderOfArrival queues clients for one connection, one after the other, and
// wants them served in that order, also when some leave.
func TestOrderOfArrival(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "default_pool_size = 1")
	busy := lent(t, s.alice())
	served := make(chan int, 20)
	leave, left := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	var clients sync.WaitGroup
	for i := range 20 {
		c, ctx := s.alice(), t.Context()
		if i%5 == 3 {
			ctx = leave
		}
		clients.Go(func() {
			server, err := c.Checkout(ctx, pool.Want{})
			if ctx == leave {
				if !errors.Is(err, gone) {
					t.Errorf("client %d that left: %v", i, err)
				}
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			served <- i
			server.Release(pool.Clean)
		})
		s.until(fmt.Sprintf("%d clients wait", i+1), func(p pool.Status) bool { return p.Waiting == i+1 })
	}
	left(gone)
	s.until("those who left wait no more", func(p pool.Status) bool { return p.Waiting == 16 })
	busy.Release(pool.Clean)
	clients.Wait()
	close(served)
	last := -1
	for i := range served {
		if i < last {
			t.Errorf("client %d was served after client %d", i, last)
		}
		last = i
	}
	if p := s.status("app")[0]; p.Total != 1 || p.Waiting != 0 || p.Active != 0 || p.Idle != 1 {
		t.Errorf("afterwards the pool is %+v", p)
	}
}

func TestPoolSizeIsTheMost(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	d := c.CreateDatabase(t)
	f := files{"default_pool_size = 3\ncheckout_timeout = 60000", entry("app", c.Host(), c.Port(), d.Name), user("alice")}
	s := newStand(t, f)
	var all []*pool.Server
	for range 3 {
		all = append(all, lent(t, s.alice()))
	}
	f.general = "default_pool_size = 3\ncheckout_timeout = 50"
	s.reload(f)
	_, err := s.alice().Checkout(t.Context(), pool.Want{})
	wantCode(t, err, pgerror.TooManyConnections)
	if n := pgtest.Value[int](t, d, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); n != 3 {
		t.Errorf("there are %d sessions", n)
	}
	for _, server := range all {
		server.Release(pool.Clean)
	}
	run(t, s.alice(), "SELECT 1")
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "default_pool_size = 1", func(o *pool.Options) { o.MaxWaiting = 2 })
	busy := lent(t, s.alice())
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() {
			server, err := s.alice().Checkout(t.Context(), pool.Want{})
			if err != nil {
				t.Error(err)
				return
			}
			server.Release(pool.Clean)
		})
	}
	s.until("two wait", func(p pool.Status) bool { return p.Waiting == 2 })
	_, err := s.alice().Checkout(t.Context(), pool.Want{})
	wantCode(t, err, pgerror.TooManyConnections)
	busy.Release(pool.Clean)
	waiting.Wait()
}

// TestDirtyAndBroken gives connections back in every state, and wants none that
// holds what somebody left.
func TestDirtyAndBroken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		recovery string
		same     bool // the connection is kept
		reset    bool // its session is new
	}{{"recover", true, true}, {"rollback_only", true, false}, {"drop", false, true}} {
		s, _ := single(t, "default_pool_size = 1\nconnection_recovery = \""+test.recovery+"\"")
		server := lent(t, s.alice())
		id := server.ProcessID()
		server.Session = "mine"
		for _, sql := range []string{"BEGIN", "SET work_mem = '77MB'", "COMMIT", "BEGIN", "CREATE TABLE left_open ()"} {
			if _, err := ask(server, sql); err != nil {
				t.Fatal(err)
			}
		}
		server.Release(pool.Dirty)
		next := lent(t, s.alice())
		if next.ProcessID() == id != test.same || next.Session == nil != test.reset {
			t.Errorf("%s: the next client got process %d after %d, session %v", test.recovery, next.ProcessID(), id, next.Session)
		}
		if v := value(t, next, "SELECT to_regclass('left_open') IS NULL"); v != "t" {
			t.Errorf("%s: a transaction was left open", test.recovery)
		}
		if v := value(t, next, "SHOW work_mem"); v == "77MB" == test.reset {
			t.Errorf("%s: work_mem is %s", test.recovery, v)
		}
		id = next.ProcessID()
		next.Release(pool.Broken)
		if last := lent(t, s.alice()); last.ProcessID() == id {
			t.Errorf("%s: a broken connection was lent again", test.recovery)
		}
	}
}

// TestAbandonedConnection detaches a client that has not released its server.
func TestAbandonedConnection(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "default_pool_size = 1")
	c := s.alice()
	id := lent(t, c).ProcessID()
	c.Detach()
	if next := lent(t, s.alice()); next.ProcessID() == id {
		t.Error("an abandoned connection was lent again")
	}
}

// TestCheckoutTimeoutCountsOpenTime pauses longer than the timeout, which must
// not end who waits.
func TestCheckoutTimeoutCountsOpenTime(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	f := files{"checkout_timeout = 60000", entry("app", c.Host(), c.Port(), c.CreateDatabase(t).Name), user("alice")}
	s := newStand(t, f)
	run(t, s.alice(), "SELECT 1") // takes its time on a machine on which much else runs
	f.general = "checkout_timeout = 100"
	s.reload(f)
	if err := s.pools.Maintenance("a", pool.Selector{Database: "app"}, true); err != nil {
		t.Fatal(err)
	}
	waits := s.alice()
	result := after(func() error {
		server, err := waits.Checkout(t.Context(), pool.Want{})
		if err == nil {
			server.Release(pool.Clean)
		}
		return err
	})
	s.until("it has waited for three timeouts", func(p pool.Status) bool { return p.Waiting == 1 && p.MaxWait > 300*time.Millisecond })
	pending(t, result, "who waits behind a closed gate has an end")
	if err := s.pools.Maintenance("a", pool.Selector{Database: "app"}, false); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestCancelReachesItsServer(t *testing.T) {
	t.Parallel()
	s, d := single(t, "default_pool_size = 1")
	c := s.alice()
	c.Cancel() // of nothing
	server := lent(t, c)
	result := after(func() error {
		_, err := ask(server, "SELECT pg_sleep(600)")
		return err
	})
	d.WaitUntil(t, "SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()")
	c.Cancel()
	c.Cancel() // one at a time
	wantCode(t, <-result, pgerror.QueryCanceled)
	server.Release(pool.Clean)
	for range 50 { // a late request would hit one of these
		run(t, s.alice(), "SELECT pg_sleep(0.001)::text")
	}
}

// TestCancelStorm cancels around the end of each transaction, and wants no other
// client hit.
func TestCancelStorm(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "default_pool_size = 2")
	var all sync.WaitGroup
	for i := range 8 {
		c := s.alice()
		all.Go(func() {
			for range 25 {
				server, err := c.Checkout(t.Context(), pool.Want{})
				if err != nil {
					t.Error(err)
					return
				}
				_, err = ask(server, "SELECT pg_sleep(0.002)::text")
				if i%2 == 0 {
					c.Cancel() // it has its answer: nothing is to be hit
				} else if err != nil {
					t.Errorf("a client that cancels nothing: %v", err)
				}
				server.Release(pool.Clean)
			}
		})
	}
	all.Wait()
}

func TestServerLifetime(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "default_pool_size = 1\nmin_pool_size = 0\nserver_lifetime = 1\nserver_lifetime_jitter = 1")
	c := s.alice()
	first := lent(t, c)
	id := first.ProcessID()
	value(t, first, "SELECT pg_sleep(0.01)::text || 'x'")
	first.Release(pool.Clean)
	if next := lent(t, c); next.ProcessID() == id {
		t.Error("a connection outlived its lifetime")
	}
}

// TestIdleConnectionsEnd opens three and wants one kept, the smallest size.
func TestIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	s, d := single(t, "min_pool_size = 1\nidle_timeout = 1")
	var all []*pool.Server
	for range 3 {
		all = append(all, lent(t, s.alice()))
	}
	for _, server := range all {
		server.Release(pool.Clean)
	}
	d.WaitUntil(t, "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	s.until("one is idle", func(p pool.Status) bool { return p.Total == 1 && p.Idle == 1 })
}

func TestSmallestSizeIsKept(t *testing.T) {
	t.Parallel()
	s, d := single(t, "min_pool_size = 3")
	run(t, s.alice(), "SELECT 1")
	s.until("three are idle", func(p pool.Status) bool { return p.Idle == 3 })
	d.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	d.WaitUntil(t, "SELECT count(*) = 3 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_start > now() - interval '1 hour'")
	s.until("three new ones are idle", func(p pool.Status) bool { return p.Idle == 3 })
	run(t, s.alice(), "SELECT 1")
}

// TestReplicationConnectionIsAlone wants a connection of the replication protocol
// to be nobody else's.
func TestReplicationConnectionIsAlone(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "default_pool_size = 1")
	c := s.client(pool.Login{User: "alice", Database: "app", Replication: "database", Parameters: map[string]string{"application_name": "walreceiver"}})
	if c.Mode() != config.ModeSession {
		t.Errorf("its mode is %s", c.Mode())
	}
	server := lent(t, c)
	if v := value(t, server, "SHOW application_name"); v != "walreceiver" {
		t.Errorf("its startup parameters are lost: %s", v)
	}
	if _, err := ask(server, "IDENTIFY_SYSTEM"); err != nil {
		t.Errorf("IDENTIFY_SYSTEM: %v", err)
	}
	run(t, s.alice(), "SELECT 1") // has room beside it
	_, err := s.client(pool.Login{User: "alice", Database: "app", Replication: "database"}).Checkout(t.Context(), pool.Want{})
	wantCode(t, err, pgerror.TooManyConnections)
	id := server.ProcessID()
	server.Release(pool.Clean)
	if next := lent(t, s.alice()); next.ProcessID() == id {
		t.Error("a replication connection was lent to somebody else")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "")
	_, err := s.pools.Attach(t.Context(), pool.Login{User: "alice", Database: "nowhere"})
	wantCode(t, err, pgerror.InvalidCatalogName)
	_, err = s.pools.Attach(t.Context(), pool.Login{User: "bob", Database: "app"})
	wantCode(t, err, pgerror.InvalidAuthorization)
}

package pool_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

var app = pool.Selector{Database: "app"}

// begin checks a server out and opens a transaction on it.
func begin(t *testing.T, c *pool.Client) *pool.Server {
	t.Helper()
	server := lent(t, c)
	if _, err := ask(server, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	return server
}

// commit ends it.
func commit(t *testing.T, server *pool.Server) {
	t.Helper()
	if _, err := ask(server, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	server.Release(pool.Clean)
}

// checkingOut checks a server out in the background and releases it.
func checkingOut(t *testing.T, c *pool.Client) <-chan error {
	return after(func() error {
		server, err := c.Checkout(t.Context(), pool.Want{})
		if err == nil {
			_, err = ask(server, "SELECT 1")
			server.Release(pool.Clean)
		}
		return err
	})
}

// TestPauseWaitsAndCloses pauses while a transaction is open: PAUSE ends after it,
// no connection is left, and who waits is served after RESUME.
func TestPauseWaitsAndCloses(t *testing.T) {
	t.Parallel()
	for _, selector := range []pool.Selector{{}, app, {User: "alice", Database: "app"}} {
		s, d := single(t, "")
		server := begin(t, s.alice())
		run(t, s.alice(), "SELECT 1") // leaves an idle one
		paused := after(func() error { return s.pools.Pause(t.Context(), "admin", selector) })
		s.until("it drains", func(p pool.Status) bool { return p.Gate == pool.GateDraining })
		waiting := checkingOut(t, s.alice())
		s.until("a client waits", func(p pool.Status) bool { return p.Waiting == 1 })
		pending(t, paused, "PAUSE did not wait for the transaction")
		commit(t, server)
		if err := <-paused; err != nil {
			t.Fatalf("PAUSE %s: %v", selector, err)
		}
		d.WaitUntil(t, "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		if p := s.status("app")[0]; p.Gate != pool.GateClosed || p.Total != 0 || p.Waiting != 1 {
			t.Errorf("paused, the pool is %+v", p)
		}
		gates := s.pools.Gates()
		if len(gates) != 1 || gates[0].Selector != selector || len(gates[0].Holders) != 1 || gates[0].Holders[0].Owner != "admin" || gates[0].Holders[0].Kind != pool.Pause {
			t.Errorf("the gates are %+v", gates)
		}
		pending(t, waiting, "a client was served in a pause")
		if err := s.pools.Resume("admin", selector); err != nil {
			t.Fatal(err)
		}
		if err := <-waiting; err != nil {
			t.Error(err)
		}
		if len(s.pools.Gates()) != 0 {
			t.Errorf("after RESUME the gates are %+v", s.pools.Gates())
		}
	}
}

// TestResumeEndsAPauseThatWaits has RESUME come while PAUSE waits: it must not
// wait for ever.
func TestResumeEndsAPauseThatWaits(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "")
	server := begin(t, s.alice())
	paused := after(func() error { return s.pools.Pause(t.Context(), "admin", app) })
	s.until("it drains", func(p pool.Status) bool { return p.Gate == pool.GateDraining })
	if err := s.pools.Resume("admin", app); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-paused, pgerror.ObjectNotInPrerequisiteState)
	run(t, s.alice(), "SELECT 1")
	commit(t, server)
}

// TestPauseThatIsCancelledIsUndone: nobody is left paused by an operator who has
// gone away.
func TestPauseThatIsCancelledIsUndone(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "")
	server := begin(t, s.alice())
	ctx, cancel := context.WithCancel(t.Context())
	paused := after(func() error { return s.pools.Pause(ctx, "admin", app) })
	s.until("it drains", func(p pool.Status) bool { return p.Gate == pool.GateDraining })
	cancel()
	if err := <-paused; !errors.Is(err, context.Canceled) {
		t.Errorf("PAUSE: %v", err)
	}
	run(t, s.alice(), "SELECT 1")
	commit(t, server)
}

// TestOwnersDoNotConfuseEachOther stops a database in three ways by two owners, and
// lets go in another order.
func TestOwnersDoNotConfuseEachOther(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "")
	run(t, s.alice(), "SELECT 1")
	if err := errors.Join(
		s.pools.Pause(t.Context(), "admin", app), s.pools.Pause(t.Context(), "admin", app),
		s.pools.Pause(t.Context(), "other", app), s.pools.Maintenance("admin", pool.Selector{}, true),
	); err != nil {
		t.Fatal(err)
	}
	waiting := checkingOut(t, s.alice())
	s.until("a client waits", func(p pool.Status) bool { return p.Waiting == 1 })
	closed := func(after string) {
		t.Helper()
		pending(t, waiting, "a client was served after "+after)
		if p := s.status("app")[0]; p.Gate != pool.GateClosed {
			t.Errorf("after %s the gate is %s", after, p.Gate)
		}
	}
	if err := s.pools.Resume("admin", app); err != nil {
		t.Fatal(err)
	}
	closed("RESUME by one owner")
	err := s.pools.Resume("admin", app)
	wantCode(t, err, pgerror.ObjectNotInPrerequisiteState)
	wantCode(t, s.pools.Resume("admin", pool.Selector{}), pgerror.ObjectNotInPrerequisiteState)
	if err := s.pools.Maintenance("other", pool.Selector{}, false); err != nil {
		t.Fatal(err)
	}
	closed("MAINTENANCE OFF by somebody else")
	if err := s.pools.Maintenance("admin", pool.Selector{}, false); err != nil {
		t.Fatal(err)
	}
	closed("MAINTENANCE OFF")
	if err := s.pools.Resume("other", app); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
}

// TestPauseOfOneDatabaseLeavesOthers pauses one of two, and everything before a
// pool comes into being.
func TestPauseOfOneDatabaseLeavesOthers(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	d, e := c.CreateDatabase(t), c.CreateDatabase(t)
	s := newStand(t, files{"", entry("app", c.Host(), c.Port(), d.Name) + entry("other", c.Host(), c.Port(), e.Name), user("alice") + user("bob")})
	if err := s.pools.Pause(t.Context(), "admin", app); err != nil {
		t.Fatal(err)
	}
	bob := s.client(pool.Login{User: "bob", Database: "other"})
	run(t, bob, "SELECT 1")
	waiting := checkingOut(t, s.alice()) // its pool is made under the closed gate
	s.until("a client waits", func(p pool.Status) bool { return p.Waiting == 1 })
	if err := s.pools.Pause(t.Context(), "admin", pool.Selector{User: "bob", Database: "app"}); err != nil {
		t.Fatal(err)
	}
	if err := s.pools.Resume("admin", app); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	wantCode(t, s.pools.Pause(t.Context(), "admin", pool.Selector{User: "eve", Database: "app"}), pgerror.UndefinedObject)
	wantCode(t, s.pools.Pause(t.Context(), "admin", pool.Selector{Database: "nowhere"}), pgerror.InvalidCatalogName)
}

func TestKill(t *testing.T) {
	t.Parallel()
	s, d := single(t, "")
	ends := make(chan *pgerror.Error, 2)
	end := func(why *pgerror.Error) { ends <- why }
	idle := s.client(pool.Login{User: "alice", Database: "app", End: end})
	c := s.client(pool.Login{User: "alice", Database: "app", End: end})
	server := begin(t, c)
	lost := after(func() error {
		_, err := ask(server, "SELECT pg_sleep(600)")
		if why := server.Lost(); why == nil || why.Code != pgerror.AdminShutdown {
			t.Errorf("the connection was lost because of %v", why)
		}
		server.Release(pool.Broken)
		return err
	})
	d.WaitUntil(t, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid() AND datname = current_database()")
	if err := s.pools.Kill(t.Context(), "admin", app); err != nil {
		t.Fatal(err)
	}
	if err := <-lost; err == nil {
		t.Error("the query of a killed client has ended well")
	}
	for range 2 {
		if why := <-ends; why.Code != pgerror.AdminShutdown {
			t.Errorf("a client was ended by %v", why)
		}
	}
	idle.Detach()
	d.WaitUntil(t, "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	waiting := checkingOut(t, s.alice())
	s.until("a new client waits", func(p pool.Status) bool { return p.Waiting == 1 })
	if err := s.pools.Resume("admin", app); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
}

func TestKillClient(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "default_pool_size = 1")
	ended := make(chan *pgerror.Error, 1)
	busy := lent(t, s.alice())
	c := s.client(pool.Login{User: "alice", Database: "app", End: func(why *pgerror.Error) { ended <- why }})
	waiting := checkingOut(t, c)
	s.until("it waits", func(p pool.Status) bool { return p.Waiting == 1 })
	wantCode(t, s.pools.KillClient(4711), pgerror.UndefinedObject)
	if err := s.pools.KillClient(s.ids.Load()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-waiting, pgerror.AdminShutdown)
	wantCode(t, <-ended, pgerror.AdminShutdown)
	if _, err := ask(busy, "SELECT 1"); err != nil {
		t.Errorf("the other client: %v", err)
	}
}

func TestReconnectAndWaitClose(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "pooler_mode = \"session\"")
	c := s.alice()
	server := begin(t, c)
	id := server.ProcessID()
	idle := run(t, s.alice(), "SELECT pg_backend_pid()")
	moved := c.MovedC()
	if c.Moved() {
		t.Error("it is told to move before RECONNECT")
	}
	if err := s.pools.Reconnect(app); err != nil {
		t.Fatal(err)
	}
	<-moved
	if !c.Moved() {
		t.Error("it is not told to move")
	}
	if next := run(t, s.alice(), "SELECT pg_backend_pid()"); next == idle {
		t.Error("an idle connection outlived RECONNECT")
	}
	closed := after(func() error { return s.pools.WaitClose(t.Context(), app) })
	pending(t, closed, "WAIT_CLOSE did not wait")
	commit(t, server)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	next := lent(t, c)
	if c.Moved() || next.ProcessID() == id {
		t.Errorf("after a new checkout: moved %t, process %d after %d", c.Moved(), next.ProcessID(), id)
	}
	select {
	case <-c.MovedC():
		t.Error("the channel is closed after a new checkout")
	default:
	}
}

func TestDisable(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "")
	there := s.alice()
	if err := errors.Join(s.pools.Disable("admin", "app"), s.pools.Disable("other", "app")); err != nil {
		t.Fatal(err)
	}
	if err := s.pools.Enable("admin", "app"); err != nil {
		t.Fatal(err)
	}
	_, err := s.pools.Attach(t.Context(), pool.Login{User: "alice", Database: "app"})
	wantCode(t, err, pgerror.CannotConnectNow)
	run(t, there, "SELECT 1") // clients that are there stay
	wantCode(t, s.pools.Enable("admin", "app"), pgerror.ObjectNotInPrerequisiteState)
	if err := s.pools.Enable("other", "app"); err != nil {
		t.Fatal(err)
	}
	s.alice()
}

// two is a stand whose database can be re-pointed from one to another.
func two(t *testing.T, general string) (s *stand, from, to *pgtest.Database, servers []config.Database) {
	t.Helper()
	s, from = single(t, general)
	to = from.Cluster.CreateDatabase(t)
	servers = []config.Database{{Host: to.Cluster.Host(), Port: to.Cluster.Port(), DatabaseName: to.Name, Role: config.RolePrimary}}
	return s, from, to, servers
}

// TestSwitch holds a database with an open transaction and clients that wait,
// re-points it, and wants everybody served there, in order.
func TestSwitch(t *testing.T) {
	t.Parallel()
	s, from, to, servers := two(t, "default_pool_size = 2")
	open := begin(t, s.alice())
	held := after(func() error {
		_, err := s.pools.Hold(t.Context(), pool.HoldRequest{Token: "cutover 7", Database: "app"})
		return err
	})
	s.until("it drains", func(p pool.Status) bool { return p.Gate == pool.GateDraining })
	wantCode(t, s.pools.Repoint("cutover 7", "app", servers), pgerror.ObjectNotInPrerequisiteState)
	if name := value(t, open, "SELECT current_database()"); name != from.Name {
		t.Errorf("the open transaction is in %s", name)
	}
	var all sync.WaitGroup
	order := make(chan int, 10)
	for i := range 10 {
		c := s.alice()
		all.Go(func() {
			server, err := c.Checkout(t.Context(), pool.Want{})
			if err != nil {
				t.Error(err)
				return
			}
			order <- i
			if name, err := ask(server, "SELECT current_database()"); err != nil || name[0] != to.Name {
				t.Errorf("client %d is in %v, %v", i, name, err)
			}
			server.Release(pool.Clean)
		})
		s.until("it waits", func(p pool.Status) bool { return p.Waiting == i+1 })
	}
	commit(t, open)
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.pools.Repoint("somebody", "app", servers), pgerror.ObjectNotInPrerequisiteState)
	wantCode(t, s.pools.Release("somebody", "app"), pgerror.ObjectNotInPrerequisiteState)
	if err := s.pools.Repoint("cutover 7", "app", servers); err != nil {
		t.Fatal(err)
	}
	if len(order) != 0 {
		t.Error("clients were served before the release")
	}
	if err := s.pools.Release("cutover 7", "app"); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	from.WaitUntil(t, "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	// A reload that finds the same entries leaves the database where it is.
	s.reload(files{"", entry("app", from.Cluster.Host(), from.Cluster.Port(), from.Name), user("alice")})
	if name := run(t, s.alice(), "SELECT current_database()"); name != to.Name {
		t.Errorf("after a reload the database is %s", name)
	}
	s.reload(files{"", entry("app", from.Cluster.Host(), from.Cluster.Port(), from.Name, "pool_size = 4"), user("alice")})
	if name := run(t, s.alice(), "SELECT current_database()"); name != from.Name {
		t.Errorf("after a reload of another entry the database is %s", name)
	}
}

// TestHoldEndsWhatStaysOpen has a transaction stay open past the deadline.
func TestHoldEndsWhatStaysOpen(t *testing.T) {
	t.Parallel()
	s, d, _, _ := two(t, "")
	ended := make(chan *pgerror.Error, 1)
	c := s.client(pool.Login{User: "alice", Database: "app", End: func(why *pgerror.Error) { ended <- why }})
	d.Exec(t, "CREATE TABLE t (i int)")
	server := begin(t, c)
	lost := after(func() error {
		_, err := ask(server, "INSERT INTO t SELECT 1 FROM pg_sleep(600)")
		server.Release(pool.Broken)
		return err
	})
	d.WaitUntil(t, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid() AND datname = current_database()")
	report, err := s.pools.Hold(t.Context(), pool.HoldRequest{Token: "t", Database: "app", Deadline: time.Millisecond, Code: "57P03"})
	if err != nil || report.Ended != 1 {
		t.Errorf("hold: %+v, %v", report, err)
	}
	if err := <-lost; err == nil {
		t.Error("the query has ended well")
	}
	if why := <-ended; why.Code != "57P03" {
		t.Errorf("the client was ended by %s %v", why.Code, why)
	}
	d.WaitUntil(t, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid() AND datname = current_database()")
	if n := pgtest.Value[int](t, d, "SELECT count(*) FROM t"); n != 0 {
		t.Errorf("%d rows of what was ended are there", n)
	}
	if err := s.pools.Release("t", "app"); err != nil {
		t.Fatal(err)
	}
	run(t, s.alice(), "SELECT 1")
}

// TestHoldInSessionMode moves a session that can move, and ends one that does not.
func TestHoldInSessionMode(t *testing.T) {
	t.Parallel()
	s, _, to, servers := two(t, "pooler_mode = \"session\"")
	mover, stayer := s.alice(), s.client(pool.Login{User: "alice", Database: "app"})
	moves := lent(t, mover)
	stays := lent(t, stayer)
	value(t, moves, "SELECT 1")
	gone := after(func() string {
		<-mover.MovedC()
		moves.Release(pool.Clean)
		server, err := mover.Checkout(t.Context(), pool.Want{})
		if err != nil {
			t.Error(err)
			return ""
		}
		defer server.Release(pool.Clean)
		name, err := ask(server, "SELECT current_database()")
		return strings.Join(append(name, pgerror.Code(err)), "")
	})
	lost := after(func() error {
		_, err := ask(stays, "SELECT pg_sleep(600)")
		stays.Release(pool.Broken)
		return err
	})
	report, err := s.pools.Hold(t.Context(), pool.HoldRequest{Token: "t", Database: "app", Deadline: 200 * time.Millisecond})
	if err != nil || report.Ended != 1 {
		t.Errorf("hold: %+v, %v", report, err)
	}
	if <-lost == nil {
		t.Error("the session that stayed was not ended")
	}
	if err := errors.Join(s.pools.Repoint("t", "app", servers), s.pools.Release("t", "app")); err != nil {
		t.Fatal(err)
	}
	if name := <-gone; name != to.Name {
		t.Errorf("the session that moved is in %s", name)
	}
}

// TestHoldThatIsGivenUp leaves everything as it was.
func TestHoldThatIsGivenUp(t *testing.T) {
	t.Parallel()
	s, _, _, _ := two(t, "")
	server := begin(t, s.alice())
	ctx, cancel := context.WithCancel(t.Context())
	result := after(func() error {
		_, err := s.pools.Hold(ctx, pool.HoldRequest{Token: "t", Database: "app", Deadline: time.Hour})
		return err
	})
	s.until("it drains", func(p pool.Status) bool { return p.Gate == pool.GateDraining })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("hold: %v", err)
	}
	run(t, s.alice(), "SELECT 1")
	commit(t, server)
}

package pool_test

import (
	"context"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

// TestReloadChangesOnlyWhatChanged changes one database of two, and one setting
// after the other, and looks at what became of connections and statistics.
func TestReloadChangesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	d, e := c.CreateDatabase(t), c.CreateDatabase(t)
	both := func(more ...string) files {
		return files{"", entry("app", c.Host(), c.Port(), d.Name, more...) + entry("other", c.Host(), c.Port(), e.Name), user("alice")}
	}
	s := newStand(t, both())
	other := s.client(pool.Login{User: "alice", Database: "other"})
	alice := s.alice()
	const pid = "SELECT pg_backend_pid()"
	ids := map[string]string{"app": run(t, alice, pid), "other": run(t, other, pid)}
	for _, step := range []struct {
		more           []string
		same           bool // the connection of app stays
		setting, value string
	}{
		{nil, true, "statement_timeout", "0"},
		{[]string{"pool_size = 3", "idle_timeout = 3600000"}, true, "statement_timeout", "0"},
		{[]string{"statement_timeout = 77000", "lock_timeout = 5"}, false, "statement_timeout", "77s"},
		{[]string{"statement_timeout = 77000", "lock_timeout = 5", "read_only = true"}, false, "transaction_read_only", "on"},
		{[]string{"read_only = true", "password = \"another\""}, false, "lock_timeout", "0"},
		{[]string{"read_only = true", "password = \"another\""}, true, "lock_timeout", "0"},
	} {
		s.reload(both(step.more...))
		if got := run(t, other, pid); got != ids["other"] {
			t.Errorf("%v: the connection of another database was replaced", step.more)
		}
		got := run(t, alice, pid)
		if (got == ids["app"]) != step.same {
			t.Errorf("%v: process %s after %s", step.more, got, ids["app"])
		}
		ids["app"] = got
		if got := run(t, alice, "SHOW "+step.setting); got != step.value {
			t.Errorf("%v: %s is %s", step.more, step.setting, got)
		}
	}
	if p := s.status("app")[0]; p.Most != 10 {
		t.Errorf("the most is %d", p.Most)
	}
	for _, stats := range s.pools.Stats() {
		if stats.Totals.Queries < 6 {
			t.Errorf("the statistics of %s were lost: %d queries", stats.Database, stats.Totals.Queries)
		}
	}
}

// TestReloadOfServersAndUsers takes a server, a user and a database away.
func TestReloadOfServersAndUsers(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	d, e := c.CreateDatabase(t), c.CreateDatabase(t)
	s := newStand(t, files{"", entry("app", c.Host(), c.Port(), d.Name) + entry("other", c.Host(), c.Port(), e.Name), user("alice") + user("bob")})
	inUse := lent(t, s.alice())
	ended := make(chan *pgerror.Error, 2)
	end := func(why *pgerror.Error) { ended <- why }
	bob := s.client(pool.Login{User: "bob", Database: "app", End: end})
	run(t, bob, "SELECT 1")
	other := s.client(pool.Login{User: "alice", Database: "other", End: end})
	run(t, other, "SELECT 1")
	s.reload(files{"", entry("app", c.Host(), c.Port(), e.Name), user("alice")})
	for range 2 {
		wantCode(t, <-ended, pgerror.AdminShutdown)
	}
	_, err := bob.Checkout(t.Context(), pool.Want{})
	wantCode(t, err, pgerror.AdminShutdown)
	if name := value(t, inUse, "SELECT current_database()"); name != d.Name {
		t.Errorf("a connection in use was moved to %s", name)
	}
	inUse.Release(pool.Clean)
	if name := run(t, s.alice(), "SELECT current_database()"); name != e.Name {
		t.Errorf("after the reload the database is %s", name)
	}
	d.WaitUntil(t, "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	if got := s.status("other"); len(got) != 0 {
		t.Errorf("the pools of a database that is gone: %+v", got)
	}
}

// TestUsersThatOnlyClientsKnow come with credentials; their pools are forgotten when
// they have left.
func TestUsersThatOnlyClientsKnow(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	d := c.CreateDatabase(t)
	s := newStand(t, files{"idle_timeout = 1", entry("app", c.Host(), c.Port(), d.Name, "user = \"postgres\""), user("alice")})
	eve := s.client(pool.Login{User: "eve", Database: "app"})
	if got := run(t, eve, "SELECT session_user"); got != "postgres" {
		t.Errorf("the user is %s", got)
	}
	eve.Detach()
	pgtest.Eventually(t, "the pool is forgotten", func(context.Context) (bool, error) { return len(s.status("app")) == 0, nil })
}

// TestStatistics adds up what clients do.
func TestStatistics(t *testing.T) {
	t.Parallel()
	s, _ := single(t, "stats_period = 1")
	c := s.alice()
	for range 5 {
		server := lent(t, c)
		value(t, server, "SELECT 1")
		server.Usage.Transaction(2e6)
		server.Usage.Received, server.Usage.Sent = 10, 20
		server.Usage.Error("23505")
		server.Shown = pool.Shown{Prepared: 3, LastSent: 'Q'}
		server.Record()
		server.Release(pool.Clean)
	}
	stats := s.pools.Stats()[0]
	if got := stats.Totals; got.Queries != 5 || got.Transactions != 5 || got.Received != 50 || got.Sent != 100 || got.Errors != 5 || got.Assignments != 5 ||
		got.TransactionTime != 1e7 || got.QueryTime != 5e6 || got.Connects != 1 {
		t.Errorf("the totals are %+v", got)
	}
	n := uint64(0)
	for _, count := range stats.Query.Counts {
		n += count
	}
	if n != 5 || stats.Query.Sum != 5e6 {
		t.Errorf("the histogram of queries has %d, %s", n, stats.Query.Sum)
	}
	if len(stats.Errors) != 1 || stats.Errors["23"] != 5 || stats.Status.Clients != 1 || stats.Status.Idle != 1 {
		t.Errorf("the errors are %v, the status %+v", stats.Errors, stats.Status)
	}
	client := s.pools.Clients()[0]
	if client.Queries != 5 || client.Sent != 100 || client.State != "idle" || client.RequestAt.IsZero() {
		t.Errorf("the client is %+v", client)
	}
	server := s.pools.Servers()[0]
	if server.Queries != 5 || server.Shown.Prepared != 3 || server.Shown.LastSent != 'Q' || server.State != "idle" || server.Client != 0 {
		t.Errorf("the server is %+v", server)
	}
	if got := s.pools.Lists(); got != (pool.Lists{Databases: 1, Users: 1, Pools: 1, FreeClients: 1, FreeServers: 1}) {
		t.Errorf("the lists are %+v", got)
	}
	pgtest.Eventually(t, "a period is over", func(context.Context) (bool, error) { return s.pools.Stats()[0].PeriodLength > 0, nil })
	if strings.Contains(s.log.String(), "panic") {
		t.Error("something panicked")
	}
}

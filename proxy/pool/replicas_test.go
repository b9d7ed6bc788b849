package pool_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

var read = pool.Want{ReadOnly: true}

// pair is a primary with one standby, and what stands on it. replicas is how often
// the standby is named: under a host name each.
type pair struct{ primary, standby *pgtest.Cluster }

func (p pair) entries(primaryRole, standbyRole string, more ...string) string {
	return entry("app", p.primary.Host(), p.primary.Port(), "postgres", append(more, "role = \""+primaryRole+"\"")...) +
		entry("app", p.standby.Host(), p.standby.Port(), "postgres", append(more, "role = \""+standbyRole+"\"")...)
}

func (p pair) stand(t *testing.T, general string) *stand {
	t.Helper()
	return newStand(t, files{general, p.entries("primary", "replica"), user("alice")})
}

// port asks which server it is.
const port = "SELECT current_setting('port')"

// where runs n reads, some of them at the same time, and counts the servers.
func (p pair) where(t *testing.T, s *stand, n int) (primary, standby int) {
	t.Helper()
	for range n {
		if got := run(t, s.alice(), port, read); got == strconv.Itoa(p.primary.Port()) {
			primary++
		} else {
			standby++
		}
	}
	return primary, standby
}

// TestReplicas leads reads as configured, bans a replica that is lost, and finds
// the primary after a failover.
func TestReplicas(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{})
	p := pair{primary, primary.Standby(t, pgcluster.StandbyOptions{})}
	t.Run("split", func(t *testing.T) { testSplit(t, p) })
	t.Run("balance", func(t *testing.T) { testBalance(t, p) })
	t.Run("bans", func(t *testing.T) { testBans(t, p) })
	t.Run("lag", func(t *testing.T) { testLag(t, p) })
	t.Run("lost", func(t *testing.T) { testLostReplica(t, p) })
	t.Run("failover", func(t *testing.T) { testFailover(t, p) })
}

func testSplit(t *testing.T, p pair) {
	for _, test := range []struct {
		split            string
		primary, standby bool // take reads
		banned           bool // the primary does with the replica banned
	}{
		{"include_primary", true, true, true},
		{"exclude_primary", false, true, false},
		{"include_primary_if_replica_banned", false, true, true},
		{"prefer_primary", true, false, true},
	} {
		s := p.stand(t, "read_write_split = \""+test.split+"\"\nload_balancing_strategy = \"round_robin\"")
		warm(t, s, test.primary, test.standby)
		primary, standby := p.where(t, s, 6)
		if primary > 0 != test.primary || standby > 0 != test.standby {
			t.Errorf("%s: %d reads on the primary, %d on the replica", test.split, primary, standby)
		}
		if got := run(t, s.alice(), port); got != strconv.Itoa(p.primary.Port()) {
			t.Errorf("%s: a write went to %s", test.split, got)
		}
		if err := s.pools.Ban(0); err != nil {
			t.Fatal(err)
		}
		if !test.banned {
			continue // nobody is left
		}
		if _, standby := p.where(t, s, 4); standby > 0 {
			t.Errorf("%s: %d reads on a banned replica", test.split, standby)
		}
	}
}

// warm opens a connection at each server that takes reads, so that what follows is
// chosen freely.
func warm(t *testing.T, s *stand, primary, standby bool) {
	t.Helper()
	pgtest.Eventually(t, "every server has a connection", func(context.Context) (bool, error) {
		run(t, s.alice(), "SELECT 1", read)
		run(t, s.alice(), "SELECT 1")
		all := s.status("app")
		return (!primary || all[0].Idle > 0) && (!standby || all[1].Idle > 0), nil
	})
}

func testBalance(t *testing.T, p pair) {
	for _, strategy := range []string{"random", "round_robin", "least_active_connections", "weighted_round_robin"} {
		s := newStand(t, files{
			"load_balancing_strategy = \"" + strategy + "\"",
			entry("app", p.primary.Host(), p.primary.Port(), "postgres", "lb_weight = 1") +
				entry("app", p.standby.Host(), p.standby.Port(), "postgres", "role = \"replica\"", "lb_weight = 3"), user("alice"),
		})
		warm(t, s, true, true)
		var primary, standby int
		if strategy == "least_active_connections" {
			// Four that stay: two go to each.
			for range 4 {
				if server := lent(t, s.alice(), read); value(t, server, port) == strconv.Itoa(p.primary.Port()) {
					primary++
				} else {
					standby++
				}
			}
		} else {
			primary, standby = p.where(t, s, 40)
		}
		good := map[string]bool{
			"random": primary > 0 && standby > 0, "round_robin": primary == 20 && standby == 20,
			"least_active_connections": primary > 0 && standby > 0, "weighted_round_robin": primary == 10 && standby == 30,
		}[strategy]
		if !good {
			t.Errorf("%s: %d reads on the primary, %d on the replica", strategy, primary, standby)
		}
	}
}

func testBans(t *testing.T, p pair) {
	s := p.stand(t, "read_write_split = \"exclude_primary\"\nban_timeout = 3600000")
	run(t, s.alice(), "SELECT 1", read)
	all := s.status("app")
	wantCode(t, s.pools.Ban(all[0].ID), pgerror.ObjectNotInPrerequisiteState)
	wantCode(t, s.pools.Ban(4711), pgerror.UndefinedObject)
	if err := s.pools.Ban(all[1].ID); err != nil {
		t.Fatal(err)
	}
	if bans := s.pools.Bans(); len(bans) != 1 || bans[0].Left >= 0 || bans[0].Reason != "BAN" || bans[0].Port != p.standby.Port() {
		t.Errorf("the bans are %+v", bans)
	}
	// A check does not end what an operator has begun.
	if err := s.pools.HealthCheck(t.Context(), 0); err != nil {
		t.Errorf("HEALTHCHECK: %v", err)
	}
	// Reads wait for it, though the primary has a connection.
	run(t, s.alice(), "SELECT 1")
	waiting := after(func() error {
		server, err := s.alice().Checkout(t.Context(), read)
		if err == nil {
			server.Release(pool.Clean)
		}
		return err
	})
	s.until("a read waits", func(p pool.Status) bool { return p.Waiting == 1 })
	if err := s.pools.Unban(all[1].ID); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
}

func testLag(t *testing.T, p pair) {
	s := p.stand(t, "lsn_check_delay = 0\nlsn_check_interval = 1\nban_replica_lag_bytes = 1000")
	run(t, s.alice(), "SELECT 1", read)
	standby := p.standby.Database("postgres")
	standby.Exec(t, "SELECT pg_wal_replay_pause()")
	p.primary.Database("postgres").Exec(t, "SELECT pg_logical_emit_message(false, 'x', repeat('x', 100000))")
	pgtest.Eventually(t, "the replica is banned", func(context.Context) (bool, error) { return len(s.pools.Bans()) == 1, nil })
	standby.Exec(t, "SELECT pg_wal_replay_resume()")
	if _, standby := p.where(t, s, 5); standby > 0 {
		t.Errorf("%d reads on a replica that lags", standby)
	}
	p.standby.Replayed(t, p.primary)
}

// testLostReplica stops the replica under a stand: reads go on, and it is used again
// when it is back.
func testLostReplica(t *testing.T, p pair) {
	s := p.stand(t, "read_write_split = \"include_primary_if_replica_banned\"\nban_timeout = 3600000\nidle_healthcheck_interval = 10\nidle_healthcheck_delay = 0")
	run(t, s.alice(), "SELECT 1", read)
	if err := p.standby.Stop(t.Context(), pgcluster.Immediate); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "it is banned", func(context.Context) (bool, error) {
		server, err := s.alice().Checkout(t.Context(), read)
		if err == nil {
			server.Release(pool.Clean)
		}
		return len(s.pools.Bans()) == 1, nil
	})
	if primary, _ := p.where(t, s, 3); primary != 3 {
		t.Errorf("%d reads of 3 are on the primary", primary)
	}
	if err := p.standby.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "it is not banned any more", func(context.Context) (bool, error) { return len(s.pools.Bans()) == 0, nil })
	if _, standby := p.where(t, s, 3); standby != 3 {
		t.Errorf("%d reads of 3 are on the replica", standby)
	}
}

// testFailover has the roles found out, then stops the primary and promotes the
// standby: writes that wait go there, and an old primary that comes back gets none.
func testFailover(t *testing.T, p pair) {
	s := newStand(t, files{"lsn_check_interval = 50\nlsn_check_timeout = 2000\ncheckout_timeout = 60000\nconnect_attempts = 600\nconnect_attempt_delay = 50", p.entries("auto", "auto"), user("alice")})
	if got := run(t, s.alice(), port); got != strconv.Itoa(p.primary.Port()) {
		t.Errorf("a write went to %s", got)
	}
	pgtest.Eventually(t, "both roles are found", func(context.Context) (bool, error) {
		all := s.status("app")
		return all[0].Role == "primary" && all[1].Role == "replica", nil
	})
	sticky := s.alice()
	held := lent(t, sticky)
	if err := p.primary.Stop(t.Context(), pgcluster.Immediate); err != nil {
		t.Fatal(err)
	}
	waiting := after(func() string {
		server, err := s.alice().Checkout(t.Context(), pool.Want{})
		if err != nil {
			return err.Error()
		}
		defer server.Release(pool.Clean)
		if _, err := ask(server, "CREATE TABLE after_failover ()"); err != nil {
			return err.Error()
		}
		got, _ := ask(server, port)
		return fmt.Sprint(got)
	})
	p.standby.Promote(t)
	if got := <-waiting; got != fmt.Sprintf("[%d]", p.standby.Port()) {
		t.Errorf("the write that waited: %s", got)
	}
	pgtest.Eventually(t, "who kept its connection is told", func(context.Context) (bool, error) { return sticky.Moved(), nil })
	held.Release(pool.Broken)
	if err := p.primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	looks := s.status("app")[0].Healthchecks
	pgtest.Eventually(t, "the old primary is looked at", func(context.Context) (bool, error) { return s.status("app")[0].Healthchecks > looks+1, nil })
	if all := s.status("app"); all[0].Role != "auto" || all[1].Role != "primary" {
		t.Errorf("the roles are %s and %s", all[0].Role, all[1].Role)
	}
	if old, _ := p.where(t, s, 5); old != 0 {
		t.Errorf("%d reads went to the old primary", old)
	}
	for range 5 {
		if got := run(t, s.alice(), port); got != strconv.Itoa(p.standby.Port()) {
			t.Errorf("a write went to the old primary")
		}
	}
}

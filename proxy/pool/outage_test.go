package pool_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

// TestRestart restarts a server under idle connections and one in use.
func TestRestart(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	s := newStand(t, files{"connect_attempts = 600\nconnect_attempt_delay = 10\ncheckout_timeout = 60000", entry("app", c.Host(), c.Port(), "postgres"), user("alice")})
	inUse := lent(t, s.alice())
	var idle []*pool.Server
	for range 3 {
		idle = append(idle, lent(t, s.alice()))
	}
	for _, server := range idle {
		server.Release(pool.Clean)
	}
	if err := c.Restart(t.Context(), pgcluster.Immediate); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(inUse, "SELECT 1"); err == nil {
		t.Error("a connection outlived a restart")
	}
	inUse.Release(pool.Broken)
	for range 5 { // none of the dead ones is lent
		run(t, s.alice(), "SELECT 1")
	}
}

// TestDeadServer has many clients want a server that is not there: each is refused,
// after few attempts, and the pool works when it is there again.
func TestDeadServer(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	d := c.CreateDatabase(t)
	proxy := c.Proxy(t)
	proxy.Refuse()
	s := newStand(t, files{"checkout_timeout = 60000", entry("app", proxy.Host(), proxy.Port(), d.Name), user("alice")})
	var all sync.WaitGroup
	for range 100 {
		client := s.alice()
		all.Go(func() {
			_, err := client.Checkout(t.Context(), pool.Want{})
			wantCode(t, err, pgerror.CannotConnectNow)
		})
	}
	all.Wait()
	p := s.status("app")[0]
	if p.Healthy || p.Waiting != 0 || p.Total != 0 || !strings.Contains(p.LastError, fmt.Sprint(proxy.Port())) {
		t.Errorf("the pool is %+v", p)
	}
	if p.ConnectErrors > 50 {
		t.Errorf("%d attempts for 100 clients", p.ConnectErrors)
	}
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	run(t, s.alice(), "SELECT 1")
	if p := s.status("app")[0]; !p.Healthy || p.LastError != "" {
		t.Errorf("afterwards the pool is %+v", p)
	}
}

// TestWhatServersRefuse keeps the server's own SQLSTATE.
func TestWhatServersRefuse(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	s := newStand(t, files{"connect_attempts = 1000\nconnect_attempt_delay = 60000", entry("app", c.Host(), c.Port(), "there is none"), user("alice")})
	_, err := s.alice().Checkout(t.Context(), pool.Want{})
	wantCode(t, err, pgerror.InvalidCatalogName)
	// One whose server refuses more connections than it has: those that are there serve all.
	d := c.CreateDatabase(t, "CONNECTION LIMIT 2")
	d.Exec(t, "CREATE ROLE "+pgtest.Quote(d.Name)+" LOGIN")
	t.Cleanup(func() { _ = c.Database("postgres").TryExec(context.Background(), "DROP ROLE "+pgtest.Quote(d.Name)) })
	s = newStand(t, files{"default_pool_size = 8", entry("app", c.Host(), c.Port(), d.Name, fmt.Sprintf("user = %q", d.Name)), user("alice")})
	var all sync.WaitGroup
	for range 20 {
		client := s.alice()
		all.Go(func() {
			server, err := client.Checkout(t.Context(), pool.Want{})
			if err != nil {
				t.Errorf("check out: %v", err)
				return
			}
			if _, err := ask(server, "SELECT pg_sleep(0.01)::text"); err != nil {
				t.Error(err)
			}
			server.Release(pool.Clean)
		})
	}
	all.Wait()
}

// TestSilentServer has a server accept and say nothing: the attempt ends with
// connect_timeout, and other databases do not wait for it.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	d := c.CreateDatabase(t)
	proxy := c.Proxy(t)
	proxy.Blackhole(true)
	s := newStand(t, files{"connect_timeout = 3000\ncheckout_timeout = 60000",
		entry("silent", proxy.Host(), proxy.Port(), d.Name) + entry("app", c.Host(), c.Port(), d.Name), user("alice")})
	silent := s.client(pool.Login{User: "alice", Database: "silent"})
	result := after(func() error {
		_, err := silent.Checkout(t.Context(), pool.Want{})
		return err
	})
	run(t, s.alice(), "SELECT 1")
	wantCode(t, <-result, pgerror.CannotConnectNow)
}

// TestConnectionThatWentSilent has a health check find what no socket tells.
func TestConnectionThatWentSilent(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	d := c.CreateDatabase(t)
	proxy := c.Proxy(t)
	s := newStand(t, files{"healthcheck_interval = 1\nhealthcheck_timeout = 200\nidle_healthcheck_interval = 3600000\nmin_pool_size = 0\ncheckout_timeout = 60000\nconnect_attempts = 100",
		entry("app", proxy.Host(), proxy.Port(), d.Name), user("alice")})
	first := run(t, s.alice(), "SELECT pg_backend_pid()")
	proxy.Blackhole(true)
	s.until("it has been idle for a while", func(p pool.Status) bool {
		for _, server := range s.pools.Servers() {
			return time.Since(server.RequestAt) > 100*time.Millisecond
		}
		return false
	})
	result := after(func() string {
		server, err := s.alice().Checkout(t.Context(), pool.Want{})
		if err != nil {
			return err.Error()
		}
		defer server.Release(pool.Clean)
		got, _ := ask(server, "SELECT pg_backend_pid()")
		return strings.Join(got, "")
	})
	s.until("the check has failed", func(p pool.Status) bool { return p.CheckFailures > 0 })
	proxy.Blackhole(false)
	if got := <-result; got == first || got == "" {
		t.Errorf("the client got process %s after %s", got, first)
	}
}

package pool_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

// soakLength is how long clients come and go; TestSoakLong's is longer.
const soakLength = 2 * time.Second

// TestSoak has many clients use, keep, break, cancel and abandon connections, while
// others pause, kill, switch, reconnect, reload and cut connections. In the end every
// counter is balanced, and everybody is served.
func TestSoak(t *testing.T) {
	t.Parallel()
	soak(t, soakLength)
}

// TestSoakLong is TestSoak for a minute.
func TestSoakLong(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	soak(t, time.Minute)
}

func soak(t *testing.T, length time.Duration) {
	c := pgtest.Shared(t, 0)
	d := c.CreateDatabase(t)
	wire := c.Proxy(t)
	f := files{
		"default_pool_size = 5\nmin_pool_size = 2\nidle_timeout = 100\nserver_lifetime = 500\nserver_lifetime_jitter = 200\ncheckout_timeout = 2000\nhealthcheck_interval = 50",
		entry("app", wire.Host(), wire.Port(), d.Name), user("alice") + user("bob"),
	}
	s := newStand(t, f, func(o *pool.Options) { o.MaxWaiting = 30 })
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var work sync.WaitGroup
	var served, refused atomic.Int64
	for i := range 60 {
		work.Go(func() {
			for ctx.Err() == nil {
				soakClient(ctx, t, s, []string{"alice", "bob"}[i%2], &served, &refused)
			}
		})
	}
	work.Go(func() { disturb(ctx, t, s, f, d, wire) })
	work.Wait()
	balanced(t, s, d)
	t.Logf("%d transactions, %d refusals", served.Load(), refused.Load())
	if served.Load() == 0 {
		t.Error("nobody was served")
	}
}

// soakClient is one client's life.
func soakClient(ctx context.Context, t *testing.T, s *stand, user string, served, refused *atomic.Int64) {
	killed := make(chan struct{})
	c, err := s.pools.Attach(ctx, pool.Login{User: user, Database: "app", ProcessID: s.ids.Add(1), End: func(*pgerror.Error) { close(killed) }})
	if err != nil {
		refused.Add(1) // DISABLE
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
		return
	}
	defer c.Detach()
	for range rand.IntN(20) {
		impatient, cancel := context.WithTimeout(ctx, time.Duration(1+rand.IntN(500))*time.Millisecond)
		server, err := c.Checkout(impatient, pool.Want{ReadOnly: rand.IntN(2) == 0})
		cancel()
		if err != nil {
			refused.Add(1)
			var known *pgerror.Error
			if !errors.As(err, &known) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
				t.Errorf("check out: %T %v", err, err)
			}
			select {
			case <-killed:
				return
			default:
			}
			continue
		}
		if !soakTransaction(t, c, server) {
			return
		}
		served.Add(1)
	}
}

// soakTransaction uses a server; false: the client has died with it.
func soakTransaction(t *testing.T, c *pool.Client, server *pool.Server) bool {
	broken := func(err error) bool {
		var known *pgerror.Error
		return err != nil && (!errors.As(err, &known) || known.Code != pgerror.QueryCanceled)
	}
	left, err := ask(server, "SELECT count(*) FROM pg_class WHERE relname = 'left_behind'")
	if broken(err) {
		server.Release(pool.Broken)
		return true
	}
	if err == nil && left[0] != "0" {
		t.Error("another client's open transaction is seen")
	}
	switch rand.IntN(10) {
	case 0:
		return false // Detach closes it
	case 1:
		server.Release(pool.Broken)
	case 2:
		_, err := ask(server, "BEGIN; CREATE TABLE left_behind ()")
		if broken(err) {
			server.Release(pool.Broken)
		} else {
			server.Release(pool.Dirty)
		}
	case 3:
		c.Cancel() // of nothing: it must hit nobody
		server.Release(pool.Clean)
	default:
		server.Release(pool.Clean)
	}
	return true
}

// disturb does to the pools what operators and the world do.
func disturb(ctx context.Context, t *testing.T, s *stand, f files, d *pgtest.Database, wire *pgtest.Proxy) {
	app := pool.Selector{Database: "app"}
	servers := []config.Database{{Host: wire.Host(), Port: wire.Port(), DatabaseName: d.Name, Role: config.RolePrimary}}
	deadline := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	}
	for i := 0; ctx.Err() == nil; i++ {
		brief, cancel := deadline()
		var err error
		switch i % 9 {
		case 0:
			if err = s.pools.Pause(brief, "admin", app); err == nil {
				err = s.pools.Resume("admin", app)
			}
		case 1:
			wire.Cut()
		case 2:
			if err = s.pools.Kill(brief, "admin", pool.Selector{User: "bob", Database: "app"}); err == nil {
				err = s.pools.Resume("admin", pool.Selector{User: "bob", Database: "app"})
			}
		case 3:
			if _, err = s.pools.Hold(brief, pool.HoldRequest{Token: "t", Database: "app", Deadline: 50 * time.Millisecond}); err == nil {
				err = errors.Join(s.pools.Repoint("t", "app", servers), s.pools.Release("t", "app"))
			}
		case 4:
			err = errors.Join(s.pools.Reconnect(pool.Selector{}), s.pools.WaitClose(brief, app))
		case 5:
			_ = d.TryExec(brief, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5")
		case 6:
			changed := f
			if i%2 == 0 {
				changed.databases += "pool_size = 3\n"
			}
			s.reload(changed)
		case 7:
			err = errors.Join(s.pools.Disable("admin", "app"), s.pools.Maintenance("admin", pool.Selector{}, true),
				s.pools.Maintenance("admin", pool.Selector{}, false), s.pools.Enable("admin", "app"))
		case 8:
			wire.Refuse()
			if err = wire.Accept(); err == nil {
				_ = s.pools.HealthCheck(brief, 0) // it may meet what was cut
			}
		}
		cancel()
		if err != nil {
			t.Errorf("disturbance %d: %v", i%9, err)
		}
	}
}

// balanced wants every counter to say that nobody is there, and the server too.
func balanced(t *testing.T, s *stand, d *pgtest.Database) {
	t.Helper()
	pgtest.Eventually(t, "everything is at rest", func(context.Context) (bool, error) {
		for _, p := range s.status("app") {
			if p.Active+p.Busy+p.Dialing+p.Waiting != 0 || p.Total != p.Idle || !p.Online {
				return false, nil
			}
		}
		return true, nil
	})
	if clients := s.pools.Clients(); len(clients) != 0 {
		t.Errorf("%d clients are left", len(clients))
	}
	if gates := s.pools.Gates(); len(gates) != 0 {
		t.Errorf("gates are closed: %+v", gates)
	}
	for _, stats := range s.pools.Stats() {
		if open := stats.Opened - stats.Closed; open < 0 || open > 5 {
			t.Errorf("%d connections were opened, %d closed", stats.Opened, stats.Closed)
		}
	}
	for _, name := range []string{"alice", "bob"} {
		run(t, s.client(pool.Login{User: name, Database: "app"}), "SELECT 1")
	}
	pgtest.Eventually(t, "the server has as many sessions as there are connections", func(ctx context.Context) (bool, error) {
		n := pgtest.Value[int](t, d, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'")
		return n == len(s.pools.Servers()), nil
	})
}

package pool_test

import (
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

// TestCheckoutAllocatesNothing: neither one that finds an idle connection, nor the
// release.
func TestCheckoutAllocatesNothing(t *testing.T) {
	s, _ := single(t, "min_pool_size = 1")
	c := s.alice()
	run(t, c, "SELECT 1")
	n := testing.AllocsPerRun(1000, func() {
		server, err := c.Checkout(t.Context(), pool.Want{})
		if err != nil {
			t.Fatal(err)
		}
		server.Usage.Query(1000)
		server.Usage.Transaction(1000)
		server.Release(pool.Clean)
	})
	if n >= 1 {
		t.Errorf("a checkout and its release allocate %v times", n)
	}
}

// BenchmarkCheckout is a checkout that finds an idle connection, and its release,
// by as many clients at a time as there are processors.
func BenchmarkCheckout(b *testing.B) {
	c := pgtest.Shared(b, 0)
	s := newStand(b, files{"default_pool_size = 20", entry("app", c.Host(), c.Port(), "postgres"), user("alice")})
	b.RunParallel(func(pb *testing.PB) {
		client := s.alice()
		for pb.Next() {
			server, err := client.Checkout(b.Context(), pool.Want{})
			if err != nil {
				b.Error(err)
				return
			}
			server.Usage.Query(1000)
			server.Usage.Transaction(1000)
			server.Release(pool.Clean)
		}
	})
}

// BenchmarkHandOver is what a client costs that waits for a connection.
func BenchmarkHandOver(b *testing.B) {
	c := pgtest.Shared(b, 0)
	s := newStand(b, files{"default_pool_size = 1", entry("app", c.Host(), c.Port(), "postgres"), user("alice")})
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		client := s.alice()
		for pb.Next() {
			server, err := client.Checkout(b.Context(), pool.Want{})
			if err != nil {
				b.Error(err)
				return
			}
			server.Release(pool.Clean)
		}
	})
}

package auth

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// clock is a time that tests move.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{now: time.Unix(1_000_000, 0)} }

func (c *clock) Now() time.Time          { return c.now }
func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

func TestLimiter(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := NewLimiter(LimiterOptions{Failures: 3, Window: time.Minute, Now: c.Now})
	a, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for range 3 {
		if wait := l.Wait(a); wait != 0 {
			t.Fatalf("refused after too few failures, for %s", wait)
		}
		l.Fail(a)
		c.advance(10 * time.Second)
	}
	// The first of the failures is 30 s old.
	if wait := l.Wait(a); wait != 30*time.Second {
		t.Errorf("wait %s, want 30s", wait)
	}
	if wait := l.Wait(other); wait != 0 {
		t.Errorf("another address has to wait %s", wait)
	}
	if wait := l.Wait(netip.MustParseAddr("::ffff:192.0.2.1")); wait != 30*time.Second {
		t.Errorf("the same address as IPv6 waits %s", wait)
	}
	c.advance(30 * time.Second)
	if wait := l.Wait(a); wait != 0 {
		t.Errorf("wait %s after the window", wait)
	}
	l.Fail(a) // the second failure leaves the window in 10 s
	if wait := l.Wait(a); wait != 10*time.Second {
		t.Errorf("wait %s, want 10s", wait)
	}
}

func TestLimiterTakesIPv6Networks(t *testing.T) {
	t.Parallel()
	l := NewLimiter(LimiterOptions{Failures: 1, Now: newClock().Now})
	l.Fail(netip.MustParseAddr("2001:db8::1"))
	if l.Wait(netip.MustParseAddr("2001:db8::2")) == 0 {
		t.Error("another address of the /64 is let in")
	}
	if l.Wait(netip.MustParseAddr("2001:db8:0:1::1")) != 0 {
		t.Error("another /64 is refused")
	}
}

func TestLimiterForgetsTheOldest(t *testing.T) {
	t.Parallel()
	l := NewLimiter(LimiterOptions{Failures: 1, Addresses: 100, Now: newClock().Now})
	address := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", i/256, i%256)) }
	for i := range 1000 {
		l.Fail(address(i))
		l.Fail(address(0)) // stays recent
	}
	if l.Len() != 100 {
		t.Errorf("%d addresses are remembered", l.Len())
	}
	if l.Wait(address(0)) == 0 || l.Wait(address(999)) == 0 || l.Wait(address(1)) != 0 {
		t.Error("not the oldest address was forgotten")
	}
}

// TestLimiterModel compares with the definition: refused while as many
// failures as allowed lie within the window.
func TestLimiterModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		allowed := rapid.IntRange(1, 4).Draw(t, "failures")
		l := NewLimiter(LimiterOptions{Failures: allowed, Window: time.Minute, Now: c.Now})
		address := netip.MustParseAddr("192.0.2.1")
		var failed []time.Time
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "fail") {
				l.Fail(address)
				failed = append(failed, c.now)
			}
			c.advance(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second)
			recent := 0
			for _, at := range failed {
				if c.now.Sub(at) < time.Minute {
					recent++
				}
			}
			if refused := l.Wait(address) > 0; refused != (recent >= allowed) {
				t.Fatalf("refused %v with %d of %d recent failures", refused, recent, allowed)
			}
		}
	})
}

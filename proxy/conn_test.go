package proxy

import (
	"net"
	"testing"
	"time"
)

// deadlineConn remembers its deadlines.
type deadlineConn struct {
	net.Conn
	read, write time.Time
}

func (c *deadlineConn) SetReadDeadline(t time.Time) error  { c.read = t; return nil }
func (c *deadlineConn) SetWriteDeadline(t time.Time) error { c.write = t; return nil }

// TestDeadlinesStayWithinTheirBounds sets a deadline before and after a bound:
// the earlier of both holds, whichever came first.
func TestDeadlinesStayWithinTheirBounds(t *testing.T) {
	t.Parallel()
	never, early, late := time.Time{}, time.Unix(5, 0), time.Now().Add(24*time.Hour)
	for _, before := range []time.Time{never, early, late} {
		for _, after := range []time.Time{never, early, late} {
			below := new(deadlineConn)
			c := &guardedConn{Conn: below}
			c.SetDeadline(before)
			if !below.read.Equal(before) || !below.write.Equal(before) {
				t.Fatalf("%v becomes %v, %v without a bound", before, below.read, below.write)
			}
			c.bound(time.Hour)
			bound := c.readBound
			check := func(asked time.Time) {
				t.Helper()
				want := bound
				if asked.Equal(early) {
					want = early
				}
				if !below.read.Equal(want) || below.write.Sub(want).Abs() > time.Minute {
					t.Errorf("%v, then %v: got %v, %v, want %v", before, after, below.read, below.write, want)
				}
			}
			check(before)
			c.SetDeadline(after)
			check(after)
			c.interruptReads()
			c.SetReadDeadline(never)
			if !below.read.Equal(longAgo) {
				t.Errorf("an interruption is undone: %v", below.read)
			}
		}
	}
}

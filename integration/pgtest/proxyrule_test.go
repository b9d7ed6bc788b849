package pgtest_test

import (
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// Two connections wait for the reply that one rule cuts: both are reset, the
// rule tells it once.
func TestProxyCutsTheReplyOfTwo(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	p := d.Cluster.Proxy(t)
	lock := mustConnect(t, p, d)
	if err := exec(t, lock, "SELECT pg_advisory_lock(1)"); err != nil {
		t.Fatal(err)
	}
	first, second := mustConnect(t, p, d), mustConnect(t, p, d)
	fired := p.CutReply("'both'", "both")
	failed := make(chan error, 2)
	go func() { failed <- exec(t, first, "SELECT 'both', pg_advisory_lock_shared(1)") }()
	go func() { failed <- exec(t, second, "SELECT 'both', pg_advisory_lock_shared(1)") }()
	d.WaitUntil(t, "SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
	if err := exec(t, lock, "SELECT pg_advisory_unlock(1)"); err != nil {
		t.Fatal(err)
	}
	<-fired
	for range 2 {
		if err := <-failed; err == nil {
			t.Error("an answer came through")
		}
	}
}

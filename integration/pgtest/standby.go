package pgtest

import (
	"testing"

	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
)

// Standby starts a streaming standby of the cluster, which the test may stop,
// kill and promote; it is closed at the test's end. A shared cluster has none:
// its slots would outlive the test.
func (c *Cluster) Standby(tb testing.TB, options pgcluster.StandbyOptions) *Cluster {
	tb.Helper()
	standby, err := c.StartStandby(tb.Context(), options)
	if err != nil {
		e := pgerror.From(err)
		tb.Fatalf("%s\nDETAIL: %s\nHINT: %s", e.Message, e.Detail, e.Hint)
	}
	s := &Cluster{standby}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the log of the standby on port %d ends with:\n%s", s.Port(), s.Log())
		}
		if err := s.Close(); err != nil {
			tb.Errorf("close the standby: %v", err)
		}
	})
	return s
}

// Replayed waits until a standby has replayed everything that its primary has
// written by now.
func (c *Cluster) Replayed(tb testing.TB, primary *Cluster) {
	tb.Helper()
	at := Value[string](tb, primary.Database("postgres"), "SELECT pg_current_wal_insert_lsn()::text")
	c.Database("postgres").WaitUntil(tb, "SELECT NOT pg_is_in_recovery() OR coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)", at)
}

// Promote makes a standby a primary of its own.
func (c *Cluster) Promote(tb testing.TB) {
	tb.Helper()
	c.Database("postgres").Exec(tb, "SELECT pg_promote(true)")
	c.Database("postgres").WaitUntil(tb, "SELECT NOT pg_is_in_recovery()")
}

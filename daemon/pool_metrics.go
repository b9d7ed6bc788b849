package daemon

import (
	"strconv"

	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

// poolMetrics is what a scrape tells of a pool.
func poolMetrics(s pool.Stats) metrics.Pool {
	now, t := s.Status, s.Totals
	return metrics.Pool{
		Database: s.Database, User: s.User, Host: s.Host, Port: strconv.Itoa(s.Port), Shard: strconv.Itoa(s.Shard), Role: s.Role,
		Waiting: now.Waiting, Idle: now.Idle, Active: now.Active, Other: now.Busy + now.Dialing, Size: now.Most, Clients: now.Clients, MaxWait: now.MaxWait,
		Paused: now.Gate != pool.GateOpen, Banned: now.Banned, Healthy: now.Healthy,
		Transactions: t.Transactions, Queries: t.Queries, Rollbacks: t.Rollbacks, Assignments: t.Assignments, Received: t.Received, Sent: t.Sent,
		Connects: t.Connects, ConnectFailures: now.ConnectErrors, Healthchecks: now.Healthchecks, HealthcheckFailures: now.CheckFailures,
		Cleaned: now.Cleaned, Lost: now.Broken, Forced: now.Forced, Errors: s.Errors,
		Wait: distribution(s.Wait), Query: distribution(s.Query), Transaction: distribution(s.Transaction),
	}
}

func distribution(h pool.Histogram) metrics.Distribution {
	return metrics.Distribution{Bounds: pool.Bounds(), Counts: h.Counts[:], Sum: h.Sum}
}

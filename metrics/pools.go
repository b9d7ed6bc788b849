package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Pool is what a scrape tells of the connections of one user to one server.
type Pool struct {
	Database, User, Host, Port, Shard, Role string

	Waiting, Idle, Active, Other, Size int // clients; server connections
	Clients                            int // of the user and database; negative where another of its pools has them
	MaxWait                            time.Duration
	Paused, Banned, Healthy            bool

	Transactions, Queries, Rollbacks, Assignments int64
	Received, Sent                                int64 // bytes
	Connects, ConnectFailures                     int64
	Healthchecks, HealthcheckFailures             int64
	Cleaned, Lost, Forced                         int64
	Errors                                        map[string]int64 // by class of SQLSTATE
	Wait, Query, Transaction                      Distribution
}

// Distribution is how often durations of each length were seen: Counts[i] below
// Bounds[i], and the last of Counts above all bounds.
type Distribution struct {
	Bounds []time.Duration
	Counts []uint64
	Sum    time.Duration
}

var perPool = []string{"database", "user", "host", "port", "shard", "role"}

// poolDefinitions are read from the pools at each scrape.
var poolDefinitions = []*definition{
	poolClients, poolWaiting, poolMaxWait, poolServers, poolSize, poolPaused, poolBanned, poolHealthy,
	poolTransactions, poolQueries, poolRollbacks, poolAssignments, poolReceived, poolSent, poolErrors,
	poolConnects, poolConnectFailures, poolChecks, poolCheckFailures, poolCleaned, poolLost, poolForced,
	poolWaitSeconds, poolQuerySeconds, poolTransactionSeconds,
}

var (
	poolClients = &definition{name: "pool_clients", kind: gauge, pooled: true, labels: []string{"database", "user"}, help: "Clients that are connected."}
	poolWaiting = &definition{name: "pool_clients_waiting", kind: gauge, pooled: true, labels: perPool, help: "Clients that wait for a server connection."}
	poolMaxWait = &definition{name: "pool_wait_longest_seconds", kind: gauge, pooled: true, labels: perPool, help: "How long the first of them has waited."}
	poolServers = &definition{name: "pool_servers", kind: gauge, pooled: true, labels: append(perPool[:6:6], "state"),
		help: "Server connections: idle, active, or other (being opened, checked or cleaned)."}
	poolSize         = &definition{name: "pool_size", kind: gauge, pooled: true, labels: perPool, help: "Most server connections; pool_servers of state active, as a part of it, is the saturation."}
	poolPaused       = &definition{name: "pool_paused", kind: gauge, pooled: true, labels: perPool, help: "1 while no transaction begins: PAUSE, MAINTENANCE, KILL or a cutover."}
	poolBanned       = &definition{name: "pool_banned", kind: gauge, pooled: true, labels: perPool, help: "1 while the replica takes no reads."}
	poolHealthy      = &definition{name: "pool_healthy", kind: gauge, pooled: true, labels: perPool, help: "0 if the last attempt to connect or check has failed."}
	poolTransactions = &definition{name: "pool_transactions_total", kind: counter, pooled: true, labels: perPool, help: "Transactions."}
	poolQueries      = &definition{name: "pool_queries_total", kind: counter, pooled: true, labels: perPool, help: "Queries."}
	poolRollbacks    = &definition{name: "pool_rollbacks_total", kind: counter, pooled: true, labels: perPool, help: "Transactions that were rolled back."}
	poolAssignments  = &definition{name: "pool_assignments_total", kind: counter, pooled: true, labels: perPool, help: "Times that a client got a server connection."}
	poolReceived     = &definition{name: "pool_received_bytes_total", kind: counter, pooled: true, labels: perPool, help: "Bytes from the server."}
	poolSent         = &definition{name: "pool_sent_bytes_total", kind: counter, pooled: true, labels: perPool, help: "Bytes to the server."}
	poolErrors       = &definition{name: "pool_errors_total", kind: counter, pooled: true, labels: append(perPool[:6:6], "class"),
		help: "Errors that the server has sent, by class of SQLSTATE: its first two characters."}
	poolConnects           = &definition{name: "pool_connects_total", kind: counter, pooled: true, labels: perPool, help: "Attempts to connect to the server."}
	poolConnectFailures    = &definition{name: "pool_connect_failures_total", kind: counter, pooled: true, labels: perPool, help: "Attempts that failed, the last of each general.connect_attempts."}
	poolChecks             = &definition{name: "pool_healthchecks_total", kind: counter, pooled: true, labels: perPool, help: "Health checks."}
	poolCheckFailures      = &definition{name: "pool_healthcheck_failures_total", kind: counter, pooled: true, labels: perPool, help: "Health checks that failed."}
	poolCleaned            = &definition{name: "pool_cleaned_total", kind: counter, pooled: true, labels: perPool, help: "Connections that were cleaned of what a client has left."}
	poolLost               = &definition{name: "pool_lost_total", kind: counter, pooled: true, labels: perPool, help: "Connections that were lost or thrown away in use."}
	poolForced             = &definition{name: "pool_forced_total", kind: counter, pooled: true, labels: perPool, help: "Connections that were closed under their client: KILL, the deadline of a cutover."}
	poolWaitSeconds        = &definition{name: "pool_wait_seconds", kind: histogram, pooled: true, labels: perPool, help: "Time that clients have waited for a server connection; those who found one at once are not counted."}
	poolQuerySeconds       = &definition{name: "pool_query_seconds", kind: histogram, pooled: true, labels: perPool, help: "Time of queries."}
	poolTransactionSeconds = &definition{name: "pool_transaction_seconds", kind: histogram, pooled: true, labels: perPool, help: "Time of transactions."}

	clientLogins   = &definition{name: "client_logins_total", kind: counter, help: "Clients that have logged in, to the admin database too."}
	clientRefusals = &definition{name: "client_refusals_total", kind: counter, labels: []string{"sqlstate"},
		help: "Clients that were refused before they were logged in: 28P01 and 28000 are failed authentication, 53300 too many at a time."}
)

// pools reads what is told of pools at each scrape.
type pools struct {
	descriptions map[*definition]*prometheus.Desc
	read         atomic.Pointer[func() []Pool]
}

func newPools(namespace string) *pools {
	p := &pools{descriptions: map[*definition]*prometheus.Desc{}}
	for _, d := range poolDefinitions {
		p.descriptions[d] = prometheus.NewDesc(prometheus.BuildFQName(namespace, "", d.name), d.help, d.labels, nil)
	}
	return p
}

// Pools has scrapes tell of pools what read gives. It is called by several scrapes
// at a time.
func (m *Metrics) Pools(read func() []Pool) {
	if m != nil {
		m.pools.read.Store(&read)
	}
}

// ClientLogin counts a client that has logged in.
func (m *Metrics) ClientLogin() { m.add(clientLogins, 1) }

// ClientRefused counts a client that was refused.
func (m *Metrics) ClientRefused(sqlstate string) {
	if len(sqlstate) != 5 || class(sqlstate) == "XX" {
		sqlstate = "XX000"
	}
	m.add(clientRefusals, 1, sqlstate)
}

// Describe is prometheus.Collector's.
func (p *pools) Describe(out chan<- *prometheus.Desc) {
	for _, d := range p.descriptions {
		out <- d
	}
}

// Collect is prometheus.Collector's.
func (p *pools) Collect(out chan<- prometheus.Metric) {
	read := p.read.Load()
	if read == nil {
		return
	}
	for _, one := range (*read)() {
		p.collect(out, one)
	}
}

func (p *pools) collect(out chan<- prometheus.Metric, s Pool) {
	at := text([]string{s.Database, s.User, s.Host, s.Port, s.Shard, s.Role})
	send := func(d *definition, v float64, more ...string) {
		kind := prometheus.GaugeValue
		if d.kind == counter {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(p.descriptions[d], kind, v, append(at[:6:6], more...)...)
	}
	if s.Clients >= 0 {
		out <- prometheus.MustNewConstMetric(p.descriptions[poolClients], prometheus.GaugeValue, float64(s.Clients), at[0], at[1])
	}
	send(poolServers, float64(s.Idle), "idle")
	send(poolServers, float64(s.Active), "active")
	send(poolServers, float64(s.Other), "other")
	for _, one := range []struct {
		d *definition
		v float64
	}{
		{poolWaiting, float64(s.Waiting)}, {poolMaxWait, s.MaxWait.Seconds()}, {poolSize, float64(s.Size)},
		{poolPaused, truth(s.Paused)}, {poolBanned, truth(s.Banned)}, {poolHealthy, truth(s.Healthy)},
		{poolTransactions, float64(s.Transactions)}, {poolQueries, float64(s.Queries)}, {poolRollbacks, float64(s.Rollbacks)},
		{poolAssignments, float64(s.Assignments)}, {poolReceived, float64(s.Received)}, {poolSent, float64(s.Sent)},
		{poolConnects, float64(s.Connects)}, {poolConnectFailures, float64(s.ConnectFailures)},
		{poolChecks, float64(s.Healthchecks)}, {poolCheckFailures, float64(s.HealthcheckFailures)},
		{poolCleaned, float64(s.Cleaned)}, {poolLost, float64(s.Lost)}, {poolForced, float64(s.Forced)},
	} {
		send(one.d, one.v)
	}
	errors := map[string]int64{}
	for sqlstate, n := range s.Errors {
		errors[class(sqlstate+"000")] += n
	}
	for class, n := range errors {
		send(poolErrors, float64(n), class)
	}
	p.distribution(out, poolWaitSeconds, s.Wait, at)
	p.distribution(out, poolQuerySeconds, s.Query, at)
	p.distribution(out, poolTransactionSeconds, s.Transaction, at)
}

func (p *pools) distribution(out chan<- prometheus.Metric, d *definition, from Distribution, at []string) {
	below, total := map[float64]uint64{}, uint64(0)
	for i, n := range from.Counts {
		total += n
		if i < len(from.Bounds) {
			below[from.Bounds[i].Seconds()] = total
		}
	}
	out <- prometheus.MustNewConstHistogram(p.descriptions[d], total, from.Sum.Seconds(), below, at...)
}

package pool

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Gate is a gate that somebody keeps closed.
type Gate struct {
	Selector Selector
	State    GateState
	Holders  []Holder
}

// Holder is one who keeps a gate closed.
type Holder struct {
	Owner string
	Kind  HoldKind
	Since time.Time
}

// Gates gives the gates that are closed: that of all databases first, then those
// of databases, each before those of its users.
func (p *Pools) Gates() []Gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Gate
	add := func(s Selector, g *gate, pools []*pool) {
		if len(g.holders) == 0 {
			return
		}
		if undrained(pools, g.level()) == nil {
			g.move(gateDrained)
		}
		shown := Gate{Selector: s, State: g.state}
		for _, h := range g.owners() {
			shown.Holders = append(shown.Holders, Holder{h.owner, h.kind, h.since})
		}
		out = append(out, shown)
	}
	add(Selector{}, p.gate, p.poolsLocked(nil))
	for _, d := range p.sorted() {
		own := p.poolsLocked(func(other *database) bool { return other == d })
		add(Selector{Database: d.name}, d.gate, own)
		for _, one := range own {
			add(Selector{User: one.key.User, Database: d.name}, one.own, []*pool{one})
		}
	}
	return out
}

// Disabled is a database that an owner lets nobody into.
type Disabled struct{ Database, Owner string }

// Disabled gives them, sorted.
func (p *Pools) Disabled() []Disabled {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Disabled
	for _, d := range p.sorted() {
		for owner := range d.disabled {
			out = append(out, Disabled{d.name, owner})
		}
	}
	slices.SortFunc(out, func(a, b Disabled) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Owner, b.Owner))
	})
	return out
}

// Place says which target a row of a snapshot is about.
type Place struct {
	ID             int64
	Database, User string
	Host           string
	Port           int
	Shard          int
	Role           string
}

// Status is a target in SHOW POOLS.
type Status struct {
	Place
	Waiting, Clients                    int // clients of the pool: who wait, and all; Clients is -1 but at one of its targets
	Idle, Active, IdleInTransaction     int // server connections
	Busy, Dialing, Total, Most, Least   int
	MaxWait                             time.Duration // of the client that waits longest
	Mode                                string
	Gate                                GateState
	Banned, Healthy, Online             bool
	ConnectErrors, Cleaned, Broken      int64
	Forced, Healthchecks, CheckFailures int64
	LastError                           string // of the attempts to connect since the last that succeeded
	SchemaAdmin                         bool
}

// Stats is a target in SHOW STATS, and in the metrics.
type Stats struct {
	Place
	Status         Status
	Errors         map[string]int64 // by class of SQLSTATE
	Totals, Period Totals
	PeriodLength   time.Duration // that Period counts; 0 before the first is over
	Waits          int64
	ConnectErrors  int64
	Wait           Histogram
	Query          Histogram
	Transaction    Histogram
	Opened, Closed int64 // connections
}

// ServerStatus is a connection in SHOW SERVERS.
type ServerStatus struct {
	Place
	State                            string
	ConnectedAt, RequestAt           time.Time
	ProcessID                        uint32
	Client                           uint32 // process id of the client whose it is; 0 in the pool
	Transactions, Queries, Rollbacks int64
	Healthchecks, Errors             int64
	Received, Sent                   int64
	Obsolete                         bool // it is closed when it is released
	Encrypted                        bool
	Shown                            Shown
}

// ClientStatus is a client in SHOW CLIENTS.
type ClientStatus struct {
	ProcessID             uint32
	User, Database        string
	RemoteAddr            string
	State                 string
	Replication           string
	ConnectedAt           time.Time
	RequestAt             time.Time // zero if there was none
	Queries, Transactions int64
	WaitTime, QueryTime   time.Duration
	TransactionTime       time.Duration
	Waiting               time.Duration // by now
	Received, Sent        int64
	Errors                int64
	ApplicationName       string
	Locked                bool
	Prepared              int64
	Mode                  string
	Server                uint32 // process id of the connection that it has; 0 for none
	TLSVersion            string
}

// Banned is a target in SHOW BANS.
type Banned struct {
	Place
	Reason string
	Left   time.Duration // negative: until UNBAN
}

// visit calls f for every pool, its lock held, in the order of names.
func (p *Pools) visit(f func(*pool)) {
	p.mu.Lock()
	all := p.poolsLocked(nil)
	p.mu.Unlock()
	for _, pool := range all {
		pool.mu.Lock()
		f(pool)
		pool.mu.Unlock()
	}
}

func (t *target) place() Place {
	s := t.settings.server
	return Place{t.id, t.pool.key.Database, t.pool.key.User, s.Host, s.Port, s.Shard, string(t.role)}
}

// Pools gives all targets.
func (p *Pools) Pools() (out []Status) {
	gates := p.gateStates()
	p.visit(func(pool *pool) {
		now := p.now()
		state := pool.gateState(gates)
		for _, t := range slices.Concat(pool.targets, pool.leaving) {
			out = append(out, t.status(state, now))
		}
	})
	return out
}

func (p *Pools) gateStates() map[Selector]GateState {
	gates := map[Selector]GateState{}
	for _, g := range p.Gates() {
		gates[g.Selector] = g.State
	}
	return gates
}

// gateState is what the gates above a pool amount to.
func (p *pool) gateState(gates map[Selector]GateState) GateState {
	out := GateOpen
	for _, s := range []Selector{{}, {Database: p.key.Database}, {User: p.key.User, Database: p.key.Database}} {
		switch gates[s] {
		case GateDraining:
			out = GateDraining
		case GateClosed:
			if out == GateOpen {
				out = GateClosed
			}
		}
	}
	return out
}

func (t *target) status(gate GateState, now int64) Status {
	p := t.pool
	out := Status{
		Place: t.place(), Idle: len(t.idle), Active: t.used + t.dedicated, Busy: t.busy, Dialing: t.dialing, Total: len(t.servers), Most: t.settings.most, Least: t.settings.least,
		Mode: string(p.settings.mode), Gate: gate, Banned: t.ban != nil, Healthy: t.healthy, Online: !t.retired,
		ConnectErrors: t.stats.connectErrors, Cleaned: t.stats.cleaned, Broken: t.stats.broken, Forced: t.stats.forced,
		Healthchecks: t.stats.healthchecks, CheckFailures: t.stats.checkFailures, SchemaAdmin: p.settings.schemaAdmin,
	}
	if t.lastErr != nil {
		out.LastError = t.lastErr.Error()
	}
	for s := range t.servers {
		if s.state == serverUsed && s.shown.IdleInTransaction {
			out.IdleInTransaction++
		}
	}
	waiting, longest := t.waiters(now)
	out.Waiting, out.MaxWait = waiting, time.Duration(longest)
	out.Clients = -1
	if len(p.targets) > 0 && t == p.targets[0] {
		out.Clients = len(p.clients)
	}
	return out
}

// waiters gives how many clients wait for a target, and how long the first has.
// Those who wait for a read are counted at the first target that takes reads, those who
// wait for a primary that nobody knows at the first of all.
func (t *target) waiters(now int64) (n int, longest int64) {
	p := t.pool
	count := func(q *queue) {
		n += q.length
		if q.first != nil {
			longest = max(longest, now-q.first.since)
		}
	}
	isFirst := len(p.targets) > 0 && p.targets[0] == t
	if t == p.primary || p.primary == nil && isFirst {
		count(&p.writes)
	}
	if len(p.readers) > 0 && p.readers[0] == t || len(p.readers) == 0 && isFirst {
		count(&p.reads)
	}
	return n, longest
}

// Stats gives the statistics of all targets.
func (p *Pools) Stats() (out []Stats) {
	gates := p.gateStates()
	p.visit(func(pool *pool) {
		now, gate := p.now(), pool.gateState(gates)
		for _, t := range pool.targets {
			s := &t.stats
			out = append(out, Stats{
				Place: t.place(), Status: t.status(gate, now), Errors: maps.Clone(s.errors), Totals: s.all(), Period: s.period, PeriodLength: s.periodLength, Waits: s.waits, ConnectErrors: s.connectErrors,
				Wait: s.wait, Query: s.query, Transaction: s.transaction, Opened: int64(len(t.servers)) + s.closed, Closed: s.closed,
			})
		}
	})
	return out
}

// Servers gives all server connections, the oldest of a target first.
func (p *Pools) Servers() (out []ServerStatus) {
	p.visit(func(pool *pool) {
		for _, t := range slices.Concat(pool.targets, pool.leaving) {
			from := len(out)
			for s := range t.servers {
				out = append(out, s.status(p))
			}
			slices.SortFunc(out[from:], func(a, b ServerStatus) int {
				return cmp.Or(a.ConnectedAt.Compare(b.ConnectedAt), cmp.Compare(a.ProcessID, b.ProcessID))
			})
		}
	})
	return out
}

func (s *Server) status(p *Pools) ServerStatus {
	w := s.usedWholly
	out := ServerStatus{
		Place: s.target.place(), State: s.state.String(), ConnectedAt: p.at(s.began), RequestAt: p.at(s.since), ProcessID: s.processID,
		Transactions: w.transactions, Queries: w.queries, Rollbacks: w.rollbacks, Healthchecks: w.healthchecks, Errors: w.errors,
		Received: w.received, Sent: w.sent, Obsolete: s.generation != s.target.generation || s.target.retired, Encrypted: s.encrypted, Shown: s.shown,
	}
	if s.client != nil {
		out.Client = s.client.login.ProcessID
	}
	return out
}

// Clients gives all clients, in the order of their process ids.
func (p *Pools) Clients() (out []ClientStatus) {
	p.visit(func(pool *pool) {
		now := p.now()
		for c := range pool.clients {
			out = append(out, c.status(p, now))
		}
	})
	slices.SortFunc(out, func(a, b ClientStatus) int { return cmp.Compare(a.ProcessID, b.ProcessID) })
	return out
}

func (c *Client) status(p *Pools, now int64) ClientStatus {
	t := c.totals
	out := ClientStatus{
		ProcessID: c.login.ProcessID, User: c.login.User, Database: c.login.Database, RemoteAddr: c.login.RemoteAddr, State: c.state.String(),
		Replication: c.login.Replication, ConnectedAt: p.at(c.connectedAt), Queries: t.queries, Transactions: t.transactions,
		WaitTime: time.Duration(c.waited), QueryTime: time.Duration(t.queryTime), TransactionTime: time.Duration(t.transactionTime),
		Received: t.received, Sent: t.sent, Errors: t.errors, ApplicationName: c.application, Locked: c.locked, Prepared: c.prepared,
		Mode: string(c.mode), TLSVersion: c.login.TLSVersion,
	}
	if c.lastRequest > 0 {
		out.RequestAt = p.at(c.lastRequest)
	}
	if c.state == clientWaiting {
		out.Waiting = time.Duration(now - c.waiter.since)
	}
	if c.server != nil {
		out.Server = c.server.processID
	}
	return out
}

// Bans gives the targets that are banned.
func (p *Pools) Bans() (out []Banned) {
	p.visit(func(pool *pool) {
		now := p.now()
		for _, t := range pool.targets {
			if t.ban == nil || t.ban.over(now) {
				continue
			}
			left := time.Duration(t.ban.until - now)
			if t.ban.manual() {
				left = -1
			}
			out = append(out, Banned{t.place(), t.ban.reason, left})
		}
	})
	return out
}

// Lists are the counts of SHOW LISTS.
type Lists struct {
	Databases, Users, Pools  int
	FreeClients, UsedClients int // without and with a server connection
	FreeServers, UsedServers int
}

// Lists counts everything.
func (p *Pools) Lists() Lists {
	cfg := p.options.Config()
	out := Lists{Databases: len(cfg.Clusters()), Users: len(cfg.Users)}
	p.visit(func(pool *pool) {
		out.Pools += len(pool.targets)
		for c := range pool.clients {
			if c.server != nil {
				out.UsedClients++
			} else {
				out.FreeClients++
			}
		}
		for _, t := range slices.Concat(pool.targets, pool.leaving) {
			out.FreeServers += len(t.idle)
			out.UsedServers += len(t.servers) - len(t.idle)
		}
	})
	return out
}

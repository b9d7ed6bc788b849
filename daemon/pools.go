package daemon

import (
	"context"
	"net"
	"runtime/metrics"
	"strconv"
	"time"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/relay"
)

// pools shows the pools to the admin database: it is admin.Pools.
type pools struct {
	pool     *pool.Pools
	relay    *relay.Relay               // whose prepared statements are reset
	prepared func() []admin.PreparedRow // nil: nobody keeps any
}

func selector(s admin.PoolSelector) pool.Selector {
	return pool.Selector{User: s.User, Database: s.Database}
}

// Pause is admin.Pools'.
func (p pools) Pause(ctx context.Context, owner string, of admin.PoolSelector) error {
	return p.pool.Pause(ctx, owner, selector(of))
}

// Resume is admin.Pools'.
func (p pools) Resume(owner string, of admin.PoolSelector) error {
	return p.pool.Resume(owner, selector(of))
}

// Maintenance is admin.Pools'.
func (p pools) Maintenance(owner string, of admin.PoolSelector, on bool) error {
	return p.pool.Maintenance(owner, selector(of), on)
}

// Kill is admin.Pools'.
func (p pools) Kill(ctx context.Context, owner string, of admin.PoolSelector) error {
	return p.pool.Kill(ctx, owner, selector(of))
}

// Reconnect is admin.Pools'.
func (p pools) Reconnect(of admin.PoolSelector) error { return p.pool.Reconnect(selector(of)) }

// WaitClose is admin.Pools'.
func (p pools) WaitClose(ctx context.Context, of admin.PoolSelector) error {
	return p.pool.WaitClose(ctx, selector(of))
}

// KillClient is admin.Pools'.
func (p pools) KillClient(id uint32) error { return p.pool.KillClient(id) }

// Disable is admin.Pools'.
func (p pools) Disable(owner, database string) error { return p.pool.Disable(owner, database) }

// Enable is admin.Pools'.
func (p pools) Enable(owner, database string) error { return p.pool.Enable(owner, database) }

// Ban is admin.Pools'.
func (p pools) Ban(id int64) error { return p.pool.Ban(id) }

// Unban is admin.Pools'.
func (p pools) Unban(id int64) error { return p.pool.Unban(id) }

// HealthCheck is admin.Pools'.
func (p pools) HealthCheck(ctx context.Context, id int64) error { return p.pool.HealthCheck(ctx, id) }

// ResetPrepared is admin.Pools'.
func (p pools) ResetPrepared() { p.relay.ResetPrepared() }

func place(p pool.Place) admin.PoolPlace { return admin.PoolPlace(p) }

// each makes rows of another package's.
func each[From, To any](all []From, f func(From) To) []To {
	out := make([]To, len(all))
	for i, one := range all {
		out[i] = f(one)
	}
	return out
}

// Pools is admin.Pools'.
func (p pools) Pools() []admin.PoolRow {
	return each(p.pool.Pools(), func(s pool.Status) admin.PoolRow {
		return admin.PoolRow{
			PoolPlace: place(s.Place), Waiting: s.Waiting, Clients: s.Clients, Idle: s.Idle, Active: s.Active, IdleInTransaction: s.IdleInTransaction,
			Busy: s.Busy, Dialing: s.Dialing, Total: s.Total, Size: s.Most, MaxWait: s.MaxWait, Mode: s.Mode, State: string(s.Gate),
			Paused: s.Gate != pool.GateOpen, Banned: s.Banned, Healthy: s.Healthy, Online: s.Online, SchemaAdmin: s.SchemaAdmin,
			Errors: s.ConnectErrors, Cleaned: s.Cleaned, Broken: s.Broken, Forced: s.Forced, LastError: s.LastError,
		}
	})
}

// replication is what SHOW CLIENTS calls the startup parameter.
func replication(parameter string) string {
	switch parameter {
	case "":
		return "none"
	case "database":
		return "logical"
	}
	return "physical"
}

func clientRow(c pool.ClientStatus) admin.ClientRow {
	host, port, err := net.SplitHostPort(c.RemoteAddr)
	if err != nil {
		host = c.RemoteAddr // a Unix socket has no port
	}
	number, _ := strconv.Atoi(port) // 0 where there is none
	return admin.ClientRow{
		ID: int64(c.ProcessID), User: c.User, Database: c.Database, Host: host, Port: number, State: c.State, Replication: replication(c.Replication),
		ConnectedAt: c.ConnectedAt, RequestAt: c.RequestAt, Queries: c.Queries, Transactions: c.Transactions,
		WaitTime: c.WaitTime, QueryTime: c.QueryTime, TransactionTime: c.TransactionTime, Waiting: c.Waiting,
		Received: c.Received, Sent: c.Sent, Errors: c.Errors, ApplicationName: c.ApplicationName, Locked: c.Locked, Prepared: c.Prepared,
		Mode: c.Mode, TLS: c.TLSVersion, Server: int64(c.Server),
	}
}

func serverRow(s pool.ServerStatus) admin.ServerRow {
	return admin.ServerRow{
		PoolPlace: place(s.Place), State: s.State, ConnectedAt: s.ConnectedAt, RequestAt: s.RequestAt, ProcessID: int64(s.ProcessID), Client: int64(s.Client),
		Transactions: s.Transactions, Queries: s.Queries, Rollbacks: s.Rollbacks, Prepared: int64(s.Shown.Prepared), Healthchecks: s.Healthchecks, Errors: s.Errors,
		Received: s.Received, Sent: s.Sent, LastSent: letter(s.Shown.LastSent), LastReceived: letter(s.Shown.LastReceived),
		ApplicationName: s.Shown.ApplicationName, Obsolete: s.Obsolete, TLS: s.Encrypted,
	}
}

// letter is a message's type, "" for none.
func letter(kind byte) string {
	if kind == 0 {
		return ""
	}
	return string(rune(kind))
}

func totals(t pool.Totals) admin.StatsTotals {
	return admin.StatsTotals{
		Transactions: t.Transactions, Queries: t.Queries, Assignments: t.Assignments, Received: t.Received, Sent: t.Sent,
		TransactionTime: time.Duration(t.TransactionTime), IdleTime: time.Duration(t.IdleTime), QueryTime: time.Duration(t.QueryTime),
		WaitTime: time.Duration(t.WaitTime), ConnectTime: time.Duration(t.ConnectTime), Parses: t.Parses, Binds: t.Binds, Closes: t.Closes,
		Errors: t.Errors, Cleaned: t.Cleaned, Rollbacks: t.Rollbacks, Connects: t.Connects, Reads: t.Reads, Writes: t.Writes,
		AuthAttempts: t.AuthAttempts, Inserted: t.Inserted, Updated: t.Updated, Deleted: t.Deleted,
	}
}

// Clients is admin.Pools'.
func (p pools) Clients() []admin.ClientRow { return each(p.pool.Clients(), clientRow) }

// Servers is admin.Pools'.
func (p pools) Servers() []admin.ServerRow { return each(p.pool.Servers(), serverRow) }

// Stats is admin.Pools'.
func (p pools) Stats() []admin.StatsRow {
	return each(p.pool.Stats(), func(s pool.Stats) admin.StatsRow {
		return admin.StatsRow{PoolPlace: place(s.Place), Total: totals(s.Totals), Last: totals(s.Period), Period: s.PeriodLength}
	})
}

// Bans is admin.Pools'.
func (p pools) Bans() []admin.BanRow {
	return each(p.pool.Bans(), func(b pool.Banned) admin.BanRow {
		return admin.BanRow{PoolPlace: place(b.Place), Reason: b.Reason, Left: b.Left}
	})
}

// Holds is admin.Pools'.
func (p pools) Holds() []admin.HoldRow {
	var out []admin.HoldRow
	for _, g := range p.pool.Gates() {
		for _, h := range g.Holders {
			out = append(out, admin.HoldRow{
				PoolSelector: admin.PoolSelector{User: g.Selector.User, Database: g.Selector.Database},
				Kind:         string(h.Kind), Owner: h.Owner, State: string(g.State), Since: h.Since,
			})
		}
	}
	for _, d := range p.pool.Disabled() {
		out = append(out, admin.HoldRow{PoolSelector: admin.PoolSelector{Database: d.Database}, Kind: "disabled", Owner: d.Owner, State: "closed"})
	}
	return out
}

// Lists is admin.Pools'.
func (p pools) Lists() admin.ListsRow { return admin.ListsRow(p.pool.Lists()) }

// Prepared is admin.Pools'.
func (p pools) Prepared() []admin.PreparedRow {
	if p.prepared == nil {
		return nil
	}
	return p.prepared()
}

// memory are the readings of SHOW MEM: what is used, what is kept beside it.
var memory = []struct {
	name, used string
	free       []string
}{
	{"heap", "/memory/classes/heap/objects:bytes", []string{"/memory/classes/heap/free:bytes", "/memory/classes/heap/unused:bytes"}},
	{"stacks", "/memory/classes/heap/stacks:bytes", nil},
	{"runtime", "/memory/classes/metadata/mspan/inuse:bytes", []string{"/memory/classes/metadata/mspan/free:bytes", "/memory/classes/metadata/other:bytes"}},
	{"other", "/memory/classes/other:bytes", nil},
}

// Memory is admin.Pools'.
func (p pools) Memory() []admin.MemoryRow {
	var out []admin.MemoryRow
	for _, m := range memory {
		r := admin.MemoryRow{Name: m.name, Used: reading(m.used)}
		for _, name := range m.free {
			r.Free += reading(name)
		}
		r.Total = r.Used + r.Free
		out = append(out, r)
	}
	return out
}

func reading(name string) int64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(sample[0].Value.Uint64())
}

// preparedStatements gives the rows of SHOW PREPARED.
func (d *Daemon) preparedStatements() []admin.PreparedRow {
	var out []admin.PreparedRow
	for _, p := range d.relay.Prepared() {
		out = append(out, admin.PreparedRow{Name: p.Name, Statement: p.Statement, UsedBy: int64(p.Clients), Bytes: int64(len(p.Statement))})
	}
	return out
}

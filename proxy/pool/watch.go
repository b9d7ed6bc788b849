package pool

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/pgdrover/pgdrover/config"
)

// watchSQL asks a server for what it is: its position in the WAL in bytes, on a
// primary the name of the WAL file there, which begins with the timeline, and on a
// standby the milliseconds since the last transaction that it has replayed, 0 if it has replayed
// all that it has received.
const watchSQL = `SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN '' ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END,
pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN COALESCE(pg_catalog.pg_last_wal_replay_lsn(), '0/0') ELSE pg_catalog.pg_current_wal_lsn() END, '0/0')::bigint,
CASE WHEN NOT pg_catalog.pg_is_in_recovery() OR pg_catalog.pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_catalog.pg_last_wal_replay_lsn() THEN 0
ELSE COALESCE(1000 * EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()), 0) END::bigint`

// seen is what a look at a server has found.
type seen struct {
	err    error
	file   string // of a primary
	lsn    int64
	behind time.Duration
}

// watchDue tells whether a database's servers are to be looked at now: where there
// are entries whose role has to be found out, or bans of replicas that lag.
// Pools.mu is held.
func (d *database) watchDue(now int64) bool {
	g := d.pools_.options.Config().General
	auto := slices.ContainsFunc(d.entries, func(e config.Database) bool { return e.Role == config.RoleAuto })
	lags := g.LSNCheckDelay != nil && (g.BanReplicaLag != nil || g.BanReplicaLagBytes != nil)
	if !auto && !lags || d.watching || len(d.pools) == 0 {
		return false
	}
	if g.LSNCheckDelay != nil && now < int64(*g.LSNCheckDelay) && len(d.roles) > 0 {
		return false
	}
	least := min(g.LSNCheckInterval, time.Second) // after a loss, look soon, but not all the time
	if d.watchNow.Load() && now-d.watchedAt >= int64(least) {
		return true
	}
	return d.watchedAt == 0 || now-d.watchedAt >= int64(g.LSNCheckInterval)
}

// watch looks at a database's servers once, at all of them at the same time.
func (p *Pools) watch(ctx context.Context, d *database) {
	timeout := p.options.Config().General.LSNCheckTimeout
	type answer struct {
		at address
		seen
	}
	p.mu.Lock()
	ask := map[address][]*target{}
	for _, pool := range p.poolsLocked(func(other *database) bool { return other == d }) {
		for _, t := range pool.targets {
			at := t.address()
			ask[at] = append(ask[at], t)
		}
	}
	p.mu.Unlock()
	answers := make(chan answer, len(ask))
	for at, targets := range ask {
		go func() { // ends with timeout at the latest, and is waited for below
			var found seen
			for _, t := range targets { // the first user that is let in will do
				if found = look(ctx, t, timeout); found.err == nil {
					break
				}
			}
			answers <- answer{at, found}
		}()
	}
	found := map[address]seen{}
	for range len(ask) {
		a := <-answers
		found[a.at] = a.seen
		p.mu.Lock()
		d.follow(found, len(found) == len(ask))
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d.watching, d.watchedAt = false, p.now()
}

func (t *target) address() address {
	s := t.settings.server
	return address{s.Host, s.Port, s.Database}
}

// look asks one server.
func look(ctx context.Context, t *target, timeout time.Duration) seen {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	row, err := t.ask(ctx, watchSQL)
	if err == nil && len(row) != 3 {
		err = fmt.Errorf("the server answered with %d columns", len(row))
	}
	if err != nil {
		return seen{err: err}
	}
	out := seen{file: row[0]}
	lag := int64(0)
	if out.lsn, err = strconv.ParseInt(row[1], 10, 64); err == nil {
		lag, err = strconv.ParseInt(row[2], 10, 64)
	}
	out.behind, out.err = time.Duration(lag)*time.Millisecond, err
	return out
}

// follow takes over what a look has found so far. Of several servers that say they
// are the primary, the one on the newest timeline is: an old primary that has come
// back does not know that it was replaced. It gets the role auto, and nothing to do,
// before it is seen in recovery. While none says so, the one that was it stays,
// unless it has said that it is not. Before all have answered, only a newer
// timeline counts: one that is silent must not hold up a failover. Pools.mu is held.
func (d *database) follow(found map[address]seen, all bool) {
	primary, newest := address{}, ""
	for at, s := range found {
		if s.err == nil && s.file > newest {
			primary, newest = at, s.file
		}
	}
	newer := newest != "" && timeline(newest) > d.timeline
	if !all && !newer {
		return
	}
	if newest != "" && timeline(newest) >= d.timeline {
		d.timeline = timeline(newest)
	}
	for _, e := range d.entries {
		at := addressOf(e)
		if e.Role != config.RoleAuto {
			continue
		}
		s, looked := found[at]
		was := d.roles[at]
		switch {
		case newest != "" && at == primary:
			d.roles[at] = config.RolePrimary
		case looked && s.err == nil && s.file == "":
			d.roles[at] = config.RoleReplica
		case looked && s.err == nil, newest != "" && was == config.RolePrimary:
			// Neither writes nor reads: what it has may be of another history.
			d.roles[at] = config.RoleAuto
		}
		if is := d.roles[at]; is != was && is != "" {
			d.pools_.log.Info("a server has another role", "database", d.name, "host", at.host, "port", at.port, "was", was, "is", is)
		}
	}
	for _, pool := range d.pools {
		pool.follow(d, found, found[primary].lsn)
	}
}

// timeline is the part of a WAL file's name that says on which timeline it is.
func timeline(file string) string { return file[:min(8, len(file))] }

// follow has a pool follow what a look has found.
func (p *pool) follow(d *database, found map[address]seen, lsn int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.pools.now()
	was := p.primary
	g := p.pools.options.Config().General
	for _, t := range p.targets {
		if role, known := d.roles[t.address()]; known && t.settings.role == config.RoleAuto {
			t.role = role
		}
		s := found[t.address()]
		if t.role != config.RoleReplica || s.err != nil {
			continue
		}
		switch {
		case g.BanReplicaLag != nil && s.behind > *g.BanReplicaLag:
			p.banFor(t, fmt.Sprintf("%s behind", s.behind), now)
		case g.BanReplicaLagBytes != nil && lsn > 0 && lsn-s.lsn > *g.BanReplicaLagBytes:
			p.banFor(t, fmt.Sprintf("%d bytes behind", lsn-s.lsn), now)
		}
	}
	p.reroute(now)
	if was == nil || was == p.primary || p.primary == nil {
		return
	}
	for s := range was.servers {
		if s.client != nil {
			s.client.setMoved() // it writes to what is a standby now
		}
	}
}

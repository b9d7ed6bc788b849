package mirror

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/resync"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// needs is what the resync of a table needs on each shard of the destination.
type needs struct {
	table  catalog.Name // there
	shards []resync.Need
	used   []int64
}

// measure estimates what a resync of a table of the source would need. rows are its
// bytes on all shards of the source.
func (j *copyData) measure(ctx context.Context, table catalog.Name, rows int64, strategy resync.Strategy) (needs, error) {
	n := needs{table: j.destinationNames([]catalog.Name{table})[0]}
	for _, server := range j.pair.destination {
		conn, err := connect.Open(ctx, server, "resync")
		if err != nil {
			return n, err
		}
		size, err := resync.ReadSize(ctx, conn, n.table)
		var used int64
		if err == nil {
			used, err = resync.ReadUsed(ctx, conn)
		}
		_ = conn.Close(context.WithoutCancel(ctx))
		if err != nil {
			return n, err
		}
		n.shards = append(n.shards, resync.Estimate(strategy, size, j.share(table, n.table, server.Shard, rows)))
		n.used = append(n.used, used)
	}
	return n, nil
}

// share is how much of a table comes to a shard: all of it, or an even part.
func (j *copyData) share(table, there catalog.Name, to int, rows int64) int64 {
	if len(j.pair.destination) == 1 {
		return rows
	}
	key, err := j.router.Table(there.Schema, there.Name, j.columnsOf(table))
	if err != nil || key == nil {
		return rows
	}
	if only, constant := key.Constant(); constant {
		if only != to {
			return 0
		}
		return rows
	}
	return rows / int64(len(j.pair.destination))
}

// columnsOf are the columns that the source publishes of a table, as far as that was
// read, by the destination's names.
func (j *copyData) columnsOf(table catalog.Name) []shard.Column {
	mapped, problem := j.mapping.Table(table)
	if problem != nil {
		return nil
	}
	var out []shard.Column
	for _, s := range j.sources {
		s.mu.Lock()
		names := s.published[table].Columns
		s.mu.Unlock()
		for _, name := range names {
			if c, kept := mapped.Column(name); kept {
				out = append(out, shard.Column{Name: c.Destination})
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

// refuse tells whether a shard has no room, by the limit that is configured.
func (n needs) refuse(limit int64) error {
	for i, need := range n.shards {
		if _, err := (resync.Room{Limit: limit, Used: n.used[i]}).Fits(n.table, need); err != nil {
			e := *pgerror.From(err)
			e.Hint = strings.ReplaceAll(e.Hint, "raise the limit", "raise data_sync.resync_disk_limit")
			e.Cause = err
			if len(n.shards) > 1 {
				e.Message = fmt.Sprintf("shard %d: %s", i, e.Message)
			}
			return &e
		}
	}
	return nil
}

// String says what is needed most, for the log.
func (n needs) String() string {
	var most resync.Need
	for _, need := range n.shards {
		if need.Peak() >= most.Peak() {
			most = need
		}
	}
	return fmt.Sprintf("about %d MB of disk are needed on a shard, and %d MB of WAL are written", (most.Tables+most.Sort)>>20, most.WAL>>20)
}

// fits refuses a resync for which the destination has no room, as far as that is
// known.
func (j *copyData) fits(ctx context.Context, keys []tableKey, strategy resync.Strategy) error {
	var rows int64
	for _, s := range j.sources {
		for _, key := range keys {
			if key.shard != s.number {
				continue
			}
			sizes, err := s.sizes(ctx, []tableKey{key})
			if err != nil {
				return err
			}
			rows += sizes[key.table]
		}
	}
	n, err := j.measure(ctx, keys[0].table, rows, strategy)
	if err != nil {
		return err
	}
	if err := n.refuse(j.config.DataSync.ResyncDiskLimit); err != nil {
		return err
	}
	j.happens(ctx, "info", keys[0].table, fmt.Sprintf("is copied again by %s: %s", strategy, n), nil)
	return nil
}

// fitting gives up the resyncs by truncate for which there is no room.
func (j *copyData) fitting(ctx context.Context) error {
	tables := map[catalog.Name][]tableKey{}
	for _, s := range j.sources {
		for _, key := range s.missing() {
			if row, _ := j.tables.get(key); row.Resync != "" && TableState(row.State) == TableResyncing {
				tables[key.table] = append(tables[key.table], key)
			}
		}
	}
	for table, keys := range tables {
		err := j.fits(ctx, keys, resync.Truncate)
		if err == nil {
			continue
		}
		if pgerror.Code(err) != pgerror.DiskFull {
			return err
		}
		for _, key := range keys {
			if err := j.tables.stop(ctx, key, withWayOut(pgerror.From(err), j.pair.mirror, table), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// roomFor refuses at once, before anything is recorded, tables for which the
// destination has no room.
func (m *Manager) roomFor(ctx context.Context, kept keptMirror, tables []catalog.Name, strategy resync.Strategy) error {
	cfg := m.config()
	if cfg.DataSync.ResyncDiskLimit == 0 {
		return nil
	}
	pair, err := resolve(cfg, kept.row.Source, kept.row.Destination)
	if err != nil {
		return err
	}
	pair.mirror = kept.row.Name
	router, err := shard.NewRouter(cfg, kept.row.Destination, len(pair.destination))
	if err != nil {
		return err
	}
	j := &copyData{manager: m, pair: pair, req: kept.request(), router: router, config: cfg}
	if err := j.settle(ctx, nil); err != nil {
		return err
	}
	if strategy == "" {
		strategy = resync.Strategy(j.strategy)
	}
	sizes := map[catalog.Name]int64{}
	for _, server := range pair.source {
		s := &sourceShard{job: j, server: server, number: server.Shard}
		keys := make([]tableKey, len(tables))
		for i, table := range tables {
			keys[i] = tableKey{server.Shard, table}
		}
		found, err := s.sizes(ctx, keys)
		if err != nil {
			return err
		}
		for table, bytes := range found {
			sizes[table] += bytes
		}
	}
	for _, table := range tables {
		n, err := j.measure(ctx, table, sizes[table], strategy)
		if err != nil {
			return err
		}
		if err := n.refuse(cfg.DataSync.ResyncDiskLimit); err != nil {
			return err
		}
	}
	return nil
}

// easing holds resyncs back while the destination cannot follow.
type easing struct {
	mu      sync.Mutex
	checked time.Time
	why     *pgerror.Error // what is waited for; nil for nothing
}

const easeInterval = time.Second

// easing gives what a copier asks before each range; nil for copies that are no
// resyncs.
func (s *sourceShard) easing(tables []*tablecopy.Table) func(context.Context) error {
	for _, t := range tables {
		if row, _ := s.job.tables.get(tableKey{s.number, t.Source.Table}); row.Resync != "" {
			return s.job.eased
		}
	}
	return nil
}

// eased returns when neither the mirror's streams nor a standby of the destination
// are further behind than data_sync.resync_max_lag allows. Lag that cannot be asked
// for holds nothing back.
func (j *copyData) eased(ctx context.Context) error {
	most := j.config.DataSync.ResyncMaxLag
	if most == 0 {
		return nil
	}
	j.ease.mu.Lock()
	defer j.ease.mu.Unlock()
	for {
		if since := time.Since(j.ease.checked); since < easeInterval && j.ease.why == nil {
			return nil
		}
		before := j.ease.why
		j.ease.why, j.ease.checked = j.lagging(ctx, most), time.Now()
		j.showEasing(before)
		if j.ease.why == nil {
			return nil
		}
		if before == nil {
			j.manager.log.Info("resyncs wait", "task", j.journal.task, "because", j.ease.why.Message)
		}
		if err := wait(ctx, easeInterval); err != nil {
			return err
		}
	}
}

// showEasing lets SHOW tell what resyncs wait for.
func (j *copyData) showEasing(before *pgerror.Error) {
	for _, s := range j.sources {
		for _, key := range j.tables.in(s.number, TableResyncing, TableCopying, TableCatchingUp) {
			j.tables.note(key, func(t *state.Table) {
				if t.Resync != "" && (t.Error == nil || t.Error == before) {
					t.Error = j.ease.why
				}
			})
		}
	}
}

// lagging says who is too far behind; nil for nobody.
func (j *copyData) lagging(ctx context.Context, most time.Duration) *pgerror.Error {
	for _, s := range j.sources {
		if lag := s.row().LagSeconds; lag != nil && *lag > most.Seconds() {
			return tooFarBehind("the mirror's stream", *lag, most)
		}
	}
	for _, server := range j.pair.destination {
		var name string
		var lag float64
		err := atOnce(ctx, server, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, `
SELECT coalesce(nullif(r.application_name, ''), host(r.client_addr), 'a standby'), extract(epoch FROM r.replay_lag)::float8
FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
WHERE r.replay_lag IS NOT NULL AND s.slot_type IS DISTINCT FROM 'logical' UNION ALL SELECT '', 0 ORDER BY 2 DESC LIMIT 1`).Scan(&name, &lag)
		})
		if err != nil {
			j.manager.log.Debug("the lag of standbys cannot be asked for", "place", connect.Place(server), "error", err)
			continue
		}
		if lag > most.Seconds() {
			return tooFarBehind(fmt.Sprintf("%s of %s", name, connect.Place(server)), lag, most)
		}
	}
	return nil
}

func tooFarBehind(who string, lag float64, most time.Duration) *pgerror.Error {
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the resync waits: %s is %.1f s behind, and data_sync.resync_max_lag is %s", who, lag, most)
}

// atOnce does something with a server that must answer soon.
func atOnce(ctx context.Context, server config.Server, do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := connect.Open(ctx, server, "resync")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return do(ctx, conn)
}

package mirror

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// replicaTime bounds how long a replica is waited for: for its replay to pass
// the slot's point, and for a snapshot there.
const replicaTime = 60 * time.Second

// readers are the servers that rows are read from: the replicas marked
// resharding_only that can give a snapshot, else the primary. The exported
// snapshots live until closed is called.
//
// A replica cannot take over the primary's snapshot. It makes one of its own,
// by a temporary slot there (PostgreSQL 16 and later), whose consistent point is
// the gate of the tables that are read in it: exact as long as it is not before
// the mirror's own slot, from which the changes come.
//
// It takes a replica seconds to have a snapshot. A table that is truncated more
// often than that would never be read in one: once that was seen, those that are
// copied with it are read from the primary.
func (s *sourceShard) readers(ctx context.Context, in *snapshot, tables []*tablecopy.Table) (sources []tablecopy.Source, closed func()) {
	workers := s.job.config.General.ReshardingParallelCopies
	var exporters []*stream.Exporter
	closed = func() {
		for _, e := range exporters {
			e.Close(context.WithoutCancel(ctx))
		}
	}
	replicas := s.replicas()
	if slices.ContainsFunc(tables, func(t *tablecopy.Table) bool { return s.wasRewritten(t.Source.Table) }) {
		replicas = nil
	}
	for i, server := range replicas {
		exporter, err := s.replicaSnapshot(ctx, server, in.at, i)
		if err != nil {
			s.job.manager.log.Warn("a replica is not used to copy from", "replica", server.Address(), "error", err)
			continue
		}
		exporters = append(exporters, exporter)
		slot := exporter.Slot()
		sources = append(sources, tablecopy.Source{Server: server, Snapshot: slot.Snapshot, LSN: slot.ConsistentPoint, Workers: workers})
	}
	if len(sources) == 0 {
		sources = []tablecopy.Source{{Server: s.server, Snapshot: in.name, LSN: in.at, Workers: workers}}
	}
	return sources, closed
}

// setRewritten notes that a table got a new file while it was copied.
func (s *sourceShard) setRewritten(table catalog.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rewritten == nil {
		s.rewritten = map[catalog.Name]bool{}
	}
	s.rewritten[table] = true
}

func (s *sourceShard) wasRewritten(table catalog.Name) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rewritten[table]
}

// replicas are the shard's replicas that exist to be copied from.
func (s *sourceShard) replicas() []config.Server {
	cluster, ok := s.job.config.Cluster(s.job.req.Source)
	if !ok || s.number >= len(cluster.Shards) {
		return nil
	}
	var out []config.Server
	for _, replica := range cluster.Shards[s.number].Replicas {
		if replica.ReshardingOnly {
			out = append(out, s.job.config.Server(replica, s.job.pair.sourceAdmin))
		}
	}
	return out
}

// replicaSnapshot exports a snapshot of a replica that is at the slot's point or
// behind it.
func (s *sourceShard) replicaSnapshot(ctx context.Context, server config.Server, at stream.LSN, number int) (*stream.Exporter, error) {
	ctx, cancel := context.WithTimeout(ctx, replicaTime)
	defer cancel()
	conn, err := connect.Open(ctx, server, "replica")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	facts, err := catalog.ReadServer(ctx, conn)
	if err != nil {
		return nil, err
	}
	if facts.InRecovery && facts.Major() < 16 {
		return nil, pgerror.New(pgerror.FeatureNotSupported, "it runs PostgreSQL %s, and logical decoding on a replica came with version 16", facts.Version)
	}
	if err := replayed(ctx, conn, at); err != nil {
		return nil, err
	}
	prompted, stop := context.WithCancel(ctx)
	var prompting sync.WaitGroup
	prompting.Go(func() { s.promptSnapshot(prompted) })
	defer prompting.Wait()
	defer stop()
	own := slotName(s.job.pair.mirror, s.job.pair.destination0, s.number)
	exporter, err := stream.CreateSlot(ctx, server, partSlotName(own, fmt.Sprintf("r%d", number)), stream.SlotOptions{Temporary: true})
	if err != nil {
		return nil, err
	}
	if got := exporter.Slot().ConsistentPoint; got < at {
		exporter.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("its snapshot is of %s, and the mirror's slot begins at %s", got, at)
	}
	return exporter, nil
}

// replayed waits until a replica has replayed everything before a position.
func replayed(ctx context.Context, conn *pgx.Conn, at stream.LSN) error {
	for {
		var there bool
		err := conn.QueryRow(ctx, `SELECT NOT pg_is_in_recovery() OR coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)`, at.String()).Scan(&there)
		if err != nil {
			return fmt.Errorf("look how far it has replayed: %w", err)
		}
		if there {
			return nil
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("it has not replayed up to %s: %w", at, err)
		}
	}
}

// promptSnapshot has the primary tell its replicas which transactions run, which
// a new slot on one of them waits for. An idle primary would not do it by
// itself. Without the right to ask, a slot is made as soon as it does.
func (s *sourceShard) promptSnapshot(ctx context.Context) {
	conn, err := connect.Open(ctx, s.server, "replica")
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for {
		if _, err := conn.Exec(ctx, `SELECT pg_log_standby_snapshot()`); err != nil {
			return
		}
		if wait(ctx, time.Second) != nil {
			return
		}
	}
}

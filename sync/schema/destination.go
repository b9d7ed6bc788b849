package schema

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// Destination is one shard of the destination as it was found.
type Destination struct {
	Server      config.Server
	Shards      int // how many shards the cluster has
	Facts       catalog.Server
	Archive     *dump.Archive
	Indexes     map[uint32]catalog.Index
	Constraints map[uint32]catalog.Constraint
	Sizes       map[catalog.Name]catalog.Size
	Live        map[catalog.Name]bool // tables that somebody writes to
	Sequences   []catalog.Sequence    // read for the cutover phase only
}

// liveSample is how long writes are watched before a table is taken for idle.
// A busy backend reports its counters at least once a second
// (PGSTAT_MIN_INTERVAL in pgstat.c).
const liveSample = 1200 * time.Millisecond

// blockingSize is the size in bytes from which a build that blocks writers
// would be felt; smaller tables are not watched.
const blockingSize = 4 << 20

// ReadDestination dumps a shard and reads its catalogs.
func ReadDestination(ctx context.Context, server config.Server, shards int, opts ReadOptions) (*Destination, error) {
	d := &Destination{Server: server, Shards: shards}
	err := inSnapshot(ctx, server, func(conn *pgx.Conn, snapshot string) error {
		// pg_dump has connections of its own; this one is free meanwhile.
		group, reading := errgroup.WithContext(ctx)
		group.Go(func() (err error) {
			d.Archive, err = runDump(reading, server, snapshot, opts)
			return err
		})
		group.Go(func() error { return d.readFacts(reading, conn, opts) })
		return group.Wait()
	})
	if err == nil && opts.Phase == dump.PostData {
		err = d.watchWrites(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", connect.Place(server), err)
	}
	return d, nil
}

func (d *Destination) readFacts(ctx context.Context, conn *pgx.Conn, opts ReadOptions) (err error) {
	if d.Facts, err = catalog.ReadServer(ctx, conn); err != nil {
		return err
	}
	if d.Indexes, err = catalog.ReadIndexes(ctx, conn); err != nil {
		return err
	}
	if d.Constraints, err = catalog.ReadConstraints(ctx, conn); err != nil {
		return err
	}
	if d.Sizes, err = catalog.ReadSizes(ctx, conn); err != nil {
		return err
	}
	if opts.Phase == dump.Cutover {
		d.Sequences, err = catalog.ReadSequences(ctx, conn)
	}
	return err
}

// watchWrites finds the tables that are being written to: their counters move
// between two looks, or a session holds a lock to write.
func (d *Destination) watchWrites(ctx context.Context) error {
	d.Live = map[catalog.Name]bool{}
	watched := false
	for _, size := range d.Sizes {
		watched = watched || size.Bytes >= blockingSize
	}
	if !watched {
		return nil
	}
	conn, err := connect.Open(ctx, d.Server, "schema reader")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := pause(ctx, liveSample); err != nil {
		return err
	}
	later, err := catalog.ReadSizes(ctx, conn)
	if err != nil {
		return err
	}
	for name, now := range later {
		before := d.Sizes[name]
		if now.Locked || before.Locked || now.Writes != before.Writes {
			d.Live[name] = true
		}
	}
	return nil
}

// pause lets time pass, which nothing but a clock can tell.
func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

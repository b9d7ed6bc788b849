package schema

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// Source is the source database as one snapshot shows it: the dump and the
// facts its table of contents leaves out.
type Source struct {
	Server      config.Server
	Facts       catalog.Server
	Archive     *dump.Archive
	Publication catalog.Publication
	Constraints map[uint32]catalog.Constraint
	Indexes     map[uint32]catalog.Index
	Firing      map[uint32]catalog.Fires
	Populated   map[catalog.Name]bool // materialized views that hold their contents
	Sequences   []catalog.Sequence    // read for the cutover phase only
	IntegerKeys []catalog.IntegerKey  // read when keys are widened only
	IndexSQL    map[uint32]string     // pg_get_indexdef of what is built by itself
}

// ReadOptions say how databases are read.
type ReadOptions struct {
	Binary         dump.Binary
	Phase          dump.Phase
	Publication    string
	WidenKeys      bool
	LockTimeout    time.Duration // pg_dump waits no longer for a table's ACCESS SHARE lock
	ExcludeSchemas []string
	// QuoteAll quotes every identifier in definitions, as pg_dump's manual asks
	// for when majors differ: a word may be a keyword on one side only. It must
	// be the same for both sides of a comparison.
	QuoteAll bool
}

// ReadSource dumps the source on an exported snapshot and reads the catalogs
// in the same snapshot, so that both speak of the same moment.
func ReadSource(ctx context.Context, server config.Server, opts ReadOptions) (*Source, error) {
	s := &Source{Server: server}
	err := inSnapshot(ctx, server, func(conn *pgx.Conn, snapshot string) error {
		// pg_dump has connections of its own; this one is free meanwhile.
		group, reading := errgroup.WithContext(ctx)
		group.Go(func() (err error) {
			s.Archive, err = runDump(reading, server, snapshot, opts)
			return err
		})
		group.Go(func() error { return s.readFacts(reading, conn, opts) })
		return group.Wait()
	})
	if err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", connect.Place(server), err)
	}
	return s, nil
}

// inSnapshot runs do inside a read-only transaction whose snapshot other
// sessions can take over while do runs.
func inSnapshot(ctx context.Context, server config.Server, do func(conn *pgx.Conn, snapshot string) error) error {
	conn, err := connect.Open(ctx, server, "schema reader")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("begin a read-only transaction: %w", err)
	}
	// The transaction only reads: how it ends does not matter.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	var snapshot string
	if err := tx.QueryRow(ctx, `SELECT pg_export_snapshot()`).Scan(&snapshot); err != nil {
		return fmt.Errorf("export a snapshot: %w", err)
	}
	return do(conn, snapshot)
}

func runDump(ctx context.Context, server config.Server, snapshot string, opts ReadOptions) (*dump.Archive, error) {
	return opts.Binary.Run(ctx, dump.Options{
		Server: server, Snapshot: snapshot, LockTimeout: opts.LockTimeout, QuoteAllIdentifiers: opts.QuoteAll,
		ExcludeSchemas:  append([]string{"pgdrover"}, opts.ExcludeSchemas...),
		ExcludePrefixes: []string{resync.ShadowPrefix, resync.StagePrefix, resync.OldPrefix},
	})
}

func (s *Source) readFacts(ctx context.Context, conn *pgx.Conn, opts ReadOptions) (err error) {
	if s.Facts, err = catalog.ReadServer(ctx, conn); err != nil {
		return err
	}
	if opts.Publication != "" {
		if s.Publication, _, err = catalog.ReadPublication(ctx, conn, opts.Publication); err != nil {
			return err
		}
	}
	if s.Constraints, err = catalog.ReadConstraints(ctx, conn); err != nil {
		return err
	}
	if s.Indexes, err = catalog.ReadIndexes(ctx, conn); err != nil {
		return err
	}
	if s.Firing, err = catalog.ReadFiring(ctx, conn); err != nil {
		return err
	}
	sizes, err := catalog.ReadSizes(ctx, conn)
	if err != nil {
		return err
	}
	s.Populated = map[catalog.Name]bool{}
	for name, size := range sizes {
		s.Populated[name] = size.Populated
	}
	if opts.WidenKeys {
		if s.IntegerKeys, err = catalog.ReadIntegerKeys(ctx, conn); err != nil {
			return err
		}
	}
	if opts.Phase == dump.Cutover {
		s.Sequences, err = catalog.ReadSequences(ctx, conn)
	}
	return err
}

// ReadIndexSQL fetches the definitions of the indexes of tables that hold rows
// on some shard: only those are built by a statement of their own.
func (s *Source) ReadIndexSQL(ctx context.Context, quoteAll bool, filled func(catalog.Name) bool) error {
	var oids []uint32
	for oid, index := range s.Indexes {
		if filled(index.Table) {
			oids = append(oids, oid)
		}
	}
	if len(oids) == 0 {
		return nil
	}
	slices.Sort(oids)
	conn, err := connect.Open(ctx, s.Server, "schema reader")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if quoteAll {
		if _, err := conn.Exec(ctx, "SET quote_all_identifiers = on"); err != nil {
			return err
		}
	}
	s.IndexSQL, err = catalog.IndexDefinitions(ctx, conn, oids)
	return err
}

package mirror

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// sizes gives the bytes of tables on the source.
func (s *sourceShard) sizes(ctx context.Context, keys []tableKey) (map[catalog.Name]int64, error) {
	conn, err := connect.Open(ctx, s.server, "tables")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	relations, err := catalog.ReadRelations(ctx, conn, tableNames(keys))
	if err != nil {
		return nil, err
	}
	leaves, err := tablecopy.ReadLeaves(ctx, conn, tableNames(keys))
	if err != nil {
		return nil, err
	}
	out := map[catalog.Name]int64{}
	for name, r := range relations {
		out[name] = r.Bytes
		for _, leaf := range leaves[name] {
			out[name] += leaf.Bytes
		}
	}
	return out, nil
}

func tableNames(keys []tableKey) []catalog.Name {
	out := make([]catalog.Name, len(keys))
	for i, key := range keys {
		out[i] = key.table
	}
	return out
}

// clearMissing empties the tables that are about to be copied, on every shard of
// the destination: what an earlier attempt has left there would be doubled.
func (j *copyData) clearMissing(ctx context.Context) error {
	for _, server := range j.pair.destination {
		if err := j.clearOn(ctx, server); err != nil {
			return fmt.Errorf("empty the tables of %s: %w", connect.Place(server), err)
		}
	}
	return nil
}

func (j *copyData) clearOn(ctx context.Context, server config.Server) error {
	conn, err := connect.Open(ctx, server, "copy")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, s := range j.sources {
		var begun, first []tableKey
		for _, key := range s.missing() {
			if row, _ := j.tables.get(key); row.Attempt > 0 || TableState(row.State) == TableResyncing {
				begun = append(begun, key)
			} else {
				first = append(first, key)
			}
		}
		if err := s.refuseFilled(ctx, conn, server, first); err != nil {
			return err
		}
		if len(begun) == 0 {
			continue
		}
		if err := j.setAside(ctx, conn, begun); err != nil {
			return err
		}
		if err := tablecopy.Clear(ctx, conn, j.pair.mirror, s.number, j.destinationNames(tableNames(begun))); err != nil {
			return err
		}
	}
	return nil
}

// refuseFilled stops tables that were never copied and hold rows nevertheless:
// what somebody else has put there is not ours to remove, and the rows of a copy
// would be mixed with it.
func (s *sourceShard) refuseFilled(ctx context.Context, conn *pgx.Conn, server config.Server, keys []tableKey) error {
	names := s.job.destinationNames(tableNames(keys))
	relations, err := catalog.ReadRelations(ctx, conn, names)
	if err != nil {
		return err
	}
	for i, key := range keys {
		r := relations[names[i]]
		if r == nil || r.Relkind != 'p' && r.Pages == 0 {
			continue
		}
		only := "ONLY "
		if r.Relkind == 'p' {
			only = ""
		}
		name := dump.QuoteIdent(names[i].Schema) + "." + dump.QuoteIdent(names[i].Name)
		var filled bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+only+name+")").Scan(&filled); err != nil {
			return err
		}
		if !filled {
			continue
		}
		why := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "table %s of %s holds rows already", names[i], connect.Place(server)).
			WithHint("if nobody needs them: %s replaces them", resyncCommand(s.job.pair.mirror, key.table))
		if err := s.job.tables.stop(ctx, key, why, 0); err != nil {
			return err
		}
	}
	return nil
}

// copyIn copies tables in one snapshot. through is called with each that is in,
// or stopped. into has the tables of the destination that are not those of the
// mapping.
func (s *sourceShard) copyIn(ctx context.Context, in *snapshot, keys []tableKey, into map[catalog.Name]catalog.Name, through func(*sourceShard, catalog.Name)) error {
	tables, err := s.describe(ctx, in, keys, into, through)
	if err != nil || len(tables) == 0 {
		return err
	}
	return s.runCopier(ctx, in, tables, through)
}

// describe reads the tables as the snapshot has them, and finds out how each is
// copied. Those that cannot be are stopped.
func (s *sourceShard) describe(ctx context.Context, in *snapshot, keys []tableKey, into map[catalog.Name]catalog.Name, through func(*sourceShard, catalog.Name)) ([]*tablecopy.Table, error) {
	conn, err := connect.Open(ctx, s.server, "tables")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("begin a read-only transaction: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // it only reads
	if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT '"+in.name+"'"); err != nil {
		return nil, fmt.Errorf("take over the slot's snapshot: %w", err)
	}
	names := tableNames(keys)
	shapes, err := s.shapesOn(ctx, conn, names, into)
	if err != nil {
		return nil, err
	}
	leaves, err := tablecopy.ReadLeaves(ctx, conn, names)
	if err != nil {
		return nil, err
	}
	var out []*tablecopy.Table
	for _, key := range keys {
		table, misfit := s.describeTable(shapes[key.table], leaves[key.table])
		if misfit != nil {
			if err := s.job.tables.stop(ctx, key, withWayOut(misfit, s.job.pair.mirror, key.table), 0); err != nil {
				return nil, err
			}
			through(s, key.table)
			continue
		}
		out = append(out, table)
	}
	return out, nil
}

func (s *sourceShard) describeTable(shape *shape, leaves []*catalog.Relation) (*tablecopy.Table, *pgerror.Error) {
	options := tablecopy.TableOptions{
		Published: shape.published, Source: shape.source, Leaves: leaves, Destination: shape.destination, SourceTypes: shape.sourceTypes,
		DestinationTypes: shape.destinationTypes, Text: s.job.config.General.ReshardingCopyFormat == "text",
	}
	if shape.source != nil {
		table, problem := s.job.copyMapping(shape.source.Table)
		if problem != nil {
			return nil, problem
		}
		var columns []shard.Column
		for _, name := range shape.published.Columns {
			if at := shape.source.Position(name); at >= 0 {
				columns = append(columns, keyColumn(name, shape.source.Columns[at].Type, shape.sourceTypes))
			}
		}
		key, err := s.job.routing(table, columns)
		if err != nil {
			return nil, pgerror.From(err)
		}
		options.Key, options.Mapping = key, table
	}
	return tablecopy.NewTable(options)
}

// begin records that the copy of tables begins.
func (s *sourceShard) beginCopy(ctx context.Context, in *snapshot, tables []*tablecopy.Table, ranges []*tablecopy.Range) error {
	count, sql := map[*tablecopy.Table]int64{}, map[*tablecopy.Table]string{}
	for _, r := range ranges {
		count[r.Table]++
		if r.Number == 0 {
			sql[r.Table] = r.SQL()
		}
	}
	for _, t := range tables {
		rows, bytes := t.Estimate()
		s.job.tables.note(tableKey{s.number, t.Source.Table}, func(row *state.Table) {
			row.TotalRows, row.TotalBytes, row.Ranges, row.Format, row.FormatWhy = rows, bytes, count[t], t.Format.String(), t.Why
			row.Rows, row.Bytes, row.RangesDone, row.StartedAt, row.FinishedAt, row.SQL = 0, 0, 0, nil, nil, sql[t]
			row.Attempt++
			// Of when the publication was read that this copy goes by, which may be
			// before the snapshot: what has changed since is found at the next look.
			row.SyncLSN, row.Membership = in.at, s.membership(t.Source.Table)
		})
	}
	keys := make([]tableKey, len(tables))
	for i, t := range tables {
		keys[i] = tableKey{s.number, t.Source.Table}
	}
	return s.job.tables.set(ctx, TableCopying, nil, keys...)
}

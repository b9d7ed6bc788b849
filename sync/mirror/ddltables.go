package mirror

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// numbered finds the table of a shard that is the relation with an OID.
func (r *tableRegistry) numbered(shard int, oid uint32) (tableKey, state.Table, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, row := range r.tables {
		if key.shard == shard && row.Membership.OID == oid {
			return key, *row, true
		}
	}
	return tableKey{}, state.Table{}, false
}

// rename gives a table another name, durably. What has that name is forgotten.
func (r *tableRegistry) rename(ctx context.Context, from, to tableKey) error {
	if from == to {
		return nil
	}
	err := r.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.RenameTable(ctx, conn, r.journal.mirrorID, from.shard, from.table, to.table)
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	row := r.tables[from]
	if row == nil {
		return nil
	}
	delete(r.tables, from)
	delete(r.dirty, from)
	row.Schema, row.Name = to.table.Schema, to.table.Name
	r.tables[to] = row
	r.dirty[to] = true
	return nil
}

// live tells whether the shard's own stream applies the changes of a table, and
// from where on.
func live(row *state.Table) (from stream.LSN, ok bool) {
	s := TableState(row.State)
	switch {
	case row.LiveLSN != 0:
		return row.LiveLSN, true
	case row.Part == "" && (s == TableStreaming || s == TableCatchingUp):
		return row.SyncLSN, true
	}
	return 0, false
}

// row finds what is recorded of a table of the source.
func (f *schemaFollower) row(oid uint32) (tableKey, state.Table, bool) {
	if d := f.registry.Table(oid); d != nil {
		key := tableKey{f.source.number, d.Table}
		if row, ok := f.source.job.tables.get(key); ok && row.Membership.OID == oid {
			return key, row, true
		}
	}
	return f.source.job.tables.numbered(f.source.number, oid)
}

// settleNames brings the names of tables in line with those that the source's
// had at the position of the destination: a rename may have been recorded by a
// run that was killed before it was made.
func (f *schemaFollower) settleNames(ctx context.Context) error {
	waiting := map[tableKey]tableKey{}
	for _, d := range f.registry.Tables() {
		key, _, ok := f.row(d.OID)
		if wanted := (tableKey{f.source.number, d.Table}); ok && key != wanted {
			waiting[key] = wanted
		}
	}
	return f.renameRows(ctx, waiting)
}

// renameRows renames what is recorded of tables, of which some may have
// exchanged their names.
func (f *schemaFollower) renameRows(ctx context.Context, renames map[tableKey]tableKey) error {
	tables := f.source.job.tables
	var between []tableKey
	for from, to := range renames {
		if _, taken := renames[to]; taken { // it goes first
			aside := tableKey{from.shard, catalog.Name{Schema: from.table.Schema, Name: "pgdrover aside " + from.table.Name}}
			if err := tables.rename(ctx, from, aside); err != nil {
				return err
			}
			between = append(between, from)
			renames[aside] = to
		}
	}
	for _, from := range between {
		delete(renames, from)
	}
	for from, to := range renames {
		if err := tables.rename(ctx, from, to); err != nil {
			return err
		}
	}
	return nil
}

// tellChange records that something was done about a change of the source.
func (f *schemaFollower) tellChange(ctx context.Context, table catalog.Name, at stream.LSN, message string, why *pgerror.Error) {
	job := f.source.job
	e := state.Event{Level: "warning", Kind: "schema", TaskID: job.journal.task, Shard: f.source.number, Schema: table.Schema, Name: table.Name, LSN: at, Message: message, Error: why}
	job.manager.log.Info("schema change of the source", "task", job.journal.task, "shard", f.source.number, "table", table.String(), "lsn", at.String(), "what", message)
	err := job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.AddEvents(ctx, conn, job.journal.mirrorID, e)
	})
	if err != nil {
		job.manager.log.Warn("an event could not be recorded", "task", job.journal.task, "error", err)
	}
}

// keptSchema is where a table of the destination goes whose name another one
// gets.
func keptSchema(oid uint32) string { return fmt.Sprintf("pgdrover_kept_%d", oid) }

// moveAside is the SQL that keeps a table, with its indexes and sequences, and
// frees its name.
func moveAside(table catalog.Name, oid uint32) []string {
	schema := dump.QuoteIdent(keptSchema(oid))
	return []string{
		"CREATE SCHEMA IF NOT EXISTS " + schema,
		"ALTER TABLE IF EXISTS " + dump.QuoteIdent(table.Schema) + "." + dump.QuoteIdent(table.Name) + " SET SCHEMA " + schema,
	}
}

// viaRoot tells whether the rows of a partition are published as its root's.
func (f *schemaFollower) viaRoot(d *catalog.TableDescription) bool {
	if d.Partition == nil || d.Partition.Root == nil {
		return false
	}
	return slices.ContainsFunc(d.Publications, func(p catalog.PublicationDescription) bool {
		return p.Name == f.source.job.req.Publication && p.ViaRoot
	})
}

package mirror

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// settle finds the settings of the job's mirror, which may be recorded, unless
// they are given, and makes of them what the work goes by.
func (j *copyData) settle(ctx context.Context, given *config.Mirror) error {
	definition := config.NewMirror(j.req.Source, j.req.Destination, j.req.Publication)
	definition.Name = j.pair.mirror
	err := at(ctx, j.pair.destination0, func(ctx context.Context, conn *pgx.Conn, server config.Server) error {
		row, ok, err := state.FindMirror(ctx, conn, definition.Name)
		if err != nil || !ok {
			return err
		}
		kept, err := keptMirror{server: server, row: row}.recorded()
		definition, j.remapped, j.began = kept.Mirror, kept.Remapped, row.Request != "" && given == nil
		if err != nil || j.req.Slot == "" {
			return err
		}
		streams, err := state.Streams(ctx, conn, row.ID)
		if err != nil {
			return err
		}
		return j.refuseOtherSlot(streams)
	})
	if err != nil {
		return err
	}
	if given != nil {
		definition = *given
	}
	mapped, problem := mapping.New(j.config, definition)
	if problem != nil {
		return problem
	}
	settings := *j.config
	settings.General.ReshardingParallelCopies, settings.DataSync = j.config.WorkersOf(definition), j.config.DataSyncOf(definition)
	j.strategy = definition.ResyncStrategy
	j.config, j.mapping, j.definition, j.pair.without = &settings, mapped, definition, without(definition)
	if reshapes(definition) {
		j.req.SkipSchema = true // the source's tables are not those of the destination
	}
	return nil
}

// reshapes tells whether tables have another name or form at the destination.
func reshapes(definition config.Mirror) bool {
	if len(definition.Schemas) > 0 {
		return true
	}
	for _, t := range definition.Tables {
		if t.DestinationSchema != "" || t.DestinationName != "" || len(t.ExcludeColumns)+len(t.RenameColumns)+len(t.CastColumns) > 0 {
			return true
		}
	}
	return false
}

// destinationNames gives the names that tables of the source have at the
// destination. One that can have none keeps its own: it is stopped when it is
// described.
func (j *copyData) destinationNames(names []catalog.Name) []catalog.Name {
	out := make([]catalog.Name, len(names))
	for i, name := range names {
		out[i] = name
		if there, problem := j.mapping.Destination(name); problem == nil {
			out[i] = there
		}
	}
	return out
}

// routing finds the sharding key of a table by the names that its columns have
// at the destination.
func (j *copyData) routing(table *mapping.Table, columns []shard.Column) (*shard.Key, error) {
	kept := make([]shard.Column, 0, len(columns))
	for _, c := range columns {
		if mapped, ok := table.Column(c.Name); ok {
			c.Name = mapped.Destination
			kept = append(kept, c)
		}
	}
	return j.router.Table(table.Destination.Schema, table.Destination.Name, kept)
}

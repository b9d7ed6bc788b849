package mirror

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// prepareSource makes the source ready to take the reverse stream: the schema
// pgdrover with its progress table on every shard. What it did is recorded
// behind the statements of the destination.
func (j *schemaSync) prepareSource(ctx context.Context) error {
	if err := j.journal.inner(ctx, "preparing the source to take changes back"); err != nil {
		return err
	}
	for _, server := range j.pair.source {
		row := state.Statement{
			Shard: server.Shard, Database: j.req.Source, User: j.pair.sourceAdmin.Name, Kind: "table", ObjectKind: schema.KindReverse,
			Schema: "pgdrover", Table: "progress", Object: "progress", SQL: "CREATE SCHEMA pgdrover; -- with its tables, on the source",
			State: string(schema.StateDone), Attempts: 1,
		}
		began := time.Now()
		there, err := j.install(ctx, server)
		if err != nil {
			return fmt.Errorf("create the progress table on %s: %w", connect.Place(server), err)
		}
		ended := time.Now()
		row.StartedAt, row.FinishedAt = &began, &ended
		if there {
			row.State, row.Attempts, row.StartedAt, row.FinishedAt = string(schema.StateExisted), 0, nil, nil
		}
		err = j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return state.AddStatement(ctx, conn, j.journal.mirrorID, j.journal.task, j.journal.phase, row)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// install makes the schema pgdrover on a server and tells whether it was there.
func (j *schemaSync) install(ctx context.Context, server config.Server) (there bool, err error) {
	conn, err := connect.Open(ctx, server, "task")
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if there, err = state.Installed(ctx, conn); err != nil {
		return false, err
	}
	return there, state.Install(ctx, conn)
}

package mirror

import (
	"context"
	"fmt"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/ddl"
)

// SetupSchemaRow is what SETUP SCHEMA has done on one shard of a database.
type SetupSchemaRow struct {
	Shard int
	Place string // "database "prod" shard 0 (db1:5432)"
	State string // "installed", "removed"
}

// SetupSchema puts the event triggers into every shard of a database that tell
// its mirrors of schema changes, or takes them away. It may be repeated. Shards
// before the one that fails are done. Mirrors of the database notice by
// themselves, with the next poll.
func (m *Manager) SetupSchema(ctx context.Context, database string, remove bool) ([]SetupSchemaRow, error) {
	all, _, err := servers(m.config(), database)
	if err != nil {
		return nil, err
	}
	var out []SetupSchemaRow
	for _, server := range all {
		row, err := setupSchema(ctx, server, remove)
		if err != nil {
			return out, err
		}
		out = append(out, row)
	}
	return out, nil
}

func setupSchema(ctx context.Context, server config.Server, remove bool) (SetupSchemaRow, error) {
	row := SetupSchemaRow{Shard: server.Shard, Place: connect.Place(server), State: "installed"}
	conn, err := connect.Open(ctx, server, "setup")
	if err != nil {
		return row, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	do := ddl.Install
	if remove {
		do, row.State = ddl.Remove, "removed"
	}
	if err := do(ctx, conn); err != nil {
		return row, fmt.Errorf("%s: %w", row.Place, err)
	}
	return row, nil
}

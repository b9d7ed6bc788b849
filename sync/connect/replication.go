package connect

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
)

// OpenReplication connects to server for the replication protocol. The values
// in a logical stream are printed by the session that sends it, so that its
// settings are pinned like any other's. The caller closes the connection.
func OpenReplication(ctx context.Context, server config.Server, purpose string) (*pgconn.PgConn, error) {
	cfg, err := Config(server, purpose)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["replication"] = "database"
	return openPlain(ctx, server, cfg)
}

// OpenPlain is Open for a session whose protocol the caller speaks itself.
func OpenPlain(ctx context.Context, server config.Server, purpose string) (*pgconn.PgConn, error) {
	cfg, err := Config(server, purpose)
	if err != nil {
		return nil, err
	}
	return openPlain(ctx, server, cfg)
}

func openPlain(ctx context.Context, server config.Server, cfg *pgx.ConnConfig) (*pgconn.PgConn, error) {
	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		return nil, explain(server, err)
	}
	if _, err := conn.Exec(ctx, settings(conn)).ReadAll(); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("set up the session on %s: %w", Place(server), err)
	}
	return conn, nil
}

// settings gives the statements that pin a session's settings.
func settings(conn *pgconn.PgConn) string {
	sql := pinned
	if version(conn) >= 14 {
		sql += "SET idle_session_timeout = 0;\n"
	}
	if version(conn) >= 17 {
		sql += "SET transaction_timeout = 0;\n"
	}
	return sql
}

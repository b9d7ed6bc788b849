package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Server is what one server says of itself and of the role we are.
type Server struct {
	VersionNum      int // 150018
	Version         string
	SystemID        string // of pg_control_system, "" without the right to ask
	Database        string
	User            string
	InRecovery      bool
	Superuser       bool
	CreateDB        bool
	CreateRole      bool
	Replication     bool
	BypassRLS       bool
	CanCreate       bool // CREATE on the database
	WALLevel        string
	Encoding        string
	Collate         string
	CType           string
	MaxConnections  int
	FreeConnections int // for this role, reserved ones left out
	MaxSlots        int
	FreeSlots       int
}

// Major is the major version.
func (s Server) Major() int { return s.VersionNum / 10000 }

// ReadServer asks the server behind conn.
func ReadServer(ctx context.Context, conn *pgx.Conn) (Server, error) {
	var s Server
	err := conn.QueryRow(ctx, `
SELECT current_setting('server_version_num')::int, current_setting('server_version'),
       current_database()::text, current_user::text, pg_is_in_recovery(),
       r.rolsuper, r.rolsuper OR r.rolcreatedb, r.rolsuper OR r.rolcreaterole,
       r.rolsuper OR r.rolreplication, r.rolsuper OR r.rolbypassrls,
       has_database_privilege(d.oid, 'CREATE'),
       current_setting('wal_level'), pg_encoding_to_char(d.encoding), d.datcollate::text, d.datctype::text,
       current_setting('max_connections')::int,
       current_setting('max_connections')::int
         - CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int END
         - (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_replication_slots')::int,
       current_setting('max_replication_slots')::int - (SELECT count(*)::int FROM pg_replication_slots)
FROM pg_roles r, pg_database d
WHERE r.rolname = current_user AND d.datname = current_database()`).Scan(
		&s.VersionNum, &s.Version, &s.Database, &s.User, &s.InRecovery,
		&s.Superuser, &s.CreateDB, &s.CreateRole, &s.Replication, &s.BypassRLS, &s.CanCreate,
		&s.WALLevel, &s.Encoding, &s.Collate, &s.CType,
		&s.MaxConnections, &s.FreeConnections, &s.MaxSlots, &s.FreeSlots)
	if err != nil {
		return s, fmt.Errorf("read what the server is: %w", err)
	}
	return s, nil
}

// SystemIdentifier tells clusters apart: two addresses with one identifier and
// one database name are the same database. "" if the role may not ask.
func SystemIdentifier(ctx context.Context, conn *pgx.Conn) (string, error) {
	var id string
	err := conn.QueryRow(ctx, `
SELECT CASE WHEN has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier::text FROM pg_control_system()) ELSE '' END`).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("read the system identifier: %w", err)
	}
	return id, nil
}

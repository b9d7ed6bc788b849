package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Unreadable lists tables and sequences that the current role may not SELECT
// from: pg_dump could not lock or read them.
func Unreadable(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	return names(ctx, conn, "unreadable tables", `
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE `+userSchemas+` AND c.relkind IN ('r', 'p', 'S', 'm', 'v', 'f')
  AND NOT (has_schema_privilege(n.oid, 'USAGE') AND
           CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END)
ORDER BY 1`)
}

// SuperuserOnly lists what of this database, whose server is of this major
// version, only a superuser can create elsewhere, a line each.
func SuperuserOnly(ctx context.Context, conn *pgx.Conn, major int) ([]string, error) {
	sql := `
WITH made (class, oid, name) AS (
    SELECT 'pg_event_trigger'::regclass, oid, format('event trigger %I', evtname) FROM pg_event_trigger
    UNION ALL SELECT 'pg_publication'::regclass, oid, format('publication %I FOR ALL TABLES', pubname) FROM pg_publication WHERE puballtables
    UNION ALL SELECT 'pg_subscription'::regclass, oid, format('subscription %I', subname) FROM pg_subscription
              WHERE has_column_privilege('pg_subscription', 'subname', 'SELECT') AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, format('foreign data wrapper %I', fdwname) FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_am'::regclass, oid, format('access method %I', amname) FROM pg_am
    UNION ALL SELECT 'pg_language'::regclass, oid, format('language %I', lanname) FROM pg_language
    UNION ALL SELECT 'pg_cast'::regclass, oid, format('cast from %s to %s without function', format_type(castsource, NULL), format_type(casttarget, NULL))
              FROM pg_cast WHERE castmethod = 'b'
    UNION ALL SELECT 'pg_opclass'::regclass, o.oid, format('operator class %I.%I', n.nspname, o.opcname)
              FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace
    UNION ALL SELECT 'pg_ts_parser'::regclass, oid, format('text search parser %I', prsname) FROM pg_ts_parser
    UNION ALL SELECT 'pg_ts_template'::regclass, oid, format('text search template %I', tmplname) FROM pg_ts_template
    UNION ALL SELECT 'pg_type'::regclass, t.oid, format('base type %I.%I', n.nspname, t.typname)
              FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'b' AND t.typelem = 0
    UNION ALL SELECT 'pg_proc'::regclass, p.oid, format('function %s', p.oid::regprocedure)
              FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
              WHERE ` + userSchemas + ` AND NOT l.lanpltrusted AND p.prokind <> 'a'`
	if major >= 15 {
		sql += `
    UNION ALL SELECT 'pg_publication'::regclass, p.oid, format('publication %I FOR TABLES IN SCHEMA', p.pubname)
              FROM pg_publication p WHERE EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid)`
	}
	return names(ctx, conn, "what needs a superuser", sql+`
)
SELECT name FROM made m
WHERE m.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = m.class AND d.objid = m.oid AND d.deptype = 'e')
ORDER BY 1`)
}

// DatabaseSettings lists the names of the settings that ALTER DATABASE, or ALTER
// ROLE … IN DATABASE, has given this database and the destination's has not.
// Their values are nobody's business: some hold keys.
func DatabaseSettings(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	return names(ctx, conn, "settings of the database", `
SELECT coalesce(format('role %I: ', r.rolname), '') || split_part(item, '=', 1)
FROM pg_db_role_setting s
LEFT JOIN pg_roles r ON r.oid = s.setrole
CROSS JOIN unnest(s.setconfig) AS item
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1`)
}

// UsedTablespaces lists tablespaces that relations of this database are in,
// besides the database's own.
func UsedTablespaces(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	return names(ctx, conn, "tablespaces", `
SELECT DISTINCT t.spcname::text FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
WHERE t.spcname <> 'pg_global' ORDER BY 1`)
}

// InvalidIndexes lists indexes that were not finished, and that pg_dump leaves out.
func InvalidIndexes(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	return names(ctx, conn, "invalid indexes", `
SELECT format('%I.%I', n.nspname, x.relname)
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace
WHERE `+userSchemas+` AND NOT i.indisvalid AND x.relkind = 'i'
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 1`)
}

// CanReplicate tells whether the current role may take part in logical
// replication as one that applies changes: it can set session_replication_role.
func CanReplicate(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var ok bool
	err := conn.QueryRow(ctx, `
SELECT rolsuper OR (current_setting('server_version_num')::int >= 150000
                    AND has_parameter_privilege('session_replication_role', 'SET'))
FROM pg_roles WHERE rolname = current_user`).Scan(&ok)
	if err != nil {
		return false, fmt.Errorf("read rights on session_replication_role: %w", err)
	}
	return ok, nil
}

// Unwritable lists those of tables into which the current role may not write.
func Unwritable(ctx context.Context, conn *pgx.Conn, tables []Name) ([]string, error) {
	schemas, tableNames := make([]string, len(tables)), make([]string, len(tables))
	for i, t := range tables {
		schemas[i], tableNames[i] = t.Schema, t.Name
	}
	return names(ctx, conn, "unwritable tables", `
SELECT format('%I.%I', n.nspname, c.relname)
FROM unnest($1::text[], $2::text[]) AS t (s, r)
JOIN pg_namespace n ON n.nspname = t.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.r
WHERE NOT (has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
           AND has_table_privilege(c.oid, 'TRUNCATE'))
ORDER BY 1`, schemas, tableNames)
}

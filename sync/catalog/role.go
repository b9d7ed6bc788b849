package catalog

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Role is a role that objects of a database belong to or that holds rights on
// them. Its password is never read.
type Role struct {
	Name       string
	Attributes string   // "LOGIN CREATEDB", as CREATE ROLE takes them
	MemberOf   []string // roles granted to it
}

// CreateSQL is the command that makes the role, without a password.
func (r Role) CreateSQL() string {
	sql := "CREATE ROLE " + pgx.Identifier{r.Name}.Sanitize()
	if r.Attributes != "" {
		sql += " WITH " + r.Attributes
	}
	return sql + ";"
}

// ReadRoles reads the roles that anything in the current database mentions:
// owners, grantees and grantors, policies, default privileges. They are those
// of pg_shdepend, which misses only the bootstrap superuser; extra names are
// added to them.
func ReadRoles(ctx context.Context, conn *pgx.Conn, extra []string) ([]Role, error) {
	rows, err := conn.Query(ctx, `
SELECT r.rolname::text,
       concat_ws(' ', CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN NOT r.rolinherit THEN 'NOINHERIT' END,
                 CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
                 CASE WHEN r.rolcanlogin THEN 'LOGIN' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
                 CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
                 CASE WHEN r.rolconnlimit >= 0 THEN 'CONNECTION LIMIT ' || r.rolconnlimit END),
       ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
             WHERE m.member = r.oid ORDER BY 1)
FROM pg_roles r
WHERE r.rolname !~ '^pg_'
  AND (r.rolname = ANY ($1)
       OR r.oid IN (SELECT s.refobjid FROM pg_shdepend s
                    WHERE s.refclassid = 'pg_authid'::regclass
                      AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                      AND NOT (s.classid = 'pg_namespace'::regclass AND s.objid IN (SELECT oid FROM pg_namespace WHERE nspname = 'pgdrover' OR nspname ~ '`+resyncSchemas+`'))
                      AND NOT (s.classid = 'pg_class'::regclass AND EXISTS (
                            SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                            WHERE c.oid = s.objid AND (n.nspname = 'pgdrover' OR n.nspname ~ '`+resyncSchemas+`')))))
ORDER BY 1`, extra)
	if err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Role])
	if err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	return out, nil
}

// Owners lists the roles that own something a dump of the current database
// shows. pg_shdepend does not name the bootstrap superuser, so that the owners
// are asked for one catalog after another.
func Owners(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	return names(ctx, conn, "owners", `
WITH made (class, oid, owner) AS (
    SELECT 'pg_class'::regclass, c.oid, c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE `+userSchemas+` AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL SELECT 'pg_namespace'::regclass, n.oid, n.nspowner FROM pg_namespace n WHERE `+userSchemas+`
    UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.proowner FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE `+userSchemas+`
    UNION ALL SELECT 'pg_type'::regclass, t.oid, t.typowner FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
           WHERE `+userSchemas+` AND t.typtype IN ('b', 'd', 'e', 'r') AND t.typelem = 0
    UNION ALL SELECT 'pg_operator'::regclass, o.oid, o.oprowner FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE `+userSchemas+`
    UNION ALL SELECT 'pg_opclass'::regclass, o.oid, o.opcowner FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace WHERE `+userSchemas+`
    UNION ALL SELECT 'pg_opfamily'::regclass, o.oid, o.opfowner FROM pg_opfamily o JOIN pg_namespace n ON n.oid = o.opfnamespace WHERE `+userSchemas+`
    UNION ALL SELECT 'pg_collation'::regclass, o.oid, o.collowner FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE `+userSchemas+`
    UNION ALL SELECT 'pg_conversion'::regclass, o.oid, o.conowner FROM pg_conversion o JOIN pg_namespace n ON n.oid = o.connamespace WHERE `+userSchemas+`
    UNION ALL SELECT 'pg_statistic_ext'::regclass, o.oid, o.stxowner FROM pg_statistic_ext o JOIN pg_namespace n ON n.oid = o.stxnamespace WHERE `+userSchemas+`
    UNION ALL SELECT 'pg_ts_config'::regclass, o.oid, o.cfgowner FROM pg_ts_config o JOIN pg_namespace n ON n.oid = o.cfgnamespace WHERE `+userSchemas+`
    UNION ALL SELECT 'pg_ts_dict'::regclass, o.oid, o.dictowner FROM pg_ts_dict o JOIN pg_namespace n ON n.oid = o.dictnamespace WHERE `+userSchemas+`
    UNION ALL SELECT 'pg_language'::regclass, oid, lanowner FROM pg_language
    UNION ALL SELECT 'pg_publication'::regclass, oid, pubowner FROM pg_publication
    UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtowner FROM pg_event_trigger
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwowner FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner FROM pg_foreign_server
)
SELECT DISTINCT r.rolname::text
FROM made m JOIN pg_roles r ON r.oid = m.owner
WHERE m.oid >= 16384 AND r.rolname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = m.class AND d.objid = m.oid AND d.deptype = 'e')
ORDER BY 1`)
}

// Missing gives those of names that query does not find. what is one of the
// kinds below.
func Missing(ctx context.Context, conn *pgx.Conn, what Kind, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	rows, err := conn.Query(ctx, `SELECT x FROM unnest($1::text[]) x WHERE NOT EXISTS (`+missingQuery[what]+`) ORDER BY 1`, names)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", what, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", what, err)
	}
	return out, nil
}

// Kind is a kind of object that lives outside one database, or comes with the
// server's installation.
type Kind string

// What Missing can look for.
const (
	Roles       Kind = "roles"
	Tablespaces Kind = "tablespaces"
	Extensions  Kind = "available extensions"
)

var missingQuery = map[Kind]string{
	Roles:       `SELECT FROM pg_roles WHERE rolname = x`,
	Tablespaces: `SELECT FROM pg_tablespace WHERE spcname = x`,
	Extensions:  `SELECT FROM pg_available_extensions WHERE name = x`,
}

// NotMemberOf gives those roles that the current user could not give an
// object to: it is neither a superuser nor a member of them.
func NotMemberOf(ctx context.Context, conn *pgx.Conn, roles []string) ([]string, error) {
	return names(ctx, conn, "memberships", `
SELECT x FROM unnest($1::text[]) x JOIN pg_roles r ON r.rolname = x
WHERE NOT pg_has_role(current_user, r.oid, 'MEMBER') ORDER BY 1`, roles)
}

// Extension is an installed extension.
type Extension struct {
	Name    string
	Version string
	Trusted bool // may be created by a role that is not superuser
}

// ReadExtensions lists what CREATE EXTENSION made in this database.
func ReadExtensions(ctx context.Context, conn *pgx.Conn) ([]Extension, error) {
	rows, err := conn.Query(ctx, `
SELECT e.extname::text, e.extversion, coalesce(v.trusted, false)
FROM pg_extension e LEFT JOIN pg_available_extension_versions v ON v.name = e.extname AND v.version = e.extversion
WHERE e.extname <> 'plpgsql' ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("read extensions: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Extension])
	if err != nil {
		return nil, fmt.Errorf("read extensions: %w", err)
	}
	return out, nil
}

// NameList writes names for a message: at most limit of them, then how many
// more there are.
func NameList(names []string, limit int) string {
	if len(names) <= limit {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:limit], ", "), len(names)-limit)
}

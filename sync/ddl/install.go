package ddl

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

//go:embed triggers.sql
var triggersSQL string

// settings are those of the event trigger functions: what a session may have
// set to other values and what would change the texts of an image. A lock that
// an image has to wait for costs the image, not the command.
const settings = `SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' SET jit = off SET plan_cache_mode = force_generic_plan SET max_parallel_workers_per_gather = 0
  SET "TimeZone" = 'UTC' SET "DateStyle" = 'ISO, YMD' SET "IntervalStyle" = 'postgres' SET extra_float_digits = 3 SET bytea_output = 'hex'
  SET quote_all_identifiers = off SET standard_conforming_strings = on SET transform_null_equals = off SET row_security = off`

// allowed is SQL that tells whether messages can be written. The function has
// other arguments in other versions, and the server may be upgraded.
const allowed = `coalesce((SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege(p.oid, 'EXECUTE')) FROM pg_catalog.pg_proc p
      WHERE p.proname = 'pg_logical_emit_message' AND p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace), false)`

// trigger is one of the event triggers. They are ENABLE ALWAYS: rows that a
// session with session_replication_role = replica writes are in the stream, so
// its schema changes have to be as well.
type trigger struct {
	name, event, function string
	tags                  []string
}

// triggers are all of them. The tags are those of commands that can change
// what rows look like, which of them are published, or what a mirror copies;
// sql_drop has none, because a column can be dropped by any DROP … CASCADE.
var triggers = []trigger{
	{"pgdrover_ddl_drop", "sql_drop", "ddl_drop", nil},
	{"pgdrover_ddl_end", "ddl_command_end", "ddl_end", []string{
		"ALTER DOMAIN", "ALTER INDEX", "ALTER PUBLICATION", "ALTER SCHEMA", "ALTER TABLE", "ALTER TYPE",
		"CREATE DOMAIN", "CREATE INDEX", "CREATE PUBLICATION", "CREATE SCHEMA", "CREATE TABLE", "CREATE TABLE AS", "CREATE TYPE", "SELECT INTO",
	}},
	{"pgdrover_ddl_rewrite", "table_rewrite", "ddl_rewrite", nil},
}

// droppedTypes are the kinds of dropped objects that are told.
var droppedTypes = []string{
	"table", "table column", "table constraint", "default value", "index", "type", "domain",
	"publication", "publication relation", "publication namespace", "schema",
}

// State is what of the event triggers is in a source.
type State struct {
	Installed bool // all of them are there and fire
	Current   bool // and are what Install would make there now
	// Missing says what is wrong, "" if nothing is.
	Missing string
}

// Install puts the event triggers, and their functions in the schema pgdrover,
// into the database that conn is connected to. It may be repeated, and replaces
// what an older version has left. It takes a superuser, or the role that a
// provider lets create event triggers: else it is 42501, and a Poller does.
//
// A transaction that has changed a schema before Install and commits after it
// is not announced: what is to rely on the messages begins with a slot that is
// made after Install, which waits for all such transactions.
func Install(ctx context.Context, conn *pgx.Conn) error {
	script, err := scriptFor(ctx, conn)
	if err != nil {
		return err
	}
	if _, err := conn.PgConn().Exec(ctx, script.install()).ReadAll(); err != nil {
		return installFailed(ctx, conn, err)
	}
	return nil
}

// Remove takes everything away that Install has made, the schema pgdrover if
// nothing else is in it. What is not there is no error.
func Remove(ctx context.Context, conn *pgx.Conn) error {
	script, err := scriptFor(ctx, conn)
	if err != nil {
		return err
	}
	if _, err := conn.PgConn().Exec(ctx, script.remove()).ReadAll(); err != nil {
		return fmt.Errorf("remove the event triggers: %w", err)
	}
	return nil
}

// Installed tells whether schema changes are announced.
func Installed(ctx context.Context, conn *pgx.Conn) (State, error) {
	script, err := scriptFor(ctx, conn)
	if err != nil {
		return State{}, err
	}
	names := make([]string, len(triggers))
	for i, t := range triggers {
		names[i] = t.name
	}
	var present, firing []string
	var version, off string
	err = conn.QueryRow(ctx, `
SELECT coalesce(pg_catalog.array_agg(t.evtname::text), '{}'), coalesce(pg_catalog.array_agg(t.evtname::text) FILTER (WHERE t.evtenabled = 'A'), '{}'),
       coalesce((SELECT pg_catalog.obj_description(p.oid, 'pg_proc') FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
                 WHERE n.nspname = 'pgdrover' AND p.proname = 'ddl_end'), ''),
       coalesce(pg_catalog.current_setting('event_triggers', true), 'on')
FROM pg_catalog.pg_event_trigger t WHERE t.evtname::text = ANY ($1::text[])`, names).Scan(&present, &firing, &version, &off)
	if err != nil {
		return State{}, fmt.Errorf("look for the event triggers: %w", err)
	}
	s := State{Installed: len(firing) == len(triggers) && off == "on"}
	s.Current = s.Installed && version == script.version()
	switch {
	case len(present) < len(triggers):
		s.Missing = fmt.Sprintf("%d of %d event triggers are missing", len(triggers)-len(present), len(triggers))
	case len(firing) < len(triggers):
		s.Missing = fmt.Sprintf("%d of %d event triggers are disabled, or not enabled always", len(triggers)-len(firing), len(triggers))
	case off != "on":
		s.Missing = "event_triggers is off"
	case !s.Current:
		s.Missing = "they were made by another version of pgdrover, or for another version of PostgreSQL"
	}
	return s, nil
}

// script makes the SQL for one version of the server.
type script struct{ versionNum int }

func scriptFor(ctx context.Context, conn *pgx.Conn) (script, error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('server_version_num')::int4`).Scan(&version); err != nil {
		return script{}, fmt.Errorf("ask for the server's version: %w", err)
	}
	return script{version}, nil
}

// functions is triggers.sql for this server.
func (s script) functions() string {
	dropped := make([]string, len(droppedTypes))
	for i, t := range droppedTypes {
		dropped[i] = dump.QuoteLiteral(t)
	}
	schemas := ""
	if s.versionNum >= 150000 {
		schemas = `UNION SELECT pn.pnpubid FROM command c JOIN pg_catalog.pg_publication_namespace pn ON pn.oid = c.objid
            WHERE c.classid = 'pg_catalog.pg_publication_namespace'::pg_catalog.regclass`
	}
	return strings.NewReplacer(
		"@DESCRIPTION@", catalog.DescriptionSQL(s.versionNum, "ddl_describe.relation"),
		"@TYPE@", typeSQL("ddl_type.wanted"),
		"@PUBLICATION@", publicationSQL(s.versionNum, "ddl_publication.wanted"),
		"@LEAF_MISSING@", leafMissingSQL("ddl_leaf_missing.relation"),
		"@PUBLICATION_SCHEMAS@", schemas,
		"@DROPPED_TYPES@", strings.Join(dropped, ", "),
		"@ALLOWED@", allowed,
		"@SETTINGS@", settings,
		"@PREFIX@", Prefix,
		"@IMAGE_LIMIT@", strconv.Itoa(imageLimit),
		"@COMMAND_LIMIT@", strconv.Itoa(commandLimit),
		"@COMMAND_IMAGES@", strconv.Itoa(commandImages),
	).Replace(triggersSQL)
}

// functionNames are the functions that triggers.sql makes, with their arguments.
var functionNames = []string{
	"ddl_end()", "ddl_drop()", "ddl_rewrite()",
	"ddl_end_messages(text, text)", "ddl_drop_messages(text)", "ddl_rewrite_messages(text, text)",
	"ddl_message(text, text, json, oid, integer)", "ddl_failed(text, text)", "ddl_sees()", "ddl_plain(text)",
	"ddl_touched(oid)", "ddl_leaf_missing(oid)", "ddl_of_users(text)", "ddl_describe(oid)", "ddl_type(oid)", "ddl_publication(oid)",
}

// version is what the comment on ddl_end() has to be.
func (s script) version() string {
	sum := sha256.Sum256([]byte(s.functions() + fmt.Sprint(triggers)))
	return "pgdrover schema changes " + hex.EncodeToString(sum[:8])
}

func (s script) install() string {
	var b strings.Builder
	b.WriteString("BEGIN;\n" + dropTriggers() + s.functions())
	for _, f := range functionNames {
		fmt.Fprintf(&b, "REVOKE ALL ON FUNCTION pgdrover.%s FROM PUBLIC;\n", f)
	}
	for _, t := range triggers {
		when := ""
		if len(t.tags) > 0 {
			when = " WHEN TAG IN ('" + strings.Join(t.tags, "', '") + "')"
		}
		fmt.Fprintf(&b, "CREATE EVENT TRIGGER %s ON %s%s EXECUTE FUNCTION pgdrover.%s();\nALTER EVENT TRIGGER %s ENABLE ALWAYS;\n",
			t.name, t.event, when, t.function, t.name)
	}
	fmt.Fprintf(&b, "COMMENT ON FUNCTION pgdrover.ddl_end() IS %s;\nCOMMIT", dump.QuoteLiteral(s.version()))
	return b.String()
}

func (s script) remove() string {
	var b strings.Builder
	b.WriteString("BEGIN;\n" + dropTriggers())
	for _, f := range functionNames {
		fmt.Fprintf(&b, "DROP FUNCTION IF EXISTS pgdrover.%s;\n", f)
	}
	b.WriteString(`DO $pgdrover$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = 'pgdrover'
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = n.oid)) THEN
    DROP SCHEMA pgdrover;
  END IF;
END $pgdrover$;
COMMIT`)
	return b.String()
}

func dropTriggers() string {
	var b strings.Builder
	for _, t := range triggers {
		fmt.Fprintf(&b, "DROP EVENT TRIGGER IF EXISTS %s;\n", t.name)
	}
	return b.String()
}

// installFailed says what can be done without the right to create event
// triggers. The transaction that failed is ended.
func installFailed(ctx context.Context, conn *pgx.Conn, err error) error {
	_, rollback := conn.PgConn().Exec(context.WithoutCancel(ctx), "ROLLBACK").ReadAll()
	wrapped := fmt.Errorf("install the event triggers: %w", err)
	if pgerror.Code(err) != pgerror.InsufficientPrivilege {
		return errors.Join(wrapped, rollback)
	}
	e := *pgerror.From(wrapped)
	e.Detail = "Only a superuser, or the role that a provider has made for it, can create event triggers. Without them the catalogs are polled: schema changes are followed too, later."
	e.Hint = "make the schema admin of this database a role that can create event triggers, for the time of SETUP SCHEMA: ALTER ROLE … SUPERUSER;"
	return &e
}

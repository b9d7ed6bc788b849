package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

// TestScope takes only the published tables, and what they need.
func TestScope(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	source, destination := c.CreateDatabase(t), c.CreateDatabase(t)
	source.Exec(t, `
CREATE SCHEMA kept; CREATE SCHEMA other;
CREATE TYPE kept.mood AS ENUM ('good', 'bad');
CREATE FUNCTION kept.one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE other.unpublished (id int PRIMARY KEY);
CREATE TABLE kept.published (id int DEFAULT kept.one() PRIMARY KEY, mood kept.mood, other int REFERENCES other.unpublished);
CREATE INDEX published_mood ON kept.published (mood);
CREATE VIEW other.v AS SELECT * FROM kept.published;
CREATE FUNCTION other.unused() RETURNS int LANGUAGE sql AS 'SELECT 2';
CREATE PUBLICATION all_tables FOR TABLE kept.published`)
	s := between(source, destination)
	s.extra = "\n[schema_sync]\nscope = \"publication\"\n"
	m := s.manager(t)
	if d, _, err := m.SchemaDiff(t.Context(), "prod", "prod_new"); pgerror.Code(err) != pgerror.ObjectNotInPrerequisiteState {
		t.Errorf("before any sync, without a publication to go by, the comparison tells %d differences and %s", len(d), full(err))
	}
	_, warnings, err := m.SchemaPlan(t.Context(), request(dump.PostData))
	if err != nil {
		t.Fatal(full(err))
	}
	told := ""
	for _, w := range warnings {
		told += full(w)
	}
	has(t, []string{told}, "published_other_fkey", "other", `scope = "database"`)
	for _, phase := range phases {
		succeed(t, m, request(phase))
	}
	rowsOf(t, destination, `SELECT n.nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('kept', 'other') ORDER BY 2`,
		"kept|published", "kept|published_mood", "kept|published_pkey")
	rowsOf(t, destination, "SELECT proname FROM pg_proc WHERE proname IN ('one', 'unused')", "one")
}

// TestLeftOut leaves out owners, grants and schemas by option.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, `
CREATE SCHEMA secret; CREATE TABLE secret.hidden (id int PRIMARY KEY);
CREATE TABLE items (id int PRIMARY KEY); ALTER TABLE items OWNER TO pg_monitor; GRANT SELECT ON items TO pg_read_all_settings`)
	s := between(source, destination)
	s.extra = "\n[schema_sync]\nexclude_schemas = [\"secret\"]\n"
	m := s.manager(t)
	for _, phase := range phases {
		req := request(phase)
		req.NoOwner, req.NoPrivileges = true, true
		succeed(t, m, req)
	}
	rowsOf(t, destination, "SELECT relowner::regrole, relacl IS NULL FROM pg_class WHERE relname = 'items'", "postgres|t")
	rowsOf(t, destination, "SELECT nspname FROM pg_namespace WHERE nspname = 'secret'")
	destination.Exec(t, "DROP TABLE items")
	arrives(t, m)
	rowsOf(t, destination, "SELECT relowner::regrole, has_table_privilege('pg_read_all_settings', 'items', 'SELECT') FROM pg_class WHERE relname = 'items'", "pg_monitor|t")
}

// TestOwnersDiffer moves between clusters whose superusers have other names.
func TestOwnersDiffer(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	c.Database("postgres").Exec(t, "CREATE ROLE shop_boss; CREATE ROLE admin_here SUPERUSER LOGIN")
	owned(t, "shop_boss")
	source, destination := pgtest.Shared(t, 0).CreateDatabase(t), c.CreateDatabase(t)
	source.Exec(t, orders+`CREATE PUBLICATION all_tables FOR ALL TABLES; ALTER TABLE shop.orders OWNER TO shop_boss; ALTER SCHEMA shop OWNER TO shop_boss; ALTER MATERIALIZED VIEW shop.totals OWNER TO shop_boss;
		GRANT SELECT ON shop.customers TO shop_boss`)
	s := between(source, destination)
	s.destination[0].user = "admin_here"
	m := s.manager(t)
	succeed(t, m, request(dump.PreData))
	destination.Exec(t, rows)
	arrives(t, m)
	rowsOf(t, destination, `SELECT relname, relowner::regrole FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind IN ('r', 'm') ORDER BY 1`,
		"customers|postgres", "orders|shop_boss", "totals|shop_boss")
}

// TestPostCutover prepares both sides for changes that flow back.
func TestPostCutover(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, orders+"; CREATE TABLE keyless (a int); ALTER TABLE keyless REPLICA IDENTITY FULL")
	s := between(source, destination)
	m := s.manager(t)
	arrives(t, m)
	destination.Exec(t, "DROP PUBLICATION all_tables; ALTER TABLE keyless REPLICA IDENTITY DEFAULT")
	succeed(t, m, request(dump.PostCutover))
	rowsOf(t, destination, "SELECT pubname, puballtables FROM pg_publication", "all_tables|t")
	rowsOf(t, destination, "SELECT relreplident FROM pg_class WHERE relname = 'keyless'", "f")
	rowsOf(t, source, "SELECT count(*) FROM pgdrover.progress", "0")
	same(t, m)
	succeed(t, m, request(dump.PostCutover))

	// The schema admin of the old source must be able to apply changes there.
	c := pgtest.Start(t, pgtest.Options{})
	c.Database("postgres").Exec(t, "CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader")
	old, there := c.CreateDatabase(t), c.CreateDatabase(t)
	old.Exec(t, itemsSchema+"; CREATE PUBLICATION all_tables FOR ALL TABLES; GRANT CREATE ON DATABASE "+pgtest.Quote(old.Name)+" TO reader")
	s = between(old, there)
	s.source[0].user = "reader"
	m = s.manager(t)
	arrives(t, m)
	refused := request(dump.PostCutover)
	e := fails(t, m, refused, pgerror.InsufficientPrivilege, "the preflight found 2 problems", "session_replication_role", "may not write to 1 published tables", "public.items")
	for _, sql := range hintedSQL.FindAllString(e.Detail, -1) {
		old.Exec(t, sql)
	}
	succeed(t, m, refused)
}

// TestSecrets looks for passwords in everything that is written or remembered.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const secret = "torture-secret-password"
	c := pgtest.Start(t, pgtest.Options{AuthMethod: "scram-sha-256", SuperuserPassword: adminSecret})
	source, destination := c.CreateDatabase(t), c.CreateDatabase(t)
	server := `CREATE EXTENSION postgres_fdw; CREATE SERVER other_server FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'h', dbname 'd');
		CREATE USER MAPPING FOR PUBLIC SERVER other_server OPTIONS (user 'everyone', password 'SECRET');`
	source.Exec(t, strings.ReplaceAll(server, "SECRET", secret)+`
CREATE SERVER "Server ""3"" $1" FOREIGN DATA WRAPPER postgres_fdw; GRANT USAGE ON FOREIGN SERVER "Server ""3"" $1" TO pg_monitor;
CREATE USER MAPPING FOR postgres SERVER "Server ""3"" $1" OPTIONS (user 'x', password 'it''s \ "`+secret+`');
CREATE PUBLICATION all_tables FOR ALL TABLES;`+itemsSchema)
	source.Exec(t, "CREATE SUBSCRIPTION sub CONNECTION 'host=publisher.invalid user=repl password="+secret+"' PUBLICATION p WITH (connect = false, slot_name = NONE)")
	// The server is there in another form: that is told as drift.
	destination.Exec(t, strings.ReplaceAll(server, "SECRET", "another-"+secret))
	s := between(source, destination)
	s.source[0].password, s.destination[0].password = adminSecret, adminSecret
	paths := s.write(t)
	var told strings.Builder
	tell := func(code int, args ...string) {
		output, got := launch(t, paths, args...).end()
		if got != code {
			t.Errorf("%v ends with exit code %d, not %d:\n%s", args, got, code, output)
		}
		told.WriteString(output)
	}
	tell(0, schemaSync(dump.PreData, "--dry-run")...)
	tell(0, schemaSync(dump.PostData, "--dry-run", "--json")...)
	tell(1, schemaSync(dump.PreData)...)
	tell(1, schemaSync(dump.PreData, "--json")...)
	for _, phase := range append(phases[:3:3], dump.PostCutover) {
		tell(0, schemaSync(phase, "--ignore-errors")...)
	}
	tell(1, "schema-diff", "--from-database", "prod", "--to-database", "prod_new")
	m := s.manager(t)
	statements, _, err := m.Statements(t.Context())
	if err != nil {
		t.Fatal(full(err))
	}
	fmt.Fprintf(&told, "%+v", statements)
	remembered(t, &told, destination)
	for _, word := range []string{"CREATE USER MAPPING", "CREATE SUBSCRIPTION", "********"} {
		if !strings.Contains(told.String(), word) {
			t.Errorf("nothing tells of %s: nothing is tested", word)
		}
	}
	hidden(t, told.String(), secret, adminSecret)
}

// remembered adds what pgdrover's own tables hold.
func remembered(tb testing.TB, told *strings.Builder, d *pgtest.Database) {
	tb.Helper()
	for _, table := range []string{"mirrors", "tasks", "subtasks", "statements", "progress"} {
		for _, row := range d.Rows(tb, "SELECT row_to_json(x) FROM pgdrover."+table+" x") {
			told.WriteString(row + "\n")
		}
	}
}

// hidden checks that secrets are not told.
func hidden(tb testing.TB, told string, secrets ...string) {
	tb.Helper()
	for _, secret := range secrets {
		if at := strings.Index(told, secret); at >= 0 {
			tb.Errorf("a secret is told: …%s…", told[max(0, at-300):at+len(secret)])
		}
	}
}

package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// itemsSchema is enough of a schema where its contents are of no matter.
const itemsSchema = `CREATE TABLE items (id int PRIMARY KEY, name text); CREATE INDEX items_name ON items (name)`

// unchanged checks that nothing at all was made in a database, not even
// pgdrover's own schema.
func unchanged(tb testing.TB, d *pgtest.Database) {
	tb.Helper()
	made := d.Rows(tb, `SELECT n.nspname, c.relname FROM pg_class c RIGHT JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (c.oid IS NOT NULL OR n.nspname <> 'public')`)
	if len(made) > 0 {
		tb.Errorf("%s was changed: %v", d.Name, made)
	}
}

// warns runs a phase that has to succeed, and gives the warning with all of words.
func warns(tb testing.TB, m *mirror.Manager, req mirror.SchemaSyncRequest, words ...string) *pgerror.Error {
	tb.Helper()
	started, err := m.SchemaSync(tb.Context(), req)
	if err != nil {
		tb.Fatalf("start: %s", full(err))
	}
	if task, err := m.Wait(tb.Context(), started.Task, func(string) {}); err != nil || task.State != mirror.Finished {
		tb.Fatalf("it did not finish: %s, %s", full(err), full(task.Error))
	}
	for _, w := range started.Warnings {
		missing := 0
		for _, word := range words {
			if !strings.Contains(full(w), word) {
				missing++
			}
		}
		if missing == 0 {
			return w
		}
	}
	if len(words) > 0 {
		tb.Fatalf("no warning has %q: %v", words, started.Warnings)
	}
	return nil
}

// script writes an executable that answers as a pg_dump would.
func script(tb testing.TB, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "pg_dump")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestPgDumpMissing(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, itemsSchema)
	s := between(source, destination)
	s.extra = "[replication]\npg_dump_path = \"/nonexistent/pg_dump\"\n"
	fails(t, s.manager(t), request(dump.PreData), pgerror.UndefinedFile,
		`"/nonexistent/pg_dump" cannot be used: there is no such file`, "[replication] pg_dump_path in pgdog.toml, or remove it")
	unchanged(t, destination)

	// Without PATH, a name is found nowhere, and the known places still are.
	s.extra = "[replication]\npg_dump_path = \"pg_dump_of_nobody\"\n"
	output, code := launchIn(t, []string{"PATH="}, s.write(t), schemaSync(dump.PreData)...).end()
	if code != 1 || !strings.Contains(output, `"pg_dump_of_nobody" cannot be used: there is no such program on PATH (SQLSTATE 58P01)`) || !strings.Contains(output, "HINT:  correct [replication] pg_dump_path") {
		t.Errorf("exit code %d:\n%s", code, output)
	}
	unchanged(t, destination)
	s.extra = ""
	if output, code := launchIn(t, []string{"PATH="}, s.write(t), schemaSync(dump.PreData)...).end(); code != 0 {
		t.Errorf("the hint was obeyed; exit code %d:\n%s", code, output)
	}
}

func TestPgDumpTooOld(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, itemsSchema)
	s := between(source, destination)
	for version, words := range map[string][]string{
		"12.22": {
			fmt.Sprintf("pg_dump %d or newer is needed, and the configured one is older", source.Cluster.Installation().Major),
			"12.22", fmt.Sprintf(`%d by database "prod_new" shard 0`, destination.Cluster.Installation().Major),
			fmt.Sprintf("apt-get install postgresql-client-%d", source.Cluster.Installation().Major), "[replication] pg_dump_path",
		},
		"9.6.24": {"too old: pg_dump 10 or newer is needed", "[replication] pg_dump_path"},
	} {
		path := script(t, "echo 'pg_dump (PostgreSQL) "+version+"'")
		s.extra = fmt.Sprintf("[replication]\npg_dump_path = %q\n", path)
		fails(t, s.manager(t), request(dump.PreData), pgerror.UndefinedFile, append(words, path)...)
	}
	s.extra = fmt.Sprintf("[replication]\npg_dump_path = %q\n", script(t, "echo 'pg_dump (PostgreSQL) 99.0'"))
	fails(t, s.manager(t), request(dump.PreData), "XX001", "not a pg_dump archive", "[replication] pg_dump_path")
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{AuthMethod: "scram-sha-256", SuperuserPassword: adminSecret})
	source, destination := c.CreateDatabase(t), c.CreateDatabase(t)
	source.Exec(t, itemsSchema+"; CREATE PUBLICATION all_tables FOR ALL TABLES")
	s := between(source, destination)
	s.source[0].password, s.destination[0].password = adminSecret, "wrong-"+adminSecret
	paths := s.write(t)
	output, code := launch(t, paths, schemaSync(dump.PreData)...).end()
	for _, words := range []string{
		`ERROR:  cannot connect to database "prod_new" shard 0 (127.0.0.1:`, "(SQLSTATE 28P01)", `DETAIL:  as user "postgres", to database "` + destination.Name + `"`,
		"HINT:  check name, password, server_user and server_password", `"prod_new" in users.toml`,
	} {
		if !strings.Contains(output, words) {
			t.Errorf("%q is missing in:\n%s", words, output)
		}
	}
	if code != 1 || strings.Contains(output, adminSecret) {
		t.Errorf("exit code %d:\n%s", code, output)
	}
	unchanged(t, destination)
	s.destination[0].password = adminSecret
	arrives(t, s.manager(t))
}

func TestUnreachableShard(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, itemsSchema)
	second, third := destination.Cluster.CreateDatabase(t), destination.Cluster.CreateDatabase(t)
	proxy := destination.Cluster.Proxy(t)
	proxy.Refuse()
	s := between(source, destination, second, third)
	s.destination[1].host, s.destination[1].port = proxy.Host(), proxy.Port()
	m := s.manager(t)
	fails(t, m, request(dump.PreData), pgerror.UnableToConnect,
		fmt.Sprintf(`cannot connect to database "prod_new" shard 1 (127.0.0.1:%d): `, proxy.Port()), "connection refused", `host and port of [[databases]] "prod_new"`)
	unchanged(t, destination)
	unchanged(t, third)
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	arrives(t, m)
}

func TestUnknownDatabase(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, itemsSchema)
	m := between(source, destination).manager(t)
	unknown := request(dump.PreData)
	unknown.Destination = "prod_knew"
	fails(t, m, unknown, pgerror.InvalidCatalogName, `"prod_knew" is not in [[databases]]`, "prod, prod_new", "SHOW DATABASES;")
	both := request(dump.PreData)
	both.Destination = "prod"
	fails(t, m, both, pgerror.InvalidParameterValue, `source and destination are both "prod"`, "SHOW DATABASES;")

	s := between(source, source)
	fails(t, s.manager(t), request(dump.PreData), pgerror.InvalidParameterValue, "one and the same database", `"prod" and "prod_new"`)

	missing := &pgtest.Database{Cluster: destination.Cluster, Name: destination.Name + ` "none"`}
	s = between(source, missing)
	s.source[0] = at(source)
	e := fails(t, s.manager(t), request(dump.PreData), pgerror.InvalidCatalogName, `cannot connect to database "prod_new" shard 0`, "does not exist", `database_name of [[databases]] "prod_new"`)
	obey(t, destination.Cluster.Database("postgres"), e)
	t.Cleanup(func() {
		if err := destination.Cluster.Database("postgres").TryExec(context.Background(), "DROP DATABASE "+pgtest.Quote(missing.Name)+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	arrives(t, s.manager(t))
}

func TestPublications(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, itemsSchema)
	m := between(source, destination).manager(t)
	unknown := request(dump.PreData)
	unknown.Publication = `no "such" one`
	e := fails(t, m, unknown, pgerror.UndefinedObject, `publication "no \"such\" one" does not exist in database "prod" shard 0`, "Publications there: all_tables.", `CREATE PUBLICATION "no ""such"" one" FOR ALL TABLES;`)
	unchanged(t, destination)
	obey(t, source, e)
	succeed(t, m, unknown)

	empty := request(dump.PreData)
	empty.Publication = "empty"
	source.Exec(t, "CREATE PUBLICATION empty")
	e = fails(t, m, empty, pgerror.ObjectNotInPrerequisiteState, `publication "empty" of database "prod" shard 0`, "lists no tables", `ALTER PUBLICATION "empty" ADD TABLE …;`)
	e.Hint = strings.ReplaceAll(e.Hint, "…", "items")
	obey(t, source, e)
	succeed(t, m, empty)
}

func TestTableWithoutKey(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, itemsSchema+`; CREATE TABLE "key less" (a int); CREATE TABLE full_rows (a int); ALTER TABLE full_rows REPLICA IDENTITY FULL`)
	m := between(source, destination).manager(t)
	e := warns(t, m, request(dump.PreData), "1 published tables of", `"key less"`, "neither a primary key nor another replica identity", "REPLICA IDENTITY FULL;")
	obey(t, source, e)
	destination.Exec(t, `DROP TABLE "key less"`)
	if started, err := m.SchemaSync(t.Context(), request(dump.PreData)); err != nil {
		t.Error(full(err))
	} else {
		for _, w := range started.Warnings {
			t.Errorf("the hint was obeyed: %s", full(w))
		}
		if _, err := m.Wait(t.Context(), started.Task, func(string) {}); err != nil {
			t.Error(full(err))
		}
	}
	arrives(t, m)
}

// rights is a cluster of its own as a destination, whose schema admin is no
// superuser, and a source with objects of an owner who is missing there.
type rights struct {
	source, destination *pgtest.Database
	manager             *mirror.Manager
}

// weak gives a source in the shared cluster, read by its superuser, and a
// destination in c to which the role "schema admin" connects.
func weak(tb testing.TB, c *pgtest.Cluster, sql string) rights {
	tb.Helper()
	source := pgtest.Shared(tb, 0).CreateDatabase(tb)
	source.Exec(tb, itemsSchema+"; CREATE PUBLICATION all_tables FOR TABLE items; "+sql)
	destination := c.CreateDatabase(tb)
	s := between(source, destination)
	s.destination[0].user = "schema admin"
	return rights{source: source, destination: destination, manager: s.manager(tb)}
}

// owned are roles of the shared cluster that the other cluster has not; they
// are made before the databases in which they own something.
func owned(tb testing.TB, names ...string) {
	tb.Helper()
	postgres := pgtest.Shared(tb, 0).Database("postgres")
	for _, name := range names {
		postgres.Exec(tb, "CREATE ROLE "+pgtest.Quote(name))
		tb.Cleanup(func() {
			if err := postgres.TryExec(context.Background(), "DROP ROLE "+pgtest.Quote(name)); err != nil {
				tb.Errorf("drop the role %q: %v", name, err)
			}
		})
	}
}

func TestRights(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	postgres := c.Database("postgres")
	postgres.Exec(t, `CREATE ROLE "schema admin" LOGIN CREATEDB`)
	owned(t, `missing "owner" $1`, "missing group", "known owner")
	pgtest.Shared(t, 0).Database("postgres").Exec(t, `GRANT "missing group" TO "missing ""owner"" $1"`)
	postgres.Exec(t, `CREATE ROLE "known owner"`)

	t.Run("role", func(t *testing.T) {
		source, destination := pgtest.Shared(t, 0).CreateDatabase(t), c.CreateDatabase(t)
		source.Exec(t, itemsSchema+`; CREATE PUBLICATION all_tables FOR ALL TABLES; ALTER TABLE items OWNER TO "missing ""owner"" $1"; GRANT SELECT ON items TO "missing group"`)
		m := between(source, destination).manager(t)
		e := fails(t, m, request(dump.PreData), pgerror.UndefinedObject, `2 roles of the source do not exist on database "prod_new" shard 0`,
			`missing "owner" $1, missing group`, `CREATE ROLE "missing ""owner"" $1"`, "--no-owner --no-privileges")
		unchanged(t, destination)
		without := request(dump.PreData)
		without.NoOwner, without.NoPrivileges = true, true
		succeed(t, m, without)
		destination.Exec(t, "DROP TABLE items; DROP PUBLICATION all_tables")
		obey(t, destination, e)
		arrives(t, m)
		if !pgtest.Value[bool](t, destination, `SELECT pg_has_role('missing "owner" $1', 'missing group', 'MEMBER')`) {
			t.Error("the hint forgets who is a member of whom")
		}
	})
	t.Run("schema", func(t *testing.T) {
		w := weak(t, c, "")
		without := request(dump.PreData)
		without.NoOwner = true
		e := fails(t, w.manager, without, pgerror.InsufficientPrivilege, `role "schema admin" may not create schemas in database "prod_new" shard 0`, "GRANT CREATE ON DATABASE")
		unchanged(t, w.destination)
		obey(t, w.destination, e)
		fails(t, w.manager, request(dump.PreData), pgerror.InsufficientPrivilege, "postgres", "NO OWNER (--no-owner)")
		w.destination.Exec(t, `GRANT CREATE ON SCHEMA public TO "schema admin"`)
		succeed(t, w.manager, without)
	})
	t.Run("owner", func(t *testing.T) {
		w := weak(t, c, `ALTER TABLE items OWNER TO "known owner"; GRANT CREATE, USAGE ON SCHEMA public TO "known owner"`)
		w.destination.Exec(t, "GRANT CREATE ON DATABASE "+pgtest.Quote(w.destination.Name)+` TO "schema admin"; ALTER SCHEMA public OWNER TO "schema admin"`)
		e := fails(t, w.manager, request(dump.PreData), pgerror.InsufficientPrivilege, `role "schema admin" cannot make`, "known owner", `GRANT "known owner" TO "schema admin";`)
		if !strings.Contains(e.Hint, "NO OWNER (--no-owner)") {
			t.Error(full(e))
		}
	})
	t.Run("superuser", func(t *testing.T) {
		w := weak(t, c, `CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER "watch it" ON ddl_command_end EXECUTE FUNCTION watch()`)
		w.destination.Exec(t, "GRANT CREATE ON DATABASE "+pgtest.Quote(w.destination.Name)+` TO "schema admin"`)
		without := request(dump.PreData)
		without.NoOwner = true
		fails(t, w.manager, without, pgerror.InsufficientPrivilege, "1 objects of the source can only be created by a superuser",
			`event trigger "watch it"`, `a superuser be the schema_admin of "prod_new"`, `[schema_sync] scope = "publication"`)
		unchanged(t, w.destination)
	})
	t.Run("all at once", func(t *testing.T) {
		w := weak(t, c, `ALTER TABLE items OWNER TO "missing ""owner"" $1"; DROP PUBLICATION all_tables`)
		fails(t, w.manager, request(dump.PreData), pgerror.UndefinedObject, "the preflight found 3 problems",
			"1. publication", "(SQLSTATE 42704)", "2. role", "3. role", "nothing was changed")
		unchanged(t, w.destination)
	})
	t.Run("source", func(t *testing.T) {
		source, destination := c.CreateDatabase(t), c.CreateDatabase(t)
		source.Exec(t, itemsSchema+`; CREATE PUBLICATION all_tables FOR TABLE items`)
		s := between(source, destination)
		s.source[0].user = "schema admin"
		m := s.manager(t)
		e := fails(t, m, request(dump.PreData), pgerror.InsufficientPrivilege, `role "schema admin" cannot read 1 tables of database "prod" shard 0`, "public.items", "GRANT pg_read_all_data TO")
		unchanged(t, destination)
		obey(t, source, e)
		arrives(t, m)
	})
}

// TestMissingExtension takes an extension that came with PostgreSQL up to 16.
func TestMissingExtension(t *testing.T) {
	t.Parallel()
	newer := pgtest.Newer(t)
	old := pgtest.Shared(t, 0)
	if old.Installation().Major > 16 || newer.Major < 17 {
		t.Skip("no extension is known that only the older of these versions has")
	}
	c := pgtest.Shared(t, newer.Major)
	source, destination := old.CreateDatabase(t), c.CreateDatabase(t)
	source.Exec(t, itemsSchema+`; CREATE EXTENSION old_snapshot; CREATE PUBLICATION all_tables FOR ALL TABLES`)
	s := between(source, destination)
	s.extra = pgDump(t, c)
	m := s.manager(t)
	fails(t, m, request(dump.PreData), pgerror.UndefinedFile, `1 extensions of the source are not available on database "prod_new" shard 0`, "old_snapshot")
	unchanged(t, destination)
	source.Exec(t, "DROP EXTENSION old_snapshot")
	arrives(t, m)
}

package integration

import (
	"context"
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// role makes a role that goes when the test's databases have gone.
func role(tb testing.TB, c *pgtest.Cluster, name, attributes string) {
	tb.Helper()
	postgres := c.Database("postgres")
	postgres.Exec(tb, "CREATE ROLE "+pgtest.Quote(name)+" LOGIN "+attributes)
	tb.Cleanup(func() {
		if err := postgres.TryExec(context.Background(), "DROP ROLE "+pgtest.Quote(name)); err != nil {
			tb.Errorf("drop role %q: %v", name, err)
		}
	})
}

// refused starts COPY_DATA, which has to be refused before anything is changed.
func refused(tb testing.TB, m *mirror.Manager, source, destination *pgtest.Database, code string, words ...string) *pgerror.Error {
	tb.Helper()
	_, err := m.CopyData(tb.Context(), copyRequest())
	says(tb, err, code, words...)
	unchanged(tb, destination)
	if s := slots(tb, source); len(s) != 0 {
		tb.Errorf("slots were made: %v", s)
	}
	return pgerror.From(err)
}

// TestDataRefused lacks something before it begins. What the hint says helps.
func TestDataRefused(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	t.Run("rights", func(t *testing.T) {
		t.Parallel()
		// In this order: roles go after the databases in which they have rights.
		role(t, c, `weak "reader"`, "")
		role(t, c, `weak "writer"`, "")
		c.Database("postgres").Exec(t, `GRANT postgres TO "weak ""writer"""`) // what it owns, not what it may
		source, destination := fresh(t, pairRows+"ALTER TABLE notes ENABLE ROW LEVEL SECURITY; CREATE PUBLICATION two FOR TABLE items, notes")
		source.Exec(t, `GRANT SELECT ON ALL TABLES IN SCHEMA public TO "weak ""reader"""`)
		destination.Exec(t, "GRANT CREATE ON DATABASE "+pgtest.Quote(destination.Name)+` TO "weak ""writer"""; ALTER SCHEMA public OWNER TO "weak ""writer"""`)
		s := between(source, destination)
		s.source[0].user, s.destination[0].user = `weak "reader"`, `weak "writer"`
		s.extra = "[schema_sync]\nscope = \"publication\"\n"
		m := s.manager(t)
		source.Exec(t, "DROP PUBLICATION all_tables; ALTER PUBLICATION two RENAME TO all_tables")
		refused(t, m, source, destination, pgerror.InsufficientPrivilege, "REPLICATION", "row security", "BYPASSRLS", "public.notes", "session_replication_role", "GRANT SET ON PARAMETER")
	})
	t.Run("no identity", func(t *testing.T) {
		t.Parallel()
		source, destination := fresh(t, pairRows+`CREATE TABLE "no ""key""" (a int)`)
		m := between(source, destination).manager(t)
		e := refused(t, m, source, destination, pgerror.ObjectNotInPrerequisiteState, "cannot be told apart", `no "key"`, "REPLICA IDENTITY FULL")
		obey(t, source, e)
		stopTask(t, m, follow(t, m))
	})
	t.Run("wal_level", func(t *testing.T) {
		t.Parallel()
		c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica"}})
		source, destination := c.CreateDatabase(t), pgtest.Shared(t, 0).CreateDatabase(t)
		source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
		refused(t, between(source, destination).manager(t), source, destination, pgerror.ObjectNotInPrerequisiteState, `wal_level of database "prod" shard 0`, `"replica"`, "ALTER SYSTEM SET wal_level = 'logical'")
	})
	t.Run("no publication", func(t *testing.T) {
		t.Parallel()
		source, destination := fresh(t, pairRows)
		source.Exec(t, "DROP PUBLICATION all_tables")
		refused(t, between(source, destination).manager(t), source, destination, pgerror.UndefinedObject, `publication "all_tables"`, "CREATE PUBLICATION")
	})
	t.Run("replicate without rows", func(t *testing.T) {
		t.Parallel()
		source, destination := fresh(t, pairRows)
		m := between(source, destination).manager(t)
		req := copyRequest()
		req.StreamOnly = true
		started, err := m.CopyData(t.Context(), req)
		if err == nil {
			err = ends(t, m, started.Task, mirror.Failed).Error
		}
		says(t, err, pgerror.ObjectNotInPrerequisiteState, "has no recorded position", "COPY_DATA")
		if s := slots(t, source); len(s) != 0 {
			t.Errorf("slots were made: %v", s)
		}
	})
}

// TestDataTableHoldsRows has rows on the destination that nobody has copied:
// the table is left alone, RESYNC replaces them. Without a key a copy on top
// would double them unseen.
func TestDataTableHoldsRows(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows+`CREATE SCHEMA "it's"; CREATE TABLE "it's"."a.b ""c""" (LIKE notes); ALTER TABLE "it's"."a.b ""c""" REPLICA IDENTITY FULL;
		INSERT INTO "it's"."a.b ""c""" SELECT * FROM notes`)
	destination.Exec(t, `CREATE SCHEMA "it's"; CREATE TABLE "it's"."a.b ""c""" (note text, at timestamptz); ALTER TABLE "it's"."a.b ""c""" REPLICA IDENTITY FULL; INSERT INTO "it's"."a.b ""c""" VALUES ('mine', now())`)
	m := between(source, destination).manager(t)
	id := copyData(t, m, copyRequest())
	streaming(t, m, id, `it's.a.b "c"`)
	row := becomes(t, m, `it's.a.b "c"`, mirror.TableStopped)
	says(t, row.Error, pgerror.ObjectNotInPrerequisiteState, "holds rows already", `RESYNC "prod_to_prod_new" "it's"."a.b ""c""";`)
	source.Exec(t, `INSERT INTO "it's"."a.b ""c""" VALUES ('late', now())`)
	changed(t, source, 1)
	ledger.CaughtUp(t, source, applied(m))
	rowsOf(t, destination, `SELECT note FROM "it's"."a.b ""c"""`, "mine")
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{`it's.a.b "c"`}}); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, `it's.a.b "c"`, mirror.TableStreaming)
	arrived(t, m, source, destination)

	// A table that joins is treated alike.
	destination.Exec(t, "CREATE TABLE joins (n int); ALTER TABLE joins REPLICA IDENTITY FULL; INSERT INTO joins VALUES (1)")
	source.Exec(t, "CREATE TABLE joins (n int); ALTER TABLE joins REPLICA IDENTITY FULL; INSERT INTO joins VALUES (2)")
	row = becomes(t, m, "public.joins", mirror.TableStopped)
	says(t, row.Error, pgerror.ObjectNotInPrerequisiteState, "holds rows already", "RESYNC")
	rowsOf(t, destination, "SELECT n FROM joins", "1")
	if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Stopped: true}); err != nil {
		t.Fatal(full(err))
	}
	becomes(t, m, "public.joins", mirror.TableStreaming)
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

// TestDataOneBadTable has a table that cannot be copied: it is stopped, the
// others go on, and RESYNC takes it up when the cause is gone.
func TestDataOneBadTable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, source, destination, code, words, mend string
	}{
		{"unique", "CREATE TABLE bad (id int PRIMARY KEY, v int); INSERT INTO bad VALUES (1, 1), (2, 1)",
			"CREATE TABLE bad (id int PRIMARY KEY, v int UNIQUE)", "23505", "bad_v_key", "ALTER TABLE bad DROP CONSTRAINT bad_v_key"},
		{"check", "CREATE TABLE bad (id int PRIMARY KEY, v int); INSERT INTO bad VALUES (1, 1), (2, -1)",
			"CREATE TABLE bad (id int PRIMARY KEY, v int CONSTRAINT positive CHECK (v > 0))", "23514", "positive", "ALTER TABLE bad DROP CONSTRAINT positive"},
		{"column is missing", "CREATE TABLE bad (id int PRIMARY KEY, v int); INSERT INTO bad VALUES (1, 1), (2, 2)",
			"CREATE TABLE bad (id int PRIMARY KEY)", "42703", `"v"`, "ALTER TABLE bad ADD COLUMN v int"},
		{"value is refused", "CREATE TABLE bad (id int PRIMARY KEY, v text); INSERT INTO bad VALUES (1, 'one')",
			"CREATE TABLE bad (id int PRIMARY KEY, v int)", "22P02", "column v", "ALTER TABLE bad ALTER v TYPE text"},
		{"table is missing", "CREATE TABLE bad (id int PRIMARY KEY); INSERT INTO bad VALUES (1)",
			"", "42P01", "bad", "CREATE TABLE bad (id int PRIMARY KEY)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, pairRows+c.source)
			destination.Exec(t, "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, price numeric); CREATE TABLE notes (note text, at timestamptz);"+c.destination)
			s := between(source, destination)
			s.extra = "[drift]\nvalidation = \"disabled\"\n" // it would stop the table before it is copied
			m := s.manager(t)
			req := copyRequest()
			req.SkipSchema = true
			id := copyData(t, m, req)
			row := becomes(t, m, "public.bad", mirror.TableStopped)
			says(t, row.Error, c.code, c.words, `RESYNC "prod_to_prod_new" "public"."bad"`)
			streaming(t, m, id, "public.bad")
			changed(t, source, 1)
			source.Exec(t, "DELETE FROM bad WHERE id = 1")
			ledger.CaughtUp(t, source, applied(m))
			destination.Exec(t, c.mend)
			if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"bad"}}); err != nil {
				t.Fatal(full(err))
			}
			becomes(t, m, "public.bad", mirror.TableStreaming)
			arrived(t, m, source, destination)
			stopTask(t, m, id)
		})
	}
}

// TestDataIndexFails cannot build an index of the source on the destination: the
// rows of all tables are in before the task fails, and the same command goes on
// when the cause is gone, without copying them again.
func TestDataIndexFails(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows+`
CREATE TABLE here (here boolean); ALTER TABLE here REPLICA IDENTITY FULL; INSERT INTO here VALUES (true);
CREATE FUNCTION only_here(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
	IF current_setting('application_name') LIKE 'pgdrover%' AND EXISTS (SELECT FROM pg_publication WHERE pubname = 'breaks') THEN RAISE 'not here'; END IF; RETURN $1; END $$;
CREATE INDEX items_only_here ON items (only_here(id));`)
	destination.Exec(t, "CREATE PUBLICATION breaks")
	m := between(source, destination).manager(t)
	id := copyData(t, m, copyRequest())
	breaks(t, m, id, "P0001", "items_only_here", "not here")
	if n := pgtest.Value[int](t, destination, "SELECT count(*)::int FROM items"); n != 20000 {
		t.Errorf("%d rows of items are in", n)
	}
	changed(t, source, 1)
	destination.Exec(t, "DROP PUBLICATION breaks")
	streaming(t, m, copyData(t, m, copyRequest()))
	for _, row := range copies(t, m) {
		if row.Attempt != 1 {
			t.Errorf("%s was copied %d times", row.Table, row.Attempt)
		}
	}
	arrived(t, m, source, destination)
	same(t, m)
}

// TestDataSlotWaits begins while a prepared transaction is open: the new slot
// waits for it. STOP_TASK ends the wait and leaves no slot.
func TestDataSlotWaits(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_prepared_transactions": "2"}})
	source, destination := c.CreateDatabase(t), pgtest.Shared(t, 0).CreateDatabase(t)
	source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	source.Exec(t, "BEGIN; INSERT INTO notes VALUES ('prepared', now()); PREPARE TRANSACTION 'it''s open'")
	m := between(source, destination).manager(t)
	started, err := m.CopyData(t.Context(), copyRequest())
	if err != nil {
		t.Fatal(full(err))
	}
	warned := false
	for _, w := range started.Warnings {
		warned = warned || w.Code == pgerror.ObjectInUse && len(w.Detail) > 0 && contains([]string{"it's open"}, w.Detail)
	}
	if !warned {
		t.Errorf("nothing warns of the prepared transaction: %v", started.Warnings)
	}
	slotWaits(t, source)
	says(t, waiting(t, m, "prepared transaction", "it's open"), pgerror.ObjectInUse, "ROLLBACK PREPARED 'it''s open';")
	task, err := look(t.Context(), m, started.Task)
	if err != nil || task.Inner != "waiting for replication slots" {
		t.Errorf("SHOW TASKS: %q %v", task.Inner, err)
	}
	if task := stopTask(t, m, started.Task); task.State != mirror.Cancelled {
		t.Errorf("the task is %s: %s", task.State, full(task.Error))
	}
	if s := slots(t, source); len(s) != 0 {
		t.Errorf("slots are left: %v", s)
	}
	id := copyData(t, m, copyRequest())
	slotWaits(t, source)
	source.Exec(t, "COMMIT PREPARED 'it''s open'")
	streaming(t, m, id)
	changed(t, source, 1)
	arrived(t, m, source, destination)
	stopTask(t, m, id)
	// Once it has a slot the mirror takes no other.
	another := copyRequest()
	another.Slot = "another"
	_, err = m.CopyData(t.Context(), another)
	says(t, err, pgerror.InvalidParameterValue, `"another" is named`, `DROP MIRROR "prod_to_prod_new";`)
}

// TestDataStoppedWhileCopying stops a task in the middle of copying rows. What
// was complete is not copied again.
func TestDataStoppedWhileCopying(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	m := between(source, destination).manager(t)
	succeed(t, m, request(dump.PreData))
	release := hold(t, destination, "items")
	id := copyData(t, m, copyRequest())
	held(t, destination, "copy")
	if task := stopTask(t, m, id); task.State != mirror.Cancelled {
		t.Errorf("the task is %s: %s", task.State, full(task.Error))
	}
	release()
	idle(t, source)
	idle(t, destination)
	changed(t, source, 1)
	id = follow(t, m)
	changed(t, source, 2)
	arrived(t, m, source, destination)
	if s := slots(t, source); len(s) != 1 {
		t.Errorf("the slots are %v", s)
	}
	stopTask(t, m, id)
	same(t, m)
}

// idle waits until pgdrover has no session in a database.
func idle(tb testing.TB, d *pgtest.Database) {
	tb.Helper()
	d.WaitUntil(tb, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgdrover%')`)
}

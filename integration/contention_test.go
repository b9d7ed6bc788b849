package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// TestTwoAtOnce starts a sync of a pair that is being synced: it is refused and
// told who runs.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, orders)
	s := between(source, destination)
	first, second := s.manager(t), s.manager(t)
	g := shut(t, destination, "CREATE TABLE shop.orders")
	id := begin(t, first, dump.PreData)
	g.reached(t)
	words := []string{
		`mirror "prod_to_prod_new" is being worked on`, fmt.Sprintf("task %d, schema_sync(pre) prod -> prod_new, is run by pgdrover test on ", id),
		"process id", fmt.Sprintf("WAIT %d;", id), fmt.Sprintf("STOP_TASK %d;", id),
	}
	for _, m := range []*mirror.Manager{first, second} {
		for _, phase := range []dump.Phase{dump.PreData, dump.PostData} {
			_, err := m.SchemaSync(t.Context(), request(phase))
			says(t, err, pgerror.ObjectInUse, words...)
		}
	}
	output, code := launch(t, s.write(t), schemaSync(dump.PreData)...).end()
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, word := range append(words, "(SQLSTATE 55006)", "DETAIL:  task", "HINT:  WAIT") {
		if !strings.Contains(output, word) {
			t.Errorf("%q is missing in:\n%s", word, output)
		}
	}
	g.open(t)
	ends(t, second, id, mirror.Finished) // WAIT by another process
	arrives(t, second)
}

// TestStopTask stops a task in the middle: by its own process and by another.
func TestStopTask(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, orders)
	s := between(source, destination)
	own, other := s.manager(t), s.manager(t)
	statements := map[dump.Phase]string{dump.PreData: "CREATE TABLE shop.orders", dump.PostData: "CREATE INDEX orders_note"}
	for _, phase := range []dump.Phase{dump.PreData, dump.PostData} {
		for _, by := range []*mirror.Manager{own, other} {
			g := shut(t, destination, statements[phase])
			id := begin(t, own, phase)
			g.reached(t)
			if err := by.StopTask(t.Context(), id); err != nil {
				t.Fatal(full(err))
			}
			task := ends(t, by, id, mirror.Cancelled)
			says(t, task.Error, pgerror.QueryCanceled, "stopped by STOP_TASK", "run the same command again")
			says(t, by.StopTask(t.Context(), id), pgerror.ObjectNotInPrerequisiteState, fmt.Sprintf("task %d is not running: it is cancelled", id))
			g.open(t)
		}
		succeed(t, own, request(phase))
	}
	says(t, own.StopTask(t.Context(), 4711), pgerror.UndefinedObject, "there is no task 4711", "SHOW TASKS;")
	arrives(t, own)
}

// TestLockHeld holds a lock on the destination: statements are tried again, as
// often as the configuration says.
func TestLockHeld(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, orders)
	s := between(source, destination)
	s.extra = impatient
	m := s.manager(t)
	succeed(t, m, request(dump.PreData))
	destination.Exec(t, rows)
	holder := destination.Connect(t)
	hold := func() {
		if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE shop.orders IN EXCLUSIVE MODE", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	hold()
	fails(t, m, request(dump.PostData), pgerror.LockNotAvailable, `"prod_new" shard 0: canceling statement due to lock timeout`,
		"3 attempts met a lock of another session", "pg_blocking_pids()", "[schema_sync] lock_timeout and retry_max_attempts")
	attempts := func() int {
		return pgtest.Value[int](t, destination, `SELECT coalesce(max(s.attempts), 0) FROM pgdrover.tasks t LEFT JOIN pgdrover.statements s USING (task_id)
			WHERE task_id = (SELECT max(task_id) FROM pgdrover.tasks)`)
	}
	if attempts() != 3 {
		t.Errorf("%d attempts are recorded, not 3", attempts())
	}
	s.extra = "\n[schema_sync]\nlock_timeout = 20\nretry_max_attempts = 1000\nretry_min_delay = 5\n"
	patient := s.manager(t)
	id := begin(t, patient, dump.PostData)
	pgtest.Eventually(t, "a second attempt was made", func(context.Context) (bool, error) { return attempts() >= 2, nil })
	if _, err := holder.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	ends(t, patient, id, mirror.Finished)
	if attempts() < 2 {
		t.Errorf("%d attempts are recorded", attempts())
	}
	arrives(t, m)
}

// TestConflicts meets objects on the destination that are not what the source has.
func TestConflicts(t *testing.T) {
	t.Parallel()
	t.Run("strict", func(t *testing.T) {
		t.Parallel()
		source, destination := fresh(t, orders)
		m := between(source, destination).manager(t)
		const theirs = `CREATE SCHEMA shop; CREATE TABLE shop.orders (id int, mine text);
			CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`
		destination.Exec(t, theirs)
		tables := `SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('shop', 'public')`
		before := destination.Rows(t, tables)
		fails(t, m, request(dump.PreData), pgerror.DuplicateObject, `2 objects exist on "prod_new" and differ from those of "prod"`,
			`table "orders" in schema "shop" exists on "prod_new" shard 0 and differs in its definition`, `function "touch()" in schema "shop"`,
			`nothing was changed`, `SHOW SCHEMA_DIFF "prod" "prod_new";`, "IGNORE ERRORS")
		if after := destination.Rows(t, tables); strings.Join(after, " ") != strings.Join(before, " ") {
			t.Errorf("something was changed: %v, was %v", after, before)
		}
		destination.Exec(t, "DROP TABLE shop.orders; DROP FUNCTION shop.touch()")
		arrives(t, m)
	})
	t.Run("index", func(t *testing.T) {
		t.Parallel()
		source, destination := fresh(t, orders)
		m := between(source, destination).manager(t)
		succeed(t, m, request(dump.PreData))
		destination.Exec(t, "CREATE INDEX orders_note ON shop.orders (customer)")
		fails(t, m, request(dump.PostData), pgerror.DuplicateObject, `index "orders_note" in schema "shop" exists on "prod_new" shard 0 and differs in its definition`,
			"(note)", "(customer)", "drop the object on the destination")
		destination.Exec(t, "DROP INDEX shop.orders_note")
		arrives(t, m)
	})
	t.Run("ignored", func(t *testing.T) {
		t.Parallel()
		source, destination := fresh(t, orders)
		m := between(source, destination).manager(t)
		destination.Exec(t, `CREATE SCHEMA shop; CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE TABLE shop.customers (id int PRIMARY KEY, mine text)`)
		for _, phase := range phases {
			req := request(phase)
			req.IgnoreErrors = true
			succeed(t, m, req)
		}
		failed := destination.Rows(t, `SELECT object_kind, object, error->>'sqlstate' FROM pgdrover.statements WHERE state = 'failed' ORDER BY 1, 2`)
		t.Log(failed)
		for _, want := range []string{"TABLE|customers|42710", "FUNCTION|touch()|42710"} {
			if !strings.Contains(strings.Join(failed, "\n"), want) {
				t.Errorf("%s is missing in %v", want, failed)
			}
		}
		if body := pgtest.Value[string](t, destination, "SELECT prosrc FROM pg_proc WHERE proname = 'touch'"); !strings.Contains(body, "RETURN NULL") {
			t.Errorf("the function was replaced: %s", body)
		}
		if n := pgtest.Value[int](t, destination, "SELECT count(*)::int FROM pg_indexes WHERE tablename = 'orders'"); n != 3 {
			t.Errorf("orders has %d indexes, not 3: the rest was not done", n)
		}
	})
}

// TestDiskFull runs out of disk in the middle of an index build.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	space := c.SmallTablespace(t, 48<<20)
	source, destination := pgtest.Shared(t, 0).CreateDatabase(t), c.CreateDatabase(t, "TABLESPACE "+space)
	source.Exec(t, "CREATE TABLE wide (id int PRIMARY KEY, name text); CREATE INDEX wide_name ON wide (name); CREATE PUBLICATION all_tables FOR ALL TABLES")
	m := between(source, destination).manager(t)
	succeed(t, m, request(dump.PreData))
	destination.Exec(t, "INSERT INTO wide SELECT i, repeat(md5(i::text), 6) FROM generate_series(1, 50000) i") // 12 MB, and as much for the index
	destination.Exec(t, "CREATE TABLE filler AS SELECT repeat(md5(i::text), 30) FROM generate_series(1, 13000) i")
	fails(t, m, request(dump.PostData), pgerror.DiskFull, `index "wide_name" in schema "public" on "prod_new" shard 0: could not`, "No space left on device", "free disk space")
	if rows := destination.Rows(t, "SELECT object, error->>'sqlstate' FROM pgdrover.statements WHERE state = 'failed'"); len(rows) != 1 || rows[0] != "wide_name|53100" {
		t.Errorf("recorded are %v", rows)
	}
	destination.Exec(t, "DROP TABLE filler; CHECKPOINT")
	arrives(t, m)
}

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// pairRows are two tables: one of several ranges with a key and an index, and
// one in which a row that arrives twice is seen.
const pairRows = `
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, price numeric);
CREATE INDEX items_name ON items (name);
CREATE TABLE notes (note text, at timestamptz);
ALTER TABLE notes REPLICA IDENTITY FULL;
INSERT INTO items SELECT i, repeat('item ' || i, 20), i * 1.1 FROM generate_series(1, 20000) i;
INSERT INTO notes SELECT 'n' || i, now() FROM generate_series(1, 500) i;
`

// quick lets what waits for a server be tried again soon.
const quick = "resharding_replication_retry_min_delay = 100\nresharding_copy_retry_min_delay = 50\n"

// follow runs COPY_DATA until every table streams.
func follow(tb testing.TB, m *mirror.Manager) mirror.TaskID {
	tb.Helper()
	id := copyData(tb, m, copyRequest())
	streaming(tb, m, id)
	return id
}

// changed writes to both tables in transactions that must stay whole.
func changed(tb testing.TB, source *pgtest.Database, round int) {
	tb.Helper()
	source.Exec(tb, fmt.Sprintf(`
BEGIN; UPDATE items SET price = price + 1, name = 'round %[1]d' WHERE id %% 50 = %[1]d; INSERT INTO notes VALUES ('round %[1]d', now()); COMMIT;
BEGIN; INSERT INTO items SELECT i, 'new', 1 FROM generate_series(%[2]d, %[2]d + 99) i; DELETE FROM notes WHERE note = 'n%[1]d'; COMMIT`, round, 1000000+1000*round))
}

// arrives waits until all that the source has committed is applied, and
// compares both sides.
func arrived(tb testing.TB, m *mirror.Manager, source *pgtest.Database, destination ...*pgtest.Database) {
	tb.Helper()
	ledger.CaughtUp(tb, source, applied(m))
	sameRows(tb, source, destination...)
}

// waiting waits until the mirror shows what it waits for, with all of words.
func waiting(tb testing.TB, m *mirror.Manager, words ...string) *pgerror.Error {
	tb.Helper()
	var shown *pgerror.Error
	pgtest.Eventually(tb, "SHOW MIRRORS has an error with "+strings.Join(words, ", "), func(ctx context.Context) (bool, error) {
		rows, _, err := m.Mirrors(ctx)
		if err != nil || len(rows) == 0 || rows[0].Error == nil {
			return false, err
		}
		shown = rows[0].Error
		for _, word := range words {
			if !strings.Contains(full(shown), word) {
				return false, nil
			}
		}
		return true, nil
	})
	return shown
}

// gone waits until the mirror shows no error any more, and goes on.
func gone(tb testing.TB, m *mirror.Manager) {
	tb.Helper()
	pgtest.Eventually(tb, "SHOW MIRRORS has no error", func(ctx context.Context) (bool, error) {
		rows, warnings, err := m.Mirrors(ctx)
		return err == nil && len(warnings) == 0 && len(rows) > 0 && rows[0].Error == nil && rows[0].State == "replicating", err
	})
}

// breaks waits for a task that has to end by an error, and checks that.
func breaks(tb testing.TB, m *mirror.Manager, id mirror.TaskID, code string, words ...string) *pgerror.Error {
	tb.Helper()
	pgtest.Eventually(tb, "the task has failed", func(ctx context.Context) (bool, error) {
		task, err := look(ctx, m, id)
		return err == nil && task.State == mirror.Failed, nil
	})
	task := ends(tb, m, id, mirror.Failed)
	says(tb, task.Error, code, words...)
	return task.Error
}

// hold keeps everybody from writing to tables until the function that it gives
// is called. Whoever reads them, pg_dump among them, does not notice.
func hold(tb testing.TB, d *pgtest.Database, tables string) (release func()) {
	tb.Helper()
	conn := d.Connect(tb)
	if _, err := conn.PgConn().Exec(tb.Context(), "BEGIN; LOCK TABLE "+tables+" IN SHARE MODE").ReadAll(); err != nil {
		tb.Fatal(err)
	}
	return func() { _ = conn.Close(context.WithoutCancel(tb.Context())) } // the server may have been restarted
}

// holdSlots keeps new slots from becoming usable until the function that it
// gives is called: a transaction has begun to write.
func holdSlots(tb testing.TB, source *pgtest.Database) (release func()) {
	tb.Helper()
	conn := source.Connect(tb)
	if _, err := conn.PgConn().Exec(tb.Context(), "BEGIN; SELECT pg_current_xact_id()").ReadAll(); err != nil {
		tb.Fatal(err)
	}
	return func() { _ = conn.Close(context.WithoutCancel(tb.Context())) } // nothing to commit
}

// slotWaits waits until a slot that is being made waits for transactions.
func slotWaits(tb testing.TB, source *pgtest.Database) {
	tb.Helper()
	source.WaitUntil(tb, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
		AND application_name = 'pgdrover slot' AND wait_event_type = 'Lock')`)
}

// held waits until a session of pgdrover for a purpose waits for a lock.
func held(tb testing.TB, d *pgtest.Database, purpose string) {
	tb.Helper()
	d.WaitUntil(tb, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
		AND application_name LIKE 'pgdrover ' || $1 || '%' AND wait_event_type = 'Lock')`, purpose)
}

// through puts a proxy before a database's server.
func through(p *pgtest.Proxy, d *pgtest.Database) endpoint {
	e := at(d)
	e.host, e.port = p.Host(), p.Port()
	return e
}

// await waits for a rule of a proxy.
func await(tb testing.TB, fired <-chan struct{}) {
	tb.Helper()
	select {
	case <-fired:
	case <-time.After(patience):
		tb.Fatal("the connection was not cut")
	}
}

// copies gives the rows of SHOW TABLE_COPIES.
func copies(tb testing.TB, m *mirror.Manager) []mirror.TableCopyRow {
	tb.Helper()
	rows, warnings, err := m.TableCopies(tb.Context())
	if err != nil || len(warnings) > 0 {
		tb.Fatalf("look at the copies: %s %v", full(err), warnings)
	}
	return rows
}

// plans waits until a task knows what it has to build after the rows.
func plans(tb testing.TB, m *mirror.Manager, id mirror.TaskID) {
	tb.Helper()
	pgtest.Eventually(tb, "the rest of the schema is planned", func(ctx context.Context) (bool, error) {
		rows, _, err := m.Statements(ctx)
		return slices.ContainsFunc(rows, func(r mirror.StatementRow) bool { return r.Task == id && r.Phase == dump.PostData }), err
	})
}

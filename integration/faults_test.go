package integration

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// adminSecret is the schema admin's password where one is needed.
const adminSecret = "schema-admin-secret"

// orders is a schema with something to do in every phase.
const orders = `
CREATE SCHEMA shop;
CREATE SEQUENCE shop.numbers INCREMENT BY 5;
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := ''touched''; RETURN NEW; END';
CREATE TABLE shop.customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, note text);
CREATE TABLE shop.orders (id serial PRIMARY KEY, customer int NOT NULL REFERENCES shop.customers, total numeric CHECK (total >= 0), note text);
CREATE INDEX orders_customer ON shop.orders (customer);
CREATE INDEX orders_note ON shop.orders (note);
CREATE TRIGGER touch BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE TRIGGER touch_always BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch();
ALTER TABLE shop.orders ENABLE ALWAYS TRIGGER touch_always;
CREATE MATERIALIZED VIEW shop.totals AS SELECT customer, sum(total) FROM shop.orders GROUP BY 1;
CREATE UNIQUE INDEX totals_customer ON shop.totals (customer);
COMMENT ON INDEX shop.orders_note IS 'of notes';
SELECT nextval('shop.numbers') FROM generate_series(1, 7);
`

// rows fills the tables of orders.
const rows = `
SET session_replication_role = replica;
INSERT INTO shop.customers (name) SELECT 'customer ' || i FROM generate_series(1, 50) i;
INSERT INTO shop.orders (customer, total, note) SELECT i % 50 + 1, i, 'note ' || i FROM generate_series(1, 500) i;
`

// impatient lets failures be met quickly.
const impatient = "\n[schema_sync]\nlock_timeout = 100\nretry_max_attempts = 3\nretry_min_delay = 20\n"

// ddlGate makes DDL commands of a destination wait.
type ddlGate struct {
	d    *pgtest.Database
	conn *pgx.Conn
}

// shut makes every DDL command that contains text wait, until open.
func shut(tb testing.TB, d *pgtest.Database, text string) *ddlGate {
	tb.Helper()
	d.Exec(tb, fmt.Sprintf(`
CREATE SCHEMA gate;
CREATE FUNCTION gate.pass() RETURNS event_trigger LANGUAGE plpgsql AS $gate$ BEGIN
  IF position(%s IN current_query()) > 0 THEN
    PERFORM pg_advisory_lock_shared(1);
    PERFORM pg_advisory_unlock_shared(1);
  END IF;
END $gate$;
CREATE EVENT TRIGGER gate ON ddl_command_start EXECUTE FUNCTION gate.pass()`, dump.QuoteLiteral(text)))
	g := &ddlGate{d: d, conn: d.Connect(tb)}
	if _, err := g.conn.Exec(tb.Context(), `SELECT pg_advisory_lock(1)`); err != nil {
		tb.Fatal(err)
	}
	return g
}

// reached waits until a statement of pgdrover waits before the gate.
func (g *ddlGate) reached(tb testing.TB) {
	tb.Helper()
	waitsForLock(tb, g.d, "advisory")
}

// open lets everything pass, and takes the gate away.
func (g *ddlGate) open(tb testing.TB) {
	tb.Helper()
	_ = g.conn.Close(context.Background()) // the server may have been restarted
	g.d.Exec(tb, "DROP EVENT TRIGGER gate; DROP SCHEMA gate CASCADE")
}

// waitsForLock waits until a statement of pgdrover waits for a lock of a kind.
func waitsForLock(tb testing.TB, d *pgtest.Database, kind string) {
	tb.Helper()
	d.WaitUntil(tb, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
		AND application_name LIKE 'pgdrover schema sync%' AND wait_event_type = 'Lock' AND wait_event = $1)`, kind)
}

// begin starts a phase.
func begin(tb testing.TB, m *mirror.Manager, phase dump.Phase) mirror.TaskID {
	tb.Helper()
	started, err := m.SchemaSync(tb.Context(), request(phase))
	if err != nil {
		tb.Fatalf("start %s: %s", phase, full(err))
	}
	return started.Task
}

// ends waits for a task and checks how it ends.
func ends(tb testing.TB, m *mirror.Manager, id mirror.TaskID, want mirror.TaskState) mirror.Task {
	tb.Helper()
	task, err := m.Wait(tb.Context(), id, func(string) {})
	if err != nil {
		tb.Fatalf("wait for task %d: %s", id, full(err))
	}
	if task.State != want {
		tb.Fatalf("%s is %s, not %s: %s", task.Type, task.State, want, full(task.Error))
	}
	return task
}

// query is the message in which a worker sends a statement: unlike the bare
// text it is not in what the journal writes.
func query(sql string) string {
	message := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(len(sql)+5))
	return string(message) + sql + "\x00"
}

// TestConnectionCut breaks connections to the destination at chosen points: the
// task, or else the same command again, brings the work to its end.
func TestConnectionCut(t *testing.T) {
	t.Parallel()
	index := query("CREATE INDEX orders_note ON shop.orders USING btree (note);")
	key := query("ALTER TABLE ONLY shop.orders\n    ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer) REFERENCES shop.customers(id) NOT VALID;")
	for _, cut := range []struct {
		name  string
		phase dump.Phase
		rows  bool
		arm   func(*pgtest.Proxy) <-chan struct{}
		alone bool // the task finishes by itself
	}{
		{"pg_dump", dump.PreData, false, func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore(query("BEGIN")) }, false},
		{"before a statement of a transaction", dump.PreData, false, func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore(query("CREATE SCHEMA shop;")) }, true},
		{"before commit", dump.PreData, false, func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore(query("COMMIT")) }, true},
		{"commit of unknown outcome", dump.PreData, false, func(p *pgtest.Proxy) <-chan struct{} { return p.CutReply(query("COMMIT"), "COMMIT") }, true},
		{"journal", dump.PreData, false, func(p *pgtest.Proxy) <-chan struct{} { return p.CutReply(`copy "pgdrover"."statements"`, "") }, true},
		{"taking the lease", dump.PreData, false, func(p *pgtest.Proxy) <-chan struct{} { return p.CutReply("pg_try_advisory_lock", "") }, false},
		{"holding the lease", dump.PreData, false, func(p *pgtest.Proxy) <-chan struct{} { return p.CutReply("LISTEN pgdrover", "LISTEN") }, true},
		{"before an index in a transaction", dump.PostData, false, func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore(index) }, true},
		{"before an index", dump.PostData, true, func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore(index) }, true},
		{"index of unknown outcome", dump.PostData, true, func(p *pgtest.Proxy) <-chan struct{} { return p.CutReply(index, "CREATE INDEX") }, true},
		{"foreign key of unknown outcome", dump.PostData, true, func(p *pgtest.Proxy) <-chan struct{} { return p.CutReply(key, "") }, true},
		{"sequence value", dump.Cutover, true, func(p *pgtest.Proxy) <-chan struct{} {
			return p.CutReply(query(`SELECT pg_catalog.setval('"shop"."numbers"', 191, true);`), "")
		}, true},
	} {
		t.Run(cut.name, func(t *testing.T) {
			if cut.phase == dump.PreData && cut.name != "before commit" && cut.name != "holding the lease" && cut.name != "journal" {
				pgtest.Long(t)
			}
			t.Parallel()
			source, destination := fresh(t, orders)
			proxy := destination.Cluster.Proxy(t)
			s := between(source, destination)
			s.extra = impatient
			direct := s.manager(t)
			for _, phase := range phases {
				if phase == cut.phase {
					break
				}
				succeed(t, direct, request(phase))
				if cut.rows && phase == dump.PreData {
					destination.Exec(t, rows)
				}
			}
			s.destination[0].host, s.destination[0].port = proxy.Host(), proxy.Port()
			m := s.manager(t)
			fired := cut.arm(proxy)
			started, err := m.SchemaSync(t.Context(), request(cut.phase))
			state, failure := mirror.Failed, pgerror.From(err)
			if err == nil {
				// Its own connection may be the one that is cut.
				pgtest.Eventually(t, "the task has ended", func(ctx context.Context) (bool, error) {
					task, err := direct.Wait(ctx, started.Task, func(string) {})
					state, failure = task.State, task.Error
					return err == nil, err
				})
			}
			select {
			case <-fired:
			case <-time.After(10 * time.Second): // told a moment after the cut
				t.Fatal("the connection was not cut")
			}
			if (state == mirror.Finished) != cut.alone {
				t.Errorf("the task is %s: %s", state, full(failure))
			}
			if state != mirror.Finished && (failure == nil || !strings.HasPrefix(failure.Code, "08")) {
				t.Errorf("a lost connection is told as %s", full(failure))
			}
			arrives(t, m)
		})
	}
}

// TestConnectionCutAnywhere breaks the connection on which the n-th byte goes
// through, whatever it is.
func TestConnectionCutAnywhere(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	for direction, name := range map[pgtest.Direction]string{pgtest.ToServer: "to the server", pgtest.ToClient: "to the client"} {
		t.Run(name, func(t *testing.T) {
			if direction == pgtest.ToClient {
				pgtest.Long(t)
			}
			t.Parallel()
			source, destination := fresh(t, orders)
			proxy := destination.Cluster.Proxy(t)
			s := between(source, destination)
			s.extra = impatient
			s.destination[0].host, s.destination[0].port = proxy.Host(), proxy.Port()
			m := s.manager(t)
			for i, phase := range phases {
				for n := int64(3000 + 500*i); n < 200_000; n = n * 9 / 4 {
					fired := proxy.CutAfter(direction, n)
					if state := attempt(t, m, phase); state != mirror.Finished {
						// By the cut, as a rule; on a machine that is busy a connection may
						// also not come about in time.
						t.Logf("%s is %s after byte %d", phase, state, n)
						continue
					}
					select {
					case <-fired:
						t.Logf("%s went on after a cut at byte %d", phase, n)
						continue
					default:
					}
					break // it takes less than n bytes
				}
				proxy.CutAfter(direction, 1<<40)
				succeed(t, m, request(phase))
				if phase == dump.PreData {
					destination.Exec(t, rows)
				}
			}
			same(t, m)
		})
	}
}

// attempt runs a phase that may fail because of a cut connection.
func attempt(tb testing.TB, m *mirror.Manager, phase dump.Phase) (state mirror.TaskState) {
	tb.Helper()
	started, err := m.SchemaSync(tb.Context(), request(phase))
	if err != nil {
		if !strings.HasPrefix(pgerror.Code(err), "08") {
			tb.Errorf("a lost connection is told as %s", full(err))
		}
		return mirror.Failed
	}
	pgtest.Eventually(tb, "the task has ended", func(ctx context.Context) (bool, error) {
		task, err := m.Wait(ctx, started.Task, func(string) {})
		if err == nil && task.State == mirror.Failed && !strings.HasPrefix(task.Error.Code, "08") {
			tb.Errorf("a lost connection is told as %s", full(task.Error))
		}
		state = task.State
		return err == nil, err
	})
	return state
}

// TestAllConnectionsCut cuts everything while a statement waits: what its
// session, of which the server does not know that it is gone, does later must
// not collide with what is done instead.
func TestAllConnectionsCut(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"CREATE INDEX orders_note", "REFRESH MATERIALIZED VIEW"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, orders)
			proxy := destination.Cluster.Proxy(t)
			s := between(source, destination)
			s.destination[0].host, s.destination[0].port = proxy.Host(), proxy.Port()
			m := s.manager(t)
			succeed(t, m, request(dump.PreData))
			destination.Exec(t, rows)
			g := shut(t, destination, text)
			id := begin(t, m, dump.PostData)
			g.reached(t)
			proxy.Cut()
			// The statement is sent again while its first session still waits.
			cut := pgtest.Value[time.Time](t, destination, `SELECT clock_timestamp()`)
			destination.WaitUntil(t, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
				AND application_name LIKE 'pgdrover schema sync%' AND wait_event = 'advisory' AND backend_start > $1)`, cut)
			g.open(t)
			ends(t, m, id, mirror.Finished)
			arrives(t, m)
		})
	}
}

// TestCommandLineGoesOn cuts everything under the command line, which follows
// its task to the end all the same.
func TestCommandLineGoesOn(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, orders)
	proxy := destination.Cluster.Proxy(t)
	s := between(source, destination)
	s.destination[0].host, s.destination[0].port = proxy.Host(), proxy.Port()
	g := shut(t, destination, "CREATE TABLE shop.orders")
	p := launch(t, s.write(t), schemaSync(dump.PreData)...)
	g.reached(t)
	proxy.Cut()
	g.open(t)
	p.finish(t)
	m := s.manager(t)
	history(t, m, mirror.Finished)
	arrives(t, m)
}

// TestDeadlyStatement has a statement that ends its session each time: a lost
// connection is not tried again for ever, nor taken for success.
func TestDeadlyStatement(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, orders)
	s := between(source, destination)
	s.extra = impatient
	m := s.manager(t)
	destination.Exec(t, `
CREATE FUNCTION public.die() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
  IF position('shop.orders' IN current_query()) > 0 THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END IF;
END $$;
CREATE EVENT TRIGGER die ON ddl_command_start EXECUTE FUNCTION public.die()`)
	fails(t, m, request(dump.PreData), pgerror.AdminShutdown, `table "orders" in schema "shop" on "prod_new" shard 0: connection lost`, "terminating connection due to administrator command")
	destination.Exec(t, "DROP EVENT TRIGGER die; DROP FUNCTION public.die()")
	arrives(t, m)
}

// TestServerRestart ends the destination in the middle of a statement, in an
// orderly way and by a crash.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	for name, restart := range map[string]func() error{
		"restart": func() error { return c.Restart(t.Context(), pgcluster.Fast) },
		"crash": func() error {
			if err := c.Kill(); err != nil {
				return err
			}
			return c.Start(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, destination := pgtest.Shared(t, 0).CreateDatabase(t), c.CreateDatabase(t)
			source.Exec(t, orders+"; CREATE PUBLICATION all_tables FOR ALL TABLES")
			m := between(source, destination).manager(t)
			succeed(t, m, request(dump.PreData))
			destination.Exec(t, rows)
			g := shut(t, destination, "CREATE INDEX orders_note")
			id := begin(t, m, dump.PostData)
			g.reached(t)
			if err := restart(); err != nil {
				t.Fatal(err)
			}
			g.open(t)
			ends(t, m, id, mirror.Finished)
			arrives(t, m)
		})
	}
}

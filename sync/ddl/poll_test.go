package ddl

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/stream"
)

func name(table string) catalog.Name { return catalog.Name{Schema: "public", Name: table} }

// names are the tables that a reading has described.
func (r *Reading) names() []string {
	var out []string
	for _, t := range r.Tables {
		out = append(out, t.After.Table.Name)
	}
	slices.Sort(out)
	return out
}

// A poll reads what has changed and nothing else, and remembers across
// processes.
func TestPollReadsWhatHasChanged(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		s := newSource(t, c, false, `CREATE TABLE a (i int); CREATE TABLE b (i int); CREATE TABLE other (i int); CREATE TYPE mood AS ENUM ('x');
			CREATE TABLE p (i int) PARTITION BY LIST (i); CREATE TABLE p1 PARTITION OF p DEFAULT`, "FOR TABLE a, b, p")
		memory := Memory{}
		poll := func() *Reading {
			t.Helper()
			p := NewPoller([]string{publication}, memory)
			r, err := p.Poll(t.Context(), s.conn)
			must(t, err)
			data, err := json.Marshal(p.Memory())
			must(t, err)
			memory = Memory{}
			must(t, json.Unmarshal(data, &memory))
			return r
		}
		first := poll()
		if diff := cmp.Diff([]string{"a", "b", "p", "p1"}, first.names()); diff != "" || len(first.Types) != 1 || len(first.Publications) != 1 {
			t.Error(diff, first)
		}
		for _, step := range []struct {
			sql  string
			want []string
			gone int
		}{
			{`INSERT INTO a VALUES (1); ANALYZE a; VACUUM a; CREATE TABLE more (i int); ALTER TABLE other ADD j int; COMMENT ON TABLE a IS 'x'`, nil, 0},
			{`ALTER TABLE a ALTER i SET DEFAULT 1`, []string{"a"}, 0},
			{`ALTER TABLE a ALTER i SET DEFAULT 2`, []string{"a"}, 0},
			{`ALTER TABLE a ADD CHECK (i > 0)`, []string{"a"}, 0},
			{`CREATE INDEX x ON b (i)`, []string{"b"}, 0},
			{`CREATE TABLE p2 PARTITION OF p FOR VALUES IN (1)`, []string{"p", "p2"}, 0},
			{`ALTER TYPE mood ADD VALUE 'y'`, []string{"a", "b", "p", "p1", "p2"}, 0},
			{`ALTER TABLE p DETACH PARTITION p2`, []string{"p", "p2"}, 0},
			{`DROP TABLE b`, nil, 1},
			{`ALTER PUBLICATION ` + pgtest.Quote(publication) + ` ADD TABLE other`, []string{"other"}, 0},
		} {
			for _, sql := range separate(step.sql) {
				s.d.Exec(t, sql)
			}
			r := poll()
			if diff := cmp.Diff(step.want, r.names()); diff != "" || len(r.Gone) != step.gone {
				t.Errorf("%s: %s%v gone", step.sql, diff, r.Gone)
			}
		}
	})
}

// The fence comes in the stream where the poll says it is: behind what the
// poll has seen and before what it has not.
func TestPollFence(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		s := newSource(t, c, false, `CREATE TABLE t (i int)`, "")
		s.d.Exec(t, "INSERT INTO t VALUES (1)")
		r, err := NewPoller([]string{publication}, Memory{}).Poll(t.Context(), s.conn)
		must(t, err)
		// Nothing else has to be written for it to arrive.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var seen []stream.LSN
		for {
			tx, err := s.reader.Next(ctx)
			must(t, err)
			var message *stream.LogicalEvent
			must(t, tx.Each(func(c *stream.Change) error { message = c.Logical; return nil }))
			if !tx.Mark() {
				seen = append(seen, tx.FinalLSN)
			}
			tx.Release()
			if message == nil {
				continue
			}
			if message.Prefix != FencePrefix || message.LSN != r.Fence {
				t.Errorf("message %q at %s, the fence is at %s", message.Prefix, message.LSN, r.Fence)
			}
			break
		}
		if len(seen) != 1 || seen[0] >= r.Fence {
			t.Errorf("transactions before the fence: %v, it is at %s", seen, r.Fence)
		}
		s.d.Exec(t, "INSERT INTO t VALUES (2)")
		if tx, err := s.reader.Next(ctx); err != nil || !tx.Mark() && tx.FinalLSN < r.Fence {
			t.Errorf("behind the fence: %v %v", tx, err)
		}
	})
}

// A table that is being altered is not waited for, and nothing is said of it.
func TestPollBusy(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		s := newSource(t, c, false, `CREATE TABLE t (i int); CREATE TABLE u (i int)`, "")
		p := NewPoller([]string{publication}, Memory{})
		must2(t)(p.Poll(t.Context(), s.conn))
		conn := s.d.Connect(t)
		exec := func(sql string) {
			t.Helper()
			if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
				t.Fatal(err)
			}
		}
		s.d.Exec(t, "ALTER TABLE t ADD before int; ALTER TABLE u ADD before int")
		exec("BEGIN; ALTER TABLE t ADD during int")
		r := must2(t)(p.Poll(t.Context(), s.conn))
		if diff := cmp.Diff([]string{"u"}, r.names()); diff != "" || !slices.Equal(r.Busy, []catalog.Name{name("t")}) {
			t.Errorf("%s, busy %v", diff, r.Busy)
		}
		r = must2(t)(p.Poll(t.Context(), s.conn))
		if len(r.Tables) != 0 || len(r.Busy) != 1 {
			t.Errorf("again: %v busy %v", r.names(), r.Busy)
		}
		exec("COMMIT")
		r = must2(t)(p.Poll(t.Context(), s.conn))
		if diff := cmp.Diff([]string{"t"}, r.names()); diff != "" || len(r.Busy) > 0 || r.Tables[0].After.Column("during") == nil {
			t.Errorf("%s, busy %v", diff, r.Busy)
		}
		var timeout string
		must(t, s.conn.QueryRow(t.Context(), "SHOW lock_timeout").Scan(&timeout))
		if timeout != "0" {
			t.Errorf("lock_timeout is left at %s", timeout)
		}
	})
}

// A commit that waits for a synchronous standby is in the stream and not
// visible: its table is busy.
func TestPollBehindSynchronousStandby(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	s := newSource(t, c, false, `CREATE TABLE t (i int)`, "")
	p := NewPoller([]string{publication}, Memory{})
	must2(t)(p.Poll(t.Context(), s.conn))
	postgres := c.Database("postgres")
	postgres.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
	postgres.Exec(t, "SELECT pg_reload_conf()")
	s.d.WaitUntil(t, "SELECT current_setting('synchronous_standby_names') = 'nobody'")
	waiter := s.d.Connect(t)
	done := make(chan error, 1)
	go func() {
		_, err := waiter.Exec(context.Background(), "ALTER TABLE t ADD late int")
		done <- err
	}()
	s.d.WaitUntil(t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database())")
	r := must2(t)(p.Poll(t.Context(), s.conn))
	if !slices.Equal(r.Busy, []catalog.Name{name("t")}) || len(r.Tables) > 0 {
		t.Errorf("%v busy %v", r.names(), r.Busy)
	}
	postgres.Exec(t, "ALTER SYSTEM RESET synchronous_standby_names")
	postgres.Exec(t, "SELECT pg_reload_conf()")
	must(t, <-done)
	r = must2(t)(p.Poll(t.Context(), s.conn))
	if diff := cmp.Diff([]string{"t"}, r.names()); diff != "" {
		t.Error(diff)
	}
}

// The role needs no rights on the tables; without the right to write the
// message it is told how to get it.
func TestPollWithoutRights(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		s := newSource(t, c, false, `CREATE TABLE t (i int)`, "")
		role := "poller_" + s.d.Name
		makeRole(t, s.d, role, "LOGIN")
		s.d.Exec(t, "REVOKE ALL ON t FROM PUBLIC")
		server := server(s.d)
		server.User = role
		conn, err := connect.Open(t.Context(), server, "test")
		must(t, err)
		defer func() { _ = conn.Close(t.Context()) }()
		if r := must2(t)(NewPoller([]string{publication}, Memory{}).Poll(t.Context(), conn)); len(r.Tables) != 2 {
			t.Errorf("%v", r.names())
		}
		s.d.Exec(t, "REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text"+flushArgument(c)+") FROM PUBLIC")
		_, err = NewPoller([]string{publication}, Memory{}).Poll(t.Context(), conn)
		if e := pgerror.From(err); e == nil || e.Code != pgerror.InsufficientPrivilege || !strings.Contains(e.Hint, "GRANT EXECUTE") {
			t.Errorf("%+v", e)
		}
		if conn.PgConn().TxStatus() != 'I' {
			t.Error("a transaction is left open")
		}
	})
}

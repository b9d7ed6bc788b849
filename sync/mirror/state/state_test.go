package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// weird is a name that needs all quoting there is.
const weird = "Weird \"Name\" $1 \\ 'x' \u00fc"

// installedIn gives a database with the schema pgdrover and a mirror in it.
func installedIn(t *testing.T) (*pgtest.Database, *pgx.Conn, Mirror) {
	t.Helper()
	d := pgtest.Shared(t, 0).CreateNamedDatabase(t, fmt.Sprintf("%.30s %s", t.Name(), weird))
	conn := d.Connect(t)
	if err := Install(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	m, err := EnsureMirror(t.Context(), conn, Mirror{Name: weird, Source: weird + "1", Destination: weird + "2", Publication: weird + "3"})
	if err != nil {
		t.Fatal(err)
	}
	return d, conn, m
}

func startTask(t *testing.T, conn *pgx.Conn, m Mirror) int64 {
	t.Helper()
	id, err := StartTask(t.Context(), conn, m.ID, "schema_sync(pre) "+weird, "a test", []Subtask{{Shard: 0, Type: "shard 0"}, {Shard: 1, Type: "shard 1"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func findTask(t *testing.T, conn *pgx.Conn, id int64) Task {
	t.Helper()
	task, ok, err := FindTask(t.Context(), conn, id)
	if err != nil || !ok {
		t.Fatalf("find task %d: %t, %v", id, ok, err)
	}
	return task
}

func TestInstall(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	conn := d.Connect(t)
	if there, err := Installed(t.Context(), conn); there || err != nil {
		t.Fatalf("an empty database has the schema: %t, %v", there, err)
	}
	// Many at the same time, then once more.
	var installing sync.WaitGroup
	for range 8 {
		other := d.Connect(t)
		installing.Go(func() {
			if err := Install(t.Context(), other); err != nil {
				t.Errorf("install at the same time: %v", err)
			}
		})
	}
	installing.Wait()
	if err := Install(t.Context(), conn); err != nil {
		t.Errorf("install again: %v", err)
	}
	if there, err := Installed(t.Context(), conn); !there || err != nil {
		t.Errorf("the schema is there: %t, %v", there, err)
	}
	if rows := d.Rows(t, `SELECT version FROM pgdrover.version`); len(rows) != 1 || rows[0] != fmt.Sprint(len(migrations)) {
		t.Errorf("versions are %v, want %d", rows, len(migrations))
	}
	// What a newer pgdrover has made is left alone.
	d.Exec(t, fmt.Sprintf(`UPDATE pgdrover.version SET version = %d`, len(migrations)+1))
	err := Install(t.Context(), conn)
	if e := pgerror.From(err); e == nil || e.Code != pgerror.FeatureNotSupported || e.Hint == "" || !strings.Contains(e.Message, fmt.Sprint(len(migrations)+1)) {
		t.Errorf("a newer version gives %v", err)
	}
	if rows := d.Rows(t, `SELECT version FROM pgdrover.version`); rows[0] != fmt.Sprint(len(migrations)+1) {
		t.Errorf("the newer version became %v", rows)
	}
}

func TestMirrorIsFoundAgain(t *testing.T) {
	t.Parallel()
	_, conn, m := installedIn(t)
	if _, err := EnsureMirror(t.Context(), conn, Mirror{Name: weird, Source: "s", Destination: "d", Publication: "none"}); pgerror.Code(err) != pgerror.DuplicateObject {
		t.Errorf("a mirror of other databases under the same name: %v", err)
	}
	again, err := EnsureMirror(t.Context(), conn, Mirror{Name: weird, Source: weird + "1", Destination: weird + "2", Publication: "other"})
	if err != nil || again.ID != m.ID {
		t.Errorf("the mirror of the same name is %d (%v), want %d", again.ID, err, m.ID)
	}
	if name, err := PublicationOf(t.Context(), conn, weird); name != "other" || err != nil {
		t.Errorf("its publication is %q, %v", name, err)
	}
	if name, err := PublicationOf(t.Context(), conn, "no such"); name != "" || err != nil {
		t.Errorf("no mirror has the publication %q, %v", name, err)
	}
}

func TestTaskGoesItsWay(t *testing.T) {
	t.Parallel()
	_, conn, m := installedIn(t)
	id := startTask(t, conn, m)
	if err := SetInner(t.Context(), conn, id, "loading "+weird, WholeTask); err != nil {
		t.Fatal(err)
	}
	task := findTask(t, conn, id)
	if task.Mirror != weird || task.Type != "schema_sync(pre) "+weird || task.State != "running" || task.Inner != "loading "+weird || task.FinishedAt != nil || !task.Newest || task.Leased {
		t.Errorf("the task is %+v", task)
	}
	if len(task.Subtasks) != 2 || task.Subtasks[0].Inner != "loading "+weird || task.Subtasks[1].Inner != "loading "+weird {
		t.Errorf("its subtasks are %+v", task.Subtasks)
	}
	// A state follows only those it may follow.
	if ok, err := SetTask(t.Context(), conn, id, "finished", []string{"pending"}, nil, true); ok || err != nil {
		t.Errorf("a running task ended as if it were pending: %t, %v", ok, err)
	}
	failure := pgerror.New("53100", "disk \x00 full").WithDetail("d: %s", weird).WithHint("h\nh").WithWhere("w \xff")
	if ok, err := SetTask(t.Context(), conn, id, "failed", []string{"running", "cancelling"}, failure, true); !ok || err != nil {
		t.Fatalf("a running task cannot end: %t, %v", ok, err)
	}
	if ok, err := SetTask(t.Context(), conn, id, "finished", []string{"running"}, nil, true); ok || err != nil {
		t.Errorf("an ended task ended again: %t, %v", ok, err)
	}
	if err := EndSubtask(t.Context(), conn, id, 1, "failed", failure); err != nil {
		t.Fatal(err)
	}
	task = findTask(t, conn, id)
	want := &pgerror.Error{Code: "53100", Message: "disk \ufffd full", Detail: "d: " + weird, Hint: "h\nh", Where: "w \ufffd"}
	if task.State != "failed" || task.FinishedAt == nil || task.Inner != "" || !cmp.Equal(task.Error, want) {
		t.Errorf("the task ended as %s with %#v, want %#v", task.State, task.Error, want)
	}
	if sub := task.Subtasks[1]; sub.State != "failed" || !cmp.Equal(sub.Error, want) || task.Subtasks[0].State != "failed" {
		t.Errorf("its subtasks ended as %+v", task.Subtasks)
	}
	if _, ok, err := FindTask(t.Context(), conn, 4711); ok || err != nil {
		t.Errorf("a task that was never started is found: %t, %v", ok, err)
	}
}

func TestErrorsRoundTrip(t *testing.T) {
	t.Parallel()
	for _, e := range []*pgerror.Error{
		nil,
		{Code: "42P01", Message: weird, Detail: "a\tb\r\nc", Hint: `\u0000 written out`, Where: "<b>&amp;</b> \u2028"},
		{Code: "XX000"},
	} {
		if diff := cmp.Diff(e, decodeError(encodeError(e)), cmpopts.IgnoreFields(pgerror.Error{}, "Cause")); diff != "" {
			t.Errorf("what comes back differs (-want +got):\n%s", diff)
		}
	}
	broken := "{"
	if e := decodeError(&broken); e == nil || e.Code != pgerror.InternalError {
		t.Errorf("what cannot be read gives %v", e)
	}
}

func TestStartTaskMarksWhatWasLeft(t *testing.T) {
	t.Parallel()
	_, conn, m := installedIn(t)
	other, err := EnsureMirror(t.Context(), conn, Mirror{Name: "another"})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, left := startTask(t, conn, other), startTask(t, conn, m)
	next, err := StartTask(t.Context(), conn, m.ID, "schema_sync(post)", "a test", nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	if next != 101 {
		t.Errorf("the task is numbered %d, want one above 100, which is known elsewhere", next)
	}
	if top, err := MaxTask(t.Context(), conn); top != next || err != nil {
		t.Errorf("the highest number is %d, %v", top, err)
	}
	task := findTask(t, conn, left)
	if task.State != "interrupted" || task.FinishedAt == nil || task.Newest || task.Subtasks[0].State != "interrupted" {
		t.Errorf("what was left running is %+v", task)
	}
	if task := findTask(t, conn, elsewhere); task.State != "running" {
		t.Errorf("the task of another mirror is %s", task.State)
	}
	if running, ok, err := RunningTask(t.Context(), conn, m.ID); !ok || err != nil || running.ID != next {
		t.Errorf("the running task is %d, %t, %v", running.ID, ok, err)
	}
	tasks, err := Tasks(t.Context(), conn, 0)
	if err != nil || len(tasks) != 3 || tasks[0].ID != next {
		t.Errorf("all tasks, the newest first: %+v, %v", tasks, err)
	}
}

func TestTasksAreNumberedOnce(t *testing.T) {
	t.Parallel()
	d, _, m := installedIn(t)
	var mu sync.Mutex
	seen := map[int64]bool{}
	var starting sync.WaitGroup
	for range 8 {
		conn := d.Connect(t)
		starting.Go(func() {
			id, err := StartTask(t.Context(), conn, m.ID, "x", "y", nil, 0)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[id] {
				t.Errorf("task %d: twice %t, %v", id, seen[id], err)
			}
			seen[id] = true
		})
	}
	starting.Wait()
}

func TestStatements(t *testing.T) {
	t.Parallel()
	_, conn, m := installedIn(t)
	id := startTask(t, conn, m)
	now := time.Now().UTC().Truncate(time.Microsecond)
	failure := &pgerror.Error{Code: "42P01", Message: "no " + weird + " \ufffd"}
	put := func(shard int, states ...string) {
		t.Helper()
		rows := make([]Statement, len(states))
		for i, s := range states {
			rows[i] = Statement{Ordinal: i + 1, Database: weird, User: weird, Kind: "table", ObjectKind: "TABLE", Schema: weird, Table: weird, Object: weird, SQL: "CREATE " + weird, State: s}
		}
		if err := PutStatements(t.Context(), conn, m.ID, id, "pre_data", shard, rows); err != nil {
			t.Fatal(err)
		}
	}
	put(0, "done", "done", "done", "done") // an earlier run's
	put(0, "pending", "existed", "failed")
	put(1, "pending")
	if task := findTask(t, conn, id); task.Subtasks[0].Total != 3 || task.Subtasks[0].Done != 2 || task.Subtasks[0].Failed != 1 || task.Subtasks[1].Total != 1 {
		t.Errorf("the counters are %+v", task.Subtasks)
	}
	err := ApplyChanges(t.Context(), conn, m.ID, id, "pre_data", []Change{
		{Shard: 0, Ordinal: 1, State: "failed", Attempts: 3, Backend: 1 << 40, StartedAt: &now, FinishedAt: &now, Error: &pgerror.Error{Code: "42P01", Message: "no " + weird + " \x00"}},
		{Shard: 1, Ordinal: 1, State: "running", Attempts: 1, StartedAt: &now},
		{Shard: 7, Ordinal: 7, State: "running"}, // of no plan: nothing is written
	}, map[int]Counter{0: {Done: 3, Failed: 2}, 1: {}})
	if err != nil {
		t.Fatal(err)
	}
	// A later change without a start keeps the one that is known, and attempts never fall.
	if err := ApplyChanges(t.Context(), conn, m.ID, id, "pre_data", []Change{{Shard: 1, Ordinal: 1, State: "pending"}}, nil); err != nil {
		t.Fatal(err)
	}
	got, err := Statements(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	row := func(shard, ordinal int, state string, change func(*Statement)) Statement {
		s := Statement{MirrorID: m.ID, Mirror: weird, TaskID: id, Phase: "pre_data", Shard: shard, Ordinal: ordinal, Database: weird, User: weird, Kind: "table", ObjectKind: "TABLE",
			Schema: weird, Table: weird, Object: weird, SQL: "CREATE " + weird, State: state}
		change(&s)
		return s
	}
	want := []Statement{
		row(0, 1, "failed", func(s *Statement) {
			s.Attempts, s.Backend, s.StartedAt, s.FinishedAt, s.Error = 3, 1<<40, &now, &now, failure
		}),
		row(0, 3, "failed", func(*Statement) {}),
		row(1, 1, "pending", func(s *Statement) { s.Attempts, s.StartedAt = 1, &now }),
		row(0, 2, "existed", func(*Statement) {}),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("the statements differ (-want +got):\n%s", diff)
	}
	if task := findTask(t, conn, id); task.Subtasks[0].Done != 3 || task.Subtasks[0].Failed != 2 {
		t.Errorf("the counters are %+v", task.Subtasks)
	}
}

func TestManyStatements(t *testing.T) {
	t.Parallel()
	_, conn, m := installedIn(t)
	id := startTask(t, conn, m)
	rows := make([]Statement, 2*manyRows)
	changes := make([]Change, len(rows))
	for i := range rows {
		rows[i] = Statement{Ordinal: i + 1, State: "pending"}
		changes[i] = Change{Ordinal: i + 1, State: "done"}
	}
	if err := PutStatements(t.Context(), conn, m.ID, id, "pre_data", 0, rows); err != nil {
		t.Fatal(err)
	}
	if err := ApplyChanges(t.Context(), conn, m.ID, id, "pre_data", changes, nil); err != nil {
		t.Fatal(err)
	}
	got, err := Statements(t.Context(), conn)
	if err != nil || len(got) != len(rows) {
		t.Fatalf("%d statements, %v", len(got), err)
	}
	for _, s := range got {
		if s.State != "done" {
			t.Fatalf("statement %d is %s", s.Ordinal, s.State)
		}
	}
}

// stopped collects the causes with which a lease stops its task.
func stopped(t *testing.T) (context.CancelCauseFunc, <-chan error) {
	t.Helper()
	causes := make(chan error, 10)
	return func(cause error) { causes <- cause }, causes
}

func acquire(t *testing.T, d *pgtest.Database, m Mirror) (*Lease, *pgx.Conn, bool) {
	t.Helper()
	open := func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, d.DSN()) }
	conn, err := open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, ok, err := Acquire(t.Context(), conn, m.ID, open)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		_ = conn.Close(t.Context())
	}
	return l, conn, ok
}

func TestLease(t *testing.T) {
	t.Parallel()
	d, conn, m := installedIn(t)
	id := startTask(t, conn, m)
	if holder, err := Holder(t.Context(), conn, m.ID); holder != "" || err != nil {
		t.Errorf("nobody holds the mirror, and it is held by %q, %v", holder, err)
	}
	lease, held, ok := acquire(t, d, m)
	if !ok {
		t.Fatal("a free mirror cannot be taken")
	}
	pid := held.PgConn().PID()
	stop, causes := stopped(t)
	lease.Hold(t.Context(), held, id, stop)
	if _, _, ok := acquire(t, d, m); ok {
		t.Fatal("a mirror is taken twice")
	}
	if holder, err := Holder(t.Context(), conn, m.ID); !strings.Contains(holder, fmt.Sprint(pid)) || err != nil {
		t.Errorf("the holder is %q, %v; want process %d", holder, err, pid)
	}
	if task := findTask(t, conn, id); !task.Leased {
		t.Error("the task is not seen to be leased")
	}
	lease.Release()
	d.WaitUntil(t, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, pid)
	again, conn2, ok := acquire(t, d, m)
	if !ok {
		t.Fatal("a released mirror cannot be taken")
	}
	again.Hold(t.Context(), conn2, id, stop)
	again.Release()
	if len(causes) > 0 {
		t.Errorf("the task was stopped: %v", <-causes)
	}
}

func TestLeaseTakesTheMirrorAgain(t *testing.T) {
	t.Parallel()
	d, conn, m := installedIn(t)
	id := startTask(t, conn, m)
	lease, held, ok := acquire(t, d, m)
	if !ok {
		t.Fatal("a free mirror cannot be taken")
	}
	pid := held.PgConn().PID()
	stop, causes := stopped(t)
	lease.Hold(t.Context(), held, id, stop)
	defer lease.Release()
	d.Exec(t, fmt.Sprintf(`SELECT pg_terminate_backend(%d)`, pid))
	d.WaitUntil(t, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> $1 AND objid = $2::int8::oid
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`, pid, int64(m.ID))
	// The new session listens too.
	if err := AskStop(t.Context(), conn, id); err != nil {
		t.Fatal(err)
	}
	askUntilStopped(t, conn, id, causes)
}

// askUntilStopped asks again and again: the new session may have the lock and
// not listen yet.
func askUntilStopped(t *testing.T, conn *pgx.Conn, id int64, causes <-chan error) {
	t.Helper()
	pgtest.Eventually(t, "the task is stopped", func(ctx context.Context) (bool, error) {
		select {
		case cause := <-causes:
			if !errors.Is(cause, ErrStopAsked) {
				return false, fmt.Errorf("the cause is %w", cause)
			}
			return true, nil
		default:
			return false, AskStop(ctx, conn, id)
		}
	})
}

func TestStopIsAsked(t *testing.T) {
	t.Parallel()
	d, conn, m := installedIn(t)
	id := startTask(t, conn, m)
	t.Run("while it runs", func(t *testing.T) {
		lease, held, _ := acquire(t, d, m)
		stop, causes := stopped(t)
		lease.Hold(t.Context(), held, id, stop)
		defer lease.Release()
		if err := AskStop(t.Context(), conn, id+1); err != nil { // somebody else's
			t.Fatal(err)
		}
		askUntilStopped(t, conn, id, causes)
	})
	t.Run("before it listens", func(t *testing.T) {
		if ok, err := SetTask(t.Context(), conn, id, "cancelling", []string{"running"}, nil, false); !ok || err != nil {
			t.Fatal(ok, err)
		}
		lease, held, _ := acquire(t, d, m)
		stop, causes := stopped(t)
		lease.Hold(t.Context(), held, id, stop)
		defer lease.Release()
		if cause := <-causes; !errors.Is(cause, ErrStopAsked) {
			t.Errorf("the cause is %v", cause)
		}
	})
}

func TestFollow(t *testing.T) {
	t.Parallel()
	d, conn, m := installedIn(t)
	id := startTask(t, conn, m)
	listener := d.Connect(t)
	if err := Listen(t.Context(), listener); err != nil {
		t.Fatal(err)
	}
	woken := make(chan error, 1)
	follow := func(ctx context.Context, patience time.Duration) {
		go func() { woken <- Follow(ctx, listener, id, patience) }()
	}
	follow(t.Context(), time.Hour)
	if err := notify(t.Context(), conn, "task", id+1); err != nil { // somebody else's does not wake it
		t.Fatal(err)
	}
	if err := SetInner(t.Context(), conn, id, "x", WholeTask); err != nil {
		t.Fatal(err)
	}
	if err := <-woken; err != nil {
		t.Errorf("woken with %v", err)
	}
	follow(t.Context(), time.Millisecond) // nothing is announced: it looks anyway
	if err := <-woken; err != nil {
		t.Errorf("out of patience it gives %v", err)
	}
	if _, err := listener.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("the connection cannot be used after that: %v", err)
	}
	cause := errors.New("told to")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	follow(ctx, time.Hour)
	if err := <-woken; !errors.Is(err, cause) {
		t.Errorf("its context's end gives %v", err)
	}
}

func TestParsePayload(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]struct {
		verb string
		id   int64
	}{
		"task 7": {"task", 7}, "stop 9223372036854775807": {"stop", 9223372036854775807},
		"": {}, "task": {}, "task x": {}, "task 7 8": {}, "task 9223372036854775808": {},
	} {
		if verb, id := parsePayload(payload); verb != want.verb || id != want.id {
			t.Errorf("%q is read as %q %d", payload, verb, id)
		}
	}
}

// TestEvents records events and finds them again; the oldest go.
func TestEvents(t *testing.T) {
	t.Parallel()
	_, conn, made := installedIn(t)
	m := made.ID
	failure := pgerror.New("23505", "twice").WithDetail("key %s", weird)
	err := AddEvents(t.Context(), conn, m,
		Event{Level: "info", Kind: "table", TaskID: 3, Shard: 1, Schema: weird, Name: "t", LSN: 5, Message: "pending -> copying"},
		Event{Level: "error", Kind: "table", Shard: -1, Message: "stopped \x00", Error: failure},
		Event{Level: "warning", Kind: "stream", Shard: 0, Message: "interrupted"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		filter EventFilter
		want   []string
	}{
		{"all", EventFilter{Limit: 10}, []string{"interrupted", "stopped \ufffd", "pending -> copying"}},
		{"limit", EventFilter{Limit: 1}, []string{"interrupted"}},
		{"level", EventFilter{Levels: []string{"error", "info"}, Limit: 10}, []string{"stopped \ufffd", "pending -> copying"}},
		{"in the error", EventFilter{Search: "KEY WEIRD", Limit: 10}, []string{"stopped \ufffd"}},
		{"in the table", EventFilter{Search: `$1 \ 'x' ü.t`, Limit: 10}, []string{"pending -> copying"}},
		{"nowhere", EventFilter{Search: "%", Limit: 10}, nil},
	} {
		found, err := Events(t.Context(), conn, m, c.filter)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range found {
			got = append(got, e.Message)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	all, err := Events(t.Context(), conn, m, EventFilter{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	first := all[len(all)-1]
	if first.TaskID != 3 || first.Shard != 1 || first.Schema != weird || first.Name != "t" || first.LSN != 5 || first.At.IsZero() || all[1].Error == nil || all[1].Error.Detail != failure.Detail {
		t.Errorf("the events are %+v", all)
	}
	many := make([]Event, 1000)
	for i := range many {
		many[i] = Event{Level: "info", Kind: "many", Message: "x"}
	}
	for range 12 {
		if err := AddEvents(t.Context(), conn, m, many...); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := Events(t.Context(), conn, m, EventFilter{Limit: 100_000}); err != nil || len(n) < keptEvents || len(n) > keptEvents+1000 {
		t.Errorf("%d events are kept, %v", len(n), err)
	}
}

// TestWanted brings a mirror from state to state.
func TestWanted(t *testing.T) {
	t.Parallel()
	_, conn, made := installedIn(t)
	m := made.ID
	if err := SetWanted(t.Context(), conn, m, "running", "paused"); !errors.Is(err, ErrMirrorChanged) {
		t.Errorf("from a state in which it is not: %v", err)
	}
	for _, step := range []func() error{
		func() error { return SetWanted(t.Context(), conn, m, "running", "created", "paused") },
		func() error { return SetDefinition(t.Context(), conn, m, `{"name": "x"}`) },
		func() error { return SetRequest(t.Context(), conn, m, `{"Slot": "s"}`) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	found, ok, err := FindMirror(t.Context(), conn, weird)
	if err != nil || !ok || found.Wanted != "running" || found.Definition != `{"name": "x"}` || found.Request != `{"Slot": "s"}` || found.Leased {
		t.Errorf("the mirror is %+v, %t, %v", found, ok, err)
	}
	if _, ok, err := FindMirror(t.Context(), conn, "none"); ok || err != nil {
		t.Errorf("a mirror that is not there: %t, %v", ok, err)
	}
}

// TestSourceObjects has versions of objects, of which a position chooses.
func TestSourceObjects(t *testing.T) {
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	conn := d.Connect(t)
	if err := Install(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO pgdrover.mirrors (name, source, destination, publication) VALUES ('m', 'a', 'b', 'p')`); err != nil {
		t.Fatal(err)
	}
	text := func(s string) *string { return &s }
	put := func(objects ...SourceObject) {
		t.Helper()
		if err := PutSourceObjects(t.Context(), conn, 1, 0, objects); err != nil {
			t.Fatal(err)
		}
	}
	contents := func(at int) string {
		t.Helper()
		objects, err := SourceObjects(t.Context(), conn, 1, 0, pglogrepl.LSN(at))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, o := range objects {
			if o.Kind == "table" {
				out = append(out, fmt.Sprintf("%d=%s", o.OID, *o.Content))
			}
		}
		return strings.Join(out, " ")
	}
	put(SourceObject{"memory", 0, 50, text("")}, SourceObject{"table", 1, 50, text("a")}, SourceObject{"table", 2, 50, text("b")})
	put(SourceObject{"table", 1, 101, text("a2")}, SourceObject{"table", 2, 101, nil}, SourceObject{"table", 3, 102, text("c")})
	for _, want := range []struct {
		at   int
		text string
	}{{102, "1=a2 3=c"}, {101, "1=a2"}, {100, "1=a 2=b"}, {10, "1=a 2=b"}} {
		if got := contents(want.at); got != want.text {
			t.Errorf("at %d it is %q, want %q", want.at, got, want.text)
		}
	}
	put(SourceObject{"table", 1, 101, text("a2")}, SourceObject{"table", 1, 110, text("a3")})
	if err := PruneSourceObjects(t.Context(), conn, 1, 0, 105); err != nil {
		t.Fatal(err)
	}
	if rows := d.Rows(t, `SELECT lsn FROM pgdrover.source_schema WHERE oid = 1 ORDER BY 1`); strings.Join(rows, " ") != "0/65 0/6E" {
		t.Errorf("versions are left at %v", rows)
	}
	if err := Forget(t.Context(), conn, "m"); err != nil {
		t.Fatal(err)
	}
	if rows := d.Rows(t, `SELECT nspname FROM pg_namespace WHERE nspname = 'pgdrover'`); len(rows) != 0 {
		t.Error("the schema is left")
	}
}

package admin

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

var execModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

func connectPgx(t *testing.T, s *adminServer, mode pgx.QueryExecMode, notices *[]string) *pgx.Conn {
	t.Helper()
	conf, err := pgx.ParseConfig(s.url("admin"))
	if err != nil {
		t.Fatal(err)
	}
	conf.DefaultQueryExecMode = mode
	conf.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { *notices = append(*notices, n.Severity+" "+n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), conf)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

var (
	began = time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)
	ended = began.Add(26*time.Hour + 3*time.Minute + 4*time.Second + 5*time.Millisecond)
)

// finishedTasks are tasks of which nothing changes any more.
func finishedTasks() []mirror.Task {
	failure := pgerror.New("42P07", "relation \"a\" exists").WithDetail("It differs.").WithHint("SHOW SCHEMA_DIFF a b")
	return []mirror.Task{
		{
			ID: 2, Mirror: "a_to_b", Type: "schema_sync(post) a -> b", State: mirror.Failed, Inner: "creating indexes",
			Runner: "pgdrover 0.1.0 on host, process 1", StartedAt: began, UpdatedAt: ended, FinishedAt: &ended,
			Done: 2, Total: 3, Failed: 1, Error: failure,
			Subtasks: []mirror.Subtask{{Type: "shard 0", State: mirror.Finished, StartedAt: began, UpdatedAt: began, FinishedAt: &began, Done: 1, Total: 1}},
		},
		{ID: 1, Mirror: "a_to_b", Type: "schema_sync(pre) a -> b", State: mirror.Interrupted, StartedAt: began, UpdatedAt: ended},
	}
}

func TestPgx(t *testing.T) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			warning := pgerror.New("01000", "2 tables have no primary key")
			s.engine.tasks = func() ([]mirror.Task, []*pgerror.Error, error) {
				return finishedTasks(), []*pgerror.Error{warning}, nil
			}
			s.engine.schemaSync = func(mirror.SchemaSyncRequest) (mirror.Started, error) {
				return mirror.Started{Task: 41, Warnings: []*pgerror.Error{warning}}, nil
			}
			s.engine.watch = func(_ context.Context, id mirror.TaskID, tell func(mirror.Task)) (mirror.Task, error) {
				tell(mirror.Task{ID: id, State: mirror.Running, Inner: "syncing tables", Done: 2, Total: 4})
				task := finishedTasks()[0]
				task.ID = id
				return task, nil
			}
			s.engine.probe = func(string) (time.Duration, error) { return 1500 * time.Microsecond, nil }
			var notices []string
			conn := connectPgx(t, s, mode, &notices)
			checkPgxAnswers(t, conn)
			checkPgxErrors(t, conn)
			if diff := cmp.Diff([]string{
				"WARNING 2 tables have no primary key", "WARNING 2 tables have no primary key", "NOTICE task 7: syncing tables, 50% of 4 statements",
			}, notices); diff != "" {
				t.Errorf("notices: %s", diff)
			}
		})
	}
}

func checkPgxAnswers(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	ctx := t.Context()
	if err := conn.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	rows, err := conn.Query(ctx, "SHOW TASKS")
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := pgx.CollectRows(rows, pgx.RowToMap)
	if err != nil {
		t.Fatalf("SHOW TASKS: %v", err)
	}
	want := []map[string]any{
		{
			"id": int64(2), "scope": "root", "type": "schema_sync(post) a -> b", "status": `failed: relation "a" exists`,
			"inner_status": "creating indexes", "started_at": "2026-03-04 05:06:07.089 UTC", "updated_at": "2026-03-05 07:09:11.094 UTC",
			"elapsed": "1d 02:03:04:005", "elapsed_ms": int64(93784005), "mirror": "a_to_b", "runner": "pgdrover 0.1.0 on host, process 1",
			"done": int64(2), "total": int64(3), "failed": int64(1), "percent": 66.7,
			"sqlstate": "42P07", "error": `relation "a" exists`, "detail": "It differs.", "hint": "SHOW SCHEMA_DIFF a b",
			"rows": nil, "total_rows": nil, "bytes": nil, "total_bytes": nil, "copy_percent": nil, "lag": nil, "lag_ms": nil, "lag_bytes": nil,
			"transactions_per_sec": nil, "rows_per_sec": nil,
		},
		{
			"id": nil, "scope": "subtask", "type": "shard 0", "status": "finished", "inner_status": nil,
			"started_at": "2026-03-04 05:06:07.089 UTC", "updated_at": "2026-03-04 05:06:07.089 UTC",
			"elapsed": "00:00:00:000", "elapsed_ms": int64(0), "mirror": "a_to_b", "runner": "pgdrover 0.1.0 on host, process 1",
			"done": int64(1), "total": int64(1), "failed": int64(0), "percent": 100.0, "sqlstate": nil, "error": nil, "detail": nil, "hint": nil,
			"rows": nil, "total_rows": nil, "bytes": nil, "total_bytes": nil, "copy_percent": nil, "lag": nil, "lag_ms": nil, "lag_bytes": nil,
			"transactions_per_sec": nil, "rows_per_sec": nil,
		},
		{
			"id": int64(1), "scope": "root", "type": "schema_sync(pre) a -> b", "status": "interrupted", "inner_status": nil,
			"started_at": "2026-03-04 05:06:07.089 UTC", "updated_at": "2026-03-05 07:09:11.094 UTC",
			"elapsed": "1d 02:03:04:005", "elapsed_ms": int64(93784005), "mirror": "a_to_b", "runner": nil,
			"done": int64(0), "total": int64(0), "failed": int64(0), "percent": nil, "sqlstate": nil, "error": nil, "detail": nil, "hint": nil,
			"rows": nil, "total_rows": nil, "bytes": nil, "total_bytes": nil, "copy_percent": nil, "lag": nil, "lag_ms": nil, "lag_bytes": nil,
			"transactions_per_sec": nil, "rows_per_sec": nil,
		},
	}
	if diff := cmp.Diff(want, tasks); diff != "" {
		t.Errorf("SHOW TASKS (-want +got):\n%s", diff)
	}
	var task string
	if err := conn.QueryRow(ctx, "SCHEMA_SYNC PRE $1 $2 p", "a", `b"c`).Scan(&task); err != nil || task != "41" {
		t.Errorf("SCHEMA_SYNC: %q, %v", task, err)
	}
	var settable bool
	if err := conn.QueryRow(ctx, "SHOW CONFIG schema_sync.index_jobs").Scan(nil, nil, nil, nil, nil, &settable, nil, nil); err != nil || !settable {
		t.Errorf("SHOW CONFIG: %v, %v", settable, err)
	}
	var now time.Time
	var pid int32
	var recovery bool
	if err := conn.QueryRow(ctx, "SELECT now(), pg_backend_pid(), pg_is_in_recovery()").Scan(&now, &pid, &recovery); err != nil ||
		pid != int32(conn.PgConn().PID()) || recovery || time.Since(now).Abs() > time.Hour {
		t.Errorf("SELECT: %v, %d, %v, %v", now, pid, recovery, err)
	}
	var ms, us int64
	if err := conn.QueryRow(ctx, "PROBE $1", "a").Scan(&ms, &us); err != nil || ms != 1 || us != 1500 {
		t.Errorf("PROBE: %d, %d, %v", ms, us, err)
	}
}

func checkPgxErrors(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	ctx := t.Context()
	var failure *pgconn.PgError
	if _, err := conn.Exec(ctx, "WAIT $1", 7); !errors.As(err, &failure) || failure.Code != "42P07" ||
		failure.Detail != "It differs." || failure.Hint == "" || failure.Where != "task 7, schema_sync(post) a -> b" {
		t.Errorf("WAIT: %+v", err)
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "SHOV"); !errors.As(err, &failure) || failure.Code != "42601" {
		t.Errorf("SHOV: %v", err)
	}
	if err := tx.Commit(ctx); !errors.Is(err, pgx.ErrTxCommitRollback) {
		t.Errorf("commit of a failed transaction: %v", err)
	}
	if conn.IsClosed() {
		t.Error("an error has closed the connection")
	}
}

// TestPgxCancel sends a real CancelRequest.
func TestPgxCancel(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	waiting := make(chan struct{}, 1)
	s.engine.watch = func(ctx context.Context, _ mirror.TaskID, _ func(mirror.Task)) (mirror.Task, error) {
		waiting <- struct{}{}
		<-ctx.Done()
		return mirror.Task{}, ctx.Err()
	}
	conn := connectPgx(t, s, pgx.QueryExecModeCacheStatement, &[]string{})
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "WAIT 7")
		failed <- err
	}()
	within(t, waiting, "WAIT")
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatalf("cancel: %v", err)
	}
	var e *pgconn.PgError
	if err := within(t, failed, "end of WAIT"); !errors.As(err, &e) || e.Code != "57014" {
		t.Errorf("got %v", err)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("after cancel: %v", err)
	}
}

// TestPgxLoadType: pgx's own query of the type catalog is answered, with
// nothing.
func TestPgxLoadType(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn := connectPgx(t, s, pgx.QueryExecModeCacheStatement, &[]string{})
	if _, err := conn.LoadType(t.Context(), "mood"); err == nil || conn.IsClosed() {
		t.Errorf("LoadType: %v", err)
	}
}

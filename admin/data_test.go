package admin

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

func pointer[T any](v T) *T { return &v }

// dataEngine answers the commands that show rows and changes on their way.
func dataEngine(s *adminServer) {
	lag := 1500 * time.Millisecond
	streams := []mirror.StreamRow{
		{
			Mirror: "a_to_b", Shard: 0, Slot: "pgdrover_a_to_b_0", ReceivedLSN: 0x16_0000_0100, AppliedLSN: 0x16_0000_0080, ConfirmedLSN: 0x16_0000_0040,
			ServerLSN: 0x16_0000_0200, LagBytes: pointer(int64(384)), Lag: &lag, Transactions: 10, Rows: 1000, TransactionsPerSec: 12.34, RowsPerSec: 123.45,
			Binary: true, LastCommit: &began, UpdatedAt: ended,
		},
		{Mirror: "a_to_b", Shard: 1, Slot: "pgdrover_a_to_b_1", UpdatedAt: ended, Error: pgerror.New("08006", "connection lost").WithDetail("d").WithHint("h")},
	}
	s.engine.mirrors = func() ([]mirror.MirrorRow, []*pgerror.Error, error) {
		return []mirror.MirrorRow{
			{
				Name: "a_to_b", Source: "a", Destination: "b", Publication: "p", State: "replicating", Wanted: mirror.MirrorRunning, Task: 7, Tables: 3, Streaming: 2, Stopped: 1,
				Rows: 1234567, Bytes: 2464154, Percent: pointer(99.96), LagBytes: pointer(int64(384)), Lag: lag, Streams: streams, CreatedAt: began,
			},
			{Name: `Weird "Name" $1`, Source: "c", Destination: "d", State: "idle", Error: pgerror.New("55000", "odd")},
		}, nil, nil
	}
	s.engine.mirrorTables = func(name string) ([]mirror.MirrorTableRow, []*pgerror.Error, error) {
		if name != "a_to_b" {
			return nil, nil, pgerror.New(pgerror.UndefinedObject, "there is no mirror %q", name).WithDetail("Mirrors there are: a_to_b.")
		}
		return []mirror.MirrorTableRow{
			{Schema: "public", Table: "orders", State: mirror.TableStreaming, Rows: 10, TotalRows: 10, Bytes: 1536, Total: 2048, Percent: pointer(100.0), Format: "binary", SyncLSN: 0x100, Inserted: 1, Updated: 2, Deleted: 3, UpdatedAt: began},
			{
				Schema: "public", Table: "Weird \"Table\"", Shard: 1, State: mirror.TableStopped, Format: "text", FormatBy: "column c is an array of an enum", StoppedLSN: 0x200, UpdatedAt: began,
				Error: pgerror.New("23505", "duplicate key").WithDetail("key (id)=(7)").WithHint(`RESYNC a_to_b public."Weird ""Table"""`),
			},
		}, []*pgerror.Error{pgerror.New("08001", "cannot tell the tables kept in c")}, nil
	}
	s.engine.tableCopies = func() ([]mirror.TableCopyRow, []*pgerror.Error, error) {
		return []mirror.TableCopyRow{
			{
				Mirror: "a_to_b", Task: 7, Schema: "public", Table: "orders", Status: "done", Rows: 1234567, Bytes: 5 << 30, StartedAt: &began, FinishedAt: &ended, SQL: "COPY ...",
				TotalRows: 1200000, TotalBytes: 5 << 30, Ranges: 4, RangesDone: 4, Percent: pointer(100.0), Attempt: 1, Format: "binary",
			},
			{Mirror: "a_to_b", Task: 7, Shard: 1, Schema: "public", Table: "items", Status: "waiting", TotalRows: 1, TotalBytes: 8192, Ranges: 1},
			{
				Mirror: "a_to_b", Task: 7, Schema: "public", Table: "broken", Status: "failed", Rows: 5, Bytes: 500, StartedAt: &began, FinishedAt: &ended, TotalBytes: 8192, Ranges: 2, RangesDone: 1,
				Percent: pointer(6.1), ETA: pointer(90 * time.Second), Workers: "1,3", Attempt: 5, Error: pgerror.New("53100", "disk full"),
			},
		}, nil, nil
	}
	s.engine.slots = func() ([]mirror.SlotRow, []*pgerror.Error, error) {
		return []mirror.SlotRow{
			{
				Host: "10.0.0.1", Port: 5432, Database: "a", DatabaseOnServer: "a_db", Name: "pgdrover_a_to_b_0", LSN: 0x16_0000_0040, LagBytes: 2464154, Mirror: "a_to_b",
				Active: true, ActivePID: 4711, RestartLSN: 0x16_0000_0000, RetainedBytes: 3 << 30, WALStatus: "reserved", SafeWALSize: pointer(int64(1 << 30)), Plugin: "pgoutput",
			},
			{
				Host: "10.0.0.1", Port: 5432, Database: "a", DatabaseOnServer: "a_db", Name: "pgdrover_left", CopyData: true, Orphan: true, WALStatus: "lost",
				Invalidated: "wal_removed", InactiveSince: &began, Temporary: true,
			},
		}, nil, nil
	}
	s.engine.tasks = func() ([]mirror.Task, []*pgerror.Error, error) {
		return []mirror.Task{{
			ID: 7, Mirror: "a_to_b", Type: "copy_data a -> b", State: mirror.Running, Inner: "replicating", StartedAt: began, UpdatedAt: ended, FinishedAt: &ended,
			Rows: 10, TotalRows: 12, Bytes: 100, TotalBytes: 300, LagBytes: pointer(int64(384)), Lag: lag, Streams: streams,
			Subtasks: []mirror.Subtask{
				{Type: "schema_sync a -> b shard 0", State: mirror.Running, StartedAt: began, UpdatedAt: ended, FinishedAt: &ended, Done: 2, Total: 2},
				{Type: "replication a shard 0 -> b", Stream: true, State: mirror.Running, Inner: "replicating", StartedAt: began, UpdatedAt: ended, FinishedAt: &ended},
				{Type: "replication a shard 1 -> b", Shard: 1, Stream: true, State: mirror.Running, StartedAt: began, UpdatedAt: ended, FinishedAt: &ended},
				{Type: "replication a shard 2 -> b", Shard: 2, Stream: true, State: mirror.Running, StartedAt: began, UpdatedAt: ended, FinishedAt: &ended},
			},
		}}, nil, nil
	}
}

// TestShowData compares what psql shows with files.
func TestShowData(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	dataEngine(s)
	for name, statement := range map[string]string{
		"mirrors": "SHOW MIRRORS", "mirror": "SHOW MIRROR a_to_b", "table_copies": "SHOW TABLE_COPIES", "streams": "SHOW STREAMS",
		"replication_slots": "SHOW REPLICATION_SLOTS", "data_tasks": "SHOW TASKS",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, exit := psql(t, s, "-x", "-c", statement)
			if exit != 0 {
				t.Errorf("exit code %d", exit)
			}
			golden(t, "psql_"+name+".golden", out)
		})
	}
}

// TestShowDataInBinary: every value fits the type of its column.
func TestShowDataInBinary(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	dataEngine(s)
	conn := connectPgx(t, s, pgx.QueryExecModeCacheStatement, &[]string{})
	for _, statement := range []string{"SHOW MIRRORS", "SHOW MIRROR a_to_b", "SHOW TABLE_COPIES", "SHOW STREAMS", "SHOW REPLICATION_SLOTS", "SHOW TASKS"} {
		rows, err := conn.Query(t.Context(), statement)
		if err != nil {
			t.Fatal(err)
		}
		if found, err := pgx.CollectRows(rows, pgx.RowToMap); err != nil || len(found) == 0 {
			t.Errorf("%s: %d rows, %v", statement, len(found), err)
		}
	}
}

// TestPgDogColumnsComeFirst: scripts written for PgDog read columns by place.
func TestPgDogColumnsComeFirst(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		columns []Column
		want    string
	}{
		"SHOW TASKS":             {taskColumns, "id scope type status inner_status started_at updated_at elapsed elapsed_ms"},
		"SHOW TABLE_COPIES":      {tableCopyColumns, "schema table status rows rows_human bytes bytes_human bytes_per_sec bytes_per_sec_human elapsed elapsed_ms sql"},
		"SHOW REPLICATION_SLOTS": {slotColumns, "host port database_name name lsn lag lag_bytes copy_data last_transaction last_transaction_ms"},
		"COPY_DATA":              {copyDataColumns, "task_id replication_slot"},
		"REPLICATE":              {replicateColumns, "task_id"},
	} {
		var names []string
		for _, c := range test.columns {
			names = append(names, c.Name)
		}
		if !strings.HasPrefix(strings.Join(names, " "), test.want) {
			t.Errorf("%s begins with %v, not with %s", name, names, test.want)
		}
	}
}

// TestDataCommands is what the engine is asked for, and what is answered.
func TestDataCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var asked []any
	slots := []string{"s"}
	warnings := []*pgerror.Error{pgerror.New("01000", "odd"), pgerror.New("00000", "by the way")}
	s.engine.copyData = func(r mirror.CopyDataRequest) (mirror.Started, error) {
		asked = append(asked, r)
		return mirror.Started{Task: 7, Slots: slots, Warnings: warnings[:1]}, nil
	}
	s.engine.resync = func(name string, r mirror.ResyncRequest) (mirror.Resynced, error) {
		asked = append(asked, name, r)
		return mirror.Resynced{Started: mirror.Started{Task: 8}}, nil
	}
	s.engine.dropMirror = func(name string) (mirror.DropMirrorReport, error) {
		asked = append(asked, name)
		switch name {
		case "left":
			return mirror.DropMirrorReport{Slots: []string{"a", "b"}, Warnings: warnings}, nil
		case "foreign":
			return mirror.DropMirrorReport{Warnings: warnings[1:]}, nil
		case "none":
			return mirror.DropMirrorReport{}, pgerror.New(pgerror.UndefinedObject, "there is no mirror")
		}
		return mirror.DropMirrorReport{Slots: []string{"a"}}, nil
	}
	c := s.connect("admin", nil).ready()
	for _, test := range []struct {
		statement string
		slots     []string
		asked     any
		want      string
	}{
		{`COPY_DATA Prod "New ""One""" p`, []string{"pgdrover_x_0"}, mirror.CopyDataRequest{Source: "Prod", Destination: `New "One"`, Publication: "p"},
			"WARNING:01000 T:task_id,replication_slot D:7,pgdrover_x_0 C:COPY_DATA Z:I"},
		{`COPY_DATA a b p mine SKIP SCHEMA SYNC ONLY`, []string{"mine"}, mirror.CopyDataRequest{Source: "a", Destination: "b", Publication: "p", Slot: "mine", SkipSchema: true, SyncOnly: true},
			"WARNING:01000 T:task_id,replication_slot D:7,mine C:COPY_DATA Z:I"},
		{`COPY_DATA a b p`, []string{"pgdrover_x_0", "pgdrover_x_1"}, mirror.CopyDataRequest{Source: "a", Destination: "b", Publication: "p"},
			"WARNING:01000 T:task_id,replication_slot D:7,pgdrover_x C:COPY_DATA Z:I"},
		{`COPY_DATA a b p`, nil, mirror.CopyDataRequest{Source: "a", Destination: "b", Publication: "p"},
			"WARNING:01000 T:task_id,replication_slot D:7,NULL C:COPY_DATA Z:I"},
		{`REPLICATE a b p s`, []string{"s"}, mirror.CopyDataRequest{Source: "a", Destination: "b", Publication: "p", Slot: "s", StreamOnly: true},
			"WARNING:01000 T:task_id D:7 C:REPLICATE Z:I"},
		{`DROP MIRROR m`, nil, "m", "T:drop_mirror,slots D:OK,a C:DROP MIRROR Z:I"},
		{`DROP MIRROR left`, nil, "left", "WARNING:01000 NOTICE:00000 T:drop_mirror,slots D:incomplete,a, b C:DROP MIRROR Z:I"},
		{`DROP MIRROR foreign`, nil, "foreign", "NOTICE:00000 T:drop_mirror,slots D:OK,NULL C:DROP MIRROR Z:I"},
		{`DROP MIRROR none`, nil, "none", "ERROR:42704 Z:I"},
	} {
		asked, slots = nil, test.slots
		got := c.query(test.statement)
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.statement, got, test.want)
		}
		if diff := cmp.Diff([]any{test.asked}, asked); diff != "" {
			t.Errorf("%s asks the engine (-want +got):\n%s", test.statement, diff)
		}
	}
	for statement, want := range map[string]mirror.ResyncRequest{
		`RESYNC m`: {}, `RESYNC m STOPPED`: {Stopped: true}, `RESYNC m public.t, "S"."T"`: {Tables: []string{"public.t", "S.T"}},
		`resync m strategy swap`:                         {Strategy: resync.Swap},
		`RESYNC m a, b c STRATEGY Reconcile`:             {Tables: []string{"a", "b", "c"}, Strategy: resync.Reconcile},
		`RESYNC m STRATEGY truncate stopped`:             {Stopped: true, Strategy: resync.Truncate},
		`RESYNC m "stopped", strategy STRATEGY truncate`: {Tables: []string{"stopped", "strategy"}, Strategy: resync.Truncate},
		`RESYNC m strategy`:                              {Tables: []string{"strategy"}},
		`RESYNC m swap`:                                  {Tables: []string{"swap"}},
	} {
		asked = nil
		if got := c.query(statement); got != "T:task_id D:8 C:RESYNC Z:I" {
			t.Errorf("%s: %s", statement, got)
		}
		if diff := cmp.Diff([]any{"m", want}, asked); diff != "" {
			t.Errorf("%s asks the engine (-want +got):\n%s", statement, diff)
		}
	}
	if e := c.refusal("RESYNC m STOPPED t"); e.Code != "42601" {
		t.Errorf("STOPPED with tables: %+v", e)
	}
	for _, statement := range []string{"RESYNC m STRATEGY quick", "RESYNC m t STRATEGY quick"} {
		if e := c.refusal(statement); e.Code != "42601" || !strings.Contains(e.Message, "quick") {
			t.Errorf("%s: %+v", statement, e)
		}
	}
	if got := c.query("COPY_DATA a b NULL"); !strings.Contains(got, "D:7") {
		t.Errorf("a name that is a keyword of SQL: %s", got)
	}
	if e := c.refusal("SHOW MIRROR"); e.Code != "42601" {
		t.Errorf("SHOW MIRROR without a name: %+v", e)
	}
}

// TestDataCommandsPrepared: arguments may be parameters, NULL is refused.
func TestDataCommandsPrepared(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var tables []string
	s.engine.resync = func(_ string, r mirror.ResyncRequest) (mirror.Resynced, error) {
		tables = r.Tables
		return mirror.Resynced{Started: mirror.Started{Task: 8}}, nil
	}
	conn := connectPgx(t, s, pgx.QueryExecModeCacheStatement, &[]string{})
	var task string
	if err := conn.QueryRow(t.Context(), "RESYNC $1 $2, $3", "m", "s.a b", `"c"`).Scan(&task); err != nil || task != "8" {
		t.Fatalf("%q, %v", task, err)
	}
	if diff := cmp.Diff([]string{"s.a b", `"c"`}, tables); diff != "" {
		t.Error(diff)
	}
	if err := conn.QueryRow(t.Context(), "RESYNC m $1", nil).Scan(&task); pgerror.Code(err) != nullValueNotAllowed {
		t.Errorf("NULL for a table: %v", err)
	}
}

// TestWaitForAStream: WAIT tells that it has no end of its own, once, and that
// the task was stopped is its error.
func TestWaitForAStream(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.engine.watch = func(_ context.Context, id mirror.TaskID, tell func(mirror.Task)) (mirror.Task, error) {
		task := mirror.Task{ID: id, State: mirror.Running, Inner: "copying rows", Rows: 1000, Bytes: 45, TotalBytes: 100}
		tell(task)
		task.Bytes = 46
		tell(task) // the same tenth, at the same time
		task.Bytes = 51
		tell(task)
		task.Inner, task.LagBytes, task.Lag = "replicating", pointer(int64(2464154)), 3200*time.Millisecond
		tell(task)
		task.LagBytes = pointer(int64(512))
		tell(task)
		task.State, task.Error = mirror.Cancelled, pgerror.New("57014", "the task was asked to stop").WithHint("run the same command again")
		tell(task)
		return task, nil
	}
	c := s.connect("admin", nil).ready()
	c.send(&pgproto3.Query{String: "WAIT 7"})
	var notices []string
	for {
		m, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *pgproto3.NoticeResponse:
			notices = append(notices, m.Message)
			if strings.Contains(m.Message, "until it is stopped") && !strings.Contains(m.Hint, "STOP_TASK 7;") {
				t.Errorf("the hint is %q", m.Hint)
			}
			continue
		case *pgproto3.ErrorResponse:
			if m.Code != "57014" || m.Hint == "" {
				t.Errorf("WAIT ends with %+v", m)
			}
			continue
		case *pgproto3.ReadyForQuery:
		default:
			continue
		}
		break
	}
	want := []string{
		"task 7: copying rows, 45% of 100 B, 1,000 rows",
		"task 7: copying rows, 51% of 100 B, 1,000 rows",
		"task 7: replicating, lag 2.35 MB, 3.2 s",
		"task 7 replicates until it is stopped, and WAIT waits until then",
	}
	if diff := cmp.Diff(want, notices); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
}

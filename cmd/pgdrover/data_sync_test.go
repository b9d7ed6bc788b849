package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stubEngine runs a task that ends when it is stopped, or at once.
type stubEngine struct {
	refuse  error            // of CopyData
	ends    *mirror.Task     // nil: it streams until it is stopped
	ended   mirror.TaskState // how it ends when it is stopped
	tables  []mirror.TableState
	lookErr error // of MirrorTables
	deaf    bool  // StopTask fails, as with a destination that is down
	stuck   bool  // nothing ends it

	request mirror.CopyDataRequest
	running chan struct{} // closed when the task is watched
	stopped chan struct{} // closed when it has been asked to stop
	closed  int
}

func newStub() *stubEngine {
	return &stubEngine{ended: mirror.Cancelled, running: make(chan struct{}), stopped: make(chan struct{})}
}

func (e *stubEngine) CopyData(_ context.Context, r mirror.CopyDataRequest) (mirror.Started, error) {
	e.request = r
	return mirror.Started{Task: 7, Warnings: []*pgerror.Error{pgerror.New("01000", "odd")}}, e.refuse
}

func (e *stubEngine) Watch(ctx context.Context, id mirror.TaskID, tell func(mirror.Task)) (mirror.Task, error) {
	if e.ends != nil {
		return *e.ends, nil
	}
	lag := int64(0)
	task := mirror.Task{ID: id, Type: "copy_data a -> b", Mirror: "a_to_b", State: mirror.Running, Inner: "replicating", LagBytes: &lag}
	tell(task)
	close(e.running)
	stopped := e.stopped
	if e.stuck {
		stopped = nil
	}
	select {
	case <-stopped:
	case <-ctx.Done():
		return task, ctx.Err()
	}
	task.State, task.LagBytes, task.Error = e.ended, nil, pgerror.New("57014", "the task was asked to stop")
	return task, nil
}

func (e *stubEngine) StopTask(context.Context, mirror.TaskID) error {
	if e.deaf {
		return errors.New("no connection")
	}
	close(e.stopped)
	return nil
}

func (e *stubEngine) Close(ctx context.Context) error {
	e.closed++
	if e.deaf && e.closed == 1 {
		close(e.stopped)
	}
	return ctx.Err()
}

func (e *stubEngine) TableCopies(context.Context) ([]mirror.TableCopyRow, []*pgerror.Error, error) {
	return nil, nil, nil
}

func (e *stubEngine) MirrorTables(context.Context, string) ([]mirror.MirrorTableRow, []*pgerror.Error, error) {
	var rows []mirror.MirrorTableRow
	for i, state := range e.tables {
		rows = append(rows, mirror.MirrorTableRow{Schema: "public", Table: string(rune('a' + i)), State: state})
	}
	return rows, nil, e.lookErr
}

// code is the exit code that the program would end with.
func code(err error) int {
	var told exit
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &told):
		return int(told)
	}
	return exitFailed
}

// TestDataSyncExitCodes is how data-sync ends, for every way that it can.
func TestDataSyncExitCodes(t *testing.T) {
	t.Parallel()
	finished := &mirror.Task{ID: 7, Mirror: "a_to_b", State: mirror.Finished}
	failed := &mirror.Task{ID: 7, Mirror: "a_to_b", State: mirror.Failed, Error: pgerror.New("53100", "disk full")}
	interrupted := &mirror.Task{ID: 7, Mirror: "a_to_b", State: mirror.Interrupted}
	const streaming, catchingUp, stopped, unpublished, copying = mirror.TableStreaming, mirror.TableCatchingUp, mirror.TableStopped, mirror.TableUnpublished, mirror.TableCopying
	for _, test := range []struct {
		name    string
		engine  func(*stubEngine)
		signals int
		code    int
		message string
	}{
		{"refused", func(e *stubEngine) { e.refuse = pgerror.New("42704", "no such publication") }, 0, 1, "no such publication"},
		{"stream stopped", func(e *stubEngine) { e.tables = []mirror.TableState{streaming, unpublished} }, 1, 0, ""},
		{"stream stopped with a table that was stopped before", func(e *stubEngine) { e.tables = []mirror.TableState{streaming, stopped, stopped} }, 1, 1, `mirror "a_to_b" has 2 stopped tables: public.b, public.c`},
		{"stopped while it catches up", func(e *stubEngine) { e.tables = []mirror.TableState{streaming, catchingUp} }, 1, 1, "task 7 was stopped before 1 table was in step with the source: public.b"},
		{"copy stopped", func(e *stubEngine) { e.tables = []mirror.TableState{copying, copying} }, 1, 1, "task 7 was stopped before 2 tables were in step with the source: public.a, public.b"},
		{"stopped before its tables are known", func(*stubEngine) {}, 1, 1, "the task was asked to stop"},
		{"stopped, and the tables cannot be read", func(e *stubEngine) { e.lookErr = errors.New("down") }, 1, 3, ""},
		{"stopped, destination down", func(e *stubEngine) { e.deaf, e.ended = true, mirror.Interrupted }, 1, 1, "the task was asked to stop"},
		{"sync only", func(e *stubEngine) { e.ends, e.tables = finished, []mirror.TableState{catchingUp, streaming} }, 0, 0, ""},
		{"sync only, a table stopped", func(e *stubEngine) { e.ends, e.tables = finished, []mirror.TableState{catchingUp, stopped} }, 0, 1, `mirror "a_to_b" has 1 stopped table: public.b`},
		{"failed", func(e *stubEngine) { e.ends = failed }, 0, 1, "disk full"},
		{"interrupted", func(e *stubEngine) { e.ends = interrupted }, 0, 1, "task 7 is interrupted"},
		{"two signals", func(e *stubEngine) { e.stuck = true }, 2, 1, "a second signal cut the stop of task 7 short"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			engine := newStub()
			test.engine(engine)
			signals := make(chan os.Signal, 2)
			stop, cut, release := onSignals(t.Context(), signals, 0)
			defer release()
			sent := make(chan struct{})
			go func() { // ends with the task's start, or with the test
				defer close(sent)
				if test.signals == 0 {
					return
				}
				<-engine.running
				for range test.signals {
					signals <- syscall.SIGTERM
				}
			}()
			var out, errs bytes.Buffer
			err := dataSyncCommand{FromDatabase: "a", ToDatabase: "b", Publication: "p"}.sync(t.Context(), stop, cut, engine, &streams{out: &out, err: &errs})
			<-sent
			message := ""
			if told := exit(0); err != nil && !errors.As(err, &told) {
				message = err.Error()
			}
			if code(err) != test.code || message != test.message {
				t.Errorf("exit code %d, %q; want %d, %q\n%s%s", code(err), message, test.code, test.message, out.String(), errs.String())
			}
			if !strings.Contains(errs.String(), "WARNING:  odd") {
				t.Errorf("the warning is not shown: %s", errs.String())
			}
		})
	}
}

func TestDataSyncRequest(t *testing.T) {
	t.Parallel()
	engine := newStub()
	engine.ends, engine.tables = &mirror.Task{ID: 7, State: mirror.Finished}, []mirror.TableState{mirror.TableStreaming}
	d := dataSyncCommand{FromDatabase: "a", ToDatabase: "b", Publication: "p", ReplicateOnly: true, SyncOnly: true, ReplicationSlot: "s", SkipSchemaSync: true, JSON: true}
	var out, errs bytes.Buffer
	if err := d.sync(t.Context(), t.Context(), t.Context(), engine, &streams{out: &out, err: &errs}); err != nil {
		t.Fatal(err)
	}
	want := mirror.CopyDataRequest{Source: "a", Destination: "b", Publication: "p", Slot: "s", SkipSchema: true, SyncOnly: true, StreamOnly: true}
	if diff := cmp.Diff(want, engine.request); diff != "" {
		t.Error(diff)
	}
	for line := range strings.Lines(out.String()) {
		if err := json.Unmarshal([]byte(line), &map[string]any{}); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// TestDataSyncUsage: a command line that is wrong is exit code 2, and not tried.
func TestDataSyncUsage(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{
		{"--from-database", "a", "--to-database", "b"},
		{"--from-database", "a", "--to-database", "b", "--publication", "p", "--replicate-only", "--sync-only"},
		{"--from-database", "a", "--to-database", "b", "--publication", "p", "--dry-run"},
	} {
		var out, errs bytes.Buffer
		if got := run(t.Context(), append([]string{"data-sync"}, flags...), streams{out: &out, err: &errs}); got != exitUsage {
			t.Errorf("%v: exit code %d\n%s", flags, got, errs.String())
		}
	}
}

func TestOnSignals(t *testing.T) {
	t.Parallel()
	signals := make(chan os.Signal, 3)
	first, second, end := onSignals(t.Context(), signals, 0)
	if first.Err() != nil || second.Err() != nil {
		t.Error("ended without a signal")
	}
	signals <- syscall.SIGINT
	wait(t, first)
	if second.Err() != nil {
		t.Error("the first signal ends both")
	}
	signals <- syscall.SIGTERM
	wait(t, second)
	end()

	first, second, end = onSignals(t.Context(), signals, 0)
	end()
	wait(t, first)
	wait(t, second)
}

func wait(t *testing.T, ctx context.Context) {
	t.Helper()
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the context has not ended")
	}
}

var _ progress.DataWatcher = (*stubEngine)(nil)

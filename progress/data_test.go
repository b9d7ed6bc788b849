package progress_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

func TestBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.00 KB", 2464154: "2.35 MB", 5 << 30: "5.00 GB", 3 << 40: "3.00 TB", 1 << 50: "1.00 PB", 1<<63 - 1: "8192.00 PB", -2048: "-2.00 KB",
	} {
		if got := progress.Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		if got := progress.Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		groups := strings.Split(strings.TrimPrefix(progress.Count(n), "-"), ",")
		for i, g := range groups {
			if len(g) > 3 || len(g) < 3 && i > 0 {
				t.Fatalf("Count(%d) = %s", n, progress.Count(n))
			}
		}
	})
}

func copying(bytes int64) mirror.Task {
	return mirror.Task{ID: 7, Type: "copy_data a -> b", State: mirror.Running, Inner: "copying rows", Rows: bytes * 10, TotalRows: 10000, Bytes: bytes, TotalBytes: 1000}
}

func streaming(lag int64, behind time.Duration) mirror.Task {
	return mirror.Task{
		ID: 7, Type: "copy_data a -> b", State: mirror.Running, Inner: "replicating", Rows: 10000, Bytes: 1000, TotalBytes: 1000, LagBytes: &lag, Lag: behind,
		Streams: []mirror.StreamRow{{Slot: "s", AppliedLSN: 0x1_0000_0100, LagBytes: &lag, TransactionsPerSec: 2, RowsPerSec: 1200}, {Shard: 1, RowsPerSec: 34}},
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	stopping := streaming(10, 0)
	stopping.State = mirror.Cancelling
	failing := copying(999)
	failing.Failed = 2
	begun, stopped := streaming(0, 0), copying(500) // a stream whose lag is not known yet
	begun.LagBytes, stopped.State = nil, mirror.Cancelling
	over := copying(1000)
	over.TotalBytes = 900 // an estimate
	for _, test := range []struct {
		task mirror.Task
		want string
	}{
		{mirror.Task{ID: 7, State: mirror.Running, Inner: "syncing tables", Done: 5, Total: 10}, "task 7: syncing tables, 50% of 10 statements"},
		{copying(0), "task 7: copying rows, 0% of 1000 B, 0 rows"},
		{failing, "task 7: copying rows, 99% of 1000 B, 9,990 rows, 2 statements failed"},
		{over, "task 7: copying rows, 100% of 900 B, 10,000 rows"},
		{begun, "task 7: replicating"},
		{stopped, "task 7: cancelling"},
		{streaming(2464154, 3200*time.Millisecond), "task 7: replicating, lag 2.35 MB, 3.2 s, 1,234 rows/s"},
		{streaming(0, 2*time.Hour+3*time.Minute), "task 7: replicating, lag 0 B, 2h3m0s, 1,234 rows/s"},
		{stopping, "task 7: cancelling, lag 10 B, 0.0 s, 1,234 rows/s"},
	} {
		if got := progress.Line(test.task); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// TestPace: what is new is told at once, what only moves every now and then.
func TestPace(t *testing.T) {
	t.Parallel()
	begin := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	ended := streaming(0, 0)
	ended.State = mirror.Cancelled
	unknown := streaming(0, 0)
	unknown.LagBytes = nil
	var pace progress.Pace
	for i, step := range []struct {
		task  mirror.Task
		after time.Duration
		told  bool
	}{
		{mirror.Task{ID: 7, State: mirror.Running, Inner: "preparing"}, 0, true},
		{mirror.Task{ID: 7, State: mirror.Running, Inner: "preparing"}, time.Hour, false}, // it says nothing new
		{copying(0), 0, true},
		{copying(50), 4 * time.Second, false}, // the same tenth
		{copying(51), 5 * time.Second, true},
		{copying(100), 5 * time.Second, true}, // the next one
		{copying(140), 9 * time.Second, false},
		{unknown, 9 * time.Second, true},
		{streaming(500, time.Second), 9 * time.Second, true},
		{streaming(400, time.Second), 30 * time.Second, false},
		{streaming(300, time.Second), 39 * time.Second, true},
		{streaming(300, time.Second), time.Hour, false},
		{unknown, 40 * time.Second, false},
		{streaming(200, time.Second), 41 * time.Second, false},
		{ended, 2 * time.Hour, false}, // its end is told by somebody else
	} {
		if line, told := pace.Line(step.task, begin.Add(step.after)); told != step.told || told == (line == "") {
			t.Errorf("step %d: %q, %t", i, line, told)
		}
	}
}

// copies is a script with copies of tables that have ended when it does.
type copies struct {
	script
	mu   sync.Mutex
	rows []mirror.TableCopyRow
	err  error
}

// TableCopies is progress.DataWatcher's.
func (c *copies) TableCopies(context.Context) ([]mirror.TableCopyRow, []*pgerror.Error, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows, nil, c.err
}

// dataScript ends before a look in between is due, so that only the last one
// counts.
func dataScript(to mirror.TaskState, failure *pgerror.Error) *copies {
	begin := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	soon, late := begin.Add(time.Second), begin.Add(63*time.Second)
	last := copying(1000)
	last.State, last.Inner, last.Error, last.StartedAt, last.FinishedAt = to, "", failure, begin, &late
	s := &copies{script: script{states: []mirror.Task{{ID: 7, Type: last.Type, State: mirror.Running, Inner: "syncing tables", Done: 1, Total: 2}, last}}}
	s.rows = []mirror.TableCopyRow{
		{Task: 7, Schema: "public", Table: "small", Status: "done", Rows: 1, Bytes: 10, Attempt: 1, StartedAt: &begin, FinishedAt: &soon},
		{Task: 7, Schema: "public", Table: "large\x1b[2J", Shard: 1, Status: "done", Rows: 1234567, Bytes: 5 << 30, Attempt: 1, StartedAt: &begin, FinishedAt: &late},
		{Task: 7, Schema: "public", Table: "broken", Status: "failed", Attempt: 5, StartedAt: &begin, FinishedAt: &late, Error: pgerror.New("53100", "disk full").WithHint("RESYNC a_to_b public.broken;")},
		{Task: 6, Schema: "public", Table: "of another task", Status: "failed"},
		{Task: 7, Schema: "public", Table: "waiting", Status: "waiting", TotalBytes: 8192},
	}
	for i := range s.states {
		s.states[i].StartedAt, s.states[i].FinishedAt = begin, &late
	}
	return s
}

func TestDataStyles(t *testing.T) {
	t.Parallel()
	for name, style := range map[string]progress.Style{"lines": progress.Lines, "json": progress.JSON} {
		for ending, s := range map[string]*copies{
			"finished": dataScript(mirror.Finished, nil),
			"failed":   dataScript(mirror.Failed, pgerror.New("53100", "disk full").WithDetail("d").WithHint("h")),
		} {
			var out bytes.Buffer
			task, err := progress.FollowData(t.Context(), s, 7, style, &out)
			if err != nil || task.State != s.states[len(s.states)-1].State {
				t.Errorf("%s, %s: %s, %v", name, ending, task.State, err)
			}
			golden(t, "data_"+name+"_"+ending+".golden", out.Bytes())
		}
	}
}

// stepping is a task whose states are handed out one by one.
type stepping struct {
	steps  chan mirror.Task
	looked chan struct{}
	mu     sync.Mutex
	rows   []mirror.TableCopyRow
}

func (s *stepping) Watch(_ context.Context, _ mirror.TaskID, tell func(mirror.Task)) (last mirror.Task, _ error) {
	for last = range s.steps {
		tell(last)
	}
	return last, nil
}

func (s *stepping) TableCopies(context.Context) ([]mirror.TableCopyRow, []*pgerror.Error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.looked <- struct{}{}:
	default:
	}
	return slices.Clone(s.rows), nil, nil
}

// TestEveryStyleFollowsAStream goes from rows to changes in every style.
func TestEveryStyleFollowsAStream(t *testing.T) {
	t.Parallel()
	for name, style := range map[string]progress.Style{"lines": progress.Lines, "json": progress.JSON, "bars": progress.Bars} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			s := &stepping{steps: make(chan mirror.Task), looked: make(chan struct{}, 1)}
			s.rows = []mirror.TableCopyRow{{Task: 7, Schema: "public", Table: "t", Status: "running", Bytes: 300, TotalBytes: 200, Attempt: 1, StartedAt: &begin}}
			var out bytes.Buffer
			ended := make(chan error, 1)
			go func() { // ends with steps
				_, err := progress.FollowData(t.Context(), s, 7, style, &out)
				ended <- err
			}()
			s.steps <- copying(0)
			looked(t, s.looked)
			s.steps <- copying(990)
			s.mu.Lock()
			s.rows[0].Status, s.rows[0].FinishedAt = "done", &begin
			s.mu.Unlock()
			looked(t, s.looked)
			s.steps <- streaming(100, time.Second)
			stopped := streaming(0, 0)
			stopped.State = mirror.Cancelled
			s.steps <- stopped
			close(s.steps)
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it does not end with its task")
			}
			if out.Len() == 0 {
				t.Error("nothing is shown")
			}
		})
	}
}

func looked(t *testing.T, looked <-chan struct{}) {
	t.Helper()
	select {
	case <-looked:
	case <-time.After(20 * time.Second):
		t.Fatal("nobody looks at the copies")
	}
}

func TestFollowDataGivesTheErrorOfTheWatch(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	for _, style := range []progress.Style{progress.Lines, progress.JSON, progress.Bars} {
		s := &copies{script: script{states: []mirror.Task{copying(1)}, err: lost}, err: lost}
		if _, err := progress.FollowData(t.Context(), s, 7, style, &bytes.Buffer{}); !errors.Is(err, lost) {
			t.Errorf("style %d gives %v", style, err)
		}
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	stopped := streaming(0, 0)
	stopped.State = mirror.Cancelled
	got := []bool{progress.Streams(streaming(0, 0)), progress.Streams(copying(1)), progress.Streams(stopped)}
	if diff := cmp.Diff([]bool{true, false, false}, got); diff != "" {
		t.Error(diff)
	}
}

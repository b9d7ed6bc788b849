package progress_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// script is a task whose states are known beforehand.
type script struct {
	states []mirror.Task
	err    error
}

// Watch is progress.Watcher's.
func (s script) Watch(_ context.Context, _ mirror.TaskID, tell func(mirror.Task)) (mirror.Task, error) {
	for _, t := range s.states {
		tell(t)
	}
	return s.states[len(s.states)-1], s.err
}

// states are those of a task on two shards that ends as to.
func states(to mirror.TaskState, failure *pgerror.Error) []mirror.Task {
	begin := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	end := begin.Add(1234567 * time.Microsecond)
	at := func(state mirror.TaskState, inner string, done, total, failed int64) mirror.Task {
		return mirror.Task{
			ID: 7, Type: `schema_sync(pre) prod -> "Weird ""Name"" $1"`, State: state, Inner: inner, Done: done, Total: total, Failed: failed, StartedAt: begin, FinishedAt: &end,
			Subtasks: []mirror.Subtask{{Shard: 0, Done: done / 2, Total: total / 2}, {Shard: 1, Done: done - done/2, Total: total - total/2}},
		}
	}
	all := []mirror.Task{
		at(mirror.Running, "loading schema", 0, 0, 0), at(mirror.Running, "loading schema", 0, 0, 0),
		at(mirror.Running, "syncing tables", 3, 40, 0), at(mirror.Running, "syncing tables", 4, 40, 0), at(mirror.Running, "syncing tables", 5, 40, 0),
		at(mirror.Running, "syncing tables", 20, 40, 1), at(mirror.Cancelling, "syncing tables", 39, 40, 1),
		at(to, "", 40, 40, 1),
	}
	all[len(all)-1].Error = failure
	return all
}

func TestStyles(t *testing.T) {
	t.Parallel()
	failure := pgerror.New("42P01", "relation \"a -> <b>\" does not exist").WithDetail("two\nlines").WithHint("SHOW SCHEMA_SYNC;")
	for name, style := range map[string]progress.Style{"lines": progress.Lines, "json": progress.JSON} {
		for ending, s := range map[string]script{
			"finished": {states: states(mirror.Finished, nil)},
			"failed":   {states: states(mirror.Failed, failure)},
		} {
			var out bytes.Buffer
			task, err := progress.Follow(t.Context(), s, 7, style, &out)
			if err != nil || task.State != s.states[len(s.states)-1].State {
				t.Errorf("%s, %s: %s, %v", name, ending, task.State, err)
			}
			golden(t, name+"_"+ending+".golden", out.Bytes())
		}
	}
}

// TestBarsEnd checks that bars end with the task, however it ends.
func TestBarsEnd(t *testing.T) {
	t.Parallel()
	for _, to := range []mirror.TaskState{mirror.Finished, mirror.Failed, mirror.Cancelled, mirror.Interrupted} {
		var out bytes.Buffer
		task, err := progress.Follow(t.Context(), script{states: states(to, nil)}, 7, progress.Bars, &out)
		if err != nil || task.State != to {
			t.Errorf("%s ends as %s, %v", to, task.State, err)
		}
	}
}

func TestFollowGivesTheErrorOfTheWatch(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	for _, style := range []progress.Style{progress.Lines, progress.JSON, progress.Bars} {
		if _, err := progress.Follow(t.Context(), script{states: states(mirror.Running, nil)[:4], err: lost}, 7, style, &bytes.Buffer{}); !errors.Is(err, lost) {
			t.Errorf("style %d gives %v", style, err)
		}
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	progress.Print(&out, "ERROR", fmt.Errorf("start: %w", pgerror.New("55006", "mirror %q is being worked on", "m").WithDetail("d").WithHint("h")))
	progress.Print(&out, "WARNING", errors.New("odd"))
	golden(t, "print.golden", out.Bytes())
}

func TestPrintPlan(t *testing.T) {
	t.Parallel()
	statements := []schema.Statement{
		{Ordinal: 1, Phase: dump.PreData, Kind: "TABLE", Schema: "s", Object: `Weird "Name" $1`, SQL: "secret", Display: `CREATE TABLE s."Weird ""Name"" $1" ();`},
		{Ordinal: 2, Shard: 1, Phase: dump.PostData, Kind: "INDEX", Schema: "s", Object: "i", Lock: schema.Share, SQL: "secret", Display: "CREATE INDEX i ON s.t ((a -> 'b'));"},
	}
	var text, json bytes.Buffer
	progress.PrintPlan(&text, statements)
	if err := progress.PrintPlanJSON(&json, statements); err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.golden", text.Bytes())
	golden(t, "plan_json.golden", json.Bytes())
}

func TestPrintDifferences(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	progress.PrintDifferences(&out, []drift.Difference{
		{Shard: 0, Kind: dump.KindTable, Schema: "s", Object: "t", What: drift.Definition, Phase: dump.PreData, Source: "a", Destination: "b", Hint: "change one side"},
		{Shard: 1, Kind: dump.KindSchema, Object: "s", What: drift.Missing, Phase: dump.PreData, Source: "CREATE SCHEMA s;", Hint: "SCHEMA_SYNC PRE …"},
	})
	golden(t, "differences.golden", out.Bytes())
}

package mirror

import (
	"cmp"
	"context"
	"slices"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// fromRow tells a task as SHOW TASKS does. A task that is recorded as running
// and whose mirror nobody holds was interrupted: its process is gone.
func (m *Manager) fromRow(r *state.Task) Task {
	t := Task{
		ID: TaskID(r.ID), Mirror: r.Mirror, Type: r.Type, State: TaskState(r.State), Inner: r.Inner, Runner: r.Runner,
		StartedAt: r.StartedAt, UpdatedAt: r.UpdatedAt, FinishedAt: r.FinishedAt, Error: r.Error,
	}
	// Our own is running as long as we run it: its lease may be on its way back
	// to a server that was restarted.
	gone := !t.State.Ended() && (!r.Leased || !r.Newest) && !m.runs(t.ID)
	if gone {
		t.State, t.FinishedAt = Interrupted, &r.UpdatedAt
	}
	for _, s := range r.Subtasks {
		sub := Subtask{
			Type: s.Type, Shard: s.Shard, State: TaskState(s.State), Inner: s.Inner, StartedAt: s.StartedAt, UpdatedAt: s.UpdatedAt,
			FinishedAt: s.FinishedAt, Done: s.Done, Total: s.Total, Failed: s.Failed, Error: s.Error,
		}
		if sub.Stream = s.Shard >= state.StreamSubtask; sub.Stream {
			sub.Shard -= state.StreamSubtask
		}
		if !sub.State.Ended() && (gone || t.State.Ended()) {
			sub.State, sub.FinishedAt = t.State, &r.UpdatedAt
		}
		t.Done, t.Total, t.Failed = t.Done+s.Done, t.Total+s.Total, t.Failed+s.Failed
		t.Subtasks = append(t.Subtasks, sub)
	}
	return t
}

// sortTasks puts the newest first.
func sortTasks(tasks []Task) {
	slices.SortFunc(tasks, func(a, b Task) int { return cmp.Or(cmp.Compare(b.ID, a.ID), cmp.Compare(a.Mirror, b.Mirror)) })
}

func tell(rows []state.Statement) []StatementRow {
	out := make([]StatementRow, len(rows))
	for i, r := range rows {
		phase, err := dump.ParsePhase(r.Phase)
		if err != nil {
			phase = dump.NoPhase // recorded by a version that had another one
		}
		out[i] = StatementRow{
			Task: TaskID(r.TaskID), Mirror: r.Mirror, Database: r.Database, User: r.User, Shard: r.Shard, Ordinal: r.Ordinal, Phase: phase,
			Kind: r.Kind, ObjectKind: r.ObjectKind, Schema: r.Schema, Table: r.Table, Object: r.Object, State: r.State, Attempts: r.Attempts,
			StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Error: r.Error, SQL: r.SQL,
		}
		if ended := 100.0; r.State == string(schema.StateDone) || r.State == string(schema.StateExisted) {
			out[i].Percent = &ended
		}
	}
	return out
}

// percents asks the shards how far the index builds are that run now.
func percents(ctx context.Context, cfg *config.Config, told []StatementRow, rows []state.Statement) error {
	type shard struct {
		database string
		number   int
	}
	building := map[shard]map[int64][]int{} // backend → indexes into told
	for i, r := range rows {
		if r.State != string(schema.StateRunning) || r.Backend == 0 || r.Kind != "index" {
			continue
		}
		at := shard{r.Database, r.Shard}
		if building[at] == nil {
			building[at] = map[int64][]int{}
		}
		building[at][r.Backend] = append(building[at][r.Backend], i)
	}
	for at, backends := range building {
		all, _, err := servers(cfg, at.database)
		if err != nil || at.number >= len(all) {
			continue // no longer in the configuration
		}
		conn, err := connect.Open(ctx, all[at.number], "show")
		if err != nil {
			return err
		}
		progress, err := catalog.IndexProgress(ctx, conn)
		_ = conn.Close(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		for backend, places := range backends {
			if percent, ok := progress[backend]; ok && len(places) == 1 {
				told[places[0]].Percent = &percent
			}
		}
	}
	return nil
}

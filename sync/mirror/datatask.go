package mirror

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// addData completes tasks that move rows with what is recorded of their
// mirrors: only the newest task of a mirror can speak for it.
func addData(ctx context.Context, conn *pgx.Conn, rows []state.Task, tasks []Task) error {
	streams, err := state.Streams(ctx, conn, 0)
	if err != nil {
		return err
	}
	if len(streams) == 0 {
		return nil
	}
	tables, err := state.Tables(ctx, conn, 0)
	if err != nil {
		return err
	}
	for i := range tasks {
		if rows[i].Newest {
			tasks[i].addTables(tables)
			tasks[i].addStreams(streams)
		}
	}
	return nil
}

func (t *Task) addTables(tables []state.Table) {
	for _, table := range tables {
		if table.Mirror == t.Mirror && table.TaskID == int64(t.ID) && table.Attempt > 0 {
			t.Rows, t.TotalRows = t.Rows+table.Rows, t.TotalRows+max(table.TotalRows, table.Rows)
			t.Bytes, t.TotalBytes = t.Bytes+table.Bytes, t.TotalBytes+max(table.TotalBytes, table.Bytes)
		}
	}
}

func (t *Task) addStreams(streams []state.Stream) {
	if t.State != Running || t.Inner != replicating {
		return
	}
	for _, s := range streams {
		if s.Mirror != t.Mirror {
			continue
		}
		row := tellStream(s)
		t.Streams = append(t.Streams, row)
		if row.LagBytes != nil && (t.LagBytes == nil || *row.LagBytes > *t.LagBytes) {
			t.LagBytes = row.LagBytes
		}
		if row.Lag != nil && *row.Lag > t.Lag {
			t.Lag = *row.Lag
		}
	}
}

// replicating is what a task does once its rows are in.
const replicating = "replicating"

package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Task is a row of pgdrover.tasks with its subtasks.
type Task struct {
	ID         int64
	Mirror     string
	MirrorID   int32
	Type       string
	State      string
	Inner      string
	Runner     string
	StartedAt  time.Time
	UpdatedAt  time.Time
	FinishedAt *time.Time
	Error      *pgerror.Error
	Leased     bool // somebody holds the mirror's lease
	Newest     bool // no later task of the mirror exists
	Subtasks   []Subtask
}

// Subtask is a row of pgdrover.subtasks.
type Subtask struct {
	TaskID     int64
	Shard      int
	Type       string
	State      string
	Inner      string
	StartedAt  time.Time
	UpdatedAt  time.Time
	FinishedAt *time.Time
	Total      int64
	Done       int64
	Failed     int64
	Error      *pgerror.Error
}

// StartTask records a new task, numbered above least and everything recorded
// here, and marks as interrupted what an earlier runner of the mirror, who no
// longer holds its lease, has left running.
func StartTask(ctx context.Context, conn *pgx.Conn, mirrorID int32, taskType, runner string, shards []Subtask, least int64) (id int64, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Serialises the numbering; readers are not hindered.
		if _, err := tx.Exec(ctx, `LOCK TABLE pgdrover.tasks IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		for _, table := range []string{"tasks", "subtasks"} {
			if _, err := tx.Exec(ctx, `
UPDATE pgdrover.`+table+` SET state = 'interrupted', finished_at = updated_at
WHERE state IN ('pending', 'running', 'cancelling', 'restarting')
  AND task_id IN (SELECT task_id FROM pgdrover.tasks WHERE mirror_id = $1)`, mirrorID); err != nil {
				return err
			}
		}
		if err := tx.QueryRow(ctx, `
INSERT INTO pgdrover.tasks (task_id, mirror_id, type, state, runner)
SELECT greatest(coalesce(max(task_id), 0), $4) + 1, $1, $2, 'running', $3 FROM pgdrover.tasks
RETURNING task_id`, mirrorID, taskType, runner, least).Scan(&id); err != nil {
			return err
		}
		for _, s := range shards {
			if _, err := tx.Exec(ctx, `INSERT INTO pgdrover.subtasks (task_id, shard, type, state) VALUES ($1, $2, $3, 'running')`,
				id, s.Shard, s.Type); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("record the task: %w", err)
	}
	return id, notify(ctx, conn, "task", id)
}

// MaxTask is the highest number of a task recorded here, 0 if there is none.
func MaxTask(ctx context.Context, conn *pgx.Conn) (id int64, err error) {
	err = conn.QueryRow(ctx, `SELECT coalesce(max(task_id), 0) FROM pgdrover.tasks`).Scan(&id)
	return id, err
}

// SetTask changes a task's state, from one of the states in from only, and says
// so to everybody. ok is false if the task was in another state.
func SetTask(ctx context.Context, conn *pgx.Conn, id int64, to string, from []string, failure *pgerror.Error, ended bool) (ok bool, err error) {
	tag, err := conn.Exec(ctx, `
UPDATE pgdrover.tasks
SET state = $2, error = coalesce($4::jsonb, error), updated_at = clock_timestamp(), inner_status = CASE WHEN $5 THEN '' ELSE inner_status END,
    finished_at = CASE WHEN $5 THEN clock_timestamp() END
WHERE task_id = $1 AND state = ANY ($3)`, id, to, from, encodeError(failure), ended)
	if err != nil {
		return false, fmt.Errorf("record task %d as %s: %w", id, to, err)
	}
	if ended && tag.RowsAffected() == 1 {
		// Parts that have not told their end ended with the whole.
		if _, err := conn.Exec(ctx, `
UPDATE pgdrover.subtasks SET state = $2, inner_status = '', updated_at = clock_timestamp(), finished_at = clock_timestamp()
WHERE task_id = $1 AND finished_at IS NULL`, id, to); err != nil {
			return false, fmt.Errorf("record the parts of task %d as %s: %w", id, to, err)
		}
	}
	return tag.RowsAffected() == 1, notify(ctx, conn, "task", id)
}

// SetInner says what a task and its subtasks are doing now.
func SetInner(ctx context.Context, conn *pgx.Conn, id int64, inner string, of Part) error {
	_, err := conn.Exec(ctx, `
UPDATE pgdrover.subtasks SET inner_status = $2, updated_at = clock_timestamp()
WHERE task_id = $1 AND finished_at IS NULL AND ($3 = 0 OR ($3 = 1) = (shard < $4))`, id, inner, int(of), StreamSubtask)
	if err == nil && of != SchemaPart {
		_, err = conn.Exec(ctx, `UPDATE pgdrover.tasks SET inner_status = $2, updated_at = clock_timestamp() WHERE task_id = $1`, id, inner)
	}
	if err != nil {
		return fmt.Errorf("record what task %d does: %w", id, err)
	}
	return notify(ctx, conn, "task", id)
}

// Part is which subtasks of a task something is said of.
type Part int

// The parts of a task. A schema sync has no other; a task that moves rows has
// the schema on the destination's shards, and streams from the source's.
const (
	WholeTask Part = iota
	SchemaPart
	StreamPart
)

// StreamSubtask is where the subtasks of streams are numbered from: the source's
// shard behind it. Those below are shards of the destination.
const StreamSubtask = 100_000

// EndSubtask records how a shard's part of a task has ended.
func EndSubtask(ctx context.Context, conn *pgx.Conn, id int64, shard int, to string, failure *pgerror.Error) error {
	_, err := conn.Exec(ctx, `
UPDATE pgdrover.subtasks
SET state = $3, error = $4::jsonb, inner_status = '', updated_at = clock_timestamp(), finished_at = clock_timestamp()
WHERE task_id = $1 AND shard = $2`, id, shard, to, encodeError(failure))
	if err != nil {
		return fmt.Errorf("record the end of task %d on shard %d: %w", id, shard, err)
	}
	return notify(ctx, conn, "task", id)
}

// AskStop asks the runner of a task, whatever process it is, to stop.
func AskStop(ctx context.Context, conn *pgx.Conn, id int64) error {
	return notify(ctx, conn, "stop", id)
}

// AskRestart asks the runner of a task, whatever process it is, to end it so
// that it can be started anew. It must have been recorded as restarting: who
// does not hear it finds it there.
func AskRestart(ctx context.Context, conn *pgx.Conn, id int64) error {
	return notify(ctx, conn, "restart", id)
}

// Tasks reads tasks, the newest first: the one with this id, or all for 0.
func Tasks(ctx context.Context, conn *pgx.Conn, id int64) ([]Task, error) {
	rows, err := conn.Query(ctx, `
SELECT t.task_id, m.name, m.mirror_id, t.type, t.state, t.inner_status, t.runner, t.started_at, t.updated_at, t.finished_at, t.error::text,
       EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = $2::int8::oid AND l.objid = m.mirror_id::int8::oid AND l.objsubid = 2
                 AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())),
       t.task_id = (SELECT max(x.task_id) FROM pgdrover.tasks x WHERE x.mirror_id = t.mirror_id)
FROM pgdrover.tasks t JOIN pgdrover.mirrors m USING (mirror_id)
WHERE $1 = 0 OR t.task_id = $1
ORDER BY t.task_id DESC`, id, int64(lockClass))
	if err != nil {
		return nil, fmt.Errorf("read tasks: %w", err)
	}
	tasks, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Task, err error) {
		var failure *string
		err = row.Scan(&t.ID, &t.Mirror, &t.MirrorID, &t.Type, &t.State, &t.Inner, &t.Runner, &t.StartedAt, &t.UpdatedAt, &t.FinishedAt, &failure, &t.Leased, &t.Newest)
		t.Error = decodeError(failure)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("read tasks: %w", err)
	}
	if err := confirmRunning(ctx, conn, tasks); err != nil {
		return nil, err
	}
	return tasks, readSubtasks(ctx, conn, tasks)
}

// confirmRunning looks again at tasks that seem to run without a lease. Locks
// are seen as they are, rows as they were when the query began: a task may have
// been ended, and its lease released, in between. A runner ends its task before
// it gives the lease back, so a second look is certain.
func confirmRunning(ctx context.Context, conn *pgx.Conn, tasks []Task) error {
	for i := range tasks {
		t := &tasks[i]
		if t.FinishedAt != nil || t.Leased {
			continue
		}
		var failure *string
		err := conn.QueryRow(ctx, `SELECT state, updated_at, finished_at, error::text FROM pgdrover.tasks WHERE task_id = $1`, t.ID).
			Scan(&t.State, &t.UpdatedAt, &t.FinishedAt, &failure)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("read task %d: %w", t.ID, err)
		}
		t.Error = decodeError(failure)
	}
	return nil
}

func readSubtasks(ctx context.Context, conn *pgx.Conn, tasks []Task) error {
	byID := make(map[int64]*Task, len(tasks))
	ids := make([]int64, len(tasks))
	for i := range tasks {
		byID[tasks[i].ID] = &tasks[i]
		ids[i] = tasks[i].ID
	}
	rows, err := conn.Query(ctx, `
SELECT task_id, shard, type, state, inner_status, started_at, updated_at, finished_at, total, done, failed, error::text
FROM pgdrover.subtasks WHERE task_id = ANY ($1) ORDER BY task_id, shard`, ids)
	if err != nil {
		return fmt.Errorf("read subtasks: %w", err)
	}
	var s Subtask
	var failure *string
	_, err = pgx.ForEachRow(rows, []any{&s.TaskID, &s.Shard, &s.Type, &s.State, &s.Inner, &s.StartedAt, &s.UpdatedAt, &s.FinishedAt,
		&s.Total, &s.Done, &s.Failed, &failure}, func() error {
		s.Error = decodeError(failure)
		byID[s.TaskID].Subtasks = append(byID[s.TaskID].Subtasks, s)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read subtasks: %w", err)
	}
	return nil
}

// FindTask reads one task.
func FindTask(ctx context.Context, conn *pgx.Conn, id int64) (t Task, ok bool, err error) {
	tasks, err := Tasks(ctx, conn, id)
	if err != nil || len(tasks) == 0 {
		return t, false, err
	}
	return tasks[0], true, nil
}

// RunningTask gives the mirror's task that has not ended, for the message that
// refuses a second one.
func RunningTask(ctx context.Context, conn *pgx.Conn, mirrorID int32) (t Task, ok bool, err error) {
	var id int64
	err = conn.QueryRow(ctx, `
SELECT task_id FROM pgdrover.tasks WHERE mirror_id = $1 AND state IN ('pending', 'running', 'cancelling', 'restarting')
ORDER BY task_id DESC LIMIT 1`, mirrorID).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, false, nil
	}
	if err != nil {
		return t, false, fmt.Errorf("look for the running task: %w", err)
	}
	return FindTask(ctx, conn, id)
}

// storedError is how an error is kept: its fields, and no cause.
type storedError struct {
	Code    string `json:"sqlstate"`
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Where   string `json:"where,omitempty"`
}

// encodeError gives an error as JSON text, nil for none. Characters that a
// jsonb cannot hold are replaced.
func encodeError(e *pgerror.Error) *string {
	if e == nil {
		return nil
	}
	text, err := json.Marshal(storedError{e.Code, clean(e.Message), clean(e.Detail), clean(e.Hint), clean(e.Where)})
	if err != nil { // five strings always can be written
		panic(err)
	}
	out := string(text)
	return &out
}

// clean replaces what neither text nor jsonb can hold.
func clean(text string) string { return strings.ReplaceAll(text, "\x00", "\ufffd") }

func decodeError(text *string) *pgerror.Error {
	if text == nil {
		return nil
	}
	var s storedError
	if err := json.Unmarshal([]byte(*text), &s); err != nil {
		return pgerror.New(pgerror.InternalError, "the recorded error cannot be read: %w", err)
	}
	return &pgerror.Error{Code: s.Code, Message: s.Message, Detail: s.Detail, Hint: s.Hint, Where: s.Where}
}

// PublicationOf is the publication a mirror was last worked on with, "" if
// there is no such mirror.
func PublicationOf(ctx context.Context, conn *pgx.Conn, mirror string) (name string, err error) {
	err = conn.QueryRow(ctx, `SELECT publication FROM pgdrover.mirrors WHERE name = $1`, mirror).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read mirror %q: %w", mirror, err)
	}
	return name, nil
}

package admin

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

var waitColumns = []Column{
	{"task_id", Text, "number of the task"},
	{"status", Text, "how it ended: finished"},
	{"elapsed", Text, "from its start to its end, HH:MM:SS:mmm"},
	{"error", Text, "first error of the statements that IGNORE ERRORS went over; NULL if there was none"},
}

// runWait is WAIT.
func runWait(ctx context.Context, c *console, call call) (result, error) {
	number, err := call.integer("task")
	if err != nil {
		return result{}, err
	}
	n := &notices{console: c}
	task, err := c.server.options.Engine.Watch(ctx, mirror.TaskID(number), n.tell)
	n.close()
	if err != nil && ctx.Err() != nil {
		return result{}, pgerror.New(pgerror.QueryCanceled, "%w", err).
			WithDetail("Task %d goes on; only the waiting was ended.", number).
			WithHint("STOP_TASK %d stops the task, WAIT %d waits again.", number, number)
	}
	if err != nil {
		return result{}, err
	}
	if err := taskFailure(task); err != nil {
		return result{}, err
	}
	if task.Failed > 0 {
		c.warning(warning, "%d of %d statements failed and were gone over; SHOW SCHEMA_SYNC has their errors", task.Failed, task.Total)
	}
	var first any
	if task.Error != nil {
		first = task.Error.Message
	}
	return result{rows: [][]any{{strconv.FormatInt(number, 10), taskStatus(task.State, task.Error), elapsedText(taskElapsed(task)), first}}}, nil
}

// taskFailure gives the error of a task that did not reach its end, so that a
// script that waits for it stops too.
func taskFailure(task mirror.Task) error {
	var e pgerror.Error
	switch {
	case task.State == mirror.Finished:
		return nil
	case task.Error != nil:
		e = *task.Error
	case task.State == mirror.Cancelled:
		e = *pgerror.New(pgerror.QueryCanceled, "task %d was cancelled", task.ID)
	case task.State == mirror.Interrupted:
		e = *pgerror.New(pgerror.ObjectNotInPrerequisiteState, "task %d was interrupted: its process is gone", task.ID).
			WithHint("The same command that started it goes on from there.")
	default:
		e = *pgerror.New(pgerror.InternalError, "task %d is %s", task.ID, task.State)
	}
	e.Position = 0 // in the statement that failed, which is not the client's
	if e.Where == "" {
		e.Where = "task " + strconv.FormatInt(int64(task.ID), 10) + ", " + task.Type
	}
	return &e
}

// notices tells the client how the task gets on while WAIT runs. The engine may
// call from any goroutine; nothing is sent after close.
type notices struct {
	mu       sync.Mutex
	console  *console
	pace     progress.Pace
	streamed bool // it was told that the task goes on until it is stopped
}

func (n *notices) tell(t mirror.Task) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.console == nil {
		return
	}
	if line, due := n.pace.Line(t, time.Now()); due {
		n.console.notice("%s", line)
	}
	if progress.Streams(t) && !n.streamed {
		n.streamed = true
		n.console.notify("NOTICE", pgerror.New(successfulCompletion, "task %d replicates until it is stopped, and WAIT waits until then", t.ID).
			WithHint("STOP_TASK %d; stops it from another session. A cancel request ends the waiting alone.", t.ID))
	}
}

func (n *notices) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.console = nil
}

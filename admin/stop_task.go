package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

var stopTaskColumns = []Column{{"stop_task", Text, "OK: the task was asked to stop; SHOW TASKS tells when it has"}}

// runStopTask is STOP_TASK. That there is no such task is the engine's error.
func runStopTask(ctx context.Context, c *console, call call) (result, error) {
	number, err := call.integer("task")
	if err != nil {
		return result{}, err
	}
	if err := c.server.options.Engine.StopTask(ctx, mirror.TaskID(number)); err != nil {
		return result{}, err
	}
	return result{rows: [][]any{{"OK"}}}, nil
}

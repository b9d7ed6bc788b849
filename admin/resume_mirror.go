package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

var resumeMirrorColumns = []Column{
	{"task_id", Text, "number of the task that was started: for WAIT, STOP_TASK, SHOW TASKS"},
}

// runResumeMirror is RESUME MIRROR.
func runResumeMirror(ctx context.Context, c *console, call call) (result, error) {
	return c.startMirror(ctx, call, c.server.options.Engine.Resume)
}

// runRetryMirror is RETRY MIRROR.
func runRetryMirror(ctx context.Context, c *console, call call) (result, error) {
	return c.startMirror(ctx, call, c.server.options.Engine.Retry)
}

func (c *console) startMirror(ctx context.Context, call call, start func(context.Context, string) (mirror.Started, error)) (result, error) {
	name, err := call.text("mirror")
	if err != nil {
		return result{}, err
	}
	started, err := start(ctx, name)
	c.warn(started.Warnings)
	if err != nil {
		return result{}, err
	}
	return result{rows: [][]any{{taskNumber(started.Task)}}}, nil
}

package admin

import "context"

var replicateColumns = []Column{
	{"task_id", Text, "number of the task that was started: for WAIT, STOP_TASK, SHOW TASKS"},
}

// runReplicate is REPLICATE.
func runReplicate(ctx context.Context, c *console, call call) (result, error) {
	request, err := copyDataRequest(call)
	if err != nil {
		return result{}, err
	}
	request.StreamOnly = true
	started, err := c.server.options.Engine.CopyData(ctx, request)
	c.warn(started.Warnings)
	if err != nil {
		return result{}, err
	}
	return result{rows: [][]any{{taskNumber(started.Task)}}}, nil
}

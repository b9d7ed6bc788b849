package admin

import "context"

var resyncColumns = []Column{
	{"task_id", Text, "number of the task that copies the tables: the one that works on the mirror, or a new one"},
}

// runResync is RESYNC.
func runResync(ctx context.Context, c *console, call call) (result, error) {
	name, err := call.text("mirror")
	if err != nil {
		return result{}, err
	}
	tables, err := call.list("tables")
	if err != nil {
		return result{}, err
	}
	started, err := c.server.options.Engine.Resync(ctx, name, tables)
	c.warn(started.Warnings)
	if err != nil {
		return result{}, err
	}
	return result{rows: [][]any{{taskNumber(started.Task)}}}, nil
}

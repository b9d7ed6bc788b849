package admin

import (
	"context"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

var resyncColumns = []Column{
	{"task_id", Text, "number of the task that copies the tables: the one that works on the mirror, or a new one"},
}

// runResync is RESYNC.
func runResync(ctx context.Context, c *console, call call) (result, error) {
	name, err := call.text("mirror")
	if err != nil {
		return result{}, err
	}
	var request mirror.ResyncRequest
	if request.Tables, err = call.list("tables"); err != nil {
		return result{}, err
	}
	request.Stopped = call.options["STOPPED"]
	if request.Stopped && len(request.Tables) > 0 {
		return result{}, pgerror.New(pgerror.SyntaxError, "STOPPED and tables exclude one another").
			At(call.at(call.arguments["tables"].start)).WithHint("write one of them; a table of that name is \"stopped\"")
	}
	if len(call.choices) > 0 {
		request.Strategy = resync.Strategy(strings.ToLower(call.choices[0]))
	}
	started, err := c.server.options.Engine.Resync(ctx, name, request)
	c.warn(started.Warnings)
	if err != nil {
		return result{}, err
	}
	return result{rows: [][]any{{taskNumber(started.Task)}}}, nil
}

package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

var syncSchemaColumns = []Column{
	{"shard", Int8, "shard of the destination"},
	{"schema", Text, "schema of the table on the source"},
	{"table", Text, "its name there"},
	{"state", Text, "planned, done, failed, or waits until the table is copied"},
	{"sql", Text, "the statement"},
	{"lock", Text, "the lock of the table that it takes; NULL for none"},
	{"rewrites", Bool, "whether it writes the table anew under that lock"},
	{"scans", Bool, "whether it reads the whole table"},
	{"lossy", Bool, "whether values are lost or changed: then it needs FORCE"},
	{"estimate_ms", Float8, "about how long it takes once it has its lock, by the table's size"},
	{"why", Text, "what it is for"},
}

// runSyncSchema is SYNC_SCHEMA.
func runSyncSchema(ctx context.Context, c *console, call call) (result, error) {
	return c.syncSchema(ctx, call, "table", mirror.SyncSchemaRequest{DryRun: call.isDryRun(), Force: call.options["FORCE"]})
}

// syncSchema has tables of the destination brought to their sources'.
func (c *console) syncSchema(ctx context.Context, call call, argument string, req mirror.SyncSchemaRequest) (result, error) {
	name, err := call.text("mirror")
	if err != nil {
		return result{}, err
	}
	if req.Tables, err = call.list(argument); err != nil {
		return result{}, err
	}
	req.Mirror = name
	report, err := c.server.options.Engine.SyncSchema(ctx, req)
	if err != nil && ctx.Err() != nil {
		return result{}, pgerror.New(pgerror.QueryCanceled, "%w", err).
			WithDetail("The task that works on the mirror may go on with it.").WithHint("run it again when that has ended: what is done is not repeated")
	}
	if err != nil {
		return result{}, err
	}
	for _, table := range report.Copying {
		message := "%s is copied again: values that it needs are not in the stream"
		if req.DryRun {
			message = "%s would be copied again: values that it needs are not in the stream"
		}
		c.notify("NOTICE", pgerror.New(successfulCompletion, message, table))
	}
	for _, left := range report.Left {
		c.notify("WARNING", pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s must not go on all the same: %s", left.Table, left.Reason).WithHint("%s", left.WaysText("")))
	}
	var rows [][]any
	for _, s := range report.Steps {
		rows = append(rows, []any{
			int64(s.Shard), s.Source.Schema, s.Source.Name, s.State, s.SQL, orNull(string(s.Lock)), s.Rewrites, s.Scans, s.Lossy,
			float64(s.Estimate.Microseconds()) / 1000, s.Why,
		})
	}
	return result{rows: rows}, nil
}

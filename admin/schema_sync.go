package admin

import (
	"context"
	"strconv"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

var schemaSyncColumns = []Column{
	{"task_id", Text, "number of the task that was started: for WAIT, STOP_TASK, SHOW TASKS"},
}

var schemaPlanColumns = []Column{
	{"shard", Int8, "shard of the destination"},
	{"order", Int8, "place in the order of execution, on that shard"},
	{"phase", Text, "pre_data, post_data, cutover or post_cutover"},
	{"kind", Text, "kind of object, or of step: TABLE, FK CONSTRAINT, VALIDATE, ..."},
	{"object", Text, "name, with its schema"},
	{"lock", Text, "strongest lock that the statement takes on its table; NULL if none"},
	{"sql", Text, "the statement, secrets masked"},
}

// runSchemaSync is SCHEMA_SYNC.
func runSchemaSync(ctx context.Context, c *console, call call) (result, error) {
	request, err := schemaSyncRequest(call)
	if err != nil {
		return result{}, err
	}
	if call.isDryRun() {
		return runSchemaPlan(ctx, c, request)
	}
	started, err := c.server.options.Engine.SchemaSync(ctx, request)
	if err != nil {
		return result{}, err
	}
	c.warn(started.Warnings)
	return result{rows: [][]any{{strconv.FormatInt(int64(started.Task), 10)}}}, nil
}

func schemaSyncRequest(call call) (mirror.SchemaSyncRequest, error) {
	names, err := call.texts("source", "destination", "publication")
	if err != nil {
		return mirror.SchemaSyncRequest{}, err
	}
	phase, err := dump.ParsePhase(call.choices[0])
	if err != nil {
		return mirror.SchemaSyncRequest{}, err
	}
	return mirror.SchemaSyncRequest{
		Phase: phase, Source: names[0], Destination: names[1], Publication: names[2],
		IgnoreErrors: call.options["IGNORE ERRORS"], NoOwner: call.options["NO OWNER"], NoPrivileges: call.options["NO PRIVILEGES"],
	}, nil
}

// runSchemaPlan is SCHEMA_SYNC ... DRY RUN.
func runSchemaPlan(ctx context.Context, c *console, request mirror.SchemaSyncRequest) (result, error) {
	statements, warnings, err := c.server.options.Engine.SchemaPlan(ctx, request)
	c.warn(warnings)
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, s := range statements {
		rows = append(rows, []any{
			int64(s.Shard), int64(s.Ordinal), s.Phase.String(), s.Kind, s.Name(), orNull(s.Lock.String()), s.Display,
		})
	}
	return result{rows: rows}, nil
}

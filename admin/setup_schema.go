package admin

import "context"

var setupSchemaColumns = []Column{
	{"shard", Int8, "shard of the database"},
	{"server", Text, "where it is"},
	{"state", Text, "installed or removed"},
}

// runSetupSchema is SETUP SCHEMA.
func runSetupSchema(ctx context.Context, c *console, call call) (result, error) {
	database, err := call.text("database")
	if err != nil {
		return result{}, err
	}
	done, err := c.server.options.Engine.SetupSchema(ctx, database, call.options["REMOVE"])
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, r := range done {
		rows = append(rows, []any{int64(r.Shard), r.Place, r.State})
	}
	return result{rows: rows}, nil
}

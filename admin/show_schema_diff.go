package admin

import "context"

var schemaDiffColumns = []Column{
	{"shard", Int8, "shard of the destination"},
	{"kind", Text, "kind of object"},
	{"schema", Text, "NULL for objects outside schemas"},
	{"object", Text, "name of the object"},
	{"what", Text, "missing, extra, definition, owner, tablespace or access_method"},
	{"phase", Text, "phase of SCHEMA_SYNC that creates it"},
	{"source", Text, "definition there, secrets masked; NULL if it does not exist"},
	{"destination", Text, "likewise"},
	{"hint", Text, "command or SQL that resolves it"},
}

// runShowSchemaDiff is SHOW SCHEMA_DIFF.
func runShowSchemaDiff(ctx context.Context, c *console, call call) (result, error) {
	names, err := call.texts("source", "destination")
	if err != nil {
		return result{}, err
	}
	differences, warnings, err := c.server.options.Engine.SchemaDiff(ctx, names[0], names[1])
	c.warn(warnings)
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, d := range differences {
		rows = append(rows, []any{
			int64(d.Shard), string(d.Kind), orNull(d.Schema), d.Object, string(d.What), d.Phase.String(),
			orNull(d.Source), orNull(d.Destination), orNull(d.Hint),
		})
	}
	return result{rows: rows}, nil
}

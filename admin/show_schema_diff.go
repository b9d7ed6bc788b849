package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

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

var tableDiffColumns = []Column{
	{"shard", Int8, "shard of the destination"},
	{"schema", Text, "schema of the table on the source"},
	{"table", Text, "its name there"},
	{"kind", Text, "kind of difference"},
	{"column", Text, "name of the column on the source, on the destination if only that has it; NULL if it is about none"},
	{"object", Text, "constraint, index, trigger, type, label or property; NULL if it is about none"},
	{"source", Text, "definition there; NULL if it is not there"},
	{"destination", Text, "likewise"},
	{"verdict", Text, "what it means: ok, warn, apply, resync_table or stop_table, under the mirror's policy"},
	{"by", Text, "the option that has decided so; NULL for the rule"},
	{"reason", Text, "of the rule"},
	{"since", Text, "UTC; when it was found, by the task that works on the mirror"},
	{"stopped_lsn", Text, "position of the source at which the table is stopped because of it; NULL unless it is"},
	{"ways", Text, "out of a stop of the table, numbered, the recommended one first"},
}

// isTableDiff tells whether SHOW SCHEMA_DIFF with two names is about a table of a
// mirror: its first name is that of no database.
func isTableDiff(c *console, s *statement) bool {
	source, there := s.arguments["source"]
	if !there || source.parameter != 0 {
		return !there
	}
	_, database := c.config().Cluster(source.text)
	return !database
}

// describeSchemaDiff finds the columns of SHOW SCHEMA_DIFF with two names.
func describeSchemaDiff(c *console, s *statement) error {
	if isTableDiff(c, s) {
		s.columns = tableDiffColumns
	}
	return nil
}

// runShowSchemaDiff is SHOW SCHEMA_DIFF.
func runShowSchemaDiff(ctx context.Context, c *console, call call) (result, error) {
	names, err := call.texts("source", "destination")
	if err != nil {
		return result{}, err
	}
	if len(call.columns) == len(tableDiffColumns) {
		reports, err := c.server.options.Engine.ValidateSchema(ctx, names[0], names[1:])
		return tableDiffRows(reports), err
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

// runShowTableDiff is SHOW SCHEMA_DIFF of a mirror.
func runShowTableDiff(ctx context.Context, c *console, call call) (result, error) {
	reports, err := c.reports(ctx, call)
	return tableDiffRows(reports), err
}

func tableDiffRows(reports []mirror.TableReport) result {
	var rows [][]any
	for _, r := range reports {
		for _, d := range r.Differences {
			row := []any{
				int64(r.Shard), r.Table.Schema, r.Table.Name, string(d.Kind), orNull(d.Column), orNull(d.Object), orNull(d.SourceHas), orNull(d.TargetHas),
				string(d.Final), orNull(d.By), orNull(d.Reason), nil, nil, nil,
			}
			if !r.Since.IsZero() {
				row[11] = timeText(r.Since)
			}
			if d.Final.Stops() || d.Final == "apply" {
				row[12], row[13] = lsnText(r.StoppedLSN), orNull(r.WaysText(""))
			}
			rows = append(rows, row)
		}
	}
	return result{rows: rows}
}

package admin

import (
	"context"
	"strings"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

var validateSchemaColumns = []Column{
	{"shard", Int8, "shard of the destination"},
	{"schema", Text, "schema of the table on the source"},
	{"table", Text, "its name there"},
	{"verdict", Text, "ok, warn, apply, resync_table, stop_table or stop_mirror, under the mirror's policy"},
	{"differences", Int8, "how many there are; SHOW SCHEMA_DIFF tells them"},
	{"reason", Text, "of the verdict"},
	{"allowed", Text, "escape hatches by which the table goes on though a rule would stop it"},
	{"ways", Text, "out of a stop, numbered, the recommended one first"},
	{"source_fingerprint", Text, "SHA-256 of its structure on the source; NULL if it is not there"},
	{"destination_fingerprint", Text, "likewise"},
}

// runValidateSchema is VALIDATE_SCHEMA.
func runValidateSchema(ctx context.Context, c *console, call call) (result, error) {
	reports, err := c.reports(ctx, call)
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, r := range reports {
		rows = append(rows, []any{
			int64(r.Shard), r.Table.Schema, r.Table.Name, string(r.Verdict), int64(len(r.Differences)), orNull(r.Reason), orNull(strings.Join(r.Used, ", ")),
			orNull(r.WaysText("")), orNull(r.SourceFingerprint), orNull(r.DestinationFingerprint),
		})
	}
	return result{rows: rows}, nil
}

// reports compares the tables that a command names.
func (c *console) reports(ctx context.Context, call call) ([]mirror.TableReport, error) {
	name, err := call.text("mirror")
	if err != nil {
		return nil, err
	}
	tables, err := call.list("table")
	if err != nil {
		return nil, err
	}
	return c.server.options.Engine.ValidateSchema(ctx, name, tables)
}

package admin

import (
	"context"
	"strings"
)

var dropMirrorColumns = []Column{
	{"drop_mirror", Text, "OK; or incomplete: the WARNINGs tell what is left, and the SQL that removes it"},
	{"slots", Text, "replication slots that were dropped; NULL if there were none"},
}

// runDropMirror is DROP MIRROR.
func runDropMirror(ctx context.Context, c *console, call call) (result, error) {
	name, err := call.text("mirror")
	if err != nil {
		return result{}, err
	}
	report, err := c.server.options.Engine.DropMirror(ctx, name)
	c.warn(report.Warnings)
	if err != nil {
		return result{}, err
	}
	outcome := "OK"
	for _, w := range report.Warnings {
		if w.Code != successfulCompletion {
			outcome = "incomplete"
		}
	}
	return result{rows: [][]any{{outcome, orNull(strings.Join(report.Slots, ", "))}}}, nil
}

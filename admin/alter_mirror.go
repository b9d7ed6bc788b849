package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
)

var alterMirrorColumns = []Column{
	{"task_id", Text, "number of the task that was started anew; NULL if none was at work"},
}

// runAlterMirror is ALTER MIRROR.
func runAlterMirror(ctx context.Context, c *console, call call) (result, error) {
	name, err := call.text("mirror")
	if err != nil {
		return result{}, err
	}
	if call.choices[0] == "DROP" {
		tables, err := call.list("table")
		if err == nil {
			err = c.server.options.Engine.DropTable(ctx, name, tables[0])
		}
		if err != nil {
			return result{}, err
		}
		return result{rows: [][]any{{nil}}}, nil
	}
	list, reset := "settings", call.choices[0] == "RESET"
	if reset {
		list = "setting_names"
	}
	settings, err := call.settings(list, reset)
	if err != nil {
		return result{}, err
	}
	started, err := c.server.options.Engine.AlterMirror(ctx, name, func(m *config.Mirror) error { return settings.Apply(c.config(), m) })
	c.warn(started.Warnings)
	if err != nil && ctx.Err() != nil {
		quoted := dump.QuoteIdent(name)
		return result{}, pgerror.New(pgerror.QueryCanceled, "%w", err).
			WithDetail("Only the waiting was ended: settings that are recorded already are in force when the mirror's task was started anew, which goes on by itself.").
			WithHint("SHOW MIRRORS; tells what it does. RESUME MIRROR %s; lets it go on.", quoted)
	}
	if err != nil {
		return result{}, err
	}
	if started.Task == 0 {
		return result{rows: [][]any{{nil}}}, nil
	}
	return result{rows: [][]any{{taskNumber(started.Task)}}}, nil
}

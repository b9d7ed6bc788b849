package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
)

var pauseMirrorColumns = []Column{{"pause_mirror", Text, "OK: no task works on the mirror any more"}}

// runPauseMirror is PAUSE MIRROR.
func runPauseMirror(ctx context.Context, c *console, call call) (result, error) {
	name, err := call.text("mirror")
	if err != nil {
		return result{}, err
	}
	err = c.server.options.Engine.Pause(ctx, name)
	if err != nil && ctx.Err() != nil {
		return result{}, pgerror.New(pgerror.QueryCanceled, "%w", err).
			WithDetail("Only the waiting was ended: a mirror that was asked to rest does so when its task has ended.").
			WithHint("SHOW MIRRORS; tells whether it was. PAUSE MIRROR %s; asks again where it was not.", dump.QuoteIdent(name))
	}
	if err != nil {
		return result{}, err
	}
	return result{rows: [][]any{{"OK"}}}, nil
}

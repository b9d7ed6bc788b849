package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

// runApprove is APPROVE.
func runApprove(ctx context.Context, c *console, call call) (result, error) {
	return c.syncSchema(ctx, call, "change", mirror.SyncSchemaRequest{Approve: true})
}

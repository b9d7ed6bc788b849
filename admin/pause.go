package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/pgerror"
)

// runPause is PAUSE.
func runPause(ctx context.Context, c *console, call call) (result, error) {
	pools, of, err := c.poolSelector(call)
	if err != nil {
		return result{}, err
	}
	if err := pools.Pause(ctx, poolOwner, of); err != nil {
		if ctx.Err() != nil {
			return result{}, pgerror.New(pgerror.QueryCanceled, "%w", err).
				WithDetail("Nothing stays paused that was not paused before.").
				WithHint("SHOW SERVERS; tells which connections were still in use, and by which client.")
		}
		return result{}, err
	}
	return result{}, nil
}

// runResume is RESUME.
func runResume(_ context.Context, c *console, call call) (result, error) {
	pools, of, err := c.poolSelector(call)
	if err != nil {
		return result{}, err
	}
	return result{}, pools.Resume(poolOwner, of)
}

// runMaintenance is MAINTENANCE ON and OFF.
func runMaintenance(_ context.Context, c *console, call call) (result, error) {
	pools, of, err := c.poolSelector(call)
	if err != nil {
		return result{}, err
	}
	return result{tag: "MAINTENANCE " + call.choices[0]}, pools.Maintenance(poolOwner, of, call.choices[0] == "ON")
}

// runReconnect is RECONNECT.
func runReconnect(_ context.Context, c *console, call call) (result, error) {
	pools, of, err := c.poolSelector(call)
	if err != nil {
		return result{}, err
	}
	return result{}, pools.Reconnect(of)
}

// runWaitClose is WAIT_CLOSE.
func runWaitClose(ctx context.Context, c *console, call call) (result, error) {
	pools, of, err := c.poolSelector(call)
	if err != nil {
		return result{}, err
	}
	return result{}, pools.WaitClose(ctx, of)
}

package admin

import (
	"context"
	"math"

	"github.com/pgdrover/pgdrover/pgerror"
)

// runKill is KILL.
func runKill(ctx context.Context, c *console, call call) (result, error) {
	pools, of, err := c.poolSelector(call)
	if err != nil {
		return result{}, err
	}
	return result{}, pools.Kill(ctx, poolOwner, of)
}

// runKillClient is KILL_CLIENT.
func runKillClient(_ context.Context, c *console, call call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	id, err := call.integer("client")
	if err != nil {
		return result{}, err
	}
	if id < 0 || id > math.MaxUint32 {
		return result{}, pgerror.New(pgerror.UndefinedObject, "there is no client %d", id).WithHint("SHOW CLIENTS; has them in column id.")
	}
	return result{}, pools.KillClient(uint32(id))
}

// runDisable is DISABLE.
func runDisable(_ context.Context, c *console, call call) (result, error) {
	pools, of, err := c.poolSelector(call)
	if err != nil {
		return result{}, err
	}
	return result{}, pools.Disable(poolOwner, of.Database)
}

// runEnable is ENABLE.
func runEnable(_ context.Context, c *console, call call) (result, error) {
	pools, of, err := c.poolSelector(call)
	if err != nil {
		return result{}, err
	}
	return result{}, pools.Enable(poolOwner, of.Database)
}

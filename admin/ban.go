package admin

import (
	"context"
	"time"
)

var banColumns = []Column{
	{"id", Int8, "number of the pool"},
	{"database", Text, "name in [[databases]]"},
	{"user", Text, "user of the clients"},
	{"addr", Text, "server"},
	{"port", Int8, "its port"},
	{"shard", Int8, "number of the shard, from 0"},
	{"role", Text, "replica"},
	{"ban_reason", Text, "what went wrong; BAN if an operator has banned it"},
	{"ban_time_left", Float8, "milliseconds; NULL until UNBAN"},
}

// runShowBans is SHOW BANS.
func runShowBans(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, b := range pools.Bans() {
		rows = append(rows, append(append([]any{b.ID}, b.fields()...), b.Reason, timeLeft(b.Left)))
	}
	return result{rows: rows}, nil
}

func timeLeft(d time.Duration) any {
	if d < 0 {
		return nil
	}
	return milliseconds(d)
}

// runBan is BAN.
func runBan(_ context.Context, c *console, call call) (result, error) {
	pools, id, err := c.poolID(call)
	if err != nil {
		return result{}, err
	}
	return result{}, pools.Ban(id)
}

// runUnban is UNBAN.
func runUnban(_ context.Context, c *console, call call) (result, error) {
	pools, id, err := c.poolID(call)
	if err != nil {
		return result{}, err
	}
	return result{}, pools.Unban(id)
}

// runHealthCheck is HEALTHCHECK.
func runHealthCheck(ctx context.Context, c *console, call call) (result, error) {
	pools, id, err := c.poolID(call)
	if err != nil {
		return result{}, err
	}
	return result{}, pools.HealthCheck(ctx, id)
}

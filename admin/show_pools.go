package admin

import (
	"context"
	"time"
)

var poolColumns = []Column{
	{"id", Int8, "number of the pool, for BAN, UNBAN and HEALTHCHECK"},
	{"database", Text, "name in [[databases]]"},
	{"user", Text, "user of the clients"},
	{"addr", Text, "server"},
	{"port", Int8, "its port"},
	{"shard", Int8, "number of the shard, from 0"},
	{"role", Text, "primary or replica; auto while it was not found out"},
	{"cl_waiting", Int8, "clients that wait for a connection"},
	{"sv_idle", Int8, "connections that nobody uses"},
	{"sv_active", Int8, "connections that clients use"},
	{"sv_idle_xact", Int8, "those of them in an open transaction whose client is silent, of sessions that tell"},
	{"sv_total", Int8, "connections"},
	{"maxwait", Int8, "seconds that the first of the waiting clients has waited"},
	{"maxwait_us", Int8, "microseconds beyond those"},
	{"pool_mode", Text, "transaction, session or statement"},
	{"paused", Bool, "whether no transaction begins: PAUSE, MAINTENANCE, KILL or a cutover"},
	{"banned", Bool, "whether it takes no reads: SHOW BANS"},
	{"healthy", Bool, "whether the last attempt to connect or check was good"},
	{"errors", Int8, "attempts to connect that failed"},
	{"re_synced", Int8, "connections that were cleaned of what a client has left"},
	{"out_of_sync", Int8, "connections that were lost or thrown away in use"},
	{"force_closed", Int8, "connections that were closed under their client: KILL, the deadline of a cutover"},
	{"online", Bool, "false: the server is not used any more, and its last connections end"},
	{"schema_admin", Bool, "whether the user is the schema admin"},
	{"cl_active", Int8, "clients that are connected; NULL but at the first server of a user and database"},
	{"sv_login", Int8, "connections that are being opened"},
	{"sv_tested", Int8, "connections that are being checked or cleaned"},
	{"pool_size", Int8, "most connections"},
	{"state", Text, "open, draining (transactions are still open) or closed (none is)"},
	{"last_error", Text, "why the last attempt to connect failed; NULL if it did not"},
}

// runShowPools is SHOW POOLS.
func runShowPools(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, p := range pools.Pools() {
		rows = append(rows, poolRow(p))
	}
	return result{rows: rows}, nil
}

func poolRow(p PoolRow) []any {
	row := append([]any{p.ID}, p.fields()...)
	return append(row,
		int64(p.Waiting), int64(p.Idle), int64(p.Active), int64(p.IdleInTransaction), int64(p.Total),
		int64(p.MaxWait/time.Second), (p.MaxWait % time.Second).Microseconds(), p.Mode, p.Paused, p.Banned, p.Healthy,
		p.Errors, p.Cleaned, p.Broken, p.Forced, p.Online, p.SchemaAdmin,
		numberUnless(p.Clients, -1), int64(p.Dialing), int64(p.Busy), int64(p.Size), p.State, orNull(p.LastError),
	)
}

// numberUnless gives a number, or NULL if it is the one that means nothing.
func numberUnless(n, nothing int) any {
	if n == nothing {
		return nil
	}
	return int64(n)
}

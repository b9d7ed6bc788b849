package admin

import "context"

var stateColumns = []Column{
	{"key", Text, "active, paused, suspended: of all databases; then the kind of what is stopped"},
	{"value", Text, "yes or no; then draining (transactions are still open) or closed (none is)"},
	{"database", Text, "database that is stopped; NULL for all"},
	{"user", Text, "user that is stopped; NULL for all"},
	{"owner", Text, "who has stopped it: admin is the commands of the admin database"},
	{"since", Text, "UTC"},
}

// runShowState is SHOW STATE.
func runShowState(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	holds := pools.Holds()
	paused := false
	var others [][]any
	for _, h := range holds {
		paused = paused || h.PoolSelector == PoolSelector{}
		others = append(others, []any{h.Kind, h.State, orNull(h.Database), orNull(h.User), h.Owner, timeText(h.Since)})
	}
	first := [][]any{
		{"active", yes(!paused), nil, nil, nil, nil}, {"paused", yes(paused), nil, nil, nil, nil}, {"suspended", "no", nil, nil, nil, nil},
	}
	return result{rows: append(first, others...)}, nil
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

var listsColumns = []Column{
	{"databases", Int8, "names in [[databases]]"},
	{"users", Int8, "entries of [[users]]"},
	{"pools", Int8, "rows of SHOW POOLS"},
	{"free_clients", Int8, "clients without a server connection"},
	{"used_clients", Int8, "clients with one"},
	{"free_servers", Int8, "server connections that nobody uses"},
	{"used_servers", Int8, "all others"},
}

// runShowLists is SHOW LISTS.
func runShowLists(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	l := pools.Lists()
	return result{rows: [][]any{{
		int64(l.Databases), int64(l.Users), int64(l.Pools), int64(l.FreeClients), int64(l.UsedClients), int64(l.FreeServers), int64(l.UsedServers),
	}}}, nil
}

var preparedColumns = []Column{
	{"name", Text, "what it is called on servers"},
	{"statement", Text, "its text"},
	{"rewrite", Text, "NULL: statements are not rewritten"},
	{"used_by", Int8, "clients that have it"},
	{"memory_used", Int8, "bytes"},
}

// runShowPrepared is SHOW PREPARED.
func runShowPrepared(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, p := range pools.Prepared() {
		rows = append(rows, []any{p.Name, p.Statement, nil, p.UsedBy, p.Bytes})
	}
	return result{rows: rows}, nil
}

// runResetPrepared is RESET PREPARED.
func runResetPrepared(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	pools.ResetPrepared()
	return result{}, nil
}

var listenerColumns = []Column{
	{"database", Text, "name in [[databases]]"},
	{"user", Text, "user of the clients"},
	{"shard", Int8, "number of the shard"},
	{"channel", Text, "name of the channel"},
	{"listeners", Int8, "clients that listen"},
	{"received", Int8, "notifications received"},
	{"dropped", Int8, "notifications dropped"},
}

// runShowListeners is SHOW LISTENERS.
func runShowListeners(context.Context, *console, call) (result, error) { return result{}, nil }

var memoryColumns = []Column{
	{"name", Text, "what the memory is for"},
	{"size", Int8, "size of one; NULL where there is no such thing"},
	{"used", Int8, "bytes in use"},
	{"free", Int8, "bytes kept for later"},
	{"memtotal", Int8, "both"},
}

// runShowMem is SHOW MEM.
func runShowMem(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, m := range pools.Memory() {
		rows = append(rows, []any{m.Name, numberOrNull(m.Size), m.Used, m.Free, m.Total})
	}
	return result{rows: rows}, nil
}

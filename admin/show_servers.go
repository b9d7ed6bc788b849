package admin

import (
	"context"
	"time"
)

var serverColumns = []Column{
	{"pool_id", Int8, "number of the pool"},
	{"database", Text, "name in [[databases]]"},
	{"user", Text, "user of the clients"},
	{"addr", Text, "server"},
	{"port", Int8, "its port"},
	{"state", Text, "idle, active, checking or cleaning"},
	{"connect_time", Text, "UTC"},
	{"request_time", Text, "UTC; since when it is in this state"},
	{"remote_pid", Int8, "process id on the server"},
	{"client_id", Int8, "client that uses it; NULL for none"},
	{"transactions", Int8, "transactions"},
	{"queries", Int8, "queries"},
	{"rollbacks", Int8, "transactions that were rolled back"},
	{"prepared_statements", Int8, "statements that are prepared on it"},
	{"healthchecks", Int8, "times that it was checked"},
	{"errors", Int8, "errors that the server has sent"},
	{"bytes_received", Int8, "bytes from the server"},
	{"bytes_sent", Int8, "bytes to the server"},
	{"last_sent", Text, "type of the last message to the server; NULL if not known"},
	{"last_received", Text, "type of the last message from the server; NULL if not known"},
	{"age", Int8, "seconds since its login"},
	{"application_name", Text, "what the session is called on the server; NULL if not known"},
	{"close_needed", Bool, "it is closed when it is given back"},
	{"role", Text, "primary or replica"},
	{"tls", Bool, "whether it is encrypted"},
}

// runShowServers is SHOW SERVERS.
func runShowServers(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	now := time.Now()
	var rows [][]any
	for _, r := range pools.Servers() {
		rows = append(rows, []any{
			r.ID, r.Database, r.User, r.Host, int64(r.Port), r.State, timeText(r.ConnectedAt), timeText(r.RequestAt), r.ProcessID, numberOrNull(r.Client),
			r.Transactions, r.Queries, r.Rollbacks, r.Prepared, r.Healthchecks, r.Errors, r.Received, r.Sent,
			orNull(r.LastSent), orNull(r.LastReceived), int64(now.Sub(r.ConnectedAt) / time.Second), orNull(r.ApplicationName),
			r.Obsolete, r.Role, r.TLS,
		})
	}
	return result{rows: rows}, nil
}

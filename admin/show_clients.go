package admin

import "context"

var clientColumns = []Column{
	{"id", Int8, "number of the client, for KILL_CLIENT: the process id that it sees"},
	{"user", Text, "user it has logged in as"},
	{"database", Text, "name in [[databases]]"},
	{"addr", Text, "where it comes from"},
	{"port", Int8, "its port"},
	{"state", Text, "idle, waiting (for a connection) or active (has one)"},
	{"replication", Text, "none, logical or physical"},
	{"connect_time", Text, "UTC"},
	{"last_request", Text, "UTC; when it last got a connection; NULL if it never did"},
	{"queries", Int8, "queries"},
	{"transactions", Int8, "transactions"},
	{"transactions_2pc", Int8, "0: transactions over several shards are not served"},
	{"wait_time", Float8, "milliseconds that it has waited for connections, in all"},
	{"query_time", Float8, "milliseconds of its queries"},
	{"transaction_time", Float8, "milliseconds of its transactions"},
	{"bytes_received", Int8, "bytes from servers"},
	{"bytes_sent", Int8, "bytes to servers"},
	{"errors", Int8, "errors of servers"},
	{"application_name", Text, "what it calls itself"},
	{"locked", Bool, "whether it keeps its connection beyond a transaction"},
	{"prepared_statements", Int8, "statements that it has prepared"},
	{"wait", Float8, "milliseconds that it waits by now; 0 if it does not"},
	{"pool_mode", Text, "transaction, session or statement"},
	{"link", Int8, "process id on the server of the connection that it has; NULL for none"},
	{"tls", Text, "version of TLS; NULL without"},
}

// runShowClients is SHOW CLIENTS.
func runShowClients(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, r := range pools.Clients() {
		rows = append(rows, clientRow(r))
	}
	return result{rows: rows}, nil
}

func clientRow(r ClientRow) []any {
	return []any{
		r.ID, r.User, r.Database, r.Host, int64(r.Port), r.State, r.Replication, timeText(r.ConnectedAt), timeText(r.RequestAt),
		r.Queries, r.Transactions, int64(0), milliseconds(r.WaitTime), milliseconds(r.QueryTime), milliseconds(r.TransactionTime),
		r.Received, r.Sent, r.Errors, r.ApplicationName, r.Locked, r.Prepared,
		milliseconds(r.Waiting), r.Mode, numberOrNull(r.Server), orNull(r.TLS),
	}
}

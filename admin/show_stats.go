package admin

import (
	"context"
	"time"
)

// statistic is one number of SHOW STATS.
type statistic struct {
	name, meaning string
	count         func(StatsTotals) int64         // nil for a time
	time          func(StatsTotals) time.Duration // nil for a count
	per           func(StatsTotals) int64         // what the average of a time is of
	perName       string
}

func transactions(t StatsTotals) int64 { return t.Transactions }
func queries(t StatsTotals) int64      { return t.Queries }

// statistics are PgDog's, in PgDog's order.
var statistics = []statistic{
	{name: "xact_count", meaning: "transactions", count: transactions},
	{name: "xact_2pc_count", meaning: "transactions over several shards: none", count: func(StatsTotals) int64 { return 0 }},
	{name: "query_count", meaning: "queries", count: queries},
	{name: "server_assignment_count", meaning: "times that a client got a connection", count: func(t StatsTotals) int64 { return t.Assignments }},
	{name: "received", meaning: "bytes from the server", count: func(t StatsTotals) int64 { return t.Received }},
	{name: "sent", meaning: "bytes to the server", count: func(t StatsTotals) int64 { return t.Sent }},
	{name: "xact_time", meaning: "time of transactions", time: func(t StatsTotals) time.Duration { return t.TransactionTime }, per: transactions, perName: "transaction"},
	{name: "idle_xact_time", meaning: "time in open transactions whose client was silent", time: func(t StatsTotals) time.Duration { return t.IdleTime }, per: transactions, perName: "transaction"},
	{name: "query_time", meaning: "time of queries", time: func(t StatsTotals) time.Duration { return t.QueryTime }, per: queries, perName: "query"},
	{name: "wait_time", meaning: "time that clients have waited for a connection", time: func(t StatsTotals) time.Duration { return t.WaitTime },
		per: func(t StatsTotals) int64 { return t.Assignments }, perName: "connection got"},
	{name: "server_parse_count", meaning: "Parse messages to the server", count: func(t StatsTotals) int64 { return t.Parses }},
	{name: "bind_count", meaning: "Bind messages", count: func(t StatsTotals) int64 { return t.Binds }},
	{name: "close_count", meaning: "Close messages", count: func(t StatsTotals) int64 { return t.Closes }},
	{name: "errors", meaning: "errors that the server has sent", count: func(t StatsTotals) int64 { return t.Errors }},
	{name: "cleaned", meaning: "connections that were cleaned of what a client has left", count: func(t StatsTotals) int64 { return t.Cleaned }},
	{name: "rollbacks", meaning: "transactions that were rolled back", count: func(t StatsTotals) int64 { return t.Rollbacks }},
	{name: "connect_time", meaning: "time of connecting and logging in", time: func(t StatsTotals) time.Duration { return t.ConnectTime },
		per: func(t StatsTotals) int64 { return t.Connects }, perName: "attempt"},
	{name: "connect_count", meaning: "attempts to connect", count: func(t StatsTotals) int64 { return t.Connects }},
	{name: "reads", meaning: "reads from the server's socket", count: func(t StatsTotals) int64 { return t.Reads }},
	{name: "writes", meaning: "writes to the server's socket", count: func(t StatsTotals) int64 { return t.Writes }},
	{name: "auth_attempts", meaning: "logins at the server", count: func(t StatsTotals) int64 { return t.AuthAttempts }},
	{name: "rows_inserted", meaning: "rows inserted, as the server has told", count: func(t StatsTotals) int64 { return t.Inserted }},
	{name: "rows_updated", meaning: "rows updated, as the server has told", count: func(t StatsTotals) int64 { return t.Updated }},
	{name: "rows_deleted", meaning: "rows deleted, as the server has told", count: func(t StatsTotals) int64 { return t.Deleted }},
}

// total gives the sum.
func (s statistic) total(t StatsTotals) any {
	if s.time != nil {
		return milliseconds(s.time(t))
	}
	return s.count(t)
}

// average gives a count by the second, and a time by what it is of.
func (s statistic) average(t StatsTotals, period time.Duration) float64 {
	switch {
	case s.time == nil && period > 0:
		return thousandths(float64(s.count(t)) / period.Seconds())
	case s.time != nil && s.per(t) > 0:
		return thousandths(milliseconds(s.time(t)) / float64(s.per(t)))
	}
	return 0
}

// thousandths leaves three digits after the point.
func thousandths(v float64) float64 { return float64(int64(v*1000+0.5)) / 1000 }

var statsColumns = func() []Column {
	columns := []Column{
		{"database", Text, "name in [[databases]]"},
		{"user", Text, "user of the clients"},
		{"addr", Text, "server"},
		{"port", Int8, "its port"},
		{"shard", Int8, "number of the shard, from 0"},
		{"role", Text, "primary or replica"},
	}
	for _, s := range statistics {
		c := Column{"total_" + s.name, Int8, s.meaning}
		if s.time != nil {
			c.Type, c.Meaning = Float8, s.meaning+", milliseconds"
		}
		columns = append(columns, c)
	}
	for _, s := range statistics {
		c := Column{"avg_" + s.name, Float8, s.meaning + ", by the second"}
		if s.time != nil {
			c.Meaning = s.meaning + ", milliseconds by the " + s.perName
		}
		columns = append(columns, c)
	}
	return columns
}()

// runShowStats is SHOW STATS.
func runShowStats(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, r := range pools.Stats() {
		row := r.fields()
		for _, s := range statistics {
			row = append(row, s.total(r.Total))
		}
		for _, s := range statistics {
			row = append(row, s.average(r.Last, r.Period))
		}
		rows = append(rows, row)
	}
	return result{rows: rows}, nil
}

var totalsColumns = []Column{
	{"name", Text, "total_ and the name of a statistic of SHOW STATS"},
	{"value", Float8, "sum over all pools; times are milliseconds"},
}

// runShowTotals is SHOW TOTALS.
func runShowTotals(_ context.Context, c *console, _ call) (result, error) {
	pools, err := c.pools()
	if err != nil {
		return result{}, err
	}
	all := pools.Stats()
	var rows [][]any
	for _, s := range statistics {
		sum := 0.0
		for _, r := range all {
			switch v := s.total(r.Total).(type) {
			case int64:
				sum += float64(v)
			case float64:
				sum += v
			}
		}
		rows = append(rows, []any{"total_" + s.name, sum})
	}
	return result{rows: rows}, nil
}

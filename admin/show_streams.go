package admin

import (
	"context"
	"math"
	"time"

	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/stream"
)

var streamColumns = []Column{
	{"mirror", Text, "name of the mirror"},
	{"shard", Int8, "shard of the source"},
	{"slot", Text, "replication slot on the source"},
	{"lag", Text, "age of the oldest transaction that is not applied, HH:MM:SS:mmm; NULL if not known"},
	{"lag_ms", Int8, "the same in milliseconds"},
	{"lag_bytes", Int8, "server_lsn - applied_lsn"},
	{"server_lsn", Text, "end of the source's WAL, as it was last told"},
	{"received_lsn", Text, "everything before it was received"},
	{"applied_lsn", Text, "everything before it is recorded as applied on every shard of the destination"},
	{"confirmed_lsn", Text, "everything before it was confirmed to the slot: the source need not keep it"},
	{"transactions", Int8, "applied by the newest task"},
	{"rows", Int8, "applied by the newest task"},
	{"transactions_per_sec", Float8, "over the last seconds"},
	{"rows_per_sec", Float8, "over the last seconds"},
	{"format", Text, "form of the values: binary or text"},
	{"last_commit", Text, "UTC; commit on the source of the newest transaction applied"},
	{"updated_at", Text, "UTC; when this was recorded"},
	{"sqlstate", Text, "of what it waits for"},
	{"error", Text, "its message"},
	{"detail", Text, "its DETAIL"},
	{"hint", Text, "its HINT"},
}

// runShowStreams is SHOW STREAMS.
func runShowStreams(ctx context.Context, c *console, _ call) (result, error) {
	mirrors, warnings, err := c.server.options.Engine.Mirrors(ctx)
	c.warn(warnings)
	if err != nil {
		return result{}, err
	}
	var rows [][]any
	for _, m := range mirrors {
		for _, s := range m.Streams {
			rows = append(rows, streamRow(s))
		}
	}
	return result{rows: rows}, nil
}

func streamRow(s mirror.StreamRow) []any {
	format := "text"
	if s.Binary {
		format = "binary"
	}
	row := append([]any{s.Mirror, int64(s.Shard), s.Slot}, lagFields(s.LagBytes, s.Lag)...)
	row = append(row, lsnText(s.ServerLSN), lsnText(s.ReceivedLSN), lsnText(s.AppliedLSN), lsnText(s.ConfirmedLSN),
		s.Transactions, s.Rows, perSecond(s.TransactionsPerSec), perSecond(s.RowsPerSec), format, timeOrNull(s.LastCommit), timeText(s.UpdatedAt))
	return append(row, errorFields(s.Error)...)
}

// lagFields gives lag, lag_ms and lag_bytes; the time counts with the bytes
// only.
func lagFields(bytes *int64, lag *time.Duration) []any {
	switch {
	case bytes == nil:
		return []any{nil, nil, nil}
	case lag == nil:
		return []any{nil, nil, *bytes}
	}
	return []any{elapsedText(*lag), lag.Milliseconds(), *bytes}
}

// rates adds up what streams apply in a second; NULL without streams.
func rates(streams []mirror.StreamRow) (transactions, rows any) {
	if len(streams) == 0 {
		return nil, nil
	}
	var t, r float64
	for _, s := range streams {
		t, r = t+s.TransactionsPerSec, r+s.RowsPerSec
	}
	return perSecond(t), perSecond(r)
}

// perSecond keeps one decimal of a rate.
func perSecond(rate float64) float64 { return math.Round(rate*10) / 10 }

// lsnText gives an LSN as pg_lsn does; NULL for none.
func lsnText(lsn stream.LSN) any {
	if lsn == 0 {
		return nil
	}
	return lsn.String()
}

func timeOrNull(t *time.Time) any {
	if t == nil {
		return nil
	}
	return timeText(*t)
}

// cutOff keeps one decimal of a percentage, NULL of none: 99.96 is not 100.
func cutOff(percent *float64) any {
	if percent == nil {
		return nil
	}
	return math.Floor(*percent*10) / 10
}

// numberOrNull gives a number, or NULL of 0.
func numberOrNull(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}

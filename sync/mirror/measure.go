package mirror

import (
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// rateWindow is over how long the rates that SHOW tells are taken.
const rateWindow = 5 * time.Second

// sample is what a stream had done at one moment.
type sample struct {
	at                 time.Time
	transactions, rows int64
}

// rates keeps the samples of the last seconds.
type rates struct{ samples []sample }

// add takes a sample and gives transactions and rows per second since the
// oldest one in the window.
func (r *rates) add(now sample) (transactions, rows float64) {
	r.samples = append(r.samples, now)
	for len(r.samples) > 2 && now.at.Sub(r.samples[1].at) >= rateWindow {
		r.samples = r.samples[1:]
	}
	first := r.samples[0]
	took := now.at.Sub(first.at).Seconds()
	if took <= 0 {
		return 0, 0
	}
	return float64(now.transactions-first.transactions) / took, float64(now.rows-first.rows) / took
}

// measure gives the stream's row as it is now; false if there is no stream.
func (s *sourceShard) measure() (state.Stream, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream.ConsistentLSN == 0 && !s.slotWaited {
		return state.Stream{}, false
	}
	if s.live == nil {
		row := s.stream
		if row.Error == nil {
			row.Error = s.slotWait
		}
		row.ServerLSN, row.LagSeconds, row.TransactionsPerSecond, row.RowsPerSecond = 0, nil, 0, 0 // not known while nothing is read
		return row, true
	}
	s.live.measure(&s.stream)
	row := s.stream
	if row.Error == nil {
		row.Error = s.slotWait
	}
	row.TransactionsPerSecond, row.RowsPerSecond = s.rates.add(sample{at: time.Now(), transactions: row.Transactions, rows: row.Rows})
	return row, true
}

// measure brings a stream's row up to date with what its pipeline has done.
func (p *pipeline) measure(row *state.Stream) {
	read := p.reader.Stats()
	if p.goal == 0 {
		p.goal = read.ServerLSN
	}
	row.ReceivedLSN, row.ServerLSN, row.ConfirmedLSN = read.ReceivedLSN, read.ServerLSN, read.ConfirmedLSN
	row.Binary = &p.binary
	row.Transactions, row.Rows = 0, 0
	row.Error = nil
	var newest time.Time
	applied := p.applier.Stats()
	lowest := applied[0].AppliedLSN
	for _, s := range applied {
		lowest = min(lowest, s.AppliedLSN)
		row.Transactions = max(row.Transactions, s.Transactions)
		row.Rows += s.Rows.Inserts + s.Rows.Updates + s.Rows.Deletes
		if s.CommitTime.After(newest) {
			newest = s.CommitTime
		}
		if s.Waiting != nil && row.Error == nil {
			row.Error = pgerror.From(s.Waiting)
		}
	}
	if read.Ended != nil {
		row.Error = pgerror.From(read.Ended) // the applier is still busy with what was read
	}
	row.AppliedLSN = max(row.AppliedLSN, lowest) // 0 until the applier knows
	row.Transactions, row.Rows = row.Transactions+p.before.transactions, row.Rows+p.before.rows
	if !newest.IsZero() {
		row.LastCommit = &newest
	}
	row.LagSeconds = p.lag(row, newest)
}

// idleBytes is how far behind the end of the source's log a stream may be that
// has nothing to apply: what the server writes for itself, and what it has not
// told yet.
const idleBytes = 1 << 20

// lag is how old, in seconds, what is applied is: 0 when nothing waits, nil when
// something does and nothing was applied yet to tell from.
func (p *pipeline) lag(row *state.Stream, newest time.Time) *float64 {
	var lag float64
	switch {
	case p.reader.Stats().QueuedBytes == 0 && row.AppliedLSN >= row.ReceivedLSN && row.AppliedLSN+idleBytes >= row.ServerLSN:
	case newest.IsZero():
		return nil
	default:
		lag = max(0, time.Since(newest).Seconds())
	}
	return &lag
}

package pool

import "time"

// stats are what a target counts. The pool's lock guards them.
type stats struct {
	began int64 // instant since which it counts

	totals                      Totals
	assignments                 int64
	connects, connectTime       int64
	connectErrors               int64
	closed, broken, cleaned     int64
	healthchecks, checkFailures int64
	forced                      int64 // connections closed under a client
	waits                       int64

	wait, query, transaction Histogram
	errors                   map[string]int64 // by class of SQLSTATE

	// The averages of SHOW STATS: what was counted in the period before this one.
	before, period Totals
	periodLength   time.Duration // of period
	periodBegan    int64         // instant at which before was read
}

// Totals are what SHOW STATS counts; times are nanoseconds.
type Totals struct {
	Transactions, Queries, Assignments int64
	Received, Sent                     int64 // bytes: from clients to the server is Sent
	TransactionTime, IdleTime          int64
	QueryTime, WaitTime                int64
	Parses, Binds, Closes              int64
	Errors, Cleaned, Rollbacks         int64
	ConnectTime, Connects              int64
	Reads, Writes                      int64
	AuthAttempts                       int64
	Inserted, Updated, Deleted         int64 // rows
}

// minus gives what was counted since an earlier reading.
func (t Totals) minus(o Totals) Totals {
	return Totals{
		t.Transactions - o.Transactions, t.Queries - o.Queries, t.Assignments - o.Assignments, t.Received - o.Received, t.Sent - o.Sent,
		t.TransactionTime - o.TransactionTime, t.IdleTime - o.IdleTime, t.QueryTime - o.QueryTime, t.WaitTime - o.WaitTime,
		t.Parses - o.Parses, t.Binds - o.Binds, t.Closes - o.Closes, t.Errors - o.Errors, t.Cleaned - o.Cleaned, t.Rollbacks - o.Rollbacks,
		t.ConnectTime - o.ConnectTime, t.Connects - o.Connects, t.Reads - o.Reads, t.Writes - o.Writes, t.AuthAttempts - o.AuthAttempts,
		t.Inserted - o.Inserted, t.Updated - o.Updated, t.Deleted - o.Deleted,
	}
}

// waited counts a client's wait.
func (s *stats) waited(took int64) {
	s.totals.WaitTime += took
	s.waits++
	s.wait.Counts[bucketOf(took)]++
	s.wait.Sum += time.Duration(took)
}

// all gives the totals with what is counted apart.
func (s *stats) all() Totals {
	t := s.totals
	t.Assignments, t.Cleaned, t.Connects, t.ConnectTime, t.AuthAttempts = s.assignments, s.cleaned, s.connects, s.connectTime, s.connects
	return t
}

// average begins a new period when one is over.
func (s *stats) average(now int64, length time.Duration) {
	began := max(s.began, s.periodBegan)
	if now-began < int64(length) {
		return
	}
	all := s.all()
	s.period, s.before = all.minus(s.before), all
	s.periodLength, s.periodBegan = time.Duration(now-began), now
}

// mostErrorClasses bounds the classes that a server can have counted.
const mostErrorClasses = 100

// fail counts errors.
func (s *stats) fail(classes []string) {
	for _, class := range classes {
		if s.errors == nil {
			s.errors = map[string]int64{}
		}
		if _, known := s.errors[class]; known || len(s.errors) < mostErrorClasses {
			s.errors[class]++
		}
	}
}

// record takes the connection's Usage into the statistics of its target, its
// client and its own. The pool's lock is held.
func (s *Server) record() {
	u, t := &s.Usage, &s.target.stats
	s.shown = s.Shown
	if u.Queries == 0 && u.Transactions == 0 && u.Received == 0 && u.Sent == 0 && u.Errors == 0 {
		return
	}
	a := &t.totals
	a.Transactions += u.Transactions
	a.Queries += u.Queries
	a.Rollbacks += u.Rollbacks
	a.Errors += u.Errors
	a.Received += u.Received
	a.Sent += u.Sent
	a.Reads += u.Reads
	a.Writes += u.Writes
	a.Parses += u.Parses
	a.Binds += u.Binds
	a.Closes += u.Closes
	a.Inserted += u.Inserted
	a.Updated += u.Updated
	a.Deleted += u.Deleted
	a.TransactionTime += u.TransactionTime
	a.IdleTime += u.IdleInTransaction
	a.QueryTime += u.QueryTime
	t.query.Sum += time.Duration(u.QueryTime)
	t.transaction.Sum += time.Duration(u.TransactionTime)
	t.query.take(&u.queries)
	t.transaction.take(&u.transactions)
	t.fail(u.classes)

	w := &s.usedWholly
	w.transactions += u.Transactions
	w.queries += u.Queries
	w.rollbacks += u.Rollbacks
	w.errors += u.Errors
	w.received += u.Received
	w.sent += u.Sent
	if c := s.client; c != nil {
		c.totals.transactions += u.Transactions
		c.totals.queries += u.Queries
		c.totals.errors += u.Errors
		c.totals.received += u.Received
		c.totals.sent += u.Sent
		c.totals.queryTime += u.QueryTime
		c.totals.transactionTime += u.TransactionTime
	}
	*u = Usage{}
}

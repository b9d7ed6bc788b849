package pool

import (
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// Login is an application that is logged in.
type Login struct {
	User, Database string

	// Credentials are what the client has shown; servers are logged in at with
	// them where the configuration has nothing for the user.
	Credentials auth.Credentials

	// Replication is that startup parameter: "" for an ordinary session,
	// "database" or "true" for one of the replication protocol, which gets a server
	// connection of its own that nobody else uses before or after.
	Replication string
	// Parameters are the startup parameters of such a connection; ordinary ones
	// are shared and get none.
	Parameters map[string]string

	// ProcessID, RemoteAddr, ApplicationName and TLSVersion are for SHOW CLIENTS.
	ProcessID       uint32
	RemoteAddr      string
	ApplicationName string
	TLSVersion      string

	// End asks for the end of the session, which gets the error as its last: the
	// database was killed, or taken out of the configuration, or a transaction was
	// still open at the deadline of a Hold. The server connection in use may be closed
	// already. It is called once at most, from another goroutine, and must not
	// block. It may be nil.
	End func(*pgerror.Error)
}

// Key is what a pool belongs to.
type Key struct{ User, Database string }

// Want says what a checkout is for.
type Want struct {
	// ReadOnly allows a replica, as general.read_write_split has it.
	ReadOnly bool
}

// Outcome is in what state a server connection comes back.
type Outcome int

// The outcomes. Of all but Broken, the last message read is ReadyForQuery and
// nothing was sent since.
const (
	// Clean: no transaction is open, and the session is as the next client's
	// relay expects it.
	Clean Outcome = iota
	// Dirty: a transaction is open, or the session holds what cannot be undone
	// one by one. The pool does as general.connection_recovery says; if that
	// leaves a new session (DISCARD ALL), Session is set to nil.
	Dirty
	// Broken: the connection is lost or out of step. It is closed.
	Broken
)

// Usage counts what was done with a server connection since it was counted last.
// Whoever has checked the server out adds to it; Record and Release take it.
type Usage struct {
	Transactions, Queries int64
	Rollbacks, Errors     int64
	Received, Sent        int64 // bytes, from and to the server
	Reads, Writes         int64 // system calls
	Parses, Binds, Closes int64 // messages
	Inserted, Updated     int64 // rows, by the tags of CommandComplete
	Deleted               int64
	TransactionTime       int64 // nanoseconds; from a transaction's first message to its last answer
	IdleInTransaction     int64 // nanoseconds in open transactions, waiting for the client
	QueryTime             int64 // nanoseconds

	queries, transactions histogram
	classes               []string // of errors: the first two characters of their SQLSTATE
}

// Error counts an error that the server has sent.
func (u *Usage) Error(sqlstate string) {
	u.Errors++
	if len(sqlstate) == 5 && len(u.classes) < mostClasses {
		u.classes = append(u.classes, sqlstate[:2])
	}
}

// mostClasses bounds the errors of one Usage whose class is kept.
const mostClasses = 64

// Query counts a query by the nanoseconds it took.
func (u *Usage) Query(took int64) {
	u.Queries++
	u.QueryTime += took
	u.queries.observe(took)
}

// Transaction counts a transaction by the nanoseconds it took.
func (u *Usage) Transaction(took int64) {
	u.Transactions++
	u.TransactionTime += took
	u.transactions.observe(took)
}

package stream

import (
	"encoding/binary"
	"time"

	"github.com/jackc/pglogrepl"
)

// LSN is a position in the write-ahead log of a source.
type LSN = pglogrepl.LSN

// Kind is what a Change does.
type Kind byte

// The kinds of changes, with the letters of the protocol (PostgreSQL manual,
// "Logical Replication Message Formats").
const (
	Insert   Kind = 'I'
	Update   Kind = 'U'
	Delete   Kind = 'D'
	Truncate Kind = 'T'
	Message  Kind = 'M'
)

// Relation is a source table as the stream describes it. It is never changed:
// a new shape of the table is a new Relation.
type Relation struct {
	OID      uint32
	Schema   string
	Name     string
	Identity byte // replica identity: 'd', 'n', 'f', 'i'
	Columns  []RelationColumn
}

// RelationColumn is one published column, in the order of a Tuple's values.
type RelationColumn struct {
	Name     string
	Key      bool // part of the replica identity; every column with identity full
	Type     uint32
	Modifier int32
}

// Change is one event of a transaction. Its tuples are valid as long as the
// Transaction is not released; those of a spooled transaction only during the
// call they are handed to.
type Change struct {
	Kind      Kind
	Relation  *Relation     // of Insert, Update, Delete
	Old       Tuple         // of Update and Delete; nil where an Update did not change the identity
	OldFull   bool          // Old has every column (identity full), not only those of the key
	New       Tuple         // of Insert and Update
	Truncated *Truncated    // of Truncate
	Logical   *LogicalEvent // of Message
}

// Truncated are the tables of one TRUNCATE that are published.
type Truncated struct {
	Relations       []*Relation
	Cascade         bool
	RestartIdentity bool
}

// LogicalEvent is a message of pg_logical_emit_message whose prefix begins with
// "pgdrover.". Others are not given, and servers before version 14 send none.
type LogicalEvent struct {
	LSN     LSN    // what pg_logical_emit_message has returned: behind its record
	Prefix  string // "pgdrover.ddl", ...
	Content []byte
}

// Transaction is one committed transaction of the source, or, if XID is 0, a
// mark: everything before EndLSN has been delivered. A mark's CommitTime is the
// server's clock when it said so, or when it last told it. A mark whose Changes
// hold a Message is one that was not transactional: it stands behind every
// transaction that had committed when it was written, and before all others,
// whatever becomes of the transaction that wrote it.
type Transaction struct {
	XID        uint32
	FinalLSN   LSN // where the commit record begins; two transactions never share it
	EndLSN     LSN // behind the commit record
	CommitTime time.Time
	Changes    []Change    // of a transaction that is in memory
	Spool      Spool       // of one that is on disk, else nil
	Rows       int64       // changes of rows
	Relations  []*Relation // those of Changes or Spool, each once, perhaps some more; shared and never changed
	Messages   int         // changes that are a Message, perhaps some more
	Bytes      int64       // size of their tuples
	Received   time.Time
	// Lacking tells that an Update may have given a row another identity and left
	// out values of it.
	Lacking bool
	release func()
	memory  memory // what the reader has lent to it
	queued  int64  // what it counts against Options.QueueMemory
}

// Spool is a transaction on disk. It can be read any number of times, by one
// goroutine at a time.
type Spool interface {
	// Each calls yield with each change in order until it gives an error, which
	// Each returns. The change is valid until yield returns.
	Each(yield func(*Change) error) error
	Close() error
}

// NewTransaction makes a transaction in memory, whose memory is returned by
// release. It is how the reader, and tests of what takes transactions, make
// them.
func NewTransaction(t Transaction, release func()) *Transaction {
	t.release = release
	return &t
}

// Part gives some of the changes of t, counted from 0, as a transaction with
// other positions. It is valid as long as t, which release may let go of.
func (t *Transaction) Part(from, to int, final, end LSN, release func()) *Transaction {
	p := &Transaction{
		XID: t.XID, FinalLSN: final, EndLSN: end, CommitTime: t.CommitTime, Rows: t.Rows, Relations: t.Relations, Bytes: t.Bytes, Received: t.Received, Lacking: t.Lacking, release: release,
	}
	if t.Spool != nil {
		p.Spool = &spoolPart{t.Spool, from, to}
		return p
	}
	p.Changes = t.Changes[from:to:to]
	p.Rows = int64(len(p.Changes))
	return p
}

// spoolPart is a part of the changes of a spool, which it does not close.
type spoolPart struct {
	Spool
	from, to int
}

// Each calls yield with the changes of the part.
func (s *spoolPart) Each(yield func(*Change) error) error {
	at := -1
	return s.Spool.Each(func(c *Change) error {
		if at++; at < s.from || at >= s.to {
			return nil
		}
		return yield(c)
	})
}

// Close leaves the file to the whole.
func (s *spoolPart) Close() error { return nil }

// Mark tells whether t is only a position.
func (t *Transaction) Mark() bool { return t.XID == 0 }

// Each calls yield with each change in order, wherever they are kept.
func (t *Transaction) Each(yield func(*Change) error) error {
	if t.Spool != nil {
		return t.Spool.Each(yield)
	}
	for i := range t.Changes {
		if err := yield(&t.Changes[i]); err != nil {
			return err
		}
	}
	return nil
}

// Release gives the memory or the file of the transaction back. Its changes
// must not be used any more. It may be called by any goroutine, once.
func (t *Transaction) Release() {
	if t.Spool != nil {
		_ = t.Spool.Close() // the file is removed with its directory at the latest
	}
	if t.memory.slab != nil {
		clear(t.Changes) // they would keep large tuples alive
	}
	t.memory.release()
	if t.release != nil {
		t.release()
		t.release = nil
	}
}

// Tuple is a row as the protocol's TupleData has it, without the leading count:
// for each column a byte that says what follows, then perhaps a length and the
// value. It is never changed.
type Tuple []byte

// Format is how one value of a Tuple is given.
type Format byte

// The formats of values.
const (
	Null      Format = 'n'
	Unchanged Format = 'u' // a TOASTed value that the UPDATE left as it was
	Text      Format = 't'
	Binary    Format = 'b'
)

// Next gives the first value of t and the values behind it. t must not be
// empty; decoding has checked that it is well formed.
func (t Tuple) Next() (format Format, value []byte, rest Tuple) {
	format = Format(t[0])
	if format == Null || format == Unchanged {
		return format, nil, t[1:]
	}
	n := binary.BigEndian.Uint32(t[1:5])
	return format, t[5 : 5+n : 5+n], t[5+n:]
}

// Lacks tells whether a value is left out.
func (t Tuple) Lacks() bool {
	for len(t) > 0 {
		format, _, rest := t.Next()
		if format == Unchanged {
			return true
		}
		t = rest
	}
	return false
}

// AppendValue appends a value to a tuple that is being built.
func AppendValue(t Tuple, format Format, value []byte) Tuple {
	t = append(t, byte(format))
	if format == Null || format == Unchanged {
		return t
	}
	t = binary.BigEndian.AppendUint32(t, uint32(len(value)))
	return append(t, value...)
}

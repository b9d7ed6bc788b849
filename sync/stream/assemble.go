package stream

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// overhead is what a change takes beside its tuples, and a transaction beside
// its changes, in bytes.
const (
	changeOverhead      = 96
	transactionOverhead = 256
)

// assembler makes transactions of messages. It is used by one goroutine.
type assembler struct {
	dir        *spoolDir
	limit      int64 // Options.SpillMemory
	proto2     bool
	relations  *relations
	received   time.Time // of what is being read
	block      *block    // in which the messages lie
	out        []*Transaction
	mark       mark
	spilled    int64 // bytes written to files, ever
	finished   int64 // transactions, ever
	stash      []Transaction
	touched    []*Relation // Relations of the last transaction
	held       int64       // memory of all unfinished transactions
	open       bool        // between Begin and Commit
	final      LSN         // of the Begin message
	commitTime time.Time
	plain      unfinished             // between Begin and Commit; its slab stays for the next one
	streams    map[uint32]*unfinished // in progress, by xid
	stream     *unfinished            // between Stream Start and Stream Stop
}

// mark is a position with nothing pending before it.
type mark struct {
	lsn  LSN
	time time.Time // the server's
}

func newAssembler(dir *spoolDir, limit int64, proto2 bool) *assembler {
	a := &assembler{
		dir: dir, limit: limit, proto2: proto2, relations: newRelations(nil), streams: map[uint32]*unfinished{},
	}
	a.plain.memory.slab = newSlab(slabSize)
	return a
}

// moved tells that what follows lies in another block.
func (a *assembler) moved(to *block) {
	a.block = to
	if a.open && a.plain.spool == nil {
		to.retain()
		a.plain.memory.blocks++
	}
}

// keepalive takes the server's position: everything that was committed before
// has been sent. It may come in the midst of a transaction. Transactions in
// progress do not matter: they are sent again as long as they are not
// confirmed to have been committed.
func (a *assembler) keepalive(end LSN, at time.Time) {
	if !a.open {
		a.setMark(end, at)
	}
}

func (a *assembler) setMark(end LSN, at time.Time) {
	if end > a.mark.lsn {
		a.mark = mark{end, at}
	}
}

// message takes one message of pgoutput, which lies in the block.
func (a *assembler) message(data []byte) error {
	if len(data) == 0 {
		return malformed(0, "it is empty")
	}
	kind, body := data[0], data[1:]
	switch kind {
	case byte(Insert), byte(Update), byte(Delete), byte(Truncate):
		return a.change(kind, body)
	case beginMessage:
		return a.begin(body)
	case commitMessage:
		return a.commit(body)
	case relationMessage, typeMessage, byte(Message):
		return a.seldom(kind, body)
	case originMessage:
		return nil
	}
	if a.proto2 {
		return a.streaming(kind, body)
	}
	return malformed(kind, "it is of unknown kind")
}

// change takes an Insert, Update, Delete or Truncate message.
func (a *assembler) change(kind byte, body []byte) error {
	u, known := &a.plain, a.relations
	if a.stream != nil {
		u, known = a.stream, a.stream.relations
		if len(body) < 4 {
			return malformed(kind, "its length is wrong")
		}
		u.subTransaction(binary.BigEndian.Uint32(body))
		body = body[4:]
	} else if !a.open {
		return malformed(kind, "it is outside of a transaction")
	}
	c := u.slot()
	if err := decodeChange(kind, body, known, c); err != nil {
		return err
	}
	return a.add(u, c)
}

// add counts the change that u.slot has given. Nothing is done for each change
// but this.
func (a *assembler) add(u *unfinished, c *Change) error {
	before := u.held
	size, err := u.add(c)
	if err != nil {
		return err
	}
	if u.spool != nil {
		a.spilled += size
		return nil
	}
	a.held += u.held - before
	if a.held > a.limit {
		return a.spill()
	}
	return nil
}

// seldom takes the messages that a Begin or a Stream Start may or may not
// come before.
func (a *assembler) seldom(kind byte, body []byte) error {
	known, xid := a.relations, uint32(0)
	if a.stream != nil {
		if len(body) < 4 {
			return malformed(kind, "its length is wrong")
		}
		xid, known, body = binary.BigEndian.Uint32(body), a.stream.relations, body[4:]
	}
	switch {
	case kind == relationMessage:
		return known.describe(body)
	case kind == byte(Message) && ours(body):
		return a.logical(xid, body)
	}
	return nil
}

// logical takes a Message with a prefix of ours.
func (a *assembler) logical(xid uint32, body []byte) error {
	event, transactional, err := decodeLogical(body)
	if err != nil {
		return err
	}
	if !transactional {
		return a.note(event)
	}
	u := &a.plain
	if a.stream != nil {
		u = a.stream
		u.subTransaction(xid)
	} else if !a.open {
		return malformed(byte(Message), "it is outside of a transaction")
	}
	c := u.slot()
	*c = Change{Kind: Message, Logical: &event}
	return a.add(u, c)
}

// note hands over a message that is not transactional. The server sends it
// when it meets it in the write-ahead log, that is between transactions, behind
// all that were committed before.
func (a *assembler) note(event LogicalEvent) error {
	if a.open || a.stream != nil {
		return malformed(byte(Message), "it is not transactional, and in the midst of a transaction")
	}
	event.Content = bytes.Clone(event.Content)
	t := a.blank()
	t.EndLSN, t.CommitTime, t.Received, t.Messages = max(event.LSN, a.mark.lsn), a.mark.time, a.received, 1
	t.Changes = []Change{{Kind: Message, Logical: &event}}
	t.Bytes = int64(len(event.Prefix) + len(event.Content))
	t.queued = transactionOverhead + changeOverhead + t.Bytes
	a.out = append(a.out, t)
	a.setMark(t.EndLSN, t.CommitTime)
	return nil
}

func (a *assembler) begin(body []byte) error {
	in := cursor{rest: body}
	final, at, xid := in.lsn(), in.time(), in.uint32()
	if err := in.end(beginMessage); err != nil {
		return err
	}
	if a.open || a.stream != nil {
		return malformed(beginMessage, "the transaction before has not ended")
	}
	a.open, a.final, a.commitTime = true, final, at
	u := &a.plain
	u.xid, u.rows, u.bytes, u.held, u.lacking = xid, 0, 0, 0, false
	u.touched, u.last, u.touchedSet, u.messages = u.touched[:0], nil, nil, 0
	u.start = u.memory.slab.used
	u.memory.first, u.memory.blocks = a.block, 1
	a.block.retain()
	return nil
}

func (a *assembler) commit(body []byte) error {
	in := cursor{rest: body}
	_, final, end, at := in.byte(), in.lsn(), in.lsn(), in.time()
	if err := in.end(commitMessage); err != nil {
		return err
	}
	if !a.open || final != a.final {
		return malformed(commitMessage, "it does not belong to the transaction that has begun")
	}
	a.open = false
	u := &a.plain
	a.held -= u.held
	u.held = 0
	if u.empty() {
		u.memory.releaseBlocks()
		a.setMark(end, at)
		return nil
	}
	t := a.transaction(u, final, end, at)
	switch {
	case u.spool != nil:
		u.spool = nil
	case len(u.memory.slab.items) == slabSize:
		u.memory.slab.retain() // it goes on with the next transaction
	default:
		u.memory.slab = newSlab(slabSize)
	}
	u.memory.first, u.memory.blocks = nil, 0
	return a.deliver(t)
}

// blank gives a Transaction to be filled in.
func (a *assembler) blank() *Transaction {
	if len(a.stash) == 0 {
		a.stash = make([]Transaction, 64)
	}
	t := &a.stash[0]
	a.stash = a.stash[1:]
	return t
}

// transaction makes a transaction of what is finished.
func (a *assembler) transaction(u *unfinished, final, end LSN, at time.Time) *Transaction {
	t := a.blank()
	t.XID, t.FinalLSN, t.EndLSN, t.CommitTime = u.xid, final, end, at
	t.Rows, t.Bytes, t.Received, t.Lacking, t.Messages = u.rows, u.bytes, a.received, u.lacking, u.messages
	// One transaction after the other changes the same tables, as a rule.
	if !slices.Equal(u.touched, a.touched) {
		a.touched = slices.Clone(u.touched)
	}
	t.Relations = a.touched
	if u.spool != nil {
		t.Spool = u.spool
		t.queued = transactionOverhead + u.bytes
		return t
	}
	t.Changes = u.changes()
	t.memory = u.memory
	t.queued = transactionOverhead + u.bytes + int64(len(t.Changes))*changeOverhead
	return t
}

func (a *assembler) deliver(t *Transaction) error {
	if s, ok := t.Spool.(*spool); ok {
		if err := s.finish(); err != nil {
			_ = s.Close()
			return err
		}
	}
	a.out = append(a.out, t)
	a.finished++
	a.mark = mark{t.EndLSN, t.CommitTime}
	return nil
}

// spill moves the largest unfinished transactions to files until enough memory
// is free.
func (a *assembler) spill() error {
	for a.held > a.limit {
		var largest *unfinished
		if a.open && a.plain.spool == nil {
			largest = &a.plain
		}
		for _, u := range a.streams {
			if u.spool == nil && (largest == nil || u.held > largest.held) {
				largest = u
			}
		}
		if largest == nil {
			return pgerror.New(pgerror.InternalError, "%d bytes of memory belong to no transaction in progress", a.held)
		}
		a.held -= largest.held
		if err := largest.toDisk(a.dir); err != nil {
			return err
		}
		a.spilled += largest.spool.size()
	}
	return nil
}

// close removes the files of what has not ended.
func (a *assembler) close() {
	if a.plain.spool != nil {
		_ = a.plain.spool.Close()
	}
	for _, u := range a.streams {
		u.drop()
	}
}

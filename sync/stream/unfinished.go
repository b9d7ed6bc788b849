package stream

import "slices"

// unfinished is a transaction that has not ended: in memory, or from some
// moment on in a file.
type unfinished struct {
	xid         uint32
	memory      memory
	start       int // its changes are memory.slab.items[start:used]
	spool       *spool
	scratch     Change // the change being decoded, when it goes to the file
	rows, bytes int64
	held        int64              // memory it takes, 0 in a file
	touched     []*Relation        // those of its changes, each once
	last        *Relation          // of touched: that of the change before
	touchedSet  map[*Relation]bool // of touched, where there are many
	messages    int
	lacking     bool // see Transaction.Lacking

	// Only of transactions that are streamed while in progress. Their tuples are
	// copied: they come in pieces, and would hold whole blocks for a few.
	streamed  bool
	relations *relations
	arena     *block // the last of memory's blocks
	arenaUsed int
	subs      []subTransaction // by their first change
	subIndex  map[uint32]int   // in subs, by xid
	lastSub   uint32
}

// subTransaction is where the first change of a subtransaction is.
type subTransaction struct {
	xid         uint32
	changes     int   // before it, while in memory
	offset      int64 // of the file, since it is there
	rows, bytes int64 // before it
}

func newStreamed(xid uint32, known *relations) *unfinished {
	u := &unfinished{xid: xid, streamed: true, relations: newRelations(known), lastSub: xid}
	u.memory.slab = newSlab(slabSize)
	return u
}

func (u *unfinished) changes() []Change {
	s := u.memory.slab
	return s.items[u.start:s.used:s.used]
}

func (u *unfinished) empty() bool {
	if u.spool != nil {
		return u.spool.size() == 0
	}
	return u.memory.slab.used == u.start
}

// slot gives where the next change is to be decoded.
func (u *unfinished) slot() *Change {
	if u.spool != nil {
		return &u.scratch
	}
	s := u.memory.slab
	if s.used == len(s.items) {
		s = u.grow()
	}
	return &s.items[s.used]
}

// grow moves the changes to a larger slab.
func (u *unfinished) grow() *slab {
	old, changes := u.memory.slab, u.changes()
	s := newSlab(2 * len(changes))
	s.used = copy(s.items, changes)
	clear(changes)
	old.used = u.start
	old.release()
	u.memory.slab, u.start = s, 0
	return s
}

// add keeps the change that was decoded into slot. size is what it takes.
func (u *unfinished) add(c *Change) (size int64, err error) {
	size = int64(len(c.Old) + len(c.New))
	if c.Kind == Message {
		size = int64(len(c.Logical.Prefix) + len(c.Logical.Content))
	}
	u.bytes += size
	u.lacking = u.lacking || c.Kind == Update && c.Old != nil && c.New.Lacks()
	switch c.Kind {
	case Message:
		u.messages++
	case Truncate:
		for _, r := range c.Truncated.Relations {
			u.touch(r)
		}
	default:
		u.rows++
		if c.Relation != u.last {
			u.touch(c.Relation)
		}
	}
	if u.spool != nil {
		err = u.spool.append(c)
		return size + spoolHeader, err
	}
	if u.streamed {
		u.keep(c)
	} else {
		u.held += size
	}
	u.held += changeOverhead
	u.memory.slab.used++
	return size, nil
}

// touch notes a relation. One whose changes are taken back later may stay.
func (u *unfinished) touch(r *Relation) {
	u.last = r
	if len(u.touched) < touchedList {
		if !slices.Contains(u.touched, r) {
			u.touched = append(u.touched, r)
		}
		return
	}
	if len(u.touched) == touchedList {
		u.touchedSet = map[*Relation]bool{}
		for _, known := range u.touched {
			u.touchedSet[known] = true
		}
	}
	if !u.touchedSet[r] {
		u.touchedSet[r] = true
		u.touched = append(u.touched, r)
	}
}

// touchedList is how many relations are looked for one by one.
const touchedList = 32

// keep copies what c points to into blocks of u's own.
func (u *unfinished) keep(c *Change) {
	if c.Old != nil {
		c.Old = u.copy(c.Old)
	}
	if c.New != nil {
		c.New = u.copy(c.New)
	}
	if c.Kind == Message {
		c.Logical.Content = u.copy(c.Logical.Content)
	}
}

func (u *unfinished) copy(data []byte) []byte {
	if u.arena == nil || len(u.arena.data)-u.arenaUsed < len(data) {
		b := newBlock(len(data))
		if u.arena == nil {
			u.memory.first = b
		} else {
			u.arena.next = b
		}
		u.arena, u.arenaUsed = b, 0
		u.memory.blocks++
		u.held += int64(len(b.data))
	}
	at := u.arenaUsed
	u.arenaUsed += copy(u.arena.data[at:], data)
	return u.arena.data[at:u.arenaUsed:u.arenaUsed]
}

// subTransaction notes the subtransaction that the next change belongs to.
func (u *unfinished) subTransaction(xid uint32) {
	if xid == u.lastSub {
		return
	}
	u.lastSub = xid
	if _, known := u.subIndex[xid]; known || xid == u.xid {
		return
	}
	s := subTransaction{xid: xid, rows: u.rows, bytes: u.bytes}
	if u.spool != nil {
		s.offset = u.spool.size()
	} else {
		s.changes = len(u.changes())
	}
	if u.subIndex == nil {
		u.subIndex = map[uint32]int{}
	}
	u.subIndex[xid] = len(u.subs)
	u.subs = append(u.subs, s)
}

// abort drops the changes of a subtransaction. Subtransactions are nested, so
// that all changes since its first one are its own and those of others inside
// it: of a transaction in progress nothing that comes after the abort has been
// sent yet.
func (u *unfinished) abort(xid uint32) error {
	i, known := u.subIndex[xid]
	if !known {
		return nil // it changed nothing that is published
	}
	s := u.subs[i]
	for _, gone := range u.subs[i:] {
		delete(u.subIndex, gone.xid)
	}
	u.subs = u.subs[:i]
	u.lastSub = u.xid
	u.rows, u.bytes = s.rows, s.bytes
	if u.spool != nil {
		return u.spool.truncate(s.offset)
	}
	slab := u.memory.slab
	clear(slab.items[s.changes:slab.used])
	u.held -= int64(slab.used-s.changes) * changeOverhead
	slab.used = s.changes // its tuples stay until the transaction ends
	return nil
}

// toDisk writes everything to a file, which the rest will go to as well.
func (u *unfinished) toDisk(dir *spoolDir) error {
	s, err := newSpool(dir, u.xid)
	if err != nil {
		return err
	}
	u.spool = s
	changes := u.changes()
	sub := 0
	for i := range changes {
		for ; sub < len(u.subs) && u.subs[sub].changes == i; sub++ {
			u.subs[sub].offset = s.size()
		}
		if err := s.append(&changes[i]); err != nil {
			return err
		}
	}
	for ; sub < len(u.subs); sub++ {
		u.subs[sub].offset = s.size()
	}
	clear(changes)
	u.memory.slab.used = u.start
	u.memory.releaseBlocks()
	u.arena, u.held = nil, 0
	if u.streamed {
		u.memory.release() // nothing will be in its slab any more
	}
	return nil
}

// drop gives everything back.
func (u *unfinished) drop() {
	u.memory.release()
	if u.spool != nil {
		_ = u.spool.Close()
	}
}

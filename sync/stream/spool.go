package stream

import (
	"encoding/binary"
	"errors"
	"os"

	"github.com/pgdrover/pgdrover/pgerror"
)

// A spool is a file of records, one for each change: a header of 16 bytes
//
//	kind, flags, 0, 0, then three numbers of 4 bytes
//
// and what the numbers tell the length of:
//
//	Insert, Update, Delete   relation, length of Old, length of New   Old, New
//	Truncate                 relations, 0, 0                          4 bytes for each
//	Message                  0, length of the prefix, of the content  LSN, prefix, content
//
// Relations are kept in memory; a record has the index of one.
const spoolHeader = 16

const (
	spoolOldFull = 1 << iota
	spoolHasOld
	spoolHasNew
	spoolCascade
	spoolRestart
)

// spool is a transaction on disk: written by the reader until the transaction
// ends, then read by whoever has it.
type spool struct {
	dir       string
	file      *os.File
	buffer    []byte // not written yet, while writing
	written   int64
	relations []*Relation
	index     map[*Relation]uint32
	closed    bool
}

func newSpool(dir *spoolDir, xid uint32) (*spool, error) {
	file, err := dir.file(xid)
	if err != nil {
		return nil, err
	}
	return &spool{dir: dir.path, file: file, buffer: make([]byte, 0, blockSize), index: map[*Relation]uint32{}}, nil
}

// size is the length of everything appended.
func (s *spool) size() int64 { return s.written + int64(len(s.buffer)) }

// append writes a change behind the others.
func (s *spool) append(c *Change) error {
	header := [spoolHeader]byte{0: byte(c.Kind)}
	flags := &header[1]
	number := func(i int, n uint32) { binary.BigEndian.PutUint32(header[4*i:], n) }
	switch c.Kind {
	case Truncate:
		*flags = bitIf(c.Truncated.Cascade, spoolCascade) | bitIf(c.Truncated.RestartIdentity, spoolRestart)
		number(1, uint32(len(c.Truncated.Relations)))
		tables := make([]byte, 0, 4*len(c.Truncated.Relations))
		for _, r := range c.Truncated.Relations {
			tables = binary.BigEndian.AppendUint32(tables, s.relation(r))
		}
		return s.write(header[:], tables)
	case Message:
		number(2, uint32(len(c.Logical.Prefix)))
		number(3, uint32(len(c.Logical.Content)))
		at := binary.BigEndian.AppendUint64(nil, uint64(c.Logical.LSN))
		return s.write(header[:], append(at, c.Logical.Prefix...), c.Logical.Content)
	}
	*flags = bitIf(c.OldFull, spoolOldFull) | bitIf(c.Old != nil, spoolHasOld) | bitIf(c.New != nil, spoolHasNew)
	number(1, s.relation(c.Relation))
	number(2, uint32(len(c.Old)))
	number(3, uint32(len(c.New)))
	return s.write(header[:], c.Old, c.New)
}

func bitIf(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

func (s *spool) relation(r *Relation) uint32 {
	if n := len(s.relations); n > 0 && s.relations[n-1] == r {
		return uint32(n - 1)
	}
	i, ok := s.index[r]
	if !ok {
		i = uint32(len(s.relations))
		s.index[r] = i
		s.relations = append(s.relations, r)
	}
	return i
}

// write appends the parts; those larger than the buffer go past it.
func (s *spool) write(parts ...[]byte) error {
	for _, part := range parts {
		if len(s.buffer)+len(part) > cap(s.buffer) {
			if err := s.flush(); err != nil {
				return err
			}
		}
		if len(part) > cap(s.buffer) {
			if err := s.writeFile(part); err != nil {
				return err
			}
			continue
		}
		s.buffer = append(s.buffer, part...)
	}
	return nil
}

func (s *spool) flush() error {
	err := s.writeFile(s.buffer)
	s.buffer = s.buffer[:0]
	return err
}

func (s *spool) writeFile(data []byte) error {
	n, err := s.file.WriteAt(data, s.written)
	s.written += int64(n)
	if err != nil {
		return spillFailed(s.dir, "write a large transaction to its file", err)
	}
	return nil
}

// truncate takes back everything behind a position that size has given.
func (s *spool) truncate(size int64) error {
	if size >= s.written {
		s.buffer = s.buffer[:size-s.written]
		return nil
	}
	s.buffer = s.buffer[:0]
	s.written = size
	if err := s.file.Truncate(size); err != nil {
		return spillFailed(s.dir, "cut a large transaction's file", err)
	}
	return nil
}

// finish ends the writing.
func (s *spool) finish() error {
	err := s.flush()
	s.buffer, s.index = nil, nil
	return err
}

// Close removes the file.
func (s *spool) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.file.Close()
	if removeErr := os.Remove(s.file.Name()); !errors.Is(removeErr, os.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// Each reads the changes from the beginning.
func (s *spool) Each(yield func(*Change) error) error {
	in := spoolReader{spool: s, block: newBlock(blockSize)}
	defer func() { in.block.release() }()
	var c Change
	for in.at < in.end || in.offset < s.written {
		if err := in.next(&c); err != nil {
			return err
		}
		if err := yield(&c); err != nil {
			return err
		}
	}
	return nil
}

// spoolReader reads a spool. The change it gives points into its block.
type spoolReader struct {
	*spool
	block   *block
	at, end int
	offset  int64 // in the file, of block.data[end]
}

// need reads until n bytes are there. They are valid until the next call.
func (r *spoolReader) need(n int64) error {
	have := r.end - r.at
	if n <= int64(have) {
		return nil
	}
	if n-int64(have) > r.written-r.offset {
		return r.damaged("it ends too early")
	}
	to := r.block
	if n > int64(len(to.data)) || len(to.data) > blockSize && n <= blockSize {
		to = newBlock(int(n))
	}
	copy(to.data, r.block.data[r.at:r.end])
	if to != r.block {
		r.block.release()
		r.block = to
	}
	r.at, r.end = 0, have
	want := min(int64(len(to.data)-have), r.written-r.offset)
	got, err := r.file.ReadAt(to.data[have:have+int(want)], r.offset)
	r.end += got
	r.offset += int64(got)
	if int64(got) < want {
		return pgerror.New(pgerror.SystemError, "read a spilled transaction: %w", err).WithDetail("File: %s.", r.file.Name())
	}
	return nil
}

// next reads a record.
func (r *spoolReader) next(c *Change) error {
	if err := r.need(spoolHeader); err != nil {
		return err
	}
	header := [spoolHeader]byte(r.block.data[r.at:])
	number := func(i int) int64 { return int64(binary.BigEndian.Uint32(header[4*i:])) }
	first, second := number(2), number(3)
	switch Kind(header[0]) {
	case Truncate:
		first, second = 4*number(1), 0
	case Message:
		first += 8
	}
	if err := r.need(spoolHeader + first + second); err != nil {
		return err
	}
	a := r.block.data[r.at+spoolHeader:][:first:first]
	b := r.block.data[r.at+spoolHeader+int(first):][:second:second]
	r.at += spoolHeader + int(first+second)
	return r.change(c, header, a, b)
}

// change makes a change of a record and its two parts.
func (r *spoolReader) change(c *Change, header [spoolHeader]byte, a, b []byte) error {
	flags := header[1]
	*c = Change{Kind: Kind(header[0])}
	switch c.Kind {
	case Truncate:
		c.Truncated = &Truncated{Cascade: flags&spoolCascade != 0, RestartIdentity: flags&spoolRestart != 0, Relations: make([]*Relation, len(a)/4)}
		for i := range c.Truncated.Relations {
			n := binary.BigEndian.Uint32(a[4*i:])
			if int64(n) >= int64(len(r.relations)) {
				return r.damaged("a relation is not known")
			}
			c.Truncated.Relations[i] = r.relations[n]
		}
		return nil
	case Message:
		c.Logical = &LogicalEvent{LSN: LSN(binary.BigEndian.Uint64(a)), Prefix: string(a[8:]), Content: b}
		return nil
	case Insert, Update, Delete:
		n := binary.BigEndian.Uint32(header[4:])
		if int64(n) >= int64(len(r.relations)) {
			return r.damaged("a relation is not known")
		}
		c.Relation, c.OldFull = r.relations[n], flags&spoolOldFull != 0
		columns := len(c.Relation.Columns)
		if flags&spoolHasOld != 0 {
			c.Old = a
		}
		if flags&spoolHasNew != 0 {
			c.New = b
		}
		if c.Old != nil && measureTuple(a, columns) != len(a) || c.New != nil && measureTuple(b, columns) != len(b) {
			return r.damaged("a tuple is malformed")
		}
		return nil
	}
	return r.damaged("a record is of unknown kind")
}

func (r *spoolReader) damaged(why string) error {
	return pgerror.New(pgerror.SystemError, "the file of a spilled transaction is damaged: %s", why).
		WithDetail("File: %s, before byte %d.", r.file.Name(), r.offset)
}

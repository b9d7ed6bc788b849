package stream

import (
	"encoding/binary"
	"io"

	"github.com/pgdrover/pgdrover/pgerror"
)

const (
	// headerSize is a protocol message's type and length.
	headerSize = 5
	// maxMessage is more than a server can build: a StringInfo ends at 1 GB.
	maxMessage = 1<<30 + 64<<10
	// minRead is how much room a read should have at least.
	minRead = blockSize / 8
)

// frames cuts what a connection gives into protocol messages, in place. Each
// message lies whole in the current block. It is used by one goroutine.
type frames struct {
	from    io.Reader
	max     int // size of a message, with its header
	block   *block
	at, end int // data[at:end] is still to be cut
	total   int64
}

func newFrames(from io.Reader, limit int) *frames {
	return &frames{from: from, max: limit, block: newBlock(blockSize)}
}

// next gives the next message that is complete. Its body is valid as long as
// the block it lies in is held.
func (f *frames) next() (kind byte, body []byte, ok bool, err error) {
	size, err := f.size()
	if err != nil || size == 0 || size > f.end-f.at {
		return 0, nil, false, err
	}
	message := f.block.data[f.at : f.at+size : f.at+size]
	f.at += size
	return message[0], message[headerSize:], true, nil
}

// size is that of the next message, 0 if its header has not come yet.
func (f *frames) size() (int, error) {
	if f.end-f.at < headerSize {
		return 0, nil
	}
	length := binary.BigEndian.Uint32(f.block.data[f.at+1:])
	if length < 4 || int64(length) >= int64(f.max) {
		return 0, pgerror.New(pgerror.ProtocolViolation, "message %q with an impossible length of %d bytes", f.block.data[f.at], length)
	}
	return int(length) + 1, nil
}

// fill reads once, after next has had everything that is complete. moved tells
// that there is another block now, which then is the old one's next.
func (f *frames) fill() (moved bool, err error) {
	if moved, err = f.room(); err != nil {
		return moved, err
	}
	n, err := f.from.Read(f.block.data[f.end:])
	f.end += n
	f.total += int64(n)
	if n > 0 {
		err = nil // it comes again
	}
	return moved, err
}

// room makes sure that the message that has begun fits into the block, and that
// there is something to read into.
func (f *frames) room() (moved bool, err error) {
	size, err := f.size()
	if err != nil {
		return false, err
	}
	size = max(size, headerSize)
	have := f.end - f.at
	fits := f.at+size <= len(f.block.data)
	if fits && have > 0 && (len(f.block.data)-f.end >= minRead || have >= minRead) {
		return false, nil
	}
	if fits && have == 0 && len(f.block.data)-f.end >= minRead && !f.block.unshared() {
		return false, nil
	}
	if f.block.unshared() && size <= len(f.block.data) && len(f.block.data) == blockSize {
		copy(f.block.data, f.block.data[f.at:f.end])
		f.at, f.end = 0, have
		return false, nil
	}
	bigger := newBlock(size)
	copy(bigger.data, f.block.data[f.at:f.end])
	f.block.next = bigger
	f.at, f.end = 0, have
	f.block.release()
	f.block = bigger
	return true, nil
}

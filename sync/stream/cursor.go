package stream

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// cursor reads a message that is not one of the many. Reading beyond the end
// gives zeros and sets bad.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.rest) {
		c.bad, c.rest = true, nil
		return nil
	}
	out := c.rest[:n:n]
	c.rest = c.rest[n:]
	return out
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	if b := c.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) lsn() LSN { return LSN(c.uint64()) }

// time is a TimestampTz.
func (c *cursor) time() time.Time { return timestamp(c.uint64()) }

// string is a string with a zero byte behind it.
func (c *cursor) string() string {
	i := bytes.IndexByte(c.rest, 0)
	if i < 0 {
		c.bad, c.rest = true, nil
		return ""
	}
	s := string(c.rest[:i])
	c.rest = c.rest[i+1:]
	return s
}

// end is an error unless exactly everything was read.
func (c *cursor) end(kind byte) error {
	if c.bad || len(c.rest) > 0 {
		return malformed(kind, "its length is wrong")
	}
	return nil
}

// postgresEpoch is 2000-01-01 in microseconds of Unix time.
const postgresEpoch = 946684800 * 1e6

// timestamp turns microseconds since 2000 into a time.
func timestamp(microseconds uint64) time.Time {
	return time.UnixMicro(int64(microseconds) + postgresEpoch).UTC()
}

// malformed is the error for a message of pgoutput that cannot be understood.
func malformed(kind byte, why string) error {
	return pgerror.New(pgerror.ProtocolViolation, "malformed message %q of pgoutput: %s", kind, why)
}

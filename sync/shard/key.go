package shard

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/pgdrover/pgdrover/dump"
)

// Key finds the shard of a table's rows from their sharding key. It never
// changes: any number of goroutines may use it.
type Key struct {
	Column   string // "" if all rows go to one shard
	Position int    // of Column among those given to Router.Table; -1 if all rows go to one shard

	schema, table string
	entry         string // of the configuration, as messages name it
	kind          kind
	by            method
	mapping       *mapping
	shards        int
	shard         int // of the method one
}

// method is how a value becomes a shard.
type method byte

const (
	byPartition method = iota // PostgreSQL's hash partitioning
	bySHA1
	byMapping
	one // every row to the same shard
)

// Constant gives the shard that all rows of the table go to, if it is so: no
// value is needed then.
func (k *Key) Constant() (int, bool) { return k.shard, k.by == one }

// Entry names the part of the configuration that the key comes from.
func (k *Key) Entry() string { return k.entry }

// String says in a few words where rows go.
func (k *Key) String() string {
	switch k.by {
	case bySHA1:
		return fmt.Sprintf("sha1 of %s", quote(k.Column))
	case byMapping:
		return fmt.Sprintf("mapping of %s", quote(k.Column))
	case one:
		return fmt.Sprintf("shard %d", k.shard)
	}
	return fmt.Sprintf("hash of %s", quote(k.Column))
}

// Shard gives the shard of a row with this value of Column. A varchar is hashed
// as it is: it must be in the encoding of the destination's database. A TOASTed
// value that an UPDATE left out of the stream is not a value; the caller finds
// it elsewhere. value is neither kept nor changed.
//
// Every error is a *KeyError, and the shard -1: a row without a shard goes
// nowhere, never to all of them.
func (k *Key) Shard(format Format, value []byte, null bool) (int, error) {
	if k.by == one {
		return k.shard, nil
	}
	if null {
		return -1, k.fail(NullKey, format, nil)
	}
	if format != Text && format != Binary {
		return -1, k.fail(Malformed, format, value)
	}
	switch k.kind {
	case smallint, integer, bigint:
		return k.ofInteger(format, value)
	case uuid:
		return k.ofUUID(format, value)
	case blank:
		return k.ofBytes(format, trimBlanks(value), value)
	}
	return k.ofBytes(format, value, value)
}

func (k *Key) ofInteger(format Format, value []byte) (int, error) {
	var v int64
	var ok bool
	if format == Text {
		v, ok = parseInteger(value, k.kind.bytes())
	} else {
		v, ok = receiveInteger(value, k.kind.bytes())
	}
	if !ok {
		return -1, k.fail(Malformed, format, value)
	}
	switch k.by {
	case bySHA1:
		return sha1OfInteger(v, k.shards), nil
	case byMapping:
		if shard := k.mapping.integers.shard(v); shard >= 0 {
			return shard, nil
		}
		return -1, k.fail(Unmatched, Text, strconv.AppendInt(nil, v, 10))
	}
	return partitionOf(hashInteger(v), k.shards), nil
}

func (k *Key) ofUUID(format Format, value []byte) (int, error) {
	var u [16]byte
	ok := len(value) == len(u)
	if format == Text {
		u, ok = parseUUID(value)
	} else {
		copy(u[:], value)
	}
	if !ok {
		return -1, k.fail(Malformed, format, value)
	}
	return k.ofBytes(format, u[:], value)
}

// ofBytes finds the shard of what is hashed and compared of a value.
func (k *Key) ofBytes(format Format, b, value []byte) (int, error) {
	switch k.by {
	case bySHA1:
		return sha1Of(b, k.shards), nil
	case byMapping:
		// A view of b is enough, as shard keeps nothing of it; a copy would be
		// an allocation per row.
		if shard := k.mapping.bytes.shard(unsafe.String(unsafe.SliceData(b), len(b))); shard >= 0 {
			return shard, nil
		}
		return -1, k.fail(Unmatched, format, value)
	}
	return partitionOf(hashBytes(b), k.shards), nil
}

// quote is the SQL of a name.
func quote(names ...string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = dump.QuoteIdent(name)
	}
	return strings.Join(quoted, ".")
}

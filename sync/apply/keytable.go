package apply

import (
	"bytes"
	"hash/maphash"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// row is one key of a window and what its changes amount to.
type row struct {
	key   stream.Tuple // the values of the identity, in the order of the tuple
	image stream.Tuple // the row as it is to be, if state says that there is one
	hash  uint64
	state rowState
	class int32 // of updated: which columns are set, a position in window.classes
}

// keyTable finds rows by their key: open addressing with linear probing, as the
// keys lie in the transactions' own memory and a map would copy each of them.
type keyTable struct {
	rows  []row
	slots []uint32 // position in rows + 1, 0 for a free one; as many as a power of two
}

var hashSeed = maphash.MakeSeed()

func (k *keyTable) reset() {
	clear(k.rows) // what they point to is given back
	clear(k.slots)
	k.rows = k.rows[:0]
}

// find gives the row of key, a new one in state absent if there is none. It is
// valid until the next call.
func (k *keyTable) find(key stream.Tuple) *row {
	if 2*(len(k.rows)+1) > len(k.slots) {
		k.grow()
	}
	hash := maphash.Bytes(hashSeed, key)
	mask := uint64(len(k.slots) - 1)
	at := hash & mask
	for ; k.slots[at] != 0; at = (at + 1) & mask {
		if r := &k.rows[k.slots[at]-1]; r.hash == hash && bytes.Equal(r.key, key) {
			return r
		}
	}
	k.rows = append(k.rows, row{key: key, hash: hash})
	k.slots[at] = uint32(len(k.rows))
	return &k.rows[len(k.rows)-1]
}

func (k *keyTable) grow() {
	k.slots = make([]uint32, max(64, 2*len(k.slots)))
	mask := uint64(len(k.slots) - 1)
	for i := range k.rows {
		at := k.rows[i].hash & mask
		for ; k.slots[at] != 0; at = (at + 1) & mask {
		}
		k.slots[at] = uint32(i + 1)
	}
}

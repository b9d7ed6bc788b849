package shard

import (
	"crypto/sha1"
	"encoding/binary"
	"math/bits"
	"strconv"
)

// partitionSeed is HASH_PARTITION_SEED of PostgreSQL (catalog/partition.h).
const partitionSeed = 0x7A5B22367996DCFD

// partitionOf is the remainder that satisfies_hash_partition checks for one
// key column with the given extended hash (partitioning/partbounds.c,
// compute_partition_hash_value): hash_combine64(0, hash) modulo the partitions.
func partitionOf(hash uint64, shards int) int {
	return int((hash + 0x49a0f4dd15e5a8e3) % uint64(shards))
}

// hashInteger is hashint8extended, and for values that fit also hashint4extended
// and hashint2extended: equal numbers hash alike whatever their width.
func hashInteger(v int64) uint64 {
	low, high := uint32(v), uint32(uint64(v)>>32)
	if v < 0 {
		high = ^high
	}
	s := start(4)
	s.a += low ^ high
	return s.final()
}

// hashBytes is hash_bytes_extended (common/hashfn.c): Bob Jenkins' lookup3 of
// 2006, as PostgreSQL computes it on little-endian machines.
func hashBytes(key []byte) uint64 {
	s := start(len(key))
	for ; len(key) >= 12; key = key[12:] {
		s.a += binary.LittleEndian.Uint32(key)
		s.b += binary.LittleEndian.Uint32(key[4:])
		s.c += binary.LittleEndian.Uint32(key[8:])
		s.mix()
	}
	// The lowest byte of c is the length's: the rest begins in the next one.
	for i, b := range key {
		switch {
		case i < 4:
			s.a += uint32(b) << (8 * i)
		case i < 8:
			s.b += uint32(b) << (8 * (i - 4))
		default:
			s.c += uint32(b) << (8 * (i - 7))
		}
	}
	return s.final()
}

// state is that of lookup3.
type state struct{ a, b, c uint32 }

// start is the state of a key of n bytes with partitionSeed.
func start(n int) state {
	v := 0x9e3779b9 + uint32(n) + 3923095
	s := state{v + partitionSeed>>32, v + partitionSeed&0xffffffff, v}
	s.mix()
	return s
}

func (s *state) mix() {
	a, b, c := s.a, s.b, s.c
	a = (a - c) ^ bits.RotateLeft32(c, 4)
	c += b
	b = (b - a) ^ bits.RotateLeft32(a, 6)
	a += c
	c = (c - b) ^ bits.RotateLeft32(b, 8)
	b += a
	a = (a - c) ^ bits.RotateLeft32(c, 16)
	c += b
	b = (b - a) ^ bits.RotateLeft32(a, 19)
	a += c
	c = (c - b) ^ bits.RotateLeft32(b, 4)
	b += a
	s.a, s.b, s.c = a, b, c
}

func (s *state) final() uint64 {
	a, b, c := s.a, s.b, s.c
	c = (c ^ b) - bits.RotateLeft32(b, 14)
	a = (a ^ c) - bits.RotateLeft32(c, 11)
	b = (b ^ a) - bits.RotateLeft32(a, 25)
	c = (c ^ b) - bits.RotateLeft32(b, 16)
	a = (a ^ c) - bits.RotateLeft32(c, 4)
	b = (b ^ a) - bits.RotateLeft32(a, 14)
	c = (c ^ b) - bits.RotateLeft32(b, 24)
	return uint64(b)<<32 | uint64(c)
}

// sha1Of is the shard of PgDog's hasher "sha1": the last four bytes of the
// digest, big-endian, modulo the shards.
func sha1Of(key []byte, shards int) int {
	digest := sha1.Sum(key)
	return int(uint64(binary.BigEndian.Uint32(digest[len(digest)-4:])) % uint64(shards))
}

// sha1OfInteger hashes the number's decimal text.
func sha1OfInteger(v int64, shards int) int {
	var text [20]byte
	return sha1Of(strconv.AppendInt(text[:0], v, 10), shards)
}

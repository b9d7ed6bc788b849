package shard_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// TestFormatsAgree: a value goes to one shard of the cluster, in either format
// and with either hasher.
func TestFormatsAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		shards := rapid.IntRange(2, 1<<20).Draw(rt, "shards")
		oid := rapid.SampledFrom([]uint32{int2, int4, int8, uuid, text, character}).Draw(rt, "type")
		hasher := rapid.SampledFrom([]string{"postgres", "sha1"}).Draw(rt, "hasher")
		value, binary := drawValue(t, rt, oid)
		key := keyFor(t, config.ShardedTable{DataType: dataTypeOf(oid), Hasher: hasher}, oid, shards)
		a, err := key.Shard(shard.Text, []byte(value), false)
		if err != nil || a < 0 || a >= shards {
			rt.Fatalf("text: shard %d, %v", a, err)
		}
		if b, err := key.Shard(shard.Binary, binary, false); err != nil || a != b {
			rt.Fatalf("shard %d as text, %d as binary (%v)", a, b, err)
		}
	})
}

// drawValue is a value as text and as binary.
func drawValue(t *testing.T, rt *rapid.T, oid uint32) (string, []byte) {
	switch width := map[uint32]int{int2: 2, int4: 4, int8: 8}[oid]; {
	case width > 0:
		v := rapid.Int64Range(-1<<(8*width-1), 1<<(8*width-1)-1).Draw(rt, "value")
		return strconv.FormatInt(v, 10), binaryOf(v, width)
	case oid == uuid:
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "value")
		return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), b
	}
	value := rapid.String().Draw(rt, "value")
	return value, binaryForm(t, oid, value)
}

// TestRangesAsWritten compares the ranges of a mapping with a search one by one.
func TestRangesAsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		bounds := rapid.SliceOfNDistinct(rapid.Int64Range(-50, 50), 2, 12, rapid.ID).Draw(rt, "bounds")
		slices.Sort(bounds)
		var rules []config.Mapping
		add := func(from, to any) {
			if rapid.Bool().Draw(rt, "there") {
				rules = append(rules, config.Mapping{Start: from, End: to, Shard: len(rules)})
			}
		}
		add(nil, bounds[0])
		for i := 1; i < len(bounds); i++ {
			add(bounds[i-1], bounds[i])
		}
		rules = append(rules, config.Mapping{Start: bounds[len(bounds)-1], Shard: len(rules)})
		key := keyFor(t, config.ShardedTable{Mapping: rapid.Permutation(rules).Draw(rt, "order")}, int8, 20)
		for v := int64(-52); v <= 52; v++ {
			want := unmatched
			for _, r := range rules {
				if (r.Start == nil || r.Start.(int64) <= v) && (r.End == nil || v < r.End.(int64)) {
					want = r.Shard
				}
			}
			if got := shardOf(t, key, shard.Binary, binaryOf(v, 8)); got != want {
				rt.Fatalf("%d goes to %d, want %d", v, got, want)
			}
		}
	})
}

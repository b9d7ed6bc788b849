package shard_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/shard"
)

const fuzzShards = 7

// fuzzKeys are keys of every type, by hash and by a mapping.
func fuzzKeys(f *testing.F) map[uint32][]*shard.Key {
	f.Helper()
	out := map[uint32][]*shard.Key{}
	for oid, value := range map[uint32]any{int2: int64(1), int4: int64(1), int8: int64(1), uuid: aUUID, text: "x", character: "x"} {
		for _, entry := range []config.ShardedTable{{}, {Hasher: "sha1"}, {Mapping: []config.Mapping{{Values: []any{value}, Shard: 1}, {Start: value, Shard: 2}}}} {
			entry.DataType = dataTypeOf(oid)
			out[oid] = append(out[oid], keyFor(f, entry, oid, fuzzShards))
		}
	}
	return out
}

// checkShard gives a shard of the cluster or a KeyError; ok tells that the value
// is one of the type.
func checkShard(t *testing.T, key *shard.Key, format shard.Format, value []byte) (got int, ok bool) {
	t.Helper()
	before := bytes.Clone(value)
	got, err := key.Shard(format, value, false)
	if !bytes.Equal(before, value) {
		t.Fatalf("%q has become %q", before, value)
	}
	if err == nil {
		if got < 0 || got >= fuzzShards {
			t.Fatalf("%q goes to shard %d", value, got)
		}
		return got, true
	}
	var failure *shard.KeyError
	if !errors.As(err, &failure) || got != -1 || failure.Kind == shard.NullKey {
		t.Fatalf("shard %d, %v", got, err)
	}
	if e := pgerror.From(err); len(e.Code) != 5 || strings.ContainsAny(e.Detail+e.Message, "\x00\r\n") {
		t.Fatalf("SQLSTATE %q, %q, DETAIL %q", e.Code, e.Message, e.Detail)
	}
	return got, failure.Kind == shard.Unmatched
}

// FuzzShardText: what is taken is written as PostgreSQL writes it, and goes
// where its binary form goes.
func FuzzShardText(f *testing.F) {
	for _, seed := range []string{"", "0", "-0", "1", "-1", "+1", "01", "32768", "-2147483648", "9223372036854775807", "9223372036854775808", aUUID, strings.ToUpper(aUUID), "x  ", "\x00", "\xff"} {
		f.Add([]byte(seed))
	}
	keys := fuzzKeys(f)
	f.Fuzz(func(t *testing.T, value []byte) {
		for oid, ofType := range keys {
			for _, key := range ofType {
				got, ok := checkShard(t, key, shard.Text, value)
				binary, valid := sent(oid, string(value))
				if ok != valid {
					t.Fatalf("type %d: %q is taken: %v, want %v", oid, value, ok, valid)
				}
				if valid {
					if other, _ := checkShard(t, key, shard.Binary, binary); got != other {
						t.Fatalf("type %d: %q goes to %d as text, %d as binary", oid, value, got, other)
					}
				}
			}
		}
	})
}

// sent is the binary form of a text that the type's output function may write.
func sent(oid uint32, value string) ([]byte, bool) {
	width := map[uint32]int{int2: 2, int4: 4, int8: 8}[oid]
	switch {
	case width > 0:
		v, err := strconv.ParseInt(value, 10, 8*width)
		return binaryOf(v, width), err == nil && strconv.FormatInt(v, 10) == value
	case oid == uuid:
		var b []byte
		_, err := fmt.Sscanf(strings.ReplaceAll(value, "-", ""), "%x", &b)
		if err != nil || len(b) != 16 {
			return nil, false
		}
		return b, fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]) == value
	}
	return []byte(value), true
}

// FuzzShardBinary: what is taken has the type's length.
func FuzzShardBinary(f *testing.F) {
	for _, seed := range []string{"", "1", "12", "1234", "12345678", "\xff\xff\xff\xff\xff\xff\xff\xff", "1234567890123456", "x  ", strings.Repeat("漢", 300)} {
		f.Add([]byte(seed))
	}
	keys := fuzzKeys(f)
	widths := map[uint32]int{int2: 2, int4: 4, int8: 8, uuid: 16}
	f.Fuzz(func(t *testing.T, value []byte) {
		for oid, ofType := range keys {
			for _, key := range ofType {
				width, fixed := widths[oid]
				if _, ok := checkShard(t, key, shard.Binary, value); ok != (!fixed || len(value) == width) {
					t.Fatalf("type %d: %q is taken: %v", oid, value, ok)
				}
			}
		}
	})
}

package shard_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/shard"
)

const (
	int2      = pgtype.Int2OID
	int4      = pgtype.Int4OID
	int8      = pgtype.Int8OID
	uuid      = pgtype.UUIDOID
	text      = pgtype.TextOID
	character = pgtype.BPCharOID
)

const aUUID = "0190163d-8694-739b-aea5-966c26f8ad91"

// keyFor is the key of a table that a single entry shards by its second column.
func keyFor(tb testing.TB, entry config.ShardedTable, oid uint32, shards int) *shard.Key {
	tb.Helper()
	entry.Database, entry.Column = "prod", "key"
	router, err := shard.NewRouter(&config.Config{ShardedTables: []config.ShardedTable{entry}}, "prod", shards)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := router.Table("public", "t", []shard.Column{{Name: "other", Type: int8}, {Name: "key", Type: oid}})
	if err != nil {
		tb.Fatal(err)
	}
	if key == nil || key.Column != "key" || key.Position != 1 {
		tb.Fatalf("the key is %+v", key)
	}
	return key
}

func mustShard(tb testing.TB, key *shard.Key, format shard.Format, value []byte) int {
	tb.Helper()
	got, err := key.Shard(format, value, false)
	if err != nil {
		tb.Fatalf("%c %q: %v", format, value, err)
	}
	return got
}

// binaryOf is the binary form of an integer of so many bytes.
func binaryOf(v int64, width int) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(v))[8-width:]
}

func binaryUUID(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestSHA1 has digests of sha1sum(1): its last eight digits modulo the shards.
func TestSHA1(t *testing.T) {
	t.Parallel()
	entry := func(dataType string) config.ShardedTable {
		return config.ShardedTable{DataType: dataType, Hasher: "sha1"}
	}
	for _, test := range []struct {
		value      string
		dataType   string
		oid        uint32
		of12, of7  int
		binaryForm []byte
	}{
		{"0", "bigint", int2, 4, 2, binaryOf(0, 2)},
		{"1", "bigint", int4, 7, 3, binaryOf(1, 4)},
		{"-1", "bigint", int2, 1, 0, binaryOf(-1, 2)},
		{"42", "bigint", int8, 10, 6, binaryOf(42, 8)},
		{"9223372036854775807", "bigint", int8, 5, 3, binaryOf(1<<63-1, 8)},
		{"-9223372036854775808", "bigint", int8, 11, 2, binaryOf(-1<<63, 8)},
		{"", "varchar", text, 5, 0, nil},
		{"Grüße", "varchar", text, 4, 6, []byte("Grüße")},
		{"Grüße  ", "varchar", character, 4, 6, []byte("Grüße")},
		{aUUID, "uuid", uuid, 2, 6, binaryUUID(t, aUUID)},
	} {
		for shards, want := range map[int]int{12: test.of12, 7: test.of7} {
			key := keyFor(t, entry(test.dataType), test.oid, shards)
			if got := mustShard(t, key, shard.Text, []byte(test.value)); got != want {
				t.Errorf("%q of %d shards: %d, want %d", test.value, shards, got, want)
			}
			if got := mustShard(t, key, shard.Binary, test.binaryForm); got != want {
				t.Errorf("%q of %d shards, binary: %d, want %d", test.value, shards, got, want)
			}
		}
	}
}

// TestMalformed has what PostgreSQL never writes.
func TestMalformed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		oid    uint32
		format shard.Format
		values []string
	}{
		{int8, shard.Text, []string{"", "-", "+1", "01", "00", "-0", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "1_000", "٣", "9223372036854775808", "-9223372036854775809",
			"18446744073709551617", "99999999999999999999", "1\x00", `\N`, strings.Repeat("1", 300)}},
		{int4, shard.Text, []string{"2147483648", "-2147483649"}},
		{int2, shard.Text, []string{"32768", "-32769"}},
		{int8, shard.Binary, []string{"", "1", "1234", "1234567", "123456789"}},
		{int4, shard.Binary, []string{"", "12", "123", "12345678"}},
		{int2, shard.Binary, []string{"", "1", "123", "1234"}},
		{uuid, shard.Text, []string{"", strings.ToUpper(aUUID), "{" + aUUID + "}", strings.ReplaceAll(aUUID, "-", ""), aUUID[1:], aUUID + "0",
			strings.Replace(aUUID, "a", "g", 1), strings.Replace(aUUID, "0", "/", 1), strings.ReplaceAll(aUUID, "-", "0"), strings.Repeat("-", 36)}},
		{uuid, shard.Binary, []string{"", "123456789012345", "12345678901234567", aUUID}},
		{int8, 'x', []string{"1", "12345678"}},
		{text, 0, []string{"1", ""}},
	} {
		key := keyFor(t, config.ShardedTable{DataType: dataTypeOf(test.oid)}, test.oid, 3)
		for _, value := range test.values {
			got, err := key.Shard(test.format, []byte(value), false)
			var failure *shard.KeyError
			if got != -1 || !errors.As(err, &failure) || failure.Kind != shard.Malformed || failure.Column != "key" || utf8.RuneCountInString(failure.Value) > 200 {
				t.Errorf("type %d, format %c, %q: shard %d, %#v", test.oid, test.format, value, got, err)
			}
		}
	}
}

func dataTypeOf(oid uint32) string {
	switch oid {
	case uuid:
		return "uuid"
	case text, character:
		return "varchar"
	}
	return "bigint"
}

// TestBounds has the first and last numbers of every width.
func TestBounds(t *testing.T) {
	t.Parallel()
	for oid, width := range map[uint32]int{int2: 2, int4: 4, int8: 8} {
		key := keyFor(t, config.ShardedTable{}, oid, 1009)
		low := int64(-1) << (8*width - 1)
		for _, v := range []int64{low, low + 1, -10, -1, 0, 1, 10, -(low + 1)} {
			a := mustShard(t, key, shard.Text, []byte(strconv.FormatInt(v, 10)))
			if b := mustShard(t, key, shard.Binary, binaryOf(v, width)); a != b {
				t.Errorf("%d of %d bytes: %d as text, %d as binary", v, width, a, b)
			}
		}
	}
}

// TestKeyErrors has what an operator reads of rows without a shard.
func TestKeyErrors(t *testing.T) {
	t.Parallel()
	list := []config.Mapping{{Values: []any{int64(1)}, Shard: 1}}
	weird := config.ShardedTable{Database: "prod", Name: `we"ird`, Column: `k"`, DataType: "varchar"}
	router, err := shard.NewRouter(&config.Config{ShardedTables: []config.ShardedTable{weird}}, "prod", 2)
	if err != nil {
		t.Fatal(err)
	}
	weirdKey, err := router.Table("S 1", `we"ird`, []shard.Column{{Name: `k"`, Type: text}})
	if err != nil {
		t.Fatal(err)
	}
	malformedUUID := keyFor(t, config.ShardedTable{DataType: "uuid"}, uuid, 2)
	for _, test := range []struct {
		name   string
		key    *shard.Key
		format shard.Format
		value  []byte
		null   bool
		want   pgerror.Error
	}{
		{"null", weirdKey, shard.Text, nil, true, pgerror.Error{
			Code:    "22004",
			Message: `sharding key "k""" of table "S 1"."we""ird" is null`,
			Detail:  `The table is sharded by [[sharded_tables]] entry 1 (table "we""ird", column "k"""): a row without a key belongs to no shard.`,
			Hint: `Give these rows a key, or list the table in [[omnisharded_tables]] if every shard needs it whole. ` +
				`They are: SELECT * FROM "S 1"."we""ird" WHERE "k""" IS NULL;`,
		}},
		{"unmatched", keyFor(t, config.ShardedTable{Mapping: list}, int4, 2), shard.Binary, binaryOf(-7, 4), false, pgerror.Error{
			Code:    "22023",
			Message: `sharding key "key" of table "public"."t" has a value that no mapping rule matches`,
			Detail:  `Key ("key")=(-7); the rules are those of [[sharded_tables]] entry 1 (column "key").`,
			Hint:    `Add a rule for it, or one without values, start and end for all that is left: { shard = 0 }.`,
		}},
		{"malformed text", malformedUUID, shard.Text, []byte("a\nb"), false, pgerror.Error{
			Code:    "22P02",
			Message: `sharding key "key" of table "public"."t" has a value that is not a valid uuid`,
			Detail:  `Key ("key")=(\x610a62); the table is sharded by [[sharded_tables]] entry 1 (column "key").`,
		}},
		{"malformed binary", malformedUUID, shard.Binary, []byte{0xff, 0}, false, pgerror.Error{
			Code:    "22P03",
			Message: `sharding key "key" of table "public"."t" has a value that is not a valid uuid`,
			Detail:  `Key ("key")=(\xff00); the table is sharded by [[sharded_tables]] entry 1 (column "key").`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := test.key.Shard(test.format, test.value, test.null)
			got := *pgerror.From(fmt.Errorf("%w", err))
			got.Cause = nil
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLongValueIsCut shows at most 200 characters of a value.
func TestLongValueIsCut(t *testing.T) {
	t.Parallel()
	key := keyFor(t, config.ShardedTable{DataType: "varchar", Mapping: []config.Mapping{{Values: []any{"x"}}}}, text, 2)
	for _, test := range []struct{ value, want string }{
		{strings.Repeat("é", 200), strings.Repeat("é", 200)},
		{strings.Repeat("é", 201), strings.Repeat("é", 197) + "..."},
		{strings.Repeat("😀", 100_000), strings.Repeat("😀", 197) + "..."},
		{"a\xffb", "a\uFFFDb"},
		{"\x00" + strings.Repeat("a", 300), `\x00` + strings.Repeat("61", 97)[:193] + "..."},
	} {
		_, err := key.Shard(shard.Binary, []byte(test.value), false)
		var failure *shard.KeyError
		if !errors.As(err, &failure) || failure.Value != test.want {
			t.Errorf("%v shows %q, want %q", err, failure.Value, test.want)
		}
	}
}

// TestValueIsLeftAlone keeps Shard from changing the caller's buffer.
func TestValueIsLeftAlone(t *testing.T) {
	t.Parallel()
	value := []byte("abc   ")
	mustShard(t, keyFor(t, config.ShardedTable{DataType: "varchar"}, character, 2), shard.Text, value)
	if !bytes.Equal(value, []byte("abc   ")) {
		t.Errorf("the value is now %q", value)
	}
}

// hotKeys are keys with a value each, for allocations and benchmarks.
func hotKeys(tb testing.TB) map[string]func() (int, error) {
	tb.Helper()
	numbers := []config.Mapping{{Values: []any{int64(1)}, Shard: 1}, {Start: int64(100), Shard: 2}, {}}
	strings := []config.Mapping{{Values: []any{"a"}, Shard: 1}, {Start: "k", Shard: 2}, {}}
	uuids := []config.Mapping{{Start: aUUID, Shard: 1}, {}}
	long := []byte("a value that is longer than the thirty-two bytes of a temporary buffer")
	out := map[string]func() (int, error){}
	for _, c := range []struct {
		name   string
		entry  config.ShardedTable
		oid    uint32
		format shard.Format
		value  []byte
	}{
		{"bigint text", config.ShardedTable{}, int8, shard.Text, []byte("-9223372036854775808")},
		{"bigint binary", config.ShardedTable{}, int8, shard.Binary, binaryOf(1<<40, 8)},
		{"integer binary", config.ShardedTable{}, int4, shard.Binary, binaryOf(1<<20, 4)},
		{"uuid text", config.ShardedTable{DataType: "uuid"}, uuid, shard.Text, []byte(aUUID)},
		{"uuid binary", config.ShardedTable{DataType: "uuid"}, uuid, shard.Binary, binaryUUID(tb, aUUID)},
		{"text", config.ShardedTable{DataType: "varchar"}, text, shard.Text, long},
		{"bigint sha1", config.ShardedTable{Hasher: "sha1"}, int8, shard.Text, []byte("-9223372036854775808")},
		{"text sha1", config.ShardedTable{DataType: "varchar", Hasher: "sha1"}, text, shard.Text, long},
		{"uuid sha1", config.ShardedTable{DataType: "uuid", Hasher: "sha1"}, uuid, shard.Text, []byte(aUUID)},
		{"bigint mapping", config.ShardedTable{Mapping: numbers}, int8, shard.Text, []byte("50")},
		{"text mapping", config.ShardedTable{DataType: "varchar", Mapping: strings}, text, shard.Text, long},
		{"uuid mapping", config.ShardedTable{DataType: "uuid", Mapping: uuids}, uuid, shard.Text, []byte(aUUID)},
	} {
		key := keyFor(tb, c.entry, c.oid, 3)
		out[c.name] = func() (int, error) { return key.Shard(c.format, c.value, false) }
	}
	return out
}

// TestNoAllocation cannot be parallel: it counts those of the process.
func TestNoAllocation(t *testing.T) { //nolint:paralleltest // see above
	for name, f := range hotKeys(t) {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := f(); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkShard(b *testing.B) {
	for name, f := range hotKeys(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = f()
			}
		})
	}
}

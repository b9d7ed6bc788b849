package shard_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// unmatched stands for a KeyError of that kind.
const unmatched = -2

// shardOf gives unmatched for such a KeyError; any other error ends the test.
func shardOf(tb testing.TB, key *shard.Key, format shard.Format, value []byte) int {
	tb.Helper()
	got, err := key.Shard(format, value, false)
	var failure *shard.KeyError
	switch {
	case err == nil:
		return got
	case errors.As(err, &failure) && failure.Kind == shard.Unmatched && got == -1:
		return unmatched
	}
	tb.Fatalf("%c %q: %v", format, value, err)
	return 0
}

// TestMapping has the rules of every data_type: the list comes before the
// ranges, those before what is left, whatever their order in the file.
func TestMapping(t *testing.T) {
	t.Parallel()
	const low, middle, high = "00000000-0000-0000-0000-000000000001", "7fffffff-0000-0000-0000-000000000000", "80000000-0000-0000-0000-000000000000"
	for _, test := range []struct {
		name  string
		entry config.ShardedTable
		oid   uint32
		want  map[string]int
	}{
		{"list", config.ShardedTable{Mapping: []config.Mapping{
			{Values: []any{int64(1), int64(2), int64(-3)}, Shard: 0}, {Values: []any{int64(4), int64(4)}, Shard: 3}, {Values: []any{int64(4)}, Shard: 3}}},
			int8, map[string]int{"1": 0, "2": 0, "-3": 0, "4": 3, "3": unmatched, "0": unmatched}},
		{"ranges", config.ShardedTable{Mapping: []config.Mapping{
			{Start: int64(100), End: int64(200), Shard: 1}, {Start: int64(-5), End: int64(0), Shard: 2}, {Start: int64(200), End: int64(201), Shard: 3}}},
			int4, map[string]int{"99": unmatched, "100": 1, "199": 1, "200": 3, "201": unmatched, "-6": unmatched, "-5": 2, "-1": 2, "0": unmatched}},
		{"open ranges", config.ShardedTable{Mapping: []config.Mapping{{Start: int64(10), Shard: 1}, {End: int64(-10), Shard: 2}}},
			int8, map[string]int{"9223372036854775807": 1, "10": 1, "9": unmatched, "-10": unmatched, "-11": 2, "-9223372036854775808": 2}},
		{"all", config.ShardedTable{Mapping: []config.Mapping{
			{Shard: 3}, {Start: int64(0), End: int64(10), Shard: 1}, {Values: []any{int64(5)}, Shard: 2}}},
			int2, map[string]int{"5": 2, "4": 1, "10": 3, "-1": 3}},
		{"mapping before hasher", config.ShardedTable{Hasher: "sha1", Mapping: []config.Mapping{{Shard: 2}}}, int8, map[string]int{"0": 2, "1": 2}},
		{"varchar", config.ShardedTable{DataType: "varchar", Mapping: []config.Mapping{
			{Values: []any{"", "Grüße"}, Shard: 1}, {Start: "a", End: "b", Shard: 2}, {Start: "b", End: "c", Shard: 3}}},
			text, map[string]int{"": 1, "Grüße": 1, "a": 2, "azzz": 2, "a ": 2, "b": 3, "A": unmatched, "c": unmatched, "Grüße ": unmatched, "é": unmatched}},
		{"character", config.ShardedTable{DataType: "varchar", Mapping: []config.Mapping{{Values: []any{"ab"}, Shard: 1}}},
			character, map[string]int{"ab": 1, "ab    ": 1, " ab": unmatched}},
		{"uuid", config.ShardedTable{DataType: "uuid", Mapping: []config.Mapping{
			{Values: []any{strings.ToUpper(aUUID)}, Shard: 3}, {End: middle, Shard: 1}, {Start: high, Shard: 2}}},
			uuid, map[string]int{aUUID: 3, low: 1, middle: unmatched, high: 2, "ffffffff-ffff-ffff-ffff-ffffffffffff": 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			key := keyFor(t, test.entry, test.oid, 4)
			for value, want := range test.want {
				if got := shardOf(t, key, shard.Text, []byte(value)); got != want {
					t.Errorf("%q goes to %d, want %d", value, got, want)
				}
				if got := shardOf(t, key, shard.Binary, binaryForm(t, test.oid, value)); got != want {
					t.Errorf("%q in binary goes to %d, want %d", value, got, want)
				}
			}
		})
	}
}

// binaryForm is what the type's send function makes of a text.
func binaryForm(tb testing.TB, oid uint32, value string) []byte {
	tb.Helper()
	width := map[uint32]int{int2: 2, int4: 4, int8: 8}[oid]
	switch {
	case oid == uuid:
		return binaryUUID(tb, value)
	case width == 0:
		return []byte(value)
	}
	v, err := strconv.ParseInt(value, 10, 8*width)
	if err != nil {
		tb.Fatal(err)
	}
	return binaryOf(v, width)
}

// TestOlderMappings go to the entries with their table and column, and with
// their schema if they have one.
func TestOlderMappings(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{
		ShardedTables: []config.ShardedTable{
			{Database: "prod", Column: "id"},
			{Database: "prod", Column: "id", Name: "t"},
			{Database: "prod", Column: "id", Name: "t", Schema: "s"},
			{Database: "prod", Column: "id", Name: "hashed"},
		},
		ShardedMappings: []config.ShardedMapping{
			{Database: "prod", Column: "id", Kind: "list", Values: []any{int64(1)}, Shard: 1},
			{Database: "prod", Column: "id", Kind: "default", Shard: 0},
			{Database: "prod", Column: "id", Table: "t", Kind: "range", End: int64(10), Shard: 2},
			{Database: "prod", Column: "id", Table: "t", Schema: "s", Kind: "default", Shard: 3},
			{Database: "other", Column: "id", Kind: "nonsense", Shard: 99},
		},
	}
	router, err := shard.NewRouter(cfg, "prod", 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		schema, table, value string
		want                 int
	}{
		{"public", "any", "1", 1},
		{"public", "any", "2", 0},
		{"public", "t", "1", 2},
		{"public", "t", "10", unmatched},
		{"s", "t", "1", 2},
		{"s", "t", "10", 3},
		{"s", "hashed", "1", mustShard(t, keyFor(t, config.ShardedTable{}, int8, 4), shard.Text, []byte("1"))},
	} {
		key, err := router.Table(test.schema, test.table, columnsOf("id"))
		if err != nil {
			t.Fatal(err)
		}
		if got := shardOf(t, key, shard.Text, []byte(test.value)); got != test.want {
			t.Errorf("%s of %s.%s goes to %d, want %d", test.value, test.schema, test.table, got, test.want)
		}
	}
}

package shard_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/shard"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// moduli are numbers of shards.
var moduli = []int{2, 3, 7, 16}

// TestPartition asks servers for the partition of thousands of values of every
// type, in both formats.
func TestPartition(t *testing.T) {
	t.Parallel()
	for _, installation := range pgtest.Majors(t) {
		t.Run(strconv.Itoa(installation.Major), func(t *testing.T) {
			t.Parallel()
			db := pgtest.Shared(t, installation.Major).CreateDatabase(t)
			db.Exec(t, "CREATE DOMAIN customer AS bigint CHECK (VALUE <> 0)")
			for i, test := range []struct {
				sql, dataType string
				values        func(*rand.Rand) string
			}{
				{"smallint", "bigint", integers(16)},
				{"integer", "bigint", integers(32)},
				{"bigint", "bigint", integers(64)},
				{"customer", "bigint", positive},
				{"uuid", "uuid", uuids},
				{"text", "varchar", texts(60)},
				{"varchar(200)", "varchar", texts(200)},
				{"varchar", "varchar", texts(3000)},
				{"character(30)", "varchar", texts(30)},
				{"name", "varchar", texts(15)},
			} {
				t.Run(test.sql, func(t *testing.T) {
					t.Parallel()
					random := rand.New(rand.NewPCG(7, uint64(i)))
					values := make([]string, 3000)
					for n := range values {
						values[n] = test.values(random)
					}
					checkPartitions(t, db, test.sql, test.dataType, values)
				})
			}
		})
	}
}

// checkPartitions compares Key.Shard with satisfies_hash_partition.
func checkPartitions(t *testing.T, db *pgtest.Database, sql, dataType string, values []string) {
	t.Helper()
	conn := db.Connect(t)
	parent := pgtest.Quote("by " + sql)
	if _, err := conn.Exec(t.Context(), fmt.Sprintf("CREATE TABLE %s (k %s) PARTITION BY HASH (k)", parent, sql)); err != nil {
		t.Fatal(err)
	}
	for _, shards := range moduli {
		rows, err := conn.Query(t.Context(), fmt.Sprintf(`
SELECT k, k, (SELECT string_agg(r::text, ' ') FROM generate_series(0, $2 - 1) AS r WHERE satisfies_hash_partition($3::text::regclass, $2, r, k))
FROM unnest($1::text[]) AS t (v), LATERAL (SELECT v::%s AS k OFFSET 0) AS typed`, sql),
			pgx.QueryResultFormats{pgx.TextFormatCode, pgx.BinaryFormatCode, pgx.TextFormatCode}, values, int32(shards), parent)
		if err != nil {
			t.Fatal(err)
		}
		var key *shard.Key
		seen, checked := map[int]bool{}, 0
		for rows.Next() {
			if key == nil {
				key = keyFor(t, config.ShardedTable{DataType: dataType}, rows.FieldDescriptions()[0].DataTypeOID, shards)
			}
			raw := rows.RawValues()
			want, err := strconv.Atoi(string(raw[2]))
			if err != nil {
				t.Fatalf("%q has the partitions %q", raw[0], raw[2])
			}
			for i, format := range []shard.Format{shard.Text, shard.Binary} {
				if got, err := key.Shard(format, raw[i], false); err != nil || got != want {
					t.Fatalf("%d shards: %s %q in format %c goes to shard %d (%v), PostgreSQL has it in %d", shards, sql, raw[0], format, got, err, want)
				}
			}
			seen[want], checked = true, checked+1
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if checked != len(values) || len(seen) != shards {
			t.Errorf("%d shards: %d values were checked, on %d shards", shards, checked, len(seen))
		}
	}
}

// integers are near zero, near the bounds and anywhere between.
func integers(bits uint) func(*rand.Rand) string {
	return func(random *rand.Rand) string {
		v := int64(random.Uint64()) >> (64 - bits) >> random.UintN(bits)
		switch random.UintN(10) {
		case 0:
			v = math.MinInt64>>(64-bits) + random.Int64N(3)
		case 1:
			v = math.MaxInt64>>(64-bits) - random.Int64N(3)
		}
		return strconv.FormatInt(v, 10)
	}
}

func positive(random *rand.Rand) string { return strconv.FormatInt(1+random.Int64N(math.MaxInt64), 10) }

func uuids(random *rand.Rand) string {
	return fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64()>>random.UintN(64))
}

// texts have up to so many characters of up to four bytes, with blanks at the end.
func texts(most int) func(*rand.Rand) string {
	alphabet := []rune("aZ09 '\"\\\t\néß€漢😀")
	return func(random *rand.Rand) string {
		var b strings.Builder
		for range random.IntN(most + 1) {
			b.WriteRune(alphabet[random.IntN(len(alphabet))])
		}
		s := []rune(b.String())
		for i := len(s) - random.IntN(len(s)+1)/4; i < len(s); i++ {
			s[i] = ' '
		}
		return string(s)
	}
}

// TestKeysOfEqualNumbers shows why an integer column may become a bigint on
// its way, and join one: PostgreSQL hashes them alike, and so do we.
func TestKeysOfEqualNumbers(t *testing.T) {
	t.Parallel()
	small := keyFor(t, config.ShardedTable{}, int2, 16)
	middle := keyFor(t, config.ShardedTable{}, int4, 16)
	big := keyFor(t, config.ShardedTable{}, int8, 16)
	for v := math.MinInt16; v <= math.MaxInt16; v++ {
		text := []byte(strconv.Itoa(v))
		a, b, c := mustShard(t, small, shard.Text, text), mustShard(t, middle, shard.Text, text), mustShard(t, big, shard.Text, text)
		if a != b || b != c {
			t.Fatalf("%d goes to %d as smallint, %d as integer, %d as bigint", v, a, b, c)
		}
	}
}

package stream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

// received is a transaction as a test compares it.
type received struct {
	XID           uint32
	Final, End    LSN
	Committed     time.Time
	Rows, Bytes   int64
	Changes       []string
	spooled, live bool
}

// readUntil reads up to the transaction that inserts into the table done.
func readUntil(t testing.TB, r *Reader) []received {
	t.Helper()
	var out []received
	for {
		tx := next(t, r)
		got := received{tx.XID, tx.FinalLSN, tx.EndLSN, tx.CommitTime, tx.Rows, tx.Bytes, lines(t, tx), tx.Spool != nil, false}
		if again := lines(t, tx); !cmp.Equal(got.Changes, again) {
			t.Errorf("a second reading differs: %s", cmp.Diff(got.Changes, again))
		}
		tx.Release()
		if len(got.Changes) == 1 && strings.HasPrefix(got.Changes[0], "I done") {
			return out
		}
		out = append(out, got)
	}
}

// steps runs statements on sessions that are opened when first named.
func steps(t *testing.T, d *pgtest.Database, script [][2]string) {
	t.Helper()
	sessions := map[string]*pgx.Conn{}
	for _, step := range script {
		if sessions[step[0]] == nil {
			sessions[step[0]] = d.Connect(t)
			if _, err := sessions[step[0]].Exec(t.Context(), "SET lock_timeout = '20s'"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := sessions[step[0]].PgConn().Exec(t.Context(), step[1]).ReadAll(); err != nil {
			t.Fatalf("%s: %s: %v", step[0], step[1], err)
		}
	}
}

// many inserts rows that are too many for logical_decoding_work_mem.
func many(from, n int) string {
	return fmt.Sprintf("INSERT INTO t SELECT i, repeat('%d', 50) FROM generate_series(%d, %d) i", from, from, from+n-1)
}

// The same transactions come in whatever way: at commit or in progress, kept in
// memory or in files; and subtransactions that were rolled back do not come.
func TestTransactionsInProgress(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, `CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text); CREATE TABLE w (id int PRIMARY KEY, v text); CREATE TABLE done (i int PRIMARY KEY)`)
		d.Exec(t, "ALTER DATABASE "+pgtest.Quote(d.Name)+" SET logical_decoding_work_mem = '64kB'")
		steps(t, d, [][2]string{
			{"a", "BEGIN"}, {"a", many(10000, 1500)},
			{"b", "BEGIN"}, {"b", "INSERT INTO u VALUES (1, 'before')"}, {"b", "SAVEPOINT s1"}, {"b", many(20000, 1500)},
			{"c", "INSERT INTO u VALUES (2, 'small one in between')"},
			{"b", "SAVEPOINT s2"}, {"b", many(30000, 1500)}, {"b", "RELEASE s2"}, {"b", "INSERT INTO u VALUES (3, 'rolled back with s1')"},
			{"a", "SAVEPOINT s1"}, {"a", many(40000, 1500)}, {"a", "ROLLBACK TO s1"}, {"a", many(40000, 10)},
			{"b", "ROLLBACK TO s1"}, {"b", "INSERT INTO u VALUES (4, 'after')"}, {"b", many(50000, 1500)},
			{"d", "BEGIN"}, {"d", many(60000, 3000)}, {"d", "SAVEPOINT s1"}, {"d", many(70000, 10)}, {"d", "ROLLBACK"},
			// A shape that only the transaction itself ever sees, and one that stays.
			{"e", "BEGIN"}, {"e", "SAVEPOINT s1"}, {"e", "ALTER TABLE w ADD gone int DEFAULT 1"}, {"e", "INSERT INTO w SELECT i, 'three columns' FROM generate_series(1000, 3000) i"},
			{"e", "ROLLBACK TO s1"}, {"e", "INSERT INTO w SELECT i, 'two columns' FROM generate_series(4000, 6000) i"},
			{"e", "SELECT pg_logical_emit_message(true, 'pgdrover.in', repeat('m', 1000))"}, {"e", "UPDATE w SET v = v || '!' WHERE id > 5000"}, {"e", "COMMIT"},
			{"k", "BEGIN"}, {"k", "INSERT INTO w SELECT i, 'two columns' FROM generate_series(10000, 12000) i"}, {"k", "ALTER TABLE w ADD stays int DEFAULT 2"},
			{"k", "INSERT INTO w SELECT i, 'three columns' FROM generate_series(13000, 15000) i"}, {"k", "COMMIT"},
			{"c", "INSERT INTO w VALUES (5, 'after k', 3)"},
			{"b", "COMMIT"}, {"a", "COMMIT"},
			{"f", "BEGIN"}, {"f", many(80000, 3000)}, {"f", "TRUNCATE t"}, {"f", many(90000, 5)}, {"f", "PREPARE TRANSACTION 'two_phase_" + d.Name + "'"},
			{"c", "INSERT INTO u VALUES (6, 'before commit prepared')"},
			{"f", "COMMIT PREPARED 'two_phase_" + d.Name + "'"},
			{"g", "BEGIN"}, {"g", many(100000, 3000)}, {"g", "PREPARE TRANSACTION 'gone_" + d.Name + "'"}, {"g", "ROLLBACK PREPARED 'gone_" + d.Name + "'"},
			// Everything in it is rolled back, though it was sent.
			{"h", "BEGIN"}, {"h", "SAVEPOINT s1"}, {"h", many(110000, 3000)}, {"h", "SELECT pg_logical_emit_message(true, 'pgdrover.in', 'rolled back')"}, {"h", "ROLLBACK TO s1"}, {"h", "COMMIT"},
			{"c", "INSERT INTO done VALUES (1)"},
		})
		o := options(t, d, slot)
		o.SpillMemory = 1 << 30
		first := openReader(t, o)
		want := readUntil(t, first)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		wanted := []string{
			"1: I u N(2,small one in between)",
			"3002: I w N(4000,two columns)",
			"4002: I w N(10000,two columns)",
			"1: I w N(5,after k,3)",
			"1502: I u N(1,before)",
			"1510: I t N(10000,1000010000…250)",
			"1: I u N(6,before commit prepared)",
			"3006: I t N(80000,8000080000…250)",
		}
		if diff := cmp.Diff(wanted, summarize(want)); diff != "" {
			t.Error(diff)
		}
		for _, streaming := range []bool{false, true} {
			for _, spill := range []int64{1, 300 << 10, 1 << 30} {
				t.Run(fmt.Sprintf("streaming=%v/spill=%d", streaming, spill), func(t *testing.T) {
					o := options(t, d, slot)
					o.Streaming, o.SpillMemory, o.QueueMemory = streaming, spill, 1<<20
					r := openReader(t, o)
					got := readUntil(t, r)
					spooled := 0
					for i := range got {
						if got[i].spooled {
							spooled++
						}
						got[i].spooled = false
					}
					if diff := cmp.Diff(want, got, cmp.AllowUnexported(received{})); diff != "" {
						t.Error(diff)
					}
					if (spill == 1) != (spooled == len(want)) || spill == 1<<30 && spooled > 0 || spill == 300<<10 && spooled == 0 {
						t.Errorf("%d transactions were spooled", spooled)
					}
					if (r.Stats().SpilledBytes > 0) != (spooled > 0) {
						t.Errorf("%d bytes spilled", r.Stats().SpilledBytes)
					}
				})
			}
		}
	})
}

func summarize(transactions []received) []string {
	var out []string
	for _, tx := range transactions {
		out = append(out, fmt.Sprintf("%d: %s", len(tx.Changes), tx.Changes[0]))
	}
	return out
}

// A table that is altered, put back with a savepoint and altered again cannot be
// decoded by servers while the transaction is in progress, only when it is
// committed: what to do then is told by a kind of its own.
func TestAlterAbortAlter(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, `CREATE TABLE w (id int PRIMARY KEY, v text); CREATE TABLE done (i int PRIMARY KEY)`)
		d.Exec(t, "ALTER DATABASE "+pgtest.Quote(d.Name)+" SET logical_decoding_work_mem = '64kB'")
		steps(t, d, [][2]string{
			{"e", "BEGIN"}, {"e", "SAVEPOINT s1"}, {"e", "ALTER TABLE w ADD gone int DEFAULT 1"}, {"e", "INSERT INTO w SELECT i, 'three columns' FROM generate_series(1000, 3000) i"},
			{"e", "ROLLBACK TO s1"}, {"e", "INSERT INTO w SELECT i, 'two columns' FROM generate_series(4000, 6000) i"}, {"e", "ALTER TABLE w ADD stays int DEFAULT 2"}, {"e", "COMMIT"},
			{"e", "INSERT INTO done VALUES (1)"},
		})
		o := options(t, d, slot)
		o.Streaming = true
		r := openReader(t, o)
		if err := failure(t, r); !errors.Is(err, ErrInProgress) || pgerror.From(err).Hint == "" {
			t.Errorf("in progress: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		o.Streaming = false
		if got := summarize(readUntil(t, openReader(t, o))); len(got) != 1 || got[0] != "2001: I w N(4000,two columns)" {
			t.Errorf("at commit: %q", got)
		}
	})
}

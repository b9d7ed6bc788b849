package stream

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// Messages that are transactional come where they were written, those that are
// not between the transactions, and both tell the position that the one who
// wrote them was given. Others leave no trace.
func TestMessages(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY); CREATE TABLE done (i int PRIMARY KEY)`)
		a, b := d.Connect(t), d.Connect(t)
		emit := func(transactional bool, prefix, content string) string {
			t.Helper()
			var at string
			if err := a.QueryRow(t.Context(), "SELECT pg_logical_emit_message($1, $2, $3)::text", transactional, prefix, content).Scan(&at); err != nil {
				t.Fatal(err)
			}
			return at
		}
		exec := func(sql string) {
			t.Helper()
			if _, err := a.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		large := strings.Repeat("é", 300<<10)
		var at []string
		exec("INSERT INTO t VALUES (1)")
		exec("BEGIN")
		exec("INSERT INTO t VALUES (2)")
		at = append(at, emit(true, "pgdrover.a", "in"))
		if _, err := b.Exec(t.Context(), "INSERT INTO t VALUES (3)"); err != nil {
			t.Fatal(err)
		}
		at = append(at, emit(false, "pgdrover.b", "before its transaction"))
		exec("INSERT INTO t VALUES (4)")
		emit(true, "foreign.pgdrover.", "x")
		at = append(at, emit(true, "pgdrover.", large))
		exec("COMMIT")
		exec("BEGIN")
		emit(true, "pgdrover.a", "rolled back")
		at = append(at, emit(false, "pgdrover.c", ""))
		exec("ROLLBACK")
		emit(true, "foreign", "a transaction of nothing else")
		at = append(at, emit(true, "pgdrover.d", "a transaction of it alone"))
		exec("INSERT INTO done VALUES (1)")
		want := []string{
			"I t N(1)",
			"I t N(3)",
			"mark M pgdrover.b before its transaction at " + at[1],
			"I t N(2)", "M pgdrover.a in at " + at[0], "I t N(4)", "M pgdrover.  at " + at[2] + fmt.Sprintf(" %d bytes", len(large)),
			"mark M pgdrover.c  at " + at[3],
			"M pgdrover.d a transaction of it alone at " + at[4],
		}
		for _, spill := range []int64{1, 1 << 30} {
			o := options(t, d, slot)
			o.SpillMemory = spill
			r := openReader(t, o)
			var got []string
			var last LSN
			for !slices.Contains(got, "I done N(1)") {
				tx := nextOrMark(t, r)
				if tx.EndLSN < last {
					t.Errorf("%s after %s", tx.EndLSN, last)
				}
				last = tx.EndLSN
				must(t, tx.Each(func(c *Change) error {
					s := line(c)
					if m := c.Logical; m != nil {
						if s = strings.TrimSuffix(s, large) + " at " + m.LSN.String(); len(m.Content) > 1000 {
							s += fmt.Sprintf(" %d bytes", len(m.Content))
						}
						if tx.Mark() {
							s = "mark " + s
						}
					}
					got = append(got, s)
					return nil
				}))
				tx.Release()
			}
			if diff := cmp.Diff(append(want, "I done N(1)"), got); diff != "" {
				t.Errorf("spill %d: %s", spill, diff)
			}
			if n := r.Stats().Transactions; n != 5 {
				t.Errorf("%d transactions, want 5", n)
			}
			must(t, r.Close())
		}
	})
}

// A message that is not transactional and comes in the midst of a transaction
// would tell a wrong position: it is refused. One of others is not even looked at.
func TestMessageOutOfPlace(t *testing.T) {
	t.Parallel()
	body := func(flags byte, prefix string) []byte {
		return slices.Concat([]byte{byte(Message), flags, 0, 0, 0, 0, 0, 0, 0, 9}, []byte(prefix), []byte{0, 0, 0, 0, 1, 'x'})
	}
	begin := make([]byte, 1+8+8+4)
	begin[0] = beginMessage
	for name, test := range map[string]struct {
		before, message []byte
		refused         bool
		given           int
	}{
		"a note":                             {nil, body(0, "pgdrover.x"), false, 1},
		"a note in a transaction":            {begin, body(0, "pgdrover.x"), true, 0},
		"transactional, outside of one":      {nil, body(1, "pgdrover.x"), true, 0},
		"transactional":                      {begin, body(1, "pgdrover.x"), false, 0},
		"another's note in a transaction":    {begin, body(0, "pgdroverx"), false, 0},
		"another's, outside of one":          {nil, body(1, "other"), false, 0},
		"another's, malformed":               {nil, body(1, "other")[:12], false, 0},
		"malformed":                          {nil, body(0, "pgdrover.x")[:22], true, 0},
		"the heartbeat":                      {nil, body(0, heartbeatPrefix), false, 0},
		"shorter than its flags":             {nil, []byte{byte(Message), 0}, false, 0},
		"a note with nothing behind the dot": {nil, body(0, "pgdrover."), false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAssembler(nil, 1<<20, true)
			a.block, a.received = newBlock(blockSize), time.Now()
			if test.before != nil {
				must(t, a.message(test.before))
			}
			if err := a.message(test.message); (err != nil) != test.refused {
				t.Errorf("error %v", err)
			}
			if len(a.out) != test.given || test.given > 0 && a.mark.lsn != 9 {
				t.Errorf("%d given, mark %s", len(a.out), a.mark.lsn)
			}
		})
	}
}

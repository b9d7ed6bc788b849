package apply_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// movable makes values of the table moved as a stream has them.
type movable struct {
	k, id func(n int) val
	v, b  func(s string) val
	d     func(n int) val
}

var movables = map[string]movable{
	"text": {
		k: num, id: num, v: text, b: func(s string) val { return text(fmt.Sprintf(`\x%x`, s)) }, d: num,
	},
	"binary": {
		k: func(n int) val { return bin8(int64(n)) }, id: func(n int) val { return bin4(int32(n)) }, v: binText, b: binText, d: binNumeric,
	},
}

// binNumeric is the binary form of a numeric between 1 and 9999.
func binNumeric(n int) val { return raw([]byte{0, 1, 0, 0, 0, 0, 0, 0, byte(n >> 8), byte(n)}) }

// keysOn gives a key on each of three shards.
func keysOn(t testing.TB) (keys [3]int) {
	for k := 1; slices.Contains(keys[:], 0); k++ {
		keys[shardOf(t, int64(k))] = k
	}
	return keys
}

// wantMoved compares the shards' rows: "shard: k id v b d".
func (s *three) wantMoved(want ...string) {
	s.t.Helper()
	var got []string
	for i, db := range s.dbs {
		for _, row := range pgtest.Column[string](s.t, db, `SELECT concat_ws(' ', k, id, v, convert_from(b, 'UTF8'), d) FROM moved ORDER BY id, k`) {
			got = append(got, fmt.Sprintf("%d: %s", i, row))
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		s.t.Errorf("the rows are\n%s\ninstead of\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wantCarried compares the shards' numbers of carried rows.
func (s *three) wantCarried(want string) {
	s.t.Helper()
	var got []string
	for _, db := range s.dbs {
		got = append(got, fmt.Sprint(pgtest.Value[int64](s.t, db, "SELECT count(*) FROM pgdrover.carried")))
	}
	if strings.Join(got, " ") != want {
		s.t.Errorf("carried rows: %s, not %s", got, want)
	}
}

func TestMovedRowsAreCompleted(t *testing.T) {
	t.Parallel()
	for name, m := range movables {
		k := keysOn(t)
		long := strings.Repeat("x", 10_000)
		row := func(shard, id int, v, b val) []val { return []val{m.k(k[shard]), m.id(id), v, b, m.d(7)} }
		old := func(shard, id int) []val { return []val{m.k(k[shard]), m.id(id), null, null, null} }
		at := func(shard, id int, v, b string) string {
			return fmt.Sprintf("%d: %d %d %s %s 7", shard, k[shard], id, v, b)
		}
		for _, c := range []struct {
			name   string
			change func(r *stream.Relation) []stream.Change
			want   []string
		}{
			{"once", func(r *stream.Relation) []stream.Change {
				return []stream.Change{updOld(r, old(0, 1), m.k(k[1]), m.id(1), same, same, same)}
			}, []string{at(1, 1, "a", "b"), at(1, 2, "c", "d")}},
			{"changed before", func(r *stream.Relation) []stream.Change {
				return []stream.Change{upd(r, m.k(k[0]), m.id(1), m.v(long), same, m.d(7)), updOld(r, old(0, 1), m.k(k[1]), m.id(1), same, same, m.d(7))}
			}, []string{at(1, 1, long, "b"), at(1, 2, "c", "d")}},
			{"new identity before", func(r *stream.Relation) []stream.Change {
				return []stream.Change{updOld(r, old(0, 1), m.k(k[0]), m.id(5), same, same, m.d(7)), updOld(r, old(0, 5), m.k(k[2]), m.id(5), same, m.b("e"), m.d(7))}
			}, []string{at(1, 2, "c", "d"), at(2, 5, "a", "e")}},
			{"twice", func(r *stream.Relation) []stream.Change {
				return []stream.Change{
					updOld(r, old(0, 1), m.k(k[1]), m.id(1), same, same, m.d(7)), upd(r, m.k(k[1]), m.id(1), m.v("n"), same, m.d(7)),
					updOld(r, old(1, 1), m.k(k[2]), m.id(1), same, same, m.d(7)),
				}
			}, []string{at(1, 2, "c", "d"), at(2, 1, "n", "b")}},
			{"there and back", func(r *stream.Relation) []stream.Change {
				return []stream.Change{updOld(r, old(0, 1), m.k(k[1]), m.id(1), same, m.b("e"), m.d(7)), updOld(r, old(1, 1), m.k(k[0]), m.id(1), same, same, m.d(7))}
			}, []string{at(0, 1, "a", "e"), at(1, 2, "c", "d")}},
			{"swapped", func(r *stream.Relation) []stream.Change {
				return []stream.Change{ // both are to have the other's key
					updOld(r, old(0, 1), m.k(k[2]), m.id(9), same, same, m.d(7)), updOld(r, old(1, 2), m.k(k[0]), m.id(1), same, same, m.d(7)),
					updOld(r, old(2, 9), m.k(k[1]), m.id(2), same, same, m.d(7)),
				}
			}, []string{at(0, 1, "c", "d"), at(1, 2, "a", "b")}},
			{"inserted before", func(r *stream.Relation) []stream.Change {
				return []stream.Change{
					del(r, old(0, 1)...), ins(r, row(0, 1, m.v("n"), m.b("m"))...),
					updOld(r, old(0, 1), m.k(k[2]), m.id(1), same, same, m.d(7)),
				}
			}, []string{at(1, 2, "c", "d"), at(2, 1, "n", "m")}},
			{"where another was for a moment", func(r *stream.Relation) []stream.Change {
				return []stream.Change{
					updOld(r, old(0, 1), row(0, 5, m.v("a"), m.b("b"))...), updOld(r, old(0, 5), row(0, 6, m.v("n"), m.b("m"))...),
					updOld(r, old(1, 2), m.k(k[0]), m.id(5), same, same, m.d(7)),
				}
			}, []string{at(0, 5, "c", "d"), at(0, 6, "n", "m")}},
			{"step by step into another's place", func(r *stream.Relation) []stream.Change {
				return []stream.Change{
					updOld(r, old(1, 2), row(1, 9, m.v("n"), m.b("m"))...), updOld(r, old(0, 1), m.k(k[0]), m.id(3), same, same, m.d(7)),
					updOld(r, old(0, 3), m.k(k[0]), m.id(2), same, same, m.d(7)), updOld(r, old(0, 2), m.k(k[1]), m.id(2), same, same, m.d(7)),
				}
			}, []string{at(1, 2, "a", "b"), at(1, 9, "n", "m")}},
		} {
			for _, spool := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s,%s,spool=%t", name, c.name, spool), func(t *testing.T) {
					t.Parallel()
					s := sharded(t)
					r := s.rel["moved"]
					tx := s.clock.tx(ins(r, row(0, 1, m.v("a"), m.b("b"))...), ins(r, row(1, 2, m.v("c"), m.b("d"))...))
					move := s.clock.tx(c.change(r)...)
					if spool {
						s.opts.GroupRows = 2
						move = onDisk(move)
					}
					s.apply(tx, move)
					s.wantNoStop()
					s.wantMoved(c.want...)
					s.wantCarried("0 0 0")
				})
			}
		}
	}
}

// half applies a move of a row from shard 0 to shard 1 of which only shard 0
// commits its part.
func half(t *testing.T, disk bool) (s *three, keys [3]int) {
	t.Helper()
	s, keys = sharded(t), keysOn(t)
	r := s.rel["moved"]
	s.apply(s.clock.tx(ins(r, num(keys[0]), num(1), text("a"), text(`\x62`), num(7))))
	conn := s.dbs[1].Connect(t)
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE moved IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	s.opts.StopGrace = time.Millisecond
	a := apply.New(s.opts)
	run := start(t, a, s.source)
	move := s.clock.tx(updOld(r, []val{num(keys[0]), num(1), null, null, null}, num(keys[1]), num(1), same, same, same))
	if disk {
		move = onDisk(move)
	}
	// What comes behind must not be taken for the row of before.
	s.source.add(move, s.clock.tx(ins(r, num(keys[0]), num(1), text("wrong"), text(`\x77726f6e67`), num(7))))
	pgtest.Eventually(t, "shard 0 has applied both", func(context.Context) (bool, error) {
		return a.Stats()[0].RecordedLSN >= behind(s.clock.lsn), nil
	})
	run.stop()
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	s.opts.StopGrace = 0
	s.source = s.source.again()
	s.wantNoStop()
	s.wantMoved(fmt.Sprintf("0: %d 1 wrong wrong 7", keys[0]))
	s.wantCarried("0 1 0")
	return s, keys
}

// TestMoveIsFinishedAfterCrash: the old shard has deleted the row, and the new
// one has not inserted it.
func TestMoveIsFinishedAfterCrash(t *testing.T) {
	t.Parallel()
	for _, disk := range []bool{false, true} {
		t.Run(fmt.Sprintf("spool=%t", disk), func(t *testing.T) {
			t.Parallel()
			finishMove(t, disk)
		})
	}
}

func finishMove(t *testing.T, disk bool) {
	s, k := half(t, disk)
	s.apply()
	s.wantNoStop()
	s.wantMoved(fmt.Sprintf("0: %d 1 wrong wrong 7", k[0]), fmt.Sprintf("1: %d 1 a b 7", k[1]))
	s.wantCarried("0 0 0")
	// Once more from the begin: every shard has it.
	s.source = newSource(s.source.log...)
	s.apply()
	s.wantNoStop()
	s.wantMoved(fmt.Sprintf("0: %d 1 wrong wrong 7", k[0]), fmt.Sprintf("1: %d 1 a b 7", k[1]))
}

// TestLostMoveStopsTheTable: what was carried is gone, and the row too.
func TestLostMoveStopsTheTable(t *testing.T) {
	t.Parallel()
	s, k := half(t, false)
	s.dbs[1].Exec(t, "DELETE FROM pgdrover.carried")
	s.apply()
	st, ok := s.tables.stop("moved")
	if !ok || st.at != 200 || !strings.Contains(st.err.Detail, "shard 0 has applied the transaction already") || !strings.Contains(st.err.Hint, "RESYNC") {
		t.Errorf("stopped: %t %+v", ok, st)
	}
	s.wantMoved(fmt.Sprintf("0: %d 1 wrong wrong 7", k[0]))
}

// TestMissingMovedRowStopsTheTable: other tables go on, rows that can be
// completed of another table too.
func TestMissingMovedRowStopsTheTable(t *testing.T) {
	t.Parallel()
	s, k := sharded(t), keysOn(t)
	r, other := s.rel["moved"], s.rel["t"]
	s.apply(s.clock.tx(ins(other, num(k[0]), num(1), text("v"))), s.clock.tx(
		updOld(r, []val{num(k[0]), num(1), null, null, null}, num(k[1]), num(1), same, same, same),
		updOld(other, []val{num(k[0]), num(1), null}, num(k[1]), num(1), same), ins(s.rel["all"], num(1), null)))
	st, ok := s.tables.stop("moved")
	if !ok || st.at != 200 || !strings.Contains(st.err.Detail, "the row is missing on shard 0") {
		t.Errorf("stopped: %t %+v", ok, st)
	}
	if _, ok := s.tables.stop("t"); ok || s.where("t", "v = 'v'") != "0 1 0" || s.where("all", "true") != "1 1 1" {
		t.Errorf("the other tables: %s, %s", s.where("t", "v = 'v'"), s.where("all", "true"))
	}
}

// TestCarriedRowsOfAKilledRunGo: nobody asks for them again.
func TestCarriedRowsOfAKilledRunGo(t *testing.T) {
	t.Parallel()
	s := sharded(t)
	s.apply(s.clock.tx(ins(s.rel["all"], num(1), null)))
	quoted := strings.ReplaceAll(mirror, "'", "''")
	s.dbs[2].Exec(t, fmt.Sprintf(`INSERT INTO pgdrover.carried VALUES ('%[1]s', 0, '0/1', 0, 'old'), ('%[1]s', 0, 'F/0', 0, 'newer'), ('%[1]s', 1, '0/1', 0, 'of another shard')`, quoted))
	s.apply(s.clock.tx(ins(s.rel["all"], num(2), null)))
	s.wantCarried("0 0 2")
}

package apply_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// alteration is a Step that adds a column to t on every shard.
type alteration struct {
	t       *testing.T
	dbs     []*pgtest.Database
	applier func() *apply.Applier
	oid     uint32
	runs    int
	before  func(shard int) error // called before a shard is altered
}

func (s *alteration) Run(ctx context.Context, to stream.LSN) (bool, error) {
	s.runs++
	for i, db := range s.dbs {
		if s.before != nil {
			if err := s.before(i); err != nil {
				return i > 0, err
			}
		}
		conn := db.Connect(s.t)
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			done, err := apply.Advance(ctx, tx, mirror, 0, to)
			if err != nil || done {
				return err
			}
			_, err = tx.Exec(ctx, fmt.Sprintf(`ALTER TABLE t ADD COLUMN more text; INSERT INTO t VALUES (%d, %d, (SELECT string_agg(id::text, ',' ORDER BY id) FROM t WHERE id < 100))`, i, 100+i))
			return err
		})
		if err != nil {
			return false, err
		}
	}
	s.applier().Forget(s.oid)
	return true, nil
}

// between puts the step behind the first n changes of transactions with a message.
type stepsBehind struct {
	n    int
	step apply.Step
}

func (s stepsBehind) Plan(_ context.Context, tx *stream.Transaction, _ []*stream.Relation) ([]apply.Part, error) {
	if tx.Messages == 0 {
		return nil, nil
	}
	count := 0
	if err := tx.Each(func(*stream.Change) error { count++; return nil }); err != nil {
		return nil, err
	}
	parts := []apply.Part{{From: 0, To: s.n}, {Step: s.step}, {From: s.n, To: count}}
	if s.n == 0 {
		parts = parts[1:]
	}
	return parts, nil
}

// TestStep divides a transaction by a step on three shards, of which one fails
// at first, for good in one case: whoever goes on does each part once.
func TestStep(t *testing.T) {
	t.Parallel()
	for _, spool := range []bool{false, true} {
		for name, failure := range map[string]error{
			"": nil, "passes": pgerror.New(pgerror.LockNotAvailable, "locked"), "is final": errors.New("killed"),
		} {
			t.Run(fmt.Sprintf("spool=%t,%s", spool, name), func(t *testing.T) {
				t.Parallel()
				s := sharded(t)
				step := &alteration{t: t, dbs: s.dbs, oid: s.rel["t"].OID}
				var applier *apply.Applier
				step.applier = func() *apply.Applier { return applier }
				failed := false
				step.before = func(shard int) error {
					if shard < 2 || failed || failure == nil {
						return nil
					}
					failed = true
					return failure
				}
				old := s.rel["t"]
				wide := *old
				wide.Columns = append(append([]stream.RelationColumn(nil), old.Columns...), stream.RelationColumn{Name: "more", Type: 25, Modifier: -1})
				var changes []stream.Change
				for i := range 30 {
					changes = append(changes, ins(old, num(i%10), num(i), text("a")))
				}
				changes = append(changes, stream.Change{Kind: stream.Message, Logical: &stream.LogicalEvent{Prefix: "pgdrover.ddl"}})
				for i := range 30 {
					changes = append(changes, upd(&wide, num(i%10), num(i), text("b"), text("c")))
				}
				first := s.clock.tx(ins(s.rel["all"], num(1), text("x")))
				tx := s.clock.tx(changes...)
				if spool {
					tx = onDisk(tx)
				}
				tx.Messages = 1
				s.opts.Steps = stepsBehind{30, step}
				s.opts.GroupRows = 7
				s.source.add(first, tx, s.clock.tx(ins(&wide, num(1), num(77), text("y"), text("z"))))
				applier = apply.New(s.opts)
				r := start(t, applier, s.source)
				if name == "is final" {
					if err := <-r.done; !errors.Is(err, failure) {
						t.Fatalf("Run ends with %v", err)
					}
					if at := s.source.lastConfirmed(); at > tx.FinalLSN {
						t.Fatalf("%s is confirmed, the transaction begins to commit at %s", at, tx.FinalLSN)
					}
					again := s.source.again()
					s.source = again
					applier = apply.New(s.opts)
					r = start(t, applier, again)
				}
				r.reaches(s.clock.lsn)
				pgtest.Eventually(t, "the end is confirmed", func(context.Context) (bool, error) { return s.source.lastConfirmed() == behind(s.clock.lsn), nil })
				r.stop()
				if _, stopped := s.tables.stop("t"); stopped {
					t.Fatal("the table is stopped")
				}
				total := 0
				for i, db := range s.dbs {
					rows := db.Rows(t, `SELECT count(*) FILTER (WHERE v = 'b' AND more = 'c'), count(*) FILTER (WHERE id < 77 AND (v <> 'b' OR more <> 'c')), count(*) FILTER (WHERE id >= 100) FROM t`)
					var there, wrong, steps int
					if _, err := fmt.Sscanf(rows[0], "%d|%d|%d", &there, &wrong, &steps); err != nil || wrong != 0 || steps != 1 {
						t.Errorf("shard %d has %s (%v)", i, rows[0], err)
					}
					total += there
					if seen := pgtest.Value[int](t, db, `SELECT cardinality(string_to_array(max(v) FILTER (WHERE id >= 100), ','))::int FROM t`); seen != there {
						t.Errorf("shard %d had %d of %d rows at the step", i, seen, there)
					}
				}
				if total != 30 {
					t.Errorf("%d rows", total)
				}
			})
		}
	}
}

// TestPositionsBetween has positions between parts that are no position of a
// record.
func TestPositionsBetween(t *testing.T) {
	tx := &stream.Transaction{FinalLSN: 4096, EndLSN: 4096 + 48}
	last := tx.FinalLSN
	for n := 1; n < apply.MostParts(tx); n++ {
		at := apply.BetweenForTests(tx.FinalLSN, n)
		if at <= last || at >= tx.EndLSN || !apply.Between(at) {
			t.Errorf("part %d begins at %s", n, at)
		}
		last = at
	}
}

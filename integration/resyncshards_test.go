package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// onePosition wants the same position of the stream for each shard's swap.
func onePosition(t *testing.T, b *bankAt) {
	t.Helper()
	events, err := b.m.MirrorLog(t.Context(), theMirror, mirror.LogFilter{Search: "swapped on shard"})
	if err != nil {
		t.Fatal(full(err))
	}
	var positions []string
	for _, e := range events {
		if !slices.Contains(positions, e.LSN) {
			positions = append(positions, e.LSN)
		}
	}
	if len(events) != len(b.shards) || len(positions) != 1 || positions[0] == "" {
		t.Errorf("%d shards have swapped at %v", len(events), positions)
	}
}

// oids are those of accounts on each shard.
func (b *bankAt) oids(t *testing.T) (out []uint32) {
	t.Helper()
	for _, d := range b.shards {
		out = append(out, pgtest.Value[uint32](t, d, "SELECT 'accounts'::regclass::oid"))
	}
	return out
}

// TestResyncShards swaps a table on three shards: all at one position, or, while one
// of them cannot, none. When one fails as it commits, those that have swapped and
// those that have not go on in the stream, and the table is copied again.
func TestResyncShards(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	b := newBank(t, 3, nil).streams(t)
	var before [][]string
	for _, d := range b.shards {
		d.Exec(t, "SET session_replication_role = replica; UPDATE accounts SET balance = -1 WHERE id > 950; DELETE FROM accounts WHERE id BETWEEN 941 AND 950")
		before = append(before, schemaOf(t, d))
	}
	old := b.oids(t)
	stopWriting := b.write(t)
	for _, d := range b.shards {
		resting := pgtest.Value[int64](t, d, "SELECT count(*) FROM accounts WHERE id BETWEEN 901 AND 940")
		read(t, d, "SELECT 0::int8, count(*) FILTER (WHERE id BETWEEN 901 AND 940) FROM accounts", func(s seen) bool { return s.count == resting })
	}
	// One fails when it commits, the first time.
	b.shards[2].Exec(t, `CREATE SEQUENCE public.times; CREATE FUNCTION public.fail_once() RETURNS trigger LANGUAGE plpgsql AS
$$ begin if nextval('public.times') = 1 then raise exception 'this COMMIT fails'; end if; return null; end $$;
CREATE CONSTRAINT TRIGGER fail_once AFTER INSERT OR UPDATE ON pgdrover.foreign_keys DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.fail_once()`)
	copying := holdCopies(t, b.shards[1])
	asked, err := b.m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{"accounts"}, Strategy: resync.Swap})
	if err != nil {
		t.Fatal(full(err))
	}
	// A reader keeps one shard from swapping: the others wait for it.
	recording(t, b.shards[1])
	reader := b.shards[1].Connect(t)
	if _, err := reader.PgConn().Exec(t.Context(), "BEGIN; LOCK TABLE bookings IN ACCESS SHARE MODE").ReadAll(); err != nil {
		t.Fatal(err)
	}
	copying()
	pgtest.Eventually(t, "the swap waits for a lock", func(ctx context.Context) (bool, error) {
		rows, err := b.m.Resyncs(ctx, theMirror, asked.Tables)
		return err == nil && len(rows) == 1 && rows[0].Error != nil && rows[0].Strategy == resync.Swap, err
	})
	if diff := cmp.Diff(old, b.oids(t)); diff != "" {
		t.Errorf("some shard has swapped (-before +after):\n%s", diff)
	}
	if err := reader.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	succeeded(t, b.over(t, asked))
	stopWriting()
	if told := b.log(t, "did not commit"); len(told) != 1 {
		t.Errorf("the log has %v", told)
	}
	for i, oid := range b.oids(t) {
		if oid == old[i] {
			t.Errorf("shard %d has not swapped", i)
		}
	}
	b.arrived(t)
	b.clean(t)
	onePosition(t, b)
	for i, d := range b.shards {
		d.Exec(t, "DROP SEQUENCE IF EXISTS public.times; DROP FUNCTION IF EXISTS public.fail_once CASCADE")
		if diff := cmp.Diff(before[i], schemaOf(t, d)); diff != "" {
			t.Errorf("the schema of shard %d (-before +after):\n%s", i, diff)
		}
	}
}

// arrived waits until everything is applied, and compares the shards together with
// the source.
func (b *bankAt) arrived(t *testing.T) {
	t.Helper()
	if len(b.shards) == 1 {
		arrived(t, b.m, b.source, b.shards[0])
		return
	}
	shardCaughtUp(t, b.m, 0, b.source)
	for _, table := range []string{"accounts", "bookings"} {
		compareBags(t, table, counted(t, []*pgtest.Database{b.source}, "SELECT t.* FROM "+table+" t"), counted(t, b.shards, "SELECT t.* FROM "+table+" t"))
	}
	for i, d := range b.shards {
		compareBags(t, fmt.Sprintf("branches of shard %d", i), counted(t, []*pgtest.Database{b.source}, "SELECT * FROM branches"), counted(t, []*pgtest.Database{d}, "SELECT * FROM branches"))
	}
}

// TestResyncShardsOtherwise reconciles a table on three shards, and empties and fills
// one of which every shard has all rows.
func TestResyncShardsOtherwise(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	b := newBank(t, 3, nil).streams(t)
	for _, d := range b.shards {
		d.Exec(t, "SET session_replication_role = replica; UPDATE accounts SET balance = -1 WHERE id > 950; DELETE FROM accounts WHERE id BETWEEN 901 AND 950; UPDATE branches SET name = 'wrong'")
	}
	b.write(t)
	asked := b.oids(t)
	succeeded(t, b.resync(t, mirror.ResyncRequest{Tables: []string{"accounts"}, Strategy: resync.Reconcile}))
	succeeded(t, b.resync(t, mirror.ResyncRequest{Tables: []string{"branches"}}))
	if diff := cmp.Diff(asked, b.oids(t)); diff != "" {
		t.Errorf("accounts is another table (-before +after):\n%s", diff)
	}
	b.clean(t)
	b.arrivedAfterWriting(t)
}

// arrivedAfterWriting lets what writes run on for a while: the comparison waits for
// its own position, and the writers are stopped by the test's end only.
func (b *bankAt) arrivedAfterWriting(t *testing.T) {
	t.Helper()
	b.stopWriting()
	b.arrived(t)
}

// TestResyncSources copies tables again that come from two shards of the source, to
// two of the destination.
func TestResyncSources(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	for _, strategy := range []resync.Strategy{resync.Swap, resync.Reconcile} {
		t.Run(string(strategy), func(t *testing.T) {
			t.Parallel()
			sources, destinations, s := tenantSetup(t, 2, "")
			m := s.manager(t)
			follow(t, m)
			tenantChanges(t, sources, 1)
			for _, d := range destinations {
				d.Exec(t, "UPDATE orders SET v = 'wrong' WHERE id % 7 = 3; DELETE FROM orders WHERE id = 50; UPDATE visits SET note = 'wrong'; UPDATE settings SET v = 'wrong'")
			}
			b := &bankAt{m: m}
			for round, table := range []string{"orders", "visits", "settings"} {
				asked, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Tables: []string{table}, Strategy: strategy})
				if err != nil {
					t.Fatal(full(err))
				}
				tenantChanges(t, sources, 2+round)
				succeeded(t, b.over(t, asked))
			}
			tenantChanges(t, sources, 5)
			tenantsArrived(t, m, sources, destinations)
		})
	}
}

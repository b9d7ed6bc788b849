package integration

import (
	"context"
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
)

// TestDataServerRestarts restarts, and crashes, each server while rows are
// copied and while changes are applied. The same task brings everything over.
func TestDataServerRestarts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		source bool
		mode   pgcluster.StopMode
	}{
		{"source", true, pgcluster.Fast},
		{"source crashes", true, pgcluster.Immediate},
		{"destination", false, pgcluster.Fast},
		{"destination crashes", false, pgcluster.Immediate},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			what := pgtest.Start(t, pgtest.Options{})
			from, to := what, pgtest.Shared(t, 0)
			if !c.source {
				from, to = to, from
			}
			source, destination := from.CreateDatabase(t), to.CreateDatabase(t)
			source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
			s := between(source, destination)
			s.general = quick
			m := s.manager(t)
			succeed(t, m, request(dump.PreData))
			release := hold(t, destination, "items")
			id := copyData(t, m, copyRequest())
			held(t, destination, "copy")
			plans(t, m, id)
			changed(t, source, 1)
			restart(t, what, c.mode)
			release()
			gone(t, m)
			streaming(t, m, id)
			changed(t, source, 2)
			arrived(t, m, source, destination)
			if s := slots(t, source); len(s) != 1 {
				t.Errorf("the slots are %v", s)
			}

			release = hold(t, destination, "items")
			changed(t, source, 3)
			held(t, destination, "apply")
			if c.source && c.mode == pgcluster.Fast {
				release() // see TestDataSourceStops
			}
			restart(t, what, c.mode)
			release()
			changed(t, source, 4)
			gone(t, m)
			arrived(t, m, source, destination)
			stopTask(t, m, id)
			same(t, m)
		})
	}
}

// TestDataSourceStops stops the source in an orderly way while changes cannot be
// applied. A server that stops waits for those who read its slots; nobody may
// make it wait for a destination.
func TestDataSourceStops(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	source, destination := c.CreateDatabase(t), pgtest.Shared(t, 0).CreateDatabase(t)
	source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	s := between(source, destination)
	s.general = quick
	m := s.manager(t)
	id := follow(t, m)
	release := hold(t, destination, "items")
	changed(t, source, 1)
	held(t, destination, "apply")
	ctx, cancel := context.WithTimeout(t.Context(), patience/2)
	defer cancel()
	if err := c.Stop(ctx, pgcluster.Fast); err != nil {
		t.Errorf("the source cannot stop while the destination is stalled: %v", err)
		release()
		if err := c.Stop(t.Context(), pgcluster.Fast); err != nil {
			t.Fatal(err)
		}
	}
	release()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone(t, m)
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

// TestDataSchemaReadLost loses the connections on which the rest of the schema
// is read while rows are copied.
func TestDataSchemaReadLost(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"source", "destination"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, pairRows)
			s := between(source, destination)
			s.general = quick
			d, way := source, source.Cluster.Proxy(t)
			if side == "destination" {
				d, way = destination, destination.Cluster.Proxy(t)
				s.destination[0] = through(way, d)
			} else {
				s.source[0] = through(way, d)
			}
			m := s.manager(t)
			release := holdSlots(t, source)
			id := copyData(t, m, copyRequest())
			slotWaits(t, source)
			fired := way.CutBefore(query("BEGIN")) // pg_dump's
			release()
			await(t, fired)
			gone(t, m)
			streaming(t, m, id)
			arrived(t, m, source, destination)
			stopTask(t, m, id)
			same(t, m)
		})
	}
}

func restart(tb testing.TB, c *pgtest.Cluster, mode pgcluster.StopMode) {
	tb.Helper()
	if err := c.Restart(tb.Context(), mode); err != nil {
		tb.Fatal(err)
	}
}

// TestDataServerIsDown stops a server for longer than one attempt takes: what
// the stream waits for is shown, and it goes on by itself.
func TestDataServerIsDown(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	sourceWay, destinationWay := source.Cluster.Proxy(t), destination.Cluster.Proxy(t)
	s := setup{source: []endpoint{through(sourceWay, source)}, destination: []endpoint{through(destinationWay, destination)}, general: quick}
	m := s.manager(t)
	id := follow(t, m)

	sourceWay.Refuse()
	sourceWay.Cut()
	waiting(t, m, "08001", `database "prod" shard 0`, "refused")
	rows, _, err := m.Mirrors(t.Context())
	if err != nil || rows[0].LagBytes != nil {
		t.Errorf("the lag of a stream that is not read is not known: %+v %v", rows, err)
	}
	changed(t, source, 1)
	if err := sourceWay.Accept(); err != nil {
		t.Fatal(err)
	}
	gone(t, m)
	arrived(t, m, source, destination)

	destinationWay.Refuse()
	destinationWay.Cut()
	changed(t, source, 2)
	if _, warnings, _ := m.Mirrors(t.Context()); len(warnings) == 0 {
		t.Error("SHOW MIRRORS does not say that the destination cannot be asked")
	}
	_, _, err = m.MirrorTables(t.Context(), theMirror)
	says(t, err, "08001", "was not found, and a database could not be asked", `database "prod_new" shard 0`)
	if err := destinationWay.Accept(); err != nil {
		t.Fatal(err)
	}
	gone(t, m)
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

// TestDataStreamCut cuts connections to the destination at each point of a
// group's transaction: it is applied once, whatever its fate was.
func TestDataStreamCut(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows)
	way := destination.Cluster.Proxy(t)
	s := between(source, destination)
	s.destination[0], s.general = through(way, destination), quick
	m := s.manager(t)
	id := follow(t, m)
	round := 0
	for _, c := range []struct {
		name string
		arm  func() <-chan struct{}
	}{
		{"before begin", func() <-chan struct{} { return way.CutBefore("pgdrover_begin") }},
		{"before the position", func() <-chan struct{} { return way.CutBefore("pgdrover_position") }},
		{"after the position", func() <-chan struct{} { return way.CutReply("pgdrover_position", "") }},
		{"before commit", func() <-chan struct{} { return way.CutBefore("pgdrover_commit") }},
		{"commit of unknown outcome", func() <-chan struct{} { return way.CutReply("pgdrover_commit", "COMMIT") }},
		{"before the answer to a question", func() <-chan struct{} { return way.CutReply("pgdrover_lsn", "") }},
		{"in the middle of rows", func() <-chan struct{} { return way.CutAfter(pgtest.ToServer, 3000) }},
		{"in the middle of answers", func() <-chan struct{} { return way.CutAfter(pgtest.ToClient, 50) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			round++
			fired := c.arm()
			changed(t, source, round)
			await(t, fired)
			arrived(t, m, source, destination)
		})
	}
	stopTask(t, m, id)
}

// TestDataSourceCut cuts connections to the source while changes are read.
func TestDataSourceCut(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows)
	way := source.Cluster.Proxy(t)
	s := between(source, destination)
	s.source[0], s.general = through(way, source), quick
	m := s.manager(t)
	id := follow(t, m)
	for round, arm := range []func() <-chan struct{}{
		func() <-chan struct{} { return way.CutAfter(pgtest.ToClient, 5000) },   // within a transaction
		func() <-chan struct{} { return way.CutBefore("START_REPLICATION") },    // taking it up again
		func() <-chan struct{} { return way.CutReply("START_REPLICATION", "") }, // the slot is taken
	} {
		fired := arm()
		if round > 0 {
			way.Cut()
		}
		changed(t, source, round+1)
		await(t, fired)
		arrived(t, m, source, destination)
	}
	stopTask(t, m, id)
}

// TestDataCopyCut cuts connections while rows are copied, at points where a
// range could be lost or come twice.
func TestDataCopyCut(t *testing.T) {
	t.Parallel()
	type ways struct{ source, destination *pgtest.Proxy }
	for name, arm := range map[string]func(ways) <-chan struct{}{
		"rows from the source":      func(w ways) <-chan struct{} { return w.source.CutReply(`"price") TO STDOUT`, "item 9") },
		"rows to the destination":   func(w ways) <-chan struct{} { return w.destination.CutBefore("item 9item 9item 9") },
		"before a range's commit":   func(w ways) <-chan struct{} { return w.destination.CutBefore("INSERT INTO pgdrover.copied") },
		"commit of unknown outcome": func(w ways) <-chan struct{} { return w.destination.CutReply("INSERT INTO pgdrover.copied", "COMMIT") },
		"the snapshot's connection": func(w ways) <-chan struct{} {
			return w.source.CutReply("CREATE_REPLICATION_SLOT", "CREATE_REPLICATION_SLOT")
		},
		"a snapshot is taken over": func(w ways) <-chan struct{} { return w.source.CutBefore("SET TRANSACTION SNAPSHOT") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, pairRows)
			w := ways{source.Cluster.Proxy(t), destination.Cluster.Proxy(t)}
			s := setup{source: []endpoint{through(w.source, source)}, destination: []endpoint{through(w.destination, destination)}, general: quick + "resharding_parallel_copies = 2\n"}
			m := s.manager(t)
			fired := arm(w)
			id := copyData(t, m, copyRequest())
			await(t, fired)
			streaming(t, m, id)
			changed(t, source, 1)
			arrived(t, m, source, destination)
			if s := slots(t, source); len(s) != 1 {
				t.Errorf("the slots are %v", s)
			}
			stopTask(t, m, id)
			same(t, m)
		})
	}
}

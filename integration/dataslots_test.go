package integration

import (
	"context"
	"regexp"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// begunAnew does what a hint says that names the commands to begin a mirror
// anew, and checks that it works.
func begunAnew(tb testing.TB, m *mirror.Manager, e *pgerror.Error, source *pgtest.Database, destination ...*pgtest.Database) {
	tb.Helper()
	if !regexp.MustCompile(`DROP MIRROR "?prod_to_prod_new"?; COPY_DATA "?prod"? "?prod_new"? "?all_tables"?; .*RESYNC "?prod_to_prod_new"? STOPPED;`).MatchString(e.Hint) {
		tb.Fatalf("the hint does not say how to begin anew: %s", full(e))
	}
	if _, err := m.DropMirror(tb.Context(), theMirror); err != nil {
		tb.Fatal(full(err))
	}
	id := copyData(tb, m, copyRequest())
	becomes(tb, m, "public.items", mirror.TableStopped)
	becomes(tb, m, "public.notes", mirror.TableStopped)
	// RESYNC looks for stopped tables in a stream.
	pgtest.Eventually(tb, "the task streams", func(ctx context.Context) (bool, error) {
		task, err := look(ctx, m, id)
		return task.Inner == "replicating", err
	})
	if _, err := m.Resync(tb.Context(), theMirror, mirror.ResyncRequest{Stopped: true}); err != nil {
		tb.Fatal(full(err))
	}
	becomes(tb, m, "public.items", mirror.TableStreaming)
	becomes(tb, m, "public.notes", mirror.TableStreaming)
	changed(tb, source, 40)
	arrived(tb, m, source, destination...)
	stopTask(tb, m, id)
}

// dropSlot drops the mirror's slot by hand, also from under who reads it.
func dropSlot(tb testing.TB, source *pgtest.Database) {
	tb.Helper()
	pgtest.Eventually(tb, "the slot is dropped", func(ctx context.Context) (bool, error) {
		err := source.TryExec(ctx, `DO $$ DECLARE s record; BEGIN
			FOR s IN SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = current_database() LOOP
				PERFORM pg_terminate_backend(s.active_pid, 5000);
				PERFORM pg_drop_replication_slot(s.slot_name);
			END LOOP; END $$`)
		if pgerror.Code(err) == pgerror.ObjectInUse {
			return false, nil // it was taken up again
		}
		return true, err
	})
}

func TestDataSlotDropped(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	for _, while := range []string{"stopped", "streaming"} {
		t.Run(while, func(t *testing.T) {
			t.Parallel()
			source, destination := fresh(t, pairRows)
			m := between(source, destination).manager(t)
			id := follow(t, m)
			if while == "stopped" {
				stopTask(t, m, id)
			}
			dropSlot(t, source)
			changed(t, source, 1)
			if while == "stopped" {
				id = copyData(t, m, copyRequest())
			}
			e := breaks(t, m, id, pgerror.UndefinedObject, "slot", "prod_to_prod_new")
			waiting(t, m, "slot") // SHOW MIRRORS has it
			// Nothing makes a new slot in silence.
			if s := slots(t, source); len(s) != 0 {
				t.Errorf("there are slots: %v", s)
			}
			id = copyData(t, m, copyRequest())
			breaks(t, m, id, pgerror.UndefinedObject, "slot")
			begunAnew(t, m, e, source, destination)
		})
	}
}

// TestDataSlotInvalidated lets the source remove log that the slot needs.
func TestDataSlotInvalidated(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}})
	for _, while := range []string{"stopped", "streaming"} {
		t.Run(while, func(t *testing.T) {
			source, destination := c.CreateDatabase(t), pgtest.Shared(t, 0).CreateDatabase(t)
			source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
			m := between(source, destination).manager(t)
			id := follow(t, m)
			release := func() {}
			if while == "stopped" {
				stopTask(t, m, id)
			} else {
				release = hold(t, destination, "items")
			}
			changed(t, source, 1)
			pgtest.Eventually(t, "the slot is lost", func(ctx context.Context) (bool, error) {
				source.Exec(t, "SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1000000)); SELECT pg_switch_wal()")
				source.Exec(t, "CHECKPOINT")
				return pgtest.Value[bool](t, source, "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE database = current_database()"), nil
			})
			if while == "stopped" {
				id = copyData(t, m, copyRequest())
			}
			if while == "streaming" { // it is told while the applier is held up
				waiting(t, m, pgerror.ObjectNotInPrerequisiteState, "can give no more changes")
			}
			release()
			e := breaks(t, m, id, pgerror.ObjectNotInPrerequisiteState, "can give no more changes", "max_slot_wal_keep_size")
			rows, warnings, err := m.Slots(t.Context())
			if err != nil || len(warnings) > 0 {
				t.Fatal(full(err), warnings)
			}
			found := false
			for _, row := range rows {
				if row.Mirror == theMirror {
					found = true
					if row.WALStatus != "lost" || row.Invalidated == "" || row.Orphan {
						t.Errorf("SHOW REPLICATION_SLOTS tells %+v", row)
					}
				}
			}
			if !found {
				t.Errorf("SHOW REPLICATION_SLOTS does not have the slot: %+v", rows)
			}
			begunAnew(t, m, e, source, destination)
		})
	}
}

// TestDataPublicationDropped drops the publication under a stream. What was
// written before it is made anew cannot be had any more.
func TestDataPublicationDropped(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows)
	m := between(source, destination).manager(t)
	id := follow(t, m)
	source.Exec(t, "DROP PUBLICATION all_tables")
	changed(t, source, 1)
	e := breaks(t, m, id, pgerror.UndefinedObject, `publication "all_tables"`)
	_, err := m.CopyData(t.Context(), copyRequest())
	says(t, err, pgerror.UndefinedObject, `publication "all_tables"`, "CREATE PUBLICATION")
	source.Exec(t, "CREATE PUBLICATION all_tables FOR ALL TABLES")
	// The slot still stands before the moment when there was none.
	id = copyData(t, m, copyRequest())
	breaks(t, m, id, pgerror.UndefinedObject, `publication "all_tables"`)
	begunAnew(t, m, e, source, destination)
}

// TestDataDestinationRestored puts the destination back to what it was before
// transactions that the slot has let go.
func TestDataDestinationRestored(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	source, destination := fresh(t, pairRows)
	m := between(source, destination).manager(t)
	id := follow(t, m)
	before := pgtest.Value[string](t, destination, "SELECT lsn::text FROM pgdrover.progress")
	changed(t, source, 1)
	arrived(t, m, source, destination)
	stopTask(t, m, id) // which confirms it
	destination.Exec(t, "UPDATE pgdrover.progress SET lsn = '"+before+"'")
	id = copyData(t, m, copyRequest())
	e := breaks(t, m, id, pgerror.ObjectNotInPrerequisiteState, "has lost transactions that it had applied", before)
	begunAnew(t, m, e, source, destination)

	id = goOn(t, m)
	stopTask(t, m, id)
	destination.Exec(t, "DELETE FROM pgdrover.progress")
	id = copyData(t, m, copyRequest())
	breaks(t, m, id, pgerror.ObjectNotInPrerequisiteState, "has no record of where mirror")
}

// goOn takes a mirror up again that has been stopped.
func goOn(tb testing.TB, m *mirror.Manager) mirror.TaskID {
	tb.Helper()
	id := copyData(tb, m, copyRequest())
	pgtest.Eventually(tb, "the stream goes on", func(ctx context.Context) (bool, error) {
		task, err := look(ctx, m, id)
		return task.Inner == "replicating" && len(task.Streams) > 0 && task.Streams[0].AppliedLSN > 0, err
	})
	return id
}

// TestDataOtherCluster puts another cluster in the source's place: a copy of
// its data directory would have the same slot, one that was made anew may have
// one of the same name.
func TestDataOtherCluster(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	m := between(source, destination).manager(t)
	stopTask(t, m, follow(t, m))
	c := pgtest.Start(t, pgtest.Options{InitdbArgs: []string{"--data-checksums"}}) // clusters made alike are copies of one
	other := c.CreateNamedDatabase(t, source.Name)
	other.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	other.Exec(t, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", slots(t, source)[0])
	changed(t, other, 7)
	moved := between(other, destination).manager(t)
	for _, only := range []bool{false, true} {
		req := copyRequest()
		req.StreamOnly = only
		id := copyData(t, moved, req)
		breaks(t, moved, id, pgerror.ObjectNotInPrerequisiteState, "is another cluster than the one that mirror", "system identifier")
	}
	if n := pgtest.Value[int](t, destination, "SELECT count(*)::int FROM notes WHERE note LIKE 'round%'"); n != 0 {
		t.Errorf("%d changes of the other cluster were applied", n)
	}
	// DROP MIRROR does not drop what belongs to another cluster.
	if _, err := moved.DropMirror(t.Context(), theMirror); err != nil {
		t.Fatal(full(err))
	}
	if s := slots(t, other); len(s) != 1 {
		t.Errorf("the other cluster's slots are %v", s)
	}
}

// TestDataNoFreeSlot has all slots of the source taken: for the mirror's own,
// and for that of tables that join.
func TestDataNoFreeSlot(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_replication_slots": "2"}})
	source, destination := c.CreateDatabase(t), pgtest.Shared(t, 0).CreateDatabase(t)
	source.Exec(t, pairRows+"CREATE PUBLICATION all_tables FOR ALL TABLES")
	source.Exec(t, "SELECT pg_create_logical_replication_slot(n, 'pgoutput') FROM unnest('{first,second}'::text[]) n")
	m := between(source, destination).manager(t)
	started, err := m.CopyData(t.Context(), copyRequest())
	if err == nil {
		task := ends(t, m, started.Task, mirror.Failed)
		err = task.Error
	}
	says(t, err, "53400", "max_replication_slots")
	source.Exec(t, "SELECT pg_drop_replication_slot('first')")
	id := follow(t, m)
	source.Exec(t, "CREATE TABLE added (id int PRIMARY KEY); INSERT INTO added VALUES (1)")
	changed(t, source, 1)
	var row mirror.MirrorTableRow
	pgtest.Eventually(t, "it is told why the new table does not join", func(ctx context.Context) (bool, error) {
		mirrors, _, err := m.Mirrors(ctx)
		if err != nil || mirrors[0].Error != nil && mirrors[0].Error.Code == "53400" {
			return true, err
		}
		rows, _, err := m.MirrorTables(ctx, theMirror)
		for _, row = range rows {
			if row.Table == "added" && row.Error != nil {
				return true, err
			}
		}
		return false, err
	})
	ledger.CaughtUp(t, source, applied(m)) // the others go on
	source.Exec(t, "SELECT pg_drop_replication_slot('second')")
	if row.State == mirror.TableStopped {
		says(t, row.Error, "53400", "max_replication_slots", "RESYNC")
		if _, err := m.Resync(t.Context(), theMirror, mirror.ResyncRequest{Stopped: true}); err != nil {
			t.Fatal(full(err))
		}
	}
	becomes(t, m, "public.added", mirror.TableStreaming)
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

// TestDataSlotTaken has somebody else read the mirror's slot.
func TestDataSlotTaken(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	s.general = quick
	m := s.manager(t)
	stopTask(t, m, follow(t, m))
	conn, err := pgx.Connect(t.Context(), source.DSN()+"&replication=database&application_name=stranger")
	if err != nil {
		t.Fatal(err)
	}
	err = pglogrepl.StartReplication(t.Context(), conn.PgConn(), slots(t, source)[0], 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names 'all_tables'"},
	})
	if err != nil {
		t.Fatal(err)
	}
	source.WaitUntil(t, "SELECT active FROM pg_replication_slots WHERE database = current_database()")
	id := copyData(t, m, copyRequest())
	waiting(t, m, pgerror.ObjectInUse, "in use by the process", "pg_terminate_backend")
	changed(t, source, 1)
	_ = conn.Close(context.Background()) // in the middle of a stream
	source.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stranger' AND datname = current_database()")
	gone(t, m)
	arrived(t, m, source, destination)
	stopTask(t, m, id)
}

package stream

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

func TestCreateSlot(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1)`)
		conn := d.Connect(t)
		if _, err := CreateSlot(t.Context(), server(d), slot, SlotOptions{}); !errors.Is(err, ErrSlotExists) || pgerror.Code(err) != pgerror.DuplicateObject || pgerror.From(err).Hint == "" {
			t.Errorf("a second slot of the name: %v", err)
		}
		if _, err := CreateSlot(t.Context(), server(d), "Weird slot $1", SlotOptions{}); pgerror.Code(err) != "42602" {
			t.Errorf("an impossible name: %v", err)
		}
		exporter, err := CreateSlot(t.Context(), server(d), slot+"_t", SlotOptions{Temporary: true})
		if err != nil {
			t.Fatal(err)
		}
		made := exporter.Slot()
		d.Exec(t, "INSERT INTO t VALUES (2)")
		var n int
		err = pgx.BeginTxFunc(t.Context(), conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), "SET TRANSACTION SNAPSHOT '"+made.Snapshot+"'"); err != nil {
				return err
			}
			return tx.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n)
		})
		if err != nil || n != 1 {
			t.Errorf("%d rows in the snapshot, %v", n, err)
		}
		state, ok, err := ReadSlot(t.Context(), conn, made.Name)
		if err != nil || !ok || !state.Temporary || !state.Active || state.ActivePID == 0 || state.ActiveApplication != "pgdrover slot" ||
			state.Plugin != "pgoutput" || state.Database != d.Name || state.ConfirmedFlushLSN != made.ConsistentPoint ||
			state.RestartLSN == 0 || state.RetainedBytes <= 0 || state.LagBytes <= 0 || state.WALStatus != "reserved" || state.SafeWALSize != nil || state.Lost != "" {
			t.Errorf("state %+v %v %v", state, ok, err)
		}
		exporter.Close(t.Context())
		d.WaitUntil(t, "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)", made.Name)
		all, err := ReadSlots(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, s := range all {
			if s.Database == d.Name {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d slots", found)
		}
		for range 2 {
			if err := DropSlot(t.Context(), conn, slot); err != nil {
				t.Error(err)
			}
		}
		if _, ok, err := ReadSlot(t.Context(), conn, slot); ok || err != nil {
			t.Errorf("after the drop: %v %v", ok, err)
		}
	})
}

// The end of the context ends the wait for open transactions, and no slot is
// left.
func TestCreateSlotCancelled(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, _ := source(t, c, `CREATE TABLE t (i int)`)
		writer := d.Connect(t)
		if _, err := writer.PgConn().Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (1)").ReadAll(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() {
			_, err := CreateSlot(ctx, server(d), d.Name[len(d.Name)-10:]+"_waits", SlotOptions{})
			ended <- err
		}()
		d.WaitUntil(t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' AND query LIKE 'CREATE_REPLICATION_SLOT%')", d.Name)
		stopped := errors.New("stopped")
		cancel(stopped)
		if err := <-ended; !errors.Is(err, stopped) {
			t.Errorf("got %v", err)
		}
		if n := pgtest.Value[int](t, d, "SELECT count(*) FROM pg_replication_slots WHERE database = $1 AND slot_name LIKE '%waits'", d.Name); n != 0 {
			t.Error("a slot is left")
		}
		d.WaitUntil(t, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'CREATE_REPLICATION_SLOT%')", d.Name)
		if _, err := writer.Exec(t.Context(), "COMMIT"); err != nil {
			t.Fatal(err)
		}
	})
}

// A connection that is cut while the slot is being made leaves none.
func TestCreateSlotCut(t *testing.T) {
	t.Parallel()
	d, _ := source(t, pgtest.Shared(t, 0), `CREATE TABLE t (i int)`)
	p := d.Cluster.Proxy(t)
	behind := server(d)
	behind.Port = p.Port()
	p.CutReply("EXPORT_SNAPSHOT", "")
	if _, err := CreateSlot(t.Context(), behind, d.Name[len(d.Name)-10:]+"_cut", SlotOptions{}); !pgerror.IsConnectionLost(err) {
		t.Errorf("got %v", err)
	}
	if n := pgtest.Value[int](t, d, "SELECT count(*) FROM pg_replication_slots WHERE database = $1 AND slot_name LIKE '%cut'", d.Name); n != 0 {
		t.Error("a slot is left")
	}
}

// hold reads from a slot as another program would.
func hold(t *testing.T, d *pgtest.Database, slot, application string) (pid uint32) {
	t.Helper()
	config, err := connect.Config(server(d), "")
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["replication"] = "database"
	config.RuntimeParams["application_name"] = application
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.PgConn().Conn().Close() })
	names := strings.ReplaceAll(pgtest.Quote(publication), "'", "''")
	_ = conn.PgConn().Exec(t.Context(), "START_REPLICATION SLOT "+slot+" LOGICAL 0/0 (proto_version '1', publication_names '"+names+"')") // it has no result
	d.WaitUntil(t, "SELECT active FROM pg_replication_slots WHERE slot_name = $1", slot)
	return conn.PgConn().PID()
}

// A process of ours that a killed pgdrover has left on a slot is ended; another
// program's is not.
func TestSlotInUse(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY)`)
		conn := d.Connect(t)
		other := hold(t, d, slot, "somebody else")
		for what, err := range map[string]error{"drop": DropSlot(t.Context(), conn, slot), "open": openFails(t, options(t, d, slot))} {
			e := pgerror.From(err)
			if !errors.Is(err, ErrSlotActive) || e.Code != pgerror.ObjectInUse || !strings.Contains(e.Message, "process") || !strings.Contains(e.Detail, "somebody else") || e.Hint == "" {
				t.Errorf("%s: %+v", what, e)
			}
		}
		d.Exec(t, "SELECT pg_terminate_backend($1)", int32(other))
		d.WaitUntil(t, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = $1", slot)

		hold(t, d, slot, "pgdrover stream")
		r := openReader(t, options(t, d, slot))
		d.Exec(t, "INSERT INTO t VALUES (1)")
		next(t, r).Release()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if pgtest.Value[bool](t, d, "SELECT active FROM pg_replication_slots WHERE slot_name = $1", slot) {
			t.Error("the slot is active after Close")
		}

		hold(t, d, slot, "pgdrover stream")
		if err := DropSlot(t.Context(), conn, slot); err != nil {
			t.Error(err)
		}
	})
}

// openFails gives Open's error.
func openFails(t *testing.T, o Options) error {
	t.Helper()
	r, err := Open(t.Context(), o)
	if err == nil {
		_ = r.Close()
		t.Error("Open: no error")
	}
	return err
}

func TestOpenRefuses(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY)`)
		elsewhere := c.CreateDatabase(t)
		elsewhere.Exec(t, "CREATE PUBLICATION "+pgtest.Quote(publication))
		physical := "physical_" + slot[max(0, len(slot)-20):]
		d.Exec(t, "SELECT pg_create_physical_replication_slot($1)", physical)
		t.Cleanup(func() {
			_ = c.Database("postgres").TryExec(context.Background(), "SELECT pg_drop_replication_slot($1)", physical)
		})
		for name, test := range map[string]struct {
			change func(*Options)
			kind   error
			code   string
		}{
			"no slot":             {func(o *Options) { o.Slot = "not_there" }, ErrSlotMissing, pgerror.UndefinedObject},
			"physical slot":       {func(o *Options) { o.Slot = physical }, ErrSlotMissing, pgerror.UndefinedObject},
			"slot elsewhere":      {func(o *Options) { o.Server = server(elsewhere) }, nil, pgerror.InvalidParameterValue},
			"no publication":      {func(o *Options) { o.Publications = append(o.Publications, `not "there"`) }, ErrPublicationMissing, pgerror.UndefinedObject},
			"empty name":          {func(o *Options) { o.Slot = "" }, nil, pgerror.InvalidParameterValue},
			"empty publications":  {func(o *Options) { o.Publications = nil }, nil, pgerror.InvalidParameterValue},
			"no server":           {func(o *Options) { o.Server.Port = 1 }, nil, pgerror.UnableToConnect},
			"bad spill directory": {func(o *Options) { o.SpillDirectory = "/dev/null/x" }, nil, pgerror.SystemError},
		} {
			t.Run(name, func(t *testing.T) {
				o := options(t, d, slot)
				test.change(&o)
				err := openFails(t, o)
				if test.kind != nil && !errors.Is(err, test.kind) || pgerror.Code(err) != test.code {
					t.Errorf("got %s %v", pgerror.Code(err), err)
				}
				if name != "empty name" && name != "empty publications" && pgerror.From(err).Hint == "" {
					t.Errorf("no hint: %v", err)
				}
			})
		}
	})
}

// A slot whose write-ahead log was removed says so, before the stream and in it.
func TestSlotLost(t *testing.T) {
	t.Parallel()
	for _, major := range []int{0, -1} {
		if major < 0 {
			major = pgtest.Newer(t).Major
		}
		c := pgtest.Start(t, pgtest.Options{Installation: installationOf(major), Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}})
		d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY)`)
		r := openReader(t, options(t, d, slot))
		d.Exec(t, "INSERT INTO t VALUES (1)")
		next(t, r).Release()
		conn := d.Connect(t)
		pgtest.Eventually(t, "the slot is lost", func(ctx context.Context) (bool, error) {
			for _, sql := range []string{"SELECT pg_switch_wal(), pg_logical_emit_message(false, 'fill', repeat('x', 1000000))", "CHECKPOINT"} {
				if _, err := conn.Exec(ctx, sql); err != nil {
					return false, err
				}
			}
			state, ok, err := ReadSlot(ctx, conn, slot)
			return ok && state.Lost != "" && !state.Active, err
		})
		if err := failure(t, r); !pgerror.IsConnectionLost(err) && !errors.Is(err, ErrSlotLost) {
			t.Errorf("while streaming: %v", err)
		}
		if err := openFails(t, options(t, d, slot)); !errors.Is(err, ErrSlotLost) || pgerror.From(err).Hint == "" {
			t.Errorf("at the start: %v", err)
		}
	}
}

// A publication that is dropped, or that was not there yet at the position.
func TestPublicationDropped(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d, slot := source(t, c, `CREATE TABLE t (i int PRIMARY KEY)`)
		r := openReader(t, options(t, d, slot))
		d.Exec(t, "DROP PUBLICATION "+pgtest.Quote(publication))
		d.Exec(t, "INSERT INTO t VALUES (1)")
		if err := failure(t, r); !errors.Is(err, ErrPublicationMissing) || pgerror.IsConnectionLost(err) || pgerror.From(err).Hint == "" {
			t.Errorf("got %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		d.Exec(t, "CREATE PUBLICATION "+pgtest.Quote(publication)+" FOR ALL TABLES")
		if err := failure(t, openReader(t, options(t, d, slot))); !errors.Is(err, ErrPublicationMissing) {
			t.Errorf("made again: %v", err)
		}
	})
}

// TestFailoverSlot asks for a slot that standbys may keep: it is one where the
// server knows such slots, and an ordinary one before.
func TestFailoverSlot(t *testing.T) {
	t.Parallel()
	for _, c := range []*pgtest.Cluster{pgtest.Shared(t, 0), pgtest.Shared(t, pgtest.Newer(t).Major)} {
		d := c.CreateDatabase(t)
		exporter, err := CreateSlot(t.Context(), server(d), slotName(d)+"_f", SlotOptions{Failover: true})
		if err != nil {
			t.Fatal(err)
		}
		if made := exporter.Slot(); made.Snapshot == "" || made.ConsistentPoint == 0 {
			t.Errorf("the slot is %+v", made)
		}
		exporter.Close(t.Context())
		if pgtest.Value[int](t, d, "SELECT current_setting('server_version_num')::int") >= 170000 {
			if !pgtest.Value[bool](t, d, "SELECT failover FROM pg_replication_slots WHERE slot_name = '"+slotName(d)+"_f'") {
				t.Error("the slot is not kept by standbys")
			}
		}
		d.Exec(t, "SELECT pg_drop_replication_slot('"+slotName(d)+"_f')")
	}
}

// slotName is a name of its own for a database's slot.
func slotName(d *pgtest.Database) string { return d.Name }

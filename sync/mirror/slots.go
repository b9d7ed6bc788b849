package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// snapshot is a moment of one source shard in which tables can be copied: that
// of a slot that was just made.
type snapshot struct {
	exporter *stream.Exporter
	name     string
	at       stream.LSN
}

func (s *snapshot) close(ctx context.Context) {
	if s != nil && s.exporter != nil {
		s.exporter.Close(context.WithoutCancel(ctx))
		s.exporter = nil
	}
}

// slots makes sure that every shard of the source has the mirror's slot. Those
// that are made now come with a snapshot, by their shard.
func (j *copyData) slots(ctx context.Context) (map[int]*snapshot, error) {
	if err := j.journal.inner(ctx, "waiting for replication slots"); err != nil {
		return nil, err
	}
	out := map[int]*snapshot{}
	for _, s := range j.sources {
		err := j.persist(ctx, func() error {
			made, err := s.slot(ctx)
			if made != nil {
				out[s.number] = made
			}
			return err
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// readStreams reads what is recorded of the streams.
func (j *copyData) readStreams(ctx context.Context) error {
	var known []state.Stream
	err := j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		known, err = state.Streams(ctx, conn, j.journal.mirrorID)
		return err
	})
	for _, row := range known {
		for _, s := range j.sources {
			if row.Shard == s.number {
				s.setStream(row)
			}
		}
	}
	return err
}

// row is what is known of the shard's stream.
func (s *sourceShard) row() state.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream
}

func (s *sourceShard) setStream(row state.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream = row
}

// slot finds the shard's slot or makes it.
func (s *sourceShard) slot(ctx context.Context) (*snapshot, error) {
	conn, err := connect.Open(ctx, s.server, "slots")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	id, err := catalog.SystemIdentifier(ctx, conn)
	if err != nil {
		return nil, err
	}
	if err := s.dropParts(ctx, conn); err != nil {
		return nil, err
	}
	if s.row().ConsistentLSN != 0 {
		return nil, s.checkSlot(ctx, conn, id)
	}
	name := s.job.req.Slot
	if name == "" && s.job.req.StreamOnly {
		return nil, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q has no recorded position, and no slot is named: changes could not be joined to the rows", s.job.pair.mirror).
			WithHint("COPY_DATA %s %s %s; copies the rows first. If they are there already, name the slot that was made before they were copied", dump.QuoteIdent(s.job.req.Source),
				dump.QuoteIdent(s.job.req.Destination), dump.QuoteIdent(s.job.req.Publication))
	}
	if name != "" {
		there, found, err := s.givenSlot(ctx, conn, name)
		if err != nil {
			return nil, err
		}
		if found {
			return nil, s.adopt(ctx, there, id)
		}
		name = fmt.Sprintf("%s_%d", name, s.number)
	} else {
		name = slotName(s.job.pair.mirror, s.job.pair.destination0, s.number)
	}
	return s.makeSlot(ctx, conn, name, id)
}

// givenSlot looks for the slot that a command names: under this name, else with
// the shard's number behind it.
func (s *sourceShard) givenSlot(ctx context.Context, conn *pgx.Conn, name string) (stream.SlotState, bool, error) {
	for _, candidate := range []string{fmt.Sprintf("%s_%d", name, s.number), name} {
		there, ok, err := stream.ReadSlot(ctx, conn, candidate)
		if err != nil || ok {
			return there, ok, err
		}
	}
	return stream.SlotState{}, false, nil
}

// adopt takes a slot that exists: changes are applied from its position on.
func (s *sourceShard) adopt(ctx context.Context, there stream.SlotState, id string) error {
	if err := s.job.usable(there, s.server); err != nil {
		return err
	}
	s.setStream(state.Stream{MirrorID: s.job.journal.mirrorID, Shard: s.number, Slot: there.Name, SystemID: id})
	return s.planned(ctx, there.ConfirmedFlushLSN)
}

// copyAgain is how a mirror begins anew on tables that hold rows.
func (j *copyData) copyAgain() string {
	mirror := dump.QuoteIdent(j.pair.mirror)
	return fmt.Sprintf("the rows have to be copied again: DROP MIRROR %s; COPY_DATA %s %s %s; and, as the tables hold rows, RESYNC %s STOPPED;", mirror,
		dump.QuoteIdent(j.req.Source), dump.QuoteIdent(j.req.Destination), dump.QuoteIdent(j.req.Publication), mirror)
}

// usable refuses a slot from which the changes cannot be read.
func (j *copyData) usable(there stream.SlotState, server config.Server) error {
	switch {
	case there.Plugin != "pgoutput":
		return pgerror.New(pgerror.InvalidParameterValue, "slot %q of %s has the plugin %q", there.Name, connect.Place(server), there.Plugin).
			WithHint("a slot for a mirror needs pgoutput: SELECT pg_create_logical_replication_slot('name', 'pgoutput');")
	case there.Lost != "":
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "slot %q of %s can give no more changes: %s", there.Name, connect.Place(server), there.Lost).
			WithDetail("Write-ahead log that the mirror needs from %s on was removed.", there.ConfirmedFlushLSN).
			WithHint("raise max_slot_wal_keep_size on the source; then %s", j.copyAgain())
	}
	return nil
}

// planned records a slot that is there, the position from which it gives
// changes, and that nothing before it is missing on the destination.
func (s *sourceShard) planned(ctx context.Context, at stream.LSN) error {
	row := s.row()
	if row.Made {
		// Recorded before the slot was made.
	} else if err := s.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error { return state.PlanStream(ctx, conn, row) }); err != nil {
		return err
	}
	for _, server := range s.job.pair.destination {
		if err := setProgress(ctx, server, s.job.pair.mirror, s.number, at); err != nil {
			return err
		}
	}
	if s.job.req.StreamOnly {
		// The rows came in some other way.
		followed := func(t *state.Table) {
			t.SyncLSN, t.Membership = at, s.membership(catalog.Name{Schema: t.Schema, Name: t.Name})
		}
		if err := s.job.tables.set(ctx, TableStreaming, followed, s.job.tables.in(s.number, TablePending)...); err != nil {
			return err
		}
	}
	row.ConsistentLSN = at
	s.setStream(row)
	return s.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.SetConsistent(ctx, conn, s.job.journal.mirrorID, s.number, at)
	})
}

func setProgress(ctx context.Context, server config.Server, mirror string, shard int, at stream.LSN) error {
	conn, err := connect.Open(ctx, server, "task")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := apply.SetProgress(ctx, conn, mirror, shard, at); err != nil {
		return fmt.Errorf("record the position on %s: %w", connect.Place(server), err)
	}
	return nil
}

// makeSlot makes the mirror's slot. One of this name that a killed run has left
// was never read from: it goes.
func (s *sourceShard) makeSlot(ctx context.Context, conn *pgx.Conn, name, id string) (*snapshot, error) {
	before := s.row()
	leftOver := before.Slot == name && before.Made
	row := state.Stream{MirrorID: s.job.journal.mirrorID, Shard: s.number, Slot: name, Made: true, SystemID: id}
	s.setStream(row)
	if leftOver {
		if err := stream.DropSlot(ctx, conn, name); err != nil {
			return nil, err
		}
	} else if err := s.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error { return state.PlanStream(ctx, conn, row) }); err != nil {
		return nil, err
	}
	var standby bool // a slot of its own is no other server's to keep
	if err := conn.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&standby); err != nil {
		return nil, fmt.Errorf("look what %s is: %w", connect.Place(s.server), err)
	}
	if err := s.beginSchema(ctx); err != nil {
		return nil, err
	}
	made, err := s.export(ctx, name, stream.SlotOptions{Failover: !standby})
	if err != nil {
		return nil, err
	}
	if err := s.planned(ctx, made.at); err != nil {
		made.close(ctx)
		return nil, err
	}
	return made, nil
}

// export makes a slot and gives its snapshot.
func (s *sourceShard) export(ctx context.Context, name string, options stream.SlotOptions) (*snapshot, error) {
	done := s.tellWait(ctx, name)
	exporter, err := stream.CreateSlot(ctx, s.server, name, options)
	done()
	if err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	slot := exporter.Slot()
	return &snapshot{exporter: exporter, name: slot.Snapshot, at: slot.ConsistentPoint}, nil
}

// checkSlot makes sure that the slot the mirror goes on with is the one it
// began with, and that it still has what is needed.
func (s *sourceShard) checkSlot(ctx context.Context, conn *pgx.Conn, id string) error {
	where := connect.Place(s.server)
	again := s.job.copyAgain()
	row := s.row()
	if row.SystemID != "" && id != "" && row.SystemID != id {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s is another cluster than the one that mirror %q began with", where, s.job.pair.mirror).
			WithDetail("Its system identifier is %s, that of the mirror's source is %s.", id, row.SystemID).
			WithHint("check host and port of [[databases]] %q. If the source was replaced, %s", s.server.Cluster, again)
	}
	there, ok, err := stream.ReadSlot(ctx, conn, row.Slot)
	if err != nil {
		return err
	}
	if !ok {
		return pgerror.New(pgerror.UndefinedObject, "slot %q of mirror %q is not on %s", row.Slot, s.job.pair.mirror, where).
			WithDetail("Changes since %s can no longer be had. A slot is lost when it is dropped, and when the source fails over to a standby that does not have it.", row.ConfirmedLSN).
			WithHint("%s", again)
	}
	return s.job.usable(there, s.server)
}

// dropParts removes the slots and positions of tables that were to join when an
// earlier run was killed.
func (s *sourceShard) dropParts(ctx context.Context, conn *pgx.Conn) error {
	held, positions := map[string]bool{}, []string{} // of tables that are stopped: what is kept of them
	for name := range s.job.heldParts(s.number) {
		held[s.slotOfPart(name)] = true
		positions = append(positions, (&part{source: s, name: name}).progress())
	}
	for _, server := range s.job.pair.destination {
		if err := dropPartProgress(ctx, server, s.job.pair.mirror, s.number, positions); err != nil {
			return err
		}
	}
	slots, err := stream.ReadSlots(ctx, conn)
	if err != nil {
		return err
	}
	own := slotName(s.job.pair.mirror, s.job.pair.destination0, s.number)
	for _, slot := range slots {
		if !strings.HasPrefix(slot.Name, own+"_") || held[slot.Name] {
			continue
		}
		if err := stream.DropSlot(ctx, conn, slot.Name); err != nil {
			return err
		}
	}
	return nil
}

func dropPartProgress(ctx context.Context, server config.Server, mirror string, shard int, except []string) error {
	conn, err := connect.Open(ctx, server, "task")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `DELETE FROM pgdrover.progress WHERE starts_with(mirror, $1 || '/') AND shard = $2 AND mirror <> ALL ($3)`, mirror, shard, except); err != nil {
		return fmt.Errorf("remove the positions of tables that were to join on %s: %w", connect.Place(server), err)
	}
	return nil
}

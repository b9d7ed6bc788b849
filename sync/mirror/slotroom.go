package mirror

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// checkRoom looks whether a server of the source has room for the slots that the
// task is going to make, and for the connections that read them: it would be
// found only when the schema is there. Shards on one server are counted together,
// at the first of them.
func (p *pair) checkRoom(ctx context.Context, conn *pgx.Conn, facts catalog.Server, server config.Server, work *copyData, found *schema.Findings) error {
	slots := 0
	for _, s := range p.source {
		switch {
		case s.Address() != server.Address():
		case slots == 0 && s.Shard != server.Shard:
			return nil
		default:
			slots++
		}
	}
	var senders, used, own, active int
	err := conn.QueryRow(ctx, `
SELECT current_setting('max_wal_senders')::int, (SELECT count(*) FROM pg_stat_replication)::int,
       (SELECT count(*) FROM pg_replication_slots WHERE slot_name = ANY ($1))::int, (SELECT count(*) FROM pg_replication_slots WHERE slot_name = ANY ($1) AND active)::int`,
		work.ownSlots()).Scan(&senders, &used, &own, &active)
	if err != nil {
		return fmt.Errorf("look for free replication slots of %s: %w", connect.Place(server), err)
	}
	if work.req.StreamOnly && own == 0 { // none is made; that one is missing is told later
		return nil
	}
	room := []struct {
		free, needed int
		what, name   string
		most         int
		hint         string
	}{
		{facts.FreeSlots, slots - own, "replication slots", "max_replication_slots", facts.MaxSlots, "drop those that nobody needs: SELECT slot_name, active FROM pg_replication_slots; there. Or: "},
		{senders - used, slots - active, "connections for replication", "max_wal_senders", senders, ""},
	}
	for _, r := range room {
		e := pgerror.New(pgerror.ConfigurationLimitExceeded, "%s has %d free %s, and the mirror needs %d", connect.Place(server), max(0, r.free), r.what, r.needed).
			WithDetail("%s is %d there.", r.name, r.most).
			WithHint("%sALTER SYSTEM SET %s = %d; there, then restart the server", r.hint, r.name, r.most+max(r.needed-r.free, 0)+slots)
		switch {
		case r.needed <= 0:
		case r.free < r.needed:
			found.Errors = append(found.Errors, e)
		case r.free < r.needed+slots:
			e.Message += fmt.Sprintf(", and %d more while tables join or are copied again", slots)
			found.Warnings = append(found.Warnings, e)
		}
	}
	return nil
}

// ownSlots are the names that the task's slots may have.
func (j *copyData) ownSlots() []string {
	var out []string
	for _, s := range j.pair.source {
		out = append(out, slotName(j.pair.mirror, j.pair.destination0, s.Shard))
		if j.req.Slot != "" {
			out = append(out, fmt.Sprintf("%s_%d", j.req.Slot, s.Shard))
		}
	}
	if j.req.Slot != "" {
		out = append(out, j.req.Slot)
	}
	return out
}

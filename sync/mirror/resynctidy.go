package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// setAside drops the foreign keys that forbid to empty tables which RESYNC has
// asked for, on one shard, and says which those are.
func (j *copyData) setAside(ctx context.Context, conn *pgx.Conn, keys []tableKey) error {
	keys = slices.DeleteFunc(slices.Clone(keys), func(key tableKey) bool {
		row, _ := j.tables.get(key)
		return row.Resync == ""
	})
	if len(keys) == 0 {
		return nil
	}
	names := j.destinationNames(tableNames(keys))
	dropped, err := resync.SetAside(ctx, conn, j.pair.mirror, names, j.patience())
	if err != nil {
		return err
	}
	for _, k := range dropped {
		j.happens(ctx, "info", k.References, fmt.Sprintf("foreign key %s is set aside until the table is copied: %s", k, k.SQL()), nil)
	}
	return nil
}

// patience says how long locks are waited for: half a second at a time, again and
// again as data_sync.resync_lock_wait says. What a lock is needed for is done with it
// in some hundredths of a second.
func (j *copyData) patience() resync.Patience {
	p := resync.Patience{LockTimeout: resync.DefaultLockTimeout, Delay: firstLockDelay}
	if configured := j.pair.settings.LockTimeout; configured > 0 {
		p.LockTimeout = min(p.LockTimeout, configured)
	}
	for waited := time.Duration(0); waited < j.config.DataSync.ResyncLockWait; p.Attempts++ {
		waited += p.LockTimeout + p.Delay<<min(p.Attempts, 5)
	}
	p.Attempts++
	return p
}

// firstLockDelay is the pause before a lock is tried for a second time; it doubles
// up to 32 times.
const firstLockDelay = 250 * time.Millisecond

// tidy puts foreign keys back that resyncs have set aside, and removes what they
// have left: those of this task and, in its beginning, those of earlier ones. No
// resync is under way. What cannot be done now is tried again.
func (j *copyData) tidy(ctx context.Context) error {
	if !j.untidy {
		return nil
	}
	left := false
	for _, server := range j.pair.destination {
		owed, err := j.tidyOn(ctx, server)
		if errors.Is(err, resync.ErrLocked) {
			j.manager.log.Info("what a resync has left waits for a lock", "task", j.journal.task, "place", connect.Place(server), "error", err, "detail", pgerror.From(err).Detail)
			owed, err = true, nil
		}
		if err != nil {
			return fmt.Errorf("tidy up behind resyncs on %s: %w", connect.Place(server), err)
		}
		left = left || owed
	}
	j.untidy = left
	return nil
}

// tidyOn tells whether something is left to be done.
func (j *copyData) tidyOn(ctx context.Context, server config.Server) (owed bool, err error) {
	conn, err := j.resyncConn(ctx, server)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := j.removeLeftovers(ctx, conn, server); err != nil {
		return true, err
	}
	keys, err := resync.RecordedKeys(ctx, conn, j.pair.mirror)
	if err != nil || len(keys) == 0 {
		return false, err
	}
	moving := []TableState{TablePending, TableCopying, TableResyncing}
	if !j.req.SyncOnly {
		moving = append(moving, TableCatchingUp)
	}
	soon, err := resync.Related(ctx, conn, j.destinationTables(moving...))
	if err != nil {
		return false, err
	}
	stopped, err := resync.Related(ctx, conn, j.destinationTables(TableStopped))
	if err != nil {
		return false, err
	}
	keys = slices.DeleteFunc(keys, func(k resync.RecordedKey) bool {
		wait := slices.Contains(soon, k.Table) || slices.Contains(soon, k.References)
		owed = owed || wait
		return wait || slices.Contains(stopped, k.Table) || slices.Contains(stopped, k.References)
	})
	_, err = resync.PutBackKeys(ctx, conn, keys, j.patience(), func(r resync.PutBackResult) { j.toldKey(ctx, server, r) })
	return owed, err
}

// toldKey tells what has become of a foreign key.
func (j *copyData) toldKey(ctx context.Context, server config.Server, r resync.PutBackResult) {
	level, message, failure := keyTold(r)
	j.happens(ctx, level, r.References, fmt.Sprintf("shard %d: %s", server.Shard, message), failure)
}

func keyTold(r resync.PutBackResult) (level, message string, failure *pgerror.Error) {
	switch r.Outcome {
	case resync.KeyRestored:
		return "info", fmt.Sprintf("foreign key %s is there again", r.ForeignKey), nil
	case resync.KeyGone:
		return "info", fmt.Sprintf("foreign key %s is forgotten: one of its tables is gone", r.ForeignKey), nil
	case resync.KeyViolated:
		e := *r.Err
		if v := r.Violation; v != nil {
			lines := []string{"(" + strings.Join(v.Columns, ", ") + ")"}
			for _, row := range v.Rows {
				lines = append(lines, "("+strings.Join(row, ", ")+")")
			}
			if v.More {
				lines = append(lines, "and more")
			}
			e.Detail = strings.TrimSpace(e.Detail + "\nRows without the row that they reference: " + strings.Join(lines, " "))
		}
		return "error", fmt.Sprintf("foreign key %s is there again, but NOT VALID: rows violate it", r.ForeignKey), &e
	}
	return "error", fmt.Sprintf("foreign key %s cannot be made again", r.ForeignKey), r.Err.WithHint("when the reason is gone: %s", r.SQL())
}

// removeLeftovers removes the schemas that resyncs of this mirror have made. One
// on which somebody has made something depend stays, and is told.
func (j *copyData) removeLeftovers(ctx context.Context, conn *pgx.Conn, server config.Server) error {
	removed, failed, err := removeLeftovers(ctx, conn, j.pair.mirror, j.patience())
	for _, l := range removed {
		j.manager.log.Info("what an earlier resync had left is removed", "task", j.journal.task, "place", connect.Place(server), "schema", l.Schema, "table", l.Table.String())
	}
	for _, f := range failed {
		if !j.toldLeft[f.Schema] {
			j.happens(ctx, "warning", f.Table, fmt.Sprintf("shard %d: schema %s, which a resync has left, cannot be removed", server.Shard, f.Schema), f.why)
			j.toldLeft[f.Schema] = true
		}
	}
	return err
}

// leftover is a schema that could not be removed.
type leftover struct {
	resync.Leftover
	why *pgerror.Error
}

// removeLeftovers removes what resyncs of a mirror have left on one shard. Locks and
// lost connections are its error; what somebody else holds on to is failed.
func removeLeftovers(ctx context.Context, conn *pgx.Conn, mirror string, patience resync.Patience) (removed []resync.Leftover, failed []leftover, err error) {
	all, err := resync.Leftovers(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range all {
		if l.Mirror != mirror || l.Made.IsZero() {
			continue
		}
		err := resync.RemoveLeftover(ctx, conn, l.Schema, patience)
		switch {
		case err == nil:
			removed = append(removed, l)
		case ctx.Err() != nil, errors.Is(err, resync.ErrLocked), pgerror.IsConnectionLost(err):
			return removed, failed, err
		default:
			failed = append(failed, leftover{l, pgerror.From(err)})
		}
	}
	_, err = conn.Exec(ctx, `DELETE FROM pgdrover.copied WHERE mirror = $1 AND (starts_with(schema_name, $2) OR starts_with(schema_name, $3))`,
		mirror, resync.ShadowPrefix, resync.StagePrefix)
	return removed, failed, err
}

// dropResyncs ends what resyncs of a mirror have begun, before the mirror is
// forgotten: foreign keys are put back, and nothing is left of what was made.
func (m *Manager) dropResyncs(ctx context.Context, kept keptMirror, report *DropMirrorReport) error {
	shards, _, err := servers(m.config(), kept.row.Destination)
	if err != nil {
		shards = []config.Server{kept.server}
	}
	for _, server := range shards {
		if err := dropResyncsOn(ctx, server, kept.row.Name, report); err != nil {
			return fmt.Errorf("end the resyncs of mirror %q on %s: %w", kept.row.Name, connect.Place(server), err)
		}
	}
	return nil
}

func dropResyncsOn(ctx context.Context, server config.Server, mirror string, report *DropMirrorReport) error {
	conn, err := connect.Open(ctx, server, "drop mirror")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	there, err := state.Installed(ctx, conn)
	if err != nil || !there {
		return err
	}
	if err := state.Install(ctx, conn); err != nil { // an older pgdrover may have made it
		return err
	}
	_, failed, err := removeLeftovers(ctx, conn, mirror, resync.Patience{})
	if err != nil {
		return err
	}
	for _, f := range failed {
		report.Warnings = append(report.Warnings, f.why)
	}
	keys, err := resync.RecordedKeys(ctx, conn, mirror)
	if err != nil {
		return err
	}
	_, err = resync.PutBackKeys(ctx, conn, keys, resync.Patience{}, func(r resync.PutBackResult) {
		if level, message, failure := keyTold(r); level == "error" {
			report.Warnings = append(report.Warnings, pgerror.New(failure.Code, "%s", message).WithDetail("%s", failure.Detail).WithHint("%s", failure.Hint))
		}
	})
	return err
}

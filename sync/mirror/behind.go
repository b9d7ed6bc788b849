package mirror

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// notBehind refuses a source whose log ends before what the destination has: it
// has failed over to a standby that was behind. Its slot, if it has one, would
// leave out in silence what is written until that position is reached again.
func (p *pipeline) notBehind(ctx context.Context, at stream.LSN) error {
	server := p.source.server
	conn, err := connect.Open(ctx, server, "slots")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var end stream.LSN
	err = conn.QueryRow(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END`).Scan(&end)
	if err != nil {
		return fmt.Errorf("ask %s where its log ends: %w", connect.Place(server), err)
	}
	if at <= end {
		return nil
	}
	return p.lostBySource(fmt.Sprintf("Its log ends at %s, and the destination has changes up to %s.", end, at))
}

// sameHistory refuses a source whose log has left, before the position that the
// destination has, the timeline on which that position was reached: it has failed
// over to a standby that was behind and has written on. It then records the
// timeline.
func (p *pipeline) sameHistory(ctx context.Context, at stream.LSN) error {
	s := p.source
	here, err := stream.ReadTimeline(ctx, s.server)
	if retryable(err) {
		return err
	}
	if err != nil {
		s.job.manager.log.Warn("the source's timeline is not known: whether it has lost transactions by a failover is told by its position alone", "source", s.server.Address(), "error", err)
		return nil
	}
	row := s.row()
	if row.Timeline == here.ID {
		return nil
	}
	if left, ok := here.Holds(row.Timeline, at); row.Timeline != 0 && !ok {
		where := fmt.Sprintf("which has never been on timeline %d", row.Timeline)
		if left != 0 {
			where = fmt.Sprintf("which has left timeline %d at %s", row.Timeline, left)
		}
		return p.lostBySource(fmt.Sprintf("The destination has changes up to %s of timeline %d; the source is on timeline %d, %s.", at, row.Timeline, here.ID, where))
	}
	row.Timeline = here.ID
	s.setStream(row)
	return s.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.SetTimeline(ctx, conn, row.MirrorID, s.number, here.ID)
	})
}

func (p *pipeline) lostBySource(detail string) error {
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s has lost transactions that are on the destination", connect.Place(p.source.server)).
		WithDetail("%s This happens when the source fails over to a standby that was behind, or is restored from a backup.", detail).
		WithHint("%s", p.source.job.copyAgain())
}

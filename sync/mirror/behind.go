package mirror

import (
	"context"
	"fmt"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
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
	job := p.source.job
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s has lost transactions that are on the destination", connect.Place(server)).
		WithDetail("Its log ends at %s, and the destination has changes up to %s. This happens when the source fails over to a standby that was behind, or is restored from a backup.", end, at).
		WithHint("%s", job.copyAgain())
}

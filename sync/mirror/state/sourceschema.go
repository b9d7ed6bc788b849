package state

import (
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// SourceObject is a row of pgdrover.source_schema: what one object of a source
// shard was, as far as its mirror follows it, from a position of the stream on.
// The rows of one object are its versions: which of them holds is found by the
// position of the destination, so that a schema change which was recorded and
// not yet done everywhere is found as it was before.
type SourceObject struct {
	Kind    string // "table", "version", "type", "publication", "memory", "later"
	OID     uint32 // 0 where there is one of the kind
	LSN     pglogrepl.LSN
	Content *string // nil: it is gone
}

// PutSourceObjects records versions. One that exists is replaced.
func PutSourceObjects(ctx context.Context, conn *pgx.Conn, mirrorID int32, shard int, objects []SourceObject) error {
	const most = 500 // keeps messages small where descriptions are large
	for len(objects) > 0 {
		n := min(len(objects), most)
		batch := &pgx.Batch{}
		for _, o := range objects[:n] {
			batch.Queue(`
INSERT INTO pgdrover.source_schema (mirror_id, shard, kind, oid, lsn, content) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (mirror_id, shard, kind, oid, lsn) DO UPDATE SET content = excluded.content`, mirrorID, shard, o.Kind, o.OID, o.LSN, o.Content)
		}
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() })
		if err != nil {
			return fmt.Errorf("record the source's schema: %w", err)
		}
		objects = objects[n:]
	}
	return nil
}

// SourceObjects gives the objects of a source shard as they were at a position:
// of each the newest version up to there, or else the first. Those that are gone
// are left out. Versions behind the position are removed: what made them is met
// again.
func SourceObjects(ctx context.Context, conn *pgx.Conn, mirrorID int32, shard int, at pglogrepl.LSN) ([]SourceObject, error) {
	_, err := conn.Exec(ctx, `
DELETE FROM pgdrover.source_schema o WHERE mirror_id = $1 AND shard = $2 AND lsn > $3 AND EXISTS (
    SELECT FROM pgdrover.source_schema b WHERE b.mirror_id = o.mirror_id AND b.shard = o.shard AND b.kind = 'memory' AND b.lsn < o.lsn)`, mirrorID, shard, at)
	if err != nil {
		return nil, fmt.Errorf("read the source's schema: %w", err)
	}
	rows, err := conn.Query(ctx, `
SELECT DISTINCT ON (kind, oid) kind, oid, lsn, content FROM pgdrover.source_schema WHERE mirror_id = $1 AND shard = $2
ORDER BY kind, oid, lsn DESC`, mirrorID, shard)
	var out []SourceObject
	if err == nil {
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SourceObject])
	}
	if err != nil {
		return nil, fmt.Errorf("read the source's schema: %w", err)
	}
	live := out[:0]
	for _, o := range out {
		if o.Content != nil {
			live = append(live, o)
		}
	}
	return live, nil
}

// PruneSourceObjects removes versions that a newer one has taken the place of,
// up to a position that the destination will not fall behind any more.
func PruneSourceObjects(ctx context.Context, conn *pgx.Conn, mirrorID int32, shard int, safe pglogrepl.LSN) error {
	_, err := conn.Exec(ctx, `
DELETE FROM pgdrover.source_schema o WHERE mirror_id = $1 AND shard = $2 AND EXISTS (
    SELECT FROM pgdrover.source_schema n WHERE n.mirror_id = o.mirror_id AND n.shard = o.shard AND n.kind = o.kind AND n.oid = o.oid
       AND n.lsn > o.lsn AND n.lsn <= $3)`, mirrorID, shard, safe)
	if err != nil {
		return fmt.Errorf("tidy up what is known of the source's schema: %w", err)
	}
	return nil
}

// ForgetSourceObjects removes everything that is known of a source shard.
func ForgetSourceObjects(ctx context.Context, conn *pgx.Conn, mirrorID int32, shard int) error {
	_, err := conn.Exec(ctx, `DELETE FROM pgdrover.source_schema WHERE mirror_id = $1 AND shard = $2`, mirrorID, shard)
	if err != nil {
		return fmt.Errorf("forget the source's schema: %w", err)
	}
	return nil
}

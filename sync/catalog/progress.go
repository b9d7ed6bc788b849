package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// IndexProgress tells how far the index builds are that run on this server in
// this database, in percent by process id. A build passes through phases whose
// lengths nobody knows beforehand; each gets a share by its place in a typical
// build, and moves through it by the blocks or tuples it has done.
func IndexProgress(ctx context.Context, conn *pgx.Conn) (map[int64]float64, error) {
	rows, err := conn.Query(ctx, `
SELECT pid::int8,
       CASE
         WHEN phase LIKE 'building index: scanning table%' THEN 0 + 50 * part
         WHEN phase LIKE 'building index: sorting live tuples%' THEN 50
         WHEN phase LIKE 'building index: loading tuples in tree%' THEN 55 + 35 * part
         WHEN phase LIKE 'building index%' THEN 60 * part
         WHEN phase LIKE 'waiting for writers before validation%' THEN 90
         WHEN phase LIKE 'index validation: scanning index%' THEN 90 + 4 * part
         WHEN phase LIKE 'index validation: sorting tuples%' THEN 94
         WHEN phase LIKE 'index validation: scanning table%' THEN 95 + 4 * part
         WHEN phase LIKE 'waiting for old snapshots%' THEN 99
         WHEN phase LIKE 'waiting for readers%' THEN 99
         ELSE 0
       END::float8
FROM (SELECT pid, phase,
             least(1.0, CASE WHEN tuples_total > 0 THEN tuples_done::float8 / tuples_total
                             WHEN blocks_total > 0 THEN blocks_done::float8 / blocks_total ELSE 0 END) AS part
      FROM pg_stat_progress_create_index
      WHERE datname = current_database()) p`)
	if err != nil {
		return nil, fmt.Errorf("read the progress of index builds: %w", err)
	}
	out := map[int64]float64{}
	var pid int64
	var percent float64
	if _, err = pgx.ForEachRow(rows, []any{&pid, &percent}, func() error { out[pid] = percent; return nil }); err != nil {
		return nil, fmt.Errorf("read the progress of index builds: %w", err)
	}
	return out, nil
}

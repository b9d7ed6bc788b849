package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// Querier is a connection or a transaction of pgx.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// positionSQL moves the position of a source shard, if it is still where it was
// left; $1 is the new one, $4 the old one.
const positionSQL = `UPDATE pgdrover.progress SET lsn = $1::pg_catalog.pg_lsn, updated_at = pg_catalog.clock_timestamp()
WHERE mirror = $2::pg_catalog.text AND shard = $3::pg_catalog.int4 AND lsn = $4::pg_catalog.pg_lsn`

// ReadProgress gives the EndLSN of the last transaction of a source shard that
// is applied at this destination; false if nothing has been recorded.
func ReadProgress(ctx context.Context, conn Querier, mirror string, shard int) (stream.LSN, bool, error) {
	var text string
	err := conn.QueryRow(ctx, "SELECT lsn::text FROM pgdrover.progress WHERE mirror = $1 AND shard = $2", mirror, shard).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read the recorded position: %w", err)
	}
	lsn, err := parseLSN(text)
	return lsn, err == nil, err
}

// SetProgress records a position whatever was recorded before. No Applier of
// the mirror may be running.
func SetProgress(ctx context.Context, conn Querier, mirror string, shard int, lsn stream.LSN) error {
	_, err := conn.Exec(ctx, `INSERT INTO pgdrover.progress (mirror, shard, lsn) VALUES ($1, $2, $3::text::pg_lsn)
ON CONFLICT (mirror, shard) DO UPDATE SET lsn = excluded.lsn, updated_at = clock_timestamp()`, mirror, shard, lsn.String())
	if err != nil {
		return fmt.Errorf("record the position %s: %w", lsn, err)
	}
	return nil
}

// ensureProgress gives the recorded position, recording 0/0 if there is none.
func ensureProgress(ctx context.Context, conn Querier, mirror string, shard int) (stream.LSN, error) {
	lsn, ok, err := ReadProgress(ctx, conn, mirror, shard)
	if err != nil || ok {
		return lsn, err
	}
	if _, err := conn.Exec(ctx, "INSERT INTO pgdrover.progress (mirror, shard, lsn) VALUES ($1, $2, '0/0') ON CONFLICT DO NOTHING", mirror, shard); err != nil {
		return 0, fmt.Errorf("record the first position: %w", err)
	}
	lsn, _, err = ReadProgress(ctx, conn, mirror, shard)
	return lsn, err
}

// parseLSN reads the text form of an LSN.
func parseLSN(text string) (stream.LSN, error) {
	var hi, lo uint32
	if _, err := fmt.Sscanf(text, "%X/%X", &hi, &lo); err != nil {
		return 0, fmt.Errorf("read the LSN %q: %w", text, err)
	}
	return stream.LSN(uint64(hi)<<32 | uint64(lo)), nil
}

package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// carriedPlaces are the destination shards as carry uses them, over connections
// of its own. All workers are at a barrier meanwhile.
type carriedPlaces struct {
	a     *Applier
	lsn   stream.LSN // FinalLSN of the transaction
	conns []*pgx.Conn
	kept  []map[int]stream.Tuple // by shard, then change
}

func newCarriedPlaces(a *Applier, lsn stream.LSN) *carriedPlaces {
	return &carriedPlaces{a: a, lsn: lsn, conns: make([]*pgx.Conn, len(a.workers)), kept: make([]map[int]stream.Tuple, len(a.workers))}
}

func (p *carriedPlaces) close(ctx context.Context) {
	for _, conn := range p.conns {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}
}

func (p *carriedPlaces) conn(ctx context.Context, shard int) (*pgx.Conn, error) {
	if p.conns[shard] != nil {
		return p.conns[shard], nil
	}
	conn, err := connect.Open(ctx, p.a.options.Destinations[shard], "carry")
	if err == nil {
		p.conns[shard] = conn
	}
	return conn, err
}

// has tells whether a shard has the transaction already.
func (p *carriedPlaces) has(shard int) bool {
	return p.lsn < p.a.workers[shard].recordedLSN()
}

// recordedLSN is the recorded position; any goroutine may ask.
func (w *worker) recordedLSN() stream.LSN {
	w.stats.mu.Lock()
	defer w.stats.mu.Unlock()
	return w.stats.s.RecordedLSN
}

// find gives what an earlier attempt has left on a shard, nil if nothing.
func (p *carriedPlaces) find(ctx context.Context, shard, change int) (stream.Tuple, error) {
	if p.kept[shard] == nil {
		conn, err := p.conn(ctx, shard)
		if err != nil {
			return nil, err
		}
		kept := map[int]stream.Tuple{}
		rows, err := conn.Query(ctx, "SELECT change, tuple FROM pgdrover.carried WHERE mirror = $1 AND shard = $2 AND lsn = $3::text::pg_lsn",
			p.a.options.Mirror, p.a.options.SourceShard, p.lsn.String())
		if err != nil {
			return nil, fmt.Errorf("look for carried rows on %s: %w", p.place(shard), err)
		}
		var number int
		var tuple []byte
		if _, err := pgx.ForEachRow(rows, []any{&number, &tuple}, func() error {
			kept[number] = append(stream.Tuple(nil), tuple...)
			return nil
		}); err != nil {
			return nil, fmt.Errorf("look for carried rows on %s: %w", p.place(shard), err)
		}
		p.kept[shard] = kept
		if len(kept) > 0 {
			p.a.workers[shard].carries.Store(true)
		}
	}
	return p.kept[shard][change], nil
}

// read completes what is known of a row with the values that it has on its
// shard, and gives the number of such rows.
func (p *carriedPlaces) read(ctx context.Context, t *Target, row *traveller) (stream.Tuple, int, error) {
	conn, err := p.conn(ctx, row.shard)
	if err != nil {
		return nil, 0, err
	}
	var names []string
	var formats []int16
	inBinary, rest := binaryTuple(row.known), row.known
	for i := range t.columns {
		if len(rest) == 0 {
			return nil, 0, errTuple(t.Source)
		}
		if rest[0] == byte(stream.Unchanged) && !t.columns[i].skip {
			c, format := &t.columns[i], int16(0)
			if inBinary && c.binary && c.widen == 0 {
				format = 1
			}
			names, formats = append(names, "t."+c.name), append(formats, format)
		}
		rest = rest[width(rest):]
	}
	var values [][]byte
	var paramFormats []int16
	for key := row.origin; len(key) > 0; {
		format, value, rest := key.Next()
		values, paramFormats, key = append(values, value), append(paramFormats, int16(formatCode(format))), rest
	}
	var n params
	sql := fmt.Sprintf("SELECT %s FROM %s%s AS t WHERE %s", strings.Join(names, ", "), t.only, t.name, t.whereOne(&n, nil))
	result := conn.PgConn().ExecParams(ctx, sql, values, nil, paramFormats, formats).Read()
	if result.Err != nil {
		return nil, 0, fmt.Errorf("read a row of %s on %s: %w", t, p.place(row.shard), result.Err)
	}
	if len(result.Rows) != 1 {
		return nil, len(result.Rows), nil
	}
	return t.fill(row.known, result.Rows[0], formats), 1, nil
}

// fill puts values where a tuple has unchanged ones; what the destination does
// not have stays unchanged.
func (t *Target) fill(tuple stream.Tuple, values [][]byte, formats []int16) stream.Tuple {
	size := len(tuple)
	for _, v := range values {
		size += 5 + len(v)
	}
	out := make(stream.Tuple, 0, size)
	for i := 0; len(tuple) > 0; i++ {
		n := width(tuple)
		if tuple[0] != byte(stream.Unchanged) || t.columns[i].skip {
			out = append(out, tuple[:n]...)
		} else {
			format := stream.Text
			switch {
			case values[0] == nil:
				format = stream.Null
			case formats[0] == 1:
				format = stream.Binary
			}
			out = stream.AppendValue(out, format, values[0])
			values, formats = values[1:], formats[1:]
		}
		tuple = tuple[n:]
	}
	return out
}

// keep makes tuples durable on the shards that are to insert them.
func (p *carriedPlaces) keep(ctx context.Context, rows []carried) error {
	for shard := range p.conns {
		var mine []carried
		for _, r := range rows {
			if r.shard == shard {
				mine = append(mine, r)
			}
		}
		if len(mine) == 0 {
			continue
		}
		conn, err := p.conn(ctx, shard)
		if err != nil {
			return err
		}
		if err := p.keepOn(ctx, conn, mine); err != nil {
			return fmt.Errorf("keep rows that move to %s: %w", p.place(shard), err)
		}
		p.a.workers[shard].carries.Store(true)
	}
	return nil
}

func (p *carriedPlaces) keepOn(ctx context.Context, conn *pgx.Conn, rows []carried) error {
	mirror, source := p.a.options.Mirror, p.a.options.SourceShard
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// A connection may be gone while its backend waits for the next statement.
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = on; SET LOCAL idle_in_transaction_session_timeout = '10s'", pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		if err := dropCarried(ctx, tx, mirror, source); err != nil {
			return err
		}
		for _, r := range rows {
			if _, err := tx.Exec(ctx, `INSERT INTO pgdrover.carried (mirror, shard, lsn, change, tuple) VALUES ($1, $2, $3::text::pg_lsn, $4, $5)
ON CONFLICT (mirror, shard, lsn, change) DO UPDATE SET tuple = excluded.tuple`, mirror, source, p.lsn.String(), r.change, []byte(r.tuple)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *carriedPlaces) place(shard int) string { return p.a.workers[shard].place }

// dropCarried removes rows that the shard behind conn has inserted.
func dropCarried(ctx context.Context, conn Querier, mirror string, source int) error {
	_, err := conn.Exec(ctx, `DELETE FROM pgdrover.carried WHERE (mirror, shard, lsn, change) IN (
    SELECT c.mirror, c.shard, c.lsn, c.change FROM pgdrover.carried c JOIN pgdrover.progress p USING (mirror, shard)
    WHERE c.mirror = $1 AND c.shard = $2 AND c.lsn < p.lsn FOR UPDATE OF c SKIP LOCKED)`, mirror, source)
	return err
}

// tidyTimeout bounds what a clean stop spends on removing carried rows.
const tidyTimeout = 5 * time.Second

// tidyCarried removes, at a clean stop, what this Run has carried.
func (a *Applier) tidyCarried(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	for _, w := range a.workers {
		if !w.carries.Load() {
			continue
		}
		conn, err := connect.Open(ctx, w.server, "carry")
		if err == nil {
			err = errors.Join(dropCarried(ctx, conn, a.options.Mirror, a.options.SourceShard), conn.Close(ctx))
		}
		if err != nil {
			a.log.Warn("rows that were carried to a shard could not be removed; the next ones will remove them", "destination", w.place, "error", err)
		}
	}
}

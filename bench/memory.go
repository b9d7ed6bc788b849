package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"
)

// memory measures the peak of resident memory while one large table is copied
// and while one large transaction is applied. What others need is printed
// beside it: they neither route nor group.
func memory(ctx context.Context, f flags, out io.Writer) error {
	if err := inClusters(ctx, f, out, copyMemory); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := inClusters(ctx, f, out, applyMemory); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	return nil
}

// inClusters measures in clusters of its own, so that the disk need not hold
// the data of both.
func inClusters(ctx context.Context, f flags, out io.Writer, half func(context.Context, *servers, flags, io.Writer) error) (err error) {
	s, err := start(ctx, out, forMemory, "pg_dump", "pg_restore", "psql", "pg_recvlogical")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := createDatabase(ctx, s.source, "source", "TEMPLATE template0"); err != nil {
		return err
	}
	return half(ctx, s, f, out)
}

// copyMemory copies a table of 5 GB.
func copyMemory(ctx context.Context, s *servers, f flags, out io.Writer) error {
	found := peaks{}
	side := func(key, name string, work func(ctx context.Context) (int64, error)) *contestant {
		return &contestant{key: key, series: series{name: name}, run: func(ctx context.Context) (measure, error) {
			return s.try(ctx, trial{prepare: s.ofTemplate("template0"), work: func(ctx context.Context, _ func()) error {
				return found.keep(key)(work(ctx))
			}})
		}}
	}
	field, err := f.choose(out,
		side(ours, "pgdrover data-sync --sync-only", func(ctx context.Context) (int64, error) { return s.syncOnly(ctx, f) }),
		side(pipes, "a binary COPY pipe of two psql", func(ctx context.Context) (peak int64, err error) {
			err = s.restoreSchema(ctx, "copy", func() (err error) { peak, err = s.pipeTable(ctx, "large", "copy"); return err })
			return peak, err
		}),
	)
	if err == nil {
		err = f.versions(ctx, out, field)
	}
	if err != nil {
		return err
	}
	const rowBytes = 1000 // about, on its page
	rows := scaled(5_000_000_000/rowBytes, f.scale)
	fmt.Fprintf(out, "a table of %d rows, about %.2f GB; %d jobs\n", rows, float64(rows)*rowBytes/1e9, jobs)
	err = s.makeSource(ctx, fmt.Sprintf(`
CREATE TABLE large (id bigint PRIMARY KEY, kind integer NOT NULL, made_at timestamptz NOT NULL, body text NOT NULL);
INSERT INTO large SELECT i, i %% 1000, timestamptz '2024-01-01 00:00:00+00' + make_interval(secs => i %% 31536000), repeat(md5(i::text), 29) FROM generate_series(1, %d) i;`, rows))
	if err == nil {
		err = s.readSource(ctx)
	}
	if err == nil {
		err = contest(ctx, out, f.runs, field)
	}
	if err == nil {
		found.print(out, field)
	}
	return err
}

// applyMemory applies a transaction of 5,000,000 rows: three fifths inserted,
// one updated, one deleted.
func applyMemory(ctx context.Context, s *servers, f flags, out io.Writer) error {
	const slot = "bench_stream"
	found := peaks{}
	var end string
	field, err := f.choose(out,
		&contestant{key: ours, series: series{name: "pgdrover data-sync --replicate-only"}, run: func(ctx context.Context) (measure, error) {
			return s.try(ctx, trial{prepare: s.withBacklog(slot), keep: []string{baseSlot}, work: func(ctx context.Context, done func()) error {
				return found.keep(ours)(s.stream(ctx, f, slot, func(by *program) error { return s.lastArrived(ctx, by, done) }))
			}})
		}},
		&contestant{key: receiveOnly, series: series{name: "pg_recvlogical to /dev/null"}, run: func(ctx context.Context) (measure, error) {
			m, peak, err := s.received(ctx, end)
			return m, found.keep(receiveOnly)(peak, err)
		}},
	)
	if err != nil {
		return err
	}
	fifth := scaled(1_000_000, f.scale)
	fmt.Fprintf(out, "a transaction of %d rows: %d inserted, %d updated, %d deleted\n", 5*fifth, 3*fifth, fifth, fifth)
	if end, err = s.largeTransaction(ctx, fifth); err != nil {
		return fmt.Errorf("make the transaction: %w", err)
	}
	if err := contest(ctx, out, f.runs, field); err != nil {
		return err
	}
	found.print(out, field)
	return nil
}

// largeTransaction makes the source, fills the destination, and lets one
// transaction change five times fifth rows on the source.
func (s *servers) largeTransaction(ctx context.Context, fifth int) (end string, err error) {
	err = s.makeSource(ctx, fmt.Sprintf(`
CREATE TABLE marker (id bigint PRIMARY KEY, made_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE item (id bigint PRIMARY KEY, kind integer NOT NULL, label text NOT NULL);
INSERT INTO item SELECT i, i %% 1000, md5(i::text) FROM generate_series(1, %d) i;`, 2*fifth))
	if err == nil {
		err = s.fill(ctx)
	}
	if err == nil {
		err = s.createSlot(ctx, baseSlot)
	}
	if err == nil {
		err = runSQL(ctx, s.source, "source", fmt.Sprintf(`
BEGIN;
INSERT INTO item SELECT i, i %% 1000, md5(i::text) FROM generate_series(%[1]d + 1, %[2]d) i;
UPDATE item SET kind = kind + 1, label = label || '!' WHERE id <= %[3]d;
DELETE FROM item WHERE id > %[3]d AND id <= %[1]d;
COMMIT;`, 2*fifth, 5*fifth, fifth))
	}
	if err == nil {
		end, err = s.mark(ctx, lastMarker)
	}
	if err == nil {
		err = s.readSource(ctx)
	}
	return end, err
}

// makeSource runs what makes the source's tables, and publishes them.
func (s *servers) makeSource(ctx context.Context, sql string) error {
	return with(ctx, s.source, "source", func(conn *pgx.Conn) error {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
		return publish(ctx, conn)
	})
}

// peaks are the peaks of memory of contestants' runs, bytes.
type peaks map[string][]int64

// keep takes what a run has needed.
func (p peaks) keep(key string) func(peak int64, err error) error {
	return func(peak int64, err error) error {
		p[key] = append(p[key], peak)
		return err
	}
}

func (p peaks) print(out io.Writer, field []*contestant) {
	for _, c := range field {
		c.print(out)
		fmt.Fprintf(out, "%-52s peak of memory: median %.1f MiB, greatest %.1f MiB\n", c.name, mebibytes(median(p[c.key])), mebibytes(slices.Max(p[c.key])))
	}
	for _, c := range field[1:] {
		fmt.Fprintf(out, "ratio %-46s %.2f\n", field[0].key+" / "+c.key+", memory", float64(median(p[field[0].key]))/float64(median(p[c.key])))
	}
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// clone copies the whole standard data set into an empty database: schema,
// rows, indexes, constraints. All have the same number of jobs and read the
// source at rest.
//
// pgdrover runs ANALYZE at the end. The others leave it to vacuumdb, which is
// measured by itself, so that there are ratios with and without.
func clone(ctx context.Context, f flags, out io.Writer) (err error) {
	s, err := start(ctx, out, forRows, "pg_dump", "pg_restore", "vacuumdb", "psql", "pgbench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	analyzed := map[string]*series{copydb: {name: "the same, then vacuumdb --analyze-only"}, pipes: {name: "the same, then vacuumdb --analyze-only"}}
	side := func(key, name string, work func(context.Context) error) *contestant {
		return &contestant{key: key, series: series{name: name}, run: func(ctx context.Context) (measure, error) {
			return s.try(ctx, trial{
				prepare: s.ofTemplate("template0"),
				work:    func(ctx context.Context, _ func()) error { return work(ctx) },
				then: func(ctx context.Context, m measure) error {
					if key == ours {
						return nil
					}
					analyze, err := s.timedPrograms(func(func()) error { return s.analyze(ctx) })
					analyzed[key].runs = append(analyzed[key].runs, m.add(analyze))
					return err
				},
				check: func(ctx context.Context) error { return sameCensus(ctx, s.source, "source", s.destination, "copy") },
			})
		}}
	}
	field, err := f.choose(out,
		side(ours, "pgdrover data-sync --sync-only", func(ctx context.Context) error { _, err := s.syncOnly(ctx, f); return err }),
		side(copydb, "pgcopydb clone --use-copy-binary", func(ctx context.Context) error { return s.pgcopydb(ctx, f, "clone") }),
		side(pipes, fmt.Sprintf("%d binary COPY pipes of psql, pg_restore -j %[1]d", jobs), func(ctx context.Context) error { return s.clonePiped(ctx, "copy") }),
	)
	if err != nil {
		return err
	}
	if err := s.prepareStandard(ctx, f, out, field); err != nil {
		return err
	}
	if err := warmUp(ctx, out, field); err != nil {
		return err
	}
	for _, later := range analyzed {
		later.runs = nil
	}
	if err := contest(ctx, out, f.runs, field); err != nil {
		return err
	}
	printContest(out, field)
	for _, c := range field {
		if c.key == ours {
			continue
		}
		later := analyzed[c.key]
		later.print(out)
		if field[0].key == ours {
			ratio(out, field[0].key+" / "+c.key+" and vacuumdb", &field[0].series, later)
		}
	}
	return nil
}

// rowsAlone copies the rows of the standard data set into tables that are there
// and have neither keys nor indexes. What counts beside the time is what the
// program in the middle uses.
func rowsAlone(ctx context.Context, f flags, out io.Writer) (err error) {
	s, err := start(ctx, out, forRows, "pg_dump", "pg_restore", "psql", "pgbench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	side := func(key, name string, work func(context.Context) error) *contestant {
		return &contestant{key: key, series: series{name: name}, run: func(ctx context.Context) (measure, error) {
			return s.try(ctx, trial{prepare: s.ofTemplate("tables"), work: func(ctx context.Context, _ func()) error { return work(ctx) }})
		}}
	}
	field, err := f.choose(out,
		side(ours, "pgdrover data-sync --sync-only --skip-schema-sync", func(ctx context.Context) error { _, err := s.syncOnly(ctx, f, "--skip-schema-sync"); return err }),
		side(copydb, "pgcopydb copy table-data --use-copy-binary", func(ctx context.Context) error { return s.pgcopydb(ctx, f, "copy", "table-data") }),
		side(pipes, fmt.Sprintf("%d binary COPY pipes of psql", jobs), func(ctx context.Context) error { return s.pipeRows(ctx, "copy") }),
	)
	if err != nil {
		return err
	}
	if err := s.prepareStandard(ctx, f, out, field); err != nil {
		return err
	}
	if err := createDatabase(ctx, s.destination, "tables", "TEMPLATE template0"); err != nil {
		return err
	}
	if err := s.restoreSchema(ctx, "tables", nil); err != nil {
		return err
	}
	size, err := copyBytes(ctx, s.source, "source")
	if err != nil {
		return err
	}
	if err := warmUp(ctx, out, field); err != nil {
		return err
	}
	if err := contest(ctx, out, f.runs, field); err != nil {
		return err
	}
	printContest(out, field)
	gigabytes := float64(size) / 1e9
	for _, c := range field {
		used := median(c.seconds(func(m measure) float64 { return m.clientCPU.Seconds() }))
		fmt.Fprintf(out, "%-52s CPU of its own %.2f s per GB (10⁹ bytes of binary COPY, %.2f of them), %.0f MB/s\n",
			c.name, used/gigabytes, gigabytes, gigabytes*1e3/c.middle().elapsed.Seconds())
	}
	return nil
}

// prepareStandard says what is measured and makes the source.
func (s *servers) prepareStandard(ctx context.Context, f flags, out io.Writer, field []*contestant) error {
	if err := f.versions(ctx, out, field); err != nil {
		return err
	}
	data := standardOf(f.scale)
	fmt.Fprintf(out, "%s; %d jobs\n", data, jobs)
	if err := data.load(ctx, s); err != nil {
		return fmt.Errorf("make the source: %w", err)
	}
	return s.readSource(ctx)
}

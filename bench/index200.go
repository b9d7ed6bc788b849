package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
)

// index200 builds the indexes and foreign keys of tables with rows:
// SCHEMA_SYNC POST against pg_restore -j.
//
// Both start from copies of one database that has the rows and, as SCHEMA_SYNC
// PRE makes them, the primary keys: pg_restore is told to leave these out.
func index200(ctx context.Context, f flags, out io.Writer) (err error) {
	tables := f.tables
	if tables == 0 {
		tables = 200
	}
	s, err := start(ctx, out, forSchemas, "pg_dump", "pg_restore", "vacuumdb", "psql")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	dir, err := os.MkdirTemp("", "pgdrover-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	restore, err := s.prepareFilled(ctx, tables, f.rows, dir)
	if err != nil {
		return fmt.Errorf("make the databases: %w", err)
	}
	fmt.Fprintf(out, "%d tables of %d rows, each with three indexes and a foreign key to build; %d jobs\n", tables, f.rows, jobs)
	restored := &series{name: fmt.Sprintf("pg_restore -j %d --section=post-data", jobs)}
	analyzed := &series{name: fmt.Sprintf("the same, then vacuumdb --analyze-only -j %d", jobs)}
	synced := &series{name: fmt.Sprintf("pgdrover SCHEMA_SYNC POST, index_jobs = %d (engine in this process)", jobs)}
	without := &series{name: "the same without the final comparison"}
	for i := range f.runs {
		sides := []func() error{
			func() error {
				var analyze measure
				m, err := s.inFilled(ctx, func() error { return restore(ctx) }, func() (err error) {
					analyze, err = s.timed(func() error { return s.analyze(ctx) })
					return err
				})
				restored.runs, analyzed.runs = append(restored.runs, m), append(analyzed.runs, m.add(analyze))
				return err
			},
			func() error {
				var compared measure
				m, err := s.inFilled(ctx, func() (err error) { compared, err = s.syncFilled(ctx, out); return err }, nil)
				synced.runs, without.runs = append(synced.runs, m), append(without.runs, m.add(compared))
				return err
			},
		}
		for side := range sides {
			if err := sides[(side+i)%len(sides)](); err != nil {
				return err
			}
		}
	}
	for _, each := range []*series{restored, analyzed, synced, without} {
		each.print(out)
	}
	ratio(out, "pgdrover / pg_restore", synced, restored)
	ratio(out, "pgdrover / pg_restore and vacuumdb", synced, analyzed)
	return nil
}

// prepareFilled makes the source, with rows, and the database "filled" beside
// it, which lacks what POST makes. restore runs pg_restore on "copy".
func (s *servers) prepareFilled(ctx context.Context, tables, rows int, dir string) (restore func(context.Context) error, err error) {
	if err := createDatabase(ctx, s.source, "large", ""); err != nil {
		return nil, err
	}
	if err := loadFilled(ctx, s, tables, rows); err != nil {
		return nil, err
	}
	if err := createDatabase(ctx, s.destination, "filled", "TEMPLATE template0"); err != nil {
		return nil, err
	}
	e, err := s.engine("large", "filled")
	if err != nil {
		return nil, err
	}
	_, err = e.phase(ctx, dump.PreData)
	if err = errors.Join(err, e.close(ctx)); err != nil {
		return nil, err
	}
	if err := s.copyRows(ctx); err != nil {
		return nil, err
	}
	archive, list := filepath.Join(dir, "large.dump"), filepath.Join(dir, "post.list")
	if _, err := output(ctx, s.tool["pg_dump"], "-s", "-Fc", "-f", archive, "-d", s.source.DSN("large")); err != nil {
		return nil, err
	}
	toc, err := output(ctx, s.tool["pg_restore"], "--section=post-data", "-l", archive)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(list, []byte(withoutPrimaryKeys(toc)), 0o600); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := output(ctx, s.tool["pg_restore"], "-j", fmt.Sprint(jobs), "--section=post-data", "--exit-on-error", "-L", list, "-d", s.destination.DSN("copy"), archive)
		return err
	}, nil
}

// withoutPrimaryKeys removes the primary keys, which are there already, and the
// publication from pg_restore's list.
func withoutPrimaryKeys(toc string) string {
	var kept []string
	for line := range strings.Lines(toc) {
		primary := strings.Contains(line, " CONSTRAINT ") && strings.Contains(line, "_pkey ")
		if !primary && !strings.Contains(line, " PUBLICATION ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// copyRows carries the rows over.
func (s *servers) copyRows(ctx context.Context) error {
	pgDump := exec.CommandContext(ctx, s.tool["pg_dump"], "-a", "--disable-triggers", "-d", s.source.DSN("large"))
	psql := exec.CommandContext(ctx, s.tool["psql"], "-X", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-d", s.destination.DSN("filled"))
	pipe, err := pgDump.StdoutPipe()
	if err != nil {
		return err
	}
	psql.Stdin = pipe
	if err := errors.Join(pgDump.Start(), psql.Start()); err != nil {
		return err
	}
	if err := errors.Join(psql.Wait(), pgDump.Wait()); err != nil {
		return fmt.Errorf("copy the rows: %w", err)
	}
	return nil
}

// inFilled measures work on a copy of the database "filled", does after, and
// checks the result.
func (s *servers) inFilled(ctx context.Context, work, after func() error) (measure, error) {
	if err := createDatabase(ctx, s.destination, "copy", "TEMPLATE filled"); err != nil {
		return measure{}, err
	}
	m, err := s.timed(work)
	if err == nil && after != nil {
		err = after()
	}
	if err == nil {
		err = sameCensus(ctx, s.source, "large", s.destination, "copy")
	}
	return m, errors.Join(err, dropDatabase(ctx, s.destination, "copy"))
}

func (s *servers) analyze(ctx context.Context) error {
	_, err := output(ctx, s.tool["vacuumdb"], "--analyze-only", "-q", "-j", fmt.Sprint(jobs), "-d", s.destination.DSN("copy"))
	return err
}

// syncFilled runs POST; compared is as in syncLarge.
func (s *servers) syncFilled(ctx context.Context, out io.Writer) (compared measure, err error) {
	e, err := s.engine("large", "copy")
	if err != nil {
		return measure{}, err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	steps, err := e.phase(ctx, dump.PostData)
	if err != nil {
		return measure{}, err
	}
	stepsOf(out, dump.PostData.String(), steps)
	return measure{elapsed: -comparison(steps)}, nil
}

// output runs a program and gives what it printed.
func output(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var said strings.Builder
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(program), err, said.String())
	}
	return string(text), nil
}

// loadFilled makes the source: tables of several sizes around rows, with rows.
func loadFilled(ctx context.Context, s *servers, tables, rows int) error {
	return with(ctx, s.source, "large", func(conn *pgx.Conn) error {
		for n := 1; n <= tables; n++ {
			previous := max(n-1, 1)
			sql := fmt.Sprintf(`CREATE TABLE event_%[1]d (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    previous bigint NOT NULL,
    kind integer NOT NULL,
    label text NOT NULL,
    made_at timestamptz NOT NULL
);
INSERT INTO event_%[1]d (previous, kind, label, made_at)
SELECT 1 + (i * 7919) %% %[2]d, (i * 31) %% 1000, md5(i::text), timestamptz '2024-01-01' + make_interval(secs => (i * 7919) %% %[2]d) FROM generate_series(1, %[2]d) i;
CREATE INDEX event_%[1]d_kind ON event_%[1]d (kind, made_at);
CREATE INDEX event_%[1]d_label ON event_%[1]d (label);
CREATE UNIQUE INDEX event_%[1]d_made ON event_%[1]d (made_at, id);
ALTER TABLE event_%[1]d ADD CONSTRAINT event_%[1]d_previous FOREIGN KEY (previous) REFERENCES event_%[3]d;`, n, rows, previous)
			if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
				return err
			}
		}
		return publish(ctx, conn)
	})
}

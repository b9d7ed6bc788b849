package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// versions prints what is measured.
func (f flags) versions(ctx context.Context, out io.Writer, field []*contestant) error {
	for _, c := range field {
		var command []string
		switch c.key {
		case ours:
			command = []string{f.pgdrover, "version"}
		case copydb:
			command = []string{f.pgcopydbPath(), "--version"}
		default:
			continue // of the server's version
		}
		p, err := launch(ctx, nil, command[0], command[1:]...)
		if err == nil {
			err = p.wait()
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(out, versionLine(p.said.String()))
	}
	return nil
}

// versionLine finds the line that has the version: pgcopydb logs before it.
func versionLine(said string) string {
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "pg") {
			return strings.TrimSpace(line)
		}
	}
	return said
}

// pgcopydbPath finds pgcopydb, "" if there is none.
func (f flags) pgcopydbPath() string {
	if f.pgcopydb != "" {
		return f.pgcopydb
	}
	if unpacked, _ := filepath.Glob(".cache/bench-peers/bin/pgcopydb-*"); len(unpacked) > 0 { // the pattern is right
		path, err := filepath.Abs(unpacked[len(unpacked)-1])
		if err == nil {
			return path
		}
	}
	path, err := exec.LookPath("pgcopydb")
	if err != nil {
		return ""
	}
	return path
}

// pgcopydb runs a command of pgcopydb into "copy". Binary COPY, no vacuum and no
// large objects are what is quickest. copy table-data takes --use-copy-binary
// too, though its help does not list it; the variable of that name does nothing.
func (s *servers) pgcopydb(ctx context.Context, f flags, command ...string) (err error) {
	dir, err := os.MkdirTemp("", "pgcopydb-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	args := append(slices.Clone(command), "--dir", filepath.Join(dir, "work"), "--source", s.source.DSN("source"), "--target", s.destination.DSN("copy"), "--table-jobs", fmt.Sprint(jobs), "--use-copy-binary")
	if command[0] == "clone" {
		args = append(args, "--index-jobs", fmt.Sprint(jobs), "--restore-jobs", fmt.Sprint(jobs), "--skip-vacuum", "--skip-analyze",
			"--skip-large-objects", "--fail-fast")
	}
	// It looks for pg_dump and pg_restore in PATH.
	env := []string{"PATH=" + filepath.Dir(s.tool["pg_dump"]) + ":" + os.Getenv("PATH")}
	return finish(ctx, env, f.pgcopydbPath(), args...)
}

// clonePiped is what an operator does by hand: the schema in two sections, and
// the rows between them.
func (s *servers) clonePiped(ctx context.Context, database string) error {
	return s.restoreSchema(ctx, database, func() error { return s.pipeRows(ctx, database) })
}

// restoreSchema makes the tables; with rows, it calls it, and makes the rest.
func (s *servers) restoreSchema(ctx context.Context, database string, rows func() error) (err error) {
	dir, err := os.MkdirTemp("", "pgdrover-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	archive := filepath.Join(dir, "schema.dump")
	if err := finish(ctx, nil, s.tool["pg_dump"], "-s", "-Fc", "-f", archive, "-d", s.source.DSN("source")); err != nil {
		return err
	}
	if err := finish(ctx, nil, s.tool["pg_restore"], "--section=pre-data", "--exit-on-error", "-d", s.destination.DSN(database), archive); err != nil {
		return err
	}
	if rows == nil {
		return nil
	}
	if err := rows(); err != nil {
		return err
	}
	return finish(ctx, nil, s.tool["pg_restore"], "-j", fmt.Sprint(jobs), "--section=post-data", "--exit-on-error", "-d", s.destination.DSN(database), archive)
}

// pipeRows copies every table by two psql, the largest first, jobs at a time.
func (s *servers) pipeRows(ctx context.Context, database string) error {
	var tables []string
	err := with(ctx, s.source, "source", func(conn *pgx.Conn) (err error) { tables, err = tablesOf(ctx, conn); return err })
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobs)
	for _, table := range tables {
		group.Go(func() error { _, err := s.pipeTable(ctx, table, database); return err })
	}
	return group.Wait()
}

// pipeTable copies a table and gives the peak of both psql's memory.
func (s *servers) pipeTable(ctx context.Context, table, database string) (peak int64, err error) {
	psql := func(dsn, sql string) []string {
		return []string{s.tool["psql"], "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", sql}
	}
	return pipe(ctx, psql(s.source.DSN("source"), copyOut(table)), psql(s.destination.DSN(database), copyIn(table)))
}

// subscribe lets PostgreSQL apply a slot's changes while work goes on.
func (s *servers) subscribe(ctx context.Context, slot string, work func() error) error {
	return with(ctx, s.destination, "copy", func(conn *pgx.Conn) error {
		source := fmt.Sprintf("host=%s port=%d user=%s dbname=source sslmode=disable", s.source.Host(), s.source.Port(), s.source.Superuser())
		create := fmt.Sprintf("CREATE SUBSCRIPTION bench CONNECTION '%s' PUBLICATION %s WITH (create_slot = false, slot_name = %s, copy_data = false, binary = true)", source, publication, slot)
		if _, err := conn.PgConn().Exec(ctx, create).ReadAll(); err != nil {
			return err
		}
		err := work()
		for _, sql := range []string{"ALTER SUBSCRIPTION bench DISABLE", "ALTER SUBSCRIPTION bench SET (slot_name = NONE)", "DROP SUBSCRIPTION bench"} {
			_, also := conn.PgConn().Exec(ctx, sql).ReadAll()
			err = errors.Join(err, also)
		}
		return err
	})
}

// received measures pg_recvlogical, which must have confirmed everything, and
// gives the peak of its memory.
func (s *servers) received(ctx context.Context, end string) (m measure, peak int64, err error) {
	const slot = "bench_receive"
	err = errors.Join(s.copySlot(ctx, baseSlot, slot), runSQL(ctx, s.source, "postgres", "CHECKPOINT"))
	if err != nil {
		return m, 0, err
	}
	m, err = s.timedPrograms(func(func()) (err error) { peak, err = s.receive(ctx, slot, end); return err })
	if err == nil {
		err = s.confirmed(ctx, slot, end)
	}
	return m, peak, errors.Join(err, s.dropSlots(ctx, baseSlot))
}

// receive reads a slot's changes up to a position, with the options pgdrover
// asks for, and throws them away.
func (s *servers) receive(ctx context.Context, slot, end string) (peak int64, err error) {
	args := []string{"--start", "--slot", slot, "--endpos", end, "--no-loop", "-f", "/dev/null", "-d", s.source.DSN("source"),
		"-o", "publication_names=" + publication, "-o", "binary=true"}
	if s.source.Installation().Major >= 14 {
		args = append(args, "-o", "proto_version=2", "-o", "streaming=true", "-o", "messages=true")
	} else {
		args = append(args, "-o", "proto_version=1")
	}
	p, err := launch(ctx, nil, s.tool["pg_recvlogical"], args...)
	if err != nil {
		return 0, err
	}
	err = p.wait()
	return p.peak, err
}

// confirmed checks that the slot's reader has told to have read up to a position.
func (s *servers) confirmed(ctx context.Context, slot, end string) error {
	return with(ctx, s.source, "source", func(conn *pgx.Conn) error {
		var at string
		var reached bool
		err := conn.QueryRow(ctx, "SELECT confirmed_flush_lsn::text, confirmed_flush_lsn >= $2::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $1", slot, end).Scan(&at, &reached)
		if err == nil && !reached {
			err = fmt.Errorf("it has read up to %s, not to %s", at, end)
		}
		return err
	})
}

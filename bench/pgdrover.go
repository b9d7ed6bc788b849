package main

import (
	"context"
	"errors"
	"os"
)

// pgdrover is a prepared command line of pgdrover.
type pgdrover struct {
	dir  string // its configuration and what it spills
	path string
	args []string
}

// pgdrover prepares data-sync from one database to the other.
func (s *servers) pgdrover(f flags, source, destination string, args ...string) (*pgdrover, error) {
	dir, err := os.MkdirTemp("", "pgdrover-bench-")
	if err != nil {
		return nil, err
	}
	paths, err := s.configuration(dir, source, destination)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &pgdrover{dir: dir, path: f.pgdrover, args: append([]string{"--config", paths.Config, "--users", paths.Users,
		"data-sync", "--from-database", "source", "--to-database", "destination", "--publication", publication}, args...)}, nil
}

func (p *pgdrover) launch(ctx context.Context) (*program, error) {
	return launch(ctx, []string{"TMPDIR=" + p.dir}, p.path, p.args...)
}

func (p *pgdrover) close() error { return os.RemoveAll(p.dir) }

// syncOnly runs pgdrover until the rows are there. It gives the peak of memory.
func (s *servers) syncOnly(ctx context.Context, f flags, args ...string) (peak int64, err error) {
	p, err := s.pgdrover(f, "source", "copy", append([]string{"--sync-only"}, args...)...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	run, err := p.launch(ctx)
	if err != nil {
		return 0, err
	}
	err = run.wait()
	return run.peak, err
}

// stream runs pgdrover on a slot while work goes on, then stops it. It gives the
// peak of memory.
func (s *servers) stream(ctx context.Context, f flags, slot string, work func(by *program) error) (peak int64, err error) {
	p, err := s.pgdrover(f, "source", "copy", "--replicate-only", "--replication-slot", slot)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	run, err := p.launch(ctx)
	if err != nil {
		return 0, err
	}
	if err := work(run); err != nil {
		return 0, errors.Join(err, run.kill())
	}
	err = run.stop()
	return run.peak, err
}

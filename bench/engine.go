package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// jobs is how many connections either side may use.
const jobs = 2

// publication is the name of the publication on every source.
const publication = "all_tables"

// engine is pgdrover's engine inside this process, with a configuration that
// knows one source and one destination.
type engine struct {
	manager *mirror.Manager
	dir     string
}

func (s *servers) engine(source, destination string) (*engine, error) {
	dir, err := os.MkdirTemp("", "pgdrover-bench-")
	if err != nil {
		return nil, err
	}
	paths, err := s.configuration(dir, source, destination)
	var cfg *config.Config
	if err == nil {
		cfg, _, err = config.Load(paths, func(string) (string, bool) { return "", false })
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &engine{dir: dir, manager: mirror.NewManager(mirror.Options{
		Config: func() *config.Config { return cfg }, Version: "bench", Logger: slog.New(slog.DiscardHandler),
	})}, nil
}

// configuration writes pgdrover's files, which know a source and a destination.
func (s *servers) configuration(dir, source, destination string) (config.Paths, error) {
	var databases, users strings.Builder
	fmt.Fprintf(&databases, "[general]\nresharding_parallel_copies = %[1]d\n\n[schema_sync]\nindex_jobs = %[1]d\n\n[replication]\npg_dump_path = %[2]q\n", jobs, s.tool["pg_dump"])
	for _, d := range []struct {
		name, database string
		cluster        *pgcluster.Cluster
	}{{"source", source, s.source}, {"destination", destination, s.destination}} {
		fmt.Fprintf(&databases, "\n[[databases]]\nname = %q\nhost = %q\nport = %d\ndatabase_name = %q\n", d.name, d.cluster.Host(), d.cluster.Port(), d.database)
		fmt.Fprintf(&users, "[[users]]\nname = %q\ndatabase = %q\npassword = \"none is asked for\"\nschema_admin = true\n\n", d.cluster.Superuser(), d.name)
	}
	paths := config.Paths{Config: filepath.Join(dir, "pgdog.toml"), Users: filepath.Join(dir, "users.toml")}
	return paths, errors.Join(os.WriteFile(paths.Config, []byte(databases.String()), 0o600), os.WriteFile(paths.Users, []byte(users.String()), 0o600))
}

func (e *engine) close(ctx context.Context) error {
	return errors.Join(e.manager.Close(context.WithoutCancel(ctx)), os.RemoveAll(e.dir))
}

// step is a stretch of a phase, as the task itself tells what it does.
type step struct {
	name string
	took time.Duration
}

// phase runs one phase to its end and gives its steps.
func (e *engine) phase(ctx context.Context, phase dump.Phase) ([]step, error) {
	begin := time.Now()
	started, err := e.manager.SchemaSync(ctx, mirror.SchemaSyncRequest{
		Phase: phase, Source: "source", Destination: "destination", Publication: publication,
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", phase, err)
	}
	steps, doing := []step{}, "preflight"
	task, err := e.manager.Watch(ctx, started.Task, func(t mirror.Task) {
		if t.Inner != doing && t.Inner != "" {
			steps, doing, begin = append(steps, step{doing, time.Since(begin)}), t.Inner, time.Now()
		}
	})
	if err != nil {
		return nil, err
	}
	steps = append(steps, step{doing, time.Since(begin)})
	switch {
	case task.Error != nil:
		return nil, task.Error
	case task.State != mirror.Finished || task.Failed > 0:
		return nil, fmt.Errorf("task %d is %s with %d failed statements", task.ID, task.State, task.Failed)
	}
	return steps, nil
}

// stepsOf prints where the time of a phase went.
func stepsOf(out io.Writer, name string, steps []step) {
	var line []string
	for _, s := range steps {
		line = append(line, fmt.Sprintf("%s %.2f s", s.name, s.took.Seconds()))
	}
	fmt.Fprintf(out, "  %s: %s\n", name, strings.Join(line, ", "))
}

// comparison is how long the steps took that prove the schemas to be equal.
func comparison(steps []step) time.Duration {
	var sum time.Duration
	for _, s := range steps {
		if strings.HasPrefix(s.name, "comparing") {
			sum += s.took
		}
	}
	return sum
}

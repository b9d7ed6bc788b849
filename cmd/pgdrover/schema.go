package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// schemaCommand has the twins of the commands about the structure of a mirror's
// tables.
type schemaCommand struct {
	Validate schemaValidateCommand `cmd:"" help:"Compare the tables of a mirror with the destination's and exit: 0 every table goes on, 1 one must not, 3 could not compare."`
	Diff     schemaTableDiff       `cmd:"" help:"Print in what the tables of a mirror differ from the destination's, and the ways out; exit as validate."`
	Sync     schemaSyncTables      `cmd:"" help:"Alter the destination's tables until they are as the source's; exit 0 done, 1 refused, failed, or a table must not go on all the same, 3 could not compare."`
}

// schemaEngine is the part of mirror.Manager that the commands need.
type schemaEngine interface {
	ValidateSchemaWith(ctx context.Context, name string, tables []string, change func(*config.Mirror) error) ([]mirror.TableReport, error)
	SyncSchema(ctx context.Context, request mirror.SyncSchemaRequest) (mirror.SyncSchemaReport, error)
}

// schemaTarget is what every command about structure has.
type schemaTarget struct {
	Mirror string `arg:"" placeholder:"MIRROR" help:"Name of the mirror."`
	Table  string `arg:"" optional:"" placeholder:"TABLE" help:"A table of it, as schema.table; all of them without it."`
	JSON   bool   `name:"json" help:"Write the result as JSON, an object a line."`
}

func (t schemaTarget) tables() []string {
	if t.Table == "" {
		return nil
	}
	return []string{t.Table}
}

// work does a command with an engine of its own. What keeps it from comparing
// ends with exit code 3.
func (t schemaTarget) work(c *cli, io *streams, ctx *contextOf, do func(context.Context, schemaEngine, *config.Config) error) error {
	cfg, err := c.load(io)
	if err != nil {
		if told := exit(0); !errors.As(err, &told) {
			progress.Print(io.err, "ERROR", err)
		}
		return exit(exitNotKnown)
	}
	interrupted, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return t.failed(io, do(interrupted, engineOf(cfg), cfg))
}

// failed prints an error and gives its exit code: what was refused or has failed
// is 1, what could not be looked at 3.
func (t schemaTarget) failed(io *streams, err error) error {
	var told exit
	if err == nil || errors.As(err, &told) {
		return err
	}
	if t.JSON {
		progress.PrintJSON(io.out, err)
	}
	progress.Print(io.err, "ERROR", err)
	if pgerror.Code(err) == pgerror.ObjectNotInPrerequisiteState {
		return exit(exitFailed)
	}
	return exit(exitNotKnown)
}

// schemaValidateCommand is the twin of VALIDATE_SCHEMA.
type schemaValidateCommand struct {
	schemaTarget
	driftFlags
}

// Run is kong's.
func (s schemaValidateCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	return s.work(c, io, ctx, func(ctx context.Context, engine schemaEngine, cfg *config.Config) error {
		reports, err := s.reports(ctx, engine, cfg, s.driftFlags, io)
		if err != nil {
			return err
		}
		if s.JSON {
			return s.verdict(reports, printReportsJSON(io.out, reports))
		}
		return s.verdict(reports, newSchemaReport(io).validation(reports))
	})
}

// reports compares the tables, under the escape hatches that flags add to the
// mirror's.
func (t schemaTarget) reports(ctx context.Context, engine schemaEngine, cfg *config.Config, flags driftFlags, io *streams) ([]mirror.TableReport, error) {
	settings, err := mirrorTarget{Mirror: t.Mirror, JSON: t.JSON}.settings(io, admin.ParseMirrorSettings, flags.list())
	if err != nil {
		return nil, err
	}
	return engine.ValidateSchemaWith(ctx, t.Mirror, t.tables(), func(m *config.Mirror) error {
		if err := settings.Apply(cfg, m); err != nil {
			return err
		}
		return mirror.CheckDrift(*m)
	})
}

// verdict gives the exit code of what was found.
func (t schemaTarget) verdict(reports []mirror.TableReport, err error) error {
	if err != nil {
		return err
	}
	for _, r := range reports {
		if r.Verdict.Stops() || r.Verdict == drift.Apply {
			return exit(exitFailed)
		}
	}
	return nil
}

// schemaTableDiff is the twin of SHOW SCHEMA_DIFF of a mirror.
type schemaTableDiff struct {
	schemaTarget
	driftFlags
	SQL bool `name:"sql" xor:"form" help:"Print the statements that bring the destination to the source, as a script for psql, and nothing else."`
}

// Run is kong's.
func (s schemaTableDiff) Run(c *cli, io *streams, ctx *contextOf) error {
	return s.work(c, io, ctx, func(ctx context.Context, engine schemaEngine, cfg *config.Config) error {
		reports, err := s.reports(ctx, engine, cfg, s.driftFlags, io)
		if err != nil {
			return err
		}
		if s.SQL {
			plan, err := engine.SyncSchema(ctx, mirror.SyncSchemaRequest{Mirror: s.Mirror, Tables: s.tables(), DryRun: true})
			if err != nil {
				return err
			}
			return s.verdict(reports, printScript(io.out, plan))
		}
		if s.JSON {
			return s.verdict(reports, printDifferencesJSON(io.out, reports))
		}
		return s.verdict(reports, newSchemaReport(io).differences(reports))
	})
}

// schemaSyncTables is the twin of SYNC_SCHEMA.
type schemaSyncTables struct {
	schemaTarget
	DryRun bool `help:"Print the statements with what they lock and cost, and run nothing."`
	Force  bool `help:"Run statements that lose values of the destination too."`
	SQL    bool `name:"sql" help:"With --dry-run: print a script for psql and nothing else."`
}

// Validate is kong's.
func (s schemaSyncTables) Validate() error {
	if s.SQL && !s.DryRun {
		return errors.New("--sql needs --dry-run")
	}
	return nil
}

// Run is kong's.
func (s schemaSyncTables) Run(c *cli, io *streams, ctx *contextOf) error {
	return s.work(c, io, ctx, func(ctx context.Context, engine schemaEngine, _ *config.Config) error {
		report, err := engine.SyncSchema(ctx, mirror.SyncSchemaRequest{Mirror: s.Mirror, Tables: s.tables(), DryRun: s.DryRun, Force: s.Force})
		if err != nil {
			return err
		}
		switch {
		case s.SQL:
			err = printScript(io.out, report)
		case s.JSON:
			err = printStepsJSON(io.out, report)
		default:
			err = newSchemaReport(io).steps(report, s.DryRun)
		}
		if err == nil && len(report.Left) > 0 {
			err = exit(exitFailed)
		}
		return err
	})
}

// onTerminal tells whether a stream is a terminal that may be coloured.
func onTerminal(out any) bool {
	f, ok := out.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

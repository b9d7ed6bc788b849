package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// schemaSyncCommand is the twin of SCHEMA_SYNC.
type schemaSyncCommand struct {
	FromDatabase     string `required:"" placeholder:"NAME" help:"Source, a name in [[databases]]."`
	ToDatabase       string `required:"" placeholder:"NAME" help:"Destination, a name in [[databases]]."`
	Publication      string `required:"" placeholder:"NAME" help:"Publication on the source."`
	DataSyncComplete bool   `xor:"phase" help:"Run the phase after the rows (POST): indexes, constraints, triggers."`
	Cutover          bool   `xor:"phase" help:"Run the cutover phase: validation, sequence values."`
	PostCutover      bool   `xor:"phase" help:"Run the phase after the switch: what the reverse stream needs."`
	DryRun           bool   `help:"Print the statements and run nothing."`
	IgnoreErrors     bool   `help:"Record failed statements and go on."`
	NoOwner          bool   `help:"Leave ownership to the schema admin."`
	NoPrivileges     bool   `help:"Leave out GRANT and REVOKE."`
	JSON             bool   `name:"json" help:"Write progress and result as JSON, an object a line."`
}

// Run is kong's.
func (s schemaSyncCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	engine, err := c.engine(io)
	if err != nil {
		return err
	}
	interrupted, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if s.DryRun {
		return s.dryRun(interrupted, engine, io)
	}
	started, err := engine.SchemaSync(interrupted, s.request())
	for _, w := range started.Warnings {
		progress.Print(io.err, "WARNING", w)
	}
	if err != nil {
		if s.JSON {
			progress.PrintJSON(io.out, err)
		}
		return err
	}
	// The first signal stops the task in an orderly way; it is then followed to
	// its end, which a second signal cuts short.
	go func() { // ends with the deferred stop
		<-interrupted.Done()
		stop()
		_ = engine.StopTask(context.WithoutCancel(ctx), started.Task) // it may have ended meanwhile
	}()
	task, err := progress.Follow(ctx, engine, started.Task, styleOf(s.JSON, io), io.out)
	if err != nil {
		return err
	}
	if err := engine.Close(ctx); err != nil {
		return err
	}
	return s.result(task, io)
}

func (s schemaSyncCommand) result(task mirror.Task, io *streams) error {
	switch {
	case task.State != mirror.Finished && task.Error != nil:
		if s.JSON {
			return exit(exitFailed) // it is in the last object
		}
		return task.Error
	case task.State != mirror.Finished:
		return pgerror.New(pgerror.AdminShutdown, "task %d is %s", task.ID, task.State).WithHint("run the same command again: it goes on with what is missing")
	case task.Failed > 0:
		fmt.Fprintf(io.err, "WARNING:  %d statements failed and were ignored: SHOW SCHEMA_SYNC; tells them\n", task.Failed)
	}
	return nil
}

func (s schemaSyncCommand) request() mirror.SchemaSyncRequest {
	return mirror.SchemaSyncRequest{
		Phase: s.phase(), Source: s.FromDatabase, Destination: s.ToDatabase, Publication: s.Publication,
		IgnoreErrors: s.IgnoreErrors, NoOwner: s.NoOwner, NoPrivileges: s.NoPrivileges,
	}
}

func (s schemaSyncCommand) phase() dump.Phase {
	switch {
	case s.DataSyncComplete:
		return dump.PostData
	case s.Cutover:
		return dump.Cutover
	case s.PostCutover:
		return dump.PostCutover
	}
	return dump.PreData
}

// dryRun prints the statements as a script that psql could run.
func (s schemaSyncCommand) dryRun(ctx context.Context, engine *mirror.Manager, io *streams) error {
	statements, warnings, err := engine.SchemaPlan(ctx, s.request())
	for _, w := range warnings {
		progress.Print(io.err, "WARNING", w)
	}
	if err != nil {
		return err
	}
	if s.JSON {
		return progress.PrintPlanJSON(io.out, statements)
	}
	progress.PrintPlan(io.out, statements)
	return nil
}

// styleOf is how progress is shown: as the flag --json asks for, else bars on a
// terminal and lines elsewhere.
func styleOf(asJSON bool, io *streams) progress.Style {
	if asJSON {
		return progress.JSON
	}
	if f, ok := io.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return progress.Bars
	}
	return progress.Lines
}

// engine makes an engine of its own for a subcommand. Its log goes nowhere: the
// subcommand tells what happens.
func (c *cli) engine(io *streams) (*mirror.Manager, error) {
	cfg, err := c.load(io)
	if err != nil {
		return nil, err
	}
	return engineOf(cfg), nil
}

func engineOf(cfg *config.Config) *mirror.Manager {
	return mirror.NewManager(mirror.Options{
		Config: func() *config.Config { return cfg }, Version: version, Logger: slog.New(slog.DiscardHandler),
	})
}

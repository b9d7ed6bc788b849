package main

import (
	"context"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// mirrorAlterCommand is the twin of ALTER MIRROR, of a mirror that does not run:
// the task that is started anew would end with this process.
type mirrorAlterCommand struct {
	mirrorTarget
	Set   []string `sep:"none" required:"" xor:"change" placeholder:"SETTING" help:"Settings as SET of ALTER MIRROR has them: 'workers = 4'. May be given several times."`
	Reset []string `sep:"none" required:"" xor:"change" placeholder:"SETTING" help:"Settings as RESET of ALTER MIRROR has them: 'workers', 'TABLE public.a'. May be given several times."`
}

// Run is kong's.
func (m mirrorAlterCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	parse, lists := admin.ParseMirrorSettings, m.Set
	if len(m.Reset) > 0 {
		parse, lists = admin.ParseMirrorReset, m.Reset
	}
	settings, err := m.settings(io, parse, lists)
	if err != nil {
		return err
	}
	return m.work(c, io, ctx, func(ctx context.Context, engine mirrorEngine, cfg *config.Config) error {
		return m.alter(ctx, engine, cfg, settings, io)
	})
}

func (m mirrorAlterCommand) alter(ctx context.Context, engine mirrorEngine, cfg *config.Config, settings admin.MirrorSettings, io *streams) error {
	if err := m.refuseRunning(ctx, engine, io); err != nil {
		return err
	}
	started, err := engine.AlterMirror(ctx, m.Mirror, func(kept *config.Mirror) error { return settings.Apply(cfg, kept) })
	if err != nil {
		return err
	}
	if started.Task != 0 { // somebody has started it meanwhile
		if err := engine.Close(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		return pgerror.New(pgerror.ObjectInUse, "mirror %q was started meanwhile, and is stopped now", m.Mirror).
			WithDetail("The settings are recorded.").WithHint("in the admin database RESUME MIRROR %s; lets it go on", dump.QuoteIdent(m.Mirror))
	}
	return m.done(io, "altered", "is altered")
}

// refuseRunning refuses a mirror that is to run.
func (m mirrorAlterCommand) refuseRunning(ctx context.Context, engine mirrorEngine, io *streams) error {
	rows, warnings, err := engine.Mirrors(ctx)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		progress.Print(io.err, "WARNING", w)
	}
	for _, row := range rows {
		if row.Name == m.Mirror && row.Wanted == mirror.MirrorRunning {
			quoted := dump.QuoteIdent(m.Mirror)
			return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q is running", m.Mirror).
				WithDetail("Its task has to be started anew, which a pgdrover that serves can do.").
				WithHint("in the admin database: ALTER MIRROR %[1]s SET (...); or PAUSE MIRROR %[1]s; then this again, then RESUME MIRROR %[1]s;", quoted)
		}
	}
	return nil
}

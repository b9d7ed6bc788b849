package main

import (
	"context"
	"errors"
	"slices"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
)

// mirrorAlterCommand is the twin of ALTER MIRROR.
type mirrorAlterCommand struct {
	mirrorTarget
	awaited
	driftFlags
	Set   []string `sep:"none" placeholder:"SETTING" help:"Settings as SET of ALTER MIRROR has them: 'workers = 4'. May be given several times."`
	Reset []string `sep:"none" placeholder:"SETTING" help:"Settings as RESET of ALTER MIRROR has them: 'workers', 'TABLE public.a'. May be given several times."`
}

// Validate is kong's.
func (m mirrorAlterCommand) Validate() error {
	switch sets := len(m.Set)+len(m.list()) > 0; {
	case sets && len(m.Reset) > 0:
		return errors.New("--set and the escape hatches can't be used together with --reset")
	case !sets && len(m.Reset) == 0:
		return errors.New("missing flags: --set=SETTING or --reset=SETTING, or one of the escape hatches")
	}
	return nil
}

// Run is kong's.
func (m mirrorAlterCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	parse, lists := admin.ParseMirrorSettings, slices.Concat(m.Set, m.list())
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

// alter changes the settings. Those of a mirror that runs are in force when its
// task was started anew.
func (m mirrorAlterCommand) alter(ctx context.Context, engine mirrorEngine, cfg *config.Config, settings admin.MirrorSettings, io *streams) error {
	asked, err := engine.AskAlter(ctx, m.Mirror, func(kept *config.Mirror) error { return settings.Apply(cfg, kept) })
	if err != nil {
		return err
	}
	if !asked.Restarts {
		return m.done(io, "altered", "is altered")
	}
	return m.await(ctx, m.mirrorTarget, engine, asked, io, "altered", "is altered")
}

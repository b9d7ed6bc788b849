package main

import (
	"context"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// mirrorPauseCommand is the twin of PAUSE MIRROR.
type mirrorPauseCommand struct{ mirrorTarget }

// Run is kong's.
func (m mirrorPauseCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	return m.work(c, io, ctx, func(ctx context.Context, engine mirrorEngine, _ *config.Config) error {
		return m.pause(ctx, engine, io)
	})
}

func (m mirrorPauseCommand) pause(ctx context.Context, engine mirrorEngine, io *streams) error {
	err := engine.Pause(ctx, m.Mirror)
	switch {
	case err != nil && ctx.Err() != nil:
		return pgerror.New(pgerror.QueryCanceled, "%w", err).WithDetail("Only the waiting was ended: a mirror that was asked to rest does so when its task has ended.")
	case err != nil:
		return err
	}
	return m.done(io, "paused", "is paused")
}

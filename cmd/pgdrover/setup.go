package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/pgdrover/pgdrover/progress"
)

// setupCommand prepares sources.
type setupCommand struct {
	Schema setupSchemaCommand `cmd:"" help:"Let a source tell its mirrors of schema changes by event triggers; exit 0 done, 1 refused or failed."`
}

// setupSchemaCommand is the twin of SETUP SCHEMA.
type setupSchemaCommand struct {
	Database string `arg:"" placeholder:"DATABASE" help:"Name of the source in [[databases]]."`
	Remove   bool   `help:"Take the event triggers away."`
}

// Run is kong's.
func (s setupSchemaCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	cfg, err := c.load(io)
	if err != nil {
		if told := exit(0); !errors.As(err, &told) {
			progress.Print(io.err, "ERROR", err)
		}
		return exit(exitFailed)
	}
	interrupted, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	engine := engineOf(cfg)
	defer func() { _ = engine.Close(context.WithoutCancel(ctx)) }()
	done, err := engine.SetupSchema(interrupted, s.Database, s.Remove)
	for _, row := range done {
		_, _ = fmt.Fprintf(io.out, "%s: event triggers %s\n", row.Place, row.State)
	}
	if err != nil {
		progress.Print(io.err, "ERROR", err)
		return exit(exitFailed)
	}
	return nil
}

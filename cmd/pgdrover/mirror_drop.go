package main

import (
	"context"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/progress"
)

// mirrorDropCommand is the twin of DROP MIRROR.
type mirrorDropCommand struct{ mirrorTarget }

// Run is kong's.
func (m mirrorDropCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	return m.work(c, io, ctx, func(ctx context.Context, engine mirrorEngine, _ *config.Config) error { return m.drop(ctx, engine, io) })
}

// drop ends the mirror. What is left of it, as the warnings tell, is exit code 1.
func (m mirrorDropCommand) drop(ctx context.Context, engine mirrorEngine, io *streams) error {
	report, err := engine.DropMirror(ctx, m.Mirror)
	left := false
	for _, w := range report.Warnings {
		severity := "WARNING"
		if w.Code == "00000" {
			severity = "NOTICE"
		}
		left = left || severity == "WARNING"
		progress.Print(io.err, severity, w)
	}
	if err != nil {
		return err
	}
	text := "is dropped"
	if len(report.Slots) > 0 {
		text += ", with " + count(len(report.Slots), "slot", "slots") + ": " + strings.Join(report.Slots, ", ")
	}
	if !left {
		return m.done(io, "dropped", text)
	}
	if err := m.done(io, "incomplete", text+"; the warnings tell what is left"); err != nil {
		return err
	}
	return exit(exitFailed)
}

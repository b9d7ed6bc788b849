package main

import (
	"github.com/pgdrover/pgdrover/daemon"
)

// runCommand serves until it is told to stop.
type runCommand struct{}

// Run is kong's.
func (runCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	cfg, err := c.load(io)
	if err != nil {
		return err
	}
	logger, level, err := daemon.NewLogger(cfg, io.err)
	if err != nil {
		return err
	}
	d, err := daemon.New(daemon.Options{Config: cfg, Paths: c.paths(), Version: version, Logger: logger, Level: level})
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

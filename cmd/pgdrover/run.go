package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/pgdrover/pgdrover/daemon"
	"github.com/pgdrover/pgdrover/systemd"
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
	listener, err := systemd.Listener(os.LookupEnv)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	d, err := daemon.New(daemon.Options{
		Config: cfg, Paths: c.paths(), Version: version, Logger: logger, Level: level, Signals: signals, LookupEnv: os.LookupEnv,
		Listener: listener, Notify: systemd.NewNotifier(os.LookupEnv),
	})
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

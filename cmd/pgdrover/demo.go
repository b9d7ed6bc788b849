package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/pgdrover/pgdrover/demo"
)

// demoCommand shows what pgdrover does, with servers of its own.
type demoCommand struct {
	Port int  `placeholder:"NUMBER" help:"Port of pgdrover on 127.0.0.1 (6432, or a free one if that is taken)."`
	Once bool `help:"Do the job, remove everything and exit, instead of staying up."`
}

// Run is kong's.
func (c demoCommand) Run(io *streams, ctx *contextOf) error {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signals = append(signals, syscall.SIGHUP) // the terminal is gone
	}
	interrupted, stop := signal.NotifyContext(ctx, signals...)
	defer stop()
	return demo.Run(interrupted, demo.Options{Out: io.out, Version: version, Port: c.Port, Once: c.Once, Bold: bold(io)})
}

// bold tells whether the output is a terminal that can show it.
func bold(io *streams) bool {
	f, ok := io.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

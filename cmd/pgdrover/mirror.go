package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// mirrorCommand has the twins of the commands for mirrors that need no process
// which stays: what runs a mirror is the pgdrover that serves.
type mirrorCommand struct {
	Create mirrorCreateCommand `cmd:"" help:"Record a mirror; RESUME MIRROR in the admin database starts it."`
	Alter  mirrorAlterCommand  `cmd:"" help:"Change the settings of a mirror that does not run."`
	Pause  mirrorPauseCommand  `cmd:"" help:"Let a mirror rest, and exit when its task has ended."`
	Drop   mirrorDropCommand   `cmd:"" help:"End a mirror: stop its task, drop its slots, forget its state."`
	Log    mirrorLogCommand    `cmd:"" help:"Print what has happened to a mirror, newest first, and exit: 0 printed, 3 could not be read."`
}

// mirrorEngine is the part of mirror.Manager that the commands need.
type mirrorEngine interface {
	CreateMirror(ctx context.Context, definition config.Mirror) error
	AlterMirror(ctx context.Context, name string, change func(*config.Mirror) error) (mirror.Started, error)
	Pause(ctx context.Context, name string) error
	DropMirror(ctx context.Context, name string) (mirror.DropMirrorReport, error)
	Mirrors(ctx context.Context) ([]mirror.MirrorRow, []*pgerror.Error, error)
	MirrorLog(ctx context.Context, name string, filter mirror.LogFilter) ([]mirror.MirrorEvent, error)
	Close(ctx context.Context) error
}

// mirrorTarget is what every command for mirrors has.
type mirrorTarget struct {
	Mirror string `arg:"" placeholder:"MIRROR" help:"Name of the mirror."`
	JSON   bool   `name:"json" help:"Write the result as JSON, an object a line."`
}

// work does a command with an engine of its own, until it is done or the first
// signal comes.
func (t mirrorTarget) work(c *cli, io *streams, ctx *contextOf, do func(context.Context, mirrorEngine, *config.Config) error) error {
	cfg, err := c.load(io)
	if err != nil {
		return err
	}
	interrupted, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return t.told(io, do(interrupted, engineOf(cfg), cfg))
}

// told writes an error as JSON too, where that is asked for.
func (t mirrorTarget) told(io *streams, err error) error {
	if code := exit(0); err != nil && t.JSON && !errors.As(err, &code) {
		progress.PrintJSON(io.out, err)
	}
	return err
}

// done tells what has become of the mirror: status for programs, text for people.
func (t mirrorTarget) done(io *streams, status, text string) error {
	if t.JSON {
		return json.NewEncoder(io.out).Encode(map[string]string{"mirror": t.Mirror, "status": status})
	}
	_, err := fmt.Fprintf(io.out, "mirror %s %s\n", dump.QuoteIdent(t.Mirror), text)
	return err
}

// settings reads lists of settings as WITH, SET and RESET have them. One that is
// wrong is a wrong command line.
func (t mirrorTarget) settings(io *streams, parse func(string) (admin.MirrorSettings, error), lists []string) (admin.MirrorSettings, error) {
	if len(lists) == 0 {
		return admin.MirrorSettings{}, nil
	}
	settings, err := parse(strings.Join(lists, ", "))
	if err != nil {
		_ = t.told(io, err)
		progress.Print(io.err, "ERROR", err)
		return settings, exit(exitUsage)
	}
	return settings, nil
}

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
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// mirrorCommand has the twins of the commands for mirrors. What runs a mirror is
// the pgdrover that serves: these record what is wanted, and see that it is taken
// up.
type mirrorCommand struct {
	Create mirrorCreateCommand `cmd:"" help:"Record a mirror; mirror resume starts it."`
	Alter  mirrorAlterCommand  `cmd:"" help:"Change the settings of a mirror; if it runs, its task is started anew by the pgdrover that serves."`
	Pause  mirrorPauseCommand  `cmd:"" help:"Let a mirror rest, and exit when its task has ended."`
	Resume mirrorResumeCommand `cmd:"" help:"Let a mirror go on that rests, or begin that was created, and exit when a pgdrover that serves has taken it up: 0 taken up, 1 failed or refused, 3 nobody has."`
	Retry  mirrorRetryCommand  `cmd:"" help:"Let a mirror go on that has failed, likewise."`
	Resync mirrorResyncCommand `cmd:"" help:"Copy tables of a mirror again while the others go on, print how far that is, and exit: 0 copied, 1 failed or refused, 3 nobody works on the mirror, or the waiting was ended."`
	Drop   mirrorDropCommand   `cmd:"" help:"End a mirror: stop its task, drop its slots, forget its state."`
	Log    mirrorLogCommand    `cmd:"" help:"Print what has happened to a mirror, newest first, and exit: 0 printed, 3 could not be read."`
}

// mirrorEngine is the part of mirror.Manager that the commands need.
type mirrorEngine interface {
	CreateMirror(ctx context.Context, definition config.Mirror) error
	AskAlter(ctx context.Context, name string, change func(*config.Mirror) error) (mirror.Asked, error)
	AskResume(ctx context.Context, name string) (mirror.Asked, error)
	AskRetry(ctx context.Context, name string) (mirror.Asked, error)
	AwaitStart(ctx context.Context, asked mirror.Asked) (mirror.TaskID, error)
	Pause(ctx context.Context, name string) error
	Resync(ctx context.Context, name string, request mirror.ResyncRequest) (mirror.Resynced, error)
	Resyncs(ctx context.Context, name string, tables []catalog.Name) ([]mirror.ResyncRow, error)
	DropMirror(ctx context.Context, name string) (mirror.DropMirrorReport, error)
	MirrorLog(ctx context.Context, name string, filter mirror.LogFilter) ([]mirror.MirrorEvent, error)
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
	return t.doneBy(io, 0, status, text)
}

// doneBy is done, with the task that works on the mirror now; 0 for none.
func (t mirrorTarget) doneBy(io *streams, task mirror.TaskID, status, text string) error {
	if t.JSON {
		return json.NewEncoder(io.out).Encode(struct {
			Mirror string        `json:"mirror"`
			Status string        `json:"status"`
			Task   mirror.TaskID `json:"task_id,omitempty"`
		}{t.Mirror, status, task})
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

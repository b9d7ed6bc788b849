package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// mirrorResumeCommand is the twin of RESUME MIRROR.
type mirrorResumeCommand struct {
	mirrorTarget
	awaited
}

// Run is kong's.
func (m mirrorResumeCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	return m.work(c, io, ctx, func(ctx context.Context, engine mirrorEngine, _ *config.Config) error {
		return m.start(ctx, engine, engine.AskResume, io)
	})
}

func (m mirrorResumeCommand) start(ctx context.Context, engine mirrorEngine, ask func(context.Context, string) (mirror.Asked, error), io *streams) error {
	asked, err := ask(ctx, m.Mirror)
	if err != nil {
		return err
	}
	return m.await(ctx, m.mirrorTarget, engine, asked, io, "running", "runs")
}

// mirrorRetryCommand is the twin of RETRY MIRROR.
type mirrorRetryCommand struct {
	mirrorTarget
	awaited
}

// Run is kong's.
func (m mirrorRetryCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	return m.work(c, io, ctx, func(ctx context.Context, engine mirrorEngine, _ *config.Config) error {
		return mirrorResumeCommand(m).start(ctx, engine, engine.AskRetry, io)
	})
}

// awaited is how long a command waits for a mirror to be taken up.
type awaited struct {
	Timeout time.Duration `default:"30s" placeholder:"TIME" help:"How long to wait until a pgdrover that serves has taken the mirror up (${default}); 0 does not wait."`
}

// Validate is kong's.
func (a awaited) Validate() error {
	if a.Timeout < 0 {
		return errors.New("--timeout must not be negative")
	}
	return nil
}

// await waits until the mirror is taken up and tells it. That nobody does is
// exit code 3: what was asked for is recorded, and done as soon as somebody can.
func (a awaited) await(ctx context.Context, t mirrorTarget, engine mirrorEngine, asked mirror.Asked, io *streams, status, text string) error {
	if a.Timeout == 0 {
		return t.done(io, "asked", "is to run; a pgdrover that serves takes it up")
	}
	waiting, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	task, err := engine.AwaitStart(waiting, asked)
	switch {
	case err == nil:
		return t.doneBy(io, task, status, fmt.Sprintf("%s: task %d works on it", text, task))
	case waiting.Err() == nil:
		return err
	}
	quoted := dump.QuoteIdent(t.Mirror)
	e := pgerror.New(pgerror.QueryCanceled, "mirror %s is to run, and nobody has taken it up within %s", quoted, a.Timeout)
	if ctx.Err() != nil {
		e = pgerror.New(pgerror.QueryCanceled, "mirror %s is to run; the waiting was ended before anybody has taken it up", quoted)
	}
	e = e.WithDetail("What was asked for is recorded: it is done as soon as a pgdrover that serves can.").
		WithHint("is one running with this configuration? Its log tells what keeps it; SHOW MIRRORS; in its admin database tells the mirror's state")
	_ = t.told(io, e)
	progress.Print(io.err, "ERROR", e)
	return exit(exitNotKnown)
}

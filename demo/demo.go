package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgcluster/tempdir"
	"github.com/pgdrover/pgdrover/pgerror"
)

// Options are what a demonstration is made of.
type Options struct {
	Out     io.Writer
	Version string // of pgdrover
	Port    int    // of pgdrover, on 127.0.0.1; 0 is 6432, or a free one if that is taken
	Once    bool   // do the job and return, instead of staying up
	Bold    bool   // Out is a terminal that shows what is typed in bold
	Dir     string // where directories are made; "" is the temporary directory
}

// demo is one demonstration. What is nil was not reached yet.
type demo struct {
	options Options
	screen  screen
	undo    []func() error // what removes what was made, in the order of making

	source, destination *pgcluster.Cluster
	serverPassword      string // of postgres, on both clusters

	dir           *tempdir.Dir
	port          int
	adminPassword string
	ended         chan error // gets the daemon's result
	admin         *pgconn.PgConn
	writer        *writer

	began       time.Time // of the last COPY_DATA
	shardedTask string    // number of the task that copies to the shards
}

// Run runs the demonstration: it prepares, does the job, and stays up until ctx
// ends or somebody types SHUTDOWN. When it returns, everything it made is gone.
// It returns nil after a job that was done, and an error with SQLSTATE 57014 when
// ctx ended before that.
func Run(ctx context.Context, options Options) error {
	d := &demo{
		options: options, screen: screen{out: options.Out, bold: options.Bold},
		serverPassword: password(), adminPassword: password(),
	}
	err := d.run(ctx)
	interrupted := err != nil && (ctx.Err() != nil || pgerror.Code(err) == pgerror.AdminShutdown)
	if interrupted {
		err = pgerror.New(pgerror.QueryCanceled, "the demonstration was interrupted; what it had made was removed")
	}
	switch leftover := d.remove(); {
	case leftover == nil:
		return err
	case err == nil || interrupted:
		return fmt.Errorf("remove what the demonstration made: %w", leftover)
	default:
		return errors.Join(err, fmt.Errorf("remove what the demonstration made: %w", leftover))
	}
}

func (d *demo) run(ctx context.Context) error {
	for _, prepare := range []func(context.Context) error{d.checkPort, d.startServers, d.makeDatabases, d.makeDirectory, d.startPgdrover, d.connect, d.startWriter} {
		if err := prepare(ctx); err != nil {
			return err
		}
	}
	if err := d.job(ctx); err != nil {
		return err
	}
	if d.options.Once {
		return nil
	}
	d.screen.say("%s", d.further())
	select {
	case <-ctx.Done():
	case err := <-d.ended: // SHUTDOWN, or what ended it
		d.ended <- nil // for stopPgdrover; the error is told once
		return err
	}
	return nil
}

// job walks through the steps.
func (d *demo) job(ctx context.Context) error {
	for i, s := range steps {
		d.screen.title(i+1, len(steps), s)
		if err := s.run(d, ctx); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.title, err)
		}
	}
	return d.writer.failed()
}

// removeLater adds what removes something that was just made.
func (d *demo) removeLater(undo func() error) { d.undo = append(d.undo, undo) }

// remove takes everything away, the last made first.
func (d *demo) remove() error {
	if len(d.undo) == 0 {
		return nil
	}
	d.screen.say("\nRemoving the servers and their directories …\n")
	var errs []error
	for _, undo := range slices.Backward(d.undo) {
		errs = append(errs, undo())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.screen.say("Nothing is left.\n")
	return nil
}

// password gives one of 80 random bits that needs no quoting anywhere.
func password() string { return rand.Text()[:16] }

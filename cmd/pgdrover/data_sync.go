package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// dataSyncCommand is the twin of COPY_DATA and REPLICATE.
type dataSyncCommand struct {
	FromDatabase    string `required:"" placeholder:"NAME" help:"Source, a name in [[databases]]."`
	ToDatabase      string `required:"" placeholder:"NAME" help:"Destination, a name in [[databases]]."`
	Publication     string `required:"" placeholder:"NAME" help:"Publication on the source."`
	ReplicateOnly   bool   `xor:"part" help:"Apply changes and copy no rows."`
	SyncOnly        bool   `xor:"part" help:"Copy rows and exit; the slots stay for --replicate-only."`
	ReplicationSlot string `placeholder:"NAME" help:"Slot on the source, instead of the mirror's own."`
	SkipSchemaSync  bool   `help:"Take the destination's tables as they are."`
	JSON            bool   `name:"json" help:"Write progress and result as JSON, an object a line."`
}

// dataEngine is the part of mirror.Manager that the command needs.
type dataEngine interface {
	progress.DataWatcher
	CopyData(ctx context.Context, request mirror.CopyDataRequest) (mirror.Started, error)
	MirrorTables(ctx context.Context, name string) ([]mirror.MirrorTableRow, []*pgerror.Error, error)
	StopTask(ctx context.Context, id mirror.TaskID) error
	Close(ctx context.Context) error
}

// Run is kong's.
func (d dataSyncCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	engine, err := c.engine(io)
	if err != nil {
		return err
	}
	stop, cut, release := twoSignals(ctx)
	defer release()
	return d.sync(ctx, stop, cut, engine, io)
}

// sync does the work. stop ends it in an orderly way, cut at once.
func (d dataSyncCommand) sync(ctx, stop, cut context.Context, engine dataEngine, io *streams) error {
	started, err := engine.CopyData(stop, d.request())
	for _, w := range started.Warnings {
		progress.Print(io.err, "WARNING", w)
	}
	if err != nil {
		if d.JSON {
			progress.PrintJSON(io.out, err)
		}
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() { // ends with ended
		select {
		case <-stop.Done():
			// Its own engine can end a task that cannot be asked to: one whose
			// destination is down.
			if err := engine.StopTask(cut, started.Task); err != nil {
				_ = engine.Close(cut)
			}
		case <-ended:
		}
	}()
	task, err := progress.FollowData(cut, engine, started.Task, styleOf(d.JSON, io), io.out)
	switch {
	case cut.Err() != nil:
		return errCutShort(started.Task)
	case err != nil:
		_ = engine.Close(cut) // the error says enough
		return err
	}
	if err := engine.Close(cut); err != nil {
		return errCutShort(started.Task)
	}
	return d.result(ctx, engine, task, io)
}

func errCutShort(id mirror.TaskID) error {
	return pgerror.New(pgerror.AdminShutdown, "a second signal cut the stop of task %d short", id).
		WithHint("what is recorded is right; the same command goes on from there")
}

func (d dataSyncCommand) request() mirror.CopyDataRequest {
	return mirror.CopyDataRequest{
		Source: d.FromDatabase, Destination: d.ToDatabase, Publication: d.Publication, Slot: d.ReplicationSlot,
		SkipSchema: d.SkipSchemaSync, SyncOnly: d.SyncOnly, StreamOnly: d.ReplicateOnly,
	}
}

// result gives the exit code of a task that has ended. To be stopped is how a
// stream ends, so that it is no failure if every table streamed by then; a copy
// that was stopped is not done.
func (d dataSyncCommand) result(ctx context.Context, engine dataEngine, task mirror.Task, io *streams) error {
	if task.State != mirror.Finished && task.State != mirror.Cancelled {
		return d.failure(task)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTime)
	defer cancel()
	tables, _, err := engine.MirrorTables(ctx, task.Mirror)
	if err != nil {
		progress.Print(io.err, "ERROR", fmt.Errorf("check the tables of mirror %q: %w", task.Mirror, err))
		return exit(exitNotKnown)
	}
	var stopped, behind []string
	for _, t := range tables {
		name := t.Schema + "." + t.Table
		switch t.State {
		case mirror.TableStopped:
			stopped = append(stopped, name)
		case mirror.TableStreaming, mirror.TableUnpublished:
		case mirror.TableCatchingUp:
			if task.State == mirror.Cancelled {
				behind = append(behind, name)
			}
		default:
			behind = append(behind, name)
		}
	}
	switch {
	case len(stopped) > 0:
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q has %s: %s", task.Mirror, count(len(stopped), "stopped table", "stopped tables"), some(stopped)).
			WithHint("SHOW MIRROR %s; tells why, and the way out", dump.QuoteIdent(task.Mirror))
	case len(behind) > 0:
		return pgerror.New(pgerror.QueryCanceled, "task %d was stopped before %s in step with the source: %s", task.ID, count(len(behind), "table was", "tables were"), some(behind)).
			WithHint("run the same command again: it goes on with what is missing")
	case task.State == mirror.Cancelled && len(tables) == 0:
		return d.failure(task) // it has not got as far as to know its tables
	case task.State == mirror.Cancelled && !d.JSON:
		fmt.Fprintln(io.out, "stopped: all that was applied is recorded, and the same command goes on from there")
	}
	return nil
}

// checkTime bounds the last look at the tables.
const checkTime = 15 * time.Second

func (d dataSyncCommand) failure(task mirror.Task) error {
	switch {
	case task.Error == nil:
		return pgerror.New(pgerror.AdminShutdown, "task %d is %s", task.ID, task.State).WithHint("run the same command again: it goes on with what is missing")
	case d.JSON:
		return exit(exitFailed) // it is in the last object
	}
	return task.Error
}

// count gives "1 table" or "2 tables".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// some names the first few.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
